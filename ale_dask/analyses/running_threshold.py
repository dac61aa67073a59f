"""Which threshold is shown of a run while it goes on, and which clusters are held to it: of each null asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ale_dask.analyses import base_rate as base_rates
from ale_dask.analyses import main_effect as main_effects
from ale_dask.config.inference import Inference
from ale_dask.execution.monitor.state import Statistic
from ale_dask.execution.plan import Plan


def primary_statistic(plan: Plan, inference: Inference) -> Statistic | None:
    """Return of which statistic of a plan's null the primary correction's threshold is, and in which unit.

    None of a contrast, of the uniform null where the base rate alone decides, and of a sweep's plan without TFCE.
    """
    if inference.correction == "tfce" and main_effects.TFCE not in plan.statistics:
        return None
    if plan.kind == base_rates.KIND:
        return base_rates.primary_statistic(plan, inference)
    return main_effects.primary_statistic(plan, inference) if _decides(plan, inference) else None


def observed(plan: Plan, inference: Inference) -> tuple[npt.NDArray[np.int64], float] | None:
    """Return the primary statistic of a null's clusters (cluster), and eps of each one's confidence sequence.

    None where the primary correction is not one of clusters, or no threshold is shown.
    """
    if plan.kind == base_rates.KIND:
        return base_rates.observed(plan, inference)
    return main_effects.observed(plan, inference) if _decides(plan, inference) else None


def _decides(plan: Plan, inference: Inference) -> bool:
    """Return whether a plan is that of a main effect's uniform null, and this null is asked for."""
    return plan.kind == main_effects.KIND and inference.null != "base-rate"
