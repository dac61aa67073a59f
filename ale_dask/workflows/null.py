"""Test a statistic of a whole map on the exact null of a main effect, in memory or in the folder of a run."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from ale_dask.analyses.base_rate import BaseRatePlan, base_rate_name, nulls_of, plan_base_rate
from ale_dask.analyses.execute import run_plan, sample_of, seconds_per_iteration
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of, plan_main_effect
from ale_dask.analyses.statistics import null as null_statistic
from ale_dask.analyses.statistics.functions import statistic_of
from ale_dask.analyses.statistics.given import GIVEN, Tail
from ale_dask.analyses.statistics.images import on_grid
from ale_dask.analyses.statistics.null import Asked, NullStatisticPlan, plan_statistic, with_function
from ale_dask.config.names import name_from
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Backend, Study
from ale_dask.errors import InputError, did_you_mean
from ale_dask.execution.backends.connect import threads_of
from ale_dask.execution.block_store import store_plan
from ale_dask.execution.executors import Job, execute
from ale_dask.execution.journal import Journal
from ale_dask.execution.plan import Plan, block_size, of_type
from ale_dask.execution.progress import clock
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.null_statistic import write_null
from ale_dask.reporting.text.follow_up_files import origin_of
from ale_dask.storage.location import Place, place
from ale_dask.workflows.run import carry_out, collect, workers_of
from ale_dask.workflows.run_directory import Run, stored_run

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
Image = str | Path | xr.Dataset
Function = str | Callable[..., Any]


@dataclass(frozen=True)
class Options:
    """What `null` is asked for besides the statistic; each has a default."""

    analysis: str | None = None
    """Name of the main effect in the folder of a run."""
    null: str | None = None
    """"uniform", "base-rate" or "both"; by default that of the result."""
    iterations: int | None = None
    """By default as many as the result has."""
    tail: Tail | None = None
    """By default that of the statistic, "upper" of a user's own."""
    backend: Backend | None = None
    """By default that of the run."""
    quiet: bool = False
    """Show no progress."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """Return the options of keyword values; errors name the one that is wrong."""
        if unknown := set(values) - set(cls.__dataclass_fields__):
            wrong = sorted(unknown)[0]
            known = ", ".join(["image", "arguments", "client", *cls.__dataclass_fields__])
            raise InputError(f"null: unknown option '{wrong}'{did_you_mean(wrong, cls.__dataclass_fields__)}; {known}")
        options = cls(**values)
        if options.null not in (None, "uniform", "base-rate", "both"):
            raise InputError(f"null '{options.null}': give uniform, base-rate or both")
        if options.tail not in (None, *null_statistic.TAILS):
            raise InputError(f"tail '{options.tail}': give {', '.join(null_statistic.TAILS)}")
        if options.iterations is not None and options.iterations < 1:
            raise InputError(f"iterations {options.iterations}: give 1 or more")
        return options

    def words(self, result: xr.Dataset) -> tuple[str, ...]:
        """Return the words of the nulls that are asked for of a result."""
        return {"both": ("uniform", "base-rate"), None: nulls_of(result)}.get(self.null, (str(self.null),))


@dataclass(frozen=True, eq=False)
class NullRun:
    """A statistic of a main effect of a finished run before it is computed: the plans stored in OUT for it."""

    out: Place
    study: Study
    record: RunRecord
    result: xr.Dataset
    asked: Asked
    plans: Mapping[str, NullStatisticPlan]
    """The plan for each null, by its word."""
    iterations: int
    label: str
    """The end of the names of its files, such as "networks-yeo7"."""
    options: Options

    def lines(self, *, workers: int) -> list[str]:
        """Return a line per null with its iterations and the time that they take."""
        return [
            f"{plan.name}: {len(plan.statistics)} number(s), {self.iterations:,} iterations of "
            f"{1e3 * (each := seconds_per_iteration(plan, most=min(4, self.iterations))):.3g} ms, "
            f"about {clock(self.iterations * each / workers)}"
            for plan in self.plans.values()
        ]

    def jobs(self, *, workers: int) -> list[Job]:
        """Return a job per segment of each plan in OUT."""
        run, backend = Run.at(self.out), self.options.backend or self.study.backend

        def size(plan: Plan) -> int:
            return backend.block_size or block_size(
                iterations=self.iterations,
                seconds_per_iteration=seconds_per_iteration(plan, most=min(4, self.iterations)),
                block_seconds=backend.block_seconds,
                workers=workers,
            )

        return [
            job
            for plan in self.plans.values()
            for job in run.jobs(plan, iterations=self.iterations, size=partial(size, plan))
        ]


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


def asked_of(statistic: Function, *, mask: Mask, image: Image | None, arguments: Mapping[str, Any] | None) -> Asked:
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
    study, results, record = collect(out)
    result = _chosen(results, options.analysis, out)
    if isinstance(image, str) and image in results:
        image = results[image]
    asked = asked_of(statistic, mask=model_of(result).mask, image=image, arguments=arguments)
    if asked.statistic.has_closure:
        raise InputError(
            f"statistic '{asked.statistic.name}': takes values from a function around it, by which stored blocks could "
            "not be told from those of other values; give them as arguments = …"
        )
    label, plans = _label(asked), {}
    _, stored = stored_run(out)
    for word in options.words(result):
        name = str(result.attrs["name"])
        name = base_rate_name(name) if word == "base-rate" else name
        if name not in stored:
            raise InputError(f"{out}: has no {word} null of it; `ale-dask run {out} -o {out} --null both` adds it")
        plans[word] = _stored_plan(out, asked, stored[name], mask=model_of(result).mask, label=label)
    iterations = options.iterations or int(result.attrs["iterations"])
    return NullRun(out, study, record, result, asked, plans, iterations, label, options)


def _chosen(results: Mapping[str, xr.Dataset], analysis: str | None, out: Place) -> xr.Dataset:
    mains = {name: result for name, result in results.items() if kind_of(result) == "main-effect"}
    if analysis is None and len(mains) == 1:
        return next(iter(mains.values()))
    if analysis not in mains:
        hint = "" if analysis is None else did_you_mean(analysis, mains)
        raise InputError(f"{analysis or out}: name a main effect of {out}, which has {', '.join(mains)}{hint}")
    return mains[str(analysis)]


def _label(asked: Asked) -> str:
    """Return the end of the names of files and plans: of the statistic, its image, and a hash of its arguments."""
    image = "" if asked.image is None else asked.image.name
    arguments = dict(asked.statistic.arguments)
    digest = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:6] if arguments else ""
    return name_from(f"{asked.statistic.name} {image} {digest}")


def _stored_plan(out: Place, asked: Asked, base: Plan, *, mask: Mask, label: str) -> NullStatisticPlan:
    """Return the plan of a statistic as it is stored in OUT, with its function."""
    of = base if isinstance(base, BaseRatePlan) else of_type(MainEffectPlan, base)
    conventions = asked.conventions(of)
    identity = identity_of(null_statistic.KIND, conventions)
    # Other functions, arguments and images of one name lie side by side.
    name = f"{of.name}_null-{label}-{identity[:8]}"
    make = partial(plan_statistic, asked, of, affine=mask.affine, name=name)
    plan = store_plan(out, make, name=name, identity=identity, conventions=conventions)
    return with_function(plan, asked.statistic)


def compute_null(planned: NullRun, *, client: Client | None = None) -> xr.Dataset:
    """Compute the blocks that OUT lacks, write the files of the test beside its result, and return it.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        after any of which the same call resumes.
    """
    backend = planned.options.backend or planned.study.backend
    with workers_of(backend, client=client) as connected:
        jobs = planned.jobs(workers=threads_of(connected, backend))
        carry_out(jobs, planned.out, study=planned.study, client=connected, quiet=planned.options.quiet)
    run = Run.at(planned.out)
    nulls = {word: (p, run.gather(p, iterations=planned.iterations)[0]) for word, p in planned.plans.items()}
    test = null_statistic.collect(planned.result, planned.asked, nulls, tail=planned.options.tail)
    name = stem(str(planned.result.attrs["name"]))
    with writing_results(planned.out) as folder:
        base = folder / name / f"{name}_null-{planned.label}"
        write_null(test, base, origin=origin_of(planned.result, planned.record))
    return test


def null_share(planned: NullRun, *, index: int, shares: int) -> int:
    """Compute one share of the missing blocks in this process, without a scheduler, and return how many were computed.

    A share has blocks `index`, `index + shares` and so on, so that the tasks of a job array can work side by side.

    Raises
    ------
    InputError
        when there is no such share.
    """
    if not 0 <= index < shares:
        raise InputError(f"share {index}: there are shares 0 to {shares - 1}")
    jobs = planned.jobs(workers=shares)
    blocks = [(job, block) for job in jobs for block in range(job.segment.n_blocks)]
    missing = [(job, block) for job, block in blocks[index::shares] if job.sink.read(block) is None]
    execute(missing, report=Journal(planned.out).step)
    return len(missing)
