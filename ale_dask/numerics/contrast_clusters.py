"""Clusters of a contrast's voxels, in two passes over the same relabellings.

First the edge of each voxel: the largest sum s of the first arm that is not yet below the cluster-forming p among
all relabellings, and the smallest. Then every relabelling is cut there, and its voxels beyond joined to clusters.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.clusters import root, structure
from ale_dask.numerics.contrast import relabellings
from ale_dask.numerics.lanes import LANES, at_least, at_most, fill_members, has_lane, lane_sums

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
SMALLEST = np.int32(-(2**31) + 1)
_CELLS = 1 << 22
"""Sums kept at once by a thread while edges are sought: 32 MB."""


class Region(NamedTuple):
    """Fixed-point rows by voxel, edges (2, voxel), component, and the neighbours before each (step, voxel), or -1."""

    begin: I64
    experiment: I32
    value: I32
    edge: I32
    component: I64
    before: I32


def allowed_beyond(voxel_p: float, *, values: int) -> int:
    """Return the most of some values that may be as extreme as one with p < voxel_p: the largest k < voxel_p values."""
    return math.ceil(Fraction(repr(voxel_p)) * values) - 1


def neighbours_before(voxel_ijk: npt.NDArray[np.int16], *, connectivity: int = 6) -> I32:
    """Return which earlier voxel (step, voxel), int32, each one is joined with in each direction, -1 for none.

    There are 3 directions, one step back along each axis, at connectivity 6, and 9 at 18.
    """
    shape = voxel_ijk.max(axis=0, initial=0).astype(np.int64) + 3
    number = np.full(shape, -1, dtype=np.int32)
    at = voxel_ijk.astype(np.int64) + 1
    number[tuple(at.T)] = np.arange(len(at))
    # Of each two opposite directions the one that is earlier in C order.
    steps = np.argwhere(structure(connectivity)) - 1
    return np.stack([number[tuple((at + step).T)] for step in steps[: len(steps) // 2]])


@numba.njit(cache=True, nogil=True)
def _replace_least(heap, value) -> None:  # type: ignore[no-untyped-def]
    """Put a value in the place of the least of a heap (value), which stands first."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= heap.shape[0]:
            break
        if child + 1 < heap.shape[0] and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value


@numba.njit(cache=True, nogil=True)
def keep_extremes(chosen, begin, experiment, value, kept) -> None:  # type: ignore[no-untyped-def]
    """Keep the largest sums s, and the largest -s, of relabellings (iteration, experiment) in kept (2, voxel, k).

    Each kept[side, voxel] is a heap, int32, filled with SMALLEST before the first call.
    """
    member = np.empty((chosen.shape[1], LANES), dtype=np.int32)
    sums = np.empty(LANES, dtype=np.int32)
    for first in range(0, chosen.shape[0], LANES):
        lanes = fill_members(chosen, first, member)
        for v in range(kept.shape[1]):
            lane_sums(value, experiment, begin[v], begin[v + 1], member, sums)
            above = ~at_most(sums, kept[0, v, 0])
            below = ~at_least(sums, -kept[1, v, 0])
            if above | below != 0:
                for lane in range(lanes):
                    # A lane before may have raised the least that is kept.
                    if has_lane(above, lane) and sums[lane] > kept[0, v, 0]:
                        _replace_least(kept[0, v], sums[lane])
                    if has_lane(below, lane) and -sums[lane] > kept[1, v, 0]:
                        _replace_least(kept[1, v], -sums[lane])


def _packed(key: npt.NDArray[np.uint64], *, count: int, **how: Any) -> list[npt.NDArray[np.uint8]]:
    """Return all relabellings in batches of (iteration, experiment / 8), one bit each."""
    batch = max(LANES, min(1 << 14, (1 << 24) // len(key)) // LANES * LANES)
    return [
        np.packbits(
            relabellings(key, first=first, count=min(batch, count - first), **how),
            axis=1,
        )
        for first in range(0, count, batch)
    ]


def edges(
    key: npt.NDArray[np.uint64],
    begin: I64,
    experiment: I32,
    value: I32,
    *,
    observed: I64,
    size: int,
    count: int,
    enumerate_all: bool,
    complement: bool = False,
    group: I32 | None = None,
    allowed: int,
    threads: int,
) -> I32:
    """Return the edges (2, voxel), int32: s beyond edge[0] (above) or edge[1] (below) has p < the cluster-forming one.

    With k = `allowed`, edge[0] is the (k + 1)-th largest s of all `count` relabellings and the observed labels,
    edge[1] the (k + 1)-th smallest: at most k of them lie beyond. In a complete enumeration the observed labels
    are one of the relabellings.
    """
    packed = _packed(key, size=size, count=count, enumerate_all=enumerate_all, complement=complement, group=group)
    n_experiments = len(key) if group is None else len(group)
    n_voxels = len(begin) - 1
    out = np.empty((2, n_voxels), dtype=np.int32)
    step = max(1, min(4096, _CELLS // (allowed + 1)))

    def some(first: int) -> None:
        last = min(first + step, n_voxels)
        kept = np.full((2, last - first, allowed + 1), SMALLEST, dtype=np.int32)
        if not enumerate_all:
            # A leaf of each heap: all others are as small as can be.
            here = observed[first:last].astype(np.int32)
            kept[:, :, -1] = here, -here
        for bits in packed:
            chosen = np.unpackbits(bits, axis=1, count=n_experiments).view(bool)
            keep_extremes(chosen, begin[first : last + 1], experiment, value, kept)
        out[:, first:last] = kept[0, :, 0], -kept[1, :, 0]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, range(0, n_voxels, step)))
    return out


@numba.njit(cache=True, nogil=True)
def _join(voxel, excess, region, node, parent, size, mass, out) -> None:  # type: ignore[no-untyped-def]
    """Raise out (2, component), size in voxels and mass, to the clusters of voxels in C order."""
    for t in range(voxel.shape[0]):
        v = voxel[t]
        node[v] = t
        parent[t] = t
        size[t] = 1
        mass[t] = excess[t]
        for step in range(region.before.shape[0]):
            other = region.before[step, v]
            if other >= 0 and node[other] >= 0:
                a = root(parent, node[other])
                b = root(parent, t)
                if a != b:
                    parent[b] = a
                    size[a] += size[b]
                    mass[a] += mass[b]
    for t in range(voxel.shape[0]):
        node[voxel[t]] = -1
        if parent[t] == t:
            part = region.component[voxel[t]]
            out[0, part] = max(out[0, part], size[t])
            out[1, part] = max(out[1, part], mass[t])


@numba.njit(cache=True, nogil=True)
def _longer(array):  # type: ignore[no-untyped-def]
    out = np.empty((2 * array.shape[0], array.shape[1]), dtype=np.int32)
    for t in range(array.shape[0]):
        for column in range(array.shape[1]):
            out[t, column] = array[t, column]
    return out


@numba.njit(cache=True, nogil=True)
def _by_list(beyond, n, begin, voxel, excess) -> None:  # type: ignore[no-untyped-def]
    """Sort list, voxel and excess (entry, 3) by list, stably; begin (list + 1) says where each one starts."""
    for which in range(begin.shape[0]):
        begin[which] = 0
    for t in range(n):
        begin[beyond[t, 0] + 1] += 1
    for which in range(1, begin.shape[0]):
        begin[which] += begin[which - 1]
    for t in range(n):
        at = begin[beyond[t, 0]]
        voxel[at] = beyond[t, 1]
        excess[at] = beyond[t, 2]
        begin[beyond[t, 0]] += 1
    # Each start has moved to the next one's.
    for which in range(begin.shape[0] - 1, 0, -1):
        begin[which] = begin[which - 1]
    begin[0] = 0


@numba.njit(cache=True, nogil=True)
def largest_clusters(chosen, region, out) -> None:  # type: ignore[no-untyped-def]
    """Raise out (iteration, 2, 2, component), int64: by direction, the largest size in voxels and the largest mass.

    Clusters are of voxels with s > edge[0] (the first arm is greater) or s < edge[1]; mass is the
    sum of |s - edge| over a cluster, in fixed-point units. `chosen` is (iteration, experiment), bool.
    """
    n_voxels = region.component.shape[0]
    member = np.empty((chosen.shape[1], LANES), dtype=np.int32)
    sums = np.empty(LANES, dtype=np.int32)
    node = np.full(n_voxels, -1, dtype=np.int32)
    begin = np.empty(2 * LANES + 1, dtype=np.int64)
    # What lies beyond, voxel by voxel; of 64 relabellings about 64 * 2 * p of all voxels do.
    beyond = np.empty((1024, 3), dtype=np.int32)
    for first in range(0, chosen.shape[0], LANES):
        lanes = fill_members(chosen, first, member)
        n = 0
        for v in range(n_voxels):
            lane_sums(region.value, region.experiment, region.begin[v], region.begin[v + 1], member, sums)
            above = ~at_most(sums, region.edge[0, v])
            below = ~at_least(sums, region.edge[1, v])
            if above | below == 0:
                continue
            for lane in range(lanes):
                for side in range(2):
                    if has_lane(below if side else above, lane):
                        if n == beyond.shape[0]:
                            beyond = _longer(beyond)
                        beyond[n, 0] = 2 * lane + side
                        beyond[n, 1] = v
                        beyond[n, 2] = abs(sums[lane] - region.edge[side, v])
                        n += 1
        voxel = np.empty(n, dtype=np.int32)
        excess = np.empty(n, dtype=np.int32)
        parent = np.empty(n, dtype=np.int32)
        size = np.empty(n, dtype=np.int64)
        mass = np.empty(n, dtype=np.int64)
        _by_list(beyond, n, begin, voxel, excess)
        for which in range(2 * lanes):
            mine = slice(begin[which], begin[which + 1])
            _join(voxel[mine], excess[mine], region, node, parent, size, mass, out[first + which // 2, which % 2])
