"""S of relocated foci, two x planes after two others.

A plane of a brain takes 40 kB and the rows that neighbouring foci share fit the first cache, which a whole volume
(5 MB) does not: the foci that reach two planes are listed, ordered by y, and what the planes have collected is used
before the next ones begin. Two at once share what is worked out for each focus: 8 ns for the list and 17 or more for
the earlier foci of its experiment, where its rows take 55. Lists of all planes would leave the caches, which is 8 % of
an iteration of 2,000 experiments. Rows are added in pieces of 8 cells that begin at multiples of 8, so that no piece of
a plane lies across two cache lines; the table's zeros make up for the shift.

Within an experiment the maximum over foci counts, not their sum: a focus adds max(k, m) - m, where m is the maximum
over the earlier foci of its experiment. That telescopes to the maximum, and being sums of int32 integers, no order of
anything changes a bit.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.focus_visits import (
    BEGIN,
    CELL,
    COUNT,
    END,
    FOCUS,
    KERNEL,
    LOW,
    ONE,
    PIECES,
    SHIFT,
    TWO,
    Design,
    list_foci,
    list_visits,
    sweep_memory,
)
from ale_dask.numerics.kernel_rows import Geometry, Stamps
from ale_dask.numerics.rows import add_gain, add_rows
from ale_dask.numerics.simd import BARE, SCAN, clear32

I64 = npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True, inline="always")
def _add_alone(plane, stride, far, visit, begin, end, table, entries) -> None:  # type: ignore[no-untyped-def]
    """Add the rows of foci that meet no earlier one of their experiment."""
    for i in range(np.uint64(begin), np.uint64(end)):
        at = visit[i, LOW] * stride + visit[i, CELL]
        one, two, shift = np.int64(visit[i, ONE]), np.int64(visit[i, TWO]), np.int64(visit[i, SHIFT])
        add_rows(plane, at, stride, far, table, entries, one, two, shift, visit[i, COUNT], visit[i, PIECES])


@numba.njit(cache=True, nogil=True, inline="always")
def _add_paired(x, plane, stride, far, visit, begin, end, foci, overlap, met, stamps) -> None:  # type: ignore[no-untyped-def]
    """Add max(k, m) - m of foci that may meet earlier ones, m the maximum over these in these planes."""
    table, entries = stamps.table, stamps.entry
    for i in range(np.uint64(begin), np.uint64(end)):
        pieces, count = np.int64(visit[i, PIECES]), np.int64(visit[i, COUNT])
        low, first_cell = np.int64(visit[i, LOW]), np.int64(visit[i, CELL])
        at = low * stride + first_cell
        one, two, shift = np.int64(visit[i, ONE]), np.int64(visit[i, TWO]), np.int64(visit[i, SHIFT])
        f = np.uint64(visit[i, FOCUS])
        kernel = np.uint64(foci[f, KERNEL])
        beyond = stamps.radius[kernel, 0] + 1
        first_slab = np.uint64(stamps.slab_begin[kernel])
        origin = stamps.middle[first_slab] + low
        step = stamps.middle[first_slab + np.uint64(1)] - stamps.middle[first_slab]
        n = np.uint64(0)
        for q in range(np.uint64(foci[f, BEGIN]), np.uint64(foci[f, END])):
            x0, y, z = np.int64(overlap[q, 0]), np.int64(overlap[q, 1]), np.int64(overlap[q, 2])
            near = min(abs(x0 - x), beyond)
            next_ = min(abs(x0 - x - 1), beyond)
            met[n, 0] = origin + near * step - y
            met[n, 1] = origin + next_ * step - y
            met[n, 2] = first_cell - z
            # Without a branch, which would be guessed wrong every other time. A slab beyond the kernel is zeros.
            n += np.uint64(min(near, next_) < beyond)
        if n == 0:
            add_rows(plane, at, stride, far, table, entries, one, two, shift, count, pieces)
        else:
            add_gain(plane, at, stride, far, table, entries, one, two, shift, count, pieces, met, n)


@numba.njit(**BARE)
def stamp_planes(x, stamps, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Fill the planes at x, odd, and x + 1 with S, at the voxels of the mask; elsewhere they hold anything."""
    stride = geometry.stride_y
    far = geometry.stride_x
    two = x // 2
    low, high = geometry.low_of_two[two], geometry.high_of_two[two]
    for at in range(low * stride, (high + 1) * stride, SCAN):
        clear32(work.plane, at)
        clear32(work.plane, at + far)
    table, entries = stamps.table, stamps.entry
    alone_end, paired_begin = list_visits(x, stamps, geometry, work)
    _add_alone(work.plane, stride, far, work.visit, np.uint64(0), alone_end, table, entries)
    _add_paired(
        x,
        work.plane,
        stride,
        far,
        work.visit,
        paired_begin,
        np.uint64(work.visit.shape[0]),
        work.foci,
        work.overlap,
        work.met,
        stamps,
    )


@numba.njit(**BARE)
def add_visits(x, plane, alone_begin, alone_end, paired_begin, paired_end, stamps, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Add to two planes the foci of some visits, of both parts of the list (`list_visits`).

    A function of its own, where `stamp_planes` has it inside: half the time to compile, and 3 % slower.
    """
    stride, far = geometry.stride_y, geometry.stride_x
    _add_alone(plane, stride, far, work.visit, alone_begin, alone_end, stamps.table, stamps.entry)
    _add_paired(x, plane, stride, far, work.visit, paired_begin, paired_end, work.foci, work.overlap, work.met, stamps)


@numba.njit(cache=True, nogil=True, inline="always")
def plane_of(side, geometry, work):  # type: ignore[no-untyped-def]
    """Return the first (0) or second (1) plane that `stamp_planes` has filled."""
    return work.plane[side * geometry.stride_x : (side + 1) * geometry.stride_x]


@numba.njit(cache=True, nogil=True)
def _sum_of_stamps(voxels, design, stamps, geometry, out) -> None:  # type: ignore[no-untyped-def]
    work = sweep_memory(design, stamps, geometry)
    work.voxel[:] = voxels
    list_foci(design, stamps, geometry, work)
    v = 0
    for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
        stamp_planes(x, stamps, geometry, work)
        while v < out.shape[0] and geometry.cell[v] < (x + 2) * geometry.stride_x:
            out[v] = work.plane[geometry.cell[v] - x * geometry.stride_x]
            v += 1


def sum_of_stamps(voxels: I64, *, design: Design, stamps: Stamps, geometry: Geometry) -> I64:
    """Return S (voxel), int64, of foci that lie on the centres of these voxels (focus)."""
    out = np.empty(geometry.cell.shape[0], dtype=np.int64)
    _sum_of_stamps(voxels, design, stamps, geometry, out)
    return out
