"""Repeat analyses without each of several sets of experiments, to see on which experiments a result depends.

A set is a group of subjects, an experiment, a study or a value of a column. Each analysis without a set has its own
analytic null, cluster-forming value and Monte-Carlo cut, as if it were run alone with the same fixed point. All sets of
a main effect share one pass over its draws.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.base_rate import BaseRatePlan, plan_base_rate, wants_base_rate
from ale_dask.analyses.base_rate_result import survivors as against_base_rate
from ale_dask.analyses.contrast import above_floor
from ale_dask.analyses.contrast_result import relabelled_p
from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.main_effect import MainEffectPlan, plan_main_effect, uncorrected
from ale_dask.analyses.main_effect_result import survivors
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.sensitivity import base_rate_variants, variant_null
from ale_dask.analyses.sensitivity import contrast_jackknife as contrasts
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.foci import subset, table
from ale_dask.coordinates.subject_groups import group_names
from ale_dask.errors import InputError, did_you_mean
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.progress import clock
from ale_dask.numerics import clusters

Members = tuple[int, ...]
Bools = npt.NDArray[np.bool_]
Null = npt.NDArray[np.int64]
Significant = dict[str, Bools]
"""Whether a voxel survives, by input: (voxel), or (direction, voxel) for a contrast."""
AGAINST = "base-rate"
"""The input of voxels that survive against the base rate, where the uniform null is tested as well."""
REPEATED = ("main-effect", "contrast", "conjunction")
"""The kinds of analyses that are repeated without sets of experiments; subsamples leave some out themselves."""
MOST_SETS = 10_000
"""Largest number of sets."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeftOut:
    """A set of experiments that are left out together: its label, and their keys."""

    label: str
    keys: frozenset[int]


def sets_of(samples: Sequence[Sample], *, by: str = "group", k: int = 1) -> list[LeftOut]:
    """Return the sets of experiments to leave out: one per value of a column, or one per `k` values together.

    `by` is "group" (of subjects), "experiment", "study" or a column of the files.

    Raises
    ------
    InputError
        for an unknown column, or more than 10,000 sets.
    """
    units: dict[str, set[int]] = {}
    for sample in samples:
        for label, key in zip(_labels(sample, by), sample.key.tolist(), strict=True):
            units.setdefault(label, set()).add(key)
    names = sorted(units)
    number = len(names) if k == 1 else len(list(zip(range(MOST_SETS + 1), combinations(names, k), strict=False)))
    if not 0 < k < len(names) or number > MOST_SETS:
        raise InputError(
            f"leaving out {k} of {len(names)}: that is {'nothing to do' if k >= len(names) else 'too many sets'}; "
            f"give another k, or by=…; at most {MOST_SETS:,} sets"
        )
    return [
        LeftOut(" + ".join(chosen), frozenset().union(*(units[c] for c in chosen))) for chosen in combinations(names, k)
    ]


def _labels(sample: Sample, by: str) -> list[str]:
    """Return the label of the set of each experiment (experiment): its group of subjects, or its value of a column."""
    if by == "group":
        return group_names(sample.foci, sample.groups)
    columns = table(sample.foci)
    name = "id" if by == "experiment" else by
    if name not in columns:
        names = ["group", "experiment", *map(str, columns.columns)]
        raise InputError(f"by '{by}': no such column{did_you_mean(by, names)}; there are: {', '.join(names)}")
    return [str(label) for label in columns[name].astype(str)]


class Nulls(NamedTuple):
    """The nulls of a family (iteration, variant x statistic): of its uniform pass, and of each base-rate pass."""

    uniform: Null | None
    base_rate: Sequence[Null]


@dataclass(frozen=True, eq=False)
class Family:
    """A main effect and its repetitions without some experiments.

    `parts` has the plan of each repetition by the positions of the experiments left out; () is the whole main effect.
    `plan` is the pass of all uniform nulls, None if the base rate alone is tested, and `base_rate_passes` are the
    passes of the base-rate nulls, 32 of them in each.
    """

    sample: Sample
    parts: Mapping[Members, MainEffectPlan]
    plan: variant_null.VariantsPlan | None
    base_rate_passes: Sequence[base_rate_variants.BaseRateVariantsPlan] = ()

    def members(self, left_out: LeftOut) -> Members:
        """Return the positions in the sample of the experiments of a set."""
        return tuple(i for i, key in enumerate(self.sample.key.tolist()) if key in left_out.keys)

    @property
    def sources(self) -> tuple[str, ...]:
        """The inputs for which there are maps: AGAINST only if both nulls are tested."""
        return (*INPUTS, AGAINST) if self.plan is not None and self.base_rate_passes else INPUTS

    def significant(self, nulls: Nulls, left_out: LeftOut) -> Significant:
        """Return whether a voxel survives without a set, by input, from the nulls of the family."""
        members, mask, inference = self.members(left_out), self.sample.mask, self.sample.inference
        if members not in self.parts:
            return {source: np.zeros(mask.n_voxels, dtype=bool) for source in self.sources}
        number, part = list(self.parts).index(members), self.parts[members]
        against = self._against_base_rate(nulls, number, part) if self.base_rate_passes else None
        if nulls.uniform is None:
            assert against is not None
            return dict(zip(INPUTS, (against, uncorrected(part, mask=mask, inference=inference)), strict=True))
        uniform = survivors(part, variant_null.null_of(nulls.uniform, number), mask=mask, inference=inference)
        return uniform if against is None else {**uniform, AGAINST: against}

    def _against_base_rate(self, nulls: Nulls, number: int, part: MainEffectPlan) -> Bools:
        """Return whether a voxel (voxel) of a repetition, given by its number, survives against the base rate."""
        place, variant = divmod(number, base_rate_variants.MOST)
        null = base_rate_variants.null_of(nulls.base_rate[place], variant)
        thresholds = base_rate_variants.thresholds_of(self.base_rate_passes[place], variant)
        return against_base_rate(part.s, null, thresholds, mask=self.sample.mask, inference=self.sample.inference)


def family(
    sample: Sample,
    whole: MainEffectPlan,
    *,
    left_out: Iterable[LeftOut],
    name: str,
) -> Family:
    """Return a main effect with its repetitions without each set, and the plans of all their nulls.

    Each base-rate null has its own thresholds; the time that they take is logged.

    Raises
    ------
    InputError
        if the correction is TFCE, which needs every voxel of each map, so that no pass can serve all sets.
    """
    inference, bits = sample.inference, whole.bits
    if CORRECTION_OF[inference.correction].only_if_asked:
        raise InputError(
            f"{name}: leaving out needs a cluster or voxel correction; set another than {inference.correction}"
        )
    keys = sample.key.tolist()
    all_members = dict.fromkeys(tuple(i for i, key in enumerate(keys) if key in s.keys) for s in left_out)
    some_left = [members for members in all_members if 0 < len(members) < len(keys)]
    rows = list(sample.rows(bits))

    def remaining(members: Members) -> tuple[Sample, npt.NDArray[np.bool_]]:
        keep = np.ones(len(keys), dtype=bool)
        keep[list(members)] = False
        return Sample(subset(sample.foci, keep), sample.mask, inference) if members else sample, keep

    def plan_without(members: Members) -> MainEffectPlan:
        smaller, keep = remaining(members)
        remaining_rows = [row for row, stays in zip(rows, keep, strict=True) if stays]
        return plan_main_effect(smaller, bits=bits, name=name, rows=remaining_rows)

    with ThreadPoolExecutor(cpu_count()) as pool:
        parts: dict[Members, MainEffectPlan] = {
            (): whole,
            **dict(zip(some_left, pool.map(plan_without, some_left), strict=True)),
        }
    plan = None
    if inference.null != "base-rate":
        plan = variant_null.plan_variants(whole, list(parts.values()), left_out=list(parts), name=name)
    if not wants_base_rate(inference):
        return Family(sample, parts, plan)

    def base_rate_plan_without(members: Members) -> BaseRatePlan:
        return plan_base_rate(remaining(members)[0], main=parts[members], name=name)

    return Family(sample, parts, plan, _base_rate_passes(whole, list(parts), base_rate_plan_without, name=name))


def _base_rate_passes(
    whole: MainEffectPlan,
    left_out: Sequence[Members],
    make: Callable[[Members], BaseRatePlan],
    *,
    name: str,
) -> list[base_rate_variants.BaseRateVariantsPlan]:
    """Return the passes of the base-rate nulls of all repetitions, with at most 32 plans in memory."""
    started = time.perf_counter()
    first = make(left_out[0])
    seconds = (time.perf_counter() - started) * (len(left_out) - 1) / cpu_count()
    note = base_rate_variants.STUDIES_STAY if first.draws_studies else ""
    takes = f"take about {clock(seconds)}" if seconds >= 1 else "take less than a second"
    log.info(f"{name}: the thresholds against the base rate of {len(left_out)} samples {takes}{note}")
    passes = []
    with ThreadPoolExecutor(cpu_count()) as pool:
        for begin in range(0, len(left_out), base_rate_variants.MOST):
            some = left_out[begin : begin + base_rate_variants.MOST]
            plans = pool.map(lambda members: make(members) if members else first, some)
            passes.append(base_rate_variants.plan_base_rate_variants(whole, plans, left_out=some, name=name))
    return passes


@dataclass(frozen=True, eq=False)
class ContrastFamily:
    """A contrast with its repetitions: the families of its arms and of the pooled arms, and the plan of its counts."""

    arms: tuple[Family, Family]
    pooled: Family | None
    left_out: Sequence[LeftOut]
    plan: contrasts.ContrastLeftOutPlan

    def significant(
        self,
        nulls: Callable[[Family], Nulls],
        relabelled: npt.NDArray[np.int64],
        exceed: npt.NDArray[np.int64],
        number: int,
    ) -> Significant:
        """Return whether a voxel survives (direction, voxel) without a set: gate, uncorrected p and minimum volume.

        `relabelled` (set) is the number of relabellings and `exceed` (set, 2, candidate) the exceedance counts.
        """
        sample = self.arms[0].sample
        inference, mask = sample.inference, sample.mask
        p = np.full((2, mask.n_voxels), np.nan)
        if relabelled[number]:
            done = contrasts.complete(self.plan, number)
            p[:, self.plan.candidate] = relabelled_p(
                exceed[number], int(relabelled[number]), complete=done, rule=inference.relabel_p
            )
        least = inference.min_voxels(mask.voxel_volume)
        out: Significant = {}
        gates = [arm.significant(nulls(arm), self.left_out[number]) for arm in self.arms]
        if self.pooled is not None:
            gates = [self.pooled.significant(nulls(self.pooled), self.left_out[number])] * 2
        for source in INPUTS:
            sides = []
            for d in range(2):
                gate = np.ones(mask.n_voxels, dtype=bool) if inference.gate == "none" else gates[d][source]
                passing = gate & (np.nan_to_num(p[d], nan=1.0) < inference.contrast_p)
                sides.append(
                    clusters.at_least(passing, volume=mask.volume, minimum=least, connectivity=inference.connectivity)
                )
            out[source] = np.stack(sides)
        return out


def contrast_family(
    arms: tuple[Family, Family],
    disjoint: tuple[Sample, Sample],
    *,
    pooled: Family | None,
    whole: MainEffectPlan,
    left_out: Sequence[LeftOut],
    inside: Bools | None,
    name: str,
) -> ContrastFamily:
    """Return a contrast with its repetitions without each set.

    `disjoint` are the arms without the experiments that they share, `pooled` is the family of the pooled arms if it is
    the gate, and `whole` the plan of the pooled arms. Without a gate, candidates must reach the floor of the whole.
    What the contrast is limited to, `inside` (voxel), stays as it is.
    """
    inference, mask = disjoint[0].inference, disjoint[0].mask
    if inference.gate == "none":
        candidate = np.flatnonzero(above_floor(whole, mask=mask, inference=inference))
    else:
        # S without some experiments is at most S of the whole: voxels of the whole below every cluster-forming value
        # need not be tested.
        reached = np.zeros(mask.n_voxels, dtype=bool)
        for one in arms if pooled is None else (pooled,):
            s = one.parts[()].s
            reached |= s >= min(part.threshold for part in one.parts.values())
            for passed in one.base_rate_passes:
                reached |= s >= base_rate_variants.least_thresholds(passed)
        candidate = np.flatnonzero(reached & mask.searched)
    if inside is not None:
        candidate = candidate[inside[candidate]]
    keys = [np.array(sorted(s.keys), dtype=np.uint64) for s in left_out]
    plan = contrasts.plan_left_out(*disjoint, left_out=keys, candidate=candidate, bits=whole.bits, name=name)
    return ContrastFamily(arms, pooled, left_out, plan)


def conjunction_of(families: Sequence[Significant], *, sample: Sample, inside: Bools) -> Significant:
    """Return the conjunction of main effects: voxels that survive in all, inside, in clusters of the minimum volume."""
    least = sample.inference.min_voxels(sample.mask.voxel_volume)
    return {
        source: clusters.at_least(
            inside & np.all([kept[source] for kept in families], axis=0),
            volume=sample.mask.volume,
            minimum=least,
            connectivity=sample.inference.connectivity,
        )
        for source in INPUTS
    }


def overlap_fractions(voxels: Sequence[npt.NDArray[Any]], kept: Bools) -> npt.NDArray[np.float64]:
    """Return the fraction of the voxels of each cluster (cluster), float64, that survive in another map (voxel)."""
    return np.array([np.count_nonzero(kept[v]) / len(v) for v in voxels], dtype=np.float64)
