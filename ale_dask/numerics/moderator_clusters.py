"""Clusters of a moderator's voxels, in two passes over the same permutations.

The first pass finds the edge of each voxel and side, the largest statistic that is not yet below the cluster-forming p
among all permutations; the second joins the voxels beyond their edges in each permutation. It is that of
`contrast_clusters`, over any scores instead of two arms.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.moderator import (
    Design,
    Voxels,
    batches,
    dense,
    parts,
    standardised,
    statistics,
    walk,
    weights,
)

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


def edges(
    design: Design,
    voxels: Voxels,
    labels: Sequence[npt.NDArray[np.integer[Any]]],
    *,
    seen: I64,
    complete: bool,
    allowed: int,
    threads: int,
) -> I64:
    """Return the edges (side, voxel), int64: a statistic above them has a p below the cluster-forming one.

    With k = `allowed`, an edge is the (k + 1)-th largest statistic of all permutations, whose `labels` (permutation,
    group) come in batches, and of what was `seen` (side, voxel), which is one of them where they are `complete`: at
    most k of them lie beyond.
    """
    out = np.empty(seen.shape, dtype=np.int64)

    def find(part: slice) -> None:
        x = dense(voxels, part.start, part.stop, n_groups=len(design.label))
        most = seen[None, :, part].astype(np.float64)[int(complete) :]
        for chosen in labels:
            w = weights(design, chosen)
            for batch in batches(len(w)):
                both = np.concatenate([most, statistics(design, voxels, w[batch], part, x)])
                beyond = max(0, len(both) - allowed - 1)
                most = np.partition(both, beyond, axis=0)[beyond:] if beyond else both
        out[:, part] = most.min(axis=0)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(find, parts(seen.shape[1])))
    return out


def largest_clusters(design: Design, voxels: Voxels, w: F64, *, edge: I64, before: npt.NDArray[np.int32]) -> I64:
    """Return the largest clusters (permutation, side, 2), int64: by size in voxels, and by mass.

    Clusters are of voxels whose statistic is above their edge (side, voxel); mass is the sum of (T - edge) / sd in
    units of 2^-UNIT_BITS. `before` (direction, voxel) is of `contrast_clusters.neighbours_before`.
    """
    sides, n_voxels = edge.shape
    flat, excess = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for part, batch, values in walk(design, voxels, w):
        over = values - edge[:, part]
        at = np.nonzero(over > 0)
        beyond = standardised(design, voxels, over, part)[at].astype(np.int64)
        which = (at[0] + batch.start) * sides + at[1]
        flat.append(which * n_voxels + at[2] + part.start)
        excess.append(beyond)
    node, mass = np.concatenate(flat), np.concatenate(excess)
    order = np.argsort(node, kind="stable")
    size, summed, belongs = _clusters(node[order], mass[order], before=before)
    out = np.zeros((len(w) * sides, 2), dtype=np.int64)
    np.maximum.at(out[:, 0], belongs, size)
    np.maximum.at(out[:, 1], belongs, summed)
    return out.reshape(len(w), sides, 2)


def _clusters(node: I64, mass: I64, *, before: npt.NDArray[np.int32]) -> tuple[I64, I64, I64]:
    """Return the size, the mass and the map (cluster) of the clusters of nodes, map * voxels + voxel, ascending."""
    if not len(node):
        return node, mass, node
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_voxels = before.shape[1]
    which, voxel = np.divmod(node, n_voxels)
    pairs = []
    for step in before:
        other = step[voxel].astype(np.int64)
        wanted = which * n_voxels + other
        place = np.minimum(np.searchsorted(node, wanted), len(node) - 1)
        joined = np.flatnonzero((other >= 0) & (node[place] == wanted))
        pairs.append(np.stack([joined, place[joined]]))
    one, two = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(one), dtype=np.int8), (one, two)), shape=(len(node), len(node)))
    _, label = connected_components(graph, directed=False)
    summed = np.zeros(int(label.max()) + 1, dtype=np.int64)
    np.add.at(summed, label, mass)
    belongs = np.zeros_like(summed)
    belongs[label] = which
    return np.bincount(label).astype(np.int64), summed, belongs
