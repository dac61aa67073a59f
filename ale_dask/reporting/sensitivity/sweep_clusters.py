"""List the places where cells of a sweep have a cluster, and the cells that have it."""

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
from ale_dask.analyses.findings.clusters import grid_name
from ale_dask.analyses.findings.model import Results, by_name, is_simulated, model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.svg import WIDTH, lines_of, titled
from ale_dask.reporting.figures.matrix import Matrix, legend
from ale_dask.reporting.tables.anatomy import sided_words
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.reporting.tables.text import tsv
from ale_dask.storage.location import replace_file

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
_MOST_SHOWN = 30
"""Most places in a figure; the table has them all."""


@dataclass(frozen=True, eq=False)
class Place:
    """The place of a cluster in the first cell that has it; `voxels` are indices in C order of the whole grid."""

    voxels: I64
    cell: str
    xyz: F64
    mm3: float
    region: str


@dataclass(frozen=True, eq=False)
class SweepPlaces:
    """The places of one analysis and direction, in descending order of the cells that have them.

    `share` (place, cell) is the share of a place's voxels that survive; `columns` are axis, value, and whether each
    cell has that value (cell).
    """

    analysis: str
    direction: str
    grid: str
    places: list[Place]
    share: F64
    columns: list[tuple[str, str, npt.NDArray[np.bool_]]]

    def counts(self, place: int, axis: str) -> dict[str, tuple[int, int]]:
        """Return for each value of an axis how many of its cells have a place, and how many cells it has."""
        survives = self.share[place] > 0
        return {value: (int(survives[has].sum()), int(has.sum())) for a, value, has in self.columns if a == axis}


class Places:
    """Collects the places of each analysis, direction and grid from the cells of a sweep, one cell after the other.

    A cluster that shares no voxel with an earlier place is a new place.
    """

    def __init__(self) -> None:
        self.simulated = False
        self._cells: list[dict[str, str]] = []
        self._places: dict[tuple[str, str, str], list[Place]] = {}
        self._surviving: dict[tuple[str, str, str], dict[int, I64]] = {}

    def add(self, label: str, values: Mapping[str, object], results: Mapping[str, xr.Dataset]) -> None:
        """Add the results of one cell, whose values on the axes of the sweep are `values`."""
        self.simulated |= is_simulated(*results.values())
        number = len(self._cells)
        self._cells.append({axis: str(value) for axis, value in values.items()})
        for name, result in results.items():
            indices = np.ravel_multi_index(
                tuple(result["voxel_ijk"].values.T.astype(np.int64)), tuple(result.attrs["shape"])
            )
            clusters = surviving_clusters(result, INPUTS[0])
            for sign, side in model_of(result).sides.items():
                key = name, side, grid_name(result)
                known = self._places.setdefault(key, [])
                own = [(c, np.sort(indices[c.voxels])) for c in clusters if c.sign == sign]
                for cluster, voxels in own:
                    if not any(np.isin(voxels, place.voxels, assume_unique=True).any() for place in known):
                        mm3 = len(voxels) * model_of(result).mask.voxel_volume
                        region = sided_words(regions(cluster.peak_mm)["AAL"]) if available(*LABELS) else ""
                        known.append(Place(voxels, label, cluster.peak_mm, mm3, region))
                none = np.empty(0, dtype=np.int64)
                self._surviving.setdefault(key, {})[number] = np.concatenate([none, *(voxels for _, voxels in own)])

    def by_analysis(self) -> list[SweepPlaces]:
        """Return the places of each analysis, direction and grid."""
        return [self._ordered(*key, places) for key, places in self._places.items()]

    def _ordered(self, analysis: str, direction: str, grid: str, places: list[Place]) -> SweepPlaces:
        surviving = self._surviving[analysis, direction, grid]
        share = np.array(
            [[np.isin(p.voxels, voxels, assume_unique=True).mean() for voxels in surviving.values()] for p in places]
        ).reshape(len(places), len(surviving))
        order = sorted(range(len(places)), key=lambda i: (-(share[i] > 0).sum(), -places[i].mm3))
        columns = []
        for axis in self._cells[0]:
            own = [self._cells[cell][axis] for cell in surviving]
            columns += [(axis, value, np.array([v == value for v in own])) for value in dict.fromkeys(own)]
        return SweepPlaces(analysis, direction, grid, [places[i] for i in order], share[order], columns)


def table_of_places(sweeps: Sequence[SweepPlaces]) -> pd.DataFrame:
    """Return the places of a sweep, one row each, with the cells that have them and the setting they depend on."""
    return pd.DataFrame([_row(each, i) for each in sweeps for i in range(len(each.places))])


def _row(sweep: SweepPlaces, i: int) -> dict[str, Any]:
    place, share = sweep.places[i], sweep.share[i]
    by_axis = {axis: sweep.counts(i, axis) for axis in dict.fromkeys(axis for axis, *_ in sweep.columns)}
    shares = {axis: [n / cells for n, cells in counts.values()] for axis, counts in by_axis.items()}
    spread = {axis: max(each) - min(each) for axis, each in shares.items()}
    # The axis along whose values the share of cells with the place differs most.
    axis = max(spread, key=lambda a: spread[a])
    return {
        "Analysis": sweep.analysis,
        "Direction": sweep.direction,
        "Grid": sweep.grid,
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
            axis: "; ".join(f"{value} {n}/{cells}" for value, (n, cells) in counts.items())
            for axis, counts in by_axis.items()
        },
    }


def _svg(sweep: SweepPlaces, *, simulated: bool) -> str:
    """Return as SVG the share of each place that survives under each value of each axis, averaged over cells."""
    places, columns = sweep.places[:_MOST_SHOWN], sweep.columns
    axes = list(dict.fromkeys(axis for axis, *_ in columns))
    n_cells = sweep.share.shape[1]
    mark = f"{SIMULATED} · " if simulated else ""
    always = int((sweep.share > 0).all(axis=1).sum())
    more = f", the first {_MOST_SHOWN} of {len(sweep.places)} places" if len(sweep.places) > _MOST_SHOWN else ""
    title = f"{mark}{sweep.direction or sweep.analysis}: share of each place that survives{more}"
    counts = [[count for axis in axes for count in sweep.counts(y, axis).values()] for y in range(len(places))]
    matrix = Matrix(
        [f"{p.region} ({', '.join(f'{x + 0.0:.0f}' for x in p.xyz)})".strip().replace("-", "−") for p in places],
        [f"{axis} {value}" for axis, value, _ in columns],
        np.array([[row[has].mean() for *_, has in columns] for row in sweep.share[: len(places)]]),
        [[f"{n}/{cells}" if n else "×" for n, cells in row] for row in counts],
        frozenset(x for x in range(1, len(columns)) if columns[x][0] != columns[x - 1][0]),
    )
    lines = lines_of(title, width=WIDTH - 28, size=15)
    y = 42.0 + 18 * (len(lines) - 1)
    words = "of the place's voxels survive, the mean of these cells; numbers: cells that have the place, of all; × none"
    alt = f"{always} of {len(sweep.places)} places have a cluster in all {n_cells} cells."
    parts = [*legend(y, words), *matrix.draw(y + 10)]
    return titled(parts, lines=lines, height=round(y + 24 + matrix.height), alt=alt, width=matrix.width)


def write_places(sweeps: Sequence[SweepPlaces], out: Path, *, simulated: bool) -> list[tuple[str, Path]]:
    """Write robustness.tsv, and places/NAME.svg of each analysis and direction that has a place.

    The titles and the paths of the figures are returned.
    """
    figures = []
    replace_file(out / "robustness.tsv", tsv(table_of_places(sweeps)))
    several = len({each.grid for each in sweeps}) > 1
    for each in sweeps:
        if each.places:
            name = "_".join(filter(None, (each.analysis, each.direction, f"grid-{each.grid}" if several else "")))
            path = out / "places" / f"{stem(name)}.svg"
            replace_file(path, _svg(each, simulated=simulated).encode())
            figures.append((f"{each.direction or each.analysis}: share of each place that survives", path))
    return figures


def robustness_table(cells: Mapping[str, Results], *, axis: str = "cell") -> pd.DataFrame:
    """Return the places where results under different settings have a cluster, and the settings that have it.

    Parameters
    ----------
    cells
        The results under each setting, by a name of the setting (a profile, a mask, a p).
    axis
        A name for the axis of these settings.

    Returns
    -------
    DataFrame
        One row per place: its position (mm MNI), region and volume, under how many settings it survives, the mean share
        (%) of its voxels that survive, and the settings that have it.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> cells = {f"p {p}": ale.main_effect(foci, mask="ball.nii.gz", iterations=60, voxel_p=p) for p in (0.01, 0.05)}
    >>> ale.robustness_table(cells, axis="voxel_p").columns[:4].tolist()
    ['Analysis', 'Direction', 'Grid', 'Place']
    """
    places = Places()
    for label, results in cells.items():
        places.add(label, {axis: label}, by_name(results))
    return table_of_places(places.by_analysis())
