"""Plan the passes over random draws that many studies share, so that no null is computed twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.corrections import STATISTICS
from ale_dask.analyses.kinds import counts_of, iterations_of
from ale_dask.analyses.null_draws import DrawnPlan, draws_of
from ale_dask.analyses.sensitivity import variant_null
from ale_dask.analyses.study_plans import Null, PreparedStudy
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.block_store import store_plan
from ale_dask.execution.plan import Plan, digest, of_type
from ale_dask.storage.location import Place
from ale_dask.workflows.run_directory import Run


@dataclass(frozen=True, eq=False)
class Pass:
    """One plan, the number of its iterations, and the identities of the main effects that it serves, in order."""

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
    values, unless their null has a statistic that is computed only if asked for, such as TFCE, which needs every voxel
    of each map. All other plans are run once per identity.
    """
    by_identity: dict[str, Pass] = {}
    for label, plans_of_study in plans.items():
        for plan in plans_of_study.values():
            iterations = iterations_of(plan, prepared[label].study.inference)
            known = by_identity.get(plan.identity)
            by_identity[plan.identity] = Pass(plan, max(iterations, known.iterations if known else 0))
    by_draws: dict[str, list[Pass]] = {}
    by_name: dict[str, Pass] = {}
    where: dict[str, str] = {}
    for identity, single in by_identity.items():
        if isinstance(single.plan, main_effects.MainEffectPlan) and single.plan.statistics == STATISTICS:
            by_draws.setdefault(_hash_of_draws(single.plan), []).append(single)
        else:
            name = f"{single.plan.kind}-{identity[:16]}"
            by_name[name] = replace(single, plan=replace(single.plan, name=name))
            where[identity] = name
    for sharing in by_draws.values():
        identities = tuple(m.plan.identity for m in sharing)
        if len(sharing) == 1:
            plan = sharing[0].plan
        else:
            plans_of = [of_type(main_effects.MainEffectPlan, m.plan) for m in sharing]
            plan = variant_null.plan_variants(plans_of[0], plans_of, left_out=[()] * len(plans_of), name="")
        name = f"{plan.kind}-{plan.identity[:16]}"
        iterations = max(m.iterations for m in sharing)
        by_name[name] = Pass(replace(plan, name=name), iterations, identities)
        where |= dict.fromkeys(identities, name)
    return Passes(by_name, where, sum(map(len, plans.values())))


def _hash_of_draws(plan: DrawnPlan) -> str:
    """Return a hash of everything that the randomly drawn sums of a main effect depend on."""
    digest_of_draws = hashlib.sha256(f"{plan.bits} {plan.additive}".encode())
    for name, array in draws_of(plan).items():
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


class Nulls:
    """Reads the nulls of passes in OUT, and returns that of each plan."""

    def __init__(self, out: Place, passes: Passes) -> None:
        self._run, self._passes = Run.at(out), passes
        self._read = lru_cache(maxsize=64)(self._gather)

    def _gather(self, name: str, iterations: int) -> Null:
        return self._run.gather(self._passes.by_name[name].plan, iterations=iterations)

    def plan(self, plan: Plan) -> Plan:
        """Return a plan with the cluster-forming value at which its null in OUT was computed."""
        shared = self._passes.by_name[self._passes.where[plan.identity]]
        if len(shared.variants) < 2:
            return replace(shared.plan, name=plan.name)
        thresholds = of_type(variant_null.VariantsPlan, shared.plan).threshold
        threshold = int(thresholds[shared.variants.index(plan.identity)])
        return of_type(main_effects.MainEffectPlan, plan).with_null_threshold(threshold)

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
            own = variant_null.null_of(own, shared.variants.index(plan.identity))
        return (own, counts), digest(own, *counts.values())
