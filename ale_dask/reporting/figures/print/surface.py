"""Draw a map on the inflated cortex of fsaverage5, which nilearn ships: each hemisphere from both of its sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.reporting.figures.print.numbers import clusters_words, write_numbers
from ale_dask.reporting.figures.print.page import SIZE, Drawing, Look, Region
from ale_dask.reporting.figures.print.shown import ShownMap
from ale_dask.storage.prepared import prepared

F64 = npt.NDArray[np.float64]
VIEWS = {
    4: (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral")),
    2: (("left", "lateral"), ("right", "lateral"), ("left", "medial"), ("right", "medial")),
}
"""The views in their order, in one row of four or two rows of two."""
DEPTHS = np.linspace(0, 1, 7)
"""Places between white matter (0) and pial surface (1) at which a map is read."""
TO_MNI152 = np.array(
    [[0.9975, -0.0073, 0.0176, -0.0429], [0.0146, 1.0009, -0.0024, 1.5496], [-0.0130, -0.0093, 0.9971, 1.1840]]
)
"""From MNI305, in which fsaverage lies, to MNI152 (FreeSurfer's wiki, CoordinateSystems, 8)."""
_TWO_ROWS = 4.5
"""Width in inches up to which the views are drawn in two rows."""
_GYRUS, _SULCUS = 0.80, 0.58
"""Greys of the cortex."""


@dataclass(frozen=True, eq=False)
class Hemisphere:
    """One hemisphere: triangles (face, 3), inflated positions, normals and greys (vertex …), positions in MNI152.

    `mm` (depth, vertex, 3) are the places of each vertex between white matter and pial surface.
    """

    faces: npt.NDArray[np.int64]
    inflated: F64
    normals: F64
    grey: F64
    mm: F64


@cache
def hemisphere(side: str) -> Hemisphere:
    """Return the left or the right hemisphere, each triangle in four, so that edges are as long as a voxel."""
    kept = prepared("fsaverage5", _meshes, package="nilearn")
    faces = kept[f"faces-{side}"].astype(np.int64)
    columns = [kept[f"{name}-{side}"] for name in ("infl", "white", "pial")] + [kept[f"sulc-{side}"][:, None]]
    faces, values = _finer(faces, np.concatenate(columns, axis=1).astype(np.float64))
    inflated, white, pial, sulc = values[:, :3], values[:, 3:6], values[:, 6:9], values[:, 9]
    between = white + DEPTHS[:, None, None] * (pial - white)
    mm = between @ TO_MNI152[:, :3].T + TO_MNI152[:, 3]
    # Sulcal depth is above 0 in sulci; a steep step keeps the folds readable.
    grey = _GYRUS + (_SULCUS - _GYRUS) / (1 + np.exp(-3 * sulc))
    return Hemisphere(faces, inflated, _normals(faces, inflated), grey, mm)


def _meshes() -> dict[str, npt.NDArray[Any]]:
    from nilearn.datasets import fetch_surf_fsaverage
    from nilearn.surface import load_surf_data, load_surf_mesh

    files = fetch_surf_fsaverage("fsaverage5")
    arrays = {}
    for side in ("left", "right"):
        for name in ("infl", "white", "pial"):
            mesh = load_surf_mesh(files[f"{name}_{side}"])
            arrays[f"{name}-{side}"] = np.asarray(mesh.coordinates, dtype=np.float32)
            arrays[f"faces-{side}"] = np.asarray(mesh.faces, dtype=np.int32)
        arrays[f"sulc-{side}"] = np.asarray(load_surf_data(files[f"sulc_{side}"]), dtype=np.float32)
    return arrays


def _finer(faces: npt.NDArray[np.int64], values: F64) -> tuple[npt.NDArray[np.int64], F64]:
    """Return triangles each divided in four, and the values (vertex, …) with those in the middles of edges behind."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, which = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (len(values) + which.reshape(-1, 3)).T
    a, b, c = faces.T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    finer = np.concatenate([np.stack(part, axis=1) for part in parts])
    return finer, np.concatenate([values, values[unique].mean(axis=1)])


def _normals(faces: npt.NDArray[np.int64], at: F64) -> F64:
    """Return the normal (vertex, 3) of length 1 at each vertex, the mean of its triangles' ones."""
    a, b, c = (at[faces[:, i]] for i in range(3))
    each = np.cross(b - a, c - a)
    normals = np.zeros_like(at)
    for i in range(3):
        np.add.at(normals, faces[:, i], each)
    return np.asarray(normals / np.linalg.norm(normals, axis=1, keepdims=True))


def on_cortex(shown: ShownMap, side: str) -> tuple[F64, npt.NDArray[np.int64]]:
    """Return of each vertex the value farthest from 0 in the cortex below it, and the number of its cluster."""
    mm = hemisphere(side).mm
    values = shown.at(mm.reshape(-1, 3)).reshape(mm.shape[:2])
    depth = np.abs(values).argmax(axis=0)
    at = np.arange(mm.shape[1])
    value = values[depth, at]
    return value, np.where(value != 0, shown.number_at(mm[depth, at]), 0)


def surface(shown: ShownMap, *, width: float) -> Drawing:
    """Return both hemispheres from both sides; clusters without a vertex of the cortex are named below."""
    painted = {side: on_cortex(shown, side) for side in ("left", "right")}
    numbered = _numbered(painted)
    columns = 4 if width > _TWO_ROWS else 2
    panel = width / columns
    high = 0.74 * panel
    row = high + 0.14

    def paint(region: Region) -> None:
        for i, (side, view) in enumerate(VIEWS[columns]):
            x, y = panel * (i % columns), row * (i // columns)
            axes = region.axes(x, y, panel, high)
            _view(axes, shown, (side, view), painted[side], numbered[side, view], region.look)
            region.text(x + panel / 2, y + high + 0.03, view, ha="center")
            axes.text(0.02, 1, side[0].upper(), size=SIZE, color=region.look.ink, va="top", transform=axes.transAxes)

    seen = set(np.concatenate([number for _, number in painted.values()]).tolist())
    missing = [c.number for c in shown.clusters if c.number not in seen]
    notes = (f"Not on the cortex: {clusters_words(missing)}",) if missing else ()
    return Drawing(row * (4 // columns), paint, notes)


def _view(
    axes: Any,
    shown: ShownMap,
    which: tuple[str, str],
    painted: tuple[F64, npt.NDArray[np.int64]],
    numbered: set[int],
    look: Look,
) -> None:
    from matplotlib.collections import TriMesh
    from matplotlib.tri import Triangulation

    side, view = which
    mesh = hemisphere(side)
    values, number = painted
    # Seen from the left, the front of the brain is on the left; lateral is the side away from the midline.
    from_left = (side == "left") == (view == "lateral")
    toward = -1.0 if from_left else 1.0
    at = mesh.inflated * (toward, 1, 1)
    u, v, depth = toward * mesh.inflated[:, 1], mesh.inflated[:, 2], at[:, 0]
    light = np.clip(mesh.normals @ np.array([0.9 * toward, 0.0, 0.43]), 0, 1)
    colours = np.repeat((mesh.grey * (0.35 + 0.65 * light))[:, None], 4, axis=1)
    paint = shown.rgba(values)
    covered = paint[:, 3] > 0
    # Nearly without shade, so that a colour is the one in the bar.
    colours[covered, :3] = paint[covered, :3] * (0.85 + 0.15 * light[covered])[:, None]
    colours[:, 3] = 1
    front = mesh.faces[(mesh.normals[mesh.faces, 0] * toward).max(axis=1) > 0]
    # The nearest triangle is drawn last.
    order = np.argsort(depth[front].sum(axis=1), kind="stable")
    triangles = TriMesh(Triangulation(u, v, front[order]), rasterized=True)
    triangles.set_facecolor(colours)
    axes.add_collection(triangles, autolim=False)
    middle, reach = (v.max() + v.min()) / 2, 0.52 * (u.max() - u.min())
    axes.set(xlim=(u.min() - 4, u.max() + 4), ylim=(middle - 0.74 * reach, middle + 0.74 * reach), aspect="equal")
    visible = covered & (mesh.normals[:, 0] * toward > _SEEN)
    points = {int(k): np.stack([u, v], axis=1)[visible & (number == k)] for k in np.unique(number[visible])}
    write_numbers(axes, {k: own for k, own in points.items() if k in numbered}, look)


def _numbered(painted: Mapping[str, tuple[F64, npt.NDArray[np.int64]]]) -> dict[tuple[str, str], set[int]]:
    """Return the clusters to number in each view: those it shows much of, and those that no view shows more of."""
    seen: dict[tuple[str, str], npt.NDArray[np.int64]] = {}
    most = 1 + max(int(number.max()) for _, number in painted.values())
    for side, view in VIEWS[4]:
        toward = -1.0 if (side == "left") == (view == "lateral") else 1.0
        visible = hemisphere(side).normals[:, 0] * toward > _SEEN
        seen[side, view] = np.bincount(painted[side][1][visible], minlength=most)
    largest = np.maximum(np.max(list(seen.values()), axis=0), 1)
    return {
        key: set(np.flatnonzero((count >= _MUCH) | (count == largest)).tolist()) - {0} for key, count in seen.items()
    }


_SEEN, _MUCH = 0.1, 40
"""Least cosine of a vertex's normal with the line of sight, and vertices that are much: about 1 cm²."""
