"""Cluster-level family-wise error of a contrast: a second pass over its relabellings.

The cluster-forming value of a voxel comes from all relabellings, so it depends on how many there are: the second
pass has a plan of its own for each number, is repeated by an extension, and is the one statistic whose first
iterations are not those of a shorter run. Clusters lie in the components of the pooled experiments' thresholded
map, or with gate "none" in the mask: regions that no relabelling changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.corrections import CLUSTER_SHORTS, CORRECTION_OF
from ale_dask.analyses.main_effect import EPS, identity_of
from ale_dask.config.analysis import INPUTS
from ale_dask.config.inference import Inference
from ale_dask.execution.plan import Plan, Setting, StoredArray
from ale_dask.numerics import clusters, correct
from ale_dask.numerics.contrast import relabellings
from ale_dask.numerics.contrast_clusters import Region, allowed_beyond, edges, largest_clusters, neighbours_before
from ale_dask.numerics.space import Mask

KIND = "contrast-clusters"
SIDES, MEASURES = ("greater", "less"), CLUSTER_SHORTS
I64 = npt.NDArray[np.int64]


class CandidatePlan(Plan):
    """Plan of a pass over relabellings, with the value of each experiment in the voxels that are compared."""

    draw_key = StoredArray[np.uint64]()
    """The key of each group's draws (group)."""
    candidate = StoredArray[np.int64]()
    """The voxels that are compared (candidate)."""
    begin = StoredArray[np.int64]()
    """The first entry of each candidate, and the number of entries (candidate + 1)."""
    experiment = StoredArray[np.int32]()
    """The experiment of each entry (entry)."""
    value = StoredArray[np.int32]()
    """The fixed-point value X of each entry (entry)."""


class RelabelledPlan(CandidatePlan):
    """Plan of a pass over the relabellings of two arms."""

    size = Setting(int)
    """The groups of subjects that a relabelling chooses."""
    complement = Setting(bool)
    """Whether those that are chosen make up the second arm."""
    complete = Setting(bool, name="enumerate")
    """Whether all relabellings that there are are gone through."""
    observed = StoredArray[np.int64]()
    """The sum over the first arm (candidate)."""
    component = StoredArray[np.int64]()
    """The component of the pooled map that each candidate lies in, or -1 (candidate)."""

    @property
    def group(self) -> npt.NDArray[np.int32] | None:
        """The group of each experiment (experiment), where a group has several."""
        return self.arrays.get("group")


class ContrastClustersPlan(RelabelledPlan, kind=KIND):
    """Plan of the second pass of a contrast, over the components of the pooled map alone."""

    iterations = Setting(int)
    """The relabellings from which its cluster-forming values come."""
    edge = StoredArray[np.int32]()
    """The sums beyond which a voxel belongs to a cluster (direction, candidate)."""
    before = StoredArray[np.int32]()
    """The candidate that lies before each one in a direction, or -1 (direction, candidate)."""


def clusters_name(contrast: str) -> str:
    """Return the name of the second pass of a contrast."""
    return f"{contrast}_clusters"


def relabelling_arguments(plan: RelabelledPlan) -> dict[str, Any]:
    """Return the keyword arguments that `numerics.contrast.relabellings` takes, from the plan of a contrast."""
    return {
        "size": plan.size,
        "enumerate_all": plan.complete,
        "complement": plan.complement,
        "group": plan.group,
    }


def second_pass(contrast: RelabelledPlan, inference: Inference, *, iterations: int) -> bool:
    """Return whether a contrast has a second pass: a cluster-level correction, a region, and enough relabellings."""
    return (
        CORRECTION_OF[inference.correction].of_clusters
        and bool((contrast.component >= 0).any())
        and _allowed(contrast, inference, iterations=iterations) > 0
    )


def _allowed(contrast: RelabelledPlan, inference: Inference, *, iterations: int) -> int:
    # A complete enumeration holds the observed labels already.
    return allowed_beyond(inference.voxel_p, values=iterations + (not contrast.complete))


def conventions_of(contrast: RelabelledPlan, *, iterations: int) -> dict[str, Any]:
    """Return every setting that changes a number of the second pass; the identity of the contrast stands for most."""
    return {"contrast": contrast.identity, "iterations": iterations}


def plan_clusters(
    contrast: RelabelledPlan, *, mask: Mask, inference: Inference, iterations: int, name: str, threads: int
) -> ContrastClustersPlan:
    """Return the frozen plan of the second pass, after a pass over all relabellings for the cluster-forming values."""
    kept = np.flatnonzero(contrast.component >= 0)
    begin, counts = contrast.begin, np.diff(contrast.begin)
    entry = np.repeat(contrast.component >= 0, counts)
    rows = {
        "begin": np.r_[0, np.cumsum(counts[kept])].astype(begin.dtype),
        "experiment": contrast.experiment[entry],
        "value": contrast.value[entry],
    }
    settings = {
        "bits": contrast.bits,
        "size": contrast.size,
        "enumerate": contrast.complete,
        "complement": contrast.complement,
    }
    key, candidate = contrast.draw_key, contrast.candidate[kept]
    conventions = conventions_of(contrast, iterations=iterations)
    labels = relabelling_arguments(contrast)
    edge = edges(
        (rows["begin"], rows["experiment"], rows["value"]),
        observed=contrast.observed[kept],
        draw=partial(relabellings, key, **labels),
        count=iterations,
        complete=labels["enumerate_all"],
        allowed=_allowed(contrast, inference, iterations=iterations),
        threads=threads,
    )
    n_parts = len(contrast.statistics) // 2
    return ContrastClustersPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=tuple(f"{side}:{what}:{i}" for side in SIDES for what in MEASURES for i in range(n_parts)),
        settings={**settings, "conventions": conventions, "iterations": iterations},
        arrays={
            **rows,
            "edge": edge,
            "component": contrast.component[kept],
            "before": neighbours_before(mask.voxel_ijk[candidate], connectivity=inference.connectivity),
            "draw_key": key,
            **({} if contrast.group is None else {"group": contrast.group}),
            "candidate": candidate,
            "observed": contrast.observed[kept],
        },
    )


@lru_cache(maxsize=8)
def _region(plan: ContrastClustersPlan) -> Region:
    return Region(plan.begin, plan.experiment, plan.value, plan.edge, plan.component, plan.before)


def block(plan: ContrastClustersPlan, first: int, count: int) -> dict[str, I64]:
    """Return {"null": (iteration, direction x measure x component)}, int64, of some relabellings."""
    chosen = relabellings(plan.draw_key, first=first, count=count, **relabelling_arguments(plan))
    out = np.zeros((count, 2, 2, len(plan.statistics) // 4), dtype=np.int64)
    largest_clusters(chosen, _region(plan), out)
    return {"null": out.reshape(count, -1)}


def family_wise_p(r: I64, n: int, *, complete: bool) -> npt.NDArray[np.float64]:
    """Return p of r exceedances in n relabellings: (1 + r) / (1 + n), or r / n where these are all there are."""
    return np.asarray(r / n if complete else (1 + r) / (1 + n))


def decided(r: I64, n: int, *, alpha: float, eps: float, complete: bool) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Return the upper bound of each p at any number of relabellings, and its decision; where complete, p itself."""
    if complete:
        p = family_wise_p(r, n, complete=True)
        return p, ["significant" if value <= alpha else "not" for value in p]
    return correct.confidence_sequence(r, n, eps=eps)[1], correct.decisions(r, n, alpha=alpha, eps=eps)


def tested(
    plan: ContrastClustersPlan,
    null: I64,
    *,
    z: npt.NDArray[np.float32],
    regions: npt.NDArray[np.bool_],
    inference: Inference,
    mask: Mask,
) -> dict[str, tuple[Any, Any]]:
    """Return the variables of a contrast's clusters: label, size, mass, p, its interval and decision, thresholded z.

    `null` is (iteration, direction x measure x component); `z` (direction, voxel) what the voxels of surviving
    clusters show, signed. Clusters are those of voxels beyond their edge; mass is the sum of |s - edge| in
    fixed-point units. p counts the relabellings whose largest cluster in the components of `regions` (input, voxel) is
    as large; it is NaN for clusters elsewhere. Decisions take the edges of these relabellings as given.
    """
    component = np.full(mask.n_voxels, -1, dtype=np.int64)
    component[plan.candidate] = plan.component
    surviving = [np.unique(component[region & (component >= 0)]) for region in regions]
    observed = _observed(plan, component, mask=mask, connectivity=inference.connectivity)
    # Boole: one eps for the contrast, split over its clusters, measures and inputs.
    level = _Level(
        inference.cluster_p,
        EPS / max(1, len(observed.side) * len(MEASURES) * len(INPUTS)),
        plan.complete,
    )
    largest = null.reshape(len(null), 2, 2, -1)
    out: dict[str, tuple[Any, Any]] = {"contrast_cluster_of_voxel": (("direction", "voxel"), observed.labels)}
    for w, measure in enumerate(MEASURES):
        p, decision = _tests(observed, observed.measured[w], largest[:, :, w], surviving, level)
        shown = np.zeros((len(INPUTS), mask.n_voxels), dtype=np.float32)
        for i, d in np.ndindex(len(INPUTS), 2):
            survives = (observed.side == d) & (np.nan_to_num(p[0, i], nan=1.0) <= inference.cluster_p)
            inside = np.isin(observed.labels[d], np.flatnonzero(survives) + 1)
            shown[i, inside] = z[d, inside]
        out[f"z_contrast_{measure}_fwe"] = (("input", "voxel"), shown)
        out[f"contrast_cluster_{measure}"] = ("contrast_cluster", observed.measured[w])
        out[f"contrast_cluster_{measure}_decision"] = (("input", "contrast_cluster"), decision)
        for end, values in zip(("", "_low", "_high", "_bound"), p, strict=True):
            out[f"contrast_cluster_{measure}_p{end}"] = (("input", "contrast_cluster"), values)
    return out


class _Observed(NamedTuple):
    """The clusters of both directions of a contrast."""

    labels: npt.NDArray[np.int32]
    """The number of the cluster (direction, voxel), from 1 on over both directions; 0 in none."""
    side: I64
    """The direction of each cluster (cluster)."""
    component: I64
    """The component of the pooled map that it lies in (cluster)."""
    measured: I64
    """Its size and mass (measure, cluster)."""


class _Level(NamedTuple):
    alpha: float
    eps: float
    complete: bool


def _observed(plan: ContrastClustersPlan, component: I64, *, mask: Mask, connectivity: int) -> _Observed:
    edge, s = plan.edge.astype(np.int64), plan.observed
    excess = np.zeros((2, mask.n_voxels), dtype=np.int64)
    excess[:, plan.candidate] = s - edge[0], edge[1] - s
    labels, side, measured = clusters_of_sides(excess > 0, excess, volume=mask.volume, connectivity=connectivity)
    part = np.zeros(len(side), dtype=np.int64)
    for own in labels:
        part[own[own > 0] - 1] = component[own > 0]
    return _Observed(labels, side, part, measured)


def clusters_of_sides(
    keep: npt.NDArray[np.bool_], excess: I64, *, volume: npt.NDArray[np.bool_], connectivity: int
) -> tuple[npt.NDArray[np.int32], I64, I64]:
    """Return the cluster (side, voxel), from 1 on over all sides, and of each its side, and its size and mass.

    Clusters are of the kept voxels (side, voxel) of a mask volume (x, y, z), mass is the sum of the excess over one;
    the last two are (cluster) and (measure, cluster).
    """
    labels = np.zeros(keep.shape, dtype=np.int32)
    side: list[I64] = []
    measured: list[I64] = []
    for d, (kept, over) in enumerate(zip(keep, excess, strict=True)):
        own = clusters.label_clusters(kept, volume=volume, connectivity=connectivity)
        both = np.stack([clusters.sizes(own), clusters.masses(own, s=np.where(kept, over, 0), threshold=0)])
        labels[d] = np.where(own > 0, own + sum(map(len, side)), 0)
        side.append(np.full(both.shape[1], d, dtype=np.int64))
        measured.append(both)
    return labels, np.concatenate(side), np.concatenate(measured, axis=1)


def _tests(
    observed: _Observed, measured: I64, largest: I64, surviving: Sequence[I64], level: _Level
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.object_]]:
    """Return p, its interval and bound (4, input, cluster), and the decisions (input, cluster), by one measure.

    `largest` is (iteration, direction, component), `surviving` the components that survive at each input.
    """
    n = len(largest)
    decision = np.full((len(INPUTS), len(measured)), "", dtype=object)
    p = np.full((4, len(INPUTS), len(measured)), np.nan)
    for i, parts in enumerate(surviving):
        for d in range(2):
            at = (observed.side == d) & np.isin(observed.component, parts)
            if not at.any():
                continue
            r = correct.exceedances(largest[:, d, parts].max(axis=1), measured[at])
            exact = family_wise_p(r, n, complete=level.complete)
            interval = (exact, exact) if level.complete else correct.clopper_pearson(r, n)
            bound, decisions = decided(r, n, alpha=level.alpha, eps=level.eps, complete=level.complete)
            p[:, i, at] = exact, *interval, bound
            decision[i, at] = decisions
    return p, decision
