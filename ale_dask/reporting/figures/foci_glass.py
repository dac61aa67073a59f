"""All foci of an analysis on the glass brain, as an SVG whose size does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from ale_dask.reporting.common.palette import FAINT
from ale_dask.reporting.common.svg import WIDTH, box, svg, text
from ale_dask.reporting.figures.glass import SEEN_FROM, SIDES, Outline, outlines, projected
from ale_dask.reporting.figures.study_context import Part

MANY, CELL_MM = 4500, 3.0
"""Foci from which positions are rounded, and each is drawn once: as dark as its experiments over each other."""
DARKEST = 12
"""Experiments at one place from which it is no darker, of so many foci."""
_MARGIN, _TOP = 14.0, 74.0


def foci_svg(parts: Mapping[str, Part], *, title: str, says: str) -> str:
    """Return the foci of main effects on the glass brain from four sides, those of each in its colour.

    A place is the darker the more experiments have a focus there; foci of one experiment do not darken each other.
    """
    drawn = outlines()
    scale = (WIDTH - 3 * _MARGIN) / (drawn["l"].width + drawn["r"].width)
    n = sum(len(part.xyz) for part in parts.values())
    dot = float(np.clip(7 * n**-0.2, 1.2, 3.2)) if n else 1.0
    if n > MANY:
        dot = 0.8 * CELL_MM
    opacity = float(np.clip(2.2 * n**-0.2, 0.3, 0.8)) if n else 1.0
    body = list(_legend(parts))
    y = _TOP
    for k, side in enumerate(SIDES):
        if k == 2:
            y += drawn["l"].height * scale + 2 * _MARGIN
        # Each in the middle of its half.
        x = WIDTH * (0.25 + 0.5 * (k % 2)) - drawn[side].width * scale / 2
        body.append(_panel(side, drawn[side], parts, x=x, y=y, scale=scale, dot=dot, opacity=opacity))
    height = y + max(drawn[s].height for s in "yz") * scale + _MARGIN
    return svg(body, height=round(height), title=title, says=says)


def foci_says(parts: Mapping[str, Part]) -> str:
    """Return what the figure shows in words."""
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


def _panel(
    side: str,
    outline: Outline,
    parts: Mapping[str, Part],
    *,
    x: float,
    y: float,
    scale: float,
    dot: float,
    opacity: float,
) -> str:
    across = -scale if outline.right < outline.left else scale
    # In mm inside, y upwards.
    begin = f'<g transform="translate({x - across * outline.left:.2f} {y + scale * outline.top:.2f})'
    lines = "".join(
        f'<path d="{_curves(*curve)}" fill="none" stroke="{FAINT}" stroke-opacity="0.55" stroke-width="{width / 2:g}" '
        'vector-effect="non-scaling-stroke"/>'
        for width, curve in outline.curves.items()
    )
    dots = "".join(
        f'<path d="{_dots(points)}" stroke="{part.hue.flat}" stroke-opacity="{1 - (1 - opacity) ** times:.2f}" '
        f'stroke-width="{dot:.2f}" stroke-linecap="round"/>'
        for part, times, points in _layers(parts, side, outline)
    )
    words = text(x + outline.width * scale / 2, y - 4, SEEN_FROM[side], fill=FAINT, anchor="middle", size=11)
    if side in "yz":
        words += text(x + 6, y + 8, "L", bold=True) + text(x + outline.width * scale - 14, y + 8, "R", bold=True)
    return f'{begin} scale({across:.4f} {-scale:.4f})">{lines}{dots}</g>{words}'


def _layers(
    parts: Mapping[str, Part], side: str, outline: Outline
) -> Iterator[tuple[Part, int, npt.NDArray[np.float64]]]:
    """Yield the points that are drawn at once and for how many experiments, one of each main effect in turn."""
    many = sum(len(part.xyz) for part in parts.values()) > MANY
    found: list[tuple[int, int, Part, int, npt.NDArray[np.float64]]] = []
    for order, part in enumerate(parts.values()):
        shown, at = projected(part.xyz, side)
        low, high = sorted((outline.left, outline.right))
        inside = (at[:, 0] >= low) & (at[:, 0] <= high) & (at[:, 1] >= outline.bottom) & (at[:, 1] <= outline.top)
        owner, at = part.experiment[shown[inside]], at[inside]
        if many:
            cells = np.unique(np.column_stack([CELL_MM * np.rint(at / CELL_MM), owner]), axis=0)
            at, count = np.unique(cells[:, :2], axis=0, return_counts=True)
            owner = np.minimum(count, DARKEST)
        found += [(int(k), order, part, int(k) if many else 1, at[owner == k]) for k in np.unique(owner)]
    yield from ((part, times, at) for _, _, part, times, at in sorted(found, key=lambda layer: layer[:2]))


def _dots(points: npt.NDArray[np.float64]) -> str:
    # A line of no length with round ends is a dot, in a tenth of what a circle takes.
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
