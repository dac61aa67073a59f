"""Noise experiments added to a sample step by step: the null of each step, and its surviving clusters, in one pass.

    S of a voxel         high ┤■ ■    ■  ■        joined to clusters once
    (several values)     low  ┤  □  □    □  □     pairs with one of these are kept aside and joined value by value
                              └ order of cells

Several series of noise have slightly different cluster-forming values: voxels at or above the highest of these are
joined once, and the few between it and the others are joined for one value after another, from the highest to the
lowest. tests/numerics/test_noise.py holds all to `permutation_null.null_iterations` of the same experiments.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.clusters import root
from ale_dask.numerics.cumulative_null import collect_steps, log_memory, steps_memory, voxels_of_step
from ale_dask.numerics.draws import draw_foci
from ale_dask.numerics.kernels.focus_visits import Design, list_foci, list_foci_by_experiment, workspace
from ale_dask.numerics.kernels.kernel_rows import Geometry, KernelRows
from ale_dask.numerics.kernels.simd import INNER
from ale_dask.numerics.permutation_null import passing_memory

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
VOXEL, SIZE, MASS = range(3)
"""Statistics: the largest S, the size in voxels of the largest cluster and the mass of the heaviest."""


@numba.njit(**INNER)
def _unite_clusters(a, b, passing) -> None:  # type: ignore[no-untyped-def]
    """Join the clusters of the passing voxels number a and b."""
    a = root(passing.parent, a)
    b = root(passing.parent, b)
    if a != b:
        if passing.size[a] < passing.size[b]:
            a, b = b, a
        passing.parent[b] = a
        passing.size[a] += passing.size[b]
        passing.mass[a] += passing.mass[b]


class PendingPairs(NamedTuple):
    """Memory of one thread for the voxels between the lowest and the highest value, and the clusters.

    pair (pair, 2) are two neighbours, numbers of passing voxels, joined at values up to at (pair), S in fixed point;
    voxel (voxel) are the numbers of voxels below the highest value, head (cluster) those that stand for clusters.
    """

    pair: I64
    at: I32
    voxel: I64
    head: I64


@numba.njit(cache=True, nogil=True)
def _pending_memory(geometry):  # type: ignore[no-untyped-def]
    n = geometry.voxels
    pairs = len(geometry.steps) * n
    return PendingPairs(
        np.empty((pairs, 2), dtype=np.int64),
        np.empty(pairs, dtype=np.int32),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
    )


@numba.njit(cache=True, nogil=True)
def _join_high(n, high, low, geometry, passing, pending, before):  # type: ignore[no-untyped-def]
    """Join voxels with S >= high to clusters, and list the pairs and voxels with low <= S < high; return their numbers.

    `n` voxels of `passing` are read, `before` (9), int64, is scratch. The mass of a cluster is the sum of S until its
    cluster-forming value, which `high` and `low`, int32, enclose, is subtracted.
    """
    steps = geometry.steps
    before[:] = 0
    pairs, voxels = np.int64(0), np.int64(0)
    for t in range(n):
        v = passing.value[t]
        passing.parent[t] = t
        passing.size[t] = 1
        passing.mass[t] = v
        if high > v >= low:
            pending.voxel[voxels] = t
            voxels += 1
        for s in range(len(steps)):
            wanted = passing.cell[t] - steps[s]
            while passing.cell[before[s]] < wanted:
                before[s] += 1
            if passing.cell[before[s]] == wanted:
                both = min(v, passing.value[before[s]])
                if both >= high:
                    _unite_clusters(before[s], t, passing)
                elif both >= low:
                    pending.pair[pairs, 0] = before[s]
                    pending.pair[pairs, 1] = t
                    pending.at[pairs] = both
                    pairs += 1
    return pairs, voxels


@numba.njit(cache=True, nogil=True)
def _largest(n, statistic, threshold, order, geometry, passing, pending, before, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (series), int64, with the largest cluster at each cluster-forming value, threshold (series), int32.

    `order` (series) begins with the series of the highest value; the first n voxels of `passing` are read.
    """
    last = order.shape[0] - 1
    high = threshold[order[0]]
    pairs, voxels = _join_high(n, high, threshold[order[last]], geometry, passing, pending, before)
    heads = np.int64(0)
    for t in range(n):
        if passing.value[t] >= high and passing.parent[t] == t:
            pending.head[heads] = t
            heads += 1
    for place in range(last + 1):
        u = threshold[order[place]]
        if place > 0 and u == threshold[order[place - 1]]:
            out[order[place]] = out[order[place - 1]]
            continue
        n_left = np.int64(0)
        for i in range(voxels):
            if passing.value[pending.voxel[i]] >= u:
                pending.head[heads] = pending.voxel[i]
                heads += 1
            else:
                pending.voxel[n_left] = pending.voxel[i]
                n_left += 1
        voxels = n_left
        n_left = np.int64(0)
        for i in range(pairs):
            if pending.at[i] >= u:
                _unite_clusters(pending.pair[i, 0], pending.pair[i, 1], passing)
            else:
                pending.pair[n_left, 0] = pending.pair[i, 0]
                pending.pair[n_left, 1] = pending.pair[i, 1]
                pending.at[n_left] = pending.at[i]
                n_left += 1
        pairs = n_left
        largest_value = np.int64(0)
        n_left = np.int64(0)
        for i in range(heads):
            t = pending.head[i]
            if passing.parent[t] == t:
                largest_value = max(
                    largest_value,
                    passing.size[t] if statistic == SIZE else passing.mass[t] - passing.size[t] * np.int64(u),
                )
                pending.head[n_left] = t
                n_left += 1
        heads = n_left
        out[order[place]] = largest_value


class Values(NamedTuple):
    """Cluster-forming values, ordered for `noise_iterations`.

    threshold (step, series), the series from the highest value on (step, series), limit (step), the least value of each
    step and all later ones, from which on voxels are collected, and number (step), the noise experiments of each step.
    """

    threshold: I32
    order: I64
    limit: I32
    number: I64


def values_of(threshold: I32, *, number: I64) -> Values:
    """Return the cluster-forming values (series, step), int32, ordered for `noise_iterations`.

    `number` (step), int64, are the noise experiments of each step, from 0; it rises.
    """
    by_step = np.ascontiguousarray(threshold.T)
    limit = np.minimum.accumulate(by_step.min(axis=1)[::-1])[::-1]
    order = np.argsort(-by_step.astype(np.int64), axis=1, kind="stable")
    return Values(by_step, order, np.ascontiguousarray(limit), np.ascontiguousarray(number, dtype=np.int64))


@numba.njit(cache=True, nogil=True)
def noise_iterations(first, count, statistic, values, design, noise, rows, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, step, series), int64, with the largest S, cluster size or cluster mass at each step.

    The integers are those of `permutation_null.null_iterations` for `design` and the first values.number[step]
    experiments of `noise`, another `Design`, at the value values.threshold[step, series]; the largest S is the same for
    all series.
    `statistic` is VOXEL, SIZE or MASS.
    """
    n_steps = values.threshold.shape[0]
    work, added = workspace(design, geometry), workspace(noise, geometry)
    steps, log = steps_memory(n_steps, geometry), log_memory(n_steps, geometry)
    passing, pending, before = passing_memory(geometry), _pending_memory(geometry), np.zeros(9, dtype=np.int64)
    base = np.empty(0, dtype=np.int32)
    last_mark = np.int64(0)
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, rows, geometry, work)
        draw_foci(first + b, noise, geometry, added)
        list_foci_by_experiment(noise, rows, geometry, added)
        log, last_mark = collect_steps(
            values.limit, values.number, base, noise, rows, geometry, work, added, steps, log, last_mark
        )
        for step in range(n_steps):
            if statistic == VOXEL:
                out[b, step] = steps.best[step]
            else:
                n = voxels_of_step(step, geometry, log, passing)
                threshold, order = values.threshold[step], values.order[step]
                _largest(n, statistic, threshold, order, geometry, passing, pending, before, out[b, step])


@numba.njit(cache=True, nogil=True)
def _surviving(series, statistic, values, cut, base, design, noise, rows, geometry):  # type: ignore[no-untyped-def]
    n_steps = values.limit.shape[0]
    work, added = workspace(design, geometry), workspace(noise, geometry)
    steps, log = steps_memory(n_steps, geometry), log_memory(n_steps, geometry)
    passing, pending, before = passing_memory(geometry), _pending_memory(geometry), np.zeros(9, dtype=np.int64)
    draw_foci(series, noise, geometry, added)
    list_foci_by_experiment(noise, rows, geometry, added)
    log, _ = collect_steps(
        values.limit, values.number, base, noise, rows, geometry, work, added, steps, log, np.int64(0)
    )
    cell = np.empty(log.begin.max(), dtype=np.int64)
    begin = np.zeros(n_steps + 1, dtype=np.int64)
    n_cells = 0
    for step in range(n_steps):
        n = voxels_of_step(step, geometry, log, passing)
        u = values.threshold[step, 0]
        _join_high(n, u, u, geometry, passing, pending, before)
        for t in range(n):
            if passing.value[t] >= u:
                head = root(passing.parent, t)
                size, mass = passing.size[head], passing.mass[head] - passing.size[head] * np.int64(u)
                if statistic == VOXEL or (size if statistic == SIZE else mass) >= cut[step]:
                    cell[n_cells] = passing.cell[t]
                    n_cells += 1
        begin[step + 1] = n_cells
    return cell[:n_cells], begin


class SignificanceRule(NamedTuple):
    """What survives at each step: clusters of S >= threshold (step) whose size in voxels or mass is cut (step) or more.

    Step number `step` has number (step) noise experiments. For the statistic VOXEL each voxel with S >= threshold
    survives, and `cut` is not read.
    """

    statistic: int
    threshold: I32
    cut: I64
    number: I64


def surviving(
    series: int, rule: SignificanceRule, *, s: I32, noise: Design, rows: KernelRows, geometry: Geometry
) -> tuple[I64, I64]:
    """Return the voxels of surviving clusters, int64, and where those of each step begin (step + 1), int64.

    Step 0 is the sample, whose S is `s` (voxel) in fixed point; the experiments of `noise`, which further steps add,
    have the foci of series number `series`.
    """
    base = np.zeros(geometry.size, dtype=np.int32)
    base[geometry.cell] = s
    nothing = Design(np.zeros(1, dtype=np.int64), noise.kernel[:0], noise.key[:0], noise.additive)
    values = values_of(rule.threshold[None], number=rule.number)
    cell, begin = _surviving(series, rule.statistic, values, rule.cut, base, nothing, noise, rows, geometry)
    return np.searchsorted(geometry.cell, cell), begin
