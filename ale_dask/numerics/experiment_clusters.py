"""Group experiments by how alike their modelled activation is, and judge the groups for each number of them.

Distances are integers, so that sums of them, and with them every choice, are the same for any number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.errors import InputError
from ale_dask.numerics.ale import Row
from ale_dask.numerics.draws import draw_keys, permutation_keys

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
UNIT_BITS = 30
"""Distances are multiples of 2^-30, 1e-9: sums over a million pairs stay below 2^52."""
_STRIP = 16384
"""Voxels whose products of ranks are added up together."""
STREAM = "experiment-clusters"


def spearman_distance(rows: Sequence[Row]) -> I64:
    """Return 1 - Spearman's rho (experiment, experiment) in units of 2^-30, over voxels that any experiment reaches.

    Each row has the voxels of an experiment and their positive integers; all other voxels are 0 and share a rank. Twice
    a rank is an integer, and so are all sums, so that rho is rounded once.
    """
    from scipy.sparse import csr_array
    from scipy.stats import rankdata

    reached = np.zeros(1 + max(int(voxel.max()) for voxel, _ in rows), dtype=bool)
    for voxel, _ in rows:
        reached[voxel] = True
    column = np.cumsum(reached, dtype=np.int32) - 1
    n = int(reached.sum())
    if max((len(voxel) * (n + len(voxel)) ** 2 for voxel, _ in rows), default=0) >= 2**63:
        raise InputError(f"{n:,} voxels are too many for exact sums of ranks; use a mask of larger voxels")
    # Twice the rank, less twice the rank that all zeros share: 0 where the experiment has no activation.
    ranks = [(2 * rankdata(value)).astype(np.int32) + (n - len(value)) - 1 for _, value in rows]
    begin = np.cumsum([0, *map(len, ranks)], dtype=np.int32)
    at = np.concatenate([column[voxel] for voxel, _ in rows])
    matrix = csr_array((np.concatenate(ranks), at, begin), shape=(len(rows), n)).tocsc()
    products = np.zeros((len(rows), len(rows)), dtype=np.int64)
    for first in range(0, n, _STRIP):
        strip = matrix[:, first : first + _STRIP].astype(np.int64)
        products += (strip @ strip.T).toarray()
    # n times a product goes beyond 64 bits: Python's integers have no end.
    total = np.array([int(r.sum(dtype=np.int64)) for r in ranks], dtype=object)
    covariance = products.astype(object) * n - np.outer(total, total)
    spread = np.sqrt(np.diagonal(covariance).astype(np.float64))
    if not spread.all():
        # Every voxel is reached by this experiment with one value: it agrees with none.
        spread[spread == 0] = np.inf
    rho = covariance.astype(np.float64) / spread[:, None] / spread[None, :]
    distance = np.rint((1 - rho) * 2**UNIT_BITS).astype(np.int64)
    np.fill_diagonal(distance, 0)
    return np.asarray(np.minimum(distance, distance.T), dtype=np.int64)


def tree(distance: I64) -> F64:
    """Return the average linkage (experiment - 1, 4) of distances, as scipy.cluster.hierarchy has it."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    return np.asarray(linkage(squareform(distance.astype(np.float64), checks=False), method="average"))


def leaves(joined: F64) -> I64:
    """Return the experiments in the order in which a dendrogram of a linkage shows them."""
    from scipy.cluster.hierarchy import leaves_list

    return np.asarray(leaves_list(joined), dtype=np.int64)


def average_linkage(distance: I64, most: int) -> list[I64]:
    """Return the labels (experiment), from 1, of the 2, 3 … `most` groups in which average linkage cuts its tree."""
    from scipy.cluster.hierarchy import fcluster

    joined = tree(distance)
    return [by_size(fcluster(joined, k, criterion="maxclust")) for k in range(2, most + 1)]


def k_medoids(distance: I64, most: int) -> list[I64]:
    """Return the labels (experiment), from 1, of the groups around 2, 3 … `most` medoids.

    Partitioning around medoids (Kaufman & Rousseeuw 1990): medoids are added one by one where the sum of the distances
    to the nearest medoid falls most, and then swapped for other experiments, the best swap first, until none lowers the
    sum. The first experiment is taken among equals.
    """
    medoids = [int(distance.sum(axis=0).argmin())]
    solutions = []
    for _ in range(2, most + 1):
        nearest = distance[:, medoids].min(axis=1)
        gain = np.minimum(distance - nearest[:, None], 0).sum(axis=0)
        gain[medoids] = 1
        swapped = swap([*medoids, int(gain.argmin())], distance)
        solutions.append(by_size(distance[:, swapped].argmin(axis=1)))
        medoids.append(int(gain.argmin()))
    return solutions


def swap(medoids: Sequence[int], distance: I64) -> list[int]:
    """Return medoids after all swaps of a medoid for another experiment that lower the sum of distances, best first."""
    found = list(medoids)
    experiments = np.arange(len(distance))
    while True:
        to = distance[:, found]
        own = to.argmin(axis=1)
        first = to[experiments, own]
        to = to.copy()
        to[experiments, own] = np.iinfo(np.int64).max
        second = to.min(axis=1)
        # What a new medoid (column) saves for an experiment that keeps its medoid, and for one that loses it.
        keeps = np.minimum(distance - first[:, None], 0)
        loses = np.minimum(distance, second[:, None]) - first[:, None] - keeps
        change = np.stack([keeps.sum(axis=0) + loses[own == m].sum(axis=0) for m in range(len(found))])
        change[:, found] = 0
        medoid, experiment = np.unravel_index(int(change.argmin()), change.shape)
        if change[medoid, experiment] >= 0:
            return found
        found[int(medoid)] = int(experiment)


METHODS = {"average": average_linkage, "medoids": k_medoids}
"""The ways of grouping, by name."""


def by_size(labels: npt.NDArray[Any]) -> I64:
    """Return labels numbered from 1, the largest group first, and among equals that of the earliest experiment."""
    values, first, inverse, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    number = np.empty(len(values), dtype=np.int64)
    number[np.lexsort((first, -counts))] = np.arange(1, len(values) + 1)
    return number[inverse.reshape(-1)]


def medoids_of(labels: I64, distance: I64) -> list[int]:
    """Return the experiment of each group, in the order of labels, with the least sum of distances to the others."""
    found = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        found.append(int(members[distance[np.ix_(members, members)].sum(axis=0).argmin()]))
    return found


def silhouette(labels: I64, distance: I64) -> F64:
    """Return the silhouette (experiment) of Rousseeuw (1987): (b - a) / max(a, b), 0 for an experiment alone.

    a is the mean distance to the other experiments of its group, b the least mean distance to those of another.
    """
    groups = np.unique(labels)
    sums = np.stack([distance[:, labels == g].sum(axis=1) for g in groups], axis=1).astype(np.float64)
    size = np.array([(labels == g).sum() for g in groups])
    own = np.searchsorted(groups, labels)
    each = np.arange(len(labels))
    inside = sums[each, own] / np.maximum(size[own] - 1, 1)
    means = sums / size
    means[each, own] = np.inf
    outside = means.min(axis=1)
    largest = np.maximum(inside, outside)
    value = np.divide(outside - inside, largest, out=np.zeros_like(largest), where=largest > 0)
    return np.where(size[own] > 1, value, 0.0)


def _together(a: I64, b: I64) -> I64:
    """Return how many experiments have each pair of labels (label of a, label of b)."""
    _, i = np.unique(a, return_inverse=True)
    _, j = np.unique(b, return_inverse=True)
    counts = np.zeros((int(i.max()) + 1, int(j.max()) + 1), dtype=np.int64)
    np.add.at(counts, (i, j), 1)
    return counts


def variation_of_information(a: I64, b: I64) -> float:
    """Return the variation of information (Meila 2007) of two groupings in bits: H(a | b) + H(b | a)."""
    counts = _together(a, b)
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    terms = [-n * (math.log2(n / rows[i]) + math.log2(n / columns[j])) for (i, j), n in np.ndenumerate(counts) if n]
    return math.fsum(terms) / len(a) + 0.0


def adjusted_rand(a: I64, b: I64) -> float:
    """Return the adjusted Rand index (Hubert & Arabie 1985) of two groupings: 1 if equal, 0 as by chance."""
    counts = _together(a, b)

    def pairs(n: I64) -> int:
        return int((n * (n - 1) // 2).sum())

    both, in_a, in_b = pairs(counts), pairs(counts.sum(axis=1)), pairs(counts.sum(axis=0))
    every = math.comb(len(a), 2)
    # Times 2 * every, so that all is an integer until one division; two groupings without a choice are equal.
    most = every * (in_a + in_b) - 2 * in_a * in_b
    return 1.0 if most == 0 else 2 * (every * both - in_a * in_b) / most


def subsamples(key: npt.NDArray[np.uint64], *, seed: int, number: int, share: float) -> npt.NDArray[np.bool_]:
    """Return which experiments are in each subsample (subsample, experiment): those with the smallest draws.

    The draw of an experiment depends on the seed, its key and the number of the subsample alone.
    """
    drawn = np.empty((number, len(key)), dtype=np.uint64)
    permutation_keys(draw_keys(key, seed=seed, stream=STREAM), 0, drawn)
    size = max(2, round(share * len(key)))
    chosen = np.zeros(drawn.shape, dtype=bool)
    np.put_along_axis(chosen, np.argsort(drawn, axis=1, kind="stable")[:, :size], True, axis=1)
    return chosen


def agreement(solutions: Sequence[I64], distance: I64, *, method: str, chosen: npt.NDArray[np.bool_]) -> F64:
    """Return the adjusted Rand index (subsample, solution) of groups of subsamples with those of all experiments.

    `solutions` are the labels (experiment) of 2, 3 … groups; chosen (subsample, experiment) says who is in each.
    """
    found = np.empty((len(chosen), len(solutions)))
    for row, inside in zip(found, chosen, strict=True):
        again = METHODS[method](distance[np.ix_(inside, inside)], len(solutions) + 1)
        row[:] = [adjusted_rand(whole[inside], part) for whole, part in zip(solutions, again, strict=True)]
    return found
