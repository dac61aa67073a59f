"""Draw a map on the MNI brain: three slices at a peak, a mosaic of axial slices, and the glass brain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.ticks import tick_words, ticks
from ale_dask.reporting.figures.canvas import (
    DPI,
    Canvas,
    Pixels,
    Words,
    black,
    nearest,
    png,
    rgb,
    shades,
    smooth,
    width_of,
    with_words,
)
from ale_dask.reporting.figures.glass import SIDES, outlines, projection
from ale_dask.storage.prepared import prepared

F64 = npt.NDArray[np.float64]
ROWS, COLUMNS = 2, 7
"""Axial slices in a figure."""
APART_MM, CLOSE_MM = 5.0, 3.0
"""Least distance between slices, and between slices through a cluster where there is room for more."""
LOW_MM, HIGH_MM = -40.0, 70.0
"""Heights between which an axial slice shows much of the brain."""
GREYS, SHADES = 32, 48
"""Colours of the brain and of a map: so few fit a palette of 256, and a PNG takes a third of the bytes."""
_SIZE = (10.0, 8.5)
_GLASS = 1.9
"""Height of the figure, and of its lowest part with the glass brain, in inches."""
_WIDEST_MM = 88.0
_ACROSS = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}
"""The axes of a slice, from left to right and upwards."""


@dataclass(frozen=True, eq=False)
class ColourScale:
    """Colours (shade, 3) of equal steps, the values at their ends, and the label of their bar, "" for no bar."""

    colours: Pixels
    low: float
    high: float
    label: str = ""

    def of(self, values: npt.NDArray[Any]) -> Pixels:
        """Return the colours (…, 3) of values (…)."""
        n = len(self.colours)
        shade = (np.asarray(values, dtype=np.float64) - self.low) * (n / (self.high - self.low))
        return self.colours[np.clip(shade.astype(np.int64), 0, n - 1)]


@cache
def background() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return nilearn's MNI152 template (x, y, z) at 2 mm, from 0 to 1, and its affine (4, 4); loaded once per process.

    The outlines of the glass brain are loaded with it.
    """
    outlines()
    kept = prepared("template", _template, package="nilearn")
    return kept["data"], kept["affine"]


def _template() -> dict[str, npt.NDArray[Any]]:
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=2)
    data = np.asarray(image.dataobj, dtype=np.float32)
    return {"data": data / data.max(), "affine": image.affine}


def brain(
    values: npt.NDArray[Any],
    clusters: Sequence[Cluster],
    *,
    mask: Mask,
    title: str,
    legend: Sequence[tuple[str, str]],
    scale: ColourScale,
) -> bytes:
    """Return a PNG of values (voxel; 0 is not shown): three slices at the first cluster's peak, mosaic, glass brain.

    `legend` pairs a colour with its meaning.
    """
    canvas = black(*_SIZE)
    peak, heights = slice_places(clusters, mask=mask)
    words = [
        Words(_SIZE[0] / 2, 8.27, title, 13),
        *_ortho(canvas, values, peak, mask, scale),
        *_mosaic(canvas, values, heights, mask, scale),
        *_legend(canvas, legend),
        *(_bar(canvas, scale) if scale.label else ()),
    ]
    _glass(canvas, values, mask, scale)
    return png(with_words(canvas, words))


def _legend(canvas: Canvas, legend: Sequence[tuple[str, str]]) -> Iterator[Words]:
    box, gap, apart, y = 0.3, 0.1, 0.28, 0.16
    widths = [box + gap + width_of(words, 10) for _, words in legend]
    x = (_SIZE[0] - sum(widths) - apart * (len(legend) - 1)) / 2
    for (colour, words), width in zip(legend, widths, strict=True):
        canvas.window(x, x + box, y - 0.05, y + 0.05)[...] = rgb(colour)
        yield Words(x + box + gap, y, words, anchor="lm")
        x += width + apart


def _bar(canvas: Canvas, scale: ColourScale) -> Iterator[Words]:
    left, right, bottom, top = 9.05, 9.18, 5.95, 7.82
    line = 1 / DPI
    canvas.window(left - line, right + line, bottom - line, top + line)[...] = 255
    bar = canvas.window(left, right, bottom, top)
    steps = np.linspace(scale.high, scale.low, len(bar))
    bar[...] = scale.of(steps)[:, None]
    for at in ticks(scale.low, scale.high):
        y = bottom + (top - bottom) * (at - scale.low) / (scale.high - scale.low)
        canvas.window(right, right + 0.05, y, y + line)[...] = 255
        yield Words(right + 0.1, y, tick_words(at), 9, "lm")
    yield Words((left + right) / 2, top + 0.14, scale.label)


def slice_places(clusters: Sequence[Cluster], *, mask: Mask) -> tuple[tuple[float, ...], list[float]]:
    """Return the first cluster's peak and the heights of ROWS * COLUMNS axial slices, in mm.

    Slices go through the peaks of the first clusters, then where most voxels are, then around the first peak.
    """
    peaks = [tuple(c.peak_mm.round().tolist()) for c in clusters]
    voxel_heights = mask.to_mm(mask.voxel_ijk[np.concatenate([c.voxels for c in clusters])])[:, 2]
    levels, counts = np.unique(voxel_heights.round(), return_counts=True)
    fullest = levels[np.argsort(-counts, kind="stable")].tolist()
    around = [peaks[0][2] + side * k * APART_MM for k in range(1, ROWS * COLUMNS) for side in (1, -1)]
    around = [h for h in around if LOW_MM <= h <= HIGH_MM] + around
    heights: list[float] = []
    by_preference = ((*(p[2] for p in peaks), *fullest), APART_MM), (fullest, CLOSE_MM), (around, APART_MM)
    for candidates, apart in by_preference:
        for height in candidates:
            if len(heights) < ROWS * COLUMNS and all(abs(height - h) >= apart for h in heights):
                heights.append(height)
    return peaks[0], sorted(heights)


_BRAIN = ColourScale(shades(("#000000", "#ffffff"), GREYS), low=0.0, high=1.3)


def _slice(
    canvas: Canvas, values: npt.NDArray[Any], axis: str, at: float, mask: Mask, scale: ColourScale, place: Any
) -> None:
    """Draw one slice; `place` takes its edges (left, right, bottom, top) from mm to inches."""
    data, step, origin = _in_view()
    k, (u, v) = "xyz".index(axis), _ACROSS[axis]
    index = int(np.clip(np.rint((at - origin[k]) / step[k]), 0, data.shape[k] - 1))
    ends = [(origin[i] - step[i] / 2, origin[i] + step[i] * (data.shape[i] - 0.5)) for i in (u, v)]
    window = canvas.window(*place(*ends[0], *ends[1]))
    # The first row of an image is its uppermost.
    grey = smooth(data[(slice(None),) * k + (index,)].T[::-1], window.shape[:2])
    window[...] = _BRAIN.of(grey)
    fine = min(2.0, float(mask.voxel_size.min()))
    us, vs = (np.arange(low + fine / 2, high, fine) for low, high in ends)
    points = np.empty((len(vs), len(us), 3))
    points[..., u], points[..., v], points[..., k] = us, vs[::-1, None], at
    voxel = mask.voxel_at(points.reshape(-1, 3)).reshape(points.shape[:2])
    # A surviving voxel is shown as it is, without smoothing over its edge.
    _paint(window, np.where(voxel >= 0, values[voxel], 0), scale)


@cache
def _in_view() -> tuple[npt.NDArray[np.float32], F64, F64]:
    """Return the template without what lies further left and right than a column of the mosaic, its steps and origin.

    Its affine is diagonal: each axis has a step and an origin of its own, in mm.
    """
    data, affine = background()
    step, origin = affine.diagonal()[:3], affine[:3, 3].copy()
    inside = np.flatnonzero(np.abs(origin[0] + step[0] * np.arange(len(data))) <= _WIDEST_MM)
    origin[0] += step[0] * inside[0]
    # An axial slice lies in one piece in Fortran's order: it is read in a tenth of the time.
    return np.asfortranarray(data[inside]), step, origin


def _paint(window: Pixels, image: npt.NDArray[Any], scale: ColourScale) -> None:
    """Colour the pixels of a window where an image (row, column) that fills it is not 0."""
    shown = nearest(image, window.shape[:2])
    seen = shown != 0
    window[seen] = scale.of(shown[seen])


def _placed_at(x: float, y: float, scale: float) -> Callable[..., tuple[float, ...]]:
    return lambda left, right, bottom, top: (x + left * scale, x + right * scale, y + bottom * scale, y + top * scale)


def _ortho(
    canvas: Canvas, values: npt.NDArray[Any], peak: tuple[float, ...], mask: Mask, scale: ColourScale
) -> Iterator[Words]:
    per_mm, y = 2.3 / 190, 6.9
    for axis, x, at in zip("xyz", (2.0, 4.55, 7.05), peak, strict=True):
        # The middle of the brain lies at y = -18, z = 18 mm.
        right, up = {"x": (-18, 18), "y": (0, 18), "z": (0, -18)}[axis]
        _slice(canvas, values, axis, at, mask, scale, _placed_at(x - right * per_mm, y - up * per_mm, per_mm))
        yield Words(x, 5.63, f"{axis} = {at + 0.0:g}")
        if axis != "x":
            yield Words(x - 0.9, 7.85, "L")
            yield Words(x + 0.9, 7.85, "R")


def _mosaic(
    canvas: Canvas, values: npt.NDArray[Any], heights: Sequence[float], mask: Mask, scale: ColourScale
) -> Iterator[Words]:
    width = _SIZE[0] / COLUMNS
    per_mm = 1.5 / 190
    for i, at in enumerate(heights):
        x, y = width * (i % COLUMNS + 0.5), (4.68, 2.95)[i // COLUMNS]
        _slice(canvas, values, "z", at, mask, scale, _placed_at(x, y + 18 * per_mm, per_mm))
        yield Words(x, y - 0.84, f"z = {at + 0.0:g}", 9)


def _glass(canvas: Canvas, values: npt.NDArray[Any], mask: Mask, scale: ColourScale) -> None:
    for side, to_x, to_y in _sides():
        image, (left, right, bottom, top) = projection(values, side, mask=mask)
        across = to_x(left), to_x(right)
        # A side that is drawn mirrored has its right edge on the left.
        image = image[::-1] if across[0] < across[1] else image[::-1, ::-1]
        window = canvas.window(min(across), max(across), to_y(bottom), to_y(top))
        _paint(window, np.nan_to_num(image), scale)
    window = canvas.window(0, _SIZE[0], 0, _GLASS)
    opacity = _lines()[..., None]
    window[...] = np.rint(window + (255 - window) * opacity)


def _sides() -> Iterator[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]:
    """Yield each side of the glass brain with the functions that take its mm to inches, across and upwards."""
    outline_of = outlines()
    per_mm = 1.25 / 165
    gap = (_SIZE[0] - sum(outline_of[side].width for side in SIDES) * per_mm) / (len(SIDES) + 1)
    x = gap
    for side in SIDES:
        outline = outline_of[side]
        flip = -per_mm if outline.right < outline.left else per_mm
        yield (
            side,
            partial(_linear, x - flip * outline.left, flip),
            partial(_linear, 0.4 - outline.bottom * per_mm, per_mm),
        )
        x += outline.width * per_mm + gap


def _linear(origin: float, slope: float, at: Any) -> Any:
    return origin + slope * at


@cache
def _lines() -> npt.NDArray[Any]:
    """Return the opacity (row, column) of the white lines of the glass brain in the lowest part of a figure."""
    return prepared("glass", _drawn_lines, package="nilearn")["opacity"]


def _drawn_lines() -> dict[str, npt.NDArray[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    figure = Figure(figsize=(_SIZE[0], _GLASS), facecolor="black", dpi=DPI)
    drawn = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _SIZE[0]), ylim=(0, _GLASS), frame_on=False)
    axes.set_axis_off()
    for side, to_x, to_y in _sides():
        for width, (points, codes) in outlines()[side].curves.items():
            inches = np.stack([to_x(points[:, 0]), to_y(points[:, 1])], axis=1)
            axes.add_artist(PathPatch(Path(inches, codes), fill=False, ec="white", lw=width / 2, alpha=0.6))
    drawn.draw()
    return {"opacity": np.asarray(drawn.buffer_rgba())[..., 0].astype(np.float32) / 255}
