"""The plans that the analyses of a study take, and their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import balanced as balanced_contrasts
from ale_dask.analyses import (
    balanced_clusters,
    base_rate_result,
    contrast_clusters,
    contrast_conjunction,
    contrast_result,
    main_effect,
    main_effect_result,
    subsampled,
    subsampled_base_rate,
)
from ale_dask.analyses import base_rate as base_rates
from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.inside import Inside, Limit, check_correction, check_invariant, of_main_effect
from ale_dask.analyses.moderator_columns import Moderated, moderated
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.sensitivity.base_rate_variants import MOST, BaseRateVariantsPlan, pass_name
from ale_dask.config.analysis import BalancedContrast, Conjunction, Contrast, Moderator, Subsampled
from ale_dask.config.inference import Inference
from ale_dask.config.study import Study
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.plan import P, Plan, of_type
from ale_dask.numerics.space import Mask

Null = tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64]]]
"""A null (iteration, statistic), and the counts of its blocks, summed."""


@dataclass(frozen=True, eq=False)
class PreparedStudy:
    """A study read and checked: foci by name, experiments per main effect, pooled ones too, and arms per contrast.

    `balanced` has the arms of the balanced contrasts, of which there are no pooled ones.
    """

    study: Study
    mask: Mask
    bits: int
    foci: dict[str, xr.Dataset]
    samples: dict[str, Sample]
    arms: dict[str, tuple[Sample, Sample]]
    balanced: dict[str, tuple[Sample, Sample]] = field(default_factory=dict)
    images: dict[str, Inside] = field(default_factory=dict)
    """The images that contrasts and conjunctions are limited to, by the name of the analysis."""

    def contrast(self, name: str) -> Contrast:
        """Return the configuration of a contrast."""
        analysis = self.study.analysis[name]
        assert isinstance(analysis, Contrast)
        return analysis

    def subsampled(self, name: str) -> Subsampled:
        """Return the configuration of subsamples."""
        analysis = self.study.analysis[name]
        assert isinstance(analysis, Subsampled)
        return analysis

    @cached_property
    def moderated(self) -> dict[str, Moderated]:
        """The groups of subjects and the scores of each moderator by name."""
        return {
            name: moderated(self.samples[analysis.of], analysis, name=f"analysis.{name}")
            for name, analysis in self.study.analysis.items()
            if isinstance(analysis, Moderator)
        }

    def samples_of(self, name: str) -> tuple[Sample, ...]:
        """Return the experiments of a main effect, a contrast's arms, a moderator, or what subsamples are of."""
        if name in self.samples:
            return (self.samples[name],)
        if name in self.moderated:
            return (self.moderated[name].sample,)
        arms = self.arms | self.balanced
        return arms[name] if name in arms else (self.samples[self.subsampled(name).of],)

    def balanced_contrast(self, name: str) -> BalancedContrast:
        """Return the configuration of a balanced contrast."""
        analysis = self.study.analysis[name]
        assert isinstance(analysis, BalancedContrast)
        return analysis


class KeepPlan(Protocol):
    """Returns the plan of this identity that was stored or made before; otherwise makes it."""

    def __call__(self, name: str, kind: str, conventions: dict[str, Any], make: Callable[[], P]) -> P: ...


@dataclass(frozen=True, eq=False)
class Nulls:
    """The plans of a study, their nulls as `read` returns them by name, ALE (voxel), and the results made so far."""

    plans: Mapping[str, Plan]
    read: Callable[[str], Null]
    ale: Mapping[str, Any]
    results: Mapping[str, xr.Dataset]


def reserved_by_base_rate(name: str, inference: Inference) -> dict[str, str]:
    """Return the name of the base-rate null of a main effect, or of subsamples."""
    if not base_rates.wants_base_rate(inference):
        return {}
    return {base_rates.base_rate_name(name): "base-rate null"}


def plan_main_effect(study: PreparedStudy, name: str, made: Mapping[str, Plan], keep: KeepPlan) -> dict[str, Plan]:
    """Return the plan of a main effect, and of its base-rate null where that is asked for."""
    sample = study.samples[name]
    make = partial(main_effect.plan_main_effect, sample, bits=study.bits, name=name)
    plan = keep(name, main_effect.KIND, sample.conventions(study.bits), make)
    # The pooled arms of a contrast only say where it is inferred: their base-rate null is needed only if it decides.
    decides = name in study.study.analysis or study.study.inference.null == "base-rate"
    if not (base_rates.wants_base_rate(sample.inference) and decides):
        return {name: plan}
    stored = base_rates.base_rate_name(name)
    against = partial(base_rates.plan_base_rate, sample, main=plan, name=stored)
    conventions = base_rates.conventions_of(sample, bits=study.bits)
    return {name: plan, stored: keep(stored, base_rates.KIND, conventions, against)}


def collect_main_effect(study: PreparedStudy, name: str, nulls: Nulls) -> xr.Dataset:
    """Return the result of a main effect, with its base-rate null where there is one."""
    sample = study.samples[name]
    plan = of_type(main_effect.MainEffectPlan, nulls.plans[name])
    result = main_effect_result.collect(sample, plan, nulls.read(name)[0], ale=nulls.ale[name])
    if (stored := base_rates.base_rate_name(name)) in nulls.plans:
        against = of_type(base_rates.BaseRatePlan, nulls.plans[stored])
        result = base_rate_result.with_base_rate(result, sample, against, nulls.read(stored)[0])
    return result


def reserved_by_contrast(name: str, inference: Inference) -> dict[str, str]:
    """Return the names of the pooled arms of a contrast and of its cluster-level pass."""
    return {pooled_name(name): "pooled arms", contrast_clusters.clusters_name(name): "clusters"}


def check_inside(study: PreparedStudy, name: str) -> None:
    """Raise an InputError for clusters that a contrast or a conjunction cannot be limited to."""
    analysis = study.study.analysis[name]
    assert isinstance(analysis, Contrast | Conjunction)
    if analysis.inside_is_name:
        where = f"analysis.{name}.inside: '{analysis.inside}'"
        check_correction(study.study.inference, analysis.inside_correction, name=where)
        if name in study.arms:
            check_invariant(study.samples[str(analysis.inside)].key, study.arms[name], name=where)


def inside_of(study: PreparedStudy, name: str, plans: Mapping[str, Plan]) -> Inside | None:
    """Return what a contrast or conjunction is limited to: an image, or the clusters of a main effect."""
    analysis = study.study.analysis[name]
    assert isinstance(analysis, Contrast | Conjunction)
    if analysis.inside is None or name in study.images:
        return study.images.get(name)
    inference = study.study.inference
    plan: main_effect.MainEffectPlan | base_rates.BaseRatePlan = of_type(
        main_effect.MainEffectPlan, plans[analysis.inside]
    )
    if inference.null == "base-rate":
        plan = of_type(base_rates.BaseRatePlan, plans[base_rates.base_rate_name(analysis.inside)])
    return of_main_effect(
        analysis.inside, plan, mask=study.mask, inference=inference, correction=analysis.inside_correction
    )


def limit_of(study: PreparedStudy, name: str, nulls: Nulls) -> Limit | None:
    """Return what a contrast or conjunction is limited to, with the result of the main effect if it is one's."""
    inside = inside_of(study, name, nulls.plans)
    return None if inside is None else (inside, nulls.results[inside.name] if inside.map else None)


def plan_contrast(study: PreparedStudy, name: str, made: Mapping[str, Plan], keep: KeepPlan) -> dict[str, Plan]:
    """Return the plan of a contrast, and of its cluster-level pass where it has one."""
    inference = study.study.inference
    a, b = study.arms[name]
    parents = (*study.contrast(name).arms, pooled_name(name))
    plans = [of_type(main_effect.MainEffectPlan, made[parent]) for parent in parents]
    # Where the base rate alone decides which voxels of the arms survive, its plans say where the contrast is inferred.
    gated = inference.null == "base-rate" and inference.gate != "none"
    second = [made[base_rates.base_rate_name(parent)] for parent in parents] if gated else []
    against = [of_type(base_rates.BaseRatePlan, plan) for plan in second]
    inside = inside_of(study, name, made)
    conventions = contrasts.conventions_of(a, b, plans=plans, against=against, inside=inside)
    # All relabellings, and a random subset of them, are different lists of iterations: each has its own place.
    stored = f"{name}_enumerated" if conventions["enumerate"] else name
    make = partial(contrasts.plan_contrast, a, b, plans=plans, against=against, inside=inside, name=stored)
    plan = keep(stored, contrasts.KIND, conventions, make)
    iterations = contrasts.how_many(plan, inference.iterations)
    return {name: plan} | second_pass(study, name, plan, contrast_clusters, iterations=iterations, keep=keep)


def second_pass(
    study: PreparedStudy, name: str, plan: Plan, passes: Any, *, iterations: int, keep: KeepPlan
) -> dict[str, Plan]:
    """Return the plan of the cluster-level pass of a contrast or moderator, where it has one.

    `passes` is the module of that pass, `plan` that of the first one, and `iterations` how many it has.
    """
    inference = study.study.inference
    if not passes.second_pass(plan, inference, iterations=iterations):
        return {}
    # The cluster-forming values depend on the number of relabellings: each number has a plan of its own.
    stored = f"{contrast_clusters.clusters_name(plan.name)}-{iterations}"
    make = partial(
        passes.plan_clusters,
        plan,
        mask=study.mask,
        inference=inference,
        iterations=iterations,
        name=stored,
        threads=cpu_count(),
    )
    conventions = passes.conventions_of(plan, iterations=iterations)
    return {contrast_clusters.clusters_name(name): keep(stored, passes.KIND, conventions, make)}


def collect_contrast(study: PreparedStudy, name: str, nulls: Nulls) -> xr.Dataset:
    """Return the result of a contrast."""
    null, counts = nulls.read(name)
    clusters, second = contrast_clusters.clusters_name(name), None
    if clusters in nulls.plans:
        plan = of_type(contrast_clusters.ContrastClustersPlan, nulls.plans[clusters])
        second = plan, nulls.read(clusters)[0]
    a, b, pooled = (nulls.results[arm] for arm in (*study.contrast(name).arms, pooled_name(name)))
    return contrast_result.collect(
        of_type(contrasts.ContrastPlan, nulls.plans[name]),
        null,
        counts["exceed"].reshape(2, -1),
        parents=(a, b, pooled),
        inference=study.study.inference,
        second=second,
        limit=limit_of(study, name, nulls),
    ).assign_attrs(name=name)


def collect_conjunction(study: PreparedStudy, name: str, nulls: Nulls) -> xr.Dataset:
    """Return the result of a conjunction."""
    analysis = study.study.analysis[name]
    assert isinstance(analysis, Conjunction)
    results = [nulls.results[of] for of in analysis.of]
    limit = limit_of(study, name, nulls)
    of_contrasts = isinstance(study.study.analysis[analysis.of[0]], Contrast)
    collect = contrast_conjunction.collect if of_contrasts else conjunctions.collect
    return collect(results, name=name, inference=study.study.inference, limit=limit)


def check_subsampled(study: PreparedStudy, name: str) -> None:
    """Raise an InputError for subsamples that cannot be taken."""
    analysis = study.subsampled(name)
    subsampled.check_subsampled(study.samples[analysis.of], analysis, name=name)


def plan_subsampled(study: PreparedStudy, name: str, made: Mapping[str, Plan], keep: KeepPlan) -> dict[str, Plan]:
    """Return the plan of the uniform nulls of all subsamples, and the passes over their base-rate nulls where asked."""
    analysis = study.subsampled(name)
    sample, whole = study.samples[analysis.of], of_type(main_effect.MainEffectPlan, made[analysis.of])
    conventions = subsampled.conventions_of(whole, sample, analysis)
    make = partial(subsampled.plan_subsampled, sample, whole, analysis, name=name)
    plans: dict[str, Plan] = {name: keep(name, subsampled.KIND, conventions, make)}
    if base_rates.wants_base_rate(sample.inference):
        plans |= subsampled_base_rate.plan_passes(sample, whole, analysis, name=name, keep=keep)
    return plans


def collect_subsampled(study: PreparedStudy, name: str, nulls: Nulls) -> xr.Dataset:
    """Return the result of the subsamples of a main effect."""
    analysis = study.subsampled(name)
    plan = of_type(subsampled.SubsampledPlan, nulls.plans[name])
    sample = study.samples[analysis.of]
    result = subsampled.collect(sample, plan, nulls.read(name)[0], analysis=analysis)
    if not base_rates.wants_base_rate(sample.inference):
        return result
    stored = [pass_name(name, i) for i in range(-(-result.sizes["subsample"] // MOST))]
    passes = [(of_type(BaseRateVariantsPlan, nulls.plans[each]), nulls.read(each)[0]) for each in stored]
    return subsampled_base_rate.with_base_rate(result, sample, passes, analysis=analysis)


def check_balanced(study: PreparedStudy, name: str) -> None:
    """Raise an InputError for arms of which no subsamples can be taken."""
    balanced_contrasts.check_balanced(*study.balanced[name], study.balanced_contrast(name), name=name)


def reserved_by_balanced(name: str, inference: Inference) -> dict[str, str]:
    """Return the name of the cluster-level pass of a balanced contrast."""
    return {contrast_clusters.clusters_name(name): "clusters"}


def plan_balanced(study: PreparedStudy, name: str, made: Mapping[str, Plan], keep: KeepPlan) -> dict[str, Plan]:
    """Return the plan of all pairs of subsamples of a balanced contrast."""
    arms, analysis = study.balanced[name], study.balanced_contrast(name)
    conventions = balanced_contrasts.conventions_of(*arms, analysis, bits=study.bits)
    # What survives depends on the number of relabellings of each pair: each number has a plan of its own.
    stored = f"{name}-{study.study.inference.iterations}"
    make = partial(balanced_contrasts.plan_balanced, *arms, analysis, bits=study.bits, name=stored)
    plan = keep(stored, balanced_contrasts.KIND, conventions, make)
    inference = study.study.inference
    if not balanced_clusters.second_pass(plan, inference):
        return {name: plan}
    again = f"{contrast_clusters.clusters_name(name)}-{inference.iterations}"
    make_second = partial(balanced_clusters.plan_clusters, plan, mask=study.mask, inference=inference, name=again)
    second = keep(again, balanced_clusters.KIND, balanced_clusters.conventions_of(plan, inference), make_second)
    return {name: plan, contrast_clusters.clusters_name(name): second}


def collect_balanced(study: PreparedStudy, name: str, nulls: Nulls) -> xr.Dataset:
    """Return the result of a balanced contrast."""
    plan = of_type(balanced_contrasts.BalancedPlan, nulls.plans[name])
    null, counts = nulls.read(name)
    found = counts[balanced_contrasts.SURVIVES].reshape(len(plan.statistics), -1)
    clusters, second = contrast_clusters.clusters_name(name), None
    if clusters in nulls.plans:
        of_clusters, further = nulls.read(clusters)
        second = of_clusters, further[balanced_contrasts.SURVIVES].reshape(-1, found.shape[1])
    result = balanced_contrasts.collect(
        *study.balanced[name], plan, null, found, analysis=study.balanced_contrast(name), second=second
    )
    return result.assign_attrs(name=name)
