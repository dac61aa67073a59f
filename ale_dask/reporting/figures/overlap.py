"""How far the analyses of a study overlap: every two of them at the primary correction, as a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster, grid_of
from ale_dask.analyses.findings.matching import dice
from ale_dask.config.study import INPUTS
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.palette import FAINT, INK, OVERLAP, hues_of, pooled_names
from ale_dask.reporting.common.svg import WIDTH, box, short, svg, text
from ale_dask.reporting.tables.clusters import directions
from ale_dask.reporting.tables.contributions import surviving_clusters

_EACH = tuple(f"{what}_{side}" for side in "12" for what in ("map", "kind", "voxels", "mm3"))
OVERLAPS = (
    *_EACH,
    "voxels_both",
    "mm3_both",
    "dice",
    "nearest_mm",
    *(f"{axis}_{side}" for side in "12" for axis in "xyz"),
)
_SHADE = (29, 90, 140)
"""Of Dice 1, white of 0: lightness alone tells them apart."""


@dataclass(frozen=True, eq=False)
class Surviving:
    """What survives of an analysis, of a contrast in one direction: its voxels and the peaks of its clusters in mm."""

    name: str
    kind: str
    colour: str
    voxels: npt.NDArray[np.int64]
    peaks: npt.NDArray[np.float64]
    mm3: float
    mask: str


def overlap_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Return how far every two analyses overlap (row: pair), at the primary correction; contrasts by direction.

    Of each its voxels and volume, of both those in common, Dice (missing where neither has a voxel), and the distance
    in mm of the two nearest peaks of clusters with their positions. Contrasts are the maps inside the gate at their
    uncorrected p. Main effects that were pooled for a contrast are left out, as are pairs on different masks.
    """
    return _table(surviving(results))


def _table(maps: list[Surviving]) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for one, other in combinations(maps, 2):
        if one.mask != other.mask:
            continue
        both = len(np.intersect1d(one.voxels, other.voxels, assume_unique=True))
        n, m = len(one.voxels), len(other.voxels)
        row: dict[str, object] = {"voxels_both": both, "mm3_both": both * _volume(one, other), "dice": dice(n, m, both)}
        for side, each in (("1", one), ("2", other)):
            values = {"map": each.name, "kind": each.kind, "voxels": len(each.voxels), "mm3": each.mm3}
            row |= {f"{what}_{side}": value for what, value in values.items()}
        if n and m:
            apart = np.linalg.norm(one.peaks[:, None] - other.peaks[None], axis=-1)
            i, j = np.unravel_index(int(np.argmin(apart)), apart.shape)
            row["nearest_mm"] = float(apart[i, j])
            for side, peak in (("1", one.peaks[i]), ("2", other.peaks[j])):
                row |= {f"{axis}_{side}": float(v) for axis, v in zip("xyz", peak, strict=True)}
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(OVERLAPS))
    floats = [c for c in OVERLAPS if not c.startswith(("map", "kind", "voxels"))]
    return table.astype(dict.fromkeys(floats, np.float64))


def _volume(one: Surviving, other: Surviving) -> float:
    larger = max(one, other, key=lambda each: len(each.voxels))
    return larger.mm3 / len(larger.voxels) if len(larger.voxels) else 0.0


def surviving(results: Mapping[str, xr.Dataset]) -> list[Surviving]:
    """Return what survives of every analysis of a study in its order, contrasts in both directions."""
    hues, pooled = hues_of(results), pooled_names(results)
    found = []
    for name, result in results.items():
        if name in pooled:
            continue
        kind = result.attrs["kind"]
        clusters = surviving_clusters(result, INPUTS[0])
        volume = grid_of(result).voxel_volume
        for words, sign in zip(directions(result) if kind == "contrast" else (name,), (1, -1), strict=False):
            of = result.attrs["arms"][0 if sign > 0 else 1] if kind == "contrast" else name
            colour = hues[of].flat if of in hues else OVERLAP.flat if kind == "conjunction" else FAINT
            found.append(_surviving(words, kind, colour, [c for c in clusters if c.sign == sign], result, volume))
    return found


def _surviving(
    name: str, kind: str, colour: str, clusters: list[Cluster], result: xr.Dataset, volume: float
) -> Surviving:
    voxels = np.concatenate([np.zeros(0, dtype=np.int64), *(c.voxels for c in clusters)])
    peaks = np.array([c.peak_mm for c in clusters], dtype=np.float64).reshape(-1, 3)
    return Surviving(name, kind, colour, voxels, peaks, len(voxels) * volume, str(result.attrs["mask_sha256"]))


def overlap_svg(results: Mapping[str, xr.Dataset], *, simulated: bool) -> str:
    """Return the overlaps as a matrix, "" for fewer than two maps: volumes on the diagonal and above, Dice below."""
    maps = surviving(results)
    if len(maps) < 2:
        return ""
    rows = {(r["map_1"], r["map_2"]): r for r in _table(maps).to_dict("records")}
    label, top = 250, 64
    cell = min(92, (WIDTH - label - 14) // len(maps))
    size = 11 if cell >= 56 else 9
    parts = [
        text(14, 42, "On the diagonal and above: mm³ of each and in both. Below: Dice, shaded from 0 to 1.", fill=FAINT)
    ]
    for i, one in enumerate(maps):
        y = top + 22 + 30 * i
        parts += [box(14, y + 8, 12, 12, one.colour), text(32, y + 19, f"{i + 1}  {short(one.name, 30)}")]
        parts.append(text(label + cell * (i + 0.5), top + 14, str(i + 1), anchor="middle", bold=True))
        for j, other in enumerate(maps):
            x = label + cell * j
            row = rows.get((one.name, other.name) if i < j else (other.name, one.name))
            share = 0.0 if row is None or i <= j or np.isnan(row["dice"]) else float(row["dice"])
            fill = "#eef1f3" if i == j else "#" + "".join(f"{round(255 - (255 - c) * share):02x}" for c in _SHADE)
            words = _cell(i, j, one, row)
            parts.append(box(x, y, cell - 1, 29, fill))
            ink = "#fff" if share > 0.5 else INK
            parts.append(text(x + cell / 2, y + 19, words, fill=ink, anchor="middle", size=size, bold=i == j))
    title = f"{SIMULATED} · overlap of the analyses" if simulated else "Overlap of the analyses"
    return svg(parts, height=top + 22 + 30 * len(maps) + 12, title=title, says=overlap_says(results))


def _cell(i: int, j: int, one: Surviving, row: Mapping[Any, Any] | None) -> str:
    if i == j:
        return f"{one.mm3:,.0f}"
    if row is None or (i > j and np.isnan(row["dice"])):
        return "–"
    return f"{row['mm3_both']:,.0f}" if i < j else f"{row['dice']:.2f}"


def overlap_says(results: Mapping[str, xr.Dataset]) -> str:
    """Return what the matrix shows in words: the pairs that overlap, the most alike first."""
    table = overlap_table(results)
    found = table[table["voxels_both"] > 0].sort_values("dice", ascending=False, kind="stable")
    pairs = [
        f"{r['map_1']} and {r['map_2']} {r['mm3_both']:,.0f} mm³ (Dice {r['dice']:.2f})"
        for r in found.to_dict("records")
    ]
    more = f"; and {len(pairs) - 8} more pairs" if len(pairs) > 8 else ""
    return f"Overlap of {len(table)} pairs of maps: {'; '.join(pairs[:8]) or 'none has a voxel in common'}{more}."
