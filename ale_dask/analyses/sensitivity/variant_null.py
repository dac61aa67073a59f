"""Compute nulls of several main effects in one pass: of the same experiments at other thresholds, or without some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.corrections import STATISTICS
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of
from ale_dask.analyses.null_draws import DrawnPlan, draws_of, null_tables
from ale_dask.execution.plan import StoredArray
from ale_dask.numerics.pruned_null import PrunedNull, pruned_null
from ale_dask.numerics.pruned_variants import pruned_variant_iterations
from ale_dask.numerics.variant_null import Variants

KIND = "variants"


class VariantsPlan(DrawnPlan, kind=KIND):
    """Plan of the nulls of several main effects that share their draws."""

    threshold = StoredArray[np.int32]()
    """The cluster-forming S of each variant (variant)."""
    begin = StoredArray[np.int64]()
    """The first member of each variant, and the number of members (variant + 1)."""
    member = StoredArray[np.int64]()
    """The experiments that each variant lacks (member)."""


def plan_variants(
    whole: MainEffectPlan, variants: Sequence[MainEffectPlan], *, left_out: Sequence[Sequence[int]], name: str
) -> VariantsPlan:
    """Return one frozen plan for the nulls of several main effects, all from the random draws of the plan `whole`.

    `variants` are the plans of the main effects, with the same fixed point, and `left_out` the experiments that each of
    them lacks, by their position in `whole`. TFCE is not possible, because it needs every voxel of each map.
    """
    bits, additive = whole.bits, whole.additive
    assert all(v.bits == bits and v.additive == additive for v in variants)
    conventions = {
        "variants": [v.identity for v in variants],
        "left_out": [[int(i) for i in members] for members in left_out],
    }
    return VariantsPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=tuple(f"{what}:{v}" for v in range(len(variants)) for what in STATISTICS),
        settings={"conventions": conventions, "bits": bits, "additive": additive},
        arrays={
            **draws_of(whole),
            "threshold": np.array([v.null_threshold for v in variants], dtype=np.int32),
            "begin": np.r_[0, np.cumsum([len(m) for m in left_out])].astype(np.int64),
            "member": np.array([i for members in left_out for i in members], dtype=np.int64),
        },
    )


@lru_cache(maxsize=8)
def _variants(plan: VariantsPlan) -> Variants:
    return Variants(plan.threshold, plan.begin, plan.member)


@lru_cache(maxsize=8)
def _pruned(plan: VariantsPlan) -> PrunedNull:
    design, rows, space = null_tables(plan)
    return pruned_null(plan.boxes, threshold=int(plan.threshold.min()), design=design, rows=rows, geometry=space)


def block(plan: VariantsPlan, first: int, count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return {"null": (iteration, variant x statistic)} of some iterations, int64: the nulls of all variants."""
    out = np.empty((count, len(plan.statistics) // len(STATISTICS), len(STATISTICS)), dtype=np.int64)
    pruned_variant_iterations(first, count, _variants(plan), _pruned(plan), out)
    return {"null": out.reshape(count, -1)}


def null_of(null: npt.NDArray[np.int64], variant: int) -> npt.NDArray[np.int64]:
    """Return the null (iteration, statistic) of one variant, equal to that of its main effect alone."""
    return null[:, variant * len(STATISTICS) : (variant + 1) * len(STATISTICS)]
