"""Which experiments a result depends on: every analysis without each of some sets, with nulls of its own.

All sets of a main effect share one pass over its draws. A set is a group of subjects, an experiment, a study or
whatever a column names; each analysis without it has its own analytic null, cluster-forming value and Monte-Carlo cut,
as if it had been run alone at the same fixed point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses import contrast_left_out as contrasts
from ale_dask.analyses import variants
from ale_dask.analyses.contrast import above_floor, relabelled_p
from ale_dask.analyses.main_effect import UNIFORM_ALONE, plan_main_effect, survivors
from ale_dask.analyses.sample import Sample
from ale_dask.data.foci import subset, table
from ale_dask.data.subject_groups import group_names
from ale_dask.distribution.backends import cpu_count
from ale_dask.distribution.plan import Plan
from ale_dask.numerics import clusters
from ale_dask.words.config import INPUTS
from ale_dask.words.errors import InputError

Members = tuple[int, ...]
Bools = npt.NDArray[np.bool_]
Kept = dict[str, Bools]
"""Surviving voxels (voxel) by input; of a contrast (direction, voxel)."""
MOST_SETS = 10_000


@dataclass(frozen=True)
class LeftOut:
    """A set of experiments that is left out together: what it is called, and their keys."""

    label: str
    keys: frozenset[int]


def sets_of(samples: Sequence[Sample], *, by: str = "group", k: int = 1) -> list[LeftOut]:
    """Return the sets of experiments to leave out: each value of a column, or with `k` each k of them together.

    `by` is "group", of subjects, "experiment", "study" or a column of the files.

    Raises
    ------
    InputError
        for a column that a sample does not have, or more than 10,000 sets.
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
    """Return what each experiment (experiment) is left out with: its group of subjects, or its value of a column."""
    if by == "group":
        return group_names(sample.foci, sample.groups)
    columns = table(sample.foci)
    name = "id" if by == "experiment" else by
    if name not in columns:
        raise InputError(
            f"by '{by}': no such column; there are: group, experiment, {', '.join(map(str, columns.columns))}"
        )
    return [str(label) for label in columns[name].astype(str)]


@dataclass(frozen=True, eq=False)
class Family:
    """A main effect and those of its experiments without some, by which are left out; () is the whole."""

    sample: Sample
    parts: Mapping[Members, Plan]
    plan: Plan

    def members(self, left_out: LeftOut) -> Members:
        """Return the places in the sample of a set's experiments."""
        return tuple(i for i, key in enumerate(self.sample.key.tolist()) if key in left_out.keys)

    def kept(self, null: npt.NDArray[np.int64], left_out: LeftOut) -> Kept:
        """Return what survives without a set, from the null of all (iteration, variant x statistic)."""
        members, mask = self.members(left_out), self.sample.mask
        if members not in self.parts:
            return {source: np.zeros(mask.n_voxels, dtype=bool) for source in INPUTS}
        number = list(self.parts).index(members)
        own = variants.null_of(null, number)
        return survivors(self.parts[members], own, mask=mask, inference=self.sample.inference)


def family(sample: Sample, whole: Plan, *, left_out: Iterable[LeftOut], name: str) -> Family:
    """Return a main effect with those without each set, and the plan of all their nulls.

    Raises
    ------
    InputError
        where TFCE is the correction: it looks at every voxel of each map, and has no pass that serves all; or where
        the base rate alone decides.
    """
    inference, bits = sample.inference, int(whole.settings["bits"])
    if inference.correction == "tfce":
        raise InputError(f"{name}: leaving out needs a cluster or voxel correction; set another than tfce")
    if inference.null == "base-rate":
        raise InputError(f"{name}: {UNIFORM_ALONE.format('leaving out')}")
    keys = sample.key.tolist()
    wanted = dict.fromkeys(tuple(i for i, key in enumerate(keys) if key in s.keys) for s in left_out)
    wanted = {members: None for members in wanted if 0 < len(members) < len(keys)}
    rows = list(sample.rows(bits))

    def part(members: Members) -> Plan:
        keep = np.ones(len(keys), dtype=bool)
        keep[list(members)] = False
        rest = Sample(subset(sample.foci, keep), sample.mask, inference)
        own = [row for row, stays in zip(rows, keep, strict=True) if stays]
        return plan_main_effect(rest, bits=bits, name=name, rows=own)

    with ThreadPoolExecutor(cpu_count()) as pool:
        parts: dict[Members, Plan] = {(): whole, **dict(zip(wanted, pool.map(part, wanted), strict=True))}
    plan = variants.plan_variants(whole, list(parts.values()), left_out=list(parts), name=name)
    return Family(sample, parts, plan)


@dataclass(frozen=True, eq=False)
class ContrastFamily:
    """A contrast and what it takes without each of some sets: its arms' families, the pooled one's, and its counts."""

    arms: tuple[Family, Family]
    pooled: Family | None
    left_out: Sequence[LeftOut]
    plan: Plan

    @cached_property
    def _slot(self) -> npt.NDArray[np.int64]:
        return self.plan.arrays["candidate"]

    def kept(
        self,
        nulls: Callable[[Family], npt.NDArray[np.int64]],
        relabelled: npt.NDArray[np.int64],
        exceed: npt.NDArray[np.int64],
        number: int,
    ) -> Kept:
        """Return what survives (direction, voxel) without a set: gate, uncorrected p and minimum volume.

        `relabelled` (set) and `exceed` (set, 2, candidate) are those of the plan's blocks.
        """
        sample = self.arms[0].sample
        inference, mask = sample.inference, sample.mask
        p = np.full((2, mask.n_voxels), np.nan)
        if relabelled[number]:
            done = contrasts.complete(self.plan, number)
            p[:, self._slot] = relabelled_p(
                exceed[number], int(relabelled[number]), complete=done, rule=inference.relabel_p
            )
        least = inference.min_voxels(mask.voxel_volume)
        out: Kept = {}
        gates = [arm.kept(nulls(arm), self.left_out[number]) for arm in self.arms]
        if self.pooled is not None:
            gates = [self.pooled.kept(nulls(self.pooled), self.left_out[number])] * 2
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
    whole: Plan,
    left_out: Sequence[LeftOut],
    bits: int,
    name: str,
) -> ContrastFamily:
    """Return a contrast with those without each set; `disjoint` are the arms without what they share.

    `pooled` is the pooled experiments' family where it is the gate, `whole` their plan. Over the mask, the floor is
    that of the whole contrast, whoever is left out.
    """
    inference, mask = disjoint[0].inference, disjoint[0].mask
    if inference.gate == "none":
        candidate = np.flatnonzero(above_floor(whole, mask=mask, inference=inference))
    else:
        # No main effect without some experiments reaches its cluster-forming value where the whole stays below it.
        reached = np.zeros(mask.n_voxels, dtype=bool)
        for one in arms if pooled is None else (pooled,):
            least = min(int(part.settings["threshold"]) for part in one.parts.values())
            reached |= one.parts[()].arrays["s"] >= least
        candidate = np.flatnonzero(reached & mask.searched)
    keys = [np.array(sorted(s.keys), dtype=np.uint64) for s in left_out]
    plan = contrasts.plan_left_out(*disjoint, left_out=keys, candidate=candidate, bits=bits, name=name)
    return ContrastFamily(arms, pooled, left_out, plan)


def overlap(families: Sequence[Kept], *, sample: Sample) -> Kept:
    """Return where all of several main effects survive, in clusters of the minimum volume: their conjunction."""
    least = sample.inference.min_voxels(sample.mask.voxel_volume)
    return {
        source: clusters.at_least(
            np.all([kept[source] for kept in families], axis=0),
            volume=sample.mask.volume,
            minimum=least,
            connectivity=sample.inference.connectivity,
        )
        for source in INPUTS
    }


def retained(voxels: Sequence[npt.NDArray[Any]], kept: Bools) -> npt.NDArray[np.float64]:
    """Return the fraction of each cluster's voxels (cluster), float64, that also survive in another map (voxel)."""
    return np.array([np.count_nonzero(kept[v]) / len(v) for v in voxels], dtype=np.float64)
