"""The null of the cluster-level tests: foci drawn anew, ALE maximum, largest cluster and largest mass.

    for each iteration:  draw the foci                     (`draws.draw_foci`)
                         for each pair of planes: sum S    (`kernels.planes.sum_planes`)
                                                  scan     cells with S >= the cluster-forming value, 32 at a time
                         join the cells to clusters        (`largest`)

About one voxel in a thousand passes. These come in the order of their cells, so that for each kind of earlier neighbour
(three, or nine where voxels that share an edge are joined) one pointer that only moves forward finds it:

    cells that pass   12 13 14   40 41   75 …        wanted = cell - step; the pointer advances while it is below
                       ^ pointer     ^ t

No volume of labels is kept or cleared. `Case.statistics` in tests/support/permutations.py is the plain version.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.clusters import root
from ale_dask.numerics.draws import draw_foci
from ale_dask.numerics.kernels.focus_visits import list_foci, workspace
from ale_dask.numerics.kernels.planes import plane_of, sum_planes
from ale_dask.numerics.kernels.simd import INNER, SCAN, reaches32

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class PassingVoxels(NamedTuple):
    """Memory of one thread for the voxels at or above the cluster-forming value, in the order of their cells (voxel).

    `cell` and `value` (S, or z in steps), and for union-find `parent`, `size` in voxels and `mass` of the cluster.
    """

    cell: I64
    value: I32
    parent: I64
    size: I64
    mass: I64


@numba.njit(cache=True, nogil=True)
def passing_memory(geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread for all voxels in which clusters are sought."""
    return passing_room(geometry.voxels)


@numba.njit(cache=True, nogil=True)
def passing_room(n):  # type: ignore[no-untyped-def]
    """Return the memory of one thread for n voxels."""
    return PassingVoxels(
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
    )


@numba.njit(**INNER)
def scan_plane(x, geometry, threshold, n, best, plane, passing):  # type: ignore[no-untyped-def]
    """Append the voxels of a plane (cell), int32, with S >= threshold, int32; return their number and the largest S.

    `n`, int64, and `best`, int32, are the number and the largest S of the planes before.
    """
    origin = np.uint64(x * geometry.stride_x)
    inside = geometry.inside
    cell, value = passing.cell, passing.value
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
def largest(n, threshold, geometry, passing):  # type: ignore[no-untyped-def]
    """Return the size in voxels of the largest cluster and the mass of the heaviest, int64, 0 if there is none.

    The mass of a cluster is the sum of value - threshold over the first n, int64, of the passing voxels that it has.
    """
    cell, parent, size, mass, steps = passing.cell, passing.parent, passing.size, passing.mass, geometry.steps
    before = np.zeros(len(steps), dtype=np.int64)
    for t in range(n):
        parent[t] = t
        size[t] = 1
        mass[t] = passing.value[t] - threshold
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
    largest_size = np.int64(0)
    largest_mass = np.int64(0)
    for t in range(n):
        if parent[t] == t:
            largest_size = max(largest_size, size[t])
            largest_mass = max(largest_mass, mass[t])
    return largest_size, largest_mass


@numba.njit(cache=True, nogil=True)
def null_iterations(first, count, threshold, design, rows, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 3), int64, with the largest S, cluster size in voxels and cluster mass of each iteration.

    Every focus of iterations first … first + count - 1, int64, is drawn uniformly, with replacement, over the mask's
    voxel centres; clusters are of voxels with S >= threshold, int32 (method: Eickhoff 2012, 2016). `design`, `rows` and
    `geometry` are the `Design`, `KernelRows` and `Geometry` of the sample.
    """
    work = workspace(design, geometry)
    passing = passing_memory(geometry)
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, rows, geometry, work)
        n = np.int64(0)
        best = np.int32(0)
        for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
            sum_planes(x, rows, geometry, work)
            for side in range(2):
                plane = plane_of(side, geometry, work)
                n, best = scan_plane(x + side, geometry, threshold, n, best, plane, passing)
        out[b, 0] = best
        out[b, 1], out[b, 2] = largest(n, np.int64(threshold), geometry, passing)


@numba.njit(cache=True, nogil=True)
def passing_voxels(first, count, threshold, design, rows, geometry):  # type: ignore[no-untyped-def]
    """Return the number of voxels with S >= threshold, int32, in all of some iterations, int64."""
    work = workspace(design, geometry)
    passing = passing_memory(geometry)
    total = np.int64(0)
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, rows, geometry, work)
        n = np.int64(0)
        for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
            sum_planes(x, rows, geometry, work)
            for side in range(2):
                plane = plane_of(side, geometry, work)
                n, _ = scan_plane(x + side, geometry, threshold, n, threshold, plane, passing)
        total += n
    return total
