"""The null of the cluster-level tests when foci are drawn from a density, and each voxel has its own threshold.

As `permute.null_iterations` but for the draws, what is compared, and what adds up: a cluster's mass is the sum of
z - z0 of its voxels, not of S, which would weigh voxels where many foci are reported more than others.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.density_levels import NEVER, LevelTable, z_of
from ale_dask.numerics.focus_visits import list_foci, sweep_memory
from ale_dask.numerics.kernel_rows import Geometry
from ale_dask.numerics.permutation_null import found_memory, largest
from ale_dask.numerics.planes import plane_of, stamp_planes
from ale_dask.numerics.simd import BARE, SCAN, reaches32
from ale_dask.numerics.weighted_draws import draw_weighted, guide
from ale_dask.numerics.whole_studies import NO_POOL, Pool, draw_study, windows

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class Drawn(NamedTuple):
    """Where foci are drawn from: the last words of voxels and the guide to them, or the studies of a database."""

    last: npt.NDArray[np.uint64]
    guide: I32
    pool: Pool


class Critical(NamedTuple):
    """The least S that passes and the place between levels of each cell, and the least S of each step of a scan.

    threshold and position (cell); low (window), those of plane x beginning at window_begin[x].
    """

    threshold: I32
    position: I32
    low: I32
    window_begin: I64
    z: I32
    shift: int
    least_z: int


def drawn(last: npt.NDArray[np.uint64]) -> Drawn:
    """Return what draws of single foci need, from the last word of each voxel (voxel)."""
    return Drawn(last, guide(last), NO_POOL)


def drawn_studies(begin: I64, voxel: I32, n_foci: I64) -> Drawn:
    """Return what draws of whole studies need.

    `begin` (study + 1) and `voxel` (focus) are the studies, as `Pool` has them, `n_foci` (experiment) what is drawn.
    """
    low, high = windows(begin, n_foci)
    return Drawn(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int32), Pool(begin, voxel, low, high))


def critical(threshold: I32, table: LevelTable, *, least_z: int, geometry: Geometry) -> Critical:
    """Return thresholds (voxel) by cell, in the order in which planes are scanned.

    `table` holds z by level, of which `least_z` forms clusters; `geometry` is one whose foci are drawn from the voxels
    that are looked at.
    """
    # A scan's last step looks beyond the last plane.
    by_cell = np.full(geometry.size + SCAN, NEVER, dtype=np.int32)
    position = np.zeros(geometry.size + SCAN, dtype=np.int32)
    by_cell[geometry.cell] = threshold
    position[geometry.cell] = table.position
    low, window_begin = least_of_steps(by_cell, geometry)
    return Critical(by_cell, position, low, window_begin, table.z, table.shift, least_z)


def least_of_steps(threshold: I32, geometry: Geometry) -> tuple[I32, I64]:
    """Return the least threshold of each step of a scan (window), and where those of each plane begin (plane + 1).

    `threshold` (cell) goes one step beyond the last plane, as a scan does.
    """
    low: list[int] = []
    begin = [0]
    for x in range(len(geometry.row_low)):
        rows = range(geometry.row_low[x] * geometry.stride_y, (geometry.row_high[x] + 1) * geometry.stride_y, SCAN)
        low += [int(threshold[x * geometry.stride_x + at :][:SCAN].min()) for at in rows]
        begin.append(len(low))
    return np.array(low, dtype=np.int32), np.array(begin, dtype=np.int64)


@numba.njit(**BARE)
def scan_plane(x, geometry, critical, n, best, plane, found):  # type: ignore[no-untyped-def]
    """Collect the cells of a plane at or above their thresholds with their z; returns their number and the largest."""
    origin = np.uint64(x * geometry.stride_x)
    threshold, position = critical.threshold, critical.position
    window = critical.window_begin[x]
    for at in range(geometry.row_low[x] * geometry.stride_y, (geometry.row_high[x] + 1) * geometry.stride_y, SCAN):
        if reaches32(plane, at, critical.low[window]):
            for j in range(np.uint64(at), np.uint64(at + SCAN)):
                if plane[j] >= threshold[origin + j]:
                    z = z_of(plane[j], position[origin + j], critical.z, critical.shift)
                    found.cell[n] = origin + j
                    found.value[n] = z
                    n += 1
                    best = max(best, z)
        window += 1
    return n, best


@numba.njit(cache=True, nogil=True)
def draw_base_rate(iteration, drawn, design, voxel) -> None:  # type: ignore[no-untyped-def]
    """Fill voxel (focus) with the drawn voxels of all experiments of an iteration, in their order."""
    whole = drawn.pool.low.shape[0] > 0
    given = np.zeros(drawn.pool.begin.shape[0] if whole else 0, dtype=np.bool_)
    for e in range(design.kernel.shape[0]):
        begin, end = design.focus_begin[e], design.focus_begin[e + 1]
        if whole:
            draw_study(design.key[e], iteration, e, drawn.pool, given, voxel, begin, end)
        else:
            draw_weighted(design.key[e], iteration, drawn.last, drawn.guide, voxel, begin, end)


@numba.njit(cache=True, nogil=True)
def base_rate_iterations(first, count, drawn, critical, design, stamps, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 3), int64, with the largest z, cluster size in voxels and cluster mass of each iteration.

    z and mass are in steps of 1/4096; the largest z is that of the voxels that pass, 0 if there are none.
    """
    work = sweep_memory(design, stamps, geometry)
    found = found_memory(geometry)
    for b in range(count):
        draw_base_rate(first + b, drawn, design, work.voxel)
        list_foci(design, stamps, geometry, work)
        n = 0
        best = np.int64(0)
        for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
            stamp_planes(x, stamps, geometry, work)
            for side in range(2):
                plane = plane_of(side, geometry, work)
                n, best = scan_plane(x + side, geometry, critical, n, best, plane, found)
        out[b, 0] = best
        out[b, 1], out[b, 2] = largest(n, critical.least_z, geometry, found)
