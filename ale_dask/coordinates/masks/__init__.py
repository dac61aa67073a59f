"""Masks and search regions: those that come with the package, and those of image files."""

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
    """Return a mask that comes with the package, or the mask of the voxels of an image file that are above 0.

    Parameters
    ----------
    name
        "brain" (228,483 voxels of 2 mm of the MNI152NLin6Asym brain mask), "gm" (grey-matter probability above 10 % of
        the ICBM 2009 template), "grey10" (the mask of JALE 0.2.10, 211,590 voxels), or a NIfTI image.
    key
        The name of the mask in messages.

    Returns
    -------
    Mask
        With `volume` (x, y, z), bool, `affine` (4, 4) in mm, `voxel_ijk` (voxel, 3) and `n_voxels`; `to_mm`,
        `to_grid`, `voxel_at` and `distance` convert coordinates.

    Raises
    ------
    InputError
        For a file that is missing, is no 3-D image, has no voxel above 0, or has axes that are not at right angles.

    Examples
    --------
    >>> mask = load_mask("brain")
    >>> mask.n_voxels, mask.volume.shape, mask.voxel_size.tolist()
    (228483, (91, 109, 91), [2.0, 2.0, 2.0])
    """
    if str(name) in BUILT_IN:
        return _built_in(str(name))
    path = Path(name)
    if not path.exists():
        raise InputError(f"{key} '{name}': no such file; give an image or one of {', '.join(BUILT_IN)}")
    stat = path.stat()
    return _of_file(path, str(name), key, stat.st_mtime_ns, stat.st_size)


def load_space(inference: Inference, *, mask: Mask | None = None, search: Mask | None = None) -> Mask:
    """Return the mask of settings with the region in which inference is made.

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
    """Return a mask in which inference is made in a region only; the mask itself where the region holds all of it.

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


# A mask with its tables takes 30 MB, which all cells of a sweep share.
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
    return Mask(image.volume, image.affine, name=name, notes=image.notes, what=key)
