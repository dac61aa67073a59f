"""Measure how far every two analyses of a study overlap at the primary correction, as a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.matching import dice
from ale_dask.analyses.findings.model import is_simulated, model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.palette import FAINT, INK, OVERLAP, hues_of, pooled_names
from ale_dask.reporting.common.svg import WIDTH, box, short, svg, text
from ale_dask.reporting.tables.contributions import surviving_clusters

_EACH = tuple(f"{what}_{side}" for side in "12" for what in ("map", "kind", "voxels", "mm3"))
OVERLAP_COLUMNS = (
    *_EACH,
    "voxels_both",
    "mm3_both",
    "dice",
    "nearest_mm",
    *(f"{axis}_{side}" for side in "12" for axis in "xyz"),
)
MOST_COMPARED = 100
"""Analyses of a study up to which every two are compared: 10,000 would make 50 million pairs."""
_MOST_DRAWN = 50
_SHADE = (29, 90, 140)
"""Red, green and blue of Dice 1; Dice 0 is white, so that lightness alone tells them apart."""


@dataclass(frozen=True, eq=False)
class SurvivingMap:
    """The surviving voxels of an analysis, or of one direction of a contrast, and the peaks of its clusters in mm."""

    name: str
    kind: str
    colour: str
    voxels: npt.NDArray[np.int64]
    peaks: npt.NDArray[np.float64]
    mm3: float
    mask: str


def overlap_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Return how far every two analyses overlap at the primary correction.

    Contrasts are the maps inside the gate at their uncorrected p. Main effects that were pooled for a contrast are left
    out, as are pairs on different masks.

    Parameters
    ----------
    results
        Results by name, as `run` and `collect` return them.

    Returns
    -------
    DataFrame
        One row per pair of maps, contrasts by direction: name, kind, voxels and volume (mm3) of each map, the voxels
        and volume in common, Dice (missing where neither has a voxel), and the distance in mm of the two nearest peaks
        of clusters with their positions.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> results = {name: ale.main_effect(foci, name=name, mask="ball.nii.gz", iterations=60) for name in ("a", "b")}
    >>> ale.overlap_table(results)[["map_1", "map_2"]].values.tolist()
    [['a', 'b']]
    """
    return _table(surviving_maps(results))


def _table(maps: list[SurvivingMap]) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for first, second in combinations(maps, 2):
        if first.mask != second.mask:
            continue
        both = len(np.intersect1d(first.voxels, second.voxels, assume_unique=True))
        n, m = len(first.voxels), len(second.voxels)
        volume = both * _voxel_volume(first, second)
        row: dict[str, object] = {"voxels_both": both, "mm3_both": volume, "dice": dice(n, m, both)}
        for side, each in (("1", first), ("2", second)):
            values = {"map": each.name, "kind": each.kind, "voxels": len(each.voxels), "mm3": each.mm3}
            row |= {f"{what}_{side}": value for what, value in values.items()}
        if n and m:
            apart = np.linalg.norm(first.peaks[:, None] - second.peaks[None], axis=-1)
            i, j = np.unravel_index(int(np.argmin(apart)), apart.shape)
            row["nearest_mm"] = float(apart[i, j])
            for side, peak in (("1", first.peaks[i]), ("2", second.peaks[j])):
                row |= {f"{axis}_{side}": float(v) for axis, v in zip("xyz", peak, strict=True)}
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS))
    floats = [c for c in OVERLAP_COLUMNS if not c.startswith(("map", "kind", "voxels"))]
    return table.astype(dict.fromkeys(floats, np.float64))


def _voxel_volume(first: SurvivingMap, second: SurvivingMap) -> float:
    larger = max(first, second, key=lambda each: len(each.voxels))
    return larger.mm3 / len(larger.voxels) if len(larger.voxels) else 0.0


def surviving_maps(results: Mapping[str, xr.Dataset]) -> list[SurvivingMap]:
    """Return the surviving map of every analysis of a study in its order, two of each contrast."""
    hues, pooled = hues_of(results), pooled_names(results)
    maps = []
    for name, result in results.items():
        if name in pooled:
            continue
        kind = model_of(result).kind
        clusters = surviving_clusters(result, INPUTS[0])
        volume = model_of(result).mask.voxel_volume
        for sign, words in model_of(result).sides.items():
            main = result.attrs["arms"][0 if sign > 0 else 1] if kind == "contrast" else name
            colour = hues[main].flat if main in hues else OVERLAP.flat if kind == "conjunction" else FAINT
            maps.append(
                _surviving(words or name, kind, colour, [c for c in clusters if c.sign == sign], result, volume)
            )
    return maps


def _surviving(
    name: str, kind: str, colour: str, clusters: list[Cluster], result: xr.Dataset, volume: float
) -> SurvivingMap:
    voxels = np.concatenate([np.zeros(0, dtype=np.int64), *(c.voxels for c in clusters)])
    peaks = np.array([c.peak_mm for c in clusters], dtype=np.float64).reshape(-1, 3)
    return SurvivingMap(name, kind, colour, voxels, peaks, len(voxels) * volume, str(result.attrs["mask_sha256"]))


def overlap_svg(results: Mapping[str, xr.Dataset]) -> str:
    """Return the overlaps as a matrix, volumes on the diagonal and above and Dice below; "" for one map or above 50."""
    maps = surviving_maps(results)
    if not 2 <= len(maps) <= _MOST_DRAWN:
        return ""
    rows = {(r["map_1"], r["map_2"]): r for r in _table(maps).to_dict("records")}
    label, top = 250, 64
    cell = min(92, (WIDTH - label - 14) // len(maps))
    size = 11 if cell >= 56 else 9
    parts = [
        text(14, 42, "On the diagonal and above: mm³ of each and in both. Below: Dice, shaded from 0 to 1.", fill=FAINT)
    ]
    for i, row_map in enumerate(maps):
        y = top + 22 + 30 * i
        parts += [box(14, y + 8, 12, 12, row_map.colour), text(32, y + 19, f"{i + 1}  {short(row_map.name, 30)}")]
        parts.append(text(label + cell * (i + 0.5), top + 14, str(i + 1), anchor="middle", bold=True))
        for j, column_map in enumerate(maps):
            x = label + cell * j
            row = rows.get((row_map.name, column_map.name) if i < j else (column_map.name, row_map.name))
            share = 0.0 if row is None or i <= j or np.isnan(row["dice"]) else float(row["dice"])
            fill = "#eef1f3" if i == j else "#" + "".join(f"{round(255 - (255 - c) * share):02x}" for c in _SHADE)
            words = _cell(i, j, row_map, row)
            parts.append(box(x, y, cell - 1, 29, fill))
            ink = "#fff" if share > 0.5 else INK
            parts.append(text(x + cell / 2, y + 19, words, fill=ink, anchor="middle", size=size, bold=i == j))
    title = f"{SIMULATED} · overlap of the analyses" if is_simulated(*results.values()) else "Overlap of the analyses"
    return svg(parts, height=top + 22 + 30 * len(maps) + 12, title=title, alt=overlap_alt(results))


def _cell(i: int, j: int, row_map: SurvivingMap, row: Mapping[Any, Any] | None) -> str:
    if i == j:
        return f"{row_map.mm3:,.0f}"
    if row is None or (i > j and np.isnan(row["dice"])):
        return "–"
    return f"{row['mm3_both']:,.0f}" if i < j else f"{row['dice']:.2f}"


def overlap_alt(results: Mapping[str, xr.Dataset]) -> str:
    """Return in words the pairs of maps that overlap, in descending order of Dice."""
    table = overlap_table(results)
    overlapping = table[table["voxels_both"] > 0].sort_values("dice", ascending=False, kind="stable")
    pairs = [
        f"{r['map_1']} and {r['map_2']} {r['mm3_both']:,.0f} mm³ (Dice {r['dice']:.2f})"
        for r in overlapping.to_dict("records")
    ]
    more = f"; and {len(pairs) - 8} more pairs" if len(pairs) > 8 else ""
    return f"Overlap of {len(table)} pairs of maps: {'; '.join(pairs[:8]) or 'none has a voxel in common'}{more}."
