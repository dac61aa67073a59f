"""The null of the cluster-level tests: foci drawn anew, ALE maximum, largest cluster and largest mass.

One iteration in one pass: what a plane has collected is scanned for voxels above the cluster-forming value, and
union-find joins those few voxels by faces. They come in order of their cells, so that three pointers that only move
forward find each one's earlier neighbours; nine do where voxels that share an edge are joined, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.clusters import root
from ale_dask.numerics.focus_visits import draw_foci, list_foci, sweep_memory
from ale_dask.numerics.kernel_rows import edge_steps, face_steps
from ale_dask.numerics.planes import plane_of, stamp_planes
from ale_dask.numerics.simd import BARE, SCAN, reaches32

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class Found(NamedTuple):
    """Memory of one thread for the voxels above the cluster-forming value, in order of their cells."""

    cell: I64
    value: I32
    parent: I64
    size: I64
    mass: I64


@numba.njit(cache=True, nogil=True)
def found_memory(geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread."""
    n = geometry.voxels
    return Found(
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
    )


@numba.njit(**BARE)
def scan_plane(x, geometry, threshold, n, best, plane, found):  # type: ignore[no-untyped-def]
    """Collect the mask cells of a plane at or above the threshold; returns their number and the maximum.

    `n` and `best` are those of the planes before.
    """
    origin = np.uint64(x * geometry.stride_x)
    inside = geometry.inside
    cell, value = found.cell, found.value
    limit = min(threshold, best + np.int32(1))
    for at in range(geometry.row_low[x] * geometry.stride_y, (geometry.row_high[x] + 1) * geometry.stride_y, SCAN):
        if reaches32(plane, at, limit):
            for j in range(np.uint64(at), np.uint64(at + SCAN)):
                v = plane[j]
                if v >= limit and inside[origin + j]:
                    if v >= threshold:
                        cell[n] = origin + j
                        value[n] = v
                        n += 1
                    best = max(best, v)
            limit = min(threshold, best + np.int32(1))
    return n, best


@numba.njit(cache=True, nogil=True)
def largest(n, threshold, geometry, found):  # type: ignore[no-untyped-def]
    """Return the size in voxels and the mass (sum of value - threshold) of the largest cluster."""
    if geometry.edges:
        return _largest(n, threshold, edge_steps(geometry), found)
    return _largest(n, threshold, face_steps(geometry), found)


@numba.njit(cache=True, nogil=True)
def _largest(n, threshold, steps, found):  # type: ignore[no-untyped-def]
    cell, parent, size, mass = found.cell, found.parent, found.size, found.mass
    before = np.zeros(len(steps), dtype=np.int64)
    for t in range(n):
        parent[t] = t
        size[t] = 1
        mass[t] = found.value[t] - threshold
        for s in range(len(steps)):
            wanted = cell[t] - steps[s]
            while cell[before[s]] < wanted:
                before[s] += 1
            if cell[before[s]] == wanted:
                a = root(parent, before[s])
                b = root(parent, t)
                if a != b:
                    if size[a] < size[b]:
                        a, b = b, a
                    parent[b] = a
                    size[a] += size[b]
                    mass[a] += mass[b]
    most = 0
    heaviest = 0
    for t in range(n):
        if parent[t] == t:
            most = max(most, size[t])
            heaviest = max(heaviest, mass[t])
    return most, heaviest


@numba.njit(cache=True, nogil=True)
def null_iterations(first, count, threshold, design, stamps, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 3), int64, with the largest S, cluster size in voxels and cluster mass of each iteration.

    Every focus of iterations first … first + count - 1 is drawn uniformly, with replacement, over the mask's
    voxel centres; clusters are of voxels with S >= threshold (method: Eickhoff 2012, 2016).
    """
    work = sweep_memory(design, stamps, geometry)
    found = found_memory(geometry)
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, stamps, geometry, work)
        n = 0
        best = np.int32(0)
        for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
            stamp_planes(x, stamps, geometry, work)
            for side in range(2):
                plane = plane_of(side, geometry, work)
                n, best = scan_plane(x + side, geometry, threshold, n, best, plane, found)
        out[b, 0] = best
        out[b, 1], out[b, 2] = largest(n, threshold, geometry, found)
