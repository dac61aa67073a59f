"""Which clusters depend on the settings: the places where the cells of a sweep find one, and which cells do."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.data.places import replace_file
from ale_dask.results.anatomy import region_words
from ale_dask.results.contributing import surviving_clusters
from ale_dask.results.extra import available
from ale_dask.results.labels import regions
from ale_dask.results.maps import SIMULATED
from ale_dask.results.plots import figure_svg
from ale_dask.results.surviving import draw_retained
from ale_dask.results.tables import directions, tsv
from ale_dask.results.views import stem
from ale_dask.results.write import Results, by_name
from ale_dask.words.config import INPUTS

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


class Places:
    """The places of each analysis and direction, one after the other as the cells of a sweep come.

    A cluster that shares no voxel with the places before it is another place. Analyses on other grids are other ones.
    """

    def __init__(self) -> None:
        self._cells: list[tuple[str, dict[str, str]]] = []
        self._places: dict[tuple[str, str, str], list[Place]] = {}
        self._alive: dict[tuple[str, str, str], dict[int, I64]] = {}

    def add(self, label: str, values: Mapping[str, object], results: Mapping[str, xr.Dataset]) -> None:
        """Take in the results of one cell, by the values that it has on the axes."""
        self._cells.append((label, {axis: str(value) for axis, value in values.items()}))
        for name, result in results.items():
            shape = tuple(int(n) for n in result.attrs["shape"])
            grid = hashlib.sha256(np.array(result.attrs["affine"], dtype=np.float64).tobytes() + str(shape).encode())
            at = np.ravel_multi_index(tuple(result["voxel_ijk"].values.T.astype(np.int64)), shape).astype(np.int64)
            found = surviving_clusters(result, INPUTS[0])
            sides = directions(result) if result.attrs["kind"] == "contrast" else ("",)
            for sign, side in zip((1, -1), sides, strict=False):
                key = name, side, grid.hexdigest()[:8]
                mine = [c for c in found if c.sign == sign or len(sides) == 1]
                known = self._places.setdefault(key, [])
                for cluster in mine:
                    voxels = np.sort(at[cluster.voxels])
                    if not any(np.isin(voxels, one.voxels, assume_unique=True).any() for one in known):
                        mm3 = len(voxels) * abs(np.linalg.det(np.reshape(result.attrs["affine"], (4, 4))))
                        region = region_words(regions(cluster.peak_mm)["AAL"])
                        known.append(Place(voxels, label, cluster.peak_mm, mm3, region))
                alive = [np.empty(0, dtype=np.int64), *(at[c.voxels] for c in mine)]
                self._alive.setdefault(key, {})[len(self._cells) - 1] = np.concatenate(alive)

    def retained(self) -> dict[tuple[str, str, str], tuple[list[Place], F64, list[int]]]:
        """Return, by analysis, direction and grid, the places, what survives of each, and which cells these are.

        What survives is the share of a place's voxels that do, (place, cell); places in most cells come first.
        """
        out = {}
        for key, places in self._places.items():
            cells = self._alive[key]
            share = np.array(
                [[np.isin(p.voxels, alive, assume_unique=True).mean() for alive in cells.values()] for p in places]
            ).reshape(len(places), len(cells))
            order = sorted(range(len(places)), key=lambda i: (-(share[i] > 0).sum(), -places[i].mm3))
            out[key] = [places[i] for i in order], share[order], list(cells)
        return out

    def table(self) -> pd.DataFrame:
        """Return a row per place: in how many cells a cluster overlaps it, by each axis, and what it depends on.

        "Depends On" is the axis along whose values the share of cells with it differs most, by "By (%)".
        """
        axes = list(self._cells[0][1]) if self._cells else []
        rows = []
        for (name, side, grid), (places, share, cells) in self.retained().items():
            for number, (place, own) in enumerate(zip(places, share, strict=True), 1):
                by_axis = {axis: self._along(axis, own > 0, cells) for axis in axes}
                most = {
                    axis: max(n / of for n, of in counts.values()) - min(n / of for n, of in counts.values())
                    for axis, counts in by_axis.items()
                }
                axis = max(most, key=lambda a: most[a], default="")
                rows.append(
                    {
                        "Analysis": name,
                        "Direction": side,
                        "Grid": grid,
                        "Place": number,
                        **dict(zip("XYZ", place.xyz.tolist(), strict=True)),
                        "Region": place.region,
                        "Cluster Size (mm3)": place.mm3,
                        "First Cell": place.cell,
                        "Cells": len(cells),
                        "Survives": int((own > 0).sum()),
                        "Mean Retained (%)": 100 * own.mean(),
                        "Depends On": axis if most.get(axis) else "",
                        "By (%)": 100 * most.get(axis, 0.0),
                        **{
                            axis: "; ".join(f"{value} {n}/{of}" for value, (n, of) in counts.items())
                            for axis, counts in by_axis.items()
                        },
                    }
                )
        return pd.DataFrame(rows)

    def _along(self, axis: str, alive: npt.NDArray[np.bool_], cells: Sequence[int]) -> dict[str, tuple[int, int]]:
        """Return by the values of an axis in how many cells a place is found, and how many there are."""
        counts: dict[str, tuple[int, int]] = {}
        for found, cell in zip(alive, cells, strict=True):
            value = self._cells[cell][1][axis]
            n, of = counts.get(value, (0, 0))
            counts[value] = n + int(found), of + 1
        return counts

    def svgs(self, *, simulated: bool = False) -> dict[str, str]:
        """Return a figure of each analysis and direction that has a place, by name; needs matplotlib."""
        out = {}
        several = len({grid for *_, grid in self._places}) > 1
        for (name, side, grid), (places, share, cells) in self.retained().items():
            if places:
                what = side or name
                key = f"{name}_{side}" if side else name
                out[f"{key}_grid-{grid}" if several else key] = self._svg(
                    what, places, share, cells, simulated=simulated
                )
        return out

    def _svg(self, what: str, places: list[Place], share: F64, cells: Sequence[int], *, simulated: bool) -> str:
        axes = list(self._cells[0][1])
        columns: list[tuple[str, str, npt.NDArray[np.bool_]]] = []
        for axis in axes:
            own = [self._cells[cell][1][axis] for cell in cells]
            columns += [(axis, value, np.array([v == value for v in own])) for value in dict.fromkeys(own)]
        shown = places[:_MOST_SHOWN]
        mean = np.array([[row[here].mean() for *_, here in columns] for row in share[: len(shown)]])
        found = np.array([[(row[here] > 0).sum() for *_, here in columns] for row in share[: len(shown)]])
        mark = f"{SIMULATED} · " if simulated else ""
        always = int((share > 0).all(axis=1).sum())
        more = f", the first {_MOST_SHOWN} of {len(places)} places" if len(places) > _MOST_SHOWN else ""
        says = f"{always} of {len(places)} places have a cluster in all {len(cells)} cells."
        size = (min(16.0, 5.2 + 0.62 * len(columns)), 2.0 + 0.32 * len(shown))
        with figure_svg(f"{mark}{what} · share of each place that survives{more}", says=says, size=size) as (plot, svg):
            names = [f"{p.region} ({', '.join(f'{x:.0f}' for x in p.xyz)})".replace("-", "−") for p in shown]
            draw_retained(plot, mean, names)
            if len(cells) > len(columns) or len(axes) > 1:
                for (y, x), n in np.ndenumerate(found):
                    of = int(columns[x][2].sum())
                    ink = "#1d2329" if mean[y, x] > 0.6 else "#ffffff"
                    if n:
                        plot.text(x, y, f"{n}/{of}", ha="center", va="center", color=ink, fontsize=7)
            ticks = [value if len(axes) == 1 else f"{axis} {value}" for axis, value, _ in columns]
            plot.set_xticks(range(len(columns)), ticks, rotation=30, ha="right", rotation_mode="anchor")
            if len(axes) == 1:
                plot.set_xlabel(axes[0])
            for x in range(1, len(columns)):
                if columns[x][0] != columns[x - 1][0]:
                    plot.axvline(x - 0.5, color="#ffffff", linewidth=4)
        return svg.getvalue()

    def write(self, out: Path, *, simulated: bool) -> None:
        """Write robustness.tsv and, with matplotlib, places/NAME.svg."""
        replace_file(out / "robustness.tsv", tsv(self.table()))
        if available("matplotlib"):
            for name, svg in self.svgs(simulated=simulated).items():
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
    return places.table()
