"""Draw enlarged slices through amygdala, hippocampus, basal ganglia and thalamus, with the outlines of AAL2."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ale_dask.analyses.findings.atlas import atlas
from ale_dask.errors import InputError
from ale_dask.reporting.figures.print.brain_slices import ACROSS, Box, draw_slice, place_words, slice_places
from ale_dask.reporting.figures.print.numbers import clusters_words
from ale_dask.reporting.figures.print.page import SIZE, Drawing, Region
from ale_dask.reporting.figures.print.shown import ShownMap

F64 = npt.NDArray[np.float64]
STRUCTURES = {
    "Hi": ("hippocampus", (4101, 4102)),
    "Am": ("amygdala", (4201, 4202)),
    "Ca": ("caudate", (7001, 7002)),
    "Pu": ("putamen", (7011, 7012)),
    "Pa": ("pallidum", (7021, 7022)),
    "Th": ("thalamus", (7101, 7102)),
}
"""Abbreviation, name, and labels of AAL2 on the left and on the right."""
BOXES: dict[str, Box] = {"z": ((-48.0, 48.0), (-50.0, 34.0)), "y": ((-48.0, 48.0), (-40.0, 34.0))}
NARROWEST = 1.7
"""Least width of a slice in inches."""


def inside(shown: ShownMap) -> ShownMap:
    """Return a map with only the voxels, and parts of clusters, that lie in one of the structures.

    Raises
    ------
    InputError
        when there is none.
    """
    labels = atlas("AAL").at(shown.mask.to_mm(shown.mask.voxel_ijk.astype(np.float64)))
    there = np.isin(labels, [label for _, both in STRUCTURES.values() for label in both])
    values = np.where(there, shown.values, 0.0)
    if not values.any():
        names = ", ".join(name for name, _ in STRUCTURES.values())
        raise InputError(f"{shown.name}, {shown.label}: no voxel shown lies in {names}; choose another style")
    parts = [replace(c, voxels=c.voxels[there[c.voxels]]) for c in shown.clusters]
    return replace(shown, values=values, clusters=[c for c in parts if len(c.voxels)])


def subcortex(shown: ShownMap, *, width: float) -> Drawing:
    """Return a row of axial and one of coronal slices, where most of the map lies in these structures."""
    part = inside(shown)
    in_row = max(2, int(width / NARROWEST))
    rows = {axis: slice_places(part, axis, most=in_row, few=in_row) for axis in BOXES}
    panel = width / in_row
    high = {a: panel * (box[1][1] - box[1][0]) / (box[0][1] - box[0][0]) for a, box in BOXES.items()}

    def paint(region: Region) -> None:
        y = 0.0
        for axis, places in rows.items():
            left = (region.width - panel * len(places)) / 2
            for i, at in enumerate(places):
                x = left + panel * i
                axes = region.axes(x + 0.02, y, panel - 0.04, high[axis])
                points = draw_slice(axes, shown, axis, at, BOXES[axis], region.look)
                _outlines(axes, points, axis)
                region.text(x + panel / 2, y + high[axis] + 0.07, f"{axis} = {place_words(at)}", ha="center")
            y += high[axis] + 0.2

    kept = {c.number for c in part.clusters}
    missing = [c.number for c in shown.clusters if c.number not in kept]
    names = ", ".join(f"{short} {name}" for short, (name, _) in STRUCTURES.items())
    notes = (f"Outlines (AAL2): {names}", *([f"In none of them: {clusters_words(missing)}"] if missing else []))
    return Drawing(sum(high.values()) + 0.2 * len(rows), paint, notes)


def _outlines(axes: Any, points: F64, axis: str) -> None:
    labels = atlas("AAL").at(points.reshape(-1, 3)).reshape(points.shape[:2])
    across, upwards = (points[..., k] for k in ACROSS[axis])
    for short, (_, both) in STRUCTURES.items():
        for label in both:
            there = labels == label
            if there.sum() < 25:
                continue
            # Voxels of 2 mm are steps; half of them smoothed by their width is the outline.
            edge = ndimage.gaussian_filter(there.astype(float), 1.0)
            axes.contour(across, upwards, edge, levels=[0.5], colors=["#ffffff"], linewidths=0.5)
            if label == both[0]:
                # Letters in the left hemisphere only: the right one mirrors it.
                at = across[there].mean(), upwards[there].mean()
                axes.text(*at, short, size=SIZE - 1.5, color="#ffffff", ha="center", va="center", zorder=4)
