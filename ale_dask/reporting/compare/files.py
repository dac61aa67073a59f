"""What a comparison of two runs hands over: four tables, and a picture of each pair of maps laid over each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import find_clusters, grid_of
from ale_dask.analyses.findings.matching import CHANGES
from ale_dask.coordinates.spreadsheet_cells import escaped
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.base_rate_maps import is_base_rate
from ale_dask.reporting.common.extra import PICTURES, available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import pictured_map_specs, stem
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.compare.runs import Comparison, Pair, pairs_of
from ale_dask.reporting.figures.slices import brain
from ale_dask.reporting.tables.clusters import directions
from ale_dask.reporting.tables.long import long_records
from ale_dask.storage.location import replace_file

# Okabe and Ito's vermilion, sky blue and yellow: apart in hue for all kinds of colour blindness, and in lightness.
COLOURS = ("#d55e00", "#56b4e9", "#f0e442")
TABLES = ("clusters", "summary", "maps", "settings")
ONLY_1, ONLY_2, BOTH = 1, 2, 3


def write_comparison(
    comparison: Comparison,
    folder: Path,
    *,
    simulated: bool = False,
    names: tuple[str, str] = ("run 1", "run 2"),
    pictures: bool = True,
) -> list[Path]:
    """Write the tables of a comparison and its pictures into a folder and return their paths.

    `names` stand for the two runs in pictures, by the last part of a path; runs of one name are told as 1 and 2.
    Without matplotlib or nilearn no picture is written, and the log says what to install.

    Raises
    ------
    InputError
        when two analyses would share a picture.
    StoreError
        when a file cannot be written.
    """
    if len({stem(name) for name in comparison.pairs}) < len(comparison.pairs):
        raise InputError(f"two of the analyses {', '.join(comparison.pairs)} would share a picture; rename one")
    paths = []
    for what in TABLES:
        path = folder / f"comparison_{what}.tsv"
        replace_file(path, as_tsv(getattr(comparison, what)))
        paths.append(path)
    if not pictures or not available(*PICTURES):
        return paths
    for name, (a, b) in comparison.pairs.items():
        for path, picture in _pictures(name, a, b, folder, simulated=simulated, names=names):
            if picture:
                replace_file(path, picture)
                paths.append(path)
            else:
                # One of an earlier comparison would show what is no longer found.
                path.unlink(missing_ok=True)
    return paths


def as_tsv(table: pd.DataFrame) -> bytes:
    """Return a table of a comparison as tab-separated UTF-8 text, numbers to 6 digits, what is missing empty."""
    return str(escaped(table).to_csv(sep="\t", index=False, lineterminator="\n", float_format="%.6g")).encode()


def as_records(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of a comparison as JSON has them, what is missing as None."""
    return {what: long_records(getattr(comparison, what)) for what in TABLES}


def lines(comparison: Comparison) -> list[str]:
    """Return a comparison in lines for a terminal: each map's voxels, Dice and changes, then what was set apart."""
    said = []
    for row in long_records(comparison.summary):
        which = ", ".join(row[key] for key in ("level", "input", "direction") if row[key])
        changes = ", ".join(f"{row[change]} {change}" for change in CHANGES if row[change])
        dice = "no voxel in either" if row["dice"] is None else f"Dice {row['dice']:.3f}"
        counts = f"{row['voxels_1']:,} and {row['voxels_2']:,} voxels, {row['voxels_both']:,} in both"
        said.append(f"{row['analysis']} [{which}]: {dice}, {counts}{f'; clusters: {changes}' if changes else ''}")
    for row in long_records(comparison.maps):
        r = "constant," if row["correlation"] is None else f"r {row['correlation']:.4f},"
        at = f"{row['x']:.0f} {row['y']:.0f} {row['z']:.0f}"
        said.append(f"{row['analysis']} [{row['map']}]: {r} largest difference {row['largest_difference']:.4g} at {at}")
    for row in long_records(comparison.settings):
        said.append(f"{row['analysis'] or 'all'}: {row['setting']} {row['value_1'] or '-'} | {row['value_2'] or '-'}")
    return said


def overlay(first: npt.NDArray[Any], second: npt.NDArray[Any], *, sign: int = 1) -> npt.NDArray[np.float32]:
    """Return which of two maps (voxel) has each voxel on one side of zero: 0 neither, 1 and 2 only one, 3 both."""
    return ((sign * first > 0) * ONLY_1 + (sign * second > 0) * ONLY_2).astype(np.float32)


def _pictures(
    name: str, a: xr.Dataset, b: xr.Dataset, folder: Path, *, simulated: bool, names: tuple[str, str]
) -> Iterator[tuple[Path, bytes]]:
    shown = {spec.suffix for spec in pictured_map_specs(a)}
    for pair in pairs_of(a, b):
        if not pair.primary and pair.first.suffix not in shown:
            continue
        maps = pair.first.read(a), pair.second.read(b)
        contrast = a.attrs["kind"] == "contrast"
        for sign, end in ((1, "Greater"), (-1, "Less")) if contrast else ((1, ""),):
            beside = "" if is_base_rate(pair.first) == is_base_rate(pair.second) else f"_beside-{pair.second.suffix}"
            where = folder / f"{stem(name)}_{pair.first.suffix}{beside}{f'_desc-{end.lower()}' if end else ''}.png"
            values = overlay(*maps, sign=sign)
            title = _title(name, a, b, pair, sign=sign, simulated=simulated)
            height = np.maximum(*(sign * m for m in maps))
            yield where, _draw(values, height, mask=grid_of(a), title=title, names=names) if values.any() else b""


def _title(name: str, a: xr.Dataset, b: xr.Dataset, pair: Pair, *, sign: int, simulated: bool) -> str:
    words = list(dict.fromkeys((label(a, pair.first), label(b, pair.second))))
    direction = [directions(a)[0 if sign > 0 else 1]] if a.attrs["kind"] == "contrast" else []
    return " · ".join([*([SIMULATED] if simulated else []), name, *direction, " | ".join(words)])


def _short(name: str) -> str:
    """Return the end of a run's path or URL: all of it fits no picture, and the folders above are nobody's business."""
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or name
    return last if len(last) <= 24 else f"…{last[-23:]}"


def _draw(
    values: npt.NDArray[np.float32], height: npt.NDArray[Any], *, mask: Mask, title: str, names: tuple[str, str]
) -> bytes:
    from matplotlib.colors import ListedColormap

    if _short(names[0]) == _short(names[1]):
        names = ("run 1", "run 2")
    parts = (*(f"only {_short(name)}" for name in names), "both")
    counts = [int((values == k).sum()) * mask.voxel_volume for k in (ONLY_1, ONLY_2, BOTH)]
    legend = [(c, f"{what} ({n:,.0f} mm³)") for c, what, n in zip(COLOURS, parts, counts, strict=True)]
    return brain(
        values,
        sorted(find_clusters(values, mask=mask, rank=height), key=lambda c: -len(c.voxels)),
        mask=mask,
        title=title,
        legend=legend,
        cmap=ListedColormap(COLOURS),
        vmin=0.5,
        vmax=3.5,
    )
