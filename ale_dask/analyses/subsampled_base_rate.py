"""Subsamples of a main effect against the base rate: each one's own null and thresholds, from draws that all share."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import base_rate, base_rate_result
from ale_dask.analyses.base_rate import BaseRatePlan
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of, plan_main_effect
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.sensitivity import base_rate_variants as variants
from ale_dask.analyses.sensitivity.base_rate_variants import BaseRateVariantsPlan
from ale_dask.analyses.subsamples import large_enough, observed_sum, shares, subsamples_of
from ale_dask.config.analysis import Subsampled
from ale_dask.coordinates.foci import subset
from ale_dask.datasets.base_rate.studies import load_base_rate
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.progress import clock
from ale_dask.schema import Variable, describe

Bools = npt.NDArray[np.bool_]
Null = npt.NDArray[np.int64]
Keep = Callable[[str, str, dict[str, Any], Callable[[], BaseRateVariantsPlan]], BaseRateVariantsPlan]
"""(name, kind, conventions, function that makes it) -> a plan, as `study_plans.KeepPlan` keeps it."""
_SURVIVES = "against the base rate"
_OWN = (
    *(
        Variable(f"subsample_base_rate_share{end}", ("voxel",), "f", "share of subsamples", f"{_SURVIVES}{what}")
        for end, what in (
            ("", ": in which it survives"),
            ("_low", ": 95 % interval, lower end"),
            ("_high", ": 95 % interval, upper end"),
            ("_voxel_fwe", ": in which it survives voxel FWE"),
        )
    ),
    Variable("subsample_base_rate_clusters", ("voxel",), "f", "share of subsamples", f"{_SURVIVES}: large enough"),
    Variable(
        "subsample_base_rate_clusters_voxel_fwe", ("voxel",), "f", "share of subsamples", f"{_SURVIVES}: large enough"
    ),
    Variable("subsample_base_rate_volume", ("subsample",), "i", "voxels", f"that survive {_SURVIVES}"),
    Variable("subsample_base_rate_cut", ("subsample",), "i", "", f"least whole number that survives {_SURVIVES}"),
)

log = logging.getLogger(__name__)


def plan_passes(
    sample: Sample, whole: MainEffectPlan, analysis: Subsampled, *, name: str, keep: Keep
) -> dict[str, BaseRateVariantsPlan]:
    """Return the passes over the base-rate nulls of all subsamples by name, at most 32 subsamples in each.

    `whole` is the plan of the main effect. The thresholds of the subsamples of a pass are worked out where `keep` has
    to make it.
    """
    has = subsamples_of(sample, size=analysis.size, number=analysis.subsamples).members(sample)
    density = load_base_rate(sample.inference, mask=sample.mask)
    rows = list(sample.rows(whole.bits))

    def part(members: Bools) -> Sample:
        return Sample(subset(sample.foci, members), sample.mask, sample.inference)

    def identity(members: Bools) -> str:
        return identity_of(base_rate.KIND, base_rate.conventions_of(part(members), bits=whole.bits, base_rate=density))

    def plan_of(members: Bools) -> BaseRatePlan:
        own = [row for row, stays in zip(rows, members, strict=True) if stays]
        main = plan_main_effect(part(members), bits=whole.bits, name=name, rows=own)
        return base_rate.plan_base_rate(part(members), main=main, name=name, base_rate=density)

    passes = {}
    for number, first in enumerate(range(0, len(has), variants.MOST)):
        some, stored = has[first : first + variants.MOST], variants.pass_name(name, number)
        left_out = [np.flatnonzero(~members).tolist() for members in some]
        conventions = variants.conventions_of([identity(members) for members in some], left_out)
        make = partial(_one_pass, whole, some, plan_of, name=stored, numbers=(first + 1, len(has)))
        passes[stored] = keep(stored, variants.KIND, conventions, make)
    return passes


def _one_pass(
    whole: MainEffectPlan,
    some: Bools,
    plan_of: Callable[[Bools], BaseRatePlan],
    *,
    name: str,
    numbers: tuple[int, int],
) -> BaseRateVariantsPlan:
    """Return the pass of some subsamples (subsample, experiment), of which `numbers` has the first and the last."""
    started = time.perf_counter()
    first, last = plan_of(some[0]), numbers[0] + len(some) - 1
    seconds = (time.perf_counter() - started) * (len(some) - 1) / cpu_count()
    note = variants.STUDIES_STAY if first.draws_studies and numbers[0] == 1 else ""
    log.info(
        f"{name}: thresholds against the base rate of subsamples {numbers[0]:,} to {last:,} of {numbers[1]:,} take "
        f"about {clock(seconds)}{note}"
    )
    left_out = [np.flatnonzero(~members).tolist() for members in some]
    with ThreadPoolExecutor(cpu_count()) as pool:
        further = pool.map(plan_of, some[1:])
        return variants.plan_base_rate_variants(whole, (first, *further), left_out=left_out, name=name)


def with_base_rate(
    result: xr.Dataset,
    sample: Sample,
    passes: Sequence[tuple[BaseRateVariantsPlan, Null]],
    *,
    analysis: Subsampled,
) -> xr.Dataset:
    """Return the result of subsamples with the share (voxel) of those in which a voxel survives the base rate added.

    At the primary correction with its 95 % interval, and by voxel FWE. `passes` are in the order of the subsamples,
    each with its null (iteration, subsample x statistic).
    """
    chosen = subsamples_of(sample, size=analysis.size, number=analysis.subsamples)
    n, mask, bits = len(chosen.chosen), sample.mask, passes[0][0].bits
    rows = list(sample.rows(bits))
    counts = np.zeros((2, mask.n_voxels), dtype=np.int64)
    volume, cut = np.zeros((2, n), dtype=np.int64), np.zeros(n, dtype=np.int64)
    for s, members in enumerate(chosen.members(sample)):
        number, variant = divmod(s, variants.MOST)
        plan, null = passes[number]
        own = variants.null_of(null, variant)
        found = surviving(sample, observed_sum(rows, members, mask.n_voxels), own, plan, variant)
        counts += found
        volume[:, s] = found.sum(axis=1)
        cut[s] = base_rate_result.cut_of(own, sample.inference)
    share, low, high = (ends.astype(np.float32) for ends in shares(counts, n, complete=chosen.complete))
    shown = [large_enough(each, analysis.share, sample) for each in share]
    made: Mapping[str, tuple[str, Any]] = {
        "share": ("voxel", share[0]),
        "share_low": ("voxel", low[0]),
        "share_high": ("voxel", high[0]),
        "share_voxel_fwe": ("voxel", share[1]),
        "clusters": ("voxel", shown[0]),
        "clusters_voxel_fwe": ("voxel", shown[1]),
        "volume": ("subsample", volume[0]),
        "cut": ("subsample", cut),
    }
    added = result.assign({f"subsample_base_rate_{end}": values for end, values in made.items()})
    return describe(added, *_OWN).assign_attrs(
        base_rate=Path(sample.inference.base_rate).name,
        base_rate_sha256=load_base_rate(sample.inference, mask=mask).counts.sha256,
        base_rate_with_any=(volume > 0).sum(axis=1).tolist(),
        base_rate_largest_share=share.max(axis=1).astype(float).tolist(),
    )


def surviving(sample: Sample, s: Null, null: Null, plan: BaseRateVariantsPlan, variant: int) -> Bools:
    """Return which voxels of the sums `s` (voxel) survive (2, voxel): the primary correction, and by voxel FWE."""
    inference, thresholds = sample.inference, variants.thresholds_of(plan, variant)
    by_voxel = inference.model_copy(update={"correction": "voxel"})
    each = (inference, by_voxel)
    return np.array([base_rate_result.survivors(s, null, thresholds, mask=sample.mask, inference=i) for i in each])
