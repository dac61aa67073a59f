"""Counts of foci per voxel, of which a base rate is made."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.coordinates.foci import as_stated
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask
from ale_dask.storage.location import replace_file

Bools = npt.NDArray[np.bool_]


def no_coordinates(xyz: npt.NDArray[np.float64]) -> dict[str, Bools]:
    """Return, by rule, the rows of (focus, axis), in mm, that are most likely no coordinates (focus), bool.

    Automatically read tables hold p-values, correlations, numbered rows, footnotes and citations that were taken for
    coordinates. "near zero": all three within 1 mm of 0. "numbering": whole numbers with y = x + 1 and z = x + 2.
    "small marks": whole numbers with 0 <= x < y < z <= 10; in Neurosynth they are seven times as frequent as such foci
    reflected at the midline.
    """
    x, y, z = xyz.T
    whole = (xyz == np.rint(xyz)).all(axis=1)
    return {
        "near zero": (np.abs(xyz) <= 1).all(axis=1),
        "numbering": whole & (y == x + 1) & (z == x + 2),
        "small marks": whole & (x >= 0) & (x < y) & (y < z) & (z <= 10),
    }


def counted(xyz: npt.NDArray[np.float64], *, mask: Mask) -> npt.NDArray[np.int64]:
    """Return the number of foci (focus, axis), in mm MNI, in each voxel of a mask (voxel), int64."""
    voxel = mask.voxel_at(xyz)
    return np.bincount(voxel[voxel >= 0], minlength=mask.n_voxels).astype(np.int64)


def counted_studies(foci: xr.Dataset, *, mask: Mask) -> tuple[npt.NDArray[np.int64], dict[str, int]]:
    """Return the number of foci in each voxel of a mask (voxel), int64, and the numbers of foci left out, by reason.

    Left out are repeated foci of a study, rows that are no coordinates (see `no_coordinates`), and foci outside the
    mask.

    Raises
    ------
    InputError
        when no focus is left.
    """
    _, voxel, left_out = placed_in_studies(foci, mask=mask)
    return np.bincount(voxel, minlength=mask.n_voxels).astype(np.int64), left_out


def placed_in_studies(
    foci: xr.Dataset, *, mask: Mask
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], dict[str, int]]:
    """Return the study (focus), from 0, and the voxel (focus) of the foci that `counted_studies` counts.

    The numbers of foci left out, by reason, and the errors are those of `counted_studies`.
    """
    xyz = foci["focus_xyz"].values
    study = foci["experiment_study"].values[foci["focus_experiment"].values]
    _, number = np.unique(study, return_inverse=True)
    _, first = np.unique(np.column_stack([number, xyz]), axis=0, return_index=True)
    once = np.zeros(len(xyz), dtype=bool)
    once[first] = True
    # The rules are for coordinates as they were printed, before a conversion of space.
    rules = no_coordinates(as_stated(foci))
    counts = once & ~np.any(list(rules.values()), axis=0)
    voxel = mask.voxel_at(xyz[counts])
    inside = voxel >= 0
    if not inside.any():
        raise InputError(f"no focus is left in the mask '{mask.name}' to make a base rate of")
    left_out = {"a study has twice": int((~once).sum())}
    left_out |= {f"are most likely no coordinates ({rule})": int((once & hit).sum()) for rule, hit in rules.items()}
    left_out["lie outside the mask"] = int((~inside).sum())
    return number[counts][inside].astype(np.int64), voxel[inside].astype(np.int64), left_out


def write_counts(counts: npt.NDArray[np.int64], path: str | Path, *, mask: Mask) -> None:
    """Write numbers of foci (voxel) as a NIfTI image on the mask's grid; equal numbers give equal bytes.

    Raises
    ------
    InputError
        for a name that does not end in .nii or .nii.gz.
    """
    path = Path(path)
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: give a name that ends in .nii.gz: the base rate is written as an image")
    volume = np.zeros(mask.volume.shape, dtype=np.min_scalar_type(int(counts.max(initial=0))))
    volume[mask.volume] = counts
    # All programs read NIfTI images of 8, 16 and signed 32 bits.
    volume = volume.astype(volume.dtype if volume.dtype.itemsize < 4 else np.int32)
    image = nib.Nifti1Image(volume, mask.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(mask.affine, 4)
    image.set_qform(mask.affine, 4)
    data = image.to_bytes()
    # gzip would write the time into the file.
    replace_file(path, gzip.compress(data, compresslevel=9, mtime=0) if path.name.endswith(".gz") else data)
