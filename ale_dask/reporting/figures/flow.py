"""Tell how experiments were selected: a row for each rule, and the flow of each sample as a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape

import pandas as pd
import xarray as xr

from ale_dask.coordinates.selection import FLOW
from ale_dask.reporting.common.palette import hues_of
from ale_dask.reporting.common.phrases import counted
from ale_dask.reporting.common.svg import lines_of

_COUNTED = {"studies": "study", "experiments": "experiment", "foci": "focus", "subjects": "subject"}
_WIDTH, _BOX, _LINE, _GAP, _SIZE = 760, 380, 20, 26, 14
_BESIDE = 20
"""Space in a box left and right of its text, together."""


def flow_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Return the selection of every sample (row: sample, step), removed experiments joined by "; ".

    A sample that several analyses share is there once.
    """
    rows: dict[tuple[str, int, str], dict[str, object]] = {}
    for name, result in results.items():
        for row in json.loads(result.attrs.get("selection", "[]")):
            sample = row["sample"] or name
            rows[sample, row["step"], row["rule"]] = row | {"sample": sample, "removed": "; ".join(row["removed"])}
    return pd.DataFrame(list(rows.values()), columns=list(FLOW))


def sample_colours(results: Mapping[str, xr.Dataset]) -> dict[str, str]:
    """Return the colour of each sample of `flow_table`, which is that of its first main effect."""
    colours: dict[str, str] = {}
    for name, hue in hues_of(results).items():
        for row in json.loads(results[name].attrs.get("selection", "[]")):
            colours.setdefault(row["sample"] or name, hue.flat)
    return colours


def flow_svg(steps: pd.DataFrame, *, simulated: bool, colour: str = "currentColor") -> str:
    """Return the selection of one sample as an SVG in the manner of PRISMA: left experiments left, removed ones right.

    `steps` are the sample's rows of `flow_table`; `colour` marks the experiments that are left.
    """
    sample = str(steps["sample"].iloc[0])
    parts: list[str] = []
    left_width, removed_width = _BOX - 20, _WIDTH - _BOX // 2 - 40
    title = lines_of(f"SIMULATED: {sample}" if simulated else sample, width=0.9 * _WIDTH, size=_SIZE)
    heading = "".join(
        f'<text x="10" y="{22 + _LINE * i}" font-weight="bold">{escape(line)}</text>' for i, line in enumerate(title)
    )
    y = 20 + _LINE * len(title)
    before: pd.Series | None = None
    for _, row in steps.iterrows():
        left = ["Experiments read" if before is None else "Left", *_counts(row, left_width)]
        if before is not None:
            removed = int(before["experiments"]) - int(row["experiments"])
            share = f"{removed:,} of {int(before['experiments']):,} experiments"
            words = f"{share} pooled" if "pooled" in row["rule"] else f"{share} removed"
            text = [line for each in (row["rule"], row["why"], words) for line in _lines(each, removed_width)]
            height = _LINE * len(text) + 12
            middle = _BOX // 2
            parts.append(f'<path d="M{middle} {y - _GAP} V{y + height + _GAP}" class="arrow"/>')
            parts.append(f'<path d="M{middle} {y + height // 2} H{middle + 28}" class="arrow"/>')
            parts.append(_box(middle + 30, y, text, width=removed_width))
            y += height + _GAP
        parts.append(_box(10, y, left, width=left_width))
        parts.append(f'<rect x="10" y="{y}" width="5" height="{_LINE * len(left) + 12}" rx="2" fill="{colour}"/>')
        y += _LINE * len(left) + 12 + _GAP
        before = row
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" role="img" '
        f'aria-label="Selection of {escape(sample)}" font-family="system-ui, sans-serif" font-size="{_SIZE}" '
        f'fill="currentColor"><style>.box {{ fill: none; stroke: currentColor; }} '
        ".arrow { fill: none; stroke: currentColor; marker-end: url(#head); }</style>"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="currentColor"/></marker></defs>'
        f"{heading}{''.join(parts)}</svg>\n"
    )


def _counts(row: pd.Series, width: int) -> list[str]:
    """Return the counts in one line, or in two where they are long."""
    counts = [counted(int(row[column]), word) for column, word in _COUNTED.items()]
    line = ", ".join(counts)
    return [line] if len(_lines(line, width)) == 1 else [f"{', '.join(counts[:2])},", ", ".join(counts[2:])]


def _lines(words: str, width: int) -> list[str]:
    return lines_of(words, width=width - _BESIDE, size=_SIZE)


def _box(x: int, y: int, text: list[str], *, width: int) -> str:
    lines = "".join(
        f'<tspan x="{x + 10}" y="{y + 22 + _LINE * i}">{escape(line)}</tspan>' for i, line in enumerate(text)
    )
    height = _LINE * len(text) + 12
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" class="box"/><text>{lines}</text>'
