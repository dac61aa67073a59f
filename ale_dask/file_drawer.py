"""Fail-safe N of a finished run: planned, timed, computed as blocks in its OUT, and written beside its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import xarray as xr

from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import fail_safe as noisy
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.robustness import main_effects_of
from ale_dask.data.places import Place, place, staged
from ale_dask.distribution.backends import cpu_count
from ale_dask.distribution.plan import Plan
from ale_dask.distribution.segments import store_plan
from ale_dask.extra_runs import Extra, compute, timed
from ale_dask.layout import stored
from ale_dask.results.fail_safe import clusters_in, write_fail_safe
from ale_dask.results.views import stem
from ale_dask.runs import collect
from ale_dask.study import Prepared
from ale_dask.words.config import Backend, Study
from ale_dask.words.errors import InputError


@dataclass(frozen=True, eq=False)
class Drawer:
    """What is added to which results of a run: those with a cluster, and the plan of each main effect they need."""

    out: Place
    study: Study
    results: Mapping[str, xr.Dataset]
    """By name: main effects and conjunctions whose clusters are looked at, with clusters or without."""
    mains: Mapping[str, xr.Dataset]
    extras: Mapping[str, Extra]

    @property
    def core_seconds(self) -> float:
        """Time of all nulls on one core like this one."""
        return sum(e.core_seconds for e in self.extras.values())

    def lines(self, *, workers: int) -> list[str]:
        """Return what is going to be computed and what it takes, a line per main effect."""
        from ale_dask.distribution.progress import clock

        said = []
        for name, extra in self.extras.items():
            noise = len(extra.plan.arrays["noise_kernel"])
            own, kept = len(extra.plan.arrays["kernel"]), int(extra.plan.settings["bits"])
            series = len(extra.plan.arrays["threshold"])
            line = (
                f"{name}: up to {noise} noise experiments beside {own}, {series} series, {extra.iterations:,} "
                f"iterations of {1e3 * extra.seconds_per_iteration:.3g} ms, about {clock(extra.core_seconds / workers)}"
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
    study, results, _ = collect(out)
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
        extras[name] = timed(plan, noisy.block, iterations=iterations)
    return Drawer(out, study, chosen, mains, extras)


def _stored(out: Place, prepared: Prepared, main: Plan, *, name: str, most: int | None, series: int) -> Plan:
    sample = prepared.samples[name]
    number = noisy.TIMES * len(sample.key) if most is None else most
    # Each number of experiments and series is another plan, with a place of its own.
    where = f"{name}_fail-safe-{number}x{series}"
    conventions = noisy.conventions_of(sample, main, most=number, series=series, name=name)
    make = partial(noisy.plan_fail_safe, sample, main, most=number, series=series, name=where, threads=cpu_count())
    identity = main_effects.identity_of(noisy.KIND, conventions)
    return store_plan(out, make, name=where, identity=identity, conventions=conventions)


def fail_safe(
    drawer: Drawer,
    *,
    backend: Backend | None = None,
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
    extras = list(drawer.extras.values())
    nulls = compute(drawer.out, extras, backend=backend or drawer.study.backend, quiet=quiet, say=say) if extras else {}
    parts = {name: noisy.added(e.plan, nulls[e.plan.name]) for name, e in drawer.extras.items()}
    found = {}
    with staged(drawer.out) as folder:
        for name, result in drawer.results.items():
            if not clusters_in(result):
                continue
            of = list(result.attrs.get("of", [name]))
            found[name] = noisy.collect(
                result, {n: parts[n] for n in of}, of=drawer.mains, iterations=extras[0].iterations
            )
            write_fail_safe(
                result, found[name], folder / stem(name), simulated=drawer.study.simulated, pictures=pictures
            )
    return found
