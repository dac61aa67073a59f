"""ALE of many subsamples of a main effect: in what share of them does each voxel survive? (Eickhoff 2016)

Each subsample has its own analytic null, cluster-forming value and null of clusters. All these nulls share the drawn
foci of the sample's iterations: an iteration of a subsample lacks the foci of the groups that are left out, and no
other focus moves. The null of a subsample is hence the one that it would have as a main effect of its own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.corrections import CORRECTION_OF, STATISTICS, Observed
from ale_dask.analyses.findings.model import Result
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of
from ale_dask.analyses.main_effect_result import result_attrs, search_variables
from ale_dask.analyses.null_draws import draws_of, null_tables
from ale_dask.analyses.null_threshold import null_specific_threshold
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.sensitivity import variant_null
from ale_dask.analyses.sensitivity.variant_null import VariantsPlan, null_of
from ale_dask.analyses.subsamples import (
    Subsamples,
    check_size,
    large_enough,
    n_groups,
    n_subsamples,
    names_of_groups,
    observed_sum,
    ranked,
    shares,
    subsamples_of,
)
from ale_dask.config.analysis import INPUTS, Subsampled
from ale_dask.coordinates.foci import subset
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.plan import StoredArray
from ale_dask.numerics import clusters, correct
from ale_dask.numerics.ale import ale_from_s
from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.null import analytic_null, histogram
from ale_dask.numerics.pruned_null import MANY, PrunedNull, pruned_iterations, pruned_null
from ale_dask.schema import Variable, describe

KIND = "subsampled"
VOXEL = "voxel-fwe"
LEVELS = (*INPUTS, VOXEL)
"""What a voxel of a subsample survives: its primary correction, its uncorrected p, its voxel FWE."""
CONTROLS = (
    "nothing beyond each subsample: every one of them controls its own error, and a share of subsamples is no p; it "
    "shows how far a finding hangs on which groups of subjects there happen to be"
)
Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]
_OWN = (
    *(
        Variable(f"subsample_share{end}", ("input", "voxel"), "f", "share of subsamples", f"in which it survives{what}")
        for end, what in (("", ""), ("_low", ", 95 % interval, lower end"), ("_high", ", 95 % interval, upper end"))
    ),
    Variable("subsample_share_voxel_fwe", ("voxel",), "f", "share of subsamples", "in which it survives voxel FWE"),
    Variable("subsample_clusters", ("input", "voxel"), "f", "share of subsamples", "where it is large enough"),
    Variable("subsample_clusters_voxel_fwe", ("voxel",), "f", "share of subsamples", "where it is large enough"),
    Variable("subsample_ale", ("voxel",), "f", "probability", "mean ALE of the subsamples"),
    Variable("subsample_has", ("subsample", "group"), "b", "", "whether a subsample has the group of subjects"),
    Variable("subsample_volume", ("input", "subsample"), "i", "voxels", "that survive in the subsample"),
    Variable("subsample_threshold_ale", ("subsample",), "f", "probability", "cluster-forming ALE of the subsample"),
    Variable("subsample_cut", ("subsample",), "i", "", "least whole number that survives the primary correction"),
)


class SubsampledResult(Result, kind=KIND):
    """View a Dataset as the subsamples of a main effect."""

    title = "Subsamples"

    @property
    def parts(self) -> list[str]:
        """The name of the main effect that subsamples are of."""
        return [str(name) for name in self.dataset.attrs["of"]]

    @property
    def directions(self) -> tuple[str, ...]:
        """The only direction: the subsamples of the main effect."""
        return (f"subsamples of {self.parts[0]}",)

    def _rank(self, values: npt.NDArray[Any], level: str) -> npt.NDArray[Any]:
        # Many voxels survive in every subsample: of these the one with the largest mean ALE is the peak.
        return ranked(values, self.dataset["subsample_ale"].values)


class SubsampledPlan(VariantsPlan, kind=KIND):
    """Plan of the nulls of the subsamples of a main effect, which share their draws."""

    forming = StoredArray[np.int32]()
    """The cluster-forming S of each subsample in the observed map (subsample)."""


_TOGETHER = 2 / 3
"""The share of the experiments in a subsample from which on one pass over the whole sample takes less time.

An iteration of 32 subsamples of 24 experiments in one pass and one by one, ms of CPU time: of 6 20 and 2.8, of 12 7.9
and 3.2, of 16 3.3 and 3.3, of 18 1.9 and 3.7, of 22 0.7 and 4.1.
"""
_MOST_ALONE = 500
"""Subsamples that are computed one by one: the tables of each take 0.3 MB in every process."""


@lru_cache(maxsize=2)
def _alone(plan: SubsampledPlan) -> list[PrunedNull]:
    """Return the null of each subsample by itself: the draws of its own experiments, with a bound of their own."""
    _, rows, space = null_tables(plan)
    n_foci, nulls = np.diff(plan.focus_begin), []
    for threshold, first, end in zip(plan.threshold.tolist(), plan.begin[:-1], plan.begin[1:], strict=True):
        has = np.delete(np.arange(len(plan.kernel)), plan.member[first:end])
        begin = np.r_[0, np.cumsum(n_foci[has])].astype(np.int64)
        design = Design(begin, plan.kernel[has], plan.draw_key[has], plan.additive)
        nulls.append(pruned_null(plan.boxes, threshold=threshold, design=design, rows=rows, geometry=space))
    return nulls


def block(plan: SubsampledPlan, first: int, count: int) -> dict[str, I64]:
    """Return {"null": (iteration, subsample x statistic)} of some iterations, int64: the nulls of all subsamples.

    Computed in one pass or one by one, whichever takes less time: the integers are the same.
    """
    n = len(plan.threshold)
    few = n <= _MOST_ALONE and plan.focus_begin[-1] < MANY
    if not few or len(plan.member) <= (1 - _TOGETHER) * n * len(plan.kernel):
        return variant_null.block(plan, first, count)
    out = np.empty((count, n, len(STATISTICS)), dtype=np.int64)
    own = np.empty((count, len(STATISTICS)), dtype=np.int64)
    for s, (threshold, null) in enumerate(zip(plan.threshold.tolist(), _alone(plan), strict=True)):
        pruned_iterations(first, count, threshold, null, own)
        out[:, s] = own
    return {"null": out.reshape(count, -1)}


def check_subsampled(sample: Sample, analysis: Subsampled, *, name: str) -> None:
    """Raise an error for subsamples that cannot be taken of a main effect.

    Raises
    ------
    InputError
        for a size that leaves no group out, or TFCE.
    """
    check_size(sample, size=analysis.size, name=name, of=analysis.of)
    inference = sample.inference
    if CORRECTION_OF[inference.correction].only_if_asked:
        raise InputError(
            f"analysis.{name}: subsamples need a cluster or voxel correction: one pass over the draws serves them all, "
            f"and {inference.correction} would take one for each, over every voxel; set correction to cluster-mass, "
            "which weighs height and extent as well, or to cluster-size or voxel"
        )


def conventions_of(whole: MainEffectPlan, sample: Sample, analysis: Subsampled) -> dict[str, Any]:
    """Return every setting that changes a number of the plan; a hash over it is the identity."""
    possible = n_subsamples(sample, size=analysis.size)
    groups = sample.groups.tolist()
    return {
        "whole": whole.identity,
        "size": analysis.size,
        "subsamples": min(possible, analysis.subsamples),
        "enumerate": possible <= analysis.subsamples,
        # Only where a group has several experiments: otherwise they are counted up.
        **({"groups": groups} if n_groups(sample) < len(groups) else {}),
    }


def plan_subsampled(sample: Sample, whole: MainEffectPlan, analysis: Subsampled, *, name: str) -> SubsampledPlan:
    """Return the frozen plan of the nulls of all subsamples of a main effect with the plan `whole`."""
    conventions = conventions_of(whole, sample, analysis)
    has = _chosen(sample, analysis).members(sample)
    forming = _forming_values(sample, has, bits=whole.bits)
    left_out = [np.flatnonzero(~members) for members in has]
    return SubsampledPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=tuple(f"{what}:{s}" for s in range(len(has)) for what in STATISTICS),
        settings={"conventions": conventions, "bits": whole.bits, "additive": whole.additive},
        arrays={
            **draws_of(whole),
            "forming": forming,
            "threshold": _null_values(sample, has, forming, bits=whole.bits),
            "begin": np.r_[0, np.cumsum([len(m) for m in left_out])].astype(np.int64),
            "member": np.concatenate(left_out).astype(np.int64),
        },
    )


def _chosen(sample: Sample, analysis: Subsampled) -> Subsamples:
    return subsamples_of(sample, size=analysis.size, number=analysis.subsamples)


def _forming_values(sample: Sample, has: Bools, *, bits: int) -> npt.NDArray[np.int32]:
    """Return the cluster-forming S of each subsample (subsample), by its own analytic null."""
    n_voxels, rows = sample.mask.n_voxels, list(sample.rows(bits))
    laws = [histogram(value, n_voxels=n_voxels, bits=bits) for _, value in rows]

    def forming(members: Bools) -> int:
        most = int(observed_sum(rows, members, n_voxels).max(initial=1))
        null = analytic_null([laws[i] for i in np.flatnonzero(members)], bits=bits, s_max=most)
        return null.critical(sample.inference.voxel_p)

    with ThreadPoolExecutor(cpu_count()) as pool:
        return np.array(list(pool.map(forming, has)), dtype=np.int32)


def _null_values(sample: Sample, has: Bools, forming: npt.NDArray[np.int32], *, bits: int) -> npt.NDArray[np.int32]:
    """Return the S at which clusters are formed in the null of each subsample (subsample)."""
    if sample.inference.null_cut == "observed":
        return forming
    smaller = (Sample(subset(sample.foci, members), sample.mask, sample.inference) for members in has)
    return np.array([null_specific_threshold(each, bits=bits) for each in smaller], dtype=np.int32)


def collect(sample: Sample, plan: SubsampledPlan, null: I64, *, analysis: Subsampled) -> xr.Dataset:
    """Return the result: the share of subsamples (input, voxel) in which a voxel survives, with its 95 % interval.

    `null` is (iteration, subsample x statistic). Each subsample is thresholded as a main effect of its own would be.
    """
    inference, mask = sample.inference, sample.mask
    chosen = _chosen(sample, analysis)
    has, rows = chosen.members(sample), list(sample.rows(plan.bits))
    n = len(has)
    counts = np.zeros((len(LEVELS), mask.n_voxels), dtype=np.int64)
    volume, cuts = np.zeros((len(LEVELS), n), dtype=np.int64), np.zeros(n, dtype=np.int64)
    ale = np.zeros(mask.n_voxels)
    for s, members in enumerate(has):
        observed = observed_sum(rows, members, mask.n_voxels)
        found, cuts[s] = _surviving(plan, null_of(null, s), observed, number=s, sample=sample)
        counts += found
        ale += ale_from_s(observed, bits=plan.bits)
        volume[:, s] = found.sum(axis=1)
    share, low, high = (ends.astype(np.float32) for ends in shares(counts, n, complete=chosen.complete))
    shown = np.array([large_enough(each, analysis.share, sample) for each in share])
    inputs = ("input", "voxel")
    result = xr.Dataset(
        {
            "subsample_share": (inputs, share[:2]),
            "subsample_share_low": (inputs, low[:2]),
            "subsample_share_high": (inputs, high[:2]),
            "subsample_share_voxel_fwe": ("voxel", share[2]),
            "subsample_clusters": (inputs, shown[:2]),
            "subsample_clusters_voxel_fwe": ("voxel", shown[2]),
            "subsample_ale": ("voxel", (ale / n).astype(np.float32)),
            "subsample_has": (("subsample", "group"), chosen.chosen),
            "subsample_volume": (("input", "subsample"), volume[:2]),
            "subsample_threshold_ale": ("subsample", ale_from_s(plan.forming.astype(np.int64), bits=plan.bits)),
            "subsample_cut": ("subsample", cuts),
            "voxel_ijk": (("voxel", "axis"), mask.voxel_ijk),
            **search_variables(mask),
        },
        coords={"input": np.array(INPUTS, dtype=object), "group": names_of_groups(sample)},
    )
    return describe(result, *_OWN).assign_attrs(
        **result_attrs(mask, inference, plan),
        of=[analysis.of],
        controls=CONTROLS,
        iterations=len(null),
        size=analysis.size,
        n_groups=n_groups(sample),
        subsamples=n,
        distinct=len(np.unique(chosen.chosen, axis=0)),
        possible=min(chosen.possible, 2**62),
        enumerated=chosen.complete,
        share=analysis.share,
        with_any=(volume > 0).sum(axis=1).tolist(),
        largest_share=share.max(axis=1).astype(float).tolist(),
    )


def _surviving(plan: SubsampledPlan, null: I64, s: I64, *, number: int, sample: Sample) -> tuple[Bools, int]:
    """Return which voxels of a subsample with the sum `s` (voxel) survive (level, voxel), and its primary cut."""
    inference, inside, volume = sample.inference, plan.searched, sample.mask.volume
    threshold = int(plan.forming[number])
    labels = clusters.label_clusters((s >= threshold) & inside, volume=volume, connectivity=inference.connectivity)
    seen = Observed(s, threshold, labels, inside, volume)

    def corrected(word: str) -> tuple[Bools, int]:
        correction = CORRECTION_OF[word]
        column = null[:, STATISTICS.index(correction.uniform.statistic)]
        cut = correct.cut(column, alpha=inference.cluster_p, rule=inference.cluster_cut)
        return correction.survives(seen, correction.measure(seen), cut), cut

    primary, cut = corrected(inference.correction)
    least = inference.min_voxels(sample.mask.voxel_volume)
    uncorrected = clusters.keep_clusters(labels, clusters.sizes(labels) >= least)
    return np.array([primary, uncorrected, corrected("voxel")[0]]), cut
