"""Cluster-level family-wise error of a moderator: a second pass over its permutations, as contrasts have one.

The cluster-forming value of a voxel comes from all permutations, so it depends on how many there are: the second pass
has a plan of its own for each number, is repeated by an extension, and is the one statistic whose first iterations are
not those of a shorter run.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.contrast_clusters import clusters_of_sides, decided, family_wise_p
from ale_dask.analyses.corrections import CLUSTER_SHORTS, CORRECTION_OF
from ale_dask.analyses.main_effect import EPS, identity_of
from ale_dask.analyses.moderator import ModeratorPlan, PermutedPlan, kept_arrays
from ale_dask.config.inference import Inference
from ale_dask.execution.plan import Setting, StoredArray
from ale_dask.numerics import correct
from ale_dask.numerics import moderator as numbers
from ale_dask.numerics.contrast_clusters import allowed_beyond, neighbours_before
from ale_dask.numerics.moderator_clusters import edges, largest_clusters
from ale_dask.numerics.space import Mask

KIND = "moderator-clusters"
MEASURES = CLUSTER_SHORTS
_AT_ONCE = 1024
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


class ModeratorClustersPlan(PermutedPlan, kind=KIND):
    """Plan of the second pass of a moderator."""

    iterations = Setting(int)
    """The permutations from which its cluster-forming values come."""
    edge = StoredArray[np.int64]()
    """The statistics beyond which a voxel belongs to a cluster (side, candidate)."""
    before = StoredArray[np.int32]()
    """The candidate that lies before each one in a direction, or -1 (direction, candidate)."""


def second_pass(plan: ModeratorPlan, inference: Inference, *, iterations: int) -> bool:
    """Return whether a moderator has a second pass: a cluster-level correction, voxels, and enough permutations."""
    return (
        CORRECTION_OF[inference.correction].of_clusters
        and len(plan.candidate) > 0
        and _allowed(plan, inference, iterations=iterations) > 0
    )


def _allowed(plan: ModeratorPlan, inference: Inference, *, iterations: int) -> int:
    # A complete enumeration holds the observed labels already.
    return allowed_beyond(inference.voxel_p, values=iterations + (not plan.complete))


def conventions_of(plan: ModeratorPlan, *, iterations: int) -> dict[str, Any]:
    """Return every setting that changes a number of the second pass; the identity of the moderator stands for most."""
    return {"moderator": plan.identity, "iterations": iterations}


def plan_clusters(
    plan: ModeratorPlan, *, mask: Mask, inference: Inference, iterations: int, name: str, threads: int
) -> ModeratorClustersPlan:
    """Return the frozen plan of the second pass, after a pass over all permutations for the cluster-forming values."""
    conventions = conventions_of(plan, iterations=iterations)
    batches = range(0, iterations, _AT_ONCE)
    edge = edges(
        plan.design,
        plan.voxels,
        [plan.labels(first, min(_AT_ONCE, iterations - first)).astype(np.int32) for first in batches],
        seen=plan.observed,
        complete=plan.complete,
        allowed=_allowed(plan, inference, iterations=iterations),
        threads=threads,
    )
    settings = {key: plan.settings[key] for key in ("bits", "enumerate", "again", "omnibus")}
    before = neighbours_before(mask.voxel_ijk[plan.candidate], connectivity=inference.connectivity)
    return ModeratorClustersPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=tuple(f"{side}:{what}" for side in plan.statistics for what in MEASURES),
        settings={**settings, "conventions": conventions, "iterations": iterations},
        arrays={**plan.arrays, "edge": edge, "before": before},
    )


@lru_cache(maxsize=8)
def _region(plan: ModeratorClustersPlan) -> tuple[I64, npt.NDArray[np.int32]]:
    return plan.edge, plan.before


def block(plan: ModeratorClustersPlan, first: int, count: int) -> dict[str, I64]:
    """Return {"null": (iteration, side x measure)}, int64, of some permutations."""
    (design, voxels), (edge, before) = kept_arrays(plan), _region(plan)
    w = numbers.weights(design, plan.labels(first, count))
    return {"null": largest_clusters(design, voxels, w, edge=edge, before=before).reshape(count, -1)}


def tested(
    plan: ModeratorClustersPlan, null: I64, *, z: F64, inference: Inference, mask: Mask
) -> dict[str, tuple[Any, Any]]:
    """Return the variables of a moderator's clusters: label, size, mass, p, its interval and decision, thresholded z.

    `null` is (iteration, side x measure); `z` (side, candidate) what the voxels of surviving clusters show, signed.
    Mass is the sum of (T - edge) / sd in units of 2^-24. Decisions take the edges of these permutations as given.
    """
    labels, side, measured = _observed(plan, mask=mask, connectivity=inference.connectivity)
    largest = null.reshape(len(null), len(plan.edge), len(MEASURES))
    # Boole: one eps for the moderator, split over its clusters and measures.
    eps = EPS / max(1, len(side) * len(MEASURES))
    out: dict[str, tuple[Any, Any]] = {"moderator_cluster_of_voxel": (("direction", "voxel"), labels)}
    for w, measure in enumerate(MEASURES):
        r = np.zeros(len(side), dtype=np.int64)
        for d in range(len(plan.edge)):
            r[side == d] = correct.exceedances(largest[:, d, w], measured[w, side == d])
        p = family_wise_p(r, len(null), complete=plan.complete)
        low, high = (p, p) if plan.complete else correct.clopper_pearson(r, len(null))
        bound, decision = decided(r, len(null), alpha=inference.cluster_p, eps=eps, complete=plan.complete)
        shown = np.zeros(mask.n_voxels, dtype=np.float32)
        for d, values in enumerate(z):
            survives = np.flatnonzero((side == d) & (p <= inference.cluster_p)) + 1
            inside = np.isin(labels[d, plan.candidate], survives)
            shown[plan.candidate[inside]] = values[inside]
        of_cluster = {"p": p, "p_low": low, "p_high": high, "p_bound": bound}
        out[f"z_moderator_{measure}_fwe"] = ("voxel", shown)
        out[f"moderator_cluster_{measure}"] = ("moderator_cluster", measured[w])
        out[f"moderator_cluster_{measure}_decision"] = ("moderator_cluster", np.array(decision, dtype=object))
        for end, values in of_cluster.items():
            out[f"moderator_cluster_{measure}_{end}"] = ("moderator_cluster", values)
    return out


def _observed(plan: ModeratorClustersPlan, *, mask: Mask, connectivity: int) -> tuple[npt.NDArray[np.int32], I64, I64]:
    """Return the cluster (side, voxel), from 1 on over both sides, and of each its side, and its size and mass."""
    design, voxels = kept_arrays(plan)
    over = (plan.observed - plan.edge).astype(np.float64)
    units = numbers.standardised(design, voxels, np.maximum(over, 0), slice(0, len(plan.candidate))).astype(np.int64)
    keep = np.zeros((len(over), mask.n_voxels), dtype=bool)
    excess = np.zeros(keep.shape, dtype=np.int64)
    keep[:, plan.candidate], excess[:, plan.candidate] = over > 0, units
    return clusters_of_sides(keep, excess, volume=mask.volume, connectivity=connectivity)
