"""Draw curves in a panel of an SVG figure, with a scale on each side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ale_dask.reporting.common.palette import FAINT, LINE
from ale_dask.reporting.common.svg import text
from ale_dask.reporting.common.ticks import tick_words, ticks


@dataclass(frozen=True)
class Line:
    """A curve: its values, its colour, how it is dashed, and the number of the value that a point marks."""

    values: Sequence[float]
    colour: str
    dash: str = ""
    marked: int | None = None


@dataclass(frozen=True)
class Panel:
    """The place of a panel in units of the SVG, and its title."""

    left: float
    top: float
    width: float
    height: float
    title: str

    def draw(self, x: Sequence[float], lines: Sequence[Line], *, least: float = 0.0, most: float = 0.0) -> list[str]:
        """Return the parts of an SVG: curves over x, on a scale that goes from `least` to `most` or farther."""
        every = [value for line in lines for value in line.values]
        low, high = min(least, *every), max(most, 1.05 * max(every), 1e-3)
        across = self.width / max(x[-1] - x[0], 1e-9)

        def down(value: float) -> float:
            return self.top + self.height * (high - value) / (high - low)

        parts = [text(self.left - 30, self.top - 12, self.title, size=11)]
        for at in ticks(low, high, most=5):
            parts.append(f'<path d="M{self.left:g} {down(at):.1f}h{self.width:g}" stroke="{LINE}"/>')
            parts.append(text(self.left - 5, down(at) + 4, tick_words(at), size=10, fill=FAINT, anchor="end"))
        for at in ticks(x[0], x[-1], most=8) if len(x) > 1 else x:
            place = self.left + across * (at - x[0])
            parts.append(text(place, self.top + self.height + 16, tick_words(at), size=10, fill=FAINT, anchor="middle"))
        for line in lines:
            points = [(self.left + across * (a - x[0]), down(b)) for a, b in zip(x, line.values, strict=True)]
            words = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
            dash = f' stroke-dasharray="{line.dash}"' if line.dash else ""
            drawn = f'fill="none" stroke="{line.colour}" stroke-width="1.8"{dash}'
            parts.append(f'<polyline points="{words}" {drawn}/>')
            if line.marked is not None:
                a, b = points[line.marked]
                parts.append(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{line.colour}"/>')
        return parts
