"""Compute what the functions for Python share, in memory: samples, main effects, second passes, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import base_rate as base_rates
from ale_dask.analyses import base_rate_result, main_effect_result
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.execute import run_plan
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.inside import Limit, check_correction, check_invariant, of_image, of_result
from ale_dask.analyses.ma import ale_union, ma_maps
from ale_dask.analyses.networks import check_networks
from ale_dask.analyses.sample import Sample, enough, sample
from ale_dask.config.inference import IMAGES, Inference
from ale_dask.config.study import inference_from
from ale_dask.coordinates.masks import load_mask, load_space
from ale_dask.coordinates.pooling import by_subjects
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.plan import Plan
from ale_dask.numerics.space import Mask

if TYPE_CHECKING:
    from distributed import Client


def sample_from(foci: xr.Dataset, grid: Mask | None, settings: Mapping[str, Any], *, name: str) -> Sample:
    """Return the sample of foci under settings, whose mask and search may be a `Mask`; on a grid that is known, if any.

    Raises
    ------
    InputError
        for foci or settings that cannot be used.
    """
    images = {key: image for key in ("mask", "search") if isinstance(image := settings.get(key), Mask)}
    files = {k: str(value) for k, value in settings.items() if k in IMAGES and value is not None}
    inference = inference_from({**settings, **files, **{key: image.name for key, image in images.items()}})
    grid = grid or load_space(inference, **images)
    check_networks(inference, grid)
    used = by_subjects(foci, inference.same_subjects, name=name)
    return enough(sample(used, mask=grid, inference=inference, name=name), name=name)


def computed_main_effect(chosen: Sample, plan: main_effects.MainEffectPlan, *, client: Client | None) -> xr.Dataset:
    ale = ale_union(ma_maps(chosen)).values
    beside = None
    if base_rates.wants_base_rate(chosen.inference):
        beside = base_rates.plan_base_rate(chosen, main=plan, name=base_rates.base_rate_name(plan.name))
    null, other = (np.empty((0, 0 if p is None else len(p.statistics)), dtype=np.int64) for p in (plan, beside))
    n, most = chosen.inference.iterations, chosen.inference.until_decided
    while True:
        null = _longer(null, plan, iterations=n, client=client)
        result = main_effect_result.collect(chosen, plan, null, ale=ale)
        if beside is not None:
            other = _longer(other, beside, iterations=n, client=client)
            result = base_rate_result.with_base_rate(result, chosen, beside, other)
        if most is None or n >= most or not main_effect_result.undecided([result]):
            return result
        # The settings stay as they were asked for, so that arms of a contrast may end at different numbers.
        n = min(2 * n, most)


def _longer(
    null: npt.NDArray[np.int64], plan: Plan, *, iterations: int, client: Client | None
) -> npt.NDArray[np.int64]:
    """Return a null (iteration, statistic) with the iterations that it lacks added to those that it has."""
    arrays = run_plan(plan, first=len(null), iterations=iterations - len(null), client=client)
    return np.concatenate([null, arrays["null"][:, 1:]])


def null_of_second_pass(
    passes: Any, plan: Any, *, mask: Mask, inference: Inference, iterations: int, client: Client | None
) -> tuple[Any, npt.NDArray[np.int64]] | None:
    """Return the plan of the cluster-level pass of a contrast or moderator and its null; None where it has none.

    `passes` is the module of that pass.
    """
    if not passes.second_pass(plan, inference, iterations=iterations):
        return None
    again = passes.plan_clusters(
        plan, mask=mask, inference=inference, iterations=iterations, name=plan.name, threads=cpu_count()
    )
    return again, run_plan(again, iterations=iterations, client=client)["null"][:, 1:]


def limit_of(
    inside: xr.Dataset | Mask | str | None,
    *,
    mask: Mask,
    correction: str | None,
    name: str,
    arms: Sequence[Sample] = (),
) -> Limit | None:
    """Return what an analysis is limited to, with the main effect whose clusters it is; None for no limit.

    Raises
    ------
    InputError
        for a result that is no main effect, of another mask, or which relabelling the arms would change.
    """
    if inside is None:
        return None
    where = f"{name}: inside"
    if not isinstance(inside, xr.Dataset):
        image = inside if isinstance(inside, Mask) else load_mask(inside, key=where)
        return of_image(image, mask=mask), None
    if kind_of(inside) != "main-effect" or model_of(inside).mask.sha256 != mask.sha256:
        raise InputError(f"{where}: give a main effect on the same mask; of another result, save the map as an image")
    check_correction(model_of(inside).inference, correction, name=where)
    check_invariant(inside["experiment_key"].values, arms, name=where)
    return of_result(inside, correction=correction), inside
