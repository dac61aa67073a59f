"""One arm against another by relabelling whole groups of subjects (Eickhoff 2011).

The arms' gate, which GingerALE uses, is chosen with the very labels under test: over it only uncorrected p
are given. Family-wise error is controlled over a region that no relabelling changes: the thresholded map of
the pooled experiments, or the whole mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import special

from ale_dask.analyses.base_rate import BaseRatePlan
from ale_dask.analyses.contrast_clusters import (
    ContrastClustersPlan,
    RelabelledPlan,
    family_wise_p,
    relabelling_arguments,
    tested,
)
from ale_dask.analyses.contrast_rows import rows_by_candidate
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.inside import Inside, Limit, inside_attrs, inside_variables, voxels_of
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of, result_attrs, search_variables, thresholded
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.seed_reach import reach_of_parts
from ale_dask.config.analysis import INPUTS
from ale_dask.config.inference import Inference, RelabelP
from ale_dask.coordinates import foci as foci_data
from ale_dask.coordinates.foci import foci_alone
from ale_dask.coordinates.shared_subjects import shared as shared_by
from ale_dask.coordinates.shared_subjects import without_shared
from ale_dask.errors import InputError
from ale_dask.execution.plan import Setting, StoredArray
from ale_dask.numerics import clusters, correct
from ale_dask.numerics.contrast import (
    DIFFERENCE_BITS,
    Candidates,
    count_exceedances,
    difference_map,
    exponential_digits,
    n_relabellings,
    relabellings,
)
from ale_dask.numerics.space import Mask
from ale_dask.schema import describe

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


def summed(exceed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the counts (2, candidate), int64, of all blocks (block, 1 + 2 candidates)."""
    return np.asarray(exceed[:, 1:].sum(axis=0).reshape(2, -1))


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


def relabelled_p(r: npt.NDArray[np.int64], n: int, *, complete: bool, rule: RelabelP) -> npt.NDArray[np.float64]:
    """Return the uncorrected p of r exceedances in n relabellings: by the rule, or r / n where these are all."""
    if rule == "share" and not complete:
        return np.asarray(np.maximum(r, 1) / n)
    return family_wise_p(r, n, complete=complete)


def collect(
    plan: ContrastPlan,
    null: npt.NDArray[np.int64],
    exceed: npt.NDArray[np.int64],
    *,
    parents: tuple[xr.Dataset, xr.Dataset, xr.Dataset],
    inference: Inference,
    second: tuple[ContrastClustersPlan, npt.NDArray[np.int64]] | None = None,
    limit: Limit | None = None,
) -> xr.Dataset:
    """Return the result: difference (voxel), one-sided p (voxel), signed z (input, voxel) for both inputs.

    `null` is (iteration, direction x component), `exceed` (2, candidate) the summed counts. T = ALE_A - ALE_B;
    p = (1 + #{T_b >= T}) / (1 + B), or #{T_b >= T} / C when all C relabellings were gone through. `parents` are the
    main effects of both arms and of their pooled experiments, `second` is the plan and null of the second pass, from
    which clusters have their p, and `limit` the place that the contrast is limited to, with the main effect of it.
    """
    *arms, pooled = parents
    mask = model_of(pooled).mask
    voxels = voxels_of(limit, mask=mask)
    regions = np.stack([_region(pooled, source, inference) & voxels for source in INPUTS])
    relabelled = _relabelled(plan, null, exceed, n_voxels=mask.n_voxels, inference=inference)
    p = relabelled.p
    p[:, ~voxels] = np.nan
    p_fwe, z_fwe = _voxel_fwe(relabelled, regions, inference=inference)
    z = _signed(p, plan.candidate)
    of_clusters = {} if second is None else tested(*second, z=z, regions=regions, inference=inference, mask=mask)
    result = xr.Dataset(
        {
            "difference": ("voxel", (relabelled.difference / 2.0**DIFFERENCE_BITS).astype(np.float32)),
            "p_greater": ("voxel", p[0].astype(np.float32)),
            "p_less": ("voxel", p[1].astype(np.float32)),
            "z_contrast": (("input", "voxel"), _gated(p, arms, regions, mask=mask, inference=inference)),
            "z_contrast_voxel_fwe": (("input", "voxel"), z_fwe),
            "p_voxel_fwe_greater": (("input", "voxel"), p_fwe[:, 0].astype(np.float32)),
            "p_voxel_fwe_less": (("input", "voxel"), p_fwe[:, 1].astype(np.float32)),
            **of_clusters,
            **inside_variables(limit, voxels),
            "voxel_ijk": (("voxel", "axis"), mask.voxel_ijk),
            **search_variables(mask),
            **reach_of_parts(arms),
        },
        coords={"input": np.array(INPUTS, dtype=object)},
    )
    return describe(result).assign_attrs(
        **result_attrs(mask, inference, plan),
        gate=inference.gate,
        controls=shown_by(inference),
        iterations=len(null),
        relabellings=plan.relabellings,
        enumerated=relabelled.complete,
        candidates=len(plan.candidate),
        components=plan.n_components,
        groups_per_arm=_group_counts(plan),
        **inside_attrs(limit, voxels, mask=mask),
        **_arm_attrs(arms),
    )


class _Relabelled(NamedTuple):
    """The observed difference of two arms, and its relabellings."""

    difference: npt.NDArray[np.int64]
    """(voxel), in fixed-point units."""
    p: npt.NDArray[np.float64]
    """One-sided and uncorrected (direction, voxel); NaN where voxels were not compared."""
    component: npt.NDArray[np.int64]
    """Of the pooled map that each voxel lies in, or -1."""
    greatest: npt.NDArray[np.int64]
    """The largest difference (iteration, direction, component) of each relabelling."""
    complete: bool
    """Whether these are all relabellings that there are."""


def _relabelled(
    plan: ContrastPlan,
    null: npt.NDArray[np.int64],
    exceed: npt.NDArray[np.int64],
    *,
    n_voxels: int,
    inference: Inference,
) -> _Relabelled:
    complete, candidate = plan.complete, plan.candidate
    s_a, s_b = plan.s_a.astype(np.int64), plan.s_b.astype(np.int64)
    difference = np.empty(n_voxels, dtype=np.int64)
    difference_map(s_a, s_a + s_b, plan.digits, difference)
    p = np.full((2, n_voxels), np.nan)
    p[:, candidate] = relabelled_p(exceed, len(null), complete=complete, rule=inference.relabel_p)
    component = np.full(n_voxels, -1, dtype=np.int64)
    component[candidate] = plan.component
    return _Relabelled(difference, p, component, null.reshape(len(null), 2, plan.n_components), complete)


def _region(pooled: xr.Dataset, source: str, inference: Inference) -> npt.NDArray[np.bool_]:
    """Return the region (voxel) that no relabelling changes: the pooled map at an input, or the whole mask."""
    invariant = thresholded(pooled, source)
    return np.ones_like(invariant) if inference.gate == "none" else invariant


def _gated(
    p: npt.NDArray[np.float64],
    arms: Sequence[xr.Dataset],
    regions: npt.NDArray[np.bool_],
    *,
    mask: Mask,
    inference: Inference,
) -> npt.NDArray[np.float32]:
    """Return the signed z (input, voxel) of voxels inside the gate with a small enough p, in clusters large enough."""
    z = np.zeros((len(INPUTS), mask.n_voxels), dtype=np.float32)
    minimum = inference.min_voxels(mask.voxel_volume)
    for i, source in enumerate(INPUTS):
        for d, sign in enumerate((1, -1)):
            # Of a voxel that the contrast is not limited to, p is NaN.
            gate = thresholded(arms[d], source) if inference.gate == "arms" else regions[i]
            passing = clusters.at_least(
                gate & (np.nan_to_num(p[d], nan=1.0) < inference.contrast_p),
                volume=mask.volume,
                minimum=minimum,
                connectivity=inference.connectivity,
            )
            z[i, passing] = sign * _z(p[d, passing])
    return z


def _voxel_fwe(
    relabelled: _Relabelled, regions: npt.NDArray[np.bool_], *, inference: Inference
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Return the family-wise p (input, direction, voxel) by the largest difference, and z (input, voxel) that survives.

    NaN and 0 outside the region (input, voxel) and its components.
    """
    difference, p, component, greatest, complete = relabelled
    p_fwe = np.full((len(INPUTS), *p.shape), np.nan)
    z = np.zeros((len(INPUTS), p.shape[1]), dtype=np.float32)
    for i, region in enumerate(regions):
        parts = np.unique(component[region & (component >= 0)])
        for d, sign in enumerate((1, -1) if parts.size else ()):
            inside = region & np.isin(component, parts)
            r = correct.exceedances(greatest[:, d, parts].max(axis=1), sign * difference[inside])
            p_fwe[i, d, inside] = family_wise_p(r, len(greatest), complete=complete)
            survives = inside & (np.nan_to_num(p_fwe[i, d], nan=1.0) <= inference.contrast_p)
            z[i, survives] = sign * _z(p[d, survives])
    return p_fwe, z


def _arm_attrs(arms: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Return the sizes of the arms, the subjects that they may share, and whether they differ much in size."""
    used = compared(*arms)
    foci = [float(_n_foci(arm).mean()) for arm in used]
    subjects = [float(arm["experiment_n_subjects"].values.mean()) for arm in used]
    return {
        "arms": [arm.attrs["name"] for arm in arms],
        "experiments_compared": [arm.sizes["experiment"] for arm in used],
        "foci_per_experiment": foci,
        "subjects_per_experiment": subjects,
        "shared": [group.words for group in shared_by(*arms)],
        "unbalanced": bool(max(_ratio(foci), _ratio(subjects)) > 1.5),
    }


def _z(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    # p = 1 / C of a complete enumeration is exact and never 0; one-sided.
    return np.asarray(-special.ndtri(p), dtype=np.float32)


def _signed(p: npt.NDArray[np.float64], candidate: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return z (direction, voxel) of the candidates, negative where the second arm is greater; 0 elsewhere."""
    signed = np.zeros(p.shape, dtype=np.float32)
    signed[:, candidate] = _z(p[:, candidate]) * np.array([[1], [-1]], dtype=np.float32)
    return signed


def _n_foci(arm: xr.Dataset) -> npt.NDArray[np.int64]:
    return np.asarray(foci_data.n_foci(arm))


def _group_counts(plan: ContrastPlan) -> list[int]:
    """Return how many subject groups the relabellings keep in each arm."""
    counts = [plan.size, len(plan.draw_key) - plan.size]
    return counts[::-1] if plan.complement else counts


def _ratio(pair: list[float]) -> float:
    return max(pair) / max(min(pair), 1e-9)


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
