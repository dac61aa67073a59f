"""Draw shares as a matrix of cells: a readable name for each row, one for each column, and words in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import cos, radians, sin

import numpy as np
import numpy.typing as npt

from ale_dask.reporting.common.palette import FAINT, INK
from ale_dask.reporting.common.svg import WIDTH, box, fitting, text, width_of

_LEFT, _ROW, _APART, _SIZE = 14, 18, 6, 11
_NAME, _HEADER = 440, 300
"""Most room for the name of a row and of a column, in units of the SVG."""
_NARROWEST, _WIDEST = 30, 46
"""Widths of a column, if its words are no wider."""
_TURN = 55
"""Angle of the names of columns in degrees."""
_RAMP = ("#1d2329", "#4f7396", "#9dbbd6", "#eef4f9")
"""Colours from none (dark) to all (light); they differ in lightness alone, for every sight and in print."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """Shares (row, column) from 0 to 1 with words in each cell, and names of rows and columns.

    A gap stands before the columns in `gaps`.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    shares: npt.NDArray[np.float64]
    words: Sequence[Sequence[str]]
    gaps: frozenset[int] = frozenset()

    @property
    def name_width(self) -> float:
        """Return the width of the names of rows."""
        return min(_NAME, max((width_of(row, _SIZE) for row in self.rows), default=0)) + 8

    @property
    def column_width(self) -> float:
        """Return the width of a column: what is left of the page, within limits."""
        left = WIDTH - 2 * _LEFT - self.name_width - _APART * len(self.gaps) - self.overhang
        words = max((width_of(each, _SIZE - 1) for row in self.words for each in row), default=0) + 3
        return float(np.clip(left / max(1, len(self.columns)), max(_NARROWEST, words), max(_WIDEST, words)))

    @property
    def header(self) -> float:
        """Return the height of the names of columns."""
        return self._longest * sin(radians(_TURN)) + 8

    @property
    def overhang(self) -> float:
        """Return the width of the last column's name beyond the last column."""
        return max(0.0, self._longest * cos(radians(_TURN)) - _NARROWEST / 2)

    @property
    def _longest(self) -> float:
        return min(_HEADER, max((width_of(column, _SIZE) for column in self.columns), default=0))

    @property
    def width(self) -> int:
        """Return the width of an SVG that holds the matrix."""
        cells = self.column_width * len(self.columns) + _APART * len(self.gaps)
        return max(WIDTH, round(2 * _LEFT + self.name_width + cells + self.overhang))

    @property
    def height(self) -> float:
        """Return the height of names and cells."""
        return self.header + _ROW * len(self.rows)

    def draw(self, y: float) -> list[str]:
        """Return the parts of an SVG, from `y` downwards."""
        left = _LEFT + self.name_width
        at = [left + self.column_width * i + _APART * sum(gap <= i for gap in self.gaps) for i in self._numbers]
        top = y + self.header
        parts = [_turned(x + self.column_width / 2, top - 5, name) for x, name in zip(at, self.columns, strict=True)]
        for k, name in enumerate(self.rows):
            line = top + _ROW * k
            short = fitting(name, width=self.name_width - 8, size=_SIZE)
            parts.append(text(left - 8, line + 13, short, size=_SIZE, anchor="end"))
            for i in self._numbers:
                share = float(self.shares[k, i])
                alt = f"{name}, {self.columns[i]}: {100 * share:.0f} %"
                parts.append(box(at[i], line, self.column_width - 1, _ROW - 1, shade(share), alt=alt))
                ink = INK if share > 0.5 else "#ffffff"
                middle = at[i] + (self.column_width - 1) / 2
                parts.append(text(middle, line + 12.5, self.words[k][i], size=_SIZE - 1, fill=ink, anchor="middle"))
        return parts

    @property
    def _numbers(self) -> range:
        return range(len(self.columns))


def shade(share: float) -> str:
    """Return the colour of a share from 0 to 1."""
    known = np.array([list(bytes.fromhex(colour[1:])) for colour in _RAMP], dtype=float)
    at = np.linspace(0, 1, len(known))
    return "#" + bytes(round(float(np.interp(share, at, channel))) for channel in known.T).hex()


def legend(y: float, words: str) -> list[str]:
    """Return the scale of the colours, from 0 to 100 %, and what they mean."""
    parts = [text(_LEFT, y, "0 %", size=_SIZE, fill=FAINT)]
    parts += [box(_LEFT + 26 + 8 * k, y - 9, 8, 10, shade(k / 10)) for k in range(11)]
    return [*parts, text(_LEFT + 120, y, f"100 %   {words}", size=_SIZE, fill=FAINT)]


def _turned(x: float, y: float, words: str) -> str:
    short = escape(fitting(words, width=_HEADER, size=_SIZE))
    return f'<text transform="translate({x:.1f} {y:.1f}) rotate(-{_TURN})" font-size="{_SIZE}">{short}</text>'
