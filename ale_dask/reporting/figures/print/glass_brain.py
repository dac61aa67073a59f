"""Draw a map on the glass brain from four sides, with vector outlines."""

from __future__ import annotations

from typing import Any

import numpy as np

from ale_dask.reporting.figures.glass import SEEN_FROM, SIDES, Outline, outlines, projected, projection
from ale_dask.reporting.figures.print.numbers import write_numbers
from ale_dask.reporting.figures.print.page import SIZE, Drawing, Look, Region
from ale_dask.reporting.figures.print.shown import ShownMap

_MARGIN = 0.08


def glass(shown: ShownMap, *, width: float) -> Drawing:
    """Return the left, the right, the back and the upper side of the glass brain; the largest value in front."""
    outline_of = outlines()
    per_inch = sum(outline_of[side].width for side in SIDES) / (width - _MARGIN * (len(SIDES) + 1))
    high = max(outline_of[side].height for side in SIDES) / per_inch

    def paint(region: Region) -> None:
        x = _MARGIN
        for side in SIDES:
            outline = outline_of[side]
            across, upwards = outline.width / per_inch, outline.height / per_inch
            axes = region.axes(x, high - upwards, across, upwards)
            _side(axes, shown, side, outline, region.look)
            region.text(x + across / 2, high + 0.09, SEEN_FROM[side], ha="center")
            x += across + _MARGIN

    return Drawing(high + 0.2, paint)


def _side(axes: Any, shown: ShownMap, side: str, outline: Outline, look: Look) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    image, edges = projection(shown.values, side, mask=shown.mask)
    axes.imshow(shown.rgba(np.nan_to_num(image)), extent=edges, origin="lower", interpolation="nearest", aspect="auto")
    for width, (points, codes) in outline.curves.items():
        axes.add_patch(PathPatch(Path(points, codes), fill=False, ec=look.line, lw=0.4 * width, alpha=0.8))
    axes.set(xlim=(outline.left, outline.right), ylim=(outline.bottom, outline.top))
    inside = {}
    for cluster in shown.clusters:
        _, at = projected(shown.mask.to_mm(shown.mask.voxel_ijk[cluster.voxels]), side)
        if len(at):
            inside[cluster.number] = at
    write_numbers(axes, inside, look)
    letters = (("L", 0.0, "left"), ("R", 1.0, "right")) if side in "yz" else ((side.upper(), 0.0, "left"),)
    for words, x, anchor in letters:
        axes.text(x, 1, words, size=SIZE, color=look.ink, ha=anchor, va="top", transform=axes.transAxes)
