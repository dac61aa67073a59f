"""Draw volumes by the values of a setting as strips: one row of dots for each value, a block for each analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ale_dask.reporting.common.palette import FAINT, INK, LINE
from ale_dask.reporting.common.svg import WIDTH, box, fitting, lines_of, text, width_of
from ale_dask.reporting.common.ticks import tick_words, ticks

_LEFT, _ROW, _SIZE = 14, 18, 11
_LABEL = 300
"""Most room for the name of a value."""
_DOT = 2.4
"""Radius of a dot."""


def strips(
    blocks: Mapping[str, tuple[str, Sequence[npt.NDArray[np.float64]]]],
    values: Sequence[str],
    *,
    y: float,
    unit: str,
) -> tuple[list[str], float]:
    """Return the parts of an SVG, from `y` downwards, and where they end.

    Each block has by its name a colour and, for each value, the numbers of its cells (cell). All blocks share one axis
    from 0; the line in a row is the median.
    """
    left = _LEFT + min(_LABEL, max(width_of(value, _SIZE) for value in values)) + 8
    right = WIDTH - 40
    most = max((float(cells.max()) for _, rows in blocks.values() for cells in rows if len(cells)), default=0) or 1.0
    per_unit = (right - left) / most
    parts = []
    for name, (colour, rows) in blocks.items():
        for line in lines_of(name, width=WIDTH - 2 * _LEFT - 20, size=12):
            parts.append(text(_LEFT, y + 12, line, bold=True))
            y += 16
        parts.append(box(_LEFT, y, right - _LEFT, 2, colour))
        y += 6
        for value, cells in zip(values, rows, strict=True):
            short = fitting(value, width=left - _LEFT - 8, size=_SIZE)
            parts.append(text(left - 8, y + 13, short, size=_SIZE, anchor="end"))
            parts.append(box(left, y + _ROW - 1, right - left, 1, LINE))
            parts += _dots(left + cells * per_unit, y + _ROW / 2, colour)
            if len(cells):
                parts.append(box(left + float(np.median(cells)) * per_unit - 1, y + 2, 2, _ROW - 5, INK))
            y += _ROW
        y += 12
    for at in ticks(0, most):
        parts.append(text(left + at * per_unit, y, tick_words(at), size=_SIZE, anchor="middle", fill=FAINT))
    parts.append(text(right + 6, y, unit, size=_SIZE, fill=FAINT))
    return parts, y + 10


def _dots(x: npt.NDArray[np.float64], y: float, colour: str) -> list[str]:
    """Return dots that move up and down where they would cover each other, from the middle of the row."""
    column = np.floor(x / (2 * _DOT)).astype(int)
    dots = []
    for each in np.unique(column):
        own = np.sort(x[column == each])
        apart = min(3.0, (_ROW - 2 * _DOT - 2) / max(1, len(own) - 1))
        shift = apart * (np.arange(len(own)) - (len(own) - 1) / 2)
        dots += [
            f'<circle cx="{a:.1f}" cy="{y + b:.1f}" r="{_DOT}" fill="{colour}" fill-opacity="0.7"/>'
            for a, b in zip(own, shift, strict=True)
        ]
    return dots
