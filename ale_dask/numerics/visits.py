"""The foci of one iteration, and for every plane those that reach it, in order of y, with what adding them needs."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.simd import WIDTH

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
_X, _Y, _Z, KERNEL, BEGIN, END, _FROM, _TO = range(8)
LOW, CELL, ENTRY, COUNT, SHAPE, FOCUS = range(6)


class Design(NamedTuple):
    """Which foci belong to which experiment, its kernel and the key of its draws."""

    focus_begin: I64
    kernel: I64
    key: npt.NDArray[np.uint64]
    additive: bool


class Sweep(NamedTuple):
    """Memory of one thread: the plane, the foci of an iteration and the lists of those that reach each plane.

    position (axis, focus) and span (2, focus), the planes between which a focus meets earlier ones of its experiment,
    are in the order of experiments. foci (focus, 8) is in order of y: x, y, z, kernel, where in overlap (pair, axis)
    the positions of these earlier ones stand, and the span. visit (visit, 6) is the first row, where in it the first
    piece begins, the first row's place in `Stamps.entry`, the number of rows, 8 times the pieces of a row plus the
    cells by which its first piece begins early, and the focus; those of plane x are begin[x] … alone_end[x] - 1, of
    foci that meet no earlier one there, and paired_begin[x] … begin[x + 1] - 1. local is zero before and after.
    """

    plane: I32
    voxel: I64
    position: I32
    row_count: I64
    foci: I32
    overlap: I32
    overlap_begin: I64
    span: I32
    visit: I32
    begin: I64
    alone_end: I64
    paired_begin: I64
    met: I64
    local: I32


@numba.njit(cache=True, nogil=True)
def sweep_memory(design, stamps, geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread."""
    n_foci = design.focus_begin[-1]
    pairs = 1
    visits = 0
    most = 0
    for e in range(design.kernel.shape[0]):
        n = design.focus_begin[e + 1] - design.focus_begin[e]
        pairs += n * (n - 1) // 2
        most = max(most, n)
        visits += n * (2 * stamps.radius[design.kernel[e], 0] + 1)
    cells = 1
    for k in range(stamps.radius.shape[0]):
        cells = max(cells, (2 * stamps.radius[k, 1] + 1) * (2 * stamps.radius[k, 2] + 2 * WIDTH))
    planes = geometry.plane_begin.shape[0]
    return Sweep(
        np.zeros(geometry.stride_x, dtype=np.int32),
        np.empty(n_foci, dtype=np.int64),
        np.empty((3, n_foci), dtype=np.int32),
        np.zeros(geometry.stride_x // geometry.stride_y + 1, dtype=np.int64),
        np.empty((n_foci, 8), dtype=np.int32),
        np.empty((1 if design.additive else pairs, 3), dtype=np.int32),
        np.zeros(n_foci + 1, dtype=np.int64),
        np.empty((2, n_foci), dtype=np.int32),
        np.empty((visits, 6), dtype=np.int32),
        np.zeros(planes, dtype=np.int64),
        np.zeros(planes, dtype=np.int64),
        np.zeros(planes, dtype=np.int64),
        np.empty((most + 1, 3), dtype=np.int64),
        np.zeros(cells, dtype=np.int32),
    )


@numba.njit(cache=True, nogil=True)
def draw_foci(iteration, design, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Draw the voxels of all foci uniformly, with replacement, over the mask's voxel centres."""
    for e in range(design.kernel.shape[0]):
        begin, end = design.focus_begin[e], design.focus_begin[e + 1]
        draw_voxels(design.key[e], iteration, geometry.cell.shape[0], work.voxel, begin, end)


@numba.njit(cache=True, nogil=True)
def _find_overlaps(design, stamps, work) -> None:  # type: ignore[no-untyped-def]
    """List, for each focus, the earlier foci of its experiment whose boxes meet its own."""
    x, y, z = work.position[0], work.position[1], work.position[2]
    n = 0
    for e in range(design.kernel.shape[0]):
        kernel = design.kernel[e]
        reach_x = np.int32(2 * stamps.radius[kernel, 0])
        reach_y = np.int32(2 * stamps.radius[kernel, 1])
        reach_z = np.int32(2 * stamps.radius[kernel, 2])
        begin = np.uint64(design.focus_begin[e])
        for i in range(begin, np.uint64(design.focus_begin[e + 1])):
            work.overlap_begin[i] = n
            nearest, furthest = x[i] + 2 * reach_x, x[i] - 2 * reach_x
            work.span[0, i], work.span[1, i] = 1, 0
            if design.additive:
                continue
            for j in range(begin, i):
                # One branch, not three: two of three pairs fail somewhere.
                if (abs(x[j] - x[i]) <= reach_x) & (abs(y[j] - y[i]) <= reach_y) & (abs(z[j] - z[i]) <= reach_z):
                    work.overlap[n, _X] = x[j]
                    work.overlap[n, _Y] = y[j]
                    work.overlap[n, _Z] = z[j]
                    n += 1
                    nearest, furthest = min(nearest, x[j]), max(furthest, x[j])
            work.span[0, i], work.span[1, i] = nearest - reach_x // 2, furthest + reach_x // 2
    work.overlap_begin[work.voxel.shape[0]] = n


@numba.njit(cache=True, nogil=True)
def list_foci(design, stamps, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Order the foci by y and list for every plane those that reach it, in that order."""
    x, y, z = work.position[0], work.position[1], work.position[2]
    count = work.row_count
    count[:] = 0
    for f in range(np.uint64(work.voxel.shape[0])):
        v = np.uint64(work.voxel[f])
        x[f] = geometry.place[v, 0]
        y[f] = geometry.place[v, 1]
        z[f] = geometry.place[v, 2]
        count[np.uint64(y[f]) + np.uint64(1)] += 1
    _find_overlaps(design, stamps, work)
    for i in range(1, count.shape[0]):
        count[i] += count[i - 1]
    for e in range(design.kernel.shape[0]):
        for f in range(np.uint64(design.focus_begin[e]), np.uint64(design.focus_begin[e + 1])):
            row = np.uint64(y[f])
            t = np.uint64(count[row])
            count[row] += 1
            work.foci[t, _X] = x[f]
            work.foci[t, _Y] = y[f]
            work.foci[t, _Z] = z[f]
            work.foci[t, KERNEL] = design.kernel[e]
            work.foci[t, BEGIN] = work.overlap_begin[f]
            work.foci[t, END] = work.overlap_begin[f + np.uint64(1)]
            work.foci[t, _FROM] = work.span[0, f]
            work.foci[t, _TO] = work.span[1, f]
    _count_visits(stamps, work.foci, work.begin)
    work.alone_end[:] = work.begin
    work.paired_begin[:-1] = work.begin[1:]
    _list_visits(work.foci, work.visit, work.alone_end, work.paired_begin, stamps, geometry.row_low, geometry.row_high)


@numba.njit(cache=True, nogil=True)
def _count_visits(stamps, foci, begin) -> None:  # type: ignore[no-untyped-def]
    """Fill where each plane's visits begin."""
    last = begin.shape[0] - 3
    begin[:] = 0
    for f in range(foci.shape[0]):
        reach = stamps.radius[foci[f, KERNEL], 0]
        begin[max(1, foci[f, _X] - reach)] += 1
        begin[min(last, foci[f, _X] + reach) + 1] -= 1
    # From steps to foci per plane, to where each plane's visits begin.
    here = 0
    total = 0
    for x in range(begin.shape[0]):
        here += begin[x]
        begin[x] = total
        total += here


@numba.njit(cache=True, nogil=True)
def _list_visits(foci, visit, alone_end, paired_begin, stamps, row_low, row_high) -> None:  # type: ignore[no-untyped-def]
    """List for every plane the foci that reach it, in order of y."""
    last = row_low.shape[0] - 2
    for f in range(np.uint64(foci.shape[0])):
        kernel = np.uint64(foci[f, KERNEL])
        reach_x = stamps.radius[kernel, 0]
        first_slab = stamps.slab_begin[kernel]
        x0, y, z = np.int64(foci[f, _X]), np.int64(foci[f, _Y]), np.int64(foci[f, _Z])
        paired_from, paired_to = np.uint64(max(0, foci[f, _FROM])), np.uint64(max(0, foci[f, _TO]))
        for x in range(np.uint64(max(1, x0 - reach_x)), np.uint64(min(last, x0 + reach_x) + 1)):
            slab = np.uint64(first_slab + abs(np.int64(x) - x0))
            reach, half = stamps.reach[slab], stamps.half[slab]
            low, high = max(row_low[x], y - reach), min(row_high[x], y + reach)
            if low > high:
                continue
            begin = z - half
            early = begin & (WIDTH - 1)
            if (x < paired_from) | (x > paired_to):
                t = np.uint64(alone_end[x])
                alone_end[x] += 1
            else:
                paired_begin[x] -= 1
                t = np.uint64(paired_begin[x])
            visit[t, LOW] = low
            visit[t, CELL] = begin - early
            visit[t, ENTRY] = stamps.middle[slab] + low - y
            visit[t, COUNT] = high - low + 1
            visit[t, SHAPE] = ((early + 2 * half + WIDTH) & -WIDTH) | early
            visit[t, FOCUS] = f
