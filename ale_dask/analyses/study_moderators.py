"""The plans that a moderator analysis of a study takes, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import moderator as moderators
from ale_dask.analyses import moderator_clusters as second
from ale_dask.analyses.contrast_clusters import clusters_name
from ale_dask.analyses.moderator_columns import Moderated
from ale_dask.analyses.study_plans import KeepPlan, Nulls, PreparedStudy, second_pass
from ale_dask.config.inference import Inference
from ale_dask.execution.plan import Plan, of_type


def reserved_by_moderator(name: str, inference: Inference) -> dict[str, str]:
    """Return the name of the cluster-level pass of a moderator."""
    return {clusters_name(name): "clusters"}


def check_moderator(study: PreparedStudy, name: str) -> None:
    """Read the columns of a moderator before anything is computed.

    Raises
    ------
    InputError
        for a column that there is not or that is of no use, or too few groups of subjects.
    """
    assert study.moderated[name].spec.kind == moderators.KIND


def plan_moderator(study: PreparedStudy, name: str, made: Mapping[str, Plan], keep: KeepPlan) -> dict[str, Plan]:
    """Return the plan of a moderator, and of its cluster-level pass where it has one."""
    moderated, inference = study.moderated[name], study.study.inference
    conventions = moderators.conventions_of(moderated, bits=study.bits)
    # All permutations, and a random subset of them, are different lists of iterations: each has its own place.
    stored = f"{name}_enumerated" if conventions["enumerate"] else name
    make = partial(moderators.plan_moderator, moderated, bits=study.bits, name=stored)
    plan = keep(stored, moderators.KIND, conventions, make)
    iterations = moderators.how_many(plan, inference.iterations)
    return {name: plan} | second_pass(study, name, plan, second, iterations=iterations, keep=keep)


def collect_moderator(study: PreparedStudy, name: str, nulls: Nulls) -> xr.Dataset:
    """Return the result of a moderator."""
    null, counts = nulls.read(name)
    plan = of_type(moderators.ModeratorPlan, nulls.plans[name])
    clusters = None
    if clusters_name(name) in nulls.plans:
        second_plan = of_type(second.ModeratorClustersPlan, nulls.plans[clusters_name(name)])
        clusters = second_plan, nulls.read(clusters_name(name))[0]
    return with_clusters(
        plan, null, counts[moderators.EXCEED], moderated=study.moderated[name], name=name, clusters=clusters
    )


def with_clusters(
    plan: moderators.ModeratorPlan,
    null: npt.NDArray[np.int64],
    exceed: npt.NDArray[np.int64],
    *,
    moderated: Moderated,
    name: str,
    clusters: tuple[second.ModeratorClustersPlan, npt.NDArray[np.int64]] | None,
) -> xr.Dataset:
    """Return the result of a moderator from its null, its summed counts, and its second pass where it has one."""
    inference, mask = moderated.sample.inference, moderated.sample.mask
    exceed = exceed.reshape(len(plan.statistics), -1)
    tested = None
    if clusters is not None:
        z = moderators.signed_z(plan, exceed, len(null), inference=inference)
        tested = second.tested(*clusters, z=z, inference=inference, mask=mask)
    return moderators.collect(plan, null, exceed, moderated=moderated, name=name, of_clusters=tested)
