"""The masks that an analysis can name, and any other from an image file."""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from ale_dask.numerics.space import Mask
from ale_dask.words.config import BUILT_IN
from ale_dask.words.errors import InputError


def load_mask(name: str | Path) -> Mask:
    """Return the mask "brain", "gm" or "grey10", or that of an image file's voxels above 0.

    Raises
    ------
    InputError
        when the file is missing, is no 3-D image or holds no voxel.
    """
    if str(name) in BUILT_IN:
        return _built_in(str(name))
    path = Path(name)
    if not path.is_file():
        raise InputError(f"mask '{name}': no such file; give an image or one of {', '.join(BUILT_IN)}")
    stat = path.stat()
    return _of_file(path, str(name), stat.st_mtime_ns, stat.st_size)


# A mask with its tables takes 30 MB: the cells of a sweep share it.
@lru_cache(maxsize=8)
def _built_in(name: str) -> Mask:
    source = resources.files(__name__) / f"{name}.nii.gz"
    return _mask(nib.Nifti1Image.from_bytes(gzip.decompress(source.read_bytes())), name)


@lru_cache(maxsize=8)
def _of_file(path: Path, name: str, changed: int, size: int) -> Mask:
    try:
        image = nib.load(path)
        np.asanyarray(image.dataobj)
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise InputError(f"mask '{name}': cannot be read as an image ({error})") from error
    return _mask(image, name)


def _mask(image: nib.Nifti1Image, name: str) -> Mask:
    volume = np.asarray(image.dataobj)
    if volume.ndim == 4 and volume.shape[3] == 1:
        volume = volume[..., 0]
    return Mask(np.nan_to_num(volume) > 0, np.asarray(image.affine, dtype=np.float64), name=name)
