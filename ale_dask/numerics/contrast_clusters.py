"""Clusters of a contrast's voxels, in two passes over the same relabellings.

    pass 1, each voxel:        s of all relabellings, sorted   | … | edge[1]   …   edge[0] | … |
                                                                below <        > above: p < the cluster-forming p
    pass 2, each relabelling:  voxels above (below) their edges, joined to clusters by union-find

The first pass finds the edge of each voxel: the largest sum s of the first arm that is not yet below the
cluster-forming p among all relabellings, and the smallest. It keeps the few largest of millions of sums in a heap. The
second pass goes through 64 relabellings at a time: the few voxels beyond their edges are written down voxel by voxel,
sorted by relabelling, and joined. tests/numerics/test_contrast_clusters.py has the plain version in numpy.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import NamedTuple, Protocol

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.clusters import root, structure
from ale_dask.numerics.kernels.lanes import LANES, at_least, at_most, fill_members, has_lane, lane_sums

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
SMALLEST = np.int32(-(2**31) + 1)
"""What an empty place of a heap holds."""
_CELLS = 1 << 22
"""Number of sums that a thread keeps at once while edges are sought: 32 MB."""


class Draw(Protocol):
    """A function that returns relabellings (relabelling, experiment), bool: `count` of them from number `first` on."""

    def __call__(self, *, first: int, count: int) -> npt.NDArray[np.bool_]: ...


class Region(NamedTuple):
    """The voxels in which clusters are formed: fixed-point rows, edges, components and neighbours.

    begin (voxel + 1), experiment and value (entry) are as in `Candidates`; edge (2, voxel), component (voxel), and
    before (direction, voxel), the voxel that lies before each one in a direction, or -1.
    """

    begin: I64
    experiment: I32
    value: I32
    edge: I32
    component: I64
    before: I32


def allowed_beyond(voxel_p: float, *, values: int) -> int:
    """Return how many of some values may be as extreme as one with p < voxel_p: the largest k < voxel_p * values."""
    return math.ceil(Fraction(repr(voxel_p)) * values) - 1


def neighbours_before(voxel_ijk: npt.NDArray[np.int16], *, connectivity: int = 6) -> I32:
    """Return the earlier voxel (direction, voxel), int32, that may be joined with each voxel in each direction, or -1.

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
    """Put a value in the place of the least of a heap (value), int32, which stands first."""
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
def keep_extremes(chosen, begin, experiment, value, heaps) -> None:  # type: ignore[no-untyped-def]
    """Keep the k largest sums s, and the k largest -s, of relabellings in heaps, kept (2, voxel, k), int32.

    Heaps are filled with SMALLEST before the first call. `chosen` is (relabelling, experiment), bool; begin (voxel +
    1), experiment and value (entry) are the rows of the voxels.
    """
    member = np.empty((chosen.shape[1], LANES), dtype=np.int32)
    sums = np.empty(LANES, dtype=np.int32)
    for first in range(0, chosen.shape[0], LANES):
        lanes = fill_members(chosen, first, member)
        for v in range(heaps.shape[1]):
            lane_sums(value, experiment, begin[v], begin[v + 1], member, sums)
            above = ~at_most(sums, heaps[0, v, 0])
            below = ~at_least(sums, -heaps[1, v, 0])
            if above | below != 0:
                for lane in range(lanes):
                    # An earlier lane may have raised the least sum of the heap.
                    if has_lane(above, lane) and sums[lane] > heaps[0, v, 0]:
                        _replace_least(heaps[0, v], sums[lane])
                    if has_lane(below, lane) and -sums[lane] > heaps[1, v, 0]:
                        _replace_least(heaps[1, v], np.int32(-sums[lane]))


def _packed(draw: Draw, *, count: int, n_experiments: int) -> list[npt.NDArray[np.uint8]]:
    """Return all relabellings in batches of (relabelling, experiment / 8), one bit for each experiment."""
    batch = max(LANES, min(1 << 14, (1 << 24) // n_experiments) // LANES * LANES)
    return [np.packbits(draw(first=first, count=min(batch, count - first)), axis=1) for first in range(0, count, batch)]


def edges(
    rows: tuple[I64, I32, I32], *, observed: I64, draw: Draw, count: int, complete: bool, allowed: int, threads: int
) -> I32:
    """Return the edges (2, voxel), int32: s > edge[0] or s < edge[1] has a p below the cluster-forming one.

    With k = `allowed`, edge[0] is the (k + 1)-th largest s of all relabellings and the observed labels, edge[1] the
    (k + 1)-th smallest: at most k of them lie beyond.

    Parameters
    ----------
    rows
        begin (voxel + 1), experiment and value (entry) of `contrast.by_voxel`
    observed
        s with the observed labels (voxel), in fixed point
    draw
        `contrast.relabellings` with all but its `first` and `count`
    count, complete
        the number of relabellings, and whether they are all that exist, the observed labels being one of them
    """
    begin, experiment, value = rows
    n_experiments = draw(first=0, count=1).shape[1]
    packed = _packed(draw, count=count, n_experiments=n_experiments)
    n_voxels = len(begin) - 1
    out = np.empty((2, n_voxels), dtype=np.int32)
    step = max(1, min(4096, _CELLS // (allowed + 1)))

    def find(first: int) -> None:
        last = min(first + step, n_voxels)
        heaps = np.full((2, last - first, allowed + 1), SMALLEST, dtype=np.int32)
        if not complete:
            # The last place of each heap is a leaf; all others hold the smallest int32.
            here = observed[first:last].astype(np.int32)
            heaps[:, :, -1] = here, -here
        for bits in packed:
            chosen = np.unpackbits(bits, axis=1, count=n_experiments).view(bool)
            keep_extremes(chosen, begin[first : last + 1], experiment, value, heaps)
        out[:, first:last] = heaps[0, :, 0], -heaps[1, :, 0]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(find, range(0, n_voxels, step)))
    return out


@numba.njit(cache=True, nogil=True)
def _join(voxel, excess, region, node, parent, size, mass, out) -> None:  # type: ignore[no-untyped-def]
    """Raise out (2, component), int64, to the size in voxels and the mass of the clusters of voxels (entry) in C order.

    excess (entry) is |s - edge|; node (voxel) is -1 before and after, and parent, size and mass (entry) are scratch.
    """
    for t in range(voxel.shape[0]):
        v = voxel[t]
        node[v] = t
        parent[t] = t
        size[t] = 1
        mass[t] = excess[t]
        for step in range(region.before.shape[0]):
            other = region.before[step, v]
            if other >= 0 and node[other] >= 0:
                a = root(parent, np.int64(node[other]))
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
    """Return an array (2 n, column), int32, that begins with an array (n, column)."""
    out = np.empty((2 * array.shape[0], array.shape[1]), dtype=np.int32)
    for t in range(array.shape[0]):
        for column in range(array.shape[1]):
            out[t, column] = array[t, column]
    return out


@numba.njit(cache=True, nogil=True)
def _by_list(beyond, n, begin, voxel, excess) -> None:  # type: ignore[no-untyped-def]
    """Sort n rows of beyond (list, voxel, excess) by list, stably, to voxel and excess (entry).

    List i begins at begin[i]; all are int32, begin (list + 1) is int64.
    """
    for number in range(begin.shape[0]):
        begin[number] = 0
    for t in range(n):
        begin[beyond[t, 0] + 1] += 1
    for number in range(1, begin.shape[0]):
        begin[number] += begin[number - 1]
    for t in range(n):
        at = begin[beyond[t, 0]]
        voxel[at] = beyond[t, 1]
        excess[at] = beyond[t, 2]
        begin[beyond[t, 0]] += 1
    # Each start has moved to the start of the next list.
    for number in range(begin.shape[0] - 1, 0, -1):
        begin[number] = begin[number - 1]
    begin[0] = 0


@numba.njit(cache=True, nogil=True)
def largest_clusters(chosen, region, out) -> None:  # type: ignore[no-untyped-def]
    """Raise out (relabelling, 2, 2, component), int64: by direction, the largest size in voxels and the largest mass.

    Clusters are of voxels with s > edge[0] (the first arm is greater) or s < edge[1]; mass is the sum of |s - edge|
    over a cluster, in fixed-point units. `chosen` is (relabelling, experiment), bool.
    """
    n_voxels = region.component.shape[0]
    member = np.empty((chosen.shape[1], LANES), dtype=np.int32)
    sums = np.empty(LANES, dtype=np.int32)
    node = np.full(n_voxels, -1, dtype=np.int32)
    begin = np.empty(2 * LANES + 1, dtype=np.int64)
    # Rows (list, voxel, excess), voxel by voxel; 64 relabellings have about 64 * 2 * p times the number of voxels.
    beyond = np.empty((1024, 3), dtype=np.int32)
    for first in range(0, chosen.shape[0], LANES):
        lanes = fill_members(chosen, first, member)
        n = np.int64(0)
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
        for number in range(2 * lanes):
            mine = slice(begin[number], begin[number + 1])
            _join(voxel[mine], excess[mine], region, node, parent, size, mass, out[first + number // 2, number % 2])
