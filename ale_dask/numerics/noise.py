"""Noise added to a sample one experiment at a time: its null and its clusters after each, in one pass.

S grows with every experiment, and so does the cluster-forming value: a voxel that is not above it can only come to be
where foci have just been added. Two planes are followed through all experiments before the next ones begin, so that
they stay in the first caches; after each experiment only the rows that it has reached are looked at, and the few
voxels above the value, a thousandth of the brain, are written down. Clusters are then made of these alone.

Several series of noise differ a little in their cluster-forming values: voxels at or above the highest of these are
joined once, and the few between it and the others one value after another.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.clusters import root
from ale_dask.numerics.permute import Found, found_memory, scan_plane
from ale_dask.numerics.simd import BARE, SCAN, WIDTH, reaches32
from ale_dask.numerics.stamps import Geometry, Stamps
from ale_dask.numerics.sweep import add_visits, plane_of, stamp_planes
from ale_dask.numerics.visits import (
    CELL,
    COUNT,
    FOCUS,
    LOW,
    PIECES,
    Design,
    draw_foci,
    list_foci,
    list_foci_in_order,
    list_visits,
    sweep_memory,
)

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
VOXEL, SIZE, MASS = range(3)
"""Statistics: the largest S, the voxels and the mass of the largest cluster."""


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
def _steps_memory(n_steps, geometry):  # type: ignore[no-untyped-def]
    return Steps(
        found_memory(geometry),
        found_memory(geometry),
        np.empty(2 * geometry.stride_x, dtype=np.int64),
        np.zeros(2 * geometry.stride_x, dtype=np.int64),
        np.zeros(n_steps, dtype=np.int32),
    )


@numba.njit(cache=True, nogil=True)
def _log_memory(n_steps, geometry):  # type: ignore[no-untyped-def]
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
def _follow(limits, base, noise, stamps, geometry, work, added, steps, log, number):  # type: ignore[no-untyped-def]
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
def _gather(step, geometry, log, found):  # type: ignore[no-untyped-def]
    """Copy the voxels of one step, in order of cells, to `found`; returns their number."""
    n = 0
    for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
        begin, end = log.begin[x // 2, step], log.begin[x // 2, step + 1]
        found.cell[n : n + end - begin] = log.cell[begin:end]
        found.value[n : n + end - begin] = log.value[begin:end]
        n += end - begin
    return n


@numba.njit(**BARE)
def _unite(a, b, found) -> None:  # type: ignore[no-untyped-def]
    a = root(found.parent, a)
    b = root(found.parent, b)
    if a != b:
        if found.size[a] < found.size[b]:
            a, b = b, a
        found.parent[b] = a
        found.size[a] += found.size[b]
        found.mass[a] += found.mass[b]


class Late(NamedTuple):
    """Memory of one thread: pairs of neighbours of which one is below the highest value, voxels that are, and clusters.

    pair (3 n, 2) are places in `Found`, joined at `at` (3 n); voxel (n) and head (n) are such places.
    """

    pair: I64
    at: I32
    voxel: I64
    head: I64


@numba.njit(cache=True, nogil=True)
def _late_memory(geometry):  # type: ignore[no-untyped-def]
    n = geometry.cell.shape[0]
    return Late(
        np.empty((3 * n, 2), dtype=np.int64),
        np.empty(3 * n, dtype=np.int32),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
    )


@numba.njit(cache=True, nogil=True)
def _join(n, high, low, geometry, found, late, before):  # type: ignore[no-untyped-def]
    """Join voxels at or above `high` by faces, and list pairs and voxels down to `low`; returns how many of each.

    `before` (3) is scratch. Mass is the sum of S: a cluster-forming value is taken off when it is known.
    """
    steps = (1, geometry.stride_y, geometry.stride_x)
    before[:] = 0
    pairs, voxels = 0, 0
    for t in range(n):
        v = found.value[t]
        found.parent[t] = t
        found.size[t] = 1
        found.mass[t] = v
        if high > v >= low:
            late.voxel[voxels] = t
            voxels += 1
        for s in range(3):
            wanted = found.cell[t] - steps[s]
            while found.cell[before[s]] < wanted:
                before[s] += 1
            if found.cell[before[s]] == wanted:
                both = min(v, found.value[before[s]])
                if both >= high:
                    _unite(before[s], t, found)
                elif both >= low:
                    late.pair[pairs, 0] = before[s]
                    late.pair[pairs, 1] = t
                    late.at[pairs] = both
                    pairs += 1
    return pairs, voxels


@numba.njit(cache=True, nogil=True)
def _largest(n, statistic, threshold, order, geometry, found, late, before, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (series) with the largest cluster at each cluster-forming value; `order` begins with the highest."""
    last = order.shape[0] - 1
    high = threshold[order[0]]
    pairs, voxels = _join(n, high, threshold[order[last]], geometry, found, late, before)
    heads = 0
    for t in range(n):
        if found.value[t] >= high and found.parent[t] == t:
            late.head[heads] = t
            heads += 1
    for place in range(last + 1):
        u = threshold[order[place]]
        if place > 0 and u == threshold[order[place - 1]]:
            out[order[place]] = out[order[place - 1]]
            continue
        left = 0
        for i in range(voxels):
            if found.value[late.voxel[i]] >= u:
                late.head[heads] = late.voxel[i]
                heads += 1
            else:
                late.voxel[left] = late.voxel[i]
                left += 1
        voxels = left
        left = 0
        for i in range(pairs):
            if late.at[i] >= u:
                _unite(late.pair[i, 0], late.pair[i, 1], found)
            else:
                late.pair[left, 0] = late.pair[i, 0]
                late.pair[left, 1] = late.pair[i, 1]
                late.at[left] = late.at[i]
                left += 1
        pairs = left
        most = np.int64(0)
        left = 0
        for i in range(heads):
            t = late.head[i]
            if found.parent[t] == t:
                most = max(most, found.size[t] if statistic == SIZE else found.mass[t] - found.size[t] * np.int64(u))
                late.head[left] = t
                left += 1
        heads = left
        out[order[place]] = most


class Values(NamedTuple):
    """Cluster-forming values (step, series), the series from the highest value on (step, series), and the limits (step)
    from which on voxels are collected: the least value of each step and all later ones."""

    threshold: I32
    order: I64
    limit: I32


def values_of(threshold: I32) -> Values:
    """Return the cluster-forming values (series, step), ordered for `noise_iterations`."""
    by_step = np.ascontiguousarray(threshold.T)
    limit = np.minimum.accumulate(by_step.min(axis=1)[::-1])[::-1]
    order = np.argsort(-by_step.astype(np.int64), axis=1, kind="stable")
    return Values(by_step, order, np.ascontiguousarray(limit))


@numba.njit(cache=True, nogil=True)
def noise_iterations(first, count, statistic, values, design, noise, stamps, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, step, series), int64, with the largest S, cluster size or cluster mass at each step.

    As `permute.null_iterations` fills it for `design` and the first `step` experiments of `noise` at the value
    values.threshold[step, series], integer by integer; the largest S is the same for all series.
    """
    n_steps = values.threshold.shape[0]
    work, added = sweep_memory(design, stamps, geometry), sweep_memory(noise, stamps, geometry)
    steps, log = _steps_memory(n_steps, geometry), _log_memory(n_steps, geometry)
    found, late, before = found_memory(geometry), _late_memory(geometry), np.zeros(3, dtype=np.int64)
    base = np.empty(0, dtype=np.int32)
    number = 0
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, stamps, geometry, work)
        draw_foci(first + b, noise, geometry, added)
        list_foci_in_order(noise, stamps, geometry, added)
        log, number = _follow(values.limit, base, noise, stamps, geometry, work, added, steps, log, number)
        for step in range(n_steps):
            if statistic == VOXEL:
                out[b, step] = steps.best[step]
            else:
                n = _gather(step, geometry, log, found)
                threshold, order = values.threshold[step], values.order[step]
                _largest(n, statistic, threshold, order, geometry, found, late, before, out[b, step])


@numba.njit(cache=True, nogil=True)
def _surviving(series, statistic, values, cut, base, design, noise, stamps, geometry):  # type: ignore[no-untyped-def]
    n_steps = values.limit.shape[0]
    work, added = sweep_memory(design, stamps, geometry), sweep_memory(noise, stamps, geometry)
    steps, log = _steps_memory(n_steps, geometry), _log_memory(n_steps, geometry)
    found, late, before = found_memory(geometry), _late_memory(geometry), np.zeros(3, dtype=np.int64)
    draw_foci(series, noise, geometry, added)
    list_foci_in_order(noise, stamps, geometry, added)
    log, _ = _follow(values.limit, base, noise, stamps, geometry, work, added, steps, log, 0)
    cell = np.empty(log.begin.max(), dtype=np.int64)
    begin = np.zeros(n_steps + 1, dtype=np.int64)
    kept = 0
    for step in range(n_steps):
        n = _gather(step, geometry, log, found)
        u = values.threshold[step, 0]
        _join(n, u, u, geometry, found, late, before)
        for t in range(n):
            if found.value[t] >= u:
                head = root(found.parent, t)
                size, mass = found.size[head], found.mass[head] - found.size[head] * np.int64(u)
                if statistic == VOXEL or (size if statistic == SIZE else mass) >= cut[step]:
                    cell[kept] = found.cell[t]
                    kept += 1
        begin[step + 1] = kept
    return cell[:kept], begin


def surviving(
    series: int,
    *,
    statistic: int,
    threshold: I32,
    cut: I64,
    s: I32,
    noise: Design,
    stamps: Stamps,
    geometry: Geometry,
) -> tuple[I64, I64]:
    """Return the voxels of surviving clusters, int64, and where those of each step begin (step + 1), int64.

    Step 0 is the sample, whose sums are `s` (voxel), and each further one has one more experiment of `noise`, with the
    foci of this series. `threshold` (step) is the cluster-forming value and `cut` (step) the least size in voxels or
    mass that survives; for the statistic VOXEL a voxel survives at threshold, and cut is not read.
    """
    base = np.zeros(geometry.size, dtype=np.int32)
    base[geometry.cell] = s
    nothing = Design(np.zeros(1, dtype=np.int64), noise.kernel[:0], noise.key[:0], noise.additive)
    cell, begin = _surviving(series, statistic, values_of(threshold[None]), cut, base, nothing, noise, stamps, geometry)
    return np.searchsorted(geometry.cell, cell), begin
