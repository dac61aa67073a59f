"""Fail-safe N of a finished run: planned, timed, computed as blocks in its OUT, and written beside its results."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.base_rate import base_rate_name, decided_by_base_rate
from ale_dask.analyses.execute import seconds_per_iteration
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.sensitivity import base_rate_variants as beside
from ale_dask.analyses.sensitivity import fail_safe as noisy
from ale_dask.analyses.sensitivity import noise_null
from ale_dask.analyses.sensitivity.api import main_effects_of
from ale_dask.analyses.sensitivity.fail_safe_base_rate import OF_BOTH, AddedBaseRate, Steps, steps_of
from ale_dask.analyses.study_plans import PreparedStudy
from ale_dask.config.study import Backend, Study
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count, threads_of
from ale_dask.execution.block_store import store_plan
from ale_dask.execution.plan import Plan, block_size
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.palette import Hue, hues_of
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.fail_safe import clusters_in, write_fail_safe
from ale_dask.reporting.text.follow_up_files import origin_of
from ale_dask.storage.location import Place, place
from ale_dask.workflows.run import carry_out, collect, workers_of
from ale_dask.workflows.run_directory import Run, stored

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Extra:
    """The plan of a main effect with its noise, how many iterations it is run for, and the seconds of one here."""

    plan: Plan
    iterations: int
    seconds_per_iteration: float


@dataclass(frozen=True, eq=False)
class FailSafeRun:
    """What is added to which results of a run: those with a cluster, and the plan of each main effect they need."""

    out: Place
    study: Study
    results: Mapping[str, xr.Dataset]
    """By name: main effects and conjunctions whose clusters are looked at, with clusters or without.

    Those of the base rate have it as their null, and where both nulls were asked for a name of their own.
    """
    mains: Mapping[str, xr.Dataset]
    extras: Mapping[str, Extra]
    """Of the uniform null, by main effect."""
    against: Mapping[str, tuple[Steps, Sequence[Extra]]]
    """Of the base-rate null, by main effect: what is added, and the passes."""
    hues: Mapping[str, Hue]
    """The colours of main effects in every figure of the run."""
    record: Mapping[str, Any]

    @property
    def iterations(self) -> int:
        """Of every null."""
        passes = [e for _, one in self.against.values() for e in one]
        return next(e.iterations for e in (*self.extras.values(), *passes))

    def lines(self, *, workers: int) -> list[str]:
        """Return what is going to be computed and what it takes, a line per main effect."""
        from ale_dask.execution.progress import clock

        said = []
        for name, extra in self.extras.items():
            noise = len(extra.plan.arrays["noise_kernel"])
            own, kept = len(extra.plan.arrays["kernel"]), int(extra.plan.settings["bits"])
            series = len(extra.plan.arrays["threshold"])
            each = extra.seconds_per_iteration
            line = (
                f"{name}: up to {noise} noise experiments beside {own}, {series} series, {extra.iterations:,} "
                f"iterations of {1e3 * each:.3g} ms, about {clock(extra.iterations * each / workers)}"
            )
            if kept < (before := int(self.mains[name].attrs["scale_bits"])):
                line += f"; fixed point of {kept} bits, not {before}, to hold them all"
            said.append(line)
        for name, (steps, passes) in self.against.items():
            seconds = sum(e.iterations * e.seconds_per_iteration for e in passes) / workers
            line = (
                f"{name}, against the base rate: up to {steps.most} noise experiments beside {len(steps.sample.key)}, "
                f"{steps.series} series, {passes[0].iterations:,} iterations in {len(passes)} passes, about "
                f"{clock(seconds)}, and {clock(_SURVIVAL * steps.series * (steps.most + 1))} for the clusters"
            )
            said.append(line)
        return said


_SURVIVAL = 0.03
"""Seconds of the clusters of one enlarged sample against the base rate, on a grid of 2 mm."""


def open_drawer(
    out: str | Place,
    *,
    analysis: str | None = None,
    most: int | None = None,
    series: int = 20,
    iterations: int = 1000,
    null: str | None = None,
) -> FailSafeRun:
    """Return what fail-safe N of a finished run takes: plans made and kept in OUT, and timed here.

    Parameters
    ----------
    analysis
        a main effect or conjunction; all of them if not given
    most
        noise experiments added at most to a main effect; three times its own if not given
    null
        uniform, base-rate or both: where noise reports foci, and the null that clusters must survive; the run's own if
        not given

    Raises
    ------
    StoreError
        when OUT holds no run, or one that is not finished.
    InputError
        for an analysis that is not there or a contrast, for TFCE, or a null that the run does not have.
    """
    out = place(out)
    study, results, record = collect(out)
    kinds = (main_effects.KIND, conjunctions.KIND)
    able = [name for name in study.analysis if model_of(results[name]).kind in kinds]
    if analysis is not None and analysis not in able:
        raise InputError(f"{analysis}: no main effect or conjunction of {out}, which has {', '.join(able)}")
    chosen = {name: results[name] for name in ([analysis] if analysis else able)}
    asked = _asked(study.inference.null, null, out)
    prepared, made = stored(out)
    extras = {}
    mains = _mains(chosen, results) if asked != "base-rate" else {}
    for name in mains:
        plan = _stored(out, prepared, made[name], name=name, most=most, series=series)
        extras[name] = Extra(plan, iterations, seconds_per_iteration(plan, most=iterations))
    shown = chosen if asked != "base-rate" else {}
    against = {}
    if asked != "uniform":
        second, of_base_rate = _of_base_rate(chosen, results)
        shown = {**shown, **second}
        for name in _mains(second, of_base_rate):
            number = noise_null.TIMES * len(prepared.samples[name].key) if most is None else most
            steps = steps_of(prepared.samples[name], made[name], most=number, series=series, name=name)
            against[name] = steps, _passes(out, steps, name=name, iterations=iterations)
        mains = {**{name: one for name, one in of_base_rate.items() if name in against}, **mains}
    return FailSafeRun(out, study, shown, mains, extras, against, hues_of(results), record)


def _asked(own: str, null: str | None, out: Place) -> str:
    """Return the nulls that are asked for, of those that a run has."""
    if null not in (None, "uniform", "base-rate", "both"):
        raise InputError(f"null '{null}': give uniform, base-rate or both")
    if null in (None, own) or own == "both":
        return null or own
    raise InputError(f"{out}: was run with null {own}; `ale-dask run {out} -o {out} --null both` adds the other one")


def _mains(chosen: Mapping[str, xr.Dataset], results: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return the main effects that noise is added to, by name: those of results with a cluster."""
    return {
        str(main.attrs["name"]): main
        for result in chosen.values()
        if clusters_in(result)
        for main in main_effects_of(result, [results[n] for n in result.attrs.get("of", ())])
    }


def _of_base_rate(
    chosen: Mapping[str, xr.Dataset], results: Mapping[str, xr.Dataset]
) -> tuple[dict[str, xr.Dataset], dict[str, xr.Dataset]]:
    """Return the chosen results as the base rate decides them, by the name they have here, and all main effects."""
    mains = {name: decided_by_base_rate(r) for name, r in results.items() if model_of(r).kind == main_effects.KIND}
    found: dict[str, xr.Dataset] = {}
    for name, result in chosen.items():
        both = model_of(result).inference.null == "both"
        if name in mains:
            found[base_rate_name(name) if both else name] = mains[name]
        elif both:
            log.info(f"{name}: {OF_BOTH}")
        else:
            found[name] = result
    return found, mains


def _passes(out: Place, steps: Steps, *, name: str, iterations: int) -> list[Extra]:
    """Return the passes of a main effect with its noise against the base rate, as OUT keeps them."""
    found = []
    for i, chunk in enumerate(steps.chunks):
        where = f"{base_rate_name(name)}_fail-safe-{steps.most}x{steps.series}-{i + 1}"
        conventions = steps.conventions(chunk)
        make = partial(steps.plan, i, name=where, threads=cpu_count())
        identity = main_effects.identity_of(beside.KIND, conventions)
        plan = store_plan(out, make, name=where, identity=identity, conventions=conventions)
        found.append(Extra(plan, iterations, seconds_per_iteration(plan, most=iterations)))
    return found


def _stored(out: Place, prepared: PreparedStudy, main: Plan, *, name: str, most: int | None, series: int) -> Plan:
    sample = prepared.samples[name]
    number = noise_null.TIMES * len(sample.key) if most is None else most
    # Each number of experiments and series is another plan, with a place of its own.
    where = f"{name}_fail-safe-{number}x{series}"
    conventions = noise_null.conventions_of(sample, main, most=number, series=series, name=name)
    make = partial(noise_null.plan_fail_safe, sample, main, most=number, series=series, name=where, threads=cpu_count())
    identity = main_effects.identity_of(noise_null.KIND, conventions)
    return store_plan(out, make, name=where, identity=identity, conventions=conventions)


def compute(
    drawer: FailSafeRun,
    *,
    backend: Backend,
    client: Client | None = None,
    quiet: bool = False,
) -> dict[str, npt.NDArray[np.int64]]:
    """Return the nulls (iteration, noise x series) of each main effect with its noise, computing what OUT lacks.

    Those of passes against the base rate are by the names of their plans.
    """
    out = drawer.out
    extras = {**drawer.extras, **{e.plan.name: e for _, passes in drawer.against.values() for e in passes}}
    with workers_of(backend, client=client) as connected:
        workers, run = threads_of(connected, backend), Run.at(out)
        jobs = [
            job
            for e in extras.values()
            for job in run.jobs(e.plan, iterations=e.iterations, size=partial(_size, e, backend, workers))
        ]
        carry_out(jobs, out, study=drawer.study, client=connected, quiet=quiet)
    return {name: run.gather(e.plan, iterations=e.iterations)[0] for name, e in extras.items()}


def _size(extra: Extra, backend: Backend, workers: int) -> int:
    return backend.block_size or block_size(
        iterations=extra.iterations,
        seconds_per_iteration=extra.seconds_per_iteration,
        block_seconds=backend.block_seconds,
        workers=workers,
    )


def fail_safe(
    drawer: FailSafeRun,
    *,
    backend: Backend | None = None,
    client: Client | None = None,
    quiet: bool = False,
    pictures: bool = True,
) -> dict[str, xr.Dataset]:
    """Return the fail-safe N of every result by name, computing what OUT lacks, and write it beside the results.

    OUT/NAME/NAME_fail-safe.tsv, .json and .svg, and against the base rate NAME_fail-safe-base-rate.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        the same call resumes after any of them.
    """
    if not drawer.extras and not drawer.against:
        return {}
    nulls = compute(drawer, backend=backend or drawer.study.backend, client=client, quiet=quiet)
    uniform: dict[str, noisy.Noisy] = {name: noisy.added(e.plan, nulls[name]) for name, e in drawer.extras.items()}
    second: dict[str, noisy.Noisy] = {
        name: AddedBaseRate(steps, [e.plan for e in passes], [nulls[e.plan.name] for e in passes])
        for name, (steps, passes) in drawer.against.items()
    }
    found = {}
    with writing_results(drawer.out) as folder:
        for key, result in drawer.results.items():
            if not clusters_in(result):
                continue
            name = str(result.attrs["name"])
            parts = second if model_of(result).inference.null == "base-rate" else uniform
            mine = {n: parts[n] for n in result.attrs.get("of", [name])}
            found[key] = noisy.collect(result, mine, of=drawer.mains, iterations=drawer.iterations)
            write_fail_safe(
                result,
                found[key],
                folder / stem(name),
                simulated=drawer.study.simulated,
                pictures=pictures,
                hues=drawer.hues,
                origin=origin_of(_as_run(result, drawer.study), drawer.record),
            )
    return found


def _as_run(result: xr.Dataset, study: Study) -> xr.Dataset:
    """Return a result with the null that its run was asked for, by which the page knows it."""
    inference = model_of(result).inference.model_copy(update={"null": study.inference.null})
    return result.assign_attrs(inference=inference.model_dump_json())


def fail_safe_of_run(
    out: str | Place,
    *,
    analysis: str | None = None,
    most: int | None = None,
    series: int = 20,
    iterations: int = 1000,
    null: str | None = None,
    backend: Backend | None = None,
    client: Client | None = None,
    quiet: bool = False,
) -> dict[str, xr.Dataset]:
    """Compute the fail-safe N of the analyses of a finished run, and write a table, its JSON and a figure of each.

    What the folder already holds is not repeated, so that the same call resumes.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    analysis
        Name of the only analysis to do; by default all main effects and conjunctions.
    most
        Largest number of noise experiments, as for `fail_safe`.
    series
        Number of series of noise experiments.
    iterations
        Iterations of the null after each noise experiment.
    null
        "uniform" or "base-rate", as for `fail_safe`.
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
    drawer = open_drawer(out, analysis=analysis, most=most, series=series, iterations=iterations, null=null)
    return fail_safe(drawer, backend=backend, client=client, quiet=quiet)
