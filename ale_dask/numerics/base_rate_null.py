"""The null of the cluster-level tests when foci are drawn from a density, and each voxel has its own threshold.

    permutation_null     S >= u, one u for the brain          mass: sum of S - u
    here                 S >= u(v), u(v) by voxel             mass: sum of z - z0, z the z of S in that voxel

A mass of S - u(v) would weigh voxels where many foci are reported more than others; z is comparable everywhere. The
scan reads 32 cells at a time and looks closer only where one of them reaches the least u(v) of the 32, so that nearly
all of a plane is passed over as fast as with one threshold. `TestIterations` in tests/numerics/test_base_rate.py is the
plain version.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.density_levels import NEVER, LevelTable, z_of
from ale_dask.numerics.kernels.focus_visits import list_foci, workspace
from ale_dask.numerics.kernels.kernel_rows import Geometry
from ale_dask.numerics.kernels.planes import plane_of, sum_planes
from ale_dask.numerics.kernels.simd import INNER, SCAN, reaches32
from ale_dask.numerics.permutation_null import largest, passing_memory
from ale_dask.numerics.weighted_draws import draw_weighted, guide
from ale_dask.numerics.whole_studies import NO_POOL, Pool, draw_study, windows

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class FocusSource(NamedTuple):
    """The source of drawn foci: the voxels of a density, by their words, or the studies of a database.

    `cumulative` (voxel) is of `weighted_draws.cumulative_words`, `guide` of `weighted_draws.guide`; `pool` is empty for
    draws of single foci, and these are empty for draws of whole studies.
    """

    cumulative: npt.NDArray[np.uint64]
    guide: I32
    pool: Pool


class Critical(NamedTuple):
    """The least S that passes in each cell, and what z needs.

    threshold and position (cell): the least S in fixed point, and the place of the cell between the levels of the
    density. `low` (window) is the least threshold of each step of a scan, those of plane x beginning at
    window_begin[x]. `z` (level, bin) and `shift` are of `density_levels.LevelTable`; least_z is the z, in steps of
    1/4096, that forms clusters.
    """

    threshold: I32
    position: I32
    low: I32
    window_begin: I64
    z: I32
    shift: int
    least_z: int


def source_of_foci(cumulative: npt.NDArray[np.uint64]) -> FocusSource:
    """Return the source of single foci, from the cumulative word of each voxel (voxel), uint64."""
    return FocusSource(cumulative, guide(cumulative), NO_POOL)


def source_of_studies(begin: I64, voxel: I32, n_foci: I64) -> FocusSource:
    """Return the source of whole studies, for experiments with these numbers of foci (experiment).

    `begin` (study + 1) and `voxel` (focus) are the studies of a database, as in `Pool`.
    """
    low, high = windows(begin, n_foci)
    return FocusSource(np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int32), Pool(begin, voxel, low, high))


def critical(threshold: I32, table: LevelTable, *, least_z: int, geometry: Geometry) -> Critical:
    """Return the thresholds (voxel), int32, of the searched voxels by cell, in the order in which planes are scanned.

    `table` holds z by level, of which `least_z` forms clusters; foci of `geometry` are drawn from the searched voxels.
    """
    # A scan's last step looks beyond the last plane.
    by_cell = np.full(geometry.size + SCAN, NEVER, dtype=np.int32)
    position = np.zeros(geometry.size + SCAN, dtype=np.int32)
    by_cell[geometry.cell] = threshold
    position[geometry.cell] = table.position
    low, window_begin = least_of_steps(by_cell, geometry)
    return Critical(by_cell, position, low, window_begin, table.z, table.shift, least_z)


def least_of_steps(threshold: I32, geometry: Geometry) -> tuple[I32, I64]:
    """Return the least threshold of each step of a scan (window), and where the steps of each plane begin (plane + 1).

    `threshold` (cell) extends one step beyond the last plane, as a scan does.
    """
    low: list[int] = []
    begin = [0]
    for x in range(len(geometry.row_low)):
        rows = range(geometry.row_low[x] * geometry.stride_y, (geometry.row_high[x] + 1) * geometry.stride_y, SCAN)
        low += [int(threshold[x * geometry.stride_x + at :][:SCAN].min()) for at in rows]
        begin.append(len(low))
    return np.array(low, dtype=np.int32), np.array(begin, dtype=np.int64)


@numba.njit(**INNER)
def scan_plane(x, geometry, critical, n, best, plane, passing):  # type: ignore[no-untyped-def]
    """Append the voxels of a plane (cell), int32, with S >= their thresholds; return their number and the largest z.

    Their z is in steps of 1/4096. `n` and `best`, int64, are the number and the largest z of the planes before.
    """
    origin = np.uint64(x * geometry.stride_x)
    threshold, position = critical.threshold, critical.position
    window = critical.window_begin[x]
    for at in range(geometry.row_low[x] * geometry.stride_y, (geometry.row_high[x] + 1) * geometry.stride_y, SCAN):
        if reaches32(plane, at, critical.low[window]):
            for j in range(np.uint64(at), np.uint64(at + SCAN)):
                if plane[j] >= threshold[origin + j]:
                    z = z_of(plane[j], position[origin + j], critical.z, critical.shift)
                    passing.cell[n] = origin + j
                    passing.value[n] = z
                    n += 1
                    best = max(best, z)
        window += 1
    return n, best


@numba.njit(cache=True, nogil=True)
def draw_base_rate(iteration, source, design, voxel) -> None:  # type: ignore[no-untyped-def]
    """Fill voxel (focus), int64, with the drawn voxels of all experiments of an iteration, in the order of experiments.

    `source` is a `FocusSource`, `design` a `Design` or another tuple with focus_begin, kernel and key.
    """
    whole = source.pool.low.shape[0] > 0
    given = np.zeros(source.pool.begin.shape[0] if whole else 0, dtype=np.bool_)
    for e in range(design.kernel.shape[0]):
        begin, end = design.focus_begin[e], design.focus_begin[e + 1]
        if whole:
            draw_study(design.key[e], iteration, e, source.pool, given, voxel, begin, end)
        else:
            draw_weighted(design.key[e], iteration, source.cumulative, source.guide, voxel, begin, end)


@numba.njit(cache=True, nogil=True)
def base_rate_iterations(first, count, source, critical, design, rows, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 3), int64, with the largest z, cluster size in voxels and cluster mass of each iteration.

    z and mass are in steps of 1/4096; the largest z is that of the voxels that pass, 0 if there are none. `source` is a
    `FocusSource`, `critical` a `Critical`, and the others are those of `permutation_null.null_iterations`.
    """
    work = workspace(design, geometry)
    passing = passing_memory(geometry)
    for b in range(count):
        draw_base_rate(first + b, source, design, work.voxel)
        list_foci(design, rows, geometry, work)
        n = np.int64(0)
        best = np.int64(0)
        for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
            sum_planes(x, rows, geometry, work)
            for side in range(2):
                plane = plane_of(side, geometry, work)
                n, best = scan_plane(x + side, geometry, critical, n, best, plane, passing)
        out[b, 0] = best
        out[b, 1], out[b, 2] = largest(n, critical.least_z, geometry, passing)
