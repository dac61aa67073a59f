"""Main effects that share their draws, in one pass: the same experiments at other thresholds, or without some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.corrections import STATISTICS
from ale_dask.analyses.main_effect import draws_of, identity_of, null_tables, null_threshold
from ale_dask.execution.plan import Plan
from ale_dask.numerics.variant_null import Variants, variant_iterations

KIND = "variants"
SHARED = ("volume", "shape", "focus_begin", "kernel", "draw_key", "box_shape", "boxes")


def plan_variants(whole: Plan, variants: Sequence[Plan], *, left_out: Sequence[Sequence[int]], name: str) -> Plan:
    """Return the frozen plan of the nulls of several main effects whose draws are those of `whole`.

    `variants` are their own plans, at the same fixed point, and `left_out` the experiments, by their place in `whole`,
    that each of them lacks. Not for TFCE, which looks at every voxel of each map.
    """
    bits, additive = whole.settings["bits"], whole.settings["additive"]
    assert all(v.settings["bits"] == bits and v.settings["additive"] == additive for v in variants)
    conventions = {
        "variants": [v.identity for v in variants],
        "left_out": [[int(i) for i in members] for members in left_out],
    }
    return Plan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=tuple(f"{what}:{v}" for v in range(len(variants)) for what in STATISTICS),
        settings={"conventions": conventions, "bits": bits, "additive": additive},
        arrays={
            **draws_of(whole, SHARED),
            "threshold": np.array([null_threshold(v) for v in variants], dtype=np.int32),
            "begin": np.r_[0, np.cumsum([len(m) for m in left_out])].astype(np.int64),
            "member": np.array([i for members in left_out for i in members], dtype=np.int64),
        },
    )


@lru_cache(maxsize=8)
def _variants(plan: Plan) -> Variants:
    return Variants(*(plan.arrays[n] for n in ("threshold", "begin", "member")))


def block(plan: Plan, first: int, count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return {"null": (iteration, variant x statistic)} of some iterations, int64: each variant's own null."""
    design, rows, space = null_tables(plan)
    out = np.empty((count, len(plan.statistics) // len(STATISTICS), len(STATISTICS)), dtype=np.int64)
    variant_iterations(first, count, _variants(plan), design, rows, space, out)
    return {"null": out.reshape(count, -1)}


def null_of(null: npt.NDArray[np.int64], variant: int) -> npt.NDArray[np.int64]:
    """Return the null (iteration, statistic) of one variant, as its own main effect has it, of those of all."""
    return null[:, variant * len(STATISTICS) : (variant + 1) * len(STATISTICS)]
