"""Write a comparison of two runs: four tables, and a figure of each pair of maps laid over each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import find_clusters
from ale_dask.analyses.findings.matching import CHANGES
from ale_dask.analyses.findings.model import is_simulated, model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.spreadsheet_cells import escaped
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.base_rate_maps import is_base_rate
from ale_dask.reporting.common.extra import PICTURES, available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import pictured_map_specs, stem
from ale_dask.reporting.common.phrases import counted, listed
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.compare.runs import Comparison, Pair, pairs_of
from ale_dask.reporting.figures.canvas import shades
from ale_dask.reporting.figures.slices import ColourScale, brain
from ale_dask.reporting.tables.long import long_records
from ale_dask.storage.location import Place, remove_file, replace_file

# Vermilion, sky blue and yellow of Okabe and Ito (2008): distinct with any colour blindness, and in lightness.
COLOURS = ("#d55e00", "#56b4e9", "#f0e442")
TABLES = ("clusters", "summary", "maps", "settings")
ONLY_1, ONLY_2, BOTH = 1, 2, 3
_SEVERAL = {change: "vanish" if change == "vanishes" else change.removesuffix("s") for change in CHANGES}
"""What several clusters do, by what one does."""


def write_comparison(
    comparison: Comparison,
    folder: Place,
    *,
    names: tuple[str, str] = ("run 1", "run 2"),
    pictures: bool = True,
) -> list[Place]:
    """Write the tables and figures of a comparison into a folder and return their paths.

    Figures name the two runs by the last part of each of `names`, or as 1 and 2 where these are equal. Without
    matplotlib or nilearn no figure is written, and the log says what to install.

    Raises
    ------
    InputError
        when two analyses would share a figure.
    StoreError
        when a file cannot be written.
    """
    if len({stem(name) for name in comparison.pairs}) < len(comparison.pairs):
        raise InputError(f"two of the analyses {', '.join(comparison.pairs)} would share a picture; rename one")
    paths: list[Place] = []
    for table in TABLES:
        path = folder / f"comparison_{table}.tsv"
        replace_file(path, as_tsv(getattr(comparison, table)))
        paths.append(path)
    if not pictures or not available(*PICTURES):
        return paths
    for name, (a, b) in comparison.pairs.items():
        for path, figure in _figures(name, a, b, folder, names=names):
            if figure:
                replace_file(path, figure)
                paths.append(path)
            else:
                # The figure of an earlier comparison would show clusters that are gone.
                remove_file(path)
    return paths


def as_tsv(table: pd.DataFrame) -> bytes:
    """Return a table of a comparison as tab-separated UTF-8 text: numbers to 6 digits, missing values empty."""
    return str(escaped(table).to_csv(sep="\t", index=False, lineterminator="\n", float_format="%.6g")).encode()


def as_records(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a comparison's tables as JSON has them, missing values as None."""
    return {table: long_records(getattr(comparison, table)) for table in TABLES}


def comparison_lines(comparison: Comparison) -> list[str]:
    """Return a comparison in lines for a terminal: a sentence, the maps, those least alike first, then settings."""
    lines = comparison_sentences(comparison)
    for row in sorted(long_records(comparison.summary), key=lambda row: 2.0 if row["dice"] is None else row["dice"]):
        place = ", ".join(row[key] for key in ("level", "input", "direction") if row[key])
        changes = ", ".join(f"{row[change]} {change}" for change in CHANGES if row[change])
        dice = "no voxel in either" if row["dice"] is None else f"Dice {row['dice']:.3f}"
        counts = f"{row['voxels_1']:,} and {row['voxels_2']:,} voxels, {row['voxels_both']:,} in both"
        lines.append(f"{row['analysis']} [{place}]: {dice}, {counts}{f'; clusters: {changes}' if changes else ''}")
    for row in long_records(comparison.maps):
        r = "constant," if row["correlation"] is None else f"r {row['correlation']:.4f},"
        at = f"{row['x']:.0f} {row['y']:.0f} {row['z']:.0f}"
        lines.append(
            f"{row['analysis']} [{row['map']}]: {r} largest difference {row['largest_difference']:.4g} at {at}"
        )
    for row in long_records(comparison.settings):
        lines.append(f"{row['analysis'] or 'all'}: {row['setting']} {row['value_1'] or '-'} | {row['value_2'] or '-'}")
    return lines


def comparison_sentences(comparison: Comparison) -> list[str]:
    """Return in two sentences how far two runs agree at their primary corrections, and how many settings differ."""
    decisive = [
        row
        for row in long_records(comparison.summary)
        if row["primary"] == "yes" or (row["primary"] == "" and row["input"] == INPUTS[0])
    ]
    ranked = sorted((row for row in decisive if row["dice"] is not None), key=lambda row: -row["dice"])
    settings = dict.fromkeys(row["setting"] for row in long_records(comparison.settings))
    differ = "No setting differs." if not settings else f"What differs is {listed(settings)}."
    if not ranked:
        return [f"Neither run has a cluster at its primary correction. {differ}"]
    if all(row["dice"] == 1 for row in ranked):
        return [f"The two runs find the same voxels at their primary corrections. {differ}"]
    most, least = (f"{row['direction'] or row['analysis']} (Dice {row['dice']:.3f})" for row in (ranked[0], ranked[-1]))
    agree = f"The two runs agree least in {least}" + (f" and most in {most}" if len(ranked) > 1 else "")
    first, second = (sum(row[f"clusters_{side}"] for row in decisive) for side in "12")
    counts = {change: sum(row[change] for row in decisive) for change in CHANGES}
    changes = listed(f"{n} {change if n == 1 else _SEVERAL[change]}" for change, n in counts.items() if n)
    return [
        f"{agree}, at their primary corrections: of {counted(first, 'cluster')} in the first and "
        f"{counted(second, 'cluster')} in the second, {changes}. {differ}"
    ]


def overlay(first: npt.NDArray[Any], second: npt.NDArray[Any], *, sign: int = 1) -> npt.NDArray[np.float32]:
    """Return for each voxel which of two maps (voxel) has it on one side of 0: 0 neither, 1 or 2 that one, 3 both."""
    return ((sign * first > 0) * ONLY_1 + (sign * second > 0) * ONLY_2).astype(np.float32)


def _figures(
    name: str, a: xr.Dataset, b: xr.Dataset, folder: Place, *, names: tuple[str, str]
) -> Iterator[tuple[Place, bytes]]:
    pictured = {spec.suffix for spec in pictured_map_specs(a)}
    for pair in pairs_of(a, b):
        if not pair.primary and pair.first.suffix not in pictured:
            continue
        maps = pair.first.read(a), pair.second.read(b)
        for sign, words in model_of(a).sides.items():
            end = "" if not words else "_desc-greater" if sign > 0 else "_desc-less"
            other = "" if is_base_rate(pair.first) == is_base_rate(pair.second) else f"_beside-{pair.second.suffix}"
            path = folder / f"{stem(name)}_{pair.first.suffix}{other}{end}.png"
            values = overlay(*maps, sign=sign)
            title = _title(name, a, b, pair, sign=sign)
            rank = np.maximum(*(sign * m for m in maps))
            yield path, _draw(values, rank, mask=model_of(a).mask, title=title, names=names) if values.any() else b""


def _title(name: str, a: xr.Dataset, b: xr.Dataset, pair: Pair, *, sign: int) -> str:
    words = list(dict.fromkeys((label(a, pair.first), label(b, pair.second))))
    parts = [SIMULATED if is_simulated(a, b) else "", name, model_of(a).sides[sign], " | ".join(words)]
    return " · ".join(part for part in parts if part)


def _short(name: str) -> str:
    """Return the end of a run's path or URL: the whole does not fit, and the names of folders above are private."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or name
    return last if len(last) <= 24 else f"…{last[-23:]}"


def _draw(
    values: npt.NDArray[np.float32], rank: npt.NDArray[Any], *, mask: Mask, title: str, names: tuple[str, str]
) -> bytes:
    if _short(names[0]) == _short(names[1]):
        names = ("run 1", "run 2")
    parts = (*(f"only {_short(name)}" for name in names), "both")
    counts = [int((values == k).sum()) * mask.voxel_volume for k in (ONLY_1, ONLY_2, BOTH)]
    legend = [(c, f"{what} ({n:,.0f} mm³)") for c, what, n in zip(COLOURS, parts, counts, strict=True)]
    return brain(
        values,
        sorted(find_clusters(values, mask=mask, rank=rank), key=lambda c: -len(c.voxels)),
        mask=mask,
        title=title,
        legend=legend,
        scale=ColourScale(shades(COLOURS, len(COLOURS)), low=0.5, high=3.5),
    )
