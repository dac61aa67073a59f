"""Foci outside the mask: kept, dropped, or so many that the mask cannot be meant for them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.coordinates.decisions import Decision, add_decisions
from ale_dask.coordinates.foci import n_foci
from ale_dask.coordinates.selection import with_step
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask

MIN_SHARE_INSIDE = 0.5
"""Share of the foci that have to lie in a mask."""


def placed(foci: xr.Dataset, *, mask: Mask, outside: str, name: str) -> xr.Dataset:
    """Return the foci Dataset that an analysis over a mask uses, with the decisions about its foci.

    Parameters
    ----------
    foci
        the experiments of one sample
    mask
        the voxels in which foci of the null are drawn
    outside
        "keep" leaves foci outside the mask in the observed map, and the null draws as many; "drop" removes them first
    name
        the name of the sample in messages

    Raises
    ------
    InputError
        when fewer than half of the foci lie in the mask and they are kept: the null would draw all of them into it.
    """
    if mask.notes:
        foci = add_decisions(foci, [Decision("image", name, note) for note in mask.notes])
    inside = mask.voxel_at(foci["focus_xyz"].values) >= 0
    n, n_inside = len(inside), int(inside.sum())
    if outside == "drop" and n_inside < n:
        return _without_outside(foci, inside, mask=mask, name=name)
    if n_inside < MIN_SHARE_INSIDE * n:
        raise InputError(
            f"{name}: only {n_inside:,} of {n:,} foci lie in mask '{mask.name}', but the null would draw all of them "
            "there. To make inference in a region, keep a mask of the whole brain and give the region as search "
            f"(search = '{mask.name}' in [inference], or --search); foci that are in no standard space need "
            "converting first"
        )
    return foci


def _without_outside(foci: xr.Dataset, inside: npt.NDArray[np.bool_], *, mask: Mask, name: str) -> xr.Dataset:
    removed = int((~inside).sum())
    remaining = foci.isel(focus=np.flatnonzero(inside))
    emptied = int(((n_foci(foci) > 0) & (n_foci(remaining) == 0)).sum())
    also = f", with them {emptied:,} experiments that have no other focus" if emptied else ""
    message = (
        f"{removed:,} of {len(inside):,} foci outside mask '{mask.name}' were removed before anything was "
        f'counted{also}; outside = "keep" keeps them'
    )
    if "selection" in foci.attrs:
        remaining = with_step(foci, remaining, "foci outside the mask removed", name=name)
    return add_decisions(remaining, [Decision("outside-mask", name, message, removed)])
