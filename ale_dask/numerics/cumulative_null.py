"""Samples that grow one experiment at a time: the voxels above each one's cluster-forming value.

S grows with every experiment, and so does the cluster-forming value: a voxel that is not above it can only come to be
where foci have just been added. Two planes are followed through all experiments before the next ones begin, so that
they stay in the first caches; after each experiment only the rows that it has reached are looked at, and the few
voxels above the value, a thousandth of the brain, are written down.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.focus_visits import CELL, COUNT, FOCUS, LOW, PIECES, list_visits
from ale_dask.numerics.permutation_null import Found, found_memory, scan_plane
from ale_dask.numerics.planes import add_visits, plane_of, stamp_planes
from ale_dask.numerics.simd import BARE, SCAN, WIDTH, reaches32

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class Steps(NamedTuple):
    """Memory of one thread: voxels above the cluster-forming value now, after the next experiment, and found anew.

    seen (cell of two planes) is the number of the step that last found it; best (step) is the largest S so far.
    """

    now: Found
    next: Found
    fresh: I64
    seen: I64
    best: I32


class Log(NamedTuple):
    """Cells and values above the cluster-forming value, by pair of planes, then by step: those of a pair and a step are
    begin[pair, step] to begin[pair, step + 1]."""

    cell: I64
    value: I32
    begin: I64


@numba.njit(cache=True, nogil=True)
def steps_memory(n_steps, geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread."""
    return Steps(
        found_memory(geometry),
        found_memory(geometry),
        np.empty(2 * geometry.stride_x, dtype=np.int64),
        np.zeros(2 * geometry.stride_x, dtype=np.int64),
        np.zeros(n_steps, dtype=np.int32),
    )


@numba.njit(cache=True, nogil=True)
def log_memory(n_steps, geometry):  # type: ignore[no-untyped-def]
    """Return an empty log."""
    pairs = geometry.low_of_two.shape[0]
    return Log(
        np.empty(1024, dtype=np.int64), np.empty(1024, dtype=np.int32), np.zeros((pairs, n_steps + 1), dtype=np.int64)
    )


@numba.njit(cache=True, nogil=True)
def _longer(log):  # type: ignore[no-untyped-def]
    cell = np.empty(2 * log.cell.shape[0], dtype=np.int64)
    value = np.empty(2 * log.cell.shape[0], dtype=np.int32)
    cell[: log.cell.shape[0]] = log.cell
    value[: log.cell.shape[0]] = log.value
    return Log(cell, value, log.begin)


@numba.njit(**BARE)
def _look(x, begin, end, least, limit, number, n, most, geometry, work, plane, steps):  # type: ignore[no-untyped-def]
    """Collect the cells at or above `least` in the rows of some visits; returns their number and the maximum.

    `n` and `most` are those so far; a cell below `limit` is neither collected nor the maximum.
    """
    origin = x * geometry.stride_x
    for i in range(begin, end):
        first = np.int64(work.visit[i, LOW]) * geometry.stride_y + work.visit[i, CELL]
        width = np.int64(work.visit[i, PIECES]) * WIDTH
        for side in range(2):
            at = first + side * geometry.stride_x
            for _ in range(work.visit[i, COUNT]):
                for piece in range(at, at + width, SCAN):
                    if reaches32(plane, piece, limit):
                        for j in range(np.uint64(piece), np.uint64(piece + SCAN)):
                            v = plane[j]
                            if v >= limit and geometry.inside[np.uint64(origin) + j]:
                                most = max(most, v)
                                if v >= least and steps.seen[j] != number:
                                    steps.seen[j] = number
                                    steps.fresh[n] = j
                                    n += 1
                at += geometry.stride_y
    return n, most


@numba.njit(**BARE)
def _drop(n, least, found):  # type: ignore[no-untyped-def]
    """Drop the cells below `least`; returns how many are left."""
    kept = 0
    for t in range(n):
        if found.value[t] >= least:
            found.cell[kept] = found.cell[t]
            found.value[kept] = found.value[t]
            kept += 1
    return kept


@numba.njit(**BARE)
def _sort(array, n) -> None:  # type: ignore[no-untyped-def]
    """Sort the first n (Shell 1959): they are few, and numpy's takes longer to compile than all else here."""
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            value = array[i]
            j = i
            while j >= gap and array[j - gap] > value:
                array[j] = array[j - gap]
                j -= gap
            array[j] = value
        gap //= 3


@numba.njit(cache=True, nogil=True)
def _merge(x, n, fresh, least, number, geometry, plane, steps):  # type: ignore[no-untyped-def]
    """Bring what was above and what was found anew together in order of cells, back into `now`; returns the number."""
    origin = x * geometry.stride_x
    now, out = steps.now, steps.next
    new = steps.fresh
    _sort(new, fresh)
    kept, k = 0, 0
    for t in range(n + 1):
        here = now.cell[t] - origin if t < n else np.int64(2**62)
        while k < fresh and new[k] < here:
            out.cell[kept] = origin + new[k]
            out.value[kept] = plane[new[k]]
            kept += 1
            k += 1
        # What the experiment has reached and is still above has been found anew.
        if t < n and now.value[t] >= least and steps.seen[here] != number:
            out.cell[kept] = now.cell[t]
            out.value[kept] = now.value[t]
            kept += 1
    now.cell[:kept] = out.cell[:kept]
    now.value[:kept] = out.value[:kept]
    return kept


@numba.njit(cache=True, nogil=True)
def follow(limits, base, noise, stamps, geometry, work, added, steps, log, number):  # type: ignore[no-untyped-def]
    """Write down the voxels with S >= limits[step], not falling, of each step; returns the log and the last number.

    Step 0 is the sample, of which `work` holds the foci or `base` (cell) the sums, and each further one has one more
    experiment of `noise`, of which `added` holds the foci. `steps.best` gets the largest S of each step. `number`
    tells cells found before this call from those found by it.
    """
    n_steps = limits.shape[0]
    steps.best[:] = 0
    size = np.int64(0)
    for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
        pair = x // 2
        log.begin[pair, 0] = size
        if base.shape[0]:
            work.plane[:] = base[x * geometry.stride_x : (x + 2) * geometry.stride_x]
        else:
            stamp_planes(x, stamps, geometry, work)
        n = 0
        most = steps.best[0]
        for side in range(2):
            n, most = scan_plane(x + side, geometry, limits[0], n, most, plane_of(side, geometry, work), steps.now)
        steps.best[0] = most
        alone_end, paired_begin = list_visits(x, stamps, geometry, added)
        alone, paired = np.uint64(0), np.uint64(added.visit.shape[0])
        for step in range(n_steps):
            if step > 0:
                end = noise.focus_begin[step]
                alone_from, paired_to = alone, paired
                while alone < alone_end and added.visit[alone, FOCUS] < end:
                    alone += np.uint64(1)
                while paired > paired_begin and added.visit[paired - np.uint64(1), FOCUS] < end:
                    paired -= np.uint64(1)
                if alone > alone_from or paired < paired_to:
                    add_visits(x, work.plane, alone_from, alone, paired, paired_to, stamps, geometry, added)
                    number += 1
                    most = max(most, steps.best[step])
                    limit = min(limits[step], most + np.int32(1))
                    fresh = 0
                    for part in range(2):
                        a, b = (alone_from, alone) if part == 0 else (paired, paired_to)
                        fresh, most = _look(
                            x, a, b, limits[step], limit, number, fresh, most, geometry, added, work.plane, steps
                        )
                    n = _merge(x, n, fresh, limits[step], number, geometry, work.plane, steps)
                elif limits[step] > limits[step - 1]:
                    n = _drop(n, limits[step], steps.now)
                steps.best[step] = max(most, steps.best[step])
            while size + n > log.cell.shape[0]:
                log = _longer(log)
            log.cell[size : size + n] = steps.now.cell[:n]
            log.value[size : size + n] = steps.now.value[:n]
            size += n
            log.begin[pair, step + 1] = size
    return log, number


@numba.njit(cache=True, nogil=True)
def gather(step, geometry, log, found):  # type: ignore[no-untyped-def]
    """Copy the voxels of one step, in order of cells, to `found`; returns their number."""
    n = 0
    for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
        begin, end = log.begin[x // 2, step], log.begin[x // 2, step + 1]
        found.cell[n : n + end - begin] = log.cell[begin:end]
        found.value[n : n + end - begin] = log.value[begin:end]
        n += end - begin
    return n
