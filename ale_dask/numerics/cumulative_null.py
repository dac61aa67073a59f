"""Samples that grow by some experiments at a time: the voxels that pass at each step, for each pair of planes in turn.

    planes 1, 2:  S of the sample | + experiments 1, 2: rows they reach | + experiments 3, 4: … | …
                  voxels that pass -> log    only these rows are scanned   -> log
    planes 3, 4:  …

S grows with every experiment, and so does the cluster-forming value: a voxel that does not pass can only come to pass
where foci have just been added. Two planes are followed through all experiments before the next ones begin, so that
they stay in the first caches; at each step only the rows that its experiments have reached are scanned, and the few
voxels that pass, a thousandth of the brain, are written down. tests/numerics/test_noise.py holds each step to
`permutation_null.null_iterations` of its experiments.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.focus_visits import FIRST_CELL, FIRST_ROW, FOCUS, PIECES, ROWS, list_visits
from ale_dask.numerics.kernels.planes import add_visits, plane_of, sum_planes
from ale_dask.numerics.kernels.simd import INNER, SCAN, WIDTH, reaches32
from ale_dask.numerics.permutation_null import PassingVoxels, passing_memory, scan_plane

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class Steps(NamedTuple):
    """Memory of one thread: the voxels that pass now, those after the next experiment, and those just reached.

    fresh (cell of two planes) lists the cells that an experiment has reached and that pass; seen (cell of two planes)
    is the mark of the experiment that reached a cell last; best (step) is the largest S of each step so far.
    """

    now: PassingVoxels
    next: PassingVoxels
    fresh: I64
    seen: I64
    best: I32


class Log(NamedTuple):
    """The cells and S (entry) of voxels that pass, by pair of planes, then by step.

    The entries of a pair and a step are begin[pair, step] to begin[pair, step + 1] - 1.
    """

    cell: I64
    value: I32
    begin: I64


@numba.njit(cache=True, nogil=True)
def steps_memory(n_steps, geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread for this number of steps."""
    return Steps(
        passing_memory(geometry),
        passing_memory(geometry),
        np.empty(2 * geometry.stride_x, dtype=np.int64),
        np.zeros(2 * geometry.stride_x, dtype=np.int64),
        np.zeros(n_steps, dtype=np.int32),
    )


@numba.njit(cache=True, nogil=True)
def log_memory(n_steps, geometry):  # type: ignore[no-untyped-def]
    """Return an empty log for this number of steps."""
    pairs = geometry.pair_row_low.shape[0]
    return Log(
        np.empty(1024, dtype=np.int64), np.empty(1024, dtype=np.int32), np.zeros((pairs, n_steps + 1), dtype=np.int64)
    )


@numba.njit(cache=True, nogil=True)
def _longer_log(log):  # type: ignore[no-untyped-def]
    cell = np.empty(2 * log.cell.shape[0], dtype=np.int64)
    value = np.empty(2 * log.cell.shape[0], dtype=np.int32)
    cell[: log.cell.shape[0]] = log.cell
    value[: log.cell.shape[0]] = log.value
    return Log(cell, value, log.begin)


@numba.njit(**INNER)
def _scan_visits(x, begin, end, least, limit, mark, n, largest_s, geometry, work, plane, steps):  # type: ignore[no-untyped-def]
    """Append the cells with S >= least in the rows of visits begin to end - 1; return their number and the largest S.

    `n` and `largest_s` are the number and the largest S so far; a cell with S < limit, int32, counts for neither.
    `mark` is the experiment's, so that a cell in rows of two foci is appended once.
    """
    origin = x * geometry.stride_x
    for i in range(begin, end):
        first = np.int64(work.visit[i, FIRST_ROW]) * geometry.stride_y + work.visit[i, FIRST_CELL]
        width = np.int64(work.visit[i, PIECES]) * WIDTH
        for side in range(2):
            at = first + side * geometry.stride_x
            for _ in range(work.visit[i, ROWS]):
                for piece in range(at, at + width, SCAN):
                    if reaches32(plane, piece, limit):
                        for j in range(np.uint64(piece), np.uint64(piece + SCAN)):
                            v = plane[j]
                            if v >= limit and geometry.inside[np.uint64(origin) + j]:
                                largest_s = max(largest_s, v)
                                if v >= least and steps.seen[j] != mark:
                                    steps.seen[j] = mark
                                    steps.fresh[n] = j
                                    n += 1
                at += geometry.stride_y
    return n, largest_s


@numba.njit(**INNER)
def _drop_below(n, least, passing):  # type: ignore[no-untyped-def]
    """Drop the voxels with S < least from the first n of `passing`; return how many are left."""
    n_kept = np.int64(0)
    for t in range(n):
        if passing.value[t] >= least:
            passing.cell[n_kept] = passing.cell[t]
            passing.value[n_kept] = passing.value[t]
            n_kept += 1
    return n_kept


@numba.njit(**INNER)
def _shell_sort(array, n) -> None:  # type: ignore[no-untyped-def]
    """Sort the first n of an array (Shell 1959): they are few, and numpy's sort takes longer to compile."""
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
def _merge(x, n, n_fresh, least, mark, geometry, plane, steps):  # type: ignore[no-untyped-def]
    """Merge voxels that passed before with those just reached, by cell, into steps.now; return their number."""
    origin = x * geometry.stride_x
    now, out = steps.now, steps.next
    new = steps.fresh
    _shell_sort(new, n_fresh)
    n_kept, k = np.int64(0), np.int64(0)
    for t in range(n + 1):
        here = now.cell[t] - origin if t < n else np.int64(2**62)
        while k < n_fresh and new[k] < here:
            out.cell[n_kept] = origin + new[k]
            out.value[n_kept] = plane[new[k]]
            n_kept += 1
            k += 1
        # A voxel that the experiment has reached and that passes is among the fresh ones, with its new S.
        if t < n and now.value[t] >= least and steps.seen[here] != mark:
            out.cell[n_kept] = now.cell[t]
            out.value[n_kept] = now.value[t]
            n_kept += 1
    now.cell[:n_kept] = out.cell[:n_kept]
    now.value[:n_kept] = out.value[:n_kept]
    return n_kept


@numba.njit(cache=True, nogil=True)
def collect_steps(limits, number, base, noise, rows, geometry, work, added, steps, log, mark):  # type: ignore[no-untyped-def]
    """Write down the voxels with S >= limits[step] of each step; return the log and the last mark, int64.

    `limits` (step), int32, never fall. Step 0 is the sample, whose foci `work` holds or whose S is base (cell), int32;
    step has the first number[step], int64, experiments of `noise` in addition, whose foci `added` holds. steps.best
    gets the largest S of each step. Marks above `mark`, int64, are not in steps.seen yet.
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
            sum_planes(x, rows, geometry, work)
        n = np.int64(0)
        largest_s = steps.best[0]
        for side in range(2):
            n, largest_s = scan_plane(
                x + side, geometry, limits[0], n, largest_s, plane_of(side, geometry, work), steps.now
            )
        steps.best[0] = largest_s
        alone_end, paired_begin = list_visits(x, rows, geometry, added)
        alone, paired = np.uint64(0), np.uint64(added.visit.shape[0])
        for step in range(n_steps):
            if step > 0:
                end = noise.focus_begin[number[step]]
                alone_from, paired_to = alone, paired
                while alone < alone_end and added.visit[alone, FOCUS] < end:
                    alone += np.uint64(1)
                while paired > paired_begin and added.visit[paired - np.uint64(1), FOCUS] < end:
                    paired -= np.uint64(1)
                if alone > alone_from or paired < paired_to:
                    add_visits(x, work.plane, alone_from, alone, paired, paired_to, rows, geometry, added)
                    mark += 1
                    largest_s = max(largest_s, steps.best[step])
                    limit = min(limits[step], largest_s + np.int32(1))
                    n_fresh = np.int64(0)
                    for part in range(2):
                        from_visit, to_visit = (alone_from, alone) if part == 0 else (paired, paired_to)
                        n_fresh, largest_s = _scan_visits(
                            x,
                            from_visit,
                            to_visit,
                            limits[step],
                            limit,
                            mark,
                            n_fresh,
                            largest_s,
                            geometry,
                            added,
                            work.plane,
                            steps,
                        )
                    n = _merge(x, n, n_fresh, limits[step], mark, geometry, work.plane, steps)
                elif limits[step] > limits[step - 1]:
                    n = _drop_below(n, limits[step], steps.now)
                steps.best[step] = max(largest_s, steps.best[step])
            while size + n > log.cell.shape[0]:
                log = _longer_log(log)
            log.cell[size : size + n] = steps.now.cell[:n]
            log.value[size : size + n] = steps.now.value[:n]
            size += n
            log.begin[pair, step + 1] = size
    return log, mark


@numba.njit(cache=True, nogil=True)
def voxels_of_step(step, geometry, log, passing):  # type: ignore[no-untyped-def]
    """Copy the voxels of a step, in order of cells, to `passing`; return their number, int64."""
    n = np.int64(0)
    for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
        begin, end = log.begin[x // 2, step], log.begin[x // 2, step + 1]
        passing.cell[n : n + end - begin] = log.cell[begin:end]
        passing.value[n : n + end - begin] = log.value[begin:end]
        n += end - begin
    return n
