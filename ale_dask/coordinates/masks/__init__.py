"""The masks and regions that an analysis can name, and any others from an image file."""

from __future__ import annotations

import gzip
from dataclasses import replace
from functools import lru_cache
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np

from ale_dask.config.inference import BUILT_IN, Inference
from ale_dask.coordinates.masks.images import read_image
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask


def load_mask(name: str | Path, *, key: str = "mask") -> Mask:
    """Return the mask "brain", "gm" or "grey10", or that of an image file's voxels above 0.

    `key` is what messages call it.

    Raises
    ------
    InputError
        when the file is missing, is no 3-D image, holds no voxel, or has axes that are not at right angles.
    """
    if str(name) in BUILT_IN:
        return _built_in(str(name))
    path = Path(name)
    if not path.exists():
        raise InputError(f"{key} '{name}': no such file; give an image or one of {', '.join(BUILT_IN)}")
    stat = path.stat()
    return _of_file(path, str(name), key, stat.st_mtime_ns, stat.st_size)


def load_space(inference: Inference, *, mask: Mask | None = None, search: Mask | None = None) -> Mask:
    """Return the mask of some settings with the region in which inference is made.

    Raises
    ------
    InputError
        for images that cannot be used, or a region outside the mask.
    """
    grid = load_mask(inference.mask) if mask is None else mask
    if search is None and inference.search is None:
        return grid
    return within(grid, load_mask(str(inference.search), key="search") if search is None else search)


@lru_cache(maxsize=8)
def within(mask: Mask, region: Mask) -> Mask:
    """Return a mask in which inference is made in a region only; itself where the region holds all of it.

    A voxel of the mask lies in the region if its centre lies in one of the region's voxels: grids may differ.

    Raises
    ------
    InputError
        when no voxel of the mask lies in the region.
    """
    inside = region.voxel_at(mask.to_mm(mask.voxel_ijk)) >= 0
    if not inside.any():
        raise InputError(f"search '{region.name}': none of its voxels lies in mask '{mask.name}'; give another region")
    notes = region.notes
    beyond = int((mask.voxel_at(region.to_mm(region.voxel_ijk)) < 0).sum())
    if beyond:
        notes = (
            *notes,
            f"{beyond:,} of the {region.n_voxels:,} voxels of search '{region.name}' lie outside mask '{mask.name}', "
            "where nothing is searched",
        )
    if inside.all():
        return mask
    return replace(mask, search=inside, search_name=region.name, notes=(*mask.notes, *notes))


# A mask with its tables takes 30 MB: the cells of a sweep share it.
@lru_cache(maxsize=8)
def _built_in(name: str) -> Mask:
    source = resources.files(__name__) / f"{name}.nii.gz"
    image = nib.Nifti1Image.from_bytes(gzip.decompress(source.read_bytes()))
    return Mask(np.asarray(image.dataobj) > 0, np.asarray(image.affine, dtype=np.float64), name=name)


@lru_cache(maxsize=8)
def _of_file(path: Path, name: str, key: str, changed: int, size: int) -> Mask:
    what = f"{key} '{name}'"
    image = read_image(path, what=what)
    if not image.volume.any():
        raise InputError(f"{what}: no voxel of it is above 0; give another image")
    # The name alone says which file it is; the key only which setting is to blame.
    return Mask(image.volume, image.affine, name=name, notes=image.notes, what=key)
