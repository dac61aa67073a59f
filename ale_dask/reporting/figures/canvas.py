"""Paint images, colours and words on the pixels of a figure, without the cost of a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DPI = 110

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Canvas:
    """The pixels (row, column, 3) of a figure; places on it are in inches, from the left and from below."""

    pixels: Pixels

    def window(self, left: float, right: float, bottom: float, top: float) -> Pixels:
        """Return the pixels (row, column, 3) between four edges, which are moved to the nearest pixel; not a copy."""
        x0, x1 = round(left * DPI), round(right * DPI)
        y0, y1 = (len(self.pixels) - round(y * DPI) for y in (top, bottom))
        return self.pixels[max(0, y0) : y1, max(0, x0) : x1]


def black(width: float, height: float) -> Canvas:
    """Return a black canvas of a size in inches."""
    return Canvas(np.zeros((round(height * DPI), round(width * DPI), 3), dtype=np.uint8))


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue from 0 to 255 of a colour such as "#d95f02"."""
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def shades(colours: Sequence[str], number: int) -> Pixels:
    """Return `number` colours (shade, 3) that lead evenly from the first of some colours through all of them."""
    known = np.array([rgb(colour) for colour in colours], dtype=np.float64)
    at = np.linspace(0, len(known) - 1, number)
    channels = [np.interp(at, np.arange(len(known)), channel) for channel in known.T]
    return np.asarray(np.rint(np.stack(channels, axis=1)), dtype=np.uint8)


def smooth(image: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Return an image (row, column) in another shape, linear between its cells."""
    from PIL import Image

    rows, columns = shape
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((columns, rows), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def nearest(image: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return an image (row, column) in another shape, each pixel with the value of the cell that it lies in."""
    cells = [((np.arange(n) + 0.5) * size / n).astype(np.int64) for n, size in zip(shape, image.shape, strict=True)]
    return image[np.ix_(*cells)]


@dataclass(frozen=True)
class Words:
    """Words at a place in inches; `anchor` says which of their points lies there, as Pillow does, "mm" the middle."""

    x: float
    y: float
    words: str
    size: float = 10
    anchor: str = "mm"


def with_words(canvas: Canvas, words: Sequence[Words]) -> Canvas:
    """Return a canvas with white words written on it."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(canvas.pixels)
    draw = ImageDraw.Draw(image)
    height = len(canvas.pixels)
    for each in words:
        place = each.x * DPI, height - each.y * DPI
        draw.text(place, each.words, fill="white", font=_font(each.size), anchor=each.anchor)
    return Canvas(np.asarray(image))


@cache
def _font(size: float) -> Any:
    import matplotlib
    from PIL import ImageFont

    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    # Basic layout gives equal pixels whether or not Pillow finds the library of the other one.
    return ImageFont.truetype(file, size * DPI / 72, layout_engine=ImageFont.Layout.BASIC)


def width_of(words: str, size: float) -> float:
    """Return the width of words in inches."""
    return float(_font(size).getlength(words)) / DPI


def png(canvas: Canvas) -> bytes:
    """Return a canvas as a PNG of its 256 most frequent colours."""
    from PIL import Image

    image = Image.fromarray(canvas.pixels)
    colours: list[Any] = image.getcolors(image.width * image.height) or []
    # The darker of equally frequent colours comes first, so that a figure has the same bytes each time.
    colours.sort(key=lambda counted: (-counted[0], counted[1]))
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for _, colour in colours[:256] for level in colour])
    out = BytesIO()
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(out, "png", compress_level=6)
    return out.getvalue()
