"""S of an iteration's foci, one pair of x planes after another.

    for each pair of planes x, x + 1:     clear      two planes of a brain, 80 kB
                                          list       the foci that reach them (`focus_visits`)
                                          add        their rows, 8 cells at a time (`add_rows`)
                                          use        what the planes hold: scan for voxels that pass, …

A whole volume, 5 MB, would not fit the second cache, and rows that neighbouring foci share would leave the first: with
the foci ordered by y they stay there. Two planes at once share what is worked out for each focus, 8 ns for the list and
17 or more for the earlier foci of its experiment, where its rows take 55. Lists of all planes, made beforehand, would
leave the caches: 8 % of an iteration of 2,000 experiments. Pieces of 8 cells begin at multiples of 8, so that no piece
of a plane lies across two cache lines.

Within an experiment the maximum over foci counts, not their sum: a focus adds max(k, m) - m, where m is the maximum
over the earlier foci of its experiment. That telescopes to the maximum. All are int32, so no order changes a bit.

The plain version is the same code under ALE_DASK_PLAIN=1; both are held to `Case.reference_sum` in
tests/support/permutations.py.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.add_rows import add_gain, add_rows
from ale_dask.numerics.kernels.focus_visits import (
    BEGIN,
    END,
    ENTRY_1,
    ENTRY_2,
    FIRST_CELL,
    FIRST_ROW,
    FOCUS,
    KERNEL,
    PIECES,
    ROWS,
    SHIFT,
    Design,
    list_foci,
    list_visits,
    workspace,
)
from ale_dask.numerics.kernels.kernel_rows import Geometry, KernelRows
from ale_dask.numerics.kernels.simd import INNER, SCAN, clear32

I64 = npt.NDArray[np.int64]


@numba.njit(cache=True, nogil=True, inline="always")
def _add_alone(plane, row_step, plane_step, visit, begin, end, table, entries) -> None:  # type: ignore[no-untyped-def]
    """Add the rows of visits begin to end - 1, whose foci meet no earlier focus of their experiment."""
    for i in range(np.uint64(begin), np.uint64(end)):
        at = visit[i, FIRST_ROW] * row_step + visit[i, FIRST_CELL]
        entry_1, entry_2 = np.int64(visit[i, ENTRY_1]), np.int64(visit[i, ENTRY_2])
        shift = np.int64(visit[i, SHIFT])
        count, pieces = visit[i, ROWS], visit[i, PIECES]
        add_rows(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces)


@numba.njit(cache=True, nogil=True, inline="always")
def _add_overlapping(x, plane, row_step, plane_step, visit, begin, end, foci, overlap, earlier, rows) -> None:  # type: ignore[no-untyped-def]
    """Add max(k, m) - m for visits begin to end - 1, m the maximum over earlier foci in the planes x and x + 1."""
    table, entries = rows.table, rows.entry
    for i in range(np.uint64(begin), np.uint64(end)):
        pieces, count = np.int64(visit[i, PIECES]), np.int64(visit[i, ROWS])
        first_row, first_cell = np.int64(visit[i, FIRST_ROW]), np.int64(visit[i, FIRST_CELL])
        at = first_row * row_step + first_cell
        entry_1, entry_2 = np.int64(visit[i, ENTRY_1]), np.int64(visit[i, ENTRY_2])
        shift = np.int64(visit[i, SHIFT])
        f = np.uint64(visit[i, FOCUS])
        kernel = np.uint64(foci[f, KERNEL])
        beyond = rows.radius[kernel, 0] + 1
        first_slab = np.uint64(rows.slab_begin[kernel])
        origin = rows.middle[first_slab] + first_row
        slab_step = rows.middle[first_slab + np.uint64(1)] - rows.middle[first_slab]
        n = np.uint64(0)
        for q in range(np.uint64(foci[f, BEGIN]), np.uint64(foci[f, END])):
            x0, y, z = np.int64(overlap[q, 0]), np.int64(overlap[q, 1]), np.int64(overlap[q, 2])
            distance_1 = min(abs(x0 - x), beyond)
            distance_2 = min(abs(x0 - x - 1), beyond)
            earlier[n, 0] = origin + distance_1 * slab_step - y
            earlier[n, 1] = origin + distance_2 * slab_step - y
            earlier[n, 2] = first_cell - z
            # Without a branch, which would be guessed wrong every other time. A slab beyond the kernel is zeros.
            n += np.uint64(min(distance_1, distance_2) < beyond)
        if n == 0:
            add_rows(plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces)
        else:
            add_gain(
                plane, at, row_step, plane_step, table, entries, entry_1, entry_2, shift, count, pieces, earlier, n
            )


@numba.njit(**INNER)
def sum_planes(x, rows, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Fill work.plane with S, int32, of the planes at x, odd, and x + 1, from the foci that `list_foci` has listed.

    It is S at the mask's voxels; cells of padding hold anything.
    """
    row_step = geometry.stride_y
    plane_step = geometry.stride_x
    pair = x // 2
    low, high = geometry.pair_row_low[pair], geometry.pair_row_high[pair]
    for at in range(low * row_step, (high + 1) * row_step, SCAN):
        clear32(work.plane, at)
        clear32(work.plane, at + plane_step)
    table, entries = rows.table, rows.entry
    alone_end, overlapping_begin = list_visits(x, rows, geometry, work)
    _add_alone(work.plane, row_step, plane_step, work.visit, np.uint64(0), alone_end, table, entries)
    _add_overlapping(
        x,
        work.plane,
        row_step,
        plane_step,
        work.visit,
        overlapping_begin,
        np.uint64(work.visit.shape[0]),
        work.foci,
        work.overlap,
        work.earlier,
        rows,
    )


@numba.njit(**INNER)
def add_visits(x, plane, alone_begin, alone_end, begin, end, rows, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Add to the planes at x and x + 1 the visits alone_begin to alone_end - 1, and begin to end - 1 that overlap.

    The loops of `sum_planes` in a function of their own: half the time to compile, but 3 % slower there.
    """
    row_step, plane_step = geometry.stride_y, geometry.stride_x
    _add_alone(plane, row_step, plane_step, work.visit, alone_begin, alone_end, rows.table, rows.entry)
    _add_overlapping(
        x, plane, row_step, plane_step, work.visit, begin, end, work.foci, work.overlap, work.earlier, rows
    )


@numba.njit(cache=True, nogil=True, inline="always")
def plane_of(side, geometry, work):  # type: ignore[no-untyped-def]
    """Return the first (side = 0) or the second (1) plane (cell), int32, that `sum_planes` has filled."""
    return work.plane[side * geometry.stride_x : (side + 1) * geometry.stride_x]


@numba.njit(cache=True, nogil=True)
def _sum_of_foci(voxels, design, rows, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (voxel), int64, with S of foci at voxels (focus), int64."""
    work = workspace(design, geometry)
    work.voxel[:] = voxels
    list_foci(design, rows, geometry, work)
    v = 0
    for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
        sum_planes(x, rows, geometry, work)
        while v < out.shape[0] and geometry.cell[v] < (x + 2) * geometry.stride_x:
            out[v] = work.plane[geometry.cell[v] - x * geometry.stride_x]
            v += 1


def sum_of_foci(voxels: I64, *, design: Design, rows: KernelRows, geometry: Geometry) -> I64:
    """Return S (voxel), int64, of foci that lie on the centres of these voxels (focus)."""
    out = np.empty(geometry.cell.shape[0], dtype=np.int64)
    _sum_of_foci(voxels, design, rows, geometry, out)
    return out
