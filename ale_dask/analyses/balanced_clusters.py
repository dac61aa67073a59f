"""Cluster-level family-wise error in each pair of a balanced contrast: a second pass over the pair's relabellings.

In each pair, clusters are formed and tested as those of a contrast are: by each voxel's own value with p below the
cluster-forming p among all relabellings of the pair, against the largest cluster of each relabelling. A block adds up
in how many of its pairs each voxel lies in a cluster that survives.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.balanced import I64, SURVIVES, BalancedPlan, Bools, drawn
from ale_dask.analyses.contrast_clusters import SIDES, clusters_of_sides, family_wise_p
from ale_dask.analyses.corrections import CLUSTER_SHORTS, CORRECTION_OF
from ale_dask.analyses.main_effect import identity_of
from ale_dask.analyses.sensitivity.contrast_jackknife import without
from ale_dask.config.inference import Inference
from ale_dask.execution.plan import Setting, StoredArray
from ale_dask.numerics import correct
from ale_dask.numerics.contrast import n_relabellings
from ale_dask.numerics.contrast_clusters import Region, allowed_beyond, edges, largest_clusters, neighbours_before
from ale_dask.numerics.space import Mask

KIND = "balanced-clusters"
MEASURES = CLUSTER_SHORTS
_AT_ONCE = 4096


class BalancedClustersPlan(BalancedPlan, kind=KIND):
    """Plan of the second pass of a balanced contrast."""

    voxel_p = Setting(float)
    """The p below which voxels form clusters."""
    cluster_p = Setting(float)
    """The level of the clusters of each pair."""
    connectivity = Setting(int)
    """How voxels are joined: 6 or 18."""
    ijk = StoredArray[np.int16]()
    """The place of each voxel in the grid (candidate, axis)."""


def _allowed(plan: BalancedPlan, voxel_p: float) -> int:
    """Return how many relabellings of a pair may be as extreme as a voxel of a cluster; all pairs have as many."""
    size = int(plan.conventions["size"])
    possible = n_relabellings(2 * size, size)
    # A complete enumeration holds the observed labels already.
    return allowed_beyond(voxel_p, values=min(possible, plan.iterations) + (possible > plan.iterations))


def second_pass(plan: BalancedPlan, inference: Inference) -> bool:
    """Return whether there is a second pass: a cluster-level correction, voxels, and enough relabellings."""
    of_clusters = CORRECTION_OF[inference.correction].of_clusters
    return of_clusters and len(plan.candidate) > 0 and _allowed(plan, inference.voxel_p) > 0


def conventions_of(plan: BalancedPlan, inference: Inference) -> dict[str, Any]:
    """Return every setting that changes a number of the second pass."""
    return {
        "balanced": plan.identity,
        "size": plan.conventions["size"],
        "voxel_p": inference.voxel_p,
        "cluster_p": inference.cluster_p,
        "connectivity": inference.connectivity,
    }


def plan_clusters(plan: BalancedPlan, *, mask: Mask, inference: Inference, name: str) -> BalancedClustersPlan:
    """Return the frozen plan of the second pass over the pairs of a balanced contrast."""
    conventions = conventions_of(plan, inference)
    own = {key: conventions[key] for key in ("voxel_p", "cluster_p", "connectivity")}
    return BalancedClustersPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=tuple(f"{what}:{side}" for what in ("clusters", *MEASURES) for side in SIDES),
        settings={**plan.settings, **own, "conventions": conventions},
        arrays={**plan.arrays, "ijk": mask.voxel_ijk[plan.candidate].astype(np.int16)},
    )


def block(plan: BalancedClustersPlan, first: int, count: int) -> dict[str, I64]:
    """Return null (pair, 2 + measure x direction) and survives (measure x direction, candidate), int64.

    The null has the number of clusters of each direction, and of voxels in clusters that survive; the counts are the
    number of pairs in which each voxel lies in one.
    """
    null = np.zeros((count, len(plan.statistics)), dtype=np.int64)
    counts = np.zeros((len(MEASURES) * len(SIDES), len(plan.candidate)), dtype=np.int64)
    before = neighbours_before(plan.ijk, connectivity=plan.connectivity)
    for i in range(count):
        n_clusters, survives = _pair(plan, first + i, before)
        null[i] = [*n_clusters, *survives.sum(axis=1)]
        counts += survives
    return {"null": null, SURVIVES: counts}


def _pair(plan: BalancedClustersPlan, number: int, before: npt.NDArray[np.int32]) -> tuple[I64, Bools]:
    """Return the clusters of a pair (direction), and which voxels are in one that survives (2 x 2, candidate)."""
    candidates, left = without(plan, number)
    n, complete, draw = drawn(plan, left)
    rows, observed = (candidates.begin, candidates.experiment, candidates.value), candidates.observed
    edge = edges(
        rows,
        observed=observed,
        draw=draw,
        count=n,
        complete=complete,
        allowed=_allowed(plan, plan.voxel_p),
        threads=1,
    )
    region = Region(*rows, edge, np.zeros(len(observed), dtype=np.int64), before)
    largest = np.zeros((n, len(SIDES), len(MEASURES), 1), dtype=np.int64)
    for start in range(0, n, _AT_ONCE):
        part = largest[start : start + _AT_ONCE]
        largest_clusters(draw(first=start, count=len(part)), region, part)
    beyond = np.stack([observed - edge[0], edge[1] - observed])
    volume = np.zeros(plan.ijk.max(axis=0) + 1, dtype=bool)
    volume[tuple(plan.ijk.T)] = True
    labels, side, measured = clusters_of_sides(beyond > 0, beyond, volume=volume, connectivity=plan.connectivity)
    survives = []
    for w, d in np.ndindex(len(MEASURES), len(SIDES)):
        r = correct.exceedances(largest[:, d, w, 0], measured[w])
        kept = (side == d) & (family_wise_p(r, n, complete=complete) <= plan.cluster_p)
        survives.append(np.r_[False, kept][labels[d]])
    return np.bincount(side, minlength=len(SIDES)), np.array(survives)
