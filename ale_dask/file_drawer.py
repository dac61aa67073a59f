"""Fail-safe N of a finished run: planned, timed, computed as blocks in its OUT, and written beside its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import fail_safe as noisy
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses import noise_nulls
from ale_dask.analyses.functions import seconds_per_iteration
from ale_dask.analyses.robustness import main_effects_of
from ale_dask.data.places import Place, place
from ale_dask.distribution.backends import cpu_count, threads_of
from ale_dask.distribution.plan import Plan, block_size
from ale_dask.distribution.segments import gather, store_plan
from ale_dask.layout import nonce_of, plan_jobs, stored
from ale_dask.results.fail_safe import clusters_in, write_fail_safe
from ale_dask.results.later import origin_of
from ale_dask.results.palette import Hue, hues_of
from ale_dask.results.views import stem
from ale_dask.results.written import writing_results
from ale_dask.runs import carry_out, collect, workers_of
from ale_dask.study import Prepared
from ale_dask.words.config import Backend, Study
from ale_dask.words.errors import InputError

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True, eq=False)
class Extra:
    """The plan of a main effect with its noise, how many iterations it is run for, and the seconds of one here."""

    plan: Plan
    iterations: int
    seconds_per_iteration: float


@dataclass(frozen=True, eq=False)
class Drawer:
    """What is added to which results of a run: those with a cluster, and the plan of each main effect they need."""

    out: Place
    study: Study
    results: Mapping[str, xr.Dataset]
    """By name: main effects and conjunctions whose clusters are looked at, with clusters or without."""
    mains: Mapping[str, xr.Dataset]
    extras: Mapping[str, Extra]
    hues: Mapping[str, Hue]
    """The colours of main effects in every figure of the run."""
    record: Mapping[str, Any]

    def lines(self, *, workers: int) -> list[str]:
        """Return what is going to be computed and what it takes, a line per main effect."""
        from ale_dask.distribution.progress import clock

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
        return said


def open_drawer(
    out: str | Place,
    *,
    analysis: str | None = None,
    most: int | None = None,
    series: int = 20,
    iterations: int = 1000,
) -> Drawer:
    """Return what fail-safe N of a finished run takes: plans made and kept in OUT, and timed here.

    Parameters
    ----------
    analysis
        a main effect or conjunction; all of them if not given
    most
        noise experiments added at most to a main effect; three times its own if not given

    Raises
    ------
    StoreError
        when OUT holds no run, or one that is not finished.
    InputError
        for an analysis that is not there or a contrast, or for TFCE.
    """
    out = place(out)
    study, results, record = collect(out)
    kinds = (main_effects.KIND, conjunctions.KIND)
    able = [name for name in study.analysis if results[name].attrs["kind"] in kinds]
    if analysis is not None and analysis not in able:
        raise InputError(f"{analysis}: no main effect or conjunction of {out}, which has {', '.join(able)}")
    chosen = {name: results[name] for name in ([analysis] if analysis else able)}
    mains = {
        str(main.attrs["name"]): main
        for result in chosen.values()
        if clusters_in(result)
        for main in main_effects_of(result, [results[n] for n in result.attrs.get("of", ())])
    }
    prepared, made = stored(out)
    extras = {}
    for name in mains:
        plan = _stored(out, prepared, made[name], name=name, most=most, series=series)
        extras[name] = Extra(plan, iterations, seconds_per_iteration(plan, noise_nulls.block, most=iterations))
    return Drawer(out, study, chosen, mains, extras, hues_of(results), record)


def _stored(out: Place, prepared: Prepared, main: Plan, *, name: str, most: int | None, series: int) -> Plan:
    sample = prepared.samples[name]
    number = noise_nulls.TIMES * len(sample.key) if most is None else most
    # Each number of experiments and series is another plan, with a place of its own.
    where = f"{name}_fail-safe-{number}x{series}"
    conventions = noise_nulls.conventions_of(sample, main, most=number, series=series, name=name)
    make = partial(
        noise_nulls.plan_fail_safe, sample, main, most=number, series=series, name=where, threads=cpu_count()
    )
    identity = main_effects.identity_of(noise_nulls.KIND, conventions)
    return store_plan(out, make, name=where, identity=identity, conventions=conventions)


def compute(
    drawer: Drawer,
    *,
    backend: Backend,
    client: Client | None = None,
    quiet: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, npt.NDArray[np.int64]]:
    """Return the nulls (iteration, noise x series) of each main effect with its noise, computing what OUT lacks."""
    out = drawer.out
    with workers_of(backend, client=client, say=say) as connected:
        workers = threads_of(connected, backend)
        jobs = [
            job
            for e in drawer.extras.values()
            for job in plan_jobs(out, e.plan, iterations=e.iterations, size=partial(_size, e, backend, workers))
        ]
        carry_out(jobs, out, study=drawer.study, client=connected, quiet=quiet)
    nonce = nonce_of(out)
    return {
        name: gather(out, e.plan, iterations=e.iterations, extra={}, nonce=nonce, function=noise_nulls.block)[0]
        for name, e in drawer.extras.items()
    }


def _size(extra: Extra, backend: Backend, workers: int) -> int:
    return backend.block_size or block_size(
        iterations=extra.iterations,
        seconds_per_iteration=extra.seconds_per_iteration,
        block_seconds=backend.block_seconds,
        workers=workers,
    )


def fail_safe(
    drawer: Drawer,
    *,
    backend: Backend | None = None,
    client: Client | None = None,
    quiet: bool = False,
    pictures: bool = True,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, xr.Dataset]:
    """Return the fail-safe N of every result by name, computing what OUT lacks, and write it beside the results.

    OUT/NAME/NAME_fail-safe.tsv, .json and .svg.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        the same call resumes after any of them.
    """
    if not drawer.extras:
        return {}
    nulls = compute(drawer, backend=backend or drawer.study.backend, client=client, quiet=quiet, say=say)
    parts = {name: noisy.added(e.plan, nulls[name]) for name, e in drawer.extras.items()}
    iterations = next(iter(drawer.extras.values())).iterations
    found = {}
    with writing_results(drawer.out) as folder:
        for name, result in drawer.results.items():
            if not clusters_in(result):
                continue
            of = list(result.attrs.get("of", [name]))
            found[name] = noisy.collect(result, {n: parts[n] for n in of}, of=drawer.mains, iterations=iterations)
            write_fail_safe(
                result,
                found[name],
                folder / stem(name),
                simulated=drawer.study.simulated,
                pictures=pictures,
                hues=drawer.hues,
                origin=origin_of(result, drawer.record),
            )
    return found


def fail_safe_of_run(
    out: str | Place,
    *,
    analysis: str | None = None,
    most: int | None = None,
    series: int = 20,
    iterations: int = 1000,
    backend: Backend | None = None,
    client: Client | None = None,
    quiet: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, xr.Dataset]:
    """Return the fail-safe N of a finished run by analysis, computing in OUT what it lacks; the same call resumes.

    A table, its JSON and a figure of each are written into its folder. Arguments are those of `open_drawer` and
    `fail_safe`.

    Raises
    ------
    StoreError
        when OUT holds no finished run.
    InputError, BackendError, UnfinishedError
        as `open_drawer` and `run` do.
    """
    drawer = open_drawer(out, analysis=analysis, most=most, series=series, iterations=iterations)
    return fail_safe(drawer, backend=backend, client=client, quiet=quiet, say=say)
