"""Match the clusters of two maps: those that share a voxel, and those that have moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ale_dask.analyses.findings.clusters import Cluster

MOVED_MM = 8.0
"""A peak farther away counts as moved; nilearn and we list sub-peaks from this distance."""
CHANGES = ("stays", "moves", "splits", "merges", "regroups", "appears", "vanishes")


def matched(ours: Sequence[Cluster], theirs: Sequence[Cluster]) -> list[tuple[str, Cluster | None, Cluster | None]]:
    """Return (change, cluster, cluster) of every two clusters that share a voxel, and of those without a partner."""
    overlaps = shared_voxels(ours, theirs)
    shared = list(overlaps)
    left, right = _sides(shared)
    near = {
        (i, j): mm
        for i, one in enumerate(ours)
        for j, other in enumerate(theirs)
        if i not in left and j not in right and (mm := shift(one, other)) <= MOVED_MM
    }
    # Mutually nearest: at most one partner on either side.
    first = {i: min((mm, j) for (k, j), mm in near.items() if k == i)[1] for i, _ in near}
    second = {j: min((mm, i) for (i, k), mm in near.items() if k == j)[1] for _, j in near}
    shared += [(i, j) for i, j in near if first[i] == j and second[j] == i]
    found: list[tuple[str, Cluster | None, Cluster | None]] = []
    for i, j in sorted(shared):
        n, m = map(len, members(shared, i))
        moved = (i, j) not in overlaps or shift(ours[i], theirs[j]) > MOVED_MM
        alike = "moves" if moved else "stays"
        change = alike if n == m == 1 else "splits" if n == 1 else "merges" if m == 1 else "regroups"
        found.append((change, ours[i], theirs[j]))
    left, right = _sides(shared)
    found += [("vanishes", c, None) for i, c in enumerate(ours) if i not in left]
    return found + [("appears", None, c) for j, c in enumerate(theirs) if j not in right]


def _sides(shared: list[tuple[int, int]]) -> tuple[set[int], set[int]]:
    return {i for i, _ in shared}, {j for _, j in shared}


def members(shared: list[tuple[int, int]], i: int) -> tuple[frozenset[int], frozenset[int]]:
    """Return the clusters of both runs that cluster i of the first is linked with, directly or through others."""
    left, right = {i}, set[int]()
    while True:
        grown = {j for k, j in shared if k in left}
        back = {k for k, j in shared if j in grown}
        if (back, grown) == (left, right):
            return frozenset(left), frozenset(right)
        left, right = back, grown


def shared_voxels(ours: Sequence[Cluster], theirs: Sequence[Cluster]) -> dict[tuple[int, int], int]:
    """Return how many voxels two clusters share, by their positions; those without any are left out."""
    none = np.zeros(0, dtype=np.int64)
    voxels = [np.concatenate([none, *(c.voxels for c in side)]) for side in (ours, theirs)]
    owner = [np.repeat(np.arange(len(side)), [len(c.voxels) for c in side]) for side in (ours, theirs)]
    _, left, right = np.intersect1d(voxels[0], voxels[1], assume_unique=True, return_indices=True)
    count = Counter(zip(owner[0][left].tolist(), owner[1][right].tolist(), strict=True))
    return dict(sorted(count.items()))


def both_voxels(a: Cluster, b: Cluster) -> int:
    """Return how many voxels two clusters share."""
    return len(np.intersect1d(a.voxels, b.voxels, assume_unique=True))


def shift(a: Cluster, b: Cluster) -> float:
    """Return how far the peaks of two clusters lie apart, in mm."""
    return float(np.linalg.norm(b.peak_mm - a.peak_mm))


def dice(n: int, m: int, both: int) -> float:
    """Return the Dice coefficient of two sets of `n` and `m` voxels that share `both`; nan of two empty sets."""
    return 2 * both / (n + m) if n + m else np.nan
