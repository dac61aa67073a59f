"""A contrast without some of its experiments, each time with all relabellings of the others.

What a plan calls an iteration is here one set of experiments left out: a block holds its counts over all relabellings.
The draws of the others are theirs, whoever is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.contrast_rows import rows_by_candidate
from ale_dask.analyses.main_effect import identity_of
from ale_dask.analyses.sample import Sample
from ale_dask.execution.plan import Plan
from ale_dask.numerics.contrast import Candidates, count_exceedances, exponential_digits, n_relabellings, relabellings
from ale_dask.numerics.draws import RELABEL, draw_keys

KIND = "contrast-left-out"
EXCEED = "exceed"
_AT_ONCE = 4096
"""Relabellings of 240 experiments that are held in memory, 1 MB."""
I64 = npt.NDArray[np.int64]


def plan_left_out(
    a: Sample,
    b: Sample,
    *,
    left_out: Sequence[npt.NDArray[np.uint64]],
    candidate: npt.NDArray[np.intp],
    bits: int,
    name: str,
) -> Plan:
    """Return the frozen plan of a - b without each of some sets of experiments (keys), at some voxels (candidate)."""
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
    return Plan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=("relabellings",),
        settings={"conventions": conventions, "bits": bits, "iterations": inference.iterations},
        arrays={
            "draw_key": draw_keys(rows.group_key, seed=inference.seed, stream=RELABEL),
            "first_arm": rows.first_arm,
            **rows.group_arrays,
            "candidate": candidate.astype(np.int64),
            "begin": rows.begin,
            "experiment": rows.experiment,
            "value": rows.value,
            "group_begin": np.r_[0, np.cumsum([len(m) for m in members])].astype(np.int64),
            "member": np.concatenate([np.empty(0, dtype=np.int64), *members]),
        },
    )


def left_of(plan: Plan, number: int) -> npt.NDArray[np.bool_]:
    """Return which experiments (experiment) are left without a set of them."""
    first, last = plan.arrays["group_begin"][number : number + 2]
    left = np.ones(len(plan.arrays["first_arm"]), dtype=bool)
    left[plan.arrays["member"][first:last]] = False
    return left


@dataclass(frozen=True, eq=False)
class Groups:
    """What is relabelled of the experiments left: key and arm of each group, the group of each experiment."""

    key: npt.NDArray[np.uint64]
    first_arm: npt.NDArray[np.bool_]
    of_experiment: npt.NDArray[np.int32]


def groups_of(plan: Plan, left: npt.NDArray[np.bool_]) -> Groups:
    """Return the subject groups of which experiments (experiment) are left, in the order of their keys."""
    group = plan.arrays.get("group", np.arange(len(left), dtype=np.int32))[left]
    present, one, of_experiment = np.unique(group, return_index=True, return_inverse=True)
    first_arm = plan.arrays["first_arm"][left][one]
    return Groups(plan.arrays["draw_key"][present], first_arm, of_experiment.astype(np.int32))


def without(plan: Plan, number: int) -> tuple[Candidates, npt.NDArray[np.bool_]]:
    """Return the rows by candidate without a set of experiments, and which experiments (experiment) are left."""
    begin, experiment = plan.arrays["begin"], plan.arrays["experiment"]
    left = left_of(plan, number)
    kept = left[experiment]
    at = np.repeat(np.arange(len(begin) - 1), np.diff(begin))[kept]
    value, place = plan.arrays["value"][kept], (np.cumsum(left) - 1)[experiment[kept]]
    n = len(begin) - 1
    in_first = plan.arrays["first_arm"][experiment[kept]]
    total = np.zeros((2, n), dtype=np.int64)
    np.add.at(total[0], at, value)
    np.add.at(total[1], at[in_first], value[in_first])
    counts = np.bincount(at, minlength=n)
    # Counts only: no maximum is asked for, so no voxel belongs to any component.
    nowhere = np.full(n, -1, dtype=np.int64)
    rows = (np.r_[0, np.cumsum(counts)].astype(np.int64), place.astype(np.int32), value)
    return Candidates(*rows, total[0], total[1], nowhere), left


def block(plan: Plan, first: int, count: int) -> dict[str, I64]:
    """Return null (set left out, 1), the number of relabellings, and exceed (set x 2 x candidate), int64."""
    bits, wanted = int(plan.settings["bits"]), int(plan.settings["iterations"])
    digits = exponential_digits(bits)
    exceed = np.zeros((count, 2, len(plan.arrays["candidate"])), dtype=np.int64)
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
        number[i] = n = min(possible, wanted)
        for start in range(0, n, _AT_ONCE):
            chosen = relabellings(
                groups.key,
                size=size,
                first=start,
                count=min(_AT_ONCE, n - start),
                enumerate_all=possible <= wanted,
                complement=behind,
                group=groups.of_experiment,
            )
            nothing = np.empty((len(chosen), 2, 0), dtype=np.int64)
            count_exceedances(chosen, candidates, digits, bits, exceed[i], nothing)
    return {"null": number, EXCEED: exceed}


def complete(plan: Plan, number: int) -> bool:
    """Return whether all relabellings that there are without a set of experiments were gone through."""
    first_arm = groups_of(plan, left_of(plan, number)).first_arm
    return n_relabellings(len(first_arm), int(first_arm.sum())) <= int(plan.settings["iterations"])
