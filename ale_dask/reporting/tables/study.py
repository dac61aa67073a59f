"""Tabulate the clusters of a study in one table, and find the table that belongs to a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ale_dask.analyses.base_rate_result import nulls_of
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.base_rate_maps import AGAINST, is_base_rate
from ale_dask.reporting.common.maps import MapSpec, directions_of, find_map_spec, map_specs_of
from ale_dask.reporting.common.once import kept, made_once
from ale_dask.reporting.common.presentation import presentation_of
from ale_dask.reporting.common.wording import controls
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.tables.columns import NETWORKS
from ale_dask.reporting.tables.rows import frame
from ale_dask.reporting.tables.text import rows_of

_KEY = ("analysis", "kind", "input", "level", "direction", "cluster")
STUDY = (*_KEY, "Z", "ALE", "p", "x", "y", "z", "volume_mm3", "controls")
"""Columns of the table of a study; one with subsamples has the share behind them, one with networks these."""


@made_once
def study_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Return every cluster of a study's analyses, one row each, at both inputs and each level.

    An analysis or a direction without a cluster has one row with cluster "none" and volume 0. Positions are mm MNI; the
    p of a main effect is that of the cluster by the primary correction.
    """
    rows: list[dict[str, Any]] = []
    for name, result in results.items():
        kind = model_of(result).kind
        if kind == "main-effect":
            rows += [{"analysis": name, **row} for row in rows_of_main_effect(result)]
            continue
        for level, source in levels_of(result):
            spec = find_map_spec(result, level=level, source=source)
            words, clusters = controls(result, spec), rows_of(directed_table(result, spec))
            fixed = {"analysis": name, "kind": kind, "input": source, "level": level, "controls": words}
            for direction in directions_of(result, spec):
                own = [
                    {**fixed, "direction": direction, **_study_row(r)} for r in clusters if r["Direction"] == direction
                ]
                rows += own or [{**fixed, "direction": direction, "cluster": "none", "volume_mm3": 0.0}]
    return frame(rows, [*STUDY, *(key for key in _SOME_HAVE if any(key in row for row in rows))])


def table_of_map(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    """Return the cluster table that belongs to a thresholded map."""
    return presentation_of(result).table(result, spec)


def directed_table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    """Return the cluster table of a map of a contrast, conjunction …, with the direction of each cluster in words."""
    table = table_of_map(result, spec)
    return table if "Direction" in table else table.assign(Direction=model_of(result).directions[0])


def by_direction(result: xr.Dataset, spec: MapSpec) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    """Yield each direction of a result in words, the map, and the rows of its cluster table in that direction."""
    table = directed_table(result, spec)
    for direction in directions_of(result, spec):
        yield direction, spec, table[table["Direction"] == direction]


@kept
def rows_of_main_effect(result: xr.Dataset) -> list[dict[str, Any]]:
    """Return the rows of a main effect in the table of a study, without its name."""
    correction = model_of(result).correction
    p = f"p {correction.short} FWE" if correction.of_clusters else ""
    rows: list[dict[str, Any]] = []
    for source, level in zip(INPUTS, (correction.word, "uncorrected"), strict=True):
        words = controls(result, find_map_spec(result, level=level))
        fixed = {"kind": "main-effect", "input": source, "level": level, "controls": words}
        table = cluster_table(result, source=source)
        # Sub-peaks, which have no volume, are listed in the table of the analysis alone.
        clusters = rows_of(table[table["Cluster Size (mm3)"].notna()])
        rows += [{**fixed, **_study_row({**row, "p": row.get(p, np.nan)})} for row in clusters]
        if not clusters:
            rows.append({**fixed, "cluster": "none", "volume_mm3": 0.0})
    return rows


def levels_of(result: xr.Dataset) -> list[tuple[str, str]]:
    """Return the level and input of every thresholded map of a contrast, conjunction … that has a table."""
    levels = presentation_of(result).levels
    present = dict.fromkeys((v.level, v.source) for v in map_specs_of(result) if v.level in levels)
    return sorted(present, key=lambda pair: levels.index(pair[0]))


_STUDY_NAMES = {
    "cluster": "Cluster ID",
    "Z": "Peak Stat",
    "ALE": "Peak ALE",
    "p": "p",
    "x": "X",
    "y": "Y",
    "z": "Z",
    "volume_mm3": "Cluster Size (mm3)",
}
_SOME_HAVE = {"share": "Peak Share", "networks": NETWORKS}
"""Columns of the table of a study that only some studies have."""


def _study_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    values = {new: row.get(old, np.nan) for new, old in _STUDY_NAMES.items()}
    some = {new: row[old] for new, old in _SOME_HAVE.items() if old in row}
    # Z has no sign, since the direction is a column of its own.
    return {**values, "Z": abs(values["Z"]), **some}


def cluster_tables(result: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Return the cluster tables of an analysis by the ends of their file names: "", "_uncorrected", "_level-voxel…"."""
    if model_of(result).kind == "main-effect":
        base_rate = {"_base-rate": cluster_table(result, null="base-rate")} if "z_base_rate" in result else {}
        return {ENDS[source]: cluster_table(result, source=source) for source in INPUTS} | base_rate
    specs = [find_map_spec(result, level=level, source=source) for level, source in levels_of(result)]
    return {_table_end(spec): table_of_map(result, spec) for spec in specs}


def _table_end(spec: MapSpec) -> str:
    return spec.table or f"{_LEVEL_ENDS[spec.level]}{ENDS.get(spec.source, '')}"


def table_end(result: xr.Dataset, spec: MapSpec) -> str | None:
    """Return the end of the name of the file with the cluster table of a map, as `cluster_tables` has it; else None."""
    if model_of(result).kind != "main-effect":
        return _table_end(spec)
    if spec.level == "uncorrected":
        return ENDS["uncorrected"]
    if is_base_rate(spec):
        return "_base-rate"
    return "" if nulls_of(result)[0] == "uniform" else None


ENDS = {"cluster-fwe": "", "uncorrected": "_uncorrected"}
_LEVEL_ENDS = {
    "uncorrected": "",
    "thresholded": "",
    "voxel-fwe": "_level-voxel",
    "size-fwe": "_desc-size_level-cluster",
    "mass-fwe": "_desc-mass_level-cluster",
    f"{AGAINST}thresholded": "_base-rate",
    f"{AGAINST}voxel-fwe": "_desc-baseRate_level-voxel",
}
