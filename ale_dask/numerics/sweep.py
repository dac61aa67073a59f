"""S of relocated foci, one x plane after the other.

A plane of a brain takes 50 kB and the rows that neighbouring foci share fit the first cache, which a whole volume
(5 MB) does not: foci are listed for every plane that they reach, ordered by y, and what a plane has collected is used
before the next one begins. Rows are added in pieces of 8 cells that begin at multiples of 8, so that no piece lies
across two cache lines; the table's zeros make up for the shift.

Within an experiment the maximum over foci counts, not their sum: a focus adds max(k, m) - m, where m is the maximum
over the earlier foci of its experiment. That telescopes to the maximum, and being sums of int32 integers, no order of
anything changes a bit.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.rows import add_excess, add_gain, add_rows, raise_rows
from ale_dask.numerics.simd import SCAN, WIDTH, clear32
from ale_dask.numerics.stamps import Geometry, Stamps
from ale_dask.numerics.visits import (
    BEGIN,
    CELL,
    COUNT,
    END,
    ENTRY,
    FOCUS,
    KERNEL,
    LOW,
    SHAPE,
    Design,
    list_foci,
    sweep_memory,
)

I64 = npt.NDArray[np.int64]
_SHIFT = 3
"""8 cells are a piece."""


@numba.njit(cache=True, nogil=True)
def _add_alone(plane, stride, visit, begin, end, table, entries) -> None:  # type: ignore[no-untyped-def]
    """Add the rows of foci that meet no earlier one of their experiment."""
    for i in range(np.uint64(begin), np.uint64(end)):
        shape = np.int64(visit[i, SHAPE])
        at = visit[i, LOW] * stride + visit[i, CELL]
        entry = np.int64(visit[i, ENTRY])
        add_rows(plane, at, stride, table, entries, entry, visit[i, COUNT], shape & (WIDTH - 1), shape >> _SHIFT)


@numba.njit(cache=True, nogil=True)
def _add_paired(x, plane, stride, visit, begin, end, foci, overlap, met, local, stamps) -> None:  # type: ignore[no-untyped-def]
    """Add max(k, m) - m of foci that may meet earlier ones, m the maximum over these in this plane."""
    table, entries = stamps.table, stamps.entry
    for i in range(np.uint64(begin), np.uint64(end)):
        shape = np.int64(visit[i, SHAPE])
        early, width = shape & (WIDTH - 1), shape & -WIDTH
        pieces = shape >> _SHIFT
        count = np.int64(visit[i, COUNT])
        low, first_cell = np.int64(visit[i, LOW]), np.int64(visit[i, CELL])
        high = low + count - 1
        at = low * stride + first_cell
        entry = np.int64(visit[i, ENTRY])
        f = np.uint64(visit[i, FOCUS])
        kernel = np.uint64(foci[f, KERNEL])
        most_x = stamps.radius[kernel, 0]
        first_slab = stamps.slab_begin[kernel]
        n = np.uint64(0)
        for q in range(np.uint64(foci[f, BEGIN]), np.uint64(foci[f, END])):
            dx = np.int64(abs(overlap[q, 0] - x))
            slab = np.uint64(first_slab + min(dx, most_x))
            y = np.int64(overlap[q, 1])
            reach, half = stamps.reach[slab], stamps.half[slab]
            # Cells from the beginning of the earlier one's rows to the first cell of these pieces.
            ahead = first_cell - (overlap[q, 2] - half)
            met[n, 0] = slab
            met[n, 1] = y
            met[n, 2] = ahead
            # Without a branch, which would be guessed wrong every other time.
            n += np.uint64(
                (dx <= most_x) & (y - reach <= high) & (y + reach >= low) & (ahead <= 2 * half) & (ahead + width > 0)
            )
        if n == 0:
            add_rows(plane, at, stride, table, entries, entry, count, early, pieces)
            continue
        if n == 1:
            slab = np.uint64(met[0, 0])
            other = stamps.middle[slab] + low - met[0, 1]
            add_gain(
                plane,
                at,
                stride,
                table,
                entries,
                entry,
                count,
                early,
                pieces,
                other,
                met[0, 2],
                2 * stamps.half[slab] + 1,
            )
            continue
        for m in range(n):
            slab = np.uint64(met[m, 0])
            y, ahead = met[m, 1], met[m, 2]
            reach, half = stamps.reach[slab], stamps.half[slab]
            top, bottom = max(low, y - reach), min(high, y + reach)
            first = max(0, -ahead >> _SHIFT)
            last = min(pieces - 1, (2 * half - ahead) >> _SHIFT)
            to = (top - low) * width + first * WIDTH
            ahead += first * WIDTH
            raise_rows(
                local,
                to,
                width,
                table,
                entries,
                stamps.middle[slab] + top - y,
                bottom - top + 1,
                ahead,
                last - first + 1,
            )
        add_excess(plane, at, stride, local, table, entries, entry, count, early, pieces)


@numba.njit(cache=True, nogil=True)
def stamp_plane(x, stamps, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Fill the plane at x with S, at the voxels of the mask; elsewhere it holds anything."""
    stride = geometry.stride_y
    for at in range(geometry.row_low[x] * stride, (geometry.row_high[x] + 1) * stride, SCAN):
        clear32(work.plane, at)
    table, entries = stamps.table, stamps.entry
    _add_alone(work.plane, stride, work.visit, work.begin[x], work.alone_end[x], table, entries)
    _add_paired(
        x,
        work.plane,
        stride,
        work.visit,
        work.paired_begin[x],
        work.begin[x + 1],
        work.foci,
        work.overlap,
        work.met,
        work.local,
        stamps,
    )


@numba.njit(cache=True, nogil=True)
def _sum_of_stamps(voxels, design, stamps, geometry, out) -> None:  # type: ignore[no-untyped-def]
    work = sweep_memory(design, stamps, geometry)
    work.voxel[:] = voxels
    list_foci(design, stamps, geometry, work)
    v = 0
    for x in range(1, geometry.plane_begin.shape[0] - 2):
        stamp_plane(x, stamps, geometry, work)
        while v < out.shape[0] and geometry.cell[v] < (x + 1) * geometry.stride_x:
            out[v] = work.plane[geometry.cell[v] - x * geometry.stride_x]
            v += 1


def sum_of_stamps(voxels: I64, *, design: Design, stamps: Stamps, geometry: Geometry) -> I64:
    """Return S (voxel), int64, of foci that lie on the centres of these voxels (focus)."""
    out = np.empty(geometry.cell.shape[0], dtype=np.int64)
    _sum_of_stamps(voxels, design, stamps, geometry, out)
    return out
