"""The masks that an analysis can name, and any other from an image file."""

from __future__ import annotations

import gzip
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from ale_dask.numerics.space import Mask
from ale_dask.words.config import BUILT_IN
from ale_dask.words.errors import InputError


def load_mask(name: str | Path) -> Mask:
    """Return the mask "brain" or "gm", or that of an image file's voxels above 0.

    Raises
    ------
    InputError
        when the file is missing, is no 3-D image or holds no voxel.
    """
    if str(name) in BUILT_IN:
        source = resources.files(__name__) / f"{name}.nii.gz"
        image = nib.Nifti1Image.from_bytes(gzip.decompress(source.read_bytes()))
    else:
        path = Path(name)
        if not path.is_file():
            raise InputError(f"mask '{name}': no such file; give an image or one of {', '.join(BUILT_IN)}")
        try:
            image = nib.load(path)
            np.asanyarray(image.dataobj)
        except (ImageFileError, OSError, EOFError, ValueError) as error:
            raise InputError(f"mask '{name}': cannot be read as an image ({error})") from error
    volume = np.asarray(image.dataobj)
    if volume.ndim == 4 and volume.shape[3] == 1:
        volume = volume[..., 0]
    return Mask(np.nan_to_num(volume) > 0, np.asarray(image.affine, dtype=np.float64), name=str(name))
