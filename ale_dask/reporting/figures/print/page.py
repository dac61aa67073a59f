"""Set up the page of a figure for print: its colours, axes placed in inches, the colour bar, and equal bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePath
from string import ascii_uppercase
from textwrap import wrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.ticks import tick_words, ticks
from ale_dask.reporting.figures.print.shown import ShownMap, Side, ramp_colours

DPI = 300
SCREEN_DPI = 110
SIZE = 7.0
"""Size of letters in points: what journals take as the smallest."""
_FONT = "DejaVu Sans"
# Text stays text, to be searched and edited; a fixed salt keeps the names inside an SVG the same.
_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "ale_dask", "pdf.fonttype": 42, "font.family": _FONT}


@dataclass(frozen=True)
class Look:
    """Colours on a background: of the paper, of letters and of lines."""

    paper: str
    ink: str
    line: str


LOOKS = {"white": Look("#ffffff", "#000000", "#777777"), "black": Look("#000000", "#ffffff", "#aaaaaa")}


class PrintFigure(Figure):  # type: ignore[misc]
    """A figure of matplotlib that is saved at 300 dpi with equal bytes each time, and shown by a notebook."""

    alt = ""

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure to a file; its ending gives the format."""
        kind = str(options.get("format") or PurePath(str(fname)).suffix.lstrip(".") or "png").lower()
        about = {
            "pdf": {"CreationDate": None, "Subject": self.alt},
            "svg": {"Date": None, "Description": self.alt},
            "png": {"Description": self.alt},
        }
        given = {"dpi": DPI, "metadata": about.get(kind), "facecolor": self.get_facecolor()}
        with matplotlib.rc_context(_SETTINGS):
            super().savefig(fname, **(given | options))

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=SCREEN_DPI)
        return buffer.getvalue()


@dataclass(frozen=True)
class Region:
    """A part of a page: its left and upper edge and its width in inches."""

    page: Any
    look: Look
    left: float
    top: float
    width: float

    def axes(self, x: float, y: float, width: float, height: float) -> Any:
        """Return axes without a frame at a place in inches from the region's left and upper edge downwards."""
        full_width, full_height = self.page.get_size_inches()
        place = (self.left + x) / full_width, 1 - (self.top + y + height) / full_height
        axes = self.page.add_axes((*place, width / full_width, height / full_height))
        axes.set_axis_off()
        return axes

    def text(self, x: float, y: float, words: str, **options: Any) -> None:
        """Write words at a place in inches; `y` is of their middle."""
        full_width, full_height = self.page.get_size_inches()
        given = {"size": SIZE, "color": self.look.ink, "va": "center", "family": _FONT, "parse_math": False}
        self.page.text((self.left + x) / full_width, 1 - (self.top + y) / full_height, words, **(given | options))


@dataclass(frozen=True)
class Drawing:
    """A part of a figure: its height in inches, what paints it, and what it leaves out in words."""

    height: float
    paint: Callable[[Region], None]
    notes: tuple[str, ...] = ()


def page(drawings: list[Drawing], *, look: Look, width: float, simulated: bool, alt: str) -> PrintFigure:
    """Return a figure of drawings below each other, with what they leave out as lines at its end."""
    said = dict.fromkeys(note for drawing in drawings for note in drawing.notes)
    notes = [line for note in said for line in wrap(note, int(width / _CHARACTER))]
    if simulated:
        notes.append(SIMULATED)
    line = SIZE * 1.4 / 72
    margin = 0.06
    height = sum(drawing.height for drawing in drawings) + line * len(notes) + 2 * margin
    figure = PrintFigure(figsize=(width, height), facecolor=look.paper)
    FigureCanvasAgg(figure)
    figure.alt = alt
    top = margin
    with matplotlib.rc_context(_SETTINGS):
        for drawing in drawings:
            drawing.paint(Region(figure, look, 0.0, top, width))
            top += drawing.height
        region = Region(figure, look, 0.0, top, width)
        for k, note in enumerate(notes):
            region.text(margin, line * (k + 0.5), note, size=SIZE - 1, ha="left")
    return figure


def beside(left: Drawing, right: Drawing, at: float) -> Drawing:
    """Return two drawings beside each other, the second `at` inches from the left, each in the middle of the height."""
    height = max(left.height, right.height)

    def paint(region: Region) -> None:
        for drawing, x, width in ((left, 0.0, at), (right, at, region.width - at)):
            top = region.top + (height - drawing.height) / 2
            drawing.paint(replace(region, left=region.left + x, top=top, width=width))

    return Drawing(height, paint, left.notes + right.notes)


def lettered(parts: list[list[Drawing]]) -> list[Drawing]:
    """Return the drawings of several maps with a letter at the first of each, and in front of what each leaves out."""

    def with_letter(drawing: Drawing, letter: str) -> Drawing:
        def paint(region: Region) -> None:
            region.text(0.06, _LETTER / 2, letter, size=SIZE + 3, weight="bold")
            drawing.paint(replace(region, top=region.top + _LETTER))

        return replace(drawing, paint=paint, height=drawing.height + _LETTER)

    drawings = []
    for letter, part in zip(ascii_uppercase, parts, strict=False):
        first, *others = [replace(d, notes=tuple(f"{letter}: {note}" for note in d.notes)) for d in part]
        drawings += [with_letter(first, letter), *others]
    return drawings


_LETTER = 0.18
"""Height of the row of a letter in inches."""
_CHARACTER = 0.062
"""Width of a letter of a text in inches."""
_BAR, _WIDE, _ROW = 0.09, 1.7, 0.14
"""Height and greatest width of a colour bar, and height of a row of words beside it, in inches."""


def colour_bar(shown: ShownMap, *, width: float, name: str = "") -> Drawing:
    """Return a bar for each side of a map, from its threshold, which is marked, to its largest value."""
    n, apart = len(shown.sides), 0.7
    slot = (width - apart) / n
    words = [wrap(side.words, int(slot / _CHARACTER)) for side in shown.sides]
    below = _bar_lines(shown, name, width)
    top = _ROW * max(len(lines) for lines in words)

    def paint(region: Region) -> None:
        long = min(_WIDE, slot - apart / 2)
        between = slot if max(map(len, words)) > 1 else long + apart
        for k, (side, lines) in enumerate(zip(shown.sides, words, strict=True)):
            middle = width / 2 + (k - (n - 1) / 2) * between
            for row, line in enumerate(lines, max(map(len, words)) - len(lines)):
                region.text(middle, _ROW * (row + 0.5), line, ha="center")
            _bar(region, shown, side, (middle - long / 2, top + 0.03, long))
        for row, line in enumerate(below):
            region.text(width / 2, top + 0.34 + _ROW * row, line, ha="center")

    return Drawing(top + 0.3 + _ROW * len(below), paint)


def _bar_lines(shown: ShownMap, name: str, width: float) -> list[str]:
    """Return what the values are and what the mark is, in one line if it is short enough."""
    words = [f"{f'{name}: ' if name else ''}{shown.quantity}", *([f"▲ {shown.mark}"] if shown.mark else [])]
    line = "   ".join(words)
    most = int(width / _CHARACTER)
    return [line] if len(line) < most else [part for each in words for part in wrap(each, most)]


def _bar(region: Region, shown: ShownMap, side: Side, place: tuple[float, float, float]) -> None:
    x, y, width = place
    axes = region.axes(x, y, width, _BAR)
    colours = ramp_colours(side.ramp, np.linspace(0, 1, 256))
    axes.imshow(colours[None], extent=(0, 1, 0, 1), aspect="auto", interpolation="nearest")
    if shown.mark:
        # The mark of the threshold: the bar begins there.
        axes.plot([0], [-0.3], "^", color=region.look.ink, markersize=3.5, markeredgewidth=0, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1))
    span = shown.high - shown.low
    inner = [at for at in ticks(shown.low, shown.high, most=4) if 0.2 < (at - shown.low) / span < 0.8]
    for at in (shown.low, *inner, shown.high):
        words = tick_words(at) if at in inner else f"{at:.3g}"
        region.text(x + width * (at - shown.low) / span, y + _BAR + 0.11, words, ha="center", size=SIZE - 1)
