"""Write the page of the sets of a database: how many have clusters beyond its base rate, and a picture of each set."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ale_dask.analyses.findings.atlas import atlas
from ale_dask.analyses.literature import COARSE, NULLS, PLANES, Cluster, SetResult, view_shapes
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.html.page import PAGE
from ale_dask.reporting.html.rendering import rendered
from ale_dask.storage.location import replace_file
from ale_dask.version import __version__

KINDS = {
    "both": "under both nulls",
    "uniform": "only against foci spread evenly",
    "base-rate": "only against the base rate",
    "none": "none",
}
_COLOURS = {"both": "#b2182b", "uniform": "#e9a03b", "base-rate": "#2166ac", "none": "#c8ccd0"}
"""Of bars and of voxels: told apart with any colour vision, and by their lightness."""
_WIDTH, _BAR, _GAP = 720, 26, 58
_ON_PAGE = {
    "clusters": "clusters",
    "experiments": "experiments",
    "uniform: clusters": "against even",
    "base rate: clusters": "against base rate",
    "uniform: beyond the region": "beyond, even",
    "base rate: beyond the region": "beyond, base rate",
    "mm³ under both": "mm³ under both",
}
"""Columns of the table of sets that the page shows, and their headings; its file has all."""


@dataclass(frozen=True)
class LiteraturePage:
    """What the page shows beside its sets: `words` say what they are, `control` are sets picked at random."""

    title: str
    words: Sequence[str]
    sets: Sequence[SetResult]
    control: Sequence[SetResult]
    mask: Mask
    facts: Sequence[tuple[str, str]]


def write_literature(page: LiteraturePage, folder: Path) -> Path:
    """Write report.html, sets.tsv, figure.svg and a table per set to a folder, and return the path of the page."""
    table = sets_table([*page.sets, *page.control], voxel=page.mask.voxel_volume)
    replace_file(folder / "sets.tsv", table.to_csv(sep="\t", index=False, lineterminator="\n").encode())
    svg = figure_svg(page).encode()
    replace_file(folder / "figure.svg", svg)
    rows = []
    shown = {name: words for name, words in _ON_PAGE.items() if any(table[name] != "")}
    for result, row in zip([*page.sets, *page.control], table.to_dict("records"), strict=True):
        path = folder / "sets" / f"{stem(result.name)}.tsv"
        clusters = clusters_table(result, page.mask)
        replace_file(path, clusters.to_csv(sep="\t", index=False, lineterminator="\n").encode())
        picture = base64.b64encode(png_of(result.views, page.mask)).decode()
        cells = [_shown(row[name]) for name in shown]
        where = f"sets/{stem(result.name)}.tsv"
        rows.append({"name": result.name, "picture": picture, "where": where, "cells": cells})
    text = rendered(
        "literature.html.j2",
        title=page.title,
        words=page.words,
        sentences=sentences(page),
        figure=base64.b64encode(svg).decode(),
        columns=[*shown.values()],
        sets=rows,
        colours=[(_COLOURS[kind], KINDS[kind]) for kind in ("both", *NULLS)],
        facts=[*page.facts, ("Program", f"ale_dask {__version__}")],
    )
    replace_file(folder / PAGE, text)
    return folder / PAGE


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def sets_table(results: Sequence[SetResult], *, voxel: float) -> pd.DataFrame:
    """Return a row per set: its size, what was found, and the number and volume in mm3 of clusters per null."""
    rows = []
    for result in results:
        numbers = result.numbers
        row: dict[str, Any] = {"set": result.name, "clusters": KINDS[result.kind()]}
        row |= {what: numbers[what] for what in ("experiments", "foci", "iterations")}
        for null, words in zip(NULLS, ("uniform", "base rate"), strict=True):
            row[f"{words}: clusters"] = numbers[f"{null} found"]
            row[f"{words}: beyond the region"] = numbers[f"{null} beyond"] if result.region else ""
            row[f"{words}: undecided"] = numbers[f"{null} undecided"]
            row[f"{words}: mm³"] = round(numbers[f"{null} voxels"] * voxel)
        row["mm³ under both"] = round(numbers["both"] * voxel)
        rows.append(row)
    return pd.DataFrame(rows)


def clusters_table(result: SetResult, mask: Mask) -> pd.DataFrame:
    """Return the clusters of a set that are significant or undecided, under each null the largest first."""
    named = available(*LABELS)

    def row(cluster: Cluster) -> dict[str, Any]:
        region = atlas("AAL").name_at(np.array(cluster.peak)) if named else ""
        return {
            "null": cluster.null,
            **dict(zip("xyz", cluster.peak, strict=True)),
            "mm3": round(cluster.size * mask.voxel_volume),
            "decision": "significant" if cluster.significant else "undecided",
            "AAL": region,
            "share in the set's region": round(cluster.own / cluster.size, 3) if result.region else "",
            "share that survives the other null": round(cluster.other / cluster.size, 3),
        }

    columns = ["null", *"xyz", "mm3", "decision", "AAL", "share in the set's region"]
    columns.append("share that survives the other null")
    return pd.DataFrame([row(cluster) for cluster in result.clusters], columns=columns)


def counts_of(results: Sequence[SetResult], *, what: str = "found") -> dict[str, int]:
    """Return how many sets have clusters under both nulls, one or none; `what` is that of `SetResult.kind`."""
    kinds = [result.kind(what=what) for result in results]
    return {kind: kinds.count(kind) for kind in KINDS}


def _bars(page: LiteraturePage) -> list[tuple[str, dict[str, int]]]:
    bars = [("Sets with a significant cluster", counts_of(page.sets))]
    if any(result.region for result in page.sets):
        bars.append(("Sets with one that has no voxel in their own region", counts_of(page.sets, what="beyond")))
    if page.control:
        bars.append(("Random sets with a significant cluster", counts_of(page.control)))
    return bars


def sentences(page: LiteraturePage) -> list[str]:
    """Return what was found, in a sentence for each bar of the figure, and how many clusters there are under each."""
    said = []
    for words, counts in _bars(page):
        total = sum(counts.values())
        uniform, other = (counts["both"] + counts[null] for null in NULLS)
        said.append(
            f"{words}, of {total:,}: {uniform:,} ({uniform / total:.0%}) against foci spread evenly, {other:,} "
            f"({other / total:.0%}) against the base rate."
        )
    for words, results in (("sets", page.sets), ("random sets", page.control)):
        if results:
            number = [sum(result.numbers[f"{null} found"] for result in results) for null in NULLS]
            said.append(
                f"The {len(results):,} {words} have {number[0]:,} clusters against foci spread evenly and "
                f"{number[1]:,} against the base rate."
            )
    return said


def figure_svg(page: LiteraturePage) -> str:
    """Return as SVG a bar for the sets and one for the control, split by the nulls under which there is a cluster."""
    bars = _bars(page)
    height = _GAP * len(bars) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="13" role="img">'
    ]
    for i, (words, counts) in enumerate(bars):
        top, total, x = _GAP * i + 18, sum(counts.values()), 0.0
        parts.append(f'<text x="0" y="{top - 4}">{escape(words)}, of {total:,}</text>')
        for kind, number in counts.items():
            width = _WIDTH * number / total
            parts.append(
                f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{_BAR}" fill="{_COLOURS[kind]}">'
                f"<title>{KINDS[kind]}: {number}</title></rect>"
            )
            if width > 24:
                ink = "#000" if kind in ("uniform", "none") else "#fff"
                middle = x + width / 2
                parts.append(f'<text x="{middle:.1f}" y="{top + 18}" text-anchor="middle" fill="{ink}">{number}</text>')
            x += width
    for i, (kind, words) in enumerate(KINDS.items()):
        x, y = 190 * i, height - 12
        words = "no cluster" if kind == "none" else words
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{_COLOURS[kind]}"/>')
        parts.append(f'<text x="{x + 16}" y="{y}" font-size="11">{words}</text>')
    return "".join([*parts, "</svg>\n"])


def png_of(views: Sequence[npt.NDArray[np.uint8]], mask: Mask) -> bytes:
    """Return three views of a glass brain beside each other as a PNG: the mask's shadow, and what survives which null.

    Forwards and the right of the subject are to the right.
    """
    shadow = _shadow(mask)
    height = max(view.shape[1] for view in views)
    strips = []
    for view, behind, plane in zip(views, shadow, PLANES, strict=True):
        colours = _upright(np.where(view > 0, view + 1, behind), plane, mask)
        strips.append(np.pad(colours, ((height - colours.shape[0], 0), (0, 2))))
    pixels = np.concatenate(strips, axis=1).astype(np.uint8)
    palette = [(255, 255, 255), (225, 228, 232), *(_rgb(_COLOURS[kind]) for kind in (*NULLS, "both"))]
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 3, 0, 0, 0)
    colours_of = b"".join(bytes(colour) for colour in palette)
    parts = [
        (b"IHDR", head),
        (b"PLTE", colours_of),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _upright(view: npt.NDArray[np.uint8], plane: tuple[int, int], mask: Mask) -> npt.NDArray[np.uint8]:
    """Return a view (row, column) in which mm grow to the right and upwards, whichever way the grid runs."""
    across, up = (-1 if mask.affine[axis, axis] < 0 else 1 for axis in plane)
    return view[::across, ::up].T[::-1]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _shadow(mask: Mask) -> list[npt.NDArray[np.uint8]]:
    """Return where the mask lies in each of the three views (pixel, pixel)."""
    shadows = []
    for (a, b), shape in zip(PLANES, view_shapes(mask), strict=True):
        shadow = np.zeros(shape, dtype=np.uint8)
        shadow[mask.voxel_ijk[:, a] // COARSE, mask.voxel_ijk[:, b] // COARSE] = 1
        shadows.append(shadow)
    return shadows


def summary(page: LiteraturePage, *, sha256: str) -> Mapping[str, Any]:
    """Return what was found as numbers, for scripts."""
    return {
        "title": page.title,
        "sha256": sha256,
        "sentences": sentences(page),
        "counts": dict(_bars(page)),
        "facts": dict(page.facts),
    }
