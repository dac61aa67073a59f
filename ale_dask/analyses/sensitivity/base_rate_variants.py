"""Compute base-rate nulls of several samples in one pass: of the same experiments, each without some of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.base_rate import (
    BUILDING,
    DRAWN_FROM,
    BaseRateDraws,
    BaseRatePlan,
    BaseRateThresholds,
    base_rate_name,
)
from ale_dask.analyses.corrections import BASE_RATE_STATISTICS as STATISTICS
from ale_dask.analyses.main_effect import identity_of
from ale_dask.analyses.null_draws import DrawnPlan, draws_of, null_tables
from ale_dask.execution.plan import StoredArray
from ale_dask.numerics.base_rate_null import FocusSource
from ale_dask.numerics.base_rate_variants import (
    CriticalVariants,
    LeftOut,
    critical_variants,
)
from ale_dask.numerics.density_levels import NEVER, LevelTable
from ale_dask.numerics.pruned_base_rate import by_voxel
from ale_dask.numerics.pruned_null import PrunedNull
from ale_dask.numerics.pruned_variants import pruned_base_rate_variant_iterations

KIND = "base-rate-variants"
_BELOW = -(2**16)
"""A value below every z, in steps of z."""
MOST = 32
"""Largest number of variants per plan: each takes 3 MB on a grid of 2 mm, and 3 MB more while it is computed."""


STUDIES_STAY = (
    "; whole studies are drawn, a different one for each experiment, and an experiment keeps its study when others are "
    "left out: these nulls have the distribution of those of separate analyses, but not the same numbers"
)
"""The message for whole studies, with which the draws of experiments depend on each other."""


class BaseRateVariantsPlan(BaseRateDraws, kind=KIND):
    """Plan of the base-rate nulls of several samples that share their draws."""

    begin = StoredArray[np.int64]()
    """The first member of each variant, and the number of members (variant + 1)."""
    member = StoredArray[np.int64]()
    """The experiments that each variant lacks (member)."""
    further = StoredArray[np.bool_]()
    """Whether a variant also lacks all experiments of the variant before it (variant)."""

    @property
    def n_variants(self) -> int:
        """The number of variants."""
        return len(self.settings["shift"])

    @property
    def least_z(self) -> list[int]:
        """The cluster-forming z of each variant, in steps of z (variant)."""
        return [int(z) for z in self.settings["least_z"]]

    def threshold(self, variant: int) -> npt.NDArray[np.int32]:
        """Return the S from which each voxel forms clusters (voxel) in one variant."""
        return self.arrays[f"threshold_{variant}"]

    def table(self, variant: int) -> LevelTable:
        """Return z by level and by S of one variant."""
        z = self.arrays[f"z_{variant}"]
        if z.dtype == np.uint16:
            z = np.cumsum(z, axis=1, dtype=np.int32) + np.int32(_BELOW)
        position = self.arrays[f"position_{variant}"].astype(np.int32)
        return LevelTable(z.astype(np.int32, copy=False), int(self.settings["shift"][variant]), position)


def plan_base_rate_variants(
    whole: DrawnPlan, variants: Iterable[BaseRatePlan], *, left_out: Sequence[Sequence[int]], name: str
) -> BaseRateVariantsPlan:
    """Return one frozen plan of the base-rate nulls of up to 32 samples that lack some experiments of a whole sample.

    `whole` is the base-rate plan of all experiments. `variants` are the plans of the smaller samples, with the same
    fixed point and base rate, which are read one at a time. `left_out` holds the experiments that each of them lacks,
    by their position in `whole`. If single foci are drawn, the nulls equal those of separate plans in every integer;
    `STUDIES_STAY` says what holds for whole studies.
    """
    arrays = draws_of(whole)
    identities: list[str] = []
    shifts: list[int] = []
    least: list[int] = []
    for v, variant in enumerate(variants):
        assert variant.bits == whole.bits, "variants of one fixed point"
        table = variant.table
        identities.append(variant.identity)
        shifts.append(table.shift)
        least.append(variant.least_z)
        arrays |= {
            f"threshold_{v}": variant.threshold,
            f"position_{v}": table.position.astype(np.uint16),
            f"z_{v}": _steps(table.z),
            **{name: variant.arrays[name] for name in DRAWN_FROM if name in variant.arrays},
        }
    assert len(identities) == len(left_out) <= MOST
    begin, member, further = _added(left_out)
    conventions = conventions_of(identities, left_out)
    return BaseRateVariantsPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=tuple(f"{what}:{v}" for v in range(len(identities)) for what in STATISTICS),
        settings={
            "conventions": conventions,
            "bits": whole.bits,
            "additive": whole.additive,
            "shift": shifts,
            "least_z": least,
        },
        arrays={**arrays, "begin": begin, "member": member, "further": further},
    )


def conventions_of(identities: Sequence[str], left_out: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return the settings whose hash is the identity of a pass over variants, from the identities of these."""
    return {"variants": list(identities), "left_out": [[int(i) for i in members] for members in left_out]}


def pass_name(name: str, number: int) -> str:
    """Return the name under which a pass over the base-rate nulls of variants of a main effect is stored."""
    return base_rate_name(name) + (f"-{number + 1}" if number else "")


def _steps(z: npt.NDArray[np.int32]) -> npt.NDArray[np.generic]:
    """Return the differences of z (level, bin) between bins, as uint16 if they fit, otherwise z itself."""
    # The largest difference is the one from below 0 to the first bin.
    rise = np.diff(z, axis=1, prepend=np.int32(_BELOW))
    return rise.astype(np.uint16) if rise.min() >= 0 and rise.max() < 2**16 else z


def _added(
    left_out: Sequence[Sequence[int]],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return begin (variant + 1), member and further (variant), which list the experiments that variants lack.

    `further` says whether a variant lacks all experiments of the variant before it; its members are then only the
    experiments that it lacks in addition.
    """
    members: list[list[int]] = []
    further = []
    before: set[int] = set()
    for own in left_out:
        grows = bool(before) and before <= set(own)
        further.append(grows)
        members.append(sorted(set(own) - before) if grows else sorted(own))
        before = set(own)
    begin = np.r_[0, np.cumsum([len(m) for m in members])].astype(np.int64)
    return begin, np.array([i for m in members for i in m], dtype=np.int64), np.array(further, dtype=bool)


def thresholds_of(plan: BaseRateVariantsPlan, variant: int) -> BaseRateThresholds:
    """Return the thresholds and the table of z of one variant."""
    return BaseRateThresholds(plan.threshold(variant), plan.table(variant), plan.least_z[variant])


def least_thresholds(plan: BaseRateVariantsPlan) -> npt.NDArray[np.int32]:
    """Return the smallest cluster-forming S (voxel), int32, of all variants."""
    return np.asarray(np.min([plan.threshold(v) for v in range(plan.n_variants)], axis=0))


@lru_cache(maxsize=2)
def _ready(plan: BaseRateVariantsPlan) -> tuple[FocusSource, CriticalVariants]:
    _, _, space = null_tables(plan, in_mask=True)
    inside, number = plan.searched, range(plan.n_variants)
    thresholds = [np.where(inside, plan.threshold(v), NEVER).astype(np.int32) for v in number]
    left_out = LeftOut(plan.begin, plan.member, plan.further)
    tables = [plan.table(v) for v in number]
    return plan.source, critical_variants(thresholds, tables, least_z=plan.least_z, left_out=left_out, geometry=space)


@lru_cache(maxsize=2)
def _pruned(plan: BaseRateVariantsPlan) -> PrunedNull:
    design, rows, space = null_tables(plan, in_mask=True)
    _, thresholds = _ready(plan)
    return by_voxel(plan.boxes, thresholds.least, design=design, rows=rows, geometry=space)


def block(plan: BaseRateVariantsPlan, first: int, count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return {"null": (iteration, variant x statistic)} of some iterations, int64: the nulls of all variants."""
    with BUILDING:
        words, thresholds = _ready(plan)
        null = _pruned(plan)
    out = np.empty((count, plan.n_variants, len(STATISTICS)), dtype=np.int64)
    pruned_base_rate_variant_iterations(first, count, words, thresholds, null, out)
    return {"null": out.reshape(count, -1)}


def null_of(null: npt.NDArray[np.int64], variant: int) -> npt.NDArray[np.int64]:
    """Return the null (iteration, statistic) of one variant from the null of all variants of a plan."""
    return null[:, variant * len(STATISTICS) : (variant + 1) * len(STATISTICS)]
