"""Draw a map on the MNI brain: three slices at a peak, a mosaic of axial slices, and the glass brain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.numerics.space import Mask
from ale_dask.reporting.figures.glass import SIDES, outlines, projection
from ale_dask.storage.prepared import prepared

ROWS, COLUMNS = 2, 7
"""Axial slices in a figure."""
APART_MM, CLOSE_MM = 5.0, 3.0
"""Least distance between slices, and between slices through a cluster where there is room for more."""
LOW_MM, HIGH_MM = -40.0, 70.0
"""Heights between which an axial slice shows much of the brain."""
DPI = 110
GREYS, SHADES = 32, 48
"""Colours of the brain and of a map: so few fit a palette of 256, and a PNG takes a third of the bytes."""
_SIZE = (10.0, 8.5)
_ACROSS = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}
"""The axes of a slice, from left to right and upwards."""


@dataclass(frozen=True, eq=False)
class ColourScale:
    """A colour map of matplotlib, the values at its ends, and the label of its colour bar, "" for no bar."""

    cmap: Any
    low: float
    high: float
    label: str = ""


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    # Not a figure of pyplot, whose state is global and which may need a window system.
    figure = Figure(figsize=_SIZE, facecolor="black", dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    # All slices share one axes in inches: an axes for each would take ten times as long.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _SIZE[0]), ylim=(0, _SIZE[1]), frame_on=False)
    axes.set_axis_off()
    axes.autoscale(False)
    paint = {"cmap": scale.cmap.resampled(min(SHADES, scale.cmap.N)), "norm": Normalize(scale.low, scale.high)}
    peak, heights = slice_places(clusters, mask=mask)
    _ortho(axes, values, peak, mask, paint)
    _mosaic(axes, values, heights, mask, paint)
    _glass(axes, values, mask, paint)
    axes.text(_SIZE[0] / 2, 8.27, title, size=13, color="white", ha="center", va="center")
    if legend:
        _legend(axes, legend)
    if scale.label:
        bar = figure.colorbar(axes.images[-1], cax=figure.add_axes((0.905, 0.7, 0.013, 0.22)))
        bar.ax.tick_params(colors="white", labelsize=9)
        bar.outline.set_edgecolor("white")
        bar.set_label(scale.label, color="white")
    canvas.draw()
    return _png(np.asarray(canvas.buffer_rgba())[..., :3])


def _legend(axes: Any, legend: Sequence[tuple[str, str]]) -> None:
    from matplotlib.patches import Patch

    axes.legend(
        handles=[Patch(color=colour, label=words) for colour, words in legend],
        loc="lower center",
        ncols=len(legend),
        frameon=False,
        labelcolor="white",
        bbox_to_anchor=(0.5, -0.005),
    )


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return pixels (row, column, 3) as a PNG of their 256 most frequent colours."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    colours: list[Any] = image.getcolors(image.width * image.height) or []
    # The darker of equally frequent colours comes first, so that a figure has the same bytes each time.
    colours.sort(key=lambda counted: (-counted[0], counted[1]))
    palette = Image.new("P", (1, 1))
    palette.putpalette([level for _, colour in colours[:256] for level in colour])
    out = BytesIO()
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(out, "png", compress_level=6)
    return out.getvalue()


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


def _slice(axes: Any, values: npt.NDArray[Any], axis: str, at: float, mask: Mask, paint: Any, place: Any) -> None:
    """Draw one slice; `place` takes its edges (left, right, bottom, top) from mm to units of the axes."""
    from matplotlib import colormaps

    data, affine = background()
    k, (u, v) = "xyz".index(axis), _ACROSS[axis]
    # The template's affine is diagonal: each axis has a step and an origin of its own.
    step, origin = affine.diagonal()[:3], affine[:3, 3]
    index = int(np.clip(np.rint((at - origin[k]) / step[k]), 0, data.shape[k] - 1))
    ends = [(origin[i] - step[i] / 2, origin[i] + step[i] * (data.shape[i] - 0.5)) for i in (u, v)]
    extent = place(*ends[0], *ends[1])
    axes.imshow(
        np.take(data, index, axis=k).T,
        cmap=colormaps["gray"].resampled(GREYS),
        vmin=0,
        vmax=1.3,
        origin="lower",
        extent=extent,
        aspect="auto",
        interpolation="bilinear",
        interpolation_stage="data",
    )
    fine = min(2.0, float(mask.voxel_size.min()))
    us, vs = (np.arange(low + fine / 2, high, fine) for low, high in ends)
    points = np.empty((len(vs), len(us), 3))
    points[..., u], points[..., v], points[..., k] = us, vs[:, None], at
    voxel = mask.voxel_at(points.reshape(-1, 3)).reshape(points.shape[:2])
    shown = np.where(voxel >= 0, values[voxel], 0)
    if shown.any():
        # A surviving voxel is shown as it is, without smoothing over its edge.
        axes.imshow(
            np.ma.masked_equal(shown, 0), origin="lower", extent=extent, aspect="auto", interpolation="nearest", **paint
        )


def _placed_at(x: float, y: float, scale: float) -> Callable[..., tuple[float, ...]]:
    return lambda left, right, bottom, top: (x + left * scale, x + right * scale, y + bottom * scale, y + top * scale)


def _words(axes: Any, x: float, y: float, words: str, size: int = 10) -> None:
    axes.text(x, y, words, size=size, color="white", ha="center", va="center")


def _ortho(axes: Any, values: npt.NDArray[Any], peak: tuple[float, ...], mask: Mask, paint: Any) -> None:
    scale, y = 2.3 / 190, 6.9
    for axis, x, at in zip("xyz", (2.0, 4.55, 7.05), peak, strict=True):
        # The middle of the brain lies at y = -18, z = 18 mm.
        right, up = {"x": (-18, 18), "y": (0, 18), "z": (0, -18)}[axis]
        _slice(axes, values, axis, at, mask, paint, _placed_at(x - right * scale, y - up * scale, scale))
        _words(axes, x, 5.63, f"{axis} = {at + 0.0:g}")
        if axis != "x":
            _words(axes, x - 0.9, 7.85, "L")
            _words(axes, x + 0.9, 7.85, "R")


def _mosaic(axes: Any, values: npt.NDArray[Any], heights: Sequence[float], mask: Mask, paint: Any) -> None:
    width = _SIZE[0] / COLUMNS
    scale = 1.5 / 190
    for i, at in enumerate(heights):
        x, y = width * (i % COLUMNS + 0.5), (4.68, 2.95)[i // COLUMNS]
        _slice(axes, values, "z", at, mask, paint, _placed_at(x, y + 18 * scale, scale))
        _words(axes, x, y - 0.84, f"z = {at + 0.0:g}", 9)


def _glass(axes: Any, values: npt.NDArray[Any], mask: Mask, paint: Any) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.transforms import Affine2D

    outline_of = outlines()
    scale = 1.25 / 165
    gap = (_SIZE[0] - sum(outline_of[side].width for side in SIDES) * scale) / (len(SIDES) + 1)
    x = gap
    for side in SIDES:
        outline = outline_of[side]
        flip = -1 if outline.right < outline.left else 1
        to = (
            Affine2D()
            .scale(flip * scale, scale)
            .translate(x - flip * outline.left * scale, 0.4 - outline.bottom * scale)
        )
        image, (left, right, bottom, top) = projection(values, side, mask=mask)
        (a, b), (c, d) = to.transform([(left, bottom), (right, top)])
        axes.imshow(image, origin="lower", extent=(a, c, b, d), aspect="auto", interpolation="nearest", **paint)
        for width, (points, codes) in outline.curves.items():
            # Not add_patch, which works out the limits of the axes from every curve: the limits are fixed.
            axes.add_artist(
                PathPatch(to.transform_path(Path(points, codes)), fill=False, ec="white", lw=width / 2, alpha=0.6)
            )
        x += outline.width * scale + gap
