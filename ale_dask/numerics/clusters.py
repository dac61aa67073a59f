"""Brain clusters: voxels that share faces (6-connectivity, as GingerALE's volumes show), or also edges (18)."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt
from scipy import ndimage

I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def structure(connectivity: int) -> Bools:
    """Return which of its 26 neighbours (x, y, z), bool, a voxel is joined with: the 6 of a face, or 18 with edges."""
    return np.asarray(ndimage.generate_binary_structure(3, {6: 1, 18: 2}[connectivity]))


def label_clusters(keep: Bools, *, volume: Bools, connectivity: int = 6) -> npt.NDArray[np.int32]:
    """Return the cluster number (voxel), int32, 0 outside, of the kept voxels of a mask volume (x, y, z)."""
    grid = np.zeros(volume.shape, dtype=bool)
    grid[volume] = keep
    labels, _ = ndimage.label(grid, structure(connectivity))
    return np.asarray(labels[volume], dtype=np.int32)


def sizes(labels: npt.NDArray[np.int32]) -> I64:
    """Return the size in voxels (cluster), int64, of clusters 1, 2, … of labels (voxel)."""
    return np.bincount(labels)[1:].astype(np.int64)


def masses(labels: npt.NDArray[np.int32], *, s: I64, threshold: int) -> I64:
    """Return the sum of S - threshold (cluster), int64, of clusters 1, 2, … of labels (voxel)."""
    total = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    np.add.at(total, labels, s - threshold)
    return total[1:]


def keep_clusters(labels: npt.NDArray[np.int32], keep: Bools) -> Bools:
    """Return whether each voxel (voxel) lies in a cluster that is kept (cluster)."""
    return np.asarray(np.r_[False, keep][labels])


def at_least(keep: Bools, *, volume: Bools, minimum: int, connectivity: int = 6) -> Bools:
    """Return the kept voxels (voxel) that lie in clusters of at least `minimum` voxels."""
    labels = label_clusters(keep, volume=volume, connectivity=connectivity)
    return keep_clusters(labels, sizes(labels) >= minimum)


@numba.njit(cache=True, nogil=True)
def root(parent, t):  # type: ignore[no-untyped-def]
    """Return the member that stands for the cluster of t in a union-find forest, parent (member), halving paths."""
    while parent[t] != t:
        parent[t] = parent[parent[t]]
        t = parent[t]
    return t
