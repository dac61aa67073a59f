"""The foci of one iteration, and for two planes those that reach them, in order of y, with what adding them needs."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.simd import BARE, WIDTH

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
_X, _Y, _Z, KERNEL, BEGIN, END, _FROM, _TO = range(8)
LOW, CELL, ONE, TWO, SHIFT, COUNT, PIECES, FOCUS = range(8)


class Design(NamedTuple):
    """Which foci belong to which experiment, its kernel and the key of its draws."""

    focus_begin: I64
    kernel: I64
    key: npt.NDArray[np.uint64]
    additive: bool


class Sweep(NamedTuple):
    """Memory of one thread: two planes, the foci of an iteration and the list of those that reach these planes.

    position (axis, focus) is in the order of experiments. foci (focus, 8) is in order of y: x, y, z, kernel, where in
    overlap (pair, axis) the positions of the earlier foci of its experiment that it meets stand, and the planes between
    which it meets one; `first_two` and `twos` are the first and the number of the pairs of planes that it reaches,
    planes 1 and 2 being pair 0. visit (visit, 8) is the first row, where in it the first piece begins, the places of
    the first row of either plane in `Stamps.entry`, the cells from the focus to the first piece, the numbers of rows
    and of pieces of a row, and the focus.
    """

    plane: I32
    voxel: I64
    position: I32
    row_count: I64
    foci: I32
    overlap: I32
    near: I32
    first_two: I32
    twos: I32
    visit: I32
    met: I64


@numba.njit(cache=True, nogil=True)
def sweep_memory(design, stamps, geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread."""
    n_foci = design.focus_begin[-1]
    pairs = 1
    most = 0
    for e in range(design.kernel.shape[0]):
        n = design.focus_begin[e + 1] - design.focus_begin[e]
        pairs += n * (n - 1) // 2
        most = max(most, n)
    return Sweep(
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


@numba.njit(**BARE)
def draw_foci(iteration, design, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Draw the voxels of all foci uniformly, with replacement, over the mask's voxel centres."""
    for e in range(design.kernel.shape[0]):
        begin, end = design.focus_begin[e], design.focus_begin[e + 1]
        draw_voxels(design.key[e], iteration, geometry.cell.shape[0], work.voxel, begin, end)


@numba.njit(**BARE)
def _order_foci(design, stamps, geometry, work) -> None:  # type: ignore[no-untyped-def]
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
        reach = stamps.radius[design.kernel[e], 0]
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
            work.first_two[t] = (x[f] - reach - 1) >> 1
            work.twos[t] = reach + 1


@numba.njit(**BARE)
def _find_overlaps(additive, stamps, work) -> None:  # type: ignore[no-untyped-def]
    """List, for each focus, the earlier foci of its experiment whose boxes meet its own.

    In the order in which they are looked up: in that of experiments, adding 40,000 foci takes 4 % longer.
    """
    x, y, z = work.position[0], work.position[1], work.position[2]
    near, foci, overlap = work.near, work.foci, work.overlap
    n = np.int64(0)
    for f in range(np.uint64(foci.shape[0])):
        first, own = np.uint64(foci[f, BEGIN]), np.uint64(foci[f, END])
        foci[f, BEGIN], foci[f, END] = n, n
        foci[f, _FROM], foci[f, _TO] = 1, 0
        if additive:
            continue
        kernel = np.uint64(foci[f, KERNEL])
        reach_x = np.int32(2 * stamps.radius[kernel, 0])
        reach_y = np.int32(2 * stamps.radius[kernel, 1])
        reach_z = np.int32(2 * stamps.radius[kernel, 2])
        x0, y0, z0 = foci[f, _X], foci[f, _Y], foci[f, _Z]
        # Written over by the next one if it is too far: with a branch, which one of nine takes, three times as slow.
        found = np.uint64(0)
        for j in range(first, own):
            near[found] = j
            found += np.uint64((abs(x[j] - x0) <= reach_x) & (abs(y[j] - y0) <= reach_y) & (abs(z[j] - z0) <= reach_z))
        nearest, furthest = x0 + 2 * reach_x, x0 - 2 * reach_x
        for t in range(found):
            earlier = np.uint64(near[t])
            overlap[n, _X] = x[earlier]
            overlap[n, _Y] = y[earlier]
            overlap[n, _Z] = z[earlier]
            n += 1
            nearest, furthest = min(nearest, x[earlier]), max(furthest, x[earlier])
        foci[f, END] = n
        foci[f, _FROM], foci[f, _TO] = nearest - reach_x // 2, furthest + reach_x // 2


@numba.njit(cache=True, nogil=True)
def list_foci(design, stamps, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Order the foci by y and list which earlier ones of its experiment each of them meets."""
    _order_foci(design, stamps, geometry, work)
    _find_overlaps(design.additive, stamps, work)


@numba.njit(cache=True, nogil=True)
def list_foci_in_order(design, stamps, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """As `list_foci`, in the order of experiments, which one visit after another can then be taken of."""
    for e in range(design.kernel.shape[0]):
        reach = stamps.radius[design.kernel[e], 0]
        for f in range(design.focus_begin[e], design.focus_begin[e + 1]):
            for axis in range(3):
                work.position[axis, f] = geometry.place[work.voxel[f], axis]
                work.foci[f, axis] = work.position[axis, f]
            work.foci[f, KERNEL] = design.kernel[e]
            work.foci[f, BEGIN] = design.focus_begin[e]
            work.foci[f, END] = f
            work.first_two[f] = (work.position[0, f] - reach - 1) >> 1
            work.twos[f] = reach + 1
    _find_overlaps(design.additive, stamps, work)


@numba.njit(cache=True, nogil=True, inline="always")
def list_visits(x, stamps, geometry, work):  # type: ignore[no-untyped-def]
    """List the foci that reach the planes at x, odd, or x + 1, in order of y; returns where a first part ends.

    It holds those that meet no earlier one there; the others are a second part, in reverse, whose begin it returns too.
    """
    foci, visit, near, first_two, twos = work.foci, work.visit, work.near, work.first_two, work.twos
    two = np.int32(x // 2)
    row_low, row_high = geometry.low_of_two[two], geometry.high_of_two[two]
    # Written over by the next one if it does not: one of five does, which a branch would guess wrong.
    n = np.uint64(0)
    for f in range(np.uint64(foci.shape[0])):
        near[n] = f
        n += np.uint64(np.uint32(two - first_two[f]) < np.uint32(twos[f]))
    alone, paired = np.uint64(0), np.uint64(visit.shape[0])
    for i in range(n):
        focus = np.uint64(near[i])
        kernel = np.uint64(foci[focus, KERNEL])
        beyond = stamps.radius[kernel, 0] + 1
        first_slab = stamps.slab_begin[kernel]
        x0, y, z = np.int64(foci[focus, _X]), np.int64(foci[focus, _Y]), np.int64(foci[focus, _Z])
        one_slab = np.uint64(first_slab + min(abs(x - x0), beyond))
        two_slab = np.uint64(first_slab + min(abs(x + 1 - x0), beyond))
        reach = max(stamps.reach[one_slab], stamps.reach[two_slab])
        half = max(stamps.half[one_slab], stamps.half[two_slab])
        low, high = max(row_low, y - reach), min(row_high, y + reach)
        if low > high:
            continue
        begin = z - half
        early = begin & (WIDTH - 1)
        meets = np.uint64((x + 1 >= foci[focus, _FROM]) & (x <= foci[focus, _TO]))
        paired -= meets
        t = paired if meets else alone
        alone += np.uint64(1) - meets
        visit[t, LOW] = low
        visit[t, CELL] = begin - early
        visit[t, ONE] = stamps.middle[one_slab] + low - y
        visit[t, TWO] = stamps.middle[two_slab] + low - y
        visit[t, SHIFT] = -half - early
        visit[t, COUNT] = high - low + 1
        visit[t, PIECES] = (early + 2 * half + WIDTH) >> 3
        visit[t, FOCUS] = focus
    return alone, paired
