"""What becomes of foci outside the mask, and whether the mask is one for these foci at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.coordinates.decisions import Decision, add_decisions
from ale_dask.coordinates.selection import with_step
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask

LEAST_INSIDE = 0.5
"""Share of the foci that a mask must hold."""


def placed(foci: xr.Dataset, *, mask: Mask, outside: str, name: str) -> xr.Dataset:
    """Return the foci Dataset as an analysis over a mask takes it, with what was decided.

    Parameters
    ----------
    foci
        the experiments of one sample
    mask
        where foci of the null are drawn
    outside
        "keep" leaves foci outside the mask in the observed map, and the null draws as many; "drop" removes them first
    name
        what messages call the sample

    Raises
    ------
    InputError
        when fewer than half of the foci lie in the mask and they are kept: the null would draw all of them into it.
    """
    if mask.notes:
        foci = add_decisions(foci, [Decision("image", name, note) for note in mask.notes])
    inside = mask.voxel_at(foci["focus_xyz"].values) >= 0
    n, within = len(inside), int(inside.sum())
    if outside == "drop" and within < n:
        return _without(foci, inside, mask=mask, name=name)
    if within < LEAST_INSIDE * n:
        raise InputError(
            f"{name}: only {within:,} of {n:,} foci lie in mask '{mask.name}', but the null would draw all of them "
            "there. To make inference in a region, keep a mask of the whole brain and give the region as search "
            f"(search = '{mask.name}' in [inference], or --search); foci that are in no standard space need "
            "converting first"
        )
    return foci


def _without(foci: xr.Dataset, inside: npt.NDArray[np.bool_], *, mask: Mask, name: str) -> xr.Dataset:
    gone = int((~inside).sum())
    had = np.bincount(foci["focus_experiment"].values, minlength=foci.sizes["experiment"])
    kept = foci.isel(focus=np.flatnonzero(inside))
    have = np.bincount(kept["focus_experiment"].values, minlength=foci.sizes["experiment"])
    vanished = int(((had > 0) & (have == 0)).sum())
    also = f", with them {vanished:,} experiments that have no other focus" if vanished else ""
    message = (
        f"{gone:,} of {len(inside):,} foci outside mask '{mask.name}' were removed before anything was counted{also}; "
        'outside = "keep" keeps them'
    )
    if "selection" in foci.attrs:
        kept = with_step(foci, kept, "foci outside the mask removed", name=name)
    return add_decisions(kept, [Decision("outside-mask", name, message, gone)])
