"""Compute a contrast without each of several sets of experiments, with all relabellings of the remaining ones.

An iteration of such a plan is one set of experiments to leave out, and a block holds its counts over all relabellings.
The random numbers of an experiment do not depend on which other experiments are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.contrast_clusters import CandidatePlan
from ale_dask.analyses.contrast_rows import Rows, rows_by_candidate
from ale_dask.analyses.main_effect import identity_of
from ale_dask.analyses.sample import Sample
from ale_dask.execution.plan import Setting, StoredArray
from ale_dask.numerics.contrast import Candidates, count_exceedances, exponential_digits, n_relabellings, relabellings

KIND = "contrast-left-out"
EXCEED = "exceed"
_AT_ONCE = 4096
"""Number of relabellings that are in memory at a time: 1 MB for 240 experiments."""
I64 = npt.NDArray[np.int64]


class ContrastLeftOutPlan(CandidatePlan, kind=KIND):
    """Plan of a contrast without each of some sets of experiments."""

    iterations = Setting(int)
    """The relabellings of those that are left, if there are so many."""
    first_arm = StoredArray[np.bool_]()
    """Which experiments are of the first arm (experiment)."""
    group_begin = StoredArray[np.int64]()
    """The first member of each set, and the number of members (set + 1)."""
    member = StoredArray[np.int64]()
    """The experiments that are left out with each set (member)."""

    @property
    def group(self) -> npt.NDArray[np.int32]:
        """The group of subjects of each experiment (experiment)."""
        return self.arrays.get("group", np.arange(len(self.first_arm), dtype=np.int32))


def plan_left_out(
    a: Sample,
    b: Sample,
    *,
    left_out: Sequence[npt.NDArray[np.uint64]],
    candidate: npt.NDArray[np.intp],
    bits: int,
    name: str,
) -> ContrastLeftOutPlan:
    """Return the frozen plan of a - b without each set of experiments (keys), at the candidate voxels (candidate)."""
    inference = a.inference
    rows = rows_by_candidate(a, b, candidate=candidate, bits=bits)
    members = [np.flatnonzero(np.isin(rows.key, keys)) for keys in left_out]
    conventions: dict[str, Any] = {
        "arms": [s.conventions(bits) for s in (a, b)],
        "left_out": [m.tolist() for m in members],
        "candidates": identity_of("voxels", {"voxels": candidate.tolist()}),
        "iterations": inference.iterations,
        **({"groups": rows.group.tolist()} if rows.group_arrays else {}),
    }
    return ContrastLeftOutPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=("relabellings",),
        settings={"conventions": conventions, "bits": bits, "iterations": inference.iterations},
        arrays={
            **rows.plan_arrays(candidate, seed=inference.seed),
            **left_out_arrays(rows, members),
        },
    )


def left_out_arrays(rows: Rows, members: Sequence[npt.NDArray[np.intp]]) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a plan that leaves out sets of experiments, the members of each."""
    return {
        "first_arm": rows.first_arm,
        "group_begin": np.r_[0, np.cumsum([len(m) for m in members])].astype(np.int64),
        "member": np.concatenate([np.empty(0, dtype=np.int64), *members]),
    }


def left_of(plan: ContrastLeftOutPlan, number: int) -> npt.NDArray[np.bool_]:
    """Return whether an experiment (experiment) remains when the set with a number is left out."""
    first, last = plan.group_begin[number : number + 2]
    left = np.ones(len(plan.first_arm), dtype=bool)
    left[plan.member[first:last]] = False
    return left


@dataclass(frozen=True, eq=False)
class Groups:
    """The subject groups that are relabelled: key and arm (group), and the group of each remaining experiment."""

    key: npt.NDArray[np.uint64]
    first_arm: npt.NDArray[np.bool_]
    of_experiment: npt.NDArray[np.int32]


def groups_of(plan: ContrastLeftOutPlan, left: npt.NDArray[np.bool_]) -> Groups:
    """Return the subject groups that have remaining experiments `left` (experiment), in the order of their keys."""
    present, one, of_experiment = np.unique(plan.group[left], return_index=True, return_inverse=True)
    first_arm = plan.first_arm[left][one]
    return Groups(plan.draw_key[present], first_arm, of_experiment.astype(np.int32))


def without(plan: ContrastLeftOutPlan, number: int) -> tuple[Candidates, npt.NDArray[np.bool_]]:
    """Return the candidates without a set of experiments, and whether each experiment (experiment) remains."""
    begin, experiment = plan.begin, plan.experiment
    left = left_of(plan, number)
    kept = left[experiment]
    at = np.repeat(np.arange(len(begin) - 1), np.diff(begin))[kept]
    value, place = plan.value[kept], (np.cumsum(left) - 1)[experiment[kept]]
    n = len(begin) - 1
    in_first = plan.first_arm[experiment[kept]]
    total = np.zeros((2, n), dtype=np.int64)
    np.add.at(total[0], at, value)
    np.add.at(total[1], at[in_first], value[in_first])
    counts = np.bincount(at, minlength=n)
    # Only exceedances are counted; without components no maximum is computed.
    nowhere = np.full(n, -1, dtype=np.int64)
    rows = (np.r_[0, np.cumsum(counts)].astype(np.int64), place.astype(np.int32), value)
    return Candidates(*rows, total[0], total[1], nowhere), left


def block(plan: ContrastLeftOutPlan, first: int, count: int) -> dict[str, I64]:
    """Return null (set, 1), the number of relabellings, and exceed (set, 2, candidate), exceedance counts, int64."""
    bits, most = plan.bits, plan.iterations
    digits = exponential_digits(bits)
    exceed = np.zeros((count, 2, len(plan.candidate)), dtype=np.int64)
    number = np.zeros((count, 1), dtype=np.int64)
    for i in range(count):
        candidates, left = without(plan, first + i)
        groups = groups_of(plan, left)
        first_arm = groups.first_arm
        if first_arm.all() or not first_arm.any():
            continue
        behind = not first_arm[0]
        size = int(np.count_nonzero(first_arm == first_arm[0]))
        possible = n_relabellings(len(first_arm), size)
        number[i] = n = min(possible, most)
        for start in range(0, n, _AT_ONCE):
            chosen = relabellings(
                groups.key,
                size=size,
                first=start,
                count=min(_AT_ONCE, n - start),
                enumerate_all=possible <= most,
                complement=behind,
                group=groups.of_experiment,
            )
            nothing = np.empty((len(chosen), 2, 0), dtype=np.int64)
            count_exceedances(chosen, candidates, digits, bits, exceed[i], nothing)
    return {"null": number, EXCEED: exceed}


def complete(plan: ContrastLeftOutPlan, number: int) -> bool:
    """Return whether all possible relabellings without a set of experiments were computed."""
    first_arm = groups_of(plan, left_of(plan, number)).first_arm
    return n_relabellings(len(first_arm), int(first_arm.sum())) <= plan.iterations
