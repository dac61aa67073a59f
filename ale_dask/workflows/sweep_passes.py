"""The passes that many studies take together: main effects of the same draws in one, and nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.corrections import TFCE
from ale_dask.analyses.kinds import counts_of, iterations_of
from ale_dask.analyses.sensitivity import variant_null
from ale_dask.analyses.study_plans import Null, PreparedStudy
from ale_dask.execution.block_store import store_plan
from ale_dask.execution.plan import Plan, digest
from ale_dask.storage.location import Place
from ale_dask.workflows.run_directory import Run


@dataclass(frozen=True, eq=False)
class Pass:
    """One plan, the iterations it is run for, and which main effects, by identity, it holds in this order."""

    plan: Plan
    iterations: int
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Passes:
    """All passes by the name they have in OUT, and where each plan's null is: by its identity."""

    by_name: Mapping[str, Pass]
    where: Mapping[str, str]
    asked: int
    """Nulls that the studies would take one by one."""


def passes(prepared: Mapping[str, PreparedStudy], plans: Mapping[str, Mapping[str, Plan]]) -> Passes:
    """Return the passes that serve every plan of some studies, by the studies' labels.

    Main effects with the same experiments, kernels, mask and draws are one pass, whatever their cluster-forming
    values; TFCE, which looks at every voxel of a map, has its own. Everything else is run once for each identity.
    """
    wanted: dict[str, Pass] = {}
    for label, made in plans.items():
        for plan in made.values():
            iterations = iterations_of(plan, prepared[label].study.inference)
            known = wanted.get(plan.identity)
            wanted[plan.identity] = Pass(plan, max(iterations, known.iterations if known else 0))
    families: dict[str, list[Pass]] = {}
    by_name: dict[str, Pass] = {}
    where: dict[str, str] = {}
    for identity, one in wanted.items():
        if one.plan.kind == main_effects.KIND and TFCE not in one.plan.statistics:
            families.setdefault(_draws(one.plan), []).append(one)
        else:
            name = f"{one.plan.kind}-{identity[:16]}"
            by_name[name] = replace(one, plan=replace(one.plan, name=name))
            where[identity] = name
    for members in families.values():
        identities = tuple(m.plan.identity for m in members)
        if len(members) == 1:
            plan = members[0].plan
        else:
            plans_of = [m.plan for m in members]
            plan = variant_null.plan_variants(plans_of[0], plans_of, left_out=[()] * len(plans_of), name="")
        name = f"{plan.kind}-{plan.identity[:16]}"
        iterations = max(m.iterations for m in members)
        by_name[name] = Pass(replace(plan, name=name), iterations, identities)
        where |= dict.fromkeys(identities, name)
    return Passes(by_name, where, sum(map(len, plans.values())))


def _draws(plan: Plan) -> str:
    """Return a hash of what the permuted sums of a main effect come from."""
    out = hashlib.sha256(f"{plan.settings['bits']} {plan.settings['additive']}".encode())
    for name, array in main_effects.draws_of(plan, variant_null.SHARED).items():
        out.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return out.hexdigest()


def _itself(plan: Plan) -> Plan:
    return plan


def kept(out: Place, made: Passes) -> Passes:
    """Return the passes with their plans as OUT keeps them, which are the first that were made there."""
    stored = {}
    for name, one in made.by_name.items():
        plan = store_plan(
            out,
            partial(_itself, one.plan),
            name=name,
            identity=one.plan.identity,
            conventions=dict(one.plan.settings["conventions"]),
        )
        stored[name] = replace(one, plan=plan)
    return replace(made, by_name=stored)


class Nulls:
    """The nulls of passes in OUT, read once, given out plan by plan."""

    def __init__(self, out: Place, made: Passes) -> None:
        self._run, self._made = Run.at(out), made
        self._read = lru_cache(maxsize=64)(self._gather)

    def _gather(self, name: str, iterations: int) -> Null:
        plan = self._made.by_name[name].plan
        return self._run.gather(plan, iterations=iterations)

    def plan(self, plan: Plan) -> Plan:
        """Return a plan with the cluster-forming value that its null in OUT was computed at."""
        one = self._made.by_name[self._made.where[plan.identity]]
        if len(one.variants) < 2:
            return replace(one.plan, name=plan.name)
        threshold = int(one.plan.arrays["threshold"][one.variants.index(plan.identity)])
        value = "null_threshold" if "null_threshold" in plan.settings else "threshold"
        return replace(plan, settings={**plan.settings, value: threshold})

    def of(self, plan: Plan, *, iterations: int) -> tuple[Null, str]:
        """Return a plan's null (iteration, statistic) with its counts, and their digest, as a run of it alone has."""
        name = self._made.where[plan.identity]
        one = self._made.by_name[name]
        # A contrast's counts end where its iterations do; a null's first rows are all that a shorter run needs.
        # Only main effects of one pass are asked for again; a contrast's null may take 16 MB.
        read = self._read if len(one.variants) > 1 else self._gather
        null, counts = read(name, one.iterations if not counts_of(plan) else iterations)
        own: npt.NDArray[np.int64] = null[:iterations]
        if len(one.variants) > 1:
            own = variant_null.null_of(own, one.variants.index(plan.identity))
        return (own, counts), digest(own, *counts.values())
