"""Which clusters depend on the settings: the places where the cells of a sweep find one, and which cells do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.atlas import regions
from ale_dask.analyses.findings.clusters import grid_name, grid_of
from ale_dask.config.study import INPUTS
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.results import Results, by_name
from ale_dask.reporting.figures.plots import figure_svg
from ale_dask.reporting.sensitivity.leave_one_out import draw_retained
from ale_dask.reporting.tables.anatomy import region_words
from ale_dask.reporting.tables.clusters import directions, tsv
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.storage.location import replace_file

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
_MOST_SHOWN = 30
"""Places of a figure; the table has all of them."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a cluster is found: its voxels (voxel), counted in C order of the whole grid, in the first cell with it."""

    voxels: I64
    cell: str
    xyz: F64
    mm3: float
    region: str


@dataclass(frozen=True, eq=False)
class Found:
    """The places of one analysis and direction, those in most cells first, and where they are found again.

    share (place, cell) is what survives of each place's voxels; `columns` are axis, value, and which cells have it.
    """

    analysis: str
    direction: str
    grid: str
    places: list[Place]
    share: F64
    columns: list[tuple[str, str, npt.NDArray[np.bool_]]]

    def counts(self, place: int, axis: str) -> dict[str, tuple[int, int]]:
        """Return by the values of an axis in how many cells a place is found, and how many there are."""
        alive = self.share[place] > 0
        return {value: (int(alive[here].sum()), int(here.sum())) for a, value, here in self.columns if a == axis}


class Places:
    """The places of each analysis and direction, one after the other as the cells of a sweep come.

    A cluster that shares no voxel with the places before it is another place. Analyses on other grids are other ones.
    """

    def __init__(self) -> None:
        self._cells: list[dict[str, str]] = []
        self._places: dict[tuple[str, str, str], list[Place]] = {}
        self._alive: dict[tuple[str, str, str], dict[int, I64]] = {}

    def add(self, label: str, values: Mapping[str, object], results: Mapping[str, xr.Dataset]) -> None:
        """Take in the results of one cell, by the values that it has on the axes."""
        number = len(self._cells)
        self._cells.append({axis: str(value) for axis, value in values.items()})
        for name, result in results.items():
            at = np.ravel_multi_index(
                tuple(result["voxel_ijk"].values.T.astype(np.int64)), tuple(result.attrs["shape"])
            )
            found = surviving_clusters(result, INPUTS[0])
            sides = directions(result) if result.attrs["kind"] == "contrast" else ("",)
            # Only a contrast has clusters below 0.
            for sign, side in zip((1, -1), sides, strict=False):
                key = name, side, grid_name(result)
                known = self._places.setdefault(key, [])
                mine = [(c, np.sort(at[c.voxels])) for c in found if c.sign == sign]
                for cluster, voxels in mine:
                    if not any(np.isin(voxels, one.voxels, assume_unique=True).any() for one in known):
                        mm3 = len(voxels) * grid_of(result).voxel_volume
                        # Without the atlas a place has its coordinates alone.
                        region = region_words(regions(cluster.peak_mm)["AAL"]) if available(*LABELS) else ""
                        known.append(Place(voxels, label, cluster.peak_mm, mm3, region))
                none = np.empty(0, dtype=np.int64)
                self._alive.setdefault(key, {})[number] = np.concatenate([none, *(voxels for _, voxels in mine)])

    def found(self) -> list[Found]:
        """Return what there is of each analysis and direction."""
        return [self._found(*key, places) for key, places in self._places.items()]

    def _found(self, analysis: str, direction: str, grid: str, places: list[Place]) -> Found:
        alive = self._alive[analysis, direction, grid]
        share = np.array(
            [[np.isin(p.voxels, voxels, assume_unique=True).mean() for voxels in alive.values()] for p in places]
        ).reshape(len(places), len(alive))
        order = sorted(range(len(places)), key=lambda i: (-(share[i] > 0).sum(), -places[i].mm3))
        columns = []
        for axis in self._cells[0]:
            own = [self._cells[cell][axis] for cell in alive]
            columns += [(axis, value, np.array([v == value for v in own])) for value in dict.fromkeys(own)]
        return Found(analysis, direction, grid, [places[i] for i in order], share[order], columns)


def _row(found: Found, i: int) -> dict[str, Any]:
    place, share = found.places[i], found.share[i]
    by_axis = {axis: found.counts(i, axis) for axis in dict.fromkeys(axis for axis, *_ in found.columns)}
    shares = {axis: [n / of for n, of in counts.values()] for axis, counts in by_axis.items()}
    spread = {axis: max(each) - min(each) for axis, each in shares.items()}
    # The axis along whose values the share of cells with the place differs most.
    axis = max(spread, key=lambda a: spread[a])
    return {
        "Analysis": found.analysis,
        "Direction": found.direction,
        "Grid": found.grid,
        "Place": i + 1,
        **dict(zip("XYZ", place.xyz.tolist(), strict=True)),
        "Region": place.region,
        "Cluster Size (mm3)": place.mm3,
        "First Cell": place.cell,
        "Cells": len(share),
        "Survives": int((share > 0).sum()),
        "Mean Retained (%)": 100 * share.mean(),
        "Depends On": axis if spread[axis] else "",
        "By (%)": 100 * spread[axis],
        **{
            axis: "; ".join(f"{value} {n}/{of}" for value, (n, of) in counts.items())
            for axis, counts in by_axis.items()
        },
    }


def _table(found: Sequence[Found]) -> pd.DataFrame:
    return pd.DataFrame([_row(each, i) for each in found for i in range(len(each.places))])


def _svg(found: Found, *, simulated: bool) -> str:
    """Return a figure of what each value of each axis leaves of the places, on average over its cells."""
    places, columns = found.places[:_MOST_SHOWN], found.columns
    axes = list(dict.fromkeys(axis for axis, *_ in columns))
    n_cells = found.share.shape[1]
    mean = np.array([[row[here].mean() for *_, here in columns] for row in found.share[: len(places)]])
    mark = f"{SIMULATED} · " if simulated else ""
    always = int((found.share > 0).all(axis=1).sum())
    more = f", the first {_MOST_SHOWN} of {len(found.places)} places" if len(found.places) > _MOST_SHOWN else ""
    title = f"{mark}{found.direction or found.analysis} · share of each place that survives{more}"
    says = f"{always} of {len(found.places)} places have a cluster in all {n_cells} cells."
    size = (min(16.0, 5.2 + 0.62 * len(columns)), 2.0 + 0.32 * len(places))
    with figure_svg(title, alt=says, size=size) as (plot, svg):
        names = [f"{p.region} ({', '.join(f'{x:.0f}' for x in p.xyz)})".strip().replace("-", "−") for p in places]
        draw_retained(plot, mean, names)
        if n_cells > len(columns) or len(axes) > 1:
            for y in range(len(places)):
                counts = [count for axis in axes for count in found.counts(y, axis).values()]
                for x, (n, of) in enumerate(counts):
                    ink = "#1d2329" if mean[y, x] > 0.6 else "#ffffff"
                    plot.text(x, y, f"{n}/{of}" if n else "", ha="center", va="center", color=ink, fontsize=7)
        ticks = [value if len(axes) == 1 else f"{axis} {value}" for axis, value, _ in columns]
        plot.set_xticks(range(len(columns)), ticks, rotation=30, ha="right", rotation_mode="anchor")
        if len(axes) == 1:
            plot.set_xlabel(axes[0])
        for x in range(1, len(columns)):
            if columns[x][0] != columns[x - 1][0]:
                plot.axvline(x - 0.5, color="#ffffff", linewidth=4)
    return svg.getvalue()


def write_places(places: Places, out: Path, *, simulated: bool) -> None:
    """Write robustness.tsv and, with matplotlib, places/NAME.svg of each analysis and direction that has a place."""
    found = places.found()
    replace_file(out / "robustness.tsv", tsv(_table(found)))
    several = len({each.grid for each in found}) > 1
    for each in found if available("matplotlib") else []:
        if each.places:
            name = "_".join(filter(None, (each.analysis, each.direction, f"grid-{each.grid}" if several else "")))
            svg = _svg(each, simulated=simulated)
            replace_file(out / "places" / f"{stem(name)}.svg", svg.encode())


def robustness_table(cells: Mapping[str, Results], *, axis: str = "cell") -> pd.DataFrame:
    """Return a row per place where results under some settings have a cluster: under which of them it is there.

    Parameters
    ----------
    cells
        by what each setting is called (a profile, a mask, a p), the results under it
    axis
        what the settings are values of
    """
    places = Places()
    for label, results in cells.items():
        places.add(label, {axis: label}, by_name(results))
    return _table(places.found())
