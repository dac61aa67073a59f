"""The kinds of plans and of analyses, one row each: a new analysis is its module and its rows here.

`PLANS` says how the blocks of a plan are computed and read, `ANALYSES` which plans an analysis of study.toml takes and
how its result is made from their nulls. Nothing else in the package chooses by the kind of a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import (
    balanced,
    balanced_clusters,
    base_rate,
    base_rate_result,
    conjunction,
    contrast,
    contrast_clusters,
    literature,
    main_effect,
    moderator,
    moderator_clusters,
    study_moderators,
    study_plans,
    study_statistics,
    subsampled,
)
from ale_dask.analyses.findings.model import with_origin
from ale_dask.analyses.networks import with_networks
from ale_dask.analyses.sensitivity import base_rate_variants, contrast_jackknife, noise_null, variant_null
from ale_dask.analyses.statistics import null as null_statistic
from ale_dask.analyses.study_plans import KeepPlan, Nulls, PreparedStudy
from ale_dask.config.inference import Inference
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.monitor.state import Statistic
from ale_dask.execution.plan import P, Plan

Observed = tuple[npt.NDArray[np.int64], float]
"""Size or mass of each observed cluster (cluster), and the error eps of each cluster's confidence sequence."""


@dataclass(frozen=True)
class PlanKind(Generic[P]):
    """How the plans of one kind are computed and read."""

    block: Callable[[P, int, int], dict[str, npt.NDArray[np.int64]]]
    """Computes iterations of a plan, as `execution.plan.BlockFunction` says."""
    iterations: Callable[[P, Inference], int] = lambda plan, inference: inference.iterations
    """The iterations that a plan is run for under some settings."""
    counts: Callable[[P], dict[str, int]] = lambda plan: {}
    """The arrays that its blocks hold besides the null, and the length of each."""
    statistic: Callable[[P, Inference], Statistic | None] = lambda plan, inference: None
    """The statistic of the null whose threshold is shown while the run goes on."""
    observed: Callable[[P, Inference], Observed | None] = lambda plan, inference: None
    """The observed clusters that are held to this threshold."""


def _exceedances(plan: contrast.ContrastPlan | contrast_jackknife.ContrastLeftOutPlan) -> dict[str, int]:
    return {contrast_jackknife.EXCEED: 2 * len(plan.candidate)}


PLANS: dict[str, PlanKind[Any]] = {
    main_effect.KIND: PlanKind(
        main_effect.block, statistic=main_effect.primary_statistic, observed=main_effect.observed
    ),
    base_rate.KIND: PlanKind(
        base_rate.block, statistic=base_rate_result.primary_statistic, observed=base_rate_result.observed
    ),
    contrast.KIND: PlanKind(
        contrast.block,
        iterations=lambda plan, inference: contrast.how_many(plan, inference.iterations),
        counts=_exceedances,
    ),
    contrast_clusters.KIND: PlanKind(contrast_clusters.block, iterations=lambda plan, inference: plan.iterations),
    moderator.KIND: PlanKind(
        moderator.block,
        iterations=lambda plan, inference: moderator.how_many(plan, inference.iterations),
        counts=lambda plan: {moderator.EXCEED: plan.observed.size},
    ),
    moderator_clusters.KIND: PlanKind(moderator_clusters.block, iterations=lambda plan, inference: plan.iterations),
    variant_null.KIND: PlanKind(variant_null.block),
    base_rate_variants.KIND: PlanKind(base_rate_variants.block),
    contrast_jackknife.KIND: PlanKind(contrast_jackknife.block, counts=_exceedances),
    noise_null.KIND: PlanKind(noise_null.block),
    subsampled.KIND: PlanKind(subsampled.block),
    balanced.KIND: PlanKind(
        balanced.block,
        iterations=lambda plan, inference: plan.pairs,
        counts=lambda plan: {balanced.SURVIVES: len(plan.statistics) * len(plan.candidate)},
    ),
    balanced_clusters.KIND: PlanKind(
        balanced_clusters.block,
        iterations=lambda plan, inference: plan.pairs,
        counts=lambda plan: {balanced.SURVIVES: (len(plan.statistics) - 2) * len(plan.candidate)},
    ),
    null_statistic.KIND: PlanKind(null_statistic.block),
    # Its iterations are sets of experiments.
    literature.KIND: PlanKind(literature.block, iterations=lambda plan, inference: len(plan.names)),
}


@dataclass(frozen=True)
class AnalysisKind:
    """How an analysis of study.toml is planned, and how its result is made from the nulls of its plans."""

    plan: Callable[[PreparedStudy, str, Mapping[str, Plan], KeepPlan], dict[str, Plan]]
    """(study, analysis, plans made so far, where a plan is kept) -> the plans that the analysis adds, by name."""
    collect: Callable[[PreparedStudy, str, Nulls], xr.Dataset]
    """(study, analysis, nulls and earlier results) -> its result."""
    reserved: Callable[[str, Inference], dict[str, str]] = lambda name, inference: {}
    """Names that no other analysis may have, each with what is stored under it."""
    check: Callable[[PreparedStudy, str], None] = lambda study, name: None
    """Raises an InputError for an analysis that cannot be made of the experiments there are."""


ANALYSES: dict[str, AnalysisKind] = {
    "main-effect": AnalysisKind(
        study_plans.plan_main_effect, study_plans.collect_main_effect, study_plans.reserved_by_base_rate
    ),
    "contrast": AnalysisKind(
        study_plans.plan_contrast,
        study_plans.collect_contrast,
        study_plans.reserved_by_contrast,
        study_plans.check_inside,
    ),
    conjunction.KIND: AnalysisKind(
        lambda study, name, made, keep: {}, study_plans.collect_conjunction, check=study_plans.check_inside
    ),
    "subsampled": AnalysisKind(
        study_plans.plan_subsampled,
        study_plans.collect_subsampled,
        study_plans.reserved_by_base_rate,
        study_plans.check_subsampled,
    ),
    "balanced-contrast": AnalysisKind(
        study_plans.plan_balanced,
        study_plans.collect_balanced,
        study_plans.reserved_by_balanced,
        check=study_plans.check_balanced,
    ),
    "moderator": AnalysisKind(
        study_moderators.plan_moderator,
        study_moderators.collect_moderator,
        study_moderators.reserved_by_moderator,
        check=study_moderators.check_moderator,
    ),
}


def iterations_of(plan: Plan, inference: Inference) -> int:
    """Return the number of iterations that a plan is run for."""
    return PLANS[plan.kind].iterations(plan, inference)


def counts_of(plan: Plan) -> dict[str, int]:
    """Return the arrays that the blocks of a plan hold besides the null, with the length of each."""
    return PLANS[plan.kind].counts(plan)


def plans_of(study: PreparedStudy, keep: KeepPlan) -> dict[str, Plan]:
    """Return the frozen plans of every analysis of a study by name, each as `keep` returns it."""
    made: dict[str, Plan] = {}
    kinds = _kinds(study)
    mains = [name for name, kind in kinds.items() if kind == main_effect.KIND]
    # A main effect needs no other plan, and most of its time is spent in array functions that threads share out.
    with ThreadPoolExecutor(min(cpu_count(), max(1, len(mains)))) as pool:
        for plans in pool.map(lambda name: study_plans.plan_main_effect(study, name, {}, keep), mains):
            made |= plans
    for name, kind in kinds.items():
        if kind != main_effect.KIND:
            made |= ANALYSES[kind].plan(study, name, made, keep)
    return made | study_statistics.plan_statistics(study, made, keep)


def results_of(
    study: PreparedStudy, plans: Mapping[str, Plan], *, read: Callable[[str], study_plans.Null], ale: Mapping[str, Any]
) -> dict[str, xr.Dataset]:
    """Return the result of every analysis of a study by name.

    `plans` are those of the study, `read` returns the null of a plan by its name, and `ale` holds the ALE (voxel) of
    every main effect.
    """
    results: dict[str, xr.Dataset] = {}
    nulls = Nulls(plans, read, ale, results)
    for name, kind in _kinds(study).items():
        results[name] = ANALYSES[kind].collect(study, name, nulls)
    ordered = {name: results[name] for name in dict.fromkeys([*study.study.analysis, *results])}
    named = {name: with_networks(result) for name, result in ordered.items()}
    return with_origin(named, simulated=study.study.simulated)


def _kinds(study: PreparedStudy) -> dict[str, str]:
    """Return the kind of each analysis after those that it is of, with those of the pooled arms of contrasts."""
    kinds = {name: analysis.kind for name, analysis in study.study.analysis.items()}
    last = dict(sorted(kinds.items(), key=lambda item: item[1] == conjunction.KIND))
    return dict.fromkeys(study.samples, main_effect.KIND) | last
