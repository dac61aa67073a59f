"""Plan the passes over random draws that many studies share, so that no null is computed twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TypeGuard

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.base_rate import DRAWN_FROM, BaseRatePlan
from ale_dask.analyses.corrections import BASE_RATE_STATISTICS, STATISTICS
from ale_dask.analyses.kinds import counts_of, iterations_of
from ale_dask.analyses.main_effect import MainEffectPlan
from ale_dask.analyses.null_draws import draws_of
from ale_dask.analyses.sensitivity import base_rate_variants, variant_null
from ale_dask.analyses.sensitivity.base_rate_variants import BaseRateVariantsPlan
from ale_dask.analyses.study_plans import Null, PreparedStudy
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.block_store import store_plan, stored_plan
from ale_dask.execution.executors import Job
from ale_dask.execution.plan import Plan, digest, of_type
from ale_dask.storage.checksums import whole, with_hash
from ale_dask.storage.location import Place, replace_file
from ale_dask.version import __version__
from ale_dask.workflows.run_directory import Run, Sizes


@dataclass(frozen=True, eq=False)
class Pass:
    """One plan, the number of its iterations, and the identities of the plans that it serves, in order."""

    plan: Plan
    iterations: int
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Passes:
    """All passes by their name in OUT, and for the identity of each plan the name of the pass with its null."""

    by_name: Mapping[str, Pass]
    where: Mapping[str, str]
    asked: int
    """Number of nulls that the studies have, counting shared ones repeatedly."""


def plan_passes(prepared: Mapping[str, PreparedStudy], plans: Mapping[str, Mapping[str, Plan]]) -> Passes:
    """Return the passes that serve every plan of some studies, which are given by label.

    Main effects with the same experiments, kernels, mask and draws share one pass, whatever their cluster-forming
    values, and so do their nulls against one base rate, unless the null has a statistic that is computed only if asked
    for, such as TFCE, which needs every voxel of each map. All other plans are run once per identity.
    """
    by_identity: dict[str, Pass] = {}
    for label, plans_of_study in plans.items():
        for plan in plans_of_study.values():
            iterations = iterations_of(plan, prepared[label].study.inference)
            known = by_identity.get(plan.identity)
            by_identity[plan.identity] = Pass(plan, max(iterations, known.iterations if known else 0))
    by_draws: dict[str, list[Pass]] = {}
    for identity, single in by_identity.items():
        draws = _hash_of_draws(single.plan) if _shares(single.plan) else identity
        by_draws.setdefault(draws, []).append(single)
    by_name: dict[str, Pass] = {}
    where: dict[str, str] = {}
    for same in by_draws.values():
        for first in range(0, len(same), base_rate_variants.MOST):
            sharing = same[first : first + base_rate_variants.MOST]
            plan = sharing[0].plan if len(sharing) == 1 else _of_several([each.plan for each in sharing])
            identities = tuple(each.plan.identity for each in sharing)
            name = f"{plan.kind}-{plan.identity[:16]}"
            by_name[name] = Pass(replace(plan, name=name), max(each.iterations for each in sharing), identities)
            where |= dict.fromkeys(identities, name)
    return Passes(by_name, where, sum(map(len, plans.values())))


def _shares(plan: Plan) -> TypeGuard[MainEffectPlan | BaseRatePlan]:
    """Return whether the null of a plan can be computed in one pass with other nulls of the same draws."""
    if isinstance(plan, MainEffectPlan):
        return plan.statistics == STATISTICS
    return isinstance(plan, BaseRatePlan) and plan.statistics == BASE_RATE_STATISTICS


def _of_several(plans: Sequence[Plan]) -> Plan:
    """Return the plan of the nulls of several plans, which have the same draws and differ in their thresholds."""
    nobody: list[tuple[int, ...]] = [()] * len(plans)
    if isinstance(plans[0], BaseRatePlan):
        against = [of_type(BaseRatePlan, plan) for plan in plans]
        return base_rate_variants.plan_base_rate_variants(against[0], against, left_out=nobody, name="")
    mains = [of_type(MainEffectPlan, plan) for plan in plans]
    return variant_null.plan_variants(mains[0], mains, left_out=nobody, name="")


def _hash_of_draws(plan: MainEffectPlan | BaseRatePlan) -> str:
    """Return a hash of everything that the randomly drawn sums of a null depend on."""
    digest_of_draws = hashlib.sha256(f"{plan.kind} {plan.bits} {plan.additive}".encode())
    drawn_from = {name: plan.arrays[name] for name in DRAWN_FROM if name in plan.arrays}
    for name, array in {**draws_of(plan), **drawn_from}.items():
        digest_of_draws.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest_of_draws.hexdigest()


def _itself(plan: Plan) -> Plan:
    return plan


def store_passes(out: Place, passes: Passes) -> Passes:
    """Store the plans of passes in OUT, and return the passes with the plans that OUT held first."""

    def stored(each: Pass) -> Pass:
        plan = each.plan
        make = partial(_itself, plan)
        first = store_plan(out, make, name=plan.name, identity=plan.identity, conventions=plan.conventions)
        return replace(each, plan=first)

    # Most of the time is spent in compressing arrays, which threads share out.
    with ThreadPoolExecutor(cpu_count()) as pool:
        plans = list(pool.map(stored, passes.by_name.values()))
    return replace(passes, by_name=dict(zip(passes.by_name, plans, strict=True)))


@dataclass(frozen=True, eq=False)
class KeptPass:
    """A stored pass as `status` shows it: its plan, the number of its iterations, and in words what it serves."""

    plan: Plan
    iterations: int
    serves: str


def list_passes(passes: Passes, plans: Mapping[str, Mapping[str, Plan]]) -> list[KeptPass]:
    """Return the stored passes, each with the analyses and the number of combinations of `plans` that it serves."""
    served: dict[str, tuple[dict[str, None], set[str]]] = {name: ({}, set()) for name in passes.by_name}
    for label, of_study in plans.items():
        for analysis, plan in of_study.items():
            analyses, labels = served[passes.where[plan.identity]]
            analyses[analysis] = None
            labels.add(label)
    return [
        KeptPass(each.plan, each.iterations, f"{', '.join(served[name][0])} in {len(served[name][1])} combination(s)")
        for name, each in passes.by_name.items()
    ]


_KEPT = "plans/passes.json"


def keep_passes(out: Place, passes: Sequence[KeptPass]) -> None:
    """Write the list of the stored passes to OUT, so that `status` need not plan every combination again."""
    listed = {each.plan.name: [each.iterations, each.serves] for each in passes}
    replace_file(out / _KEPT, json.dumps(with_hash({"of": _sweep_hash(out), "passes": listed})).encode())


def kept_passes(out: Place) -> list[KeptPass] | None:
    """Return the passes that OUT lists, or None where the list is missing, damaged or of another study or version."""
    try:
        content = json.loads((out / _KEPT).read_bytes())
        if not whole(content) or content["of"] != _sweep_hash(out):
            return None
        return [KeptPass(stored_plan(out, name), *told) for name, told in content["passes"].items()]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _sweep_hash(out: Place) -> str:
    """Return a hash over the study and the axes of a sweep, which sweep.toml holds, and the version of the program."""
    return hashlib.sha256((out / "sweep.toml").read_bytes() + __version__.encode()).hexdigest()


def jobs_of_passes(passes: Passes, out: Place, *, sizes: Sizes) -> list[Job]:
    """Return the jobs of all passes in OUT, in blocks of the sizes that suit the backend."""
    run = Run.at(out)
    return [
        job
        for p in passes.by_name.values()
        for job in run.jobs(p.plan, iterations=p.iterations, size=partial(sizes.of, p.plan, p.iterations))
    ]


class Nulls:
    """Reads the nulls of passes in OUT, and returns that of each plan."""

    def __init__(self, out: Place, passes: Passes) -> None:
        self._run, self._passes = Run.at(out), passes
        self._read = lru_cache(maxsize=64)(self._gather)

    def _gather(self, name: str, iterations: int) -> Null:
        return self._run.gather(self._passes.by_name[name].plan, iterations=iterations)

    def plan(self, plan: Plan) -> Plan:
        """Return a plan with the cluster-forming values at which its null in OUT was computed."""
        shared = self._passes.by_name[self._passes.where[plan.identity]]
        if len(shared.variants) < 2:
            return replace(shared.plan, name=plan.name)
        variant = shared.variants.index(plan.identity)
        if isinstance(shared.plan, BaseRateVariantsPlan):
            found = base_rate_variants.thresholds_of(shared.plan, variant)
            return of_type(BaseRatePlan, plan).with_thresholds(found)
        threshold = int(of_type(variant_null.VariantsPlan, shared.plan).threshold[variant])
        return of_type(MainEffectPlan, plan).with_null_threshold(threshold)

    def of(self, plan: Plan, *, iterations: int) -> tuple[Null, str]:
        """Return the null (iteration, statistic) and counts of a plan, and their digest: those of a run of it alone."""
        name = self._passes.where[plan.identity]
        shared = self._passes.by_name[name]
        # The counts of a contrast are sums over its iterations and must be of these alone; of a null without counts,
        # the first rows serve a plan with fewer iterations. Only shared passes are asked for repeatedly and cached: the
        # null of a contrast may take 16 MB.
        read = self._read if len(shared.variants) > 1 else self._gather
        null, counts = read(name, shared.iterations if not counts_of(plan) else iterations)
        own: npt.NDArray[np.int64] = null[:iterations]
        if len(shared.variants) > 1:
            several = base_rate_variants if isinstance(plan, BaseRatePlan) else variant_null
            own = several.null_of(own, shared.variants.index(plan.identity))
        return (own, counts), digest(own, *counts.values())
