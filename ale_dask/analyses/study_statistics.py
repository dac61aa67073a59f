"""Plan the statistics of whole maps that a study asks for, so that a run computes them with its nulls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.base_rate import BaseRatePlan, base_rate_name
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of
from ale_dask.analyses.statistics import null as null_statistic
from ale_dask.analyses.statistics.functions import Statistic, statistic_of
from ale_dask.analyses.statistics.given import GIVEN
from ale_dask.analyses.statistics.images import GridImage, on_grid
from ale_dask.analyses.statistics.null import Asked, NullStatisticPlan, plan_statistic
from ale_dask.analyses.study_plans import KeepPlan, PreparedStudy
from ale_dask.config.analysis import MapStatistic
from ale_dask.config.names import name_from
from ale_dask.config.study import Study, main_effects_of
from ale_dask.errors import InputError
from ale_dask.execution.plan import Plan, of_type
from ale_dask.numerics.space import Mask


def asked_of(
    statistic: str | Callable[..., Any] | Statistic,
    *,
    mask: Mask,
    image: str | Path | xr.Dataset | None,
    arguments: Mapping[str, Any] | None = None,
) -> Asked:
    """Return a statistic with its image on the searched voxels of a mask.

    Raises
    ------
    InputError
        for a statistic or image that cannot be used, one without the image that it takes, or with one that it does not.
    """
    found = statistic_of(statistic, arguments)
    given = GIVEN[found.name] if found.is_given else None
    if given is not None and (given.image is None) != (image is None):
        takes = "needs an image, such as yeo7 or a NIfTI file" if image is None else "takes no image; leave it out"
        raise InputError(f"statistic '{found.name}': {takes}")
    if given is not None and arguments:
        raise InputError(f"statistic '{found.name}': takes no arguments; leave them out")
    return Asked(found, None if image is None else on_grid(image, mask, wanted=None if given is None else given.image))


def label_of(asked: Asked) -> str:
    """Return the end of the names of files and plans: of the statistic, its image, and a hash of its arguments."""
    image = "" if asked.image is None else asked.image.name
    arguments = dict(asked.statistic.arguments)
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:6] if arguments else ""
    return name_from(f"{asked.statistic.name} {image} {digest}")


def kept_plan(
    asked: Asked, base: MainEffectPlan | BaseRatePlan, *, affine: npt.NDArray[np.float64], keep: KeepPlan
) -> NullStatisticPlan:
    """Return the plan of a statistic on the null of a plan, as `keep` returns it.

    Other functions, arguments and images of one name lie side by side.
    """
    conventions = asked.conventions(base)
    identity = identity_of(null_statistic.KIND, conventions)
    name = f"{base.name}_null-{label_of(asked)}-{identity[:8]}"
    make = partial(plan_statistic, asked, base, affine=affine, name=name)
    return keep(name, null_statistic.KIND, conventions, make)


def needs_result(statistic: MapStatistic, study: Study) -> bool:
    """Return whether the image of a statistic is what survives in a main effect, which its null decides first."""
    return statistic.image in main_effects_of(study)


def words_of(statistic: MapStatistic, study: Study) -> tuple[str, ...]:
    """Return the words of the nulls that a statistic is tested on."""
    asked = statistic.null or study.inference.null
    return ("uniform", "base-rate") if asked == "both" else (asked,)


def asked_from(statistic: MapStatistic, study: PreparedStudy, *, image: xr.Dataset | None = None) -> Asked:
    """Return a statistic of a study; `image` is the result that its image names, without which that is empty."""
    if needs_result(statistic, study.study) and image is None:
        empty = np.zeros(int(study.mask.searched.sum()), dtype=np.int64)
        return Asked(statistic_of(statistic.name), GridImage(str(statistic.image), empty, {}, ""))
    return asked_of(statistic.name, mask=study.mask, image=statistic.image if image is None else image)


def check_statistics(study: PreparedStudy) -> None:
    """Raise an InputError for a statistic that cannot be computed, before anything is run."""
    has, labels = study.study.inference.null, set[tuple[str, str]]()
    for number, each in enumerate(study.study.statistic, 1):
        where = f"statistic[{number}]"
        if has != "both" and words_of(each, study.study) != (has,):
            raise InputError(f'{where}.null: the run has the {has} null alone; give [inference] null = "both"')
        if needs_result(each, study.study) and GIVEN[each.name].image != "voxels":
            raise InputError(
                f"{where}.image: '{each.image}' is a main effect, which only dice compares with; name an image"
            )
        try:
            label = each.of, label_of(asked_from(each, study))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if label in labels:
            raise InputError(f"{where}: '{label[1]}' of '{label[0]}' is there twice; rename an image, or leave one out")
        labels.add(label)


def plan_statistics(
    study: PreparedStudy, made: Mapping[str, Plan], keep: KeepPlan, *, of_results: bool = False
) -> dict[str, Plan]:
    """Return the plans of the statistics of a study by name: those that wait for results, or the others.

    `made` has the plans of their main effects; parts of a study that leave some of these out have no statistics of
    them.
    """
    plans: dict[str, Plan] = {}
    for each in study.study.statistic:
        if each.of in made and needs_result(each, study.study) == of_results:
            asked = asked_from(each, study)
            found = plans_asked(each, asked, study, made, keep)
            plans |= {f"{base_name(each, word)}_null-{label_of(asked)}": plan for word, plan in found.items()}
    return plans


def plans_asked(
    statistic: MapStatistic, asked: Asked, study: PreparedStudy, made: Mapping[str, Plan], keep: KeepPlan
) -> dict[str, NullStatisticPlan]:
    """Return the plan of a statistic on each of its nulls, by the word of the null."""
    found = {}
    for word in words_of(statistic, study.study):
        base = made[base_name(statistic, word)]
        base = base if isinstance(base, BaseRatePlan) else of_type(MainEffectPlan, base)
        found[word] = kept_plan(asked, base, affine=study.mask.affine, keep=keep)
    return found


def base_name(statistic: MapStatistic, word: str) -> str:
    """Return the name of the plan of the null that a statistic is tested on."""
    return base_rate_name(statistic.of) if word == "base-rate" else statistic.of
