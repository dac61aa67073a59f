"""Give the outlines of the glass brain from four sides in mm, and project foci and maps onto them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.space import Mask
from ale_dask.storage.prepared import prepared

SIDES = ("l", "r", "y", "z")
"""The left and the right hemisphere from their sides, the whole brain from behind and from above."""
SEEN_FROM = {"l": "left hemisphere", "r": "right hemisphere", "y": "from behind", "z": "from above"}
_AXES = {"l": (1, 2), "r": (1, 2), "y": (0, 2), "z": (0, 1)}


@dataclass(frozen=True, eq=False)
class Outline:
    """One side of the brain: the edges of its drawing in mm, right below left where it is mirrored, and its curves.

    `curves` has by width of line the points (point, 2) in mm and their codes of matplotlib.path (point).
    """

    left: float
    right: float
    bottom: float
    top: float
    curves: dict[float, tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]]

    @property
    def width(self) -> float:
        """Return the width in mm."""
        return abs(self.right - self.left)

    @property
    def height(self) -> float:
        """Return the height in mm."""
        return self.top - self.bottom


@cache
def outlines() -> dict[str, Outline]:
    """Return nilearn's drawing of each side of the brain, made once per version of nilearn."""
    kept = prepared("outlines", _drawn, package="nilearn")
    by_side = {}
    for side in SIDES:
        widths = kept[f"{side}-widths"].tolist()
        curves = {w: (kept[f"{side}-points-{i}"], kept[f"{side}-codes-{i}"]) for i, w in enumerate(widths)}
        left, right, bottom, top = kept[f"{side}-edges"].tolist()
        by_side[side] = Outline(left, right, bottom, top, curves)
    return by_side


def _drawn() -> dict[str, npt.NDArray[Any]]:
    """Return the edges of each side's drawing, the widths of its lines, and points and codes of each width's curves."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from nilearn.plotting import plot_glass_brain

    figure = Figure()
    FigureCanvasAgg(figure)
    display = plot_glass_brain(None, figure=figure, display_mode="lyrz")
    arrays = {}
    for side in SIDES:
        axes = display.axes[side].ax
        curves: dict[float, list[tuple[Any, Any]]] = {}
        for patch in axes.patches:
            in_mm = (patch.get_transform() - axes.transData).transform_path(patch.get_path())
            curves.setdefault(round(patch.get_linewidth(), 1), []).append((in_mm.vertices, in_mm.codes))
        arrays[f"{side}-edges"] = np.array([*axes.get_xlim(), *axes.get_ylim()])
        arrays[f"{side}-widths"] = np.array(list(curves))
        for i, parts in enumerate(curves.values()):
            arrays[f"{side}-points-{i}"] = np.concatenate([points for points, _ in parts])
            arrays[f"{side}-codes-{i}"] = np.concatenate([codes for _, codes in parts])
    return arrays


def projected(xyz: npt.NDArray[np.float64], side: str) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Return which points (focus, axis) in mm a side shows, and where (shown, 2); both hemispheres show the midline."""
    seen = {"l": xyz[:, 0] <= 0, "r": xyz[:, 0] >= 0}.get(side, np.ones(len(xyz), dtype=bool))
    shown = np.flatnonzero(seen)
    return shown, xyz[shown][:, _AXES[side]]


def projection(values: npt.NDArray[Any], side: str, *, mask: Mask) -> tuple[npt.NDArray[np.float64], tuple[float, ...]]:
    """Return as an image (row, column) the value farthest from 0 along each line of sight, and the image's edges in mm.

    `values` are (voxel), 0 is not shown, and a line of sight without a value is nan. Edges: left, right, bottom, top.
    """
    voxels = np.flatnonzero(values)
    shown, at = projected(mask.to_mm(mask.voxel_ijk[voxels]), side)
    size = float(mask.voxel_size.min())
    if not len(shown):
        return np.full((1, 1), np.nan), (0.0, size, 0.0, size)
    low = at.min(axis=0)
    cell = np.rint((at - low) / size).astype(np.int64)
    image = np.full(cell.max(axis=0)[::-1] + 1, np.nan)
    value = values[voxels[shown]].astype(np.float64)
    order = np.argsort(np.abs(value), kind="stable")
    image[cell[order, 1], cell[order, 0]] = value[order]
    left, bottom = low - size / 2
    return image, (left, left + image.shape[1] * size, bottom, bottom + image.shape[0] * size)
