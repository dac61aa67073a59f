"""One arm against another by relabelling whole groups of subjects (Eickhoff 2011).

The arms' gate, which GingerALE uses, is chosen with the very labels under test: over it only uncorrected p
are given. Family-wise error is controlled over a region that no relabelling changes: the thresholded map of
the pooled experiments, or the whole mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.base_rate import BaseRatePlan
from ale_dask.analyses.contrast_clusters import RelabelledPlan, relabelling_arguments
from ale_dask.analyses.contrast_rows import rows_by_candidate
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.inside import Inside
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of
from ale_dask.analyses.sample import Sample
from ale_dask.config.inference import Inference
from ale_dask.coordinates.foci import foci_alone
from ale_dask.coordinates.shared_subjects import without_shared
from ale_dask.errors import InputError
from ale_dask.execution.plan import Setting, StoredArray
from ale_dask.numerics import clusters
from ale_dask.numerics.contrast import (
    DIFFERENCE_BITS,
    Candidates,
    count_exceedances,
    exponential_digits,
    n_relabellings,
    relabellings,
)
from ale_dask.numerics.space import Mask

KIND = "contrast"
WORDS = {
    "arms": "uncorrected p inside the arms' own thresholded maps: the gate was chosen with the labels under test, "
    "so nothing here is corrected for multiple comparisons",
    "pooled": "uncorrected p inside the thresholded map of the pooled experiments",
    "none": "uncorrected p over the whole mask",
}


class ContrastPlan(RelabelledPlan, kind=KIND):
    """Plan of the relabellings of a contrast."""

    relabellings = Setting(int)
    """How many there are, or 2^62 if there are more."""
    total = StoredArray[np.int64]()
    """The sum over both arms (candidate)."""
    s_a = StoredArray[np.int32]()
    """The observed sum S of the first arm (voxel)."""
    s_b = StoredArray[np.int32]()
    """The observed sum S of the second arm (voxel)."""
    digits = StoredArray[np.int64]()
    """The powers from which differences of ALE are put together."""

    @property
    def n_components(self) -> int:
        """The components of the pooled map, each with a statistic in both directions."""
        return len(self.statistics) // 2


def pooled_name(contrast: str) -> str:
    """Return the name of the main effect of both arms of a contrast together."""
    return f"{contrast}_pooled"


def shown_by(inference: Inference) -> str:
    """Return what the uncorrected maps of a contrast show, in words."""
    if inference.gate != "none":
        return WORDS[inference.gate]
    if inference.contrast_floor:
        return f"{WORDS['none']} where that of the pooled experiments is below {inference.contrast_floor:g}"
    return (
        f"{WORDS['none']}, also where hardly any focus lies: there, a rank among relabellings does not show that the "
        "difference is more than negligible"
    )


def above_floor(pooled: MainEffectPlan, *, mask: Mask, inference: Inference) -> npt.NDArray[np.bool_]:
    """Return in which voxels (voxel), bool, the arms of a contrast over the mask are compared.

    A relabelling ranks differences wherever the tail of any kernel reaches. The floor leaves voxels in which the
    pooled experiments, whom no relabelling changes, have an uncorrected p below it.
    """
    if not inference.contrast_floor:
        return mask.searched
    return np.asarray(mask.searched & (pooled.s >= pooled.null_table.critical(inference.contrast_floor)))


def disjoint_arms(a: xr.Dataset, b: xr.Dataset, *, shared: str, name: str) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the arms' foci without what they share, if `shared` is "exclude".

    Raises
    ------
    InputError
        when they share an experiment, or may share subjects, and `shared` is neither "exclude" nor, for the latter,
        "keep".
    """
    one, two, _ = without_shared(a, b, choice=shared, name=name)
    return one, two


def compared(a: xr.Dataset, b: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Return the foci of the experiments that the contrast of two main effects compares, by their settings.

    With `shared = "exclude"` these are fewer than the experiments of the main effects.
    """
    inference, arms = model_of(a).inference, (foci_alone(a), foci_alone(b))
    if inference.shared != "exclude":
        return arms
    return disjoint_arms(*arms, shared="exclude", name=f"{a.attrs['name']} against {b.attrs['name']}")


def conventions_of(
    a: Sample,
    b: Sample,
    *,
    plans: Sequence[MainEffectPlan],
    against: Sequence[BaseRatePlan] = (),
    inside: Inside | None = None,
) -> dict[str, Any]:
    """Return every setting that changes a number of the contrast's plan; a hash over it is the identity.

    `plans` are those of a, of b and of the pooled experiments, and `against` their base-rate plans where that null
    alone decides what survives in them. `inside` is what the contrast is limited to.
    """
    n_groups = [int(s.groups.max()) + 1 for s in (a, b)]
    return {
        "arms": [s.conventions(plans[2].bits)["foci"] for s in (a, b)],
        "parents": [p.identity for p in plans],
        "seed": a.inference.seed,
        "candidates": "mask" if a.inference.gate == "none" else "supra-threshold",
        "enumerate": n_relabellings(sum(n_groups), n_groups[0]) <= a.inference.iterations,
        **({"floor": a.inference.contrast_floor} if a.inference.contrast_floor and a.inference.gate == "none" else {}),
        # Only where a group has several experiments: what was computed before there were groups stays valid.
        **({"groups": [s.groups.tolist() for s in (a, b)]} if sum(n_groups) < len(a.key) + len(b.key) else {}),
        **({"against": [p.identity for p in against]} if against else {}),
        **({"inside": inside.identity} if inside else {}),
    }


def plan_contrast(
    a: Sample,
    b: Sample,
    *,
    plans: Sequence[MainEffectPlan],
    name: str,
    against: Sequence[BaseRatePlan] = (),
    inside: Inside | None = None,
) -> ContrastPlan:
    """Return the frozen plan of the contrast of sample a minus sample b.

    `plans` are the plans of the main effects of a, of b and of the experiments of both together.

    Candidates are the voxels above their cluster-forming value in any of the three observed maps, which no
    Monte-Carlo threshold changes; with gate "none" the whole mask, down to the floor. `against` are the base-rate plans
    of the same three where that null alone decides what survives: the voxels above their thresholds there, too. Those
    that do not lie `inside` are left out.
    """
    inference, bits = a.inference, plans[2].bits
    against = () if inference.gate == "none" else against
    candidate, component = _compared_voxels(plans, against, mask=a.mask, inference=inference)
    if inside is not None:
        within = inside.part[candidate]
        candidate, component = candidate[within >= 0], _parted(component, within)[within >= 0]
    found = rows_by_candidate(a, b, candidate=candidate, bits=bits)
    in_first = int(found.group_first.sum())
    n = n_relabellings(len(found.group_key), in_first)
    behind = not found.group_first[0]
    conventions = conventions_of(a, b, plans=plans, against=against, inside=inside)
    n_parts = int(component.max(initial=-1)) + 1
    return ContrastPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=tuple(f"{side}:{i}" for side in ("greater", "less") for i in range(n_parts)),
        settings={
            "conventions": conventions,
            "bits": bits,
            "size": len(found.group_key) - in_first if behind else in_first,
            "complement": behind,
            "relabellings": n if n < 2**62 else 2**62,
            "enumerate": conventions["enumerate"],
        },
        arrays={
            **found.plan_arrays(candidate, seed=inference.seed),
            "total": (found.s_a + found.s_b)[candidate],
            "observed": found.s_a[candidate],
            "component": component,
            "s_a": found.s_a.astype(np.int32),
            "s_b": found.s_b.astype(np.int32),
            "digits": exponential_digits(bits),
        },
    )


def _compared_voxels(
    plans: Sequence[MainEffectPlan], against: Sequence[BaseRatePlan], *, mask: Mask, inference: Inference
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """Return the voxels that are compared (candidate), and the component of the pooled map that each lies in, or -1."""
    if inference.gate == "none":
        candidate = np.flatnonzero(above_floor(plans[2], mask=mask, inference=inference))
        return candidate, np.zeros(len(candidate), dtype=np.int64)
    above = [(p.s >= p.threshold) & mask.searched for p in plans]
    component = _components(above[2], mask=mask, connectivity=inference.connectivity)
    if against:
        second = [(p.s >= p.threshold) & mask.searched for p in against]
        # Clusters of either map are then whole components: those that survive are a region without any other voxel.
        other = _components(second[2], mask=mask, connectivity=inference.connectivity)
        component = _numbered((component + 1) * (int(other.max(initial=-1)) + 2) + other + 1)
        above = [uniform | base_rate for uniform, base_rate in zip(above, second, strict=True)]
    candidate = np.flatnonzero(above[0] | above[1] | above[2])
    return candidate, component[candidate]


def _parted(component: npt.NDArray[np.int64], part: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return a number for each combination of a component and a part, at each voxel in both; -1 elsewhere.

    Neither do components of one map touch each other, nor parts: no cluster is in two combinations.
    """
    pair = (component + 1) * (int(part.max(initial=-1)) + 2) + part + 1
    return _numbered(np.where((component >= 0) & (part >= 0), pair, 0))


def _numbered(value: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the rank of each value among the different ones above 0, from 0, and -1 for 0."""
    return np.unique(np.r_[0, value], return_inverse=True)[1][1:] - 1


def _components(above: npt.NDArray[np.bool_], *, mask: Mask, connectivity: int) -> npt.NDArray[np.int64]:
    """Return the component (voxel), int64, of voxels above a value; -1 below it."""
    return clusters.label_clusters(above, volume=mask.volume, connectivity=connectivity).astype(np.int64) - 1


def how_many(plan: ContrastPlan, iterations: int) -> int:
    """Return the number of relabellings: all there are, if the plan goes through all, or those asked for."""
    return plan.relabellings if plan.complete else iterations


@lru_cache(maxsize=8)
def _candidates(plan: ContrastPlan) -> Candidates:
    return Candidates(plan.begin, plan.experiment, plan.value, plan.total, plan.observed, plan.component)


def block(plan: ContrastPlan, first: int, count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return null (iteration, direction x component) and exceed (2, candidate), int64, of some relabellings."""
    chosen = relabellings(plan.draw_key, first=first, count=count, **relabelling_arguments(plan))
    n_parts = plan.n_components
    exceed = np.zeros((2, len(plan.candidate)), dtype=np.int64)
    greatest = np.full((count, 2, n_parts), -(2**DIFFERENCE_BITS), dtype=np.int64)
    count_exceedances(chosen, _candidates(plan), plan.digits, plan.bits, exceed, greatest)
    return {"null": greatest.reshape(count, 2 * n_parts), "exceed": exceed}


def _where(result: xr.Dataset) -> tuple[str, str]:
    return result.attrs["mask_sha256"], result.attrs.get("search_sha256", "")


def settings_of(a: xr.Dataset, b: xr.Dataset) -> Inference:
    """Return the settings that two main effects share, as a contrast of them needs.

    Raises
    ------
    InputError
        when they differ in anything but seed and iterations.
    """
    one, two = model_of(a).inference, model_of(b).inference
    same = {"seed": one.seed, "iterations": one.iterations}
    if one != two.model_copy(update=same) or _where(a) != _where(b):
        raise InputError(
            f"'{a.attrs['name']}' and '{b.attrs['name']}' were computed with other settings or masks; "
            "compute both alike"
        )
    return one
