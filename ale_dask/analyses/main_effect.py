"""ALE of one sample against spatial randomness (Eickhoff 2009, 2012; Turkeltaub 2012)."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.corrections import CORRECTION_OF, CORRECTIONS, TFCE, Correction, Observed, Scales
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.keyed import Keyed
from ale_dask.analyses.null_draws import DrawnPlan, null_tables
from ale_dask.analyses.null_threshold import null_specific_threshold
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.seed_reach import seed_attrs, seed_variables
from ale_dask.config.analysis import INPUTS
from ale_dask.config.inference import Inference
from ale_dask.coordinates.direction import counts_of
from ale_dask.coordinates.subject_groups import count_of_pooled, n_subjects, subject_groups
from ale_dask.execution.monitor.state import Statistic
from ale_dask.execution.plan import Plan, Setting, StoredArray
from ale_dask.numerics import clusters, correct
from ale_dask.numerics.ale import Row, add_row, ale_from_s
from ale_dask.numerics.draws import NULL, draw_keys
from ale_dask.numerics.null import NullTable, analytic_null, histogram, z_of_log_p
from ale_dask.numerics.pruned_null import Bound, PrunedNull, bound_of, passing_share, pruned_iterations, whole_sum_of
from ale_dask.numerics.space import Mask
from ale_dask.numerics.tfce import Levels, levels, tfce_of
from ale_dask.schema import describe

KIND = "main-effect"
UNIFORM_ALONE = "{} is of the test against foci spread evenly; run with null uniform or both"
"""Why something cannot be asked of what the base rate alone decides."""
EPS = 0.001
"""Error that the confidence sequences of one null of an analysis share (resampling risk)."""


class MainEffectPlan(DrawnPlan, kind=KIND):
    """Plan of a main effect against foci spread evenly."""

    s = StoredArray[np.int32]()
    """The observed sum S of every voxel (voxel)."""
    threshold = Setting(int)
    """The cluster-forming S."""

    @property
    def null_threshold(self) -> int:
        """The S at which clusters are formed in the null: the observed one unless it has another."""
        return int(self.settings.get("null_threshold", self.threshold))

    def with_null_threshold(self, threshold: int) -> MainEffectPlan:
        """Return the plan with another S at which clusters are formed in the null."""
        name = "null_threshold" if "null_threshold" in self.settings else "threshold"
        return replace(self, settings={**self.settings, name: threshold})

    @property
    def null_table(self) -> NullTable:
        """The analytic null."""
        return NullTable(self.arrays["log_p"], float(self.settings["step"]), self.bits)

    @property
    def levels(self) -> Levels | None:
        """The levels of TFCE, where the plan has a null of it."""
        if TFCE not in self.statistics:
            return None
        return Levels(self.arrays["tfce_level"], *(int(n) for n in self.settings["tfce"]))

    @property
    def tfce_unit(self) -> float:
        """The factor from the whole numbers of TFCE to its unit; NaN without TFCE."""
        return math.nan if (levels := self.levels) is None else 1 / (3 * 8.0**levels.bits)


def identity_of(kind: str, conventions: dict[str, Any]) -> str:
    """Return the hash that tells whether stored work belongs to these settings."""
    return hashlib.sha256(json.dumps([kind, conventions], sort_keys=True).encode()).hexdigest()


def plan_main_effect(sample: Sample, *, bits: int, name: str, rows: Iterable[Row] | None = None) -> MainEffectPlan:
    """Return the frozen plan: observed sums, analytic null, cluster-forming value and integer kernels.

    `rows` are the sample's own at these bits, where they are known already.
    """
    inference = sample.inference
    if rows is None:
        s, table = _sums_and_null(Keyed(sample.key_without("voxel_p", "seed", bits=bits), sample), bits)
    else:
        s, table = sums_and_null(rows, n_voxels=sample.mask.n_voxels, bits=bits)
    _, kernel = sample.kernels
    boxes = sample.boxes(bits)
    conventions = sample.conventions(bits)
    heights = levels(table) if CORRECTION_OF[inference.correction].enhanced else None
    return MainEffectPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=CORRECTION_OF[inference.correction].statistics,
        settings={
            "conventions": conventions,
            "bits": bits,
            "threshold": table.critical(inference.voxel_p),
            "additive": sample.additive,
            "step": table.step,
            **({"null_threshold": null_specific_threshold(sample, bits=bits)} if inference.null_cut == "own" else {}),
            **({} if heights is None else {"tfce": [heights.shift, heights.first, heights.bits]}),
        },
        arrays={
            "volume": np.packbits(sample.mask.volume),
            "shape": np.array(sample.mask.volume.shape, dtype=np.int64),
            "s": s.astype(np.int32),
            "log_p": table.log_p,
            "focus_begin": np.r_[0, np.cumsum(sample.n_foci)].astype(np.int64),
            "kernel": kernel,
            "draw_key": draw_keys(sample.key, seed=inference.seed, stream=NULL),
            "box_shape": np.array([b.shape for b in boxes], dtype=np.int64),
            "boxes": np.concatenate([b.reshape(-1) for b in boxes]),
            **_looked_at(inference),
            **({} if sample.mask.search is None else {"search": np.packbits(sample.mask.search)}),
            **({} if heights is None else {"tfce_level": heights.level}),
        },
    )


@lru_cache(maxsize=32)
def _sums_and_null(sample: Keyed[Sample], bits: int) -> tuple[npt.NDArray[np.int64], NullTable]:
    """Return `sums_and_null` of a sample, kept for further plans that differ in seed or cluster-forming value."""
    return sums_and_null(sample.value.rows(bits), n_voxels=sample.value.mask.n_voxels, bits=bits)


def forget_samples() -> None:
    """Clear what is kept of up to 32 samples, which only takes memory where each is planned once."""
    _sums_and_null.cache_clear()


def sums_and_null(rows: Iterable[Row], *, n_voxels: int, bits: int) -> tuple[npt.NDArray[np.int64], NullTable]:
    """Return the observed sum S (voxel), int64, of the MA values of experiments, and its analytic null."""
    s = np.zeros(n_voxels, dtype=np.int64)
    laws = []
    for voxel, value in rows:
        add_row(voxel, value, s)
        laws.append(histogram(value, n_voxels=n_voxels, bits=bits))
    return s, analytic_null(laws, bits=bits, s_max=int(s.max(initial=1)))


def _looked_at(inference: Inference) -> dict[str, npt.NDArray[np.int64]]:
    """Return {"space": (edges, grid)}, whether clusters join by edges and the null is looked at beyond the mask.

    Nothing where neither is so: plans made before there was this choice stay what they are.
    """
    space = [inference.connectivity == 18, inference.null_space == "grid"]
    return {"space": np.array(space, dtype=np.int64)} if any(space) else {}


_BUILDING = threading.Lock()
"""Two threads that build the same tables take each other's time, 0.7 s for 4,000 foci."""


@lru_cache(maxsize=8)
def pruned_of(plan: MainEffectPlan) -> PrunedNull:
    """Return the null of a plan with the bound that prunes it, built once per process."""
    design, rows, space = null_tables(plan)
    bound = _bound(Keyed(plan.key_without_seed, plan))
    return PrunedNull(design, rows, space, bound, whole_sum_of(plan.boxes, design, space))


@lru_cache(maxsize=8)
def _bound(keyed: Keyed[MainEffectPlan]) -> Bound | None:
    plan = keyed.value
    design, _, space = null_tables(plan)
    return bound_of(plan.boxes, threshold=plan.null_threshold, design=design, geometry=space)


_RATE_FOCI = 20_000
"""Foci that are drawn to count the null's voxels: 5 iterations of 3,869 foci, which give a rate of .2 % to .01 %."""


def null_voxel_rate(plan: MainEffectPlan) -> float:
    """Return the share of the null's voxels that reach its cluster-forming value; nominally `voxel_p`.

    Foci reported by one experiment lie closer together than drawn ones, and overlap more. The cluster-forming value
    comes from the reported foci, and in a large sample drawn foci reach it far more often than `voxel_p` says: the
    largest clusters of the null are then so large that hardly a true one exceeds them.
    """
    key = hashlib.sha256(plan.key_without_seed.encode() + plan.draw_key.tobytes()).digest()
    if key not in _RATES:
        if len(_RATES) >= _MOST_RATES:
            _RATES.clear()
        _RATES[key] = _voxel_rate(plan)
    return _RATES[key]


_RATES: dict[bytes, float] = {}
"""The rates of plans; a number each, so that those of thousands may be held."""
_MOST_RATES = 20_000


def _voxel_rate(plan: MainEffectPlan) -> float:
    iterations = int(np.clip(_RATE_FOCI // max(1, int(plan.focus_begin[-1])), 1, 16))
    with _BUILDING:
        null = pruned_of(plan)
    return passing_share(null, plan.null_threshold, iterations)


def block(plan: MainEffectPlan, first: int, count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return {"null": (iteration, statistic)} of some iterations, int64: largest S, cluster size, mass …"""
    out = np.empty((count, len(plan.statistics)), dtype=np.int64)
    threshold = plan.null_threshold
    asked = next((c.iterate for c in CORRECTIONS if c.iterate and c.uniform.statistic in plan.statistics), None)
    if asked is None:
        with _BUILDING:
            null = pruned_of(plan)
        pruned_iterations(first, count, threshold, null, out)
    else:
        with _BUILDING:
            tables = null_tables(plan)
        asked(first, count, threshold, tables, plan.levels, out)
    return {"null": out}


def observe(plan: MainEffectPlan, inference: Inference, *, s: npt.NDArray[np.int64] | None = None) -> Observed:
    """Return the observed S of a main effect's plan, or another S (voxel), and its clusters with S >= threshold."""
    s, threshold = plan.s.astype(np.int64) if s is None else s, plan.threshold
    inside, volume = plan.searched, plan.volume
    labels = clusters.label_clusters((s >= threshold) & inside, volume=volume, connectivity=inference.connectivity)
    return Observed(s, threshold, labels, inside, volume, plan.levels)


def collect(
    sample: Sample, plan: MainEffectPlan, null: npt.NDArray[np.int64], *, ale: npt.NDArray[np.floating[Any]]
) -> xr.Dataset:
    """Return the result: maps (voxel), null (iteration, statistic), clusters (cluster) and thresholds (attrs).

    Clusters are those of voxels with S >= threshold; size and mass p are (1 + #{null >= observed}) / (1 + B).
    """
    inference, mask = sample.inference, sample.mask
    seen = observe(plan, inference)
    tests = {c: i for c in CORRECTIONS if (i := _column(plan, c.uniform.statistic)) is not None}
    measured = {c: c.measure(seen) for c in tests}
    cut = {c: correct.cut(null[:, i], alpha=inference.cluster_p, rule=inference.cluster_cut) for c, i in tests.items()}
    log_p = plan.null_table.log_p_of(seen.s)
    z = z_of_log_p(log_p)
    keep = _uncorrected(seen, log_p, sample) | {c.uniform.map: c.survives(seen, measured[c], cut[c]) for c in tests}
    enhanced = {c.short: tfce_of(measured[c], levels=seen.levels) for c in tests if c.only_if_asked and seen.levels}
    seed = seed_variables(sample, plan.threshold, bits=plan.bits)
    result = sample.foci.assign(
        {
            "ale": ("voxel", np.asarray(ale, dtype=np.float32)),
            "s": ("voxel", seen.s),
            "logp": ("voxel", (-log_p / math.log(10)).astype(np.float32)),
            "z": ("voxel", z.astype(np.float32)),
            **{name: ("voxel", np.where(kept, z, 0).astype(np.float32)) for name, kept in keep.items()},
            **{name: ("voxel", values.astype(np.float32)) for name, values in enhanced.items()},
            "cluster_of_voxel": ("voxel", seen.labels),
            **_tested_clusters(null, tests, measured, inference=inference),
            "null": (("iteration", "statistic"), null),
            "voxel_ijk": (("voxel", "axis"), mask.voxel_ijk),
            **search_variables(mask),
            **seed,
        }
    ).assign_coords(statistic=np.array(plan.statistics, dtype=object))
    return describe(result).assign_attrs(
        **result_attrs(mask, inference, plan),
        **_threshold_attrs(plan, {c.uniform.cut: cut[c] for c in tests}),
        **{
            f"{c.uniform.cut}_interval": correct.cut_interval(null[:, i], alpha=inference.cluster_p)
            for c, i in tests.items()
        },
        iterations=len(null),
        null_voxel_rate=null_voxel_rate(plan),
        **_sample_attrs(sample),
        **seed_attrs(sample, seed),
    )


def _column(plan: Plan, statistic: str) -> int | None:
    return plan.statistics.index(statistic) if statistic in plan.statistics else None


def _uncorrected(seen: Observed, log_p: npt.NDArray[np.float64], sample: Sample) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the voxels (voxel) that survive without family-wise correction, by map."""
    inside, q = seen.inside, sample.inference.cluster_p
    minimum = sample.inference.min_voxels(sample.mask.voxel_volume)
    return {
        "z_uncorrected": clusters.keep_clusters(seen.labels, clusters.sizes(seen.labels) >= minimum),
        "z_fdr_bh": np.asarray(seen.spread(correct.fdr_keep(log_p[inside], q=q)), dtype=bool),
        "z_fdr_by": np.asarray(seen.spread(correct.fdr_keep(log_p[inside], q=q, dependent=True)), dtype=bool),
    }


def _tested_clusters(
    null: npt.NDArray[np.int64],
    tests: Mapping[Correction, int],
    measured: Mapping[Correction, npt.NDArray[np.int64]],
    *,
    inference: Inference,
) -> dict[str, tuple[str, Any]]:
    """Return the variables (cluster) of clusters: each measure, its p, its interval, bound and decision."""
    of_clusters = [c for c in tests if c.of_clusters]
    variables: dict[str, tuple[str, Any]] = {f"cluster_{c.short}": ("cluster", measured[c]) for c in of_clusters}
    for c in of_clusters:
        eps = eps_of(len(measured[c]), statistics=len(of_clusters))
        test = tested(null[:, tests[c]], measured[c], inference=inference, eps=eps)
        variables |= {f"cluster_{c.short}_{end}": ("cluster", values) for end, values in test.items()}
    return variables


def _threshold_attrs(plan: MainEffectPlan, cuts: Mapping[str, int]) -> dict[str, Any]:
    """Return the thresholds of a main effect: of forming clusters, and the least that survives each correction."""
    ale = ale_from_s(np.array([plan.threshold, min(cuts["cut_s"], 2**31)]), bits=plan.bits)
    unit = {"tfce_unit": plan.tfce_unit} if TFCE in plan.statistics else {}
    return {**unit, "threshold": plan.threshold, "threshold_ale": float(ale[0]), **cuts, "cut_ale": float(ale[1])}


def _sample_attrs(sample: Sample) -> dict[str, Any]:
    """Return the numbers of experiments, foci and subjects of a main effect."""
    return {
        "n_experiments": len(sample.key),
        "n_foci": int(sample.n_foci.sum()),
        "n_subjects": n_subjects(sample.foci),
        "n_groups": int(subject_groups(sample.foci).max()) + 1,
        # Experiments that were pooled into some of these, and into how many.
        "pooled": count_of_pooled(sample.foci),
        # How many experiments are of each direction and modality, where columns say so.
        **{what: [f"{n} {word}" for word, n in counts.items()] for what, counts in counts_of(sample.foci).items()},
        "foci_outside_mask": int((sample.mask.distance(sample.foci["focus_xyz"].values) > 0).sum()),
    }


def tested(
    null: npt.NDArray[np.int64], measure: npt.NDArray[np.int64], *, inference: Inference, eps: float
) -> dict[str, npt.NDArray[Any]]:
    """Return p, its interval, its upper bound and the decision (cluster) for clusters of these sizes or masses.

    Keys are the ends of the names of variables. `null` (iteration) has the largest size or mass of each iteration;
    `eps` is the error allowed to the confidence sequence of each cluster.
    """
    r = correct.exceedances(null, measure)
    ends = correct.confidence_sequence(r, len(null), eps=eps)
    p = correct.monte_carlo_p(null, measure, rule=inference.cluster_cut)
    low, high = correct.clopper_pearson(r, len(null))
    if inference.until_decided is not None:
        # Where r has a part in n, (1 + r) / (1 + n) is no p; the confidence sequence still bounds it.
        p = np.full(len(measure), np.nan)
        low, high = ends
    decided = correct.decisions(r, len(null), alpha=inference.cluster_p, eps=eps)
    return {"p": p, "p_low": low, "p_high": high, "p_bound": ends[1], "decision": np.array(decided, dtype=object)}


def survivors(
    plan: MainEffectPlan, null: npt.NDArray[np.int64], *, mask: Mask, inference: Inference
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the surviving voxels (voxel) of a main effect by input, as `thresholded` of its whole result has them.

    At the primary correction, which is not TFCE, and at the uncorrected p; against foci spread evenly.
    """
    correction = CORRECTION_OF[inference.correction]
    seen = observe(plan, inference)
    column = null[:, plan.statistics.index(correction.uniform.statistic)]
    cut = correct.cut(column, alpha=inference.cluster_p, rule=inference.cluster_cut)
    corrected = correction.survives(seen, correction.measure(seen), cut)
    return dict(zip(INPUTS, (corrected, uncorrected(plan, mask=mask, inference=inference)), strict=True))


def uncorrected(plan: MainEffectPlan, *, mask: Mask, inference: Inference) -> npt.NDArray[np.bool_]:
    """Return the voxels (voxel) at or above a main effect's cluster-forming value, in clusters of the least volume."""
    above = (plan.s >= plan.threshold) & plan.searched
    least = inference.min_voxels(mask.voxel_volume)
    return clusters.at_least(above, volume=mask.volume, minimum=least, connectivity=inference.connectivity)


def primary_statistic(plan: MainEffectPlan, inference: Inference) -> Statistic | None:
    """Return the statistic of a main effect's uniform null that the primary correction cuts, with its unit.

    None where the base rate alone decides, and where a sweep over corrections has a plan without TFCE.
    """
    uniform = CORRECTION_OF[inference.correction].uniform
    if inference.null == "base-rate" or uniform.statistic not in plan.statistics:
        return None
    factor = uniform.factor(Scales(plan.bits, tfce=plan.tfce_unit))
    column = plan.statistics.index(uniform.statistic)
    return Statistic(column, inference.cluster_p, uniform.unit, factor, inference.cluster_cut)


def observed(plan: MainEffectPlan, inference: Inference) -> tuple[npt.NDArray[np.int64], float] | None:
    """Return the primary statistic of each cluster (cluster), and the error allowed to each confidence sequence.

    Those of the uniform null; None where the primary correction is not one of clusters, or the base rate alone decides.
    """
    correction = CORRECTION_OF[inference.correction]
    if not correction.of_clusters or inference.null == "base-rate":
        return None
    values = correction.measure(observe(plan, inference))
    return values, eps_of(len(values))


def eps_of(n_clusters: int, *, statistics: int = 2) -> float:
    """Return the error allowed to each confidence sequence of a null: an equal share for each cluster and statistic."""
    return EPS / max(1, statistics * n_clusters)


def decision_variables(result: xr.Dataset) -> dict[str, str]:
    """Return the variable with the decisions on the clusters of each null asked for: {"uniform": …, "base-rate": …}.

    At the primary correction; nothing where that is not one of clusters. Pooled arms of a contrast need not have all.
    """
    inference = model_of(result).inference
    correction = CORRECTION_OF[inference.correction]
    if not correction.of_clusters:
        return {}
    each = {"uniform": f"cluster_{correction.short}_decision"}
    each["base-rate"] = f"base_rate_cluster_{correction.base_rate_short}_decision"
    return {null: name for null, name in each.items() if inference.null in (null, "both") and name in result}


def undecided(results: Iterable[xr.Dataset]) -> int:
    """Return how many clusters of main effects are undecided at their primary correction, by size or by mass.

    Those of each null that is asked for.
    """
    number = 0
    for result in results:
        if model_of(result).kind == KIND:
            for name in decision_variables(result).values():
                number += int((result[name].values == "undecided").sum())
    return number


def result_attrs(mask: Mask, inference: Inference, plan: Plan) -> dict[str, Any]:
    """Return what every result says of itself: name, kind, identity, grid, mask and settings."""
    return {
        "name": plan.name,
        "kind": plan.kind,
        "identity": plan.identity,
        "plan": plan.id,
        "scale_bits": plan.bits,
        "affine": mask.affine.reshape(-1).tolist(),
        "shape": list(mask.volume.shape),
        "mask": mask.name,
        "mask_sha256": mask.sha256,
        **search_attrs(mask),
        "inference": inference.model_dump_json(),
    }


def search_attrs(mask: Mask) -> dict[str, Any]:
    """Return what a result says of the region that its inference was made in; nothing where it is the mask."""
    if mask.search is None:
        return {}
    n = int(mask.search.sum())
    return {
        "search": mask.search_name.replace("\\", "/").rsplit("/", 1)[-1],
        "search_sha256": mask.search_sha256,
        "search_voxels": n,
        "search_mm3": n * mask.voxel_volume,
    }


def search_variables(mask: Mask) -> dict[str, tuple[str, npt.NDArray[np.bool_]]]:
    """Return {"searched": (voxel)}, in which voxels inference was made; nothing where in all."""
    return {} if mask.search is None else {"searched": ("voxel", mask.search)}


def thresholded(result: xr.Dataset, source: str) -> npt.NDArray[np.bool_]:
    """Return the surviving voxels (voxel) of a main effect: "cluster-fwe" or "uncorrected"."""
    name = "z_uncorrected" if source == "uncorrected" else primary_map(model_of(result).inference)
    return np.asarray(result[name].values != 0)


def primary_map(inference: Inference) -> str:
    """Return the map of the primary correction: against the base rate where that null alone is asked for."""
    correction = CORRECTION_OF[inference.correction]
    return (correction.base_rate if inference.null == "base-rate" else correction.uniform).map
