"""Simulate the power of the main effects of a finished run, and write it beside their results."""

from __future__ import annotations

import xarray as xr

from ale_dask.analyses.sensitivity.power import SIMULATIONS, TARGET, WITHIN_MM, power
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.power import power_line, power_table
from ale_dask.reporting.text.follow_up_files import origin_of, write_follow_up
from ale_dask.storage.location import Place, place
from ale_dask.workflows.main_effects import collect_main_effects


def power_of_run(
    out: str | Place,
    *,
    analysis: str | None = None,
    simulations: int = SIMULATIONS,
    within_mm: float = WITHIN_MM,
    target: float = TARGET,
) -> dict[str, xr.Dataset]:
    """Simulate the power of main effects of a finished run, and return it by name as `power` does.

    The files are OUT/NAME/NAME_power.tsv and .json.

    Raises
    ------
    StoreError
        when OUT holds no finished run.
    InputError
        when OUT has no main effect of that name, or as `power`.
    """
    _, mains, record = collect_main_effects(out, analysis=analysis)
    curves = {}
    for name, result in mains.items():
        curve = power(result, simulations=simulations, within_mm=within_mm, target=target)
        about = {
            "title": "Power: how many experiments must report a place for it to be found",
            "says": power_line(curve),
            "of_results": origin_of(result, record),
        }
        with writing_results(place(out)) as folder:
            write_follow_up(folder / stem(name) / f"{stem(name)}_power", power_table(curve), about)
        curves[name] = curve
    return curves
