"""ALE of one sample against spatial randomness (Eickhoff 2009, 2012; Turkeltaub 2012)."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.corrections import CORRECTION_OF, CORRECTIONS, TFCE, Observed, Scales
from ale_dask.analyses.keyed import Keyed
from ale_dask.analyses.null_draws import DrawnPlan, null_tables
from ale_dask.analyses.null_threshold import null_specific_threshold
from ale_dask.analyses.sample import Sample
from ale_dask.config.inference import Inference
from ale_dask.execution.monitor.state import Statistic
from ale_dask.execution.plan import Setting, StoredArray
from ale_dask.numerics import clusters
from ale_dask.numerics.ale import Row, add_row
from ale_dask.numerics.draws import NULL, draw_keys
from ale_dask.numerics.null import NullTable, analytic_null, histogram
from ale_dask.numerics.pruned_null import Bound, PrunedNull, bound_of, passing_share, pruned_iterations, whole_sum_of
from ale_dask.numerics.space import Mask
from ale_dask.numerics.tfce import Levels, levels

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
    """Free the sums and nulls kept of up to 32 samples, which save no time where each sample is planned once."""
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
