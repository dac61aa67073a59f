"""Draw all foci of an analysis on the glass brain, as an SVG whose size does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ale_dask.reporting.common.palette import FAINT
from ale_dask.reporting.common.svg import WIDTH, box, svg, text
from ale_dask.reporting.figures.glass import SEEN_FROM, SIDES, Outline, outlines, projected
from ale_dask.reporting.figures.study_context import Part

MANY, CELL_MM = 4500, 3.0
"""With more foci than this, positions are rounded to cells of so many mm and each cell is drawn once."""
DARKEST = 12
"""Experiments in a cell from which it becomes no darker."""
_MARGIN, _TOP = 14.0, 74.0


@dataclass(frozen=True)
class _Drawing:
    """Where a side of the brain is drawn (units of the SVG, units per mm), and the size and opacity of its foci."""

    x: float
    y: float
    scale: float
    dot: float
    opacity: float


def foci_svg(parts: Mapping[str, Part], *, title: str, alt: str) -> str:
    """Return the foci of main effects on the glass brain from four sides, each main effect in its colour.

    A place is the darker the more experiments have a focus there; foci of one experiment do not darken each other.
    """
    outline_of = outlines()
    scale = (WIDTH - 3 * _MARGIN) / (outline_of["l"].width + outline_of["r"].width)
    n = sum(len(part.xyz) for part in parts.values())
    dot = float(np.clip(7 * n**-0.2, 1.2, 3.2)) if n else 1.0
    if n > MANY:
        dot = 0.8 * CELL_MM
    opacity = float(np.clip(2.2 * n**-0.2, 0.3, 0.8)) if n else 1.0
    body = list(_legend(parts))
    y = _TOP
    for k, side in enumerate(SIDES):
        if k == 2:
            y += outline_of["l"].height * scale + 2 * _MARGIN
        # Each side in the middle of its half.
        x = WIDTH * (0.25 + 0.5 * (k % 2)) - outline_of[side].width * scale / 2
        body.append(_panel(side, outline_of[side], parts, _Drawing(x, y, scale, dot, opacity)))
    height = y + max(outline_of[s].height for s in "yz") * scale + _MARGIN
    return svg(body, height=round(height), title=title, alt=alt)


def foci_alt(parts: Mapping[str, Part]) -> str:
    """Return in words how many foci the figure shows, from which sides and in which colours."""
    each = [
        f"{len(part.xyz):,} foci of {part.n_experiments:,} experiments of {name} in {part.hue.name}"
        for name, part in parts.items()
    ]
    sides = ", ".join(SEEN_FROM[side] for side in SIDES)
    return f"Glass brain ({sides}) with {' and '.join(each)}; darker where more experiments have a focus."


def _legend(parts: Mapping[str, Part]) -> Iterator[str]:
    x = _MARGIN
    for name, part in parts.items():
        words = f"{name}: {len(part.xyz):,} foci of {part.n_experiments:,} experiments"
        yield box(x, 34, 11, 11, part.hue.flat)
        yield text(x + 16, 44, words)
        x += 40 + 6.6 * len(words)


def _panel(side: str, outline: Outline, parts: Mapping[str, Part], drawing: _Drawing) -> str:
    x, y, scale = drawing.x, drawing.y, drawing.scale
    across = -scale if outline.right < outline.left else scale
    # Inside the group units are mm, and y points upwards.
    begin = f'<g transform="translate({x - across * outline.left:.2f} {y + scale * outline.top:.2f})'
    lines = "".join(
        f'<path d="{_curves(*curve)}" fill="none" stroke="{FAINT}" stroke-opacity="0.55" stroke-width="{width / 2:g}" '
        'vector-effect="non-scaling-stroke"/>'
        for width, curve in outline.curves.items()
    )
    dots = "".join(
        f'<path d="{_dots(points)}" stroke="{part.hue.flat}" stroke-opacity="{1 - (1 - drawing.opacity) ** times:.2f}" '
        f'stroke-width="{drawing.dot:.2f}" stroke-linecap="round"/>'
        for part, times, points in _dots_by_darkness(parts, side, outline)
    )
    words = text(x + outline.width * scale / 2, y - 4, SEEN_FROM[side], fill=FAINT, anchor="middle", size=11)
    if side in "yz":
        words += text(x + 6, y + 8, "L", bold=True) + text(x + outline.width * scale - 14, y + 8, "R", bold=True)
    return f'{begin} scale({across:.4f} {-scale:.4f})">{lines}{dots}</g>{words}'


def _dots_by_darkness(
    parts: Mapping[str, Part], side: str, outline: Outline
) -> Iterator[tuple[Part, int, npt.NDArray[np.float64]]]:
    """Yield a main effect, a number of experiments, and the points (point, 2) that are as dark as so many experiments.

    The lightest points come first, and main effects take turns.
    """
    many = sum(len(part.xyz) for part in parts.values()) > MANY
    layers: list[tuple[int, int, Part, int, npt.NDArray[np.float64]]] = []
    for order, part in enumerate(parts.values()):
        shown, at = projected(part.xyz, side)
        low, high = sorted((outline.left, outline.right))
        inside = (at[:, 0] >= low) & (at[:, 0] <= high) & (at[:, 1] >= outline.bottom) & (at[:, 1] <= outline.top)
        owner, at = part.experiment[shown[inside]], at[inside]
        if many:
            cells = np.unique(np.column_stack([CELL_MM * np.rint(at / CELL_MM), owner]), axis=0)
            at, count = np.unique(cells[:, :2], axis=0, return_counts=True)
            owner = np.minimum(count, DARKEST)
        layers += [(int(k), order, part, int(k) if many else 1, at[owner == k]) for k in np.unique(owner)]
    yield from ((part, times, at) for _, _, part, times, at in sorted(layers, key=lambda layer: layer[:2]))


def _dots(points: npt.NDArray[np.float64]) -> str:
    # A line of no length with round ends is a dot, in a tenth of the bytes of a circle.
    unique = np.unique(points.round(1), axis=0) + 0.0
    return "".join(f"M{u:g} {v:g}h0" for u, v in unique)


def _curves(points: npt.NDArray[np.float64], codes: npt.NDArray[np.uint8]) -> str:
    letters = {1: "M", 2: "L", 3: "Q", 4: "C"}
    out = []
    previous, left = 0, 0
    for (u, v), code in zip((points.round(1) + 0.0).tolist(), codes.tolist(), strict=True):
        # The letter stands once for the two or three points of a curve.
        begin = code in (1, 2) or code != previous or left == 0
        left = {3: 2, 4: 3}.get(code, 1) if begin else left
        out.append(f"{letters[code] if begin else ' '}{u:g} {v:g}")
        previous, left = code, left - 1
    return "".join(out)
