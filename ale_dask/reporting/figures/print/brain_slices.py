"""Draw axial slices of a map on nilearn's MNI template of 1 mm, only where the map has a voxel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.reporting.figures.print.numbers import clusters_words, write_numbers
from ale_dask.reporting.figures.print.page import SIZE, Drawing, Look, Region
from ale_dask.reporting.figures.print.shown import ShownMap
from ale_dask.storage.prepared import prepared

F64 = npt.NDArray[np.float64]
Box = tuple[tuple[float, float], tuple[float, float]]
"""The edges of a slice in mm, across and upwards."""
ACROSS = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}
"""The axes of a slice, from left to right and upwards."""
APART_MM = 6.0
"""Least distance between slices that show nothing but more of the same clusters."""
AXIAL: Box = ((-75.0, 75.0), (-110.0, 77.0))
_BESIDE = 0.25
MOST, FEWEST = 18, 6
"""Most slices, and slices up to which more of the same clusters are shown."""
NARROWEST = 1.1
"""Least width of a slice in inches."""


@cache
def template() -> tuple[npt.NDArray[np.uint8], F64]:
    """Return nilearn's MNI152 template (x, y, z) at 1 mm, from 0 to 255, and its affine (4, 4)."""
    kept = prepared("template-1mm", _template, package="nilearn")
    return kept["data"], kept["affine"]


def _template() -> dict[str, npt.NDArray[Any]]:
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    data = np.asarray(image.dataobj, dtype=np.float32)
    return {"data": np.rint(255 * data / data.max()).astype(np.uint8), "affine": np.asarray(image.affine, np.float64)}


def slice_places(shown: ShownMap, axis: str = "z", *, most: int = MOST, few: int = FEWEST) -> list[float]:
    """Return positions in mm along an axis, in ascending order, in each of which the map has a voxel.

    Each cluster's peak comes first, largest cluster first, unless an earlier slice shows the cluster; then, up to `few`
    slices, those with the most voxels and at least a quarter of the most. A map without clusters has slices at equal
    distances.
    """
    k = "xyz".index(axis)
    voxels = np.flatnonzero(shown.values)
    at = shown.mask.to_mm(shown.mask.voxel_ijk[voxels])[:, k].round(1) + 0.0
    planes, counts = np.unique(at, return_counts=True)
    if not shown.clusters:
        return sorted(set(planes[(np.linspace(0.1, 0.9, few) * (len(planes) - 1)).astype(int)].tolist()))
    chosen: list[float] = []
    for cluster in sorted(shown.clusters, key=lambda c: -len(c.voxels)):
        own = shown.mask.to_mm(shown.mask.voxel_ijk[cluster.voxels])[:, k].round(1) + 0.0
        if len(chosen) < most and not np.isin(own, chosen).any():
            chosen.append(float(own[np.abs(own - cluster.peak_mm[k]).argmin()]))
    much = np.flatnonzero(counts >= counts.max() / 4)
    for plane in planes[much[np.argsort(-counts[much], kind="stable")]].tolist():
        if len(chosen) < few and all(abs(plane - other) >= APART_MM for other in chosen):
            chosen.append(float(plane))
    return sorted(chosen)


def slices(shown: ShownMap, *, width: float, most: int = MOST) -> Drawing:
    """Return axial slices, numbered clusters and L and R in each."""
    places = slice_places(shown, most=most, few=min(most, FEWEST))
    in_row = max(2, int(width / NARROWEST))
    # Rows of equal length, and a few slices not larger than many.
    columns = -(-len(places) // -(-len(places) // in_row))
    panel = width / max(columns, min(4, in_row))
    high = panel * (AXIAL[1][1] - AXIAL[1][0]) / (AXIAL[0][1] - AXIAL[0][0])
    row = high + 0.16

    def paint(region: Region) -> None:
        left = (region.width - panel * columns) / 2
        for i, at in enumerate(places):
            x, y = left + panel * (i % columns), row * (i // columns)
            draw_slice(region.axes(x, y, panel, high), shown, "z", at, AXIAL, region.look)
            region.text(x + panel / 2, y + high + 0.06, f"z = {place_words(at)}", ha="center")

    missing = [c.number for c in shown.clusters if not _in_a_slice(shown, c.voxels, places)]
    notes = (f"In none of the slices: {clusters_words(missing)}",) if missing else ()
    return Drawing(row * -(-len(places) // columns), paint, notes)


def place_words(at: float) -> str:
    """Return a position in mm with a true minus sign."""
    return f"{at + 0.0:g}".replace("-", "−")


def _in_a_slice(shown: ShownMap, voxels: npt.NDArray[np.int64], places: Sequence[float]) -> bool:
    at = shown.mask.to_mm(shown.mask.voxel_ijk[voxels])[:, 2].round(1) + 0.0
    return bool(np.isin(at, places).any())


def draw_slice(axes: Any, shown: ShownMap, axis: str, at: float, box: Box, look: Look) -> F64:
    """Draw one slice of the brain and the map, the numbers of its clusters, L and R; return the points (v, u, 3)."""
    points = _points(axis, at, box)
    extent = [edge + _BESIDE - 0.5 for ends in box for edge in ends]
    axes.imshow(_brain(points), extent=extent, origin="lower", interpolation="bilinear", aspect="auto")
    values = shown.at(points.reshape(-1, 3)).reshape(points.shape[:2])
    # A surviving voxel is shown as it is, without smoothing over its edge.
    axes.imshow(shown.rgba(values), extent=extent, origin="lower", interpolation="nearest", aspect="auto")
    axes.set(xlim=box[0], ylim=box[1])
    number = np.where(values != 0, shown.number_at(points.reshape(-1, 3)).reshape(points.shape[:2]), 0)
    u, v = ACROSS[axis]
    inside = {int(k): points[number == k][:, [u, v]] for k in np.unique(number[number > 0])}
    write_numbers(axes, inside, look)
    if axis != "x":
        for x, words, side in ((0.03, "L", "left"), (0.97, "R", "right")):
            axes.text(x, 0.99, words, size=SIZE, color=look.ink, ha=side, va="top", transform=axes.transAxes)
    return points


def _points(axis: str, at: float, box: Box) -> F64:
    """Return the positions (v, u, 3) in mm of the pixels of a slice, 1 mm apart."""
    k, (u, v) = "xyz".index(axis), ACROSS[axis]
    # A quarter of a mm beside whole ones, where no point lies between two voxels of 1, 2 or 4 mm.
    across, upwards = (np.arange(low + _BESIDE, high) for low, high in box)
    points = np.empty((len(upwards), len(across), 3))
    points[..., u], points[..., v], points[..., k] = across, upwards[:, None], at
    return points


def _brain(points: F64) -> npt.NDArray[np.float32]:
    """Return the template as greys (v, u, 4), transparent outside of the brain."""
    data, affine = template()
    ijk = np.rint((points - affine[:3, 3]) / affine.diagonal()[:3]).astype(np.int64)
    inside = np.asarray(((ijk >= 0) & (ijk < data.shape)).all(axis=-1))
    grey = np.where(inside, data[tuple(np.moveaxis(np.where(inside[..., None], ijk, 0), -1, 0))], 0) / 255
    return np.stack([0.8 * grey] * 3 + [grey > 0.08], axis=-1).astype(np.float32)
