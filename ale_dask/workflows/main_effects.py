"""Find the main effects of a finished run, for commands that analyse one or all of them further."""

from __future__ import annotations

from collections.abc import Mapping

import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Study
from ale_dask.errors import InputError, did_you_mean
from ale_dask.storage.location import Place
from ale_dask.workflows.run import collect


def collect_main_effects(
    out: str | Place, *, analysis: str | None = None
) -> tuple[Study, dict[str, xr.Dataset], RunRecord]:
    """Return the study, the main effects by name, all or the one asked for, and the record of a finished run.

    Raises
    ------
    StoreError
        when OUT holds no finished run.
    InputError
        when OUT has no main effect of that name.
    """
    study, results, record = collect(out)
    mains = {name: r for name, r in results.items() if model_of(r).kind == "main-effect"}
    return study, mains if analysis is None else {analysis: main_effect_named(analysis, mains, out)}, record


def main_effect_named(analysis: str | None, mains: Mapping[str, xr.Dataset], out: str | Place) -> xr.Dataset:
    """Return the main effect of a name, or without a name the only one there is.

    Raises
    ------
    InputError
        when there is none of that name, or several and no name.
    """
    if analysis is None and len(mains) == 1:
        return next(iter(mains.values()))
    if analysis is None:
        raise InputError(f"{out}: name a main effect, of {', '.join(mains)}")
    if analysis not in mains:
        hint = did_you_mean(analysis, mains)
        raise InputError(f"{analysis}: no main effect of {out}, which has {', '.join(mains)}{hint}")
    return mains[analysis]
