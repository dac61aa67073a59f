"""Say in a line which clusters of a main effect survive the base-rate null, and which only that null finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from ale_dask.analyses.base_rate import only_here
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import BASE_RATE, PRIMARY
from ale_dask.reporting.common.base_rate_maps import AGAINST
from ale_dask.reporting.common.phrases import counted
from ale_dask.reporting.tables.clusters import cluster_table, formatted

_LISTED = 5


def survival_words(result: xr.Dataset) -> str:
    """Return how many clusters of the uniform null survive against the base rate, and which clusters only that finds.

    A cluster survives when it overlaps a cluster that survives against the base rate.
    """
    correction = model_of(result).inference.correction
    uniform = result[PRIMARY[correction]].values != 0
    base_rate = result[BASE_RATE[correction]].values != 0
    clusters = model_of(result).clusters(uniform.astype(int))
    surviving = [cluster for cluster in clusters if base_rate[cluster.voxels].any()]
    new = model_of(result).clusters(only_here(result, uniform).astype(int), level=f"{AGAINST}{correction}")
    volume = model_of(result).mask.voxel_volume
    words = (
        f"{len(surviving)} of {counted(len(clusters), 'cluster')} meet one that survives"
        if clusters
        else "nothing to test"
    )
    both = base_rate & uniform
    if surviving:
        words += f", {int(both.sum()) * volume:,.0f} of {int(uniform.sum()) * volume:,.0f} mm³"
    only_base_rate = "; ".join(
        f"{len(c.voxels) * volume:,.0f} mm³ at {', '.join(f'{v + 0.0:.0f}' for v in c.peak_mm)}"
        for c in sorted(new, key=lambda c: -len(c.voxels))[:_LISTED]
    )
    return f"{words}; found only there: {only_base_rate or 'nothing'}"


def _p_words(row: Mapping[Any, str]) -> str:
    """Return the p of a cluster by TFCE, or by size and by mass, in words; its decisions where it has no p."""
    if "p TFCE FWE" in row:
        return f"p {row['p TFCE FWE']} by TFCE"
    if row["p size FWE"]:
        return f"p {row['p size FWE']} by size, {row['p mass FWE']} by mass"
    return f"{row['decision']} by size, {row['decision mass']} by mass"


def base_rate_lines(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return a line for a terminal of each main effect that was tested against the base rate."""
    lines = []
    for name, result in results.items():
        if model_of(result).kind != "main-effect" or "z_base_rate" not in result:
            continue
        if model_of(result).inference.null == "both":
            lines.append(f"{name}, against the base rate: {survival_words(result)}")
            table = cluster_table(result, null="base-rate")
            for row in formatted(table[table["Cluster Size (mm3)"].notna()]).head(_LISTED).to_dict("records"):
                lines.append(
                    f"  {row['Cluster Size (mm3)']} mm³ at {row['X']} {row['Y']} {row['Z']}, {_p_words(row)}; "
                    f"uniform null: {row['Uniform null']}"
                )
        else:
            lines.append(f"{name}: these clusters survive against the base rate, {result.attrs['base_rate']}")
    return lines
