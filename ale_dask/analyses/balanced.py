"""Two main effects compared in many pairs of equally large subsamples: in what share of them do they differ?

Each pair has a null of its own: its groups of subjects are relabelled, as those of a contrast are. An iteration of the
plan is one pair, and a block adds up in how many of its pairs each voxel survives.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.contrast_clusters import family_wise_p
from ale_dask.analyses.contrast_result import relabelled_p
from ale_dask.analyses.contrast_rows import rows_by_candidate
from ale_dask.analyses.corrections import CLUSTER_SHORTS
from ale_dask.analyses.findings.model import ContrastResult
from ale_dask.analyses.main_effect import identity_of, sums_and_null
from ale_dask.analyses.main_effect_result import result_attrs, search_variables
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.sensitivity.contrast_jackknife import ContrastLeftOutPlan, groups_of, left_out_arrays, without
from ale_dask.analyses.subsamples import (
    check_size,
    large_enough,
    n_groups,
    n_subsamples,
    names_of_groups,
    ranked,
    shares,
    subsamples_of,
)
from ale_dask.config.analysis import INPUTS, BalancedContrast
from ale_dask.config.inference import RelabelP
from ale_dask.errors import InputError
from ale_dask.execution.plan import Setting
from ale_dask.numerics import correct
from ale_dask.numerics.contrast import (
    DIFFERENCE_BITS,
    Candidates,
    count_exceedances,
    difference_map,
    exponential_digits,
    n_relabellings,
    relabellings,
)
from ale_dask.numerics.contrast_clusters import Draw
from ale_dask.schema import Variable, describe

KIND = "balanced-contrast"
SURVIVES = "survives"
LEVELS: tuple[str, ...] = ("voxel-fwe", "uncorrected")
"""What a voxel of a pair survives: the family-wise p by the largest difference, and the uncorrected p."""
CLUSTER_LEVELS = tuple(f"{measure}-fwe" for measure in CLUSTER_SHORTS)
"""What the cluster of a voxel of a pair survives, where clusters are tested."""
CONTROLS = (
    "nothing beyond each pair of subsamples: every one of them controls its own error, and a share of pairs is no p; "
    "it shows how far a difference hangs on which groups of subjects there happen to be"
)
_AT_ONCE = 4096
Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
_OWN = (
    *(
        Variable(f"balanced_share{end}", ("level", "direction", "voxel"), "f", "share of pairs", f"that differ{what}")
        for end, what in (("", ""), ("_low", ", 95 % interval, lower end"), ("_high", ", 95 % interval, upper end"))
    ),
    Variable("balanced_clusters", ("level", "voxel"), "f", "share of pairs", "signed, where it is large enough"),
    Variable("balanced_difference", ("voxel",), "f", "probability", "mean over pairs of ALE, first arm minus second"),
    *(
        Variable(
            f"pair_has_{arm}", ("pair", f"{arm}_group"), "b", "", f"whether the pair has the group of the {arm} arm"
        )
        for arm in ("first", "second")
    ),
    Variable("pair_volume", ("level", "direction", "pair"), "i", "voxels", "that survive in the pair"),
    Variable("pair_clusters", ("direction", "pair"), "i", "", "clusters that are tested in the pair"),
    Variable("pair_relabellings", ("pair",), "i", "", "number of relabellings of the pair"),
)


class BalancedResult(ContrastResult, kind=KIND):
    """View a Dataset as a balanced contrast."""

    title = "Balanced contrast"

    @property
    def directions(self) -> tuple[str, ...]:
        """Both directions in words, in the order of `signs`: ("drug > therapy, balanced", …)."""
        greater, less = super().directions
        return f"{greater}, balanced", f"{less}, balanced"

    def shown_level(self, source: str) -> str:
        """Return the corrected map, or the uncorrected one at that input."""
        return LEVELS[0] if source == INPUTS[0] else LEVELS[1]

    def _rank(self, values: npt.NDArray[Any], level: str) -> npt.NDArray[Any]:
        return ranked(values, self.dataset["balanced_difference"].values)


class BalancedPlan(ContrastLeftOutPlan, kind=KIND):
    """Plan of the relabellings of each pair of subsamples; `iterations` are the relabellings of one pair."""

    contrast_p = Setting(float)
    """The level of both tests."""
    relabel_p = Setting(str)
    """The rule of the uncorrected p."""

    @property
    def pairs(self) -> int:
        """The number of pairs."""
        return len(self.group_begin) - 1


def size_of(a: Sample, b: Sample, analysis: BalancedContrast) -> int:
    """Return the groups of subjects in each subsample: one fewer than the smaller arm has, unless a size is given."""
    return min(n_groups(a), n_groups(b)) - 1 if analysis.size is None else analysis.size


def check_balanced(a: Sample, b: Sample, analysis: BalancedContrast, *, name: str) -> None:
    """Raise an error for subsamples that cannot be taken of both arms.

    Raises
    ------
    InputError
        for arms of fewer than three groups of subjects, and a size that leaves no group of an arm out.
    """
    for arm, of in zip((a, b), analysis.arms, strict=True):
        if n_groups(arm) < 3:
            raise InputError(
                f"analysis.{name}: '{of}' has {n_groups(arm)} groups of subjects that the other arm has not; "
                "subsamples need at least 3"
            )
        check_size(arm, size=size_of(a, b, analysis), name=name, of=of)


def conventions_of(a: Sample, b: Sample, analysis: BalancedContrast, *, bits: int) -> dict[str, Any]:
    """Return every setting that changes a number of the plan; a hash over it is the identity."""
    inference, size = a.inference, size_of(a, b, analysis)
    possible = n_subsamples(a, size=size) * n_subsamples(b, size=size)
    groups = [s.groups.tolist() for s in (a, b)]
    return {
        "arms": [s.conventions(bits) for s in (a, b)],
        "size": size,
        "pairs": min(possible, analysis.subsamples),
        "enumerate": possible <= analysis.subsamples,
        "iterations": inference.iterations,
        "contrast_p": inference.contrast_p,
        "relabel_p": inference.relabel_p,
        "floor": inference.contrast_floor,
        # Only where a group has several experiments: otherwise they are counted up.
        **({"groups": groups} if n_groups(a) + n_groups(b) < len(a.key) + len(b.key) else {}),
    }


def plan_balanced(a: Sample, b: Sample, analysis: BalancedContrast, *, bits: int, name: str) -> BalancedPlan:
    """Return the frozen plan of all pairs of subsamples of the arms a and b.

    Voxels are compared where the experiments of both arms together have an uncorrected p below the floor, a region that
    no relabelling changes.
    """
    inference, conventions = a.inference, conventions_of(a, b, analysis, bits=bits)
    candidate = _compared_voxels(a, b, bits=bits)
    rows = rows_by_candidate(a, b, candidate=candidate, bits=bits)
    # The rows are in the order of the experiments' keys.
    order = np.argsort(np.concatenate([a.key, b.key]), kind="stable")
    pairs = zip(_chosen(a, b, conventions), (a, b), strict=True)
    has = np.concatenate([groups[:, arm.groups] for groups, arm in pairs], axis=1)[:, order]
    left_out = [np.flatnonzero(~members) for members in has]
    return BalancedPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=("relabellings", *(f"{level}:{side}" for level in LEVELS for side in ("greater", "less"))),
        settings={
            "conventions": conventions,
            "bits": bits,
            "iterations": inference.iterations,
            "contrast_p": inference.contrast_p,
            "relabel_p": inference.relabel_p,
        },
        arrays={
            **rows.plan_arrays(candidate, seed=inference.seed),
            **left_out_arrays(rows, left_out),
        },
    )


def _compared_voxels(a: Sample, b: Sample, *, bits: int) -> npt.NDArray[np.intp]:
    mask, floor = a.mask, a.inference.contrast_floor
    if not floor:
        return np.flatnonzero(mask.searched)
    s, null = sums_and_null([*a.rows(bits), *b.rows(bits)], n_voxels=mask.n_voxels, bits=bits)
    return np.flatnonzero(mask.searched & (s >= null.critical(floor)))


def _chosen(a: Sample, b: Sample, conventions: dict[str, Any]) -> tuple[Bools, Bools]:
    """Return which groups of subjects of each arm each pair of subsamples has (pair, group)."""
    how = {"size": conventions["size"], "number": conventions["pairs"], "complete": conventions["enumerate"]}
    one, two = (subsamples_of(arm, **how).chosen for arm in (a, b))
    if not conventions["enumerate"]:
        return one, two
    return np.repeat(one, len(two), axis=0), np.tile(two, (len(one), 1))


def block(plan: BalancedPlan, first: int, count: int) -> dict[str, I64]:
    """Return null (pair, 1 + level x direction) and survives (1 + level x direction, candidate), int64.

    The null has the number of relabellings of each pair and of its voxels that survive; the counts are the sum of the
    differences of ALE, in units of 2^-40, and the number of pairs in which each voxel survives.
    """
    null = np.zeros((count, len(plan.statistics)), dtype=np.int64)
    counts = np.zeros((1 + 2 * len(LEVELS), len(plan.candidate)), dtype=np.int64)
    for i in range(count):
        n, difference, survives = _pair(plan, first + i)
        null[i] = [n, *survives.sum(axis=1)]
        counts[0] += difference
        counts[1:] += survives
    return {"null": null, SURVIVES: counts}


def _pair(plan: BalancedPlan, number: int) -> tuple[int, I64, Bools]:
    """Return the relabellings of a pair, its differences (candidate), and which voxels survive (2 x 2, candidate)."""
    candidates, left = without(plan, number)
    # One component holds all voxels that are compared: their largest difference is what corrects.
    candidates = candidates._replace(component=np.zeros(len(candidates.total), dtype=np.int64))
    n, complete, exceed, greatest = _relabelled(plan, candidates, left)
    difference = np.empty(len(candidates.total), dtype=np.int64)
    difference_map(candidates.observed, candidates.total, exponential_digits(plan.bits), difference)
    rule: RelabelP = "share" if plan.relabel_p == "share" else "plus-one"
    uncorrected = relabelled_p(exceed, n, complete=complete, rule=rule) < plan.contrast_p
    r = np.stack([correct.exceedances(greatest[:, d], sign * difference) for d, sign in enumerate((1, -1))])
    corrected = family_wise_p(r, n, complete=complete) <= plan.contrast_p
    return n, difference, np.concatenate([corrected, uncorrected])


def drawn(plan: BalancedPlan, left: Bools) -> tuple[int, bool, Draw]:
    """Return the number of relabellings of a pair, whether these are all, and the function that draws them."""
    groups = groups_of(plan, left)
    first_arm = groups.first_arm
    possible = n_relabellings(len(first_arm), int(first_arm.sum()))
    complete = possible <= plan.iterations
    draw = partial(
        relabellings,
        groups.key,
        # Both arms of a pair have equally many groups; the one with the smallest key is drawn.
        size=int(np.count_nonzero(first_arm == first_arm[0])),
        enumerate_all=complete,
        complement=not first_arm[0],
        group=groups.of_experiment,
    )
    return min(possible, plan.iterations), complete, draw


def _relabelled(plan: BalancedPlan, candidates: Candidates, left: Bools) -> tuple[int, bool, I64, I64]:
    """Return the number of relabellings of a pair, whether these are all, exceedances, and largest differences."""
    (n, complete, draw), digits = drawn(plan, left), exponential_digits(plan.bits)
    exceed = np.zeros((2, len(candidates.total)), dtype=np.int64)
    greatest = np.full((n, 2, 1), -(2**DIFFERENCE_BITS), dtype=np.int64)
    for start in range(0, n, _AT_ONCE):
        part = greatest[start : start + _AT_ONCE]
        count_exceedances(draw(first=start, count=len(part)), candidates, digits, plan.bits, exceed, part)
    return n, complete, exceed, greatest[:, :, 0]


def collect(
    a: Sample,
    b: Sample,
    plan: BalancedPlan,
    null: I64,
    counts: I64,
    *,
    analysis: BalancedContrast,
    second: tuple[I64, I64] | None = None,
) -> xr.Dataset:
    """Return the result: the share of pairs (level, direction, voxel) that differ, and the mean difference (voxel).

    `null` is (pair, 1 + level x direction), and `counts` (1 + level x direction, candidate) what blocks added up;
    `second` are those of the second pass, (pair, direction + measure x direction) and (measure x direction, candidate).
    """
    mask, n, chosen = a.mask, len(null), _chosen(a, b, plan.conventions)
    levels, survive, volume = _at_levels(null[:, 1:], counts[1:], second)
    found = np.zeros((len(levels), 2, mask.n_voxels), dtype=np.int64)
    found[:, :, plan.candidate] = survive
    difference = np.zeros(mask.n_voxels, dtype=np.float32)
    difference[plan.candidate] = counts[0] / (n * 2.0**DIFFERENCE_BITS)
    share, low, high = (
        ends.astype(np.float32) for ends in shares(found, n, complete=bool(plan.conventions["enumerate"]))
    )
    result = xr.Dataset(
        {
            **_share_variables(share, low, high, least=analysis.share, sample=a),
            "balanced_difference": ("voxel", difference),
            "pair_has_first": (("pair", "first_group"), chosen[0]),
            "pair_has_second": (("pair", "second_group"), chosen[1]),
            "pair_volume": (("level", "direction", "pair"), volume),
            **({} if second is None else {"pair_clusters": (("direction", "pair"), second[0][:, :2].T)}),
            "pair_relabellings": ("pair", null[:, 0]),
            "voxel_ijk": (("voxel", "axis"), mask.voxel_ijk),
            **search_variables(mask),
        },
        coords={
            "level": np.array(levels, dtype=object),
            "first_group": names_of_groups(a),
            "second_group": names_of_groups(b),
        },
    )
    return describe(result, *_OWN).assign_attrs(
        **result_attrs(mask, a.inference, plan),
        arms=list(analysis.arms),
        controls=CONTROLS,
        share=analysis.share,
        largest_share=share.max(axis=2).astype(float).tolist(),
        with_any=(volume > 0).sum(axis=2).tolist(),
        **_pair_attrs(a, b, plan, null),
    )


def _share_variables(
    share: npt.NDArray[np.float32],
    low: npt.NDArray[np.float32],
    high: npt.NDArray[np.float32],
    *,
    least: float,
    sample: Sample,
) -> dict[str, tuple[Any, Any]]:
    """Return the share of pairs (level, direction, voxel), its interval, and where it is at least `least`, signed."""
    # Where both directions are large enough, the one that more pairs show.
    sign = np.where(share[:, 0] >= share[:, 1], 1, -1)
    shown = [large_enough(each, least, sample) for each in share.max(axis=1)]
    dims = ("level", "direction", "voxel")
    return {
        "balanced_share": (dims, share),
        "balanced_share_low": (dims, low),
        "balanced_share_high": (dims, high),
        "balanced_clusters": (("level", "voxel"), (sign * shown).astype(np.float32)),
    }


def _at_levels(volumes: I64, counts: I64, second: tuple[I64, I64] | None) -> tuple[tuple[str, ...], I64, I64]:
    """Return the levels, the pairs in which each voxel survives, and the voxels that survive in each pair.

    These are (level, direction, candidate) and (level, direction, pair).
    """
    levels = LEVELS
    if second is not None:
        levels = (*LEVELS, *CLUSTER_LEVELS)
        counts, volumes = np.concatenate([counts, second[1]]), np.concatenate([volumes, second[0][:, 2:]], axis=1)
    return levels, counts.reshape(len(levels), 2, -1), volumes.T.reshape(len(levels), 2, -1)


def _pair_attrs(a: Sample, b: Sample, plan: BalancedPlan, null: I64) -> dict[str, Any]:
    """Return the numbers of pairs, groups of subjects and relabellings of a balanced contrast."""
    size = int(plan.conventions["size"])
    return {
        "candidates": len(plan.candidate),
        "iterations": int(null[:, 0].max()),
        "relabellings_enumerated": n_relabellings(2 * size, size) <= plan.iterations,
        "size": size,
        "n_groups": [n_groups(arm) for arm in (a, b)],
        "subsamples": len(null),
        "possible": min(n_subsamples(a, size=size) * n_subsamples(b, size=size), 2**62),
        "enumerated": bool(plan.conventions["enumerate"]),
    }
