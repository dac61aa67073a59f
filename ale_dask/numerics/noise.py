"""Noise added to a sample one experiment at a time: its null, and its surviving clusters, after each in one pass.

Several series of noise differ a little in their cluster-forming values: voxels at or above the highest of these are
joined once, and the few between it and the others one value after another.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.clusters import root
from ale_dask.numerics.cumulative_null import follow, gather, log_memory, steps_memory
from ale_dask.numerics.focus_visits import Design, draw_foci, list_foci, list_foci_in_order, sweep_memory
from ale_dask.numerics.kernel_rows import Geometry, Stamps, edge_steps, face_steps
from ale_dask.numerics.permutation_null import found_memory
from ale_dask.numerics.simd import BARE

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
VOXEL, SIZE, MASS = range(3)
"""Statistics: the largest S, the voxels and the mass of the largest cluster."""


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

    pair (3 n or, with edges, 9 n, 2) are places in `Found`, joined at `at`; voxel (n) and head (n) are such places.
    """

    pair: I64
    at: I32
    voxel: I64
    head: I64


@numba.njit(cache=True, nogil=True)
def _late_memory(geometry):  # type: ignore[no-untyped-def]
    n = geometry.voxels
    pairs = (9 if geometry.edges else 3) * n
    return Late(
        np.empty((pairs, 2), dtype=np.int64),
        np.empty(pairs, dtype=np.int32),
        np.empty(n, dtype=np.int64),
        np.empty(n, dtype=np.int64),
    )


@numba.njit(cache=True, nogil=True)
def _join(n, high, low, geometry, found, late, before):  # type: ignore[no-untyped-def]
    """Join voxels at or above `high`, and list pairs and voxels down to `low`; returns how many of each.

    `before` (9) is scratch. Mass is the sum of S: a cluster-forming value is taken off when it is known.
    """
    if geometry.edges:
        return _joined(n, high, low, edge_steps(geometry), found, late, before)
    return _joined(n, high, low, face_steps(geometry), found, late, before)


@numba.njit(cache=True, nogil=True)
def _joined(n, high, low, steps, found, late, before):  # type: ignore[no-untyped-def]
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
        for s in range(len(steps)):
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
    steps, log = steps_memory(n_steps, geometry), log_memory(n_steps, geometry)
    found, late, before = found_memory(geometry), _late_memory(geometry), np.zeros(9, dtype=np.int64)
    base = np.empty(0, dtype=np.int32)
    number = 0
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, stamps, geometry, work)
        draw_foci(first + b, noise, geometry, added)
        list_foci_in_order(noise, stamps, geometry, added)
        log, number = follow(values.limit, base, noise, stamps, geometry, work, added, steps, log, number)
        for step in range(n_steps):
            if statistic == VOXEL:
                out[b, step] = steps.best[step]
            else:
                n = gather(step, geometry, log, found)
                threshold, order = values.threshold[step], values.order[step]
                _largest(n, statistic, threshold, order, geometry, found, late, before, out[b, step])


@numba.njit(cache=True, nogil=True)
def _surviving(series, statistic, values, cut, base, design, noise, stamps, geometry):  # type: ignore[no-untyped-def]
    n_steps = values.limit.shape[0]
    work, added = sweep_memory(design, stamps, geometry), sweep_memory(noise, stamps, geometry)
    steps, log = steps_memory(n_steps, geometry), log_memory(n_steps, geometry)
    found, late, before = found_memory(geometry), _late_memory(geometry), np.zeros(9, dtype=np.int64)
    draw_foci(series, noise, geometry, added)
    list_foci_in_order(noise, stamps, geometry, added)
    log, _ = follow(values.limit, base, noise, stamps, geometry, work, added, steps, log, 0)
    cell = np.empty(log.begin.max(), dtype=np.int64)
    begin = np.zeros(n_steps + 1, dtype=np.int64)
    kept = 0
    for step in range(n_steps):
        n = gather(step, geometry, log, found)
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
