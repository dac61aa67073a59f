"""The foci of one iteration, and for a pair of planes the foci that reach it, each with what adding its rows needs.

    foci, ordered by y          planes 1 2 | 3 4 | 5 6 | …
      f  x = 3, kernel 0               ·  ·   #  #   ·  ·          a focus visits each pair of planes that it reaches
      g  x = 4, kernel 1               #  #   #  #   #  #

    visits of a pair:  | alone: f g … →        free        ← … i h : overlapping |
                       0           alone_end               overlapping_begin     n

`list_foci` orders the foci of an iteration by y and lists for each one the earlier foci of its experiment whose boxes
meet its own. `list_visits` then goes through all foci once for each pair of planes, a comparison each, and writes down
the visits: those that overlap no earlier focus there from the front, the others from the back. Rows that are added one
after another then lie near each other in the plane, and no list of all pairs of planes leaves the first caches.

A test of the loops in plain Python is `Case.reference_sum` in tests/support/permutations.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.simd import INNER, WIDTH

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
_X, _Y, _Z, KERNEL, BEGIN, END, _LOW_X, _HIGH_X = range(8)
"""Columns of `Workspace.foci`."""
FIRST_ROW, FIRST_CELL, ENTRY_1, ENTRY_2, SHIFT, ROWS, PIECES, FOCUS = range(8)
"""Columns of `Workspace.visit`."""


class Design(NamedTuple):
    """The experiments: focus_begin (experiment + 1), the kernel (experiment) and the key of draws (experiment) of each.

    With `additive` the foci of an experiment add up; otherwise their maximum counts.
    """

    focus_begin: I64
    kernel: I64
    key: npt.NDArray[np.uint64]
    additive: bool


class Workspace(NamedTuple):
    """Memory of one thread: two planes, the foci of an iteration and the list of those that reach these planes.

    - plane (cell of two planes), S in fixed point
    - voxel (focus), where the foci lie, and position (axis, focus), in the order of experiments
    - row_count (row + 1), a scratch of the ordering by y
    - foci (focus, 8), in order of y: x, y, z, kernel, BEGIN and END of its rows in `overlap`, and the first and the
      last plane in which it meets an earlier focus
    - overlap (pair of foci, axis), the positions of the earlier foci that a focus meets
    - candidate (focus + 1), a scratch of searches
    - first_pair, pair_count (focus), the pairs of planes that a focus reaches, planes 1 and 2 being pair 0
    - visit (visit, 8): the first row and the first cell in it, where in `KernelRows.entry` the first row of either
      plane stands, the cells from the focus to the first piece, the numbers of rows and of pieces of a row, the focus
    - earlier (focus, 3), the entries and the shift of the earlier foci of one visit
    """

    plane: I32
    voxel: I64
    position: I32
    row_count: I64
    foci: I32
    overlap: I32
    candidate: I32
    first_pair: I32
    pair_count: I32
    visit: I32
    earlier: I64


@numba.njit(cache=True, nogil=True)
def workspace(design, geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread for the experiments of a `Design` on a `Geometry`."""
    n_foci = design.focus_begin[-1]
    pairs = 1
    most = 0
    for e in range(design.kernel.shape[0]):
        n = design.focus_begin[e + 1] - design.focus_begin[e]
        pairs += n * (n - 1) // 2
        most = max(most, n)
    return Workspace(
        np.zeros(2 * geometry.stride_x, dtype=np.int32),
        np.empty(n_foci, dtype=np.int64),
        np.empty((3, n_foci), dtype=np.int32),
        np.zeros(geometry.stride_x // geometry.stride_y + 1, dtype=np.int64),
        np.empty((n_foci, 8), dtype=np.int32),
        np.empty((1 if design.additive else pairs, 3), dtype=np.int32),
        np.empty(n_foci + 1, dtype=np.int32),
        np.empty(n_foci, dtype=np.int32),
        np.empty(n_foci, dtype=np.int32),
        np.empty((n_foci, 8), dtype=np.int32),
        np.empty((most + 1, 3), dtype=np.int64),
    )


@numba.njit(**INNER)
def _order_foci(design, rows, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Fill `position`, and `foci` in order of y; BEGIN and END are the first focus of the experiment and this one."""
    x, y, z = work.position[0], work.position[1], work.position[2]
    count = work.row_count
    count[:] = 0
    for f in range(np.uint64(work.voxel.shape[0])):
        v = np.uint64(work.voxel[f])
        x[f] = geometry.place[v, 0]
        y[f] = geometry.place[v, 1]
        z[f] = geometry.place[v, 2]
        count[np.uint64(y[f]) + np.uint64(1)] += 1
    for i in range(1, count.shape[0]):
        count[i] += count[i - 1]
    for e in range(design.kernel.shape[0]):
        reach = rows.radius[design.kernel[e], 0]
        for f in range(np.uint64(design.focus_begin[e]), np.uint64(design.focus_begin[e + 1])):
            row = np.uint64(y[f])
            t = np.uint64(count[row])
            count[row] += 1
            work.foci[t, _X] = x[f]
            work.foci[t, _Y] = y[f]
            work.foci[t, _Z] = z[f]
            work.foci[t, KERNEL] = design.kernel[e]
            work.foci[t, BEGIN] = design.focus_begin[e]
            work.foci[t, END] = f
            work.first_pair[t] = (x[f] - reach - 1) >> 1
            work.pair_count[t] = reach + 1


@numba.njit(**INNER)
def _find_overlaps(additive, rows, work) -> None:  # type: ignore[no-untyped-def]
    """List, for each focus, the earlier foci of its experiment whose boxes meet its own.

    The list is in the order in which it is read: in that of experiments, adding 40,000 foci takes 4 % longer.
    """
    x, y, z = work.position[0], work.position[1], work.position[2]
    candidate, foci, overlap = work.candidate, work.foci, work.overlap
    n = np.int64(0)
    for f in range(np.uint64(foci.shape[0])):
        first, own = np.uint64(foci[f, BEGIN]), np.uint64(foci[f, END])
        foci[f, BEGIN], foci[f, END] = n, n
        foci[f, _LOW_X], foci[f, _HIGH_X] = 1, 0
        if additive:
            continue
        kernel = np.uint64(foci[f, KERNEL])
        reach_x = np.int32(2 * rows.radius[kernel, 0])
        reach_y = np.int32(2 * rows.radius[kernel, 1])
        reach_z = np.int32(2 * rows.radius[kernel, 2])
        x0, y0, z0 = foci[f, _X], foci[f, _Y], foci[f, _Z]
        # The next focus is written over one that is too far: a branch, taken by one of nine, is three times as slow.
        count = np.uint64(0)
        for j in range(first, own):
            candidate[count] = j
            count += np.uint64((abs(x[j] - x0) <= reach_x) & (abs(y[j] - y0) <= reach_y) & (abs(z[j] - z0) <= reach_z))
        low, high = x0 + 2 * reach_x, x0 - 2 * reach_x
        for t in range(count):
            earlier = np.uint64(candidate[t])
            overlap[n, _X] = x[earlier]
            overlap[n, _Y] = y[earlier]
            overlap[n, _Z] = z[earlier]
            n += 1
            low, high = min(low, x[earlier]), max(high, x[earlier])
        foci[f, END] = n
        foci[f, _LOW_X], foci[f, _HIGH_X] = low - reach_x // 2, high + reach_x // 2


@numba.njit(**INNER)
def list_foci(design, rows, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Order the foci of work.voxel (focus) by y and list which earlier foci of its experiment each of them meets."""
    _order_foci(design, rows, geometry, work)
    _find_overlaps(design.additive, rows, work)


@numba.njit(**INNER)
def list_foci_by_experiment(design, rows, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Do what `list_foci` does in the order of experiments, so that visits can be added experiment by experiment."""
    for e in range(design.kernel.shape[0]):
        reach = rows.radius[design.kernel[e], 0]
        for f in range(design.focus_begin[e], design.focus_begin[e + 1]):
            for axis in range(3):
                work.position[axis, f] = geometry.place[work.voxel[f], axis]
                work.foci[f, axis] = work.position[axis, f]
            work.foci[f, KERNEL] = design.kernel[e]
            work.foci[f, BEGIN] = design.focus_begin[e]
            work.foci[f, END] = f
            work.first_pair[f] = (work.position[0, f] - reach - 1) >> 1
            work.pair_count[f] = reach + 1
    _find_overlaps(design.additive, rows, work)


@numba.njit(cache=True, nogil=True, inline="always")
def list_visits(x, rows, geometry, work):  # type: ignore[no-untyped-def]
    """List the foci that reach the planes at x, odd, and x + 1; return `alone_end` and `overlapping_begin`, uint64.

    Visits 0 to alone_end - 1 are of foci that meet no earlier focus of their experiment in these planes, in the order
    of `foci`; visits overlapping_begin to the last are of the others, in reverse.
    """
    foci, visit, candidate = work.foci, work.visit, work.candidate
    first_pair, pair_count = work.first_pair, work.pair_count
    pair = np.int32(x // 2)
    row_low, row_high = geometry.pair_row_low[pair], geometry.pair_row_high[pair]
    # The next focus is written over one that does not reach: one of five does, which a branch would guess wrong.
    n = np.uint64(0)
    for f in range(np.uint64(foci.shape[0])):
        candidate[n] = f
        n += np.uint64(np.uint32(pair - first_pair[f]) < np.uint32(pair_count[f]))
    alone_end, overlapping_begin = np.uint64(0), np.uint64(visit.shape[0])
    for i in range(n):
        focus = np.uint64(candidate[i])
        kernel = np.uint64(foci[focus, KERNEL])
        beyond = rows.radius[kernel, 0] + 1
        first_slab = rows.slab_begin[kernel]
        x0, y, z = np.int64(foci[focus, _X]), np.int64(foci[focus, _Y]), np.int64(foci[focus, _Z])
        slab_1 = np.uint64(first_slab + min(abs(x - x0), beyond))
        slab_2 = np.uint64(first_slab + min(abs(x + 1 - x0), beyond))
        reach = max(rows.reach[slab_1], rows.reach[slab_2])
        half = max(rows.half[slab_1], rows.half[slab_2])
        low, high = max(row_low, y - reach), min(row_high, y + reach)
        if low > high:
            continue
        begin = z - half
        early = begin & (WIDTH - 1)
        meets = np.uint64((x + 1 >= foci[focus, _LOW_X]) & (x <= foci[focus, _HIGH_X]))
        overlapping_begin -= meets
        t = overlapping_begin if meets else alone_end
        alone_end += np.uint64(1) - meets
        visit[t, FIRST_ROW] = low
        visit[t, FIRST_CELL] = begin - early
        visit[t, ENTRY_1] = rows.middle[slab_1] + low - y
        visit[t, ENTRY_2] = rows.middle[slab_2] + low - y
        visit[t, SHIFT] = -half - early
        visit[t, ROWS] = high - low + 1
        visit[t, PIECES] = (early + 2 * half + WIDTH) >> 3
        visit[t, FOCUS] = focus
    return alone_end, overlapping_begin
