"""Results as people hand them over: one, several, or by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from ale_dask.errors import InputError

Results = xr.Dataset | Sequence[xr.Dataset] | Mapping[str, xr.Dataset]


def by_name(results: Results) -> dict[str, xr.Dataset]:
    """Return results by their names, given as one, as several or by name already.

    Raises
    ------
    InputError
        when two of several have one name, or something else is given.
    """
    if isinstance(results, Mapping) and not isinstance(results, xr.Dataset):
        return dict(results)
    listed = [results] if isinstance(results, xr.Dataset) else list(results)
    if wrong := [type(r).__name__ for r in listed if not isinstance(r, xr.Dataset) or "kind" not in r.attrs]:
        raise InputError(f"got a {wrong[0]} that is no result; give what main_effect, contrast or conjunction returns")
    named = {str(r.attrs["name"]): r for r in listed}
    if len(named) < len(listed):
        raise InputError("two results have one name; give each its own (name=…)")
    return named
