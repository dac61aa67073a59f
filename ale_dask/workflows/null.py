"""Test a statistic of a whole map on the exact null of a main effect, in memory or in the folder of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from ale_dask.analyses.base_rate import BaseRatePlan, base_rate_name, plan_base_rate
from ale_dask.analyses.execute import run_plan, sample_of
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.main_effect import MainEffectPlan, plan_main_effect
from ale_dask.analyses.statistics import null as null_statistic
from ale_dask.analyses.statistics.functions import Statistic
from ale_dask.analyses.statistics.null import plan_statistic, with_function
from ale_dask.analyses.study_statistics import asked_of, kept_plan, label_of
from ale_dask.errors import InputError
from ale_dask.execution.plan import of_type
from ale_dask.storage.location import Place, place
from ale_dask.workflows.main_effects import collect_main_effects, main_effect_named
from ale_dask.workflows.null_runs import NullRun, Options, compute_null, keep_in
from ale_dask.workflows.run_directory import stored_run

if TYPE_CHECKING:
    from distributed import Client

Image = str | Path | xr.Dataset
Function = str | Callable[..., Any] | Statistic


def null(
    result: xr.Dataset | str | Place,
    statistic: Function,
    *,
    image: Image | None = None,
    arguments: Mapping[str, Any] | None = None,
    client: Client | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return the test of a statistic of a whole map against the exact null of a main effect.

    Parameters
    ----------
    result
        Main effect, from `main_effect`; or the folder of a finished run, where blocks are kept, so that the same call
        resumes, and where the files NAME/NAME_null-… are written for the report.
    statistic
        Function of a map Dataset that returns one or a few numbers, int64 or float64: a number, a list, a dictionary of
        numbers by name, or a dictionary of such dictionaries, each a group of its own. Or one that the program has,
        "networks", "regions", "laterality", "correlation" or "dice"; or FILE.py:FUNCTION.
    image
        Image that the statistic takes, on any grid: a file, "yeo7", "yeo17", "schaefer100" … "schaefer1000", an atlas
        such as "AAL"; for "dice" also another main effect or, of a run, its name. Labels are taken from the nearest
        voxel, other values are interpolated.
    arguments
        Further arguments of the function by name, of text, numbers, lists and dictionaries.
    client
        Dask client to compute on.
    **options
        Analysis: the main effect of a run; null: "uniform", "base-rate" or "both" (by default that of the result);
        iterations (by default those of the result); tail: "upper", "lower" or "two-sided"; backend; quiet.

    Returns
    -------
    xr.Dataset
        Variables observed, p, its 95 % interval p_low to p_high, and p_fwe within the group, each (against, number);
        null (against, iteration, number), its null_mean, null_sd and null_quantile.

    Raises
    ------
    InputError
        When the function raises or returns anything else than the same finite numbers of every map, with the number of
        the iteration; for an image or option that cannot be used.
    StoreError
        When the folder holds no finished run.

    Notes
    -----
    The Dataset that the function is given has, for the voxels of the search space (voxel): s, int64, the sum of
    -ln(1 - MA) in units of 2^-scale_bits; ale, float64, 1 - exp(-S); z, float64 in steps of 1/4096, floored at 0, of
    the analytic p or of the p under the base rate; above, bool, whether the voxel is at or above its cluster-forming
    value; excess, float64, how far, S - u in its natural unit or z - z0 under the base rate, 0 elsewhere; xyz (voxel,
    axis) in mm MNI; mirror, int64, the number of the voxel at -x, or -1; and image, whose attribute labels names its
    labels. Its attributes are null, iteration (-1 for the observed map), scale_bits and voxel_mm3.

    The iterations are those of the cluster-level null, from the same draws. p = (1 + r) / (1 + B), for two sides twice
    the smaller of both; p_fwe is that of the largest deviation within a group, each number standardised by mean and
    standard deviation of its B + 1 values.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=60, seed=1)
    >>> def front(maps):
    ...     return float(maps["z"][maps["xyz"][:, 1] > 0].mean())
    >>> test = ale.null(result, front)
    >>> test["null"].shape, bool(test["p"][0, 0] > 0)
    ((1, 60, 1), True)
    """
    asked_for = Options.of(options)
    if not isinstance(result, xr.Dataset):
        planned = plan_null(result, statistic, image=image, arguments=arguments, options=asked_for)
        return compute_null(planned, client=client)
    if kind_of(result) != "main-effect":
        raise InputError(f"'{result.attrs.get('name')}' is no main effect: only its null can be drawn again")
    model = model_of(result)
    asked = asked_of(statistic, mask=model.mask, image=image, arguments=arguments)
    chosen = sample_of(result, inference=model.inference, mask=model.mask)
    main = plan_main_effect(chosen, bits=int(result.attrs["scale_bits"]), name=model.name)
    iterations = asked_for.iterations or int(result.attrs["iterations"])
    nulls = {}
    for word in asked_for.words(result):
        base: MainEffectPlan | BaseRatePlan = main
        if word == "base-rate":
            base = plan_base_rate(chosen, main=main, name=base_rate_name(model.name))
        plan = plan_statistic(asked, base, affine=model.mask.affine, name=f"{base.name}_null-{asked.statistic.name}")
        nulls[word] = plan, run_plan(plan, iterations=iterations, client=client)["null"][:, 1:]
    return null_statistic.collect(result, asked, nulls, tail=asked_for.tail)


def plan_null(
    out: str | Place,
    statistic: Function,
    *,
    image: Image | None = None,
    arguments: Mapping[str, Any] | None = None,
    options: Options,
) -> NullRun:
    """Store the plans of a statistic of a main effect of a finished run in OUT, and return them.

    Raises
    ------
    StoreError
        when OUT holds no finished run.
    InputError
        as `null`; also for a function that takes values from another one around it, or a null that the run lacks.
    """
    out = place(out)
    study, mains, record = collect_main_effects(out)
    result = main_effect_named(options.analysis, mains, out)
    if isinstance(image, str) and image in mains:
        image = mains[image]
    asked = asked_of(statistic, mask=model_of(result).mask, image=image, arguments=arguments)
    if asked.statistic.has_closure:
        raise InputError(
            f"statistic '{asked.statistic.name}': takes values from the function that it is defined in, so that "
            "stored blocks could not be told from those of other values; give them as arguments = …"
        )
    plans = {}
    _, stored = stored_run(out)
    for word in options.words(result):
        name = str(result.attrs["name"])
        name = base_rate_name(name) if word == "base-rate" else name
        if name not in stored:
            raise InputError(f"{out}: has no {word} null of it; `ale-dask run {out} -o {out} --null both` adds it")
        base = stored[name]
        base = base if isinstance(base, BaseRatePlan) else of_type(MainEffectPlan, base)
        plan = kept_plan(asked, base, affine=model_of(result).mask.affine, keep=keep_in(out))
        plans[word] = with_function(plan, asked.statistic)
    iterations = options.iterations or int(result.attrs["iterations"])
    return NullRun(out, study, record, result, asked, plans, iterations, label_of(asked), options)
