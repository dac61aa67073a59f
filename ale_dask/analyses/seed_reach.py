"""Where experiments that were selected by a focus in a place, a seed, converge by this selection alone.

Every one of them has a focus there, whatever it studied: of the voxels around, those say nothing of the seed's partners
that foci in the seed reach without any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.sample import Sample
from ale_dask.coordinates.foci import n_foci, subset
from ale_dask.coordinates.seeds import foci_in_seeds
from ale_dask.numerics.ale import add_row

REACH, REACH_BASE_RATE = "seed_reach", "seed_reach_base_rate"
"""The variables (voxel) with the reach of the seed under each null."""


def seed_variables(sample: Sample, threshold: int, *, bits: int) -> dict[str, tuple[str, npt.NDArray[Any]]]:
    """Return S of foci in the seed alone, and whether it reaches the cluster-forming S (voxel); {} without a seed."""
    inside = foci_in_seeds(sample.foci)
    if inside is None:
        return {}
    cut = sample.foci.isel(focus=np.flatnonzero(inside))
    s = np.zeros(sample.mask.n_voxels, dtype=np.int64)
    for voxel, value in replace(sample, foci=subset(cut, n_foci(cut) > 0)).rows(bits):
        add_row(voxel, value, s)
    return {"seed_s": ("voxel", s), REACH: ("voxel", s >= threshold)}


def base_rate_reach(result: xr.Dataset, threshold: npt.NDArray[Any]) -> dict[str, tuple[str, npt.NDArray[np.bool_]]]:
    """Return whether S of the foci in the seed alone reaches the cluster-forming S of the base rate (voxel)."""
    return {REACH_BASE_RATE: ("voxel", result["seed_s"].values >= threshold)} if REACH in result else {}


def reach_of_parts(parts: Sequence[xr.Dataset]) -> dict[str, tuple[str, npt.NDArray[np.bool_]]]:
    """Return the voxels (voxel) that a seed of any of several main effects reaches, at the null that decides it."""
    each = [reach for part in parts if (reach := deciding_reach(part)) is not None]
    return {REACH: ("voxel", np.any(each, axis=0))} if each else {}


def seed_attrs(sample: Sample, found: Mapping[str, tuple[str, npt.NDArray[Any]]]) -> dict[str, int]:
    """Return how many foci lie in the seed, and how many voxels they reach alone; {} without a seed."""
    inside = foci_in_seeds(sample.foci)
    return {} if inside is None else {"seed_foci": int(inside.sum()), "seed_voxels": int(found[REACH][1].sum())}


def deciding_reach(result: xr.Dataset, *, base_rate: bool | None = None) -> npt.NDArray[np.bool_] | None:
    """Return the reach (voxel) of a result's seed, against the base rate if that null alone decides; else None."""
    if REACH not in result:
        return None
    against = model_of(result).inference.null == "base-rate" if base_rate is None else base_rate
    return np.asarray(result[REACH_BASE_RATE if against and REACH_BASE_RATE in result else REACH].values)
