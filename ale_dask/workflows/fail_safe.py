"""Plan the fail-safe N of a finished run, compute its blocks in OUT, and write its files beside the results."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.base_rate import base_rate_name
from ale_dask.analyses.base_rate_result import decided_by_base_rate
from ale_dask.analyses.execute import seconds_per_iteration
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import MainEffectPlan
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.sensitivity import base_rate_variants, noise_null
from ale_dask.analyses.sensitivity import fail_safe as noisy
from ale_dask.analyses.sensitivity.api import main_effects_of
from ale_dask.analyses.sensitivity.base_rate_variants import BaseRateVariantsPlan
from ale_dask.analyses.sensitivity.fail_safe_base_rate import OF_BOTH, AddedBaseRate, Steps, steps_of
from ale_dask.config.backend import Backend
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Study
from ale_dask.errors import InputError, did_you_mean
from ale_dask.execution.backends.connect import cpu_count, threads_of
from ale_dask.execution.block_store import store_plan
from ale_dask.execution.plan import P, block_size, of_type
from ale_dask.execution.progress import clock
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.palette import Hue, hues_of
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.fail_safe import clusters_in, write_fail_safe
from ale_dask.reporting.text.follow_up_files import origin_of
from ale_dask.storage.location import Place, place
from ale_dask.workflows.carry_out import carry_out, workers_of
from ale_dask.workflows.run import collect
from ale_dask.workflows.run_directory import Run, stored_run

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TimedPlan(Generic[P]):
    """A plan of nulls with noise experiments, the number of its iterations, and the seconds of one in this process."""

    plan: P
    iterations: int
    seconds_per_iteration: float

    @property
    def seconds(self) -> float:
        """Seconds of all iterations on one CPU like this one."""
        return self.iterations * self.seconds_per_iteration

    def block_size(self, backend: Backend, workers: int) -> int:
        """Return the iterations per block: those that the backend sets, or as many as fit its `block_seconds`."""
        return backend.block_size or block_size(
            iterations=self.iterations,
            seconds_per_iteration=self.seconds_per_iteration,
            block_seconds=backend.block_seconds,
            workers=workers,
        )


@dataclass(frozen=True, eq=False)
class BaseRateNoise:
    """The steps of a main effect with noise experiments against the base rate, and the passes that compute them."""

    steps: Steps
    passes: Sequence[TimedPlan[BaseRateVariantsPlan]]

    @property
    def seconds(self) -> float:
        """Seconds of all passes on one CPU like this one."""
        return sum(timed.seconds for timed in self.passes)


@dataclass(frozen=True, eq=False)
class FailSafeRun:
    """The fail-safe N of a finished run before it is computed: the results in question, and the plans for them."""

    out: Place
    study: Study
    results: Mapping[str, xr.Dataset]
    """The chosen main effects and conjunctions by name.

    A result that is tested against the base rate has it as its only null. If the run has both nulls, its name here is
    another one than that of the result against the uniform null.
    """
    mains: Mapping[str, xr.Dataset]
    uniform: Mapping[str, TimedPlan[noise_null.FailSafePlan]]
    """The plan of each main effect whose noise experiments have foci anywhere in the mask."""
    base_rate: Mapping[str, BaseRateNoise]
    """The passes of each main effect whose noise experiments have foci where the literature reports them."""
    hues: Mapping[str, Hue]
    """The colours of main effects in every figure of the run."""
    record: RunRecord

    @property
    def plans(self) -> dict[str, TimedPlan[Any]]:
        """Every plan: by main effect for the uniform null, by the name of the plan for the base rate."""
        return {**self.uniform, **{t.plan.name: t for noise in self.base_rate.values() for t in noise.passes}}

    def lines(self, *, workers: int) -> list[str]:
        """Return a line per main effect with the number of noise experiments and iterations, and the time they take."""
        return [
            *(self._uniform_line(name, timed, workers) for name, timed in self.uniform.items()),
            *(_base_rate_line(name, noise, workers) for name, noise in self.base_rate.items()),
        ]

    def _uniform_line(self, name: str, timed: TimedPlan[noise_null.FailSafePlan], workers: int) -> str:
        plan, bits = timed.plan, timed.plan.bits
        line = (
            f"{name}: up to {plan.most} noise experiments beside {plan.n_experiments}{_tests(plan.tested)}, "
            f"{plan.series} series, {timed.iterations:,} iterations of "
            f"{1e3 * timed.seconds_per_iteration:.3g} ms, about {clock(timed.seconds / workers)}"
        )
        before = int(self.mains[name].attrs["scale_bits"])
        return line + (f"; fixed point of {bits} bits, not {before}, to hold them all" if bits < before else "")


def _base_rate_line(name: str, noise: BaseRateNoise, workers: int) -> str:
    steps = noise.steps
    clusters = _CLUSTER_SECONDS * steps.series * len(steps.tested)
    return (
        f"{name}, against the base rate: up to {steps.most} noise experiments beside {len(steps.sample.key)}"
        f"{_tests(steps.tested)}, {steps.series} series, {noise.passes[0].iterations:,} iterations in "
        f"{len(noise.passes)} passes, about {clock(noise.seconds / workers)}, and {clock(clusters)} for the clusters"
    )


def _tests(tested: npt.NDArray[np.int64]) -> str:
    """Return how many numbers of noise experiments are tested, if not all are."""
    return "" if len(tested) == tested[-1] + 1 else f", {len(tested) - 1} numbers of them tested (--every 1 tests all)"


_CLUSTER_SECONDS = 0.03
"""Seconds to find the clusters of one enlarged sample against the base rate, measured on a grid of 2 mm."""


def plan_fail_safe(
    out: str | Place,
    *,
    analysis: str | None = None,
    most: int | Sequence[int] | None = None,
    series: int = 20,
    iterations: int = 1000,
    null: str | None = None,
    every: int | None = None,
) -> FailSafeRun:
    """Store the plans for the fail-safe N of a finished run in OUT, and return them with their measured times.

    Parameters
    ----------
    analysis
        Name of a main effect or conjunction; by default all of them.
    most
        Largest number of noise experiments added to a main effect; by default three times its own experiments.
    series
        Number of series of noise experiments.
    iterations
        Iterations of the null after each noise experiment.
    null
        "uniform", "base-rate" or "both": the null from which noise experiments take their foci, and which clusters must
        survive; by default that of the run.
    every
        Test the clusters after every so many noise experiments, as for `fail_safe`.

    Raises
    ------
    StoreError
        when OUT holds no finished run.
    InputError
        for an unknown analysis, a contrast, TFCE, or a null that the run does not have.
    """
    out = place(out)
    study, results, record = collect(out)
    names = [name for name in study.analysis if model_of(results[name]).kind in (main_effects.KIND, conjunctions.KIND)]
    if analysis is not None and analysis not in names:
        hint = did_you_mean(analysis, names)
        raise InputError(f"{analysis}: no main effect or conjunction of {out}, which has {', '.join(names)}{hint}")
    chosen = {name: results[name] for name in ([analysis] if analysis else names)}
    asked = _null_asked(study.inference.null, null, out)
    prepared, plans = stored_run(out)
    main_plans = {name: of_type(MainEffectPlan, plans[name]) for name in prepared.samples}
    tested = {
        name: noise_null.numbers_tested(len(sample.key), most=most, every=every)
        for name, sample in prepared.samples.items()
    }
    shown, mains = (chosen, _mains(chosen, results)) if asked != "base-rate" else ({}, {})
    uniform = {
        name: _timed(
            _uniform_plan(out, prepared.samples[name], main_plans[name], tested=tested[name], series=series, name=name),
            iterations,
        )
        for name in mains
    }
    base_rate: dict[str, BaseRateNoise] = {}
    if asked != "uniform":
        decided, all_mains = _of_base_rate(chosen, results)
        shown = {**shown, **decided}
        for name in _mains(decided, all_mains):
            sample = prepared.samples[name]
            steps = steps_of(sample, main_plans[name], tested=tested[name], series=series, name=name)
            base_rate[name] = BaseRateNoise(steps, _passes(out, steps, name=name, iterations=iterations))
        mains = {**{name: all_mains[name] for name in base_rate}, **mains}
    return FailSafeRun(out, study, shown, mains, uniform, base_rate, hues_of(results), record)


def _timed(plan: P, iterations: int) -> TimedPlan[P]:
    return TimedPlan(plan, iterations, seconds_per_iteration(plan, most=iterations))


def _null_asked(own: str, null: str | None, out: Place) -> str:
    """Return the null to compute, "uniform", "base-rate" or "both": the one asked for, or that of the run."""
    if null not in (None, "uniform", "base-rate", "both"):
        raise InputError(f"null '{null}': give uniform, base-rate or both")
    if null in (None, own) or own == "both":
        return null or own
    raise InputError(f"{out}: was run with null {own}; `ale-dask run {out} -o {out} --null both` adds the other one")


def _mains(chosen: Mapping[str, xr.Dataset], results: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return by name the main effects to which noise is added: those of results that have a cluster."""
    return {
        str(main.attrs["name"]): main
        for result in chosen.values()
        if clusters_in(result)
        for main in main_effects_of(result, [results[n] for n in result.attrs.get("of", ())])
    }


def _of_base_rate(
    chosen: Mapping[str, xr.Dataset], results: Mapping[str, xr.Dataset]
) -> tuple[dict[str, xr.Dataset], dict[str, xr.Dataset]]:
    """Return the chosen results by name, and all main effects by name, both with the base rate as their only null."""
    mains = {name: decided_by_base_rate(r) for name, r in results.items() if model_of(r).kind == main_effects.KIND}
    decided: dict[str, xr.Dataset] = {}
    for name, result in chosen.items():
        both = model_of(result).inference.null == "both"
        if name in mains:
            decided[base_rate_name(name) if both else name] = mains[name]
        elif both:
            log.info(f"{name}: {OF_BOTH}")
        else:
            decided[name] = result
    return decided, mains


def _passes(out: Place, steps: Steps, *, name: str, iterations: int) -> list[TimedPlan[BaseRateVariantsPlan]]:
    """Return the passes of a main effect with noise against the base rate, with their plans as stored in OUT."""
    passes = []
    for i, chunk in enumerate(steps.chunks):
        where = f"{base_rate_name(name)}_{_plan_suffix(steps.tested, steps.series)}-{i + 1}"
        conventions = steps.conventions(chunk)
        make = partial(steps.plan, i, name=where, threads=cpu_count())
        identity = main_effects.identity_of(base_rate_variants.KIND, conventions)
        plan = store_plan(out, make, name=where, identity=identity, conventions=conventions)
        passes.append(_timed(plan, iterations))
    return passes


def _uniform_plan(
    out: Place, sample: Sample, main: MainEffectPlan, *, name: str, tested: npt.NDArray[np.int64], series: int
) -> noise_null.FailSafePlan:
    """Return the plan of a main effect with noise against the uniform null, as stored in OUT."""
    where = f"{name}_{_plan_suffix(tested, series)}"
    how: dict[str, Any] = {"tested": tested, "series": series}
    conventions = noise_null.conventions_of(sample, main, name=name, **how)
    make = partial(noise_null.plan_fail_safe, sample, main, name=where, threads=cpu_count(), **how)
    identity = main_effects.identity_of(noise_null.KIND, conventions)
    return store_plan(out, make, name=where, identity=identity, conventions=conventions)


def _plan_suffix(tested: npt.NDArray[np.int64], series: int) -> str:
    """Return the end of a plan's name: other numbers of noise experiments or series make another plan."""
    most = int(tested[-1])
    chosen = hashlib.sha256(tested.astype("<i8").tobytes()).hexdigest()[:8]
    every = "" if len(tested) == most + 1 else f"-{chosen}"
    return f"fail-safe-{most}x{series}{every}"


def compute_nulls(
    planned: FailSafeRun, *, backend: Backend, client: Client | None = None, quiet: bool = False
) -> dict[str, npt.NDArray[np.int64]]:
    """Compute the blocks that OUT lacks, and return the null (iteration, noise x series) of each plan by name."""
    with workers_of(backend, client=client) as connected:
        workers, run = threads_of(connected, backend), Run.at(planned.out)
        jobs = [
            job
            for t in planned.plans.values()
            for job in run.jobs(t.plan, iterations=t.iterations, size=partial(t.block_size, backend, workers))
        ]
        carry_out(jobs, planned.out, study=planned.study, client=connected, quiet=quiet)
    return {name: run.gather(t.plan, iterations=t.iterations)[0] for name, t in planned.plans.items()}


def fail_safe(
    planned: FailSafeRun,
    *,
    backend: Backend | None = None,
    client: Client | None = None,
    quiet: bool = False,
    pictures: bool = True,
) -> dict[str, xr.Dataset]:
    """Compute the blocks that OUT lacks, write the fail-safe N of every result to files, and return it by name.

    The files are OUT/NAME/NAME_fail-safe.tsv, .json and .svg; against the base rate NAME_fail-safe-base-rate.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        after any of which the same call resumes.
    """
    if not planned.plans:
        return {}
    nulls = compute_nulls(planned, backend=backend or planned.study.backend, client=client, quiet=quiet)
    uniform: dict[str, noisy.Noisy] = {name: noisy.added(t.plan, nulls[name]) for name, t in planned.uniform.items()}
    base_rate: dict[str, noisy.Noisy] = {
        name: AddedBaseRate(noise.steps, [t.plan for t in noise.passes], [nulls[t.plan.name] for t in noise.passes])
        for name, noise in planned.base_rate.items()
    }
    iterations = next(iter(planned.plans.values())).iterations
    fail_safe_n = {}
    with writing_results(planned.out) as folder:
        for key, result in planned.results.items():
            if not clusters_in(result):
                continue
            name = str(result.attrs["name"])
            with_noise = base_rate if model_of(result).inference.null == "base-rate" else uniform
            parts = {part: with_noise[part] for part in result.attrs.get("of", [name])}
            fail_safe_n[key] = noisy.collect(result, parts, of=planned.mains, iterations=iterations)
            write_fail_safe(
                result,
                fail_safe_n[key],
                folder / stem(name),
                pictures=pictures,
                hues=planned.hues,
                origin=origin_of(_as_run(result, planned.study), planned.record),
            )
    return fail_safe_n


def _as_run(result: xr.Dataset, study: Study) -> xr.Dataset:
    """Return a result whose settings have the null of the run again, as report.html compares them with the record."""
    inference = model_of(result).inference.model_copy(update={"null": study.inference.null})
    return result.assign_attrs(inference=inference.model_dump_json())


def fail_safe_of_run(
    out: str | Place,
    *,
    analysis: str | None = None,
    most: int | Sequence[int] | None = None,
    series: int = 20,
    iterations: int = 1000,
    null: str | None = None,
    backend: Backend | None = None,
    client: Client | None = None,
    quiet: bool = False,
) -> dict[str, xr.Dataset]:
    """Compute the fail-safe N of the analyses of a finished run, and write a table, its JSON and a figure of each.

    Blocks that the folder already holds are not computed again, so that the same call resumes.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    analysis
        Name of a main effect or conjunction; by default all of them.
    most
        Largest number of noise experiments, or the numbers after which clusters are tested, as for `fail_safe`.
    series
        Number of series of noise experiments.
    iterations
        Iterations of the null after each noise experiment.
    null
        "uniform", "base-rate" or "both"; by default that of the run.
    backend
        Backend to compute on; by default that of the run.
    client
        Dask client to compute on, instead of a backend.
    quiet
        Show no progress.

    Returns
    -------
    dict
        For each analysis by its name the Dataset of `fail_safe`.

    Raises
    ------
    StoreError
        When the folder holds no finished run.
    InputError, BackendError, UnfinishedError
        As `run` and `fail_safe`.

    Examples
    --------
    >>> sorted(ale.fail_safe_of_run("out", analysis="drug", most=2, series=2, iterations=100, quiet=True))
    ['drug']
    """
    planned = plan_fail_safe(out, analysis=analysis, most=most, series=series, iterations=iterations, null=null)
    return fail_safe(planned, backend=backend, client=client, quiet=quiet)
