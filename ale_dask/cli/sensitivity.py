"""Commands that simulate experiments around a finished run: power, fail-safe."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from ale_dask.cli.options import Backend, DryRun, Json, Quiet, Stored, Workers, show_messages, stop_on_signals

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger(__name__)


def power(
    out: Stored,
    analysis: Annotated[str | None, typer.Argument(help="Main effect; all of them if not given.")] = None,
    simulations: Annotated[int, typer.Option("--simulations", min=1, help="Places that are tried.")] = 300,
    within: Annotated[float, typer.Option("--within", min=0, help="Found is what survives so near, in mm.")] = 5.0,
    target: Annotated[float, typer.Option("--target", help="The power that is asked for.")] = 0.8,
    as_json: Json = False,
) -> None:
    """Simulate how many experiments must report a place for a run's main effects to find it.

    OUT/NAME/NAME_power.tsv holds the power for 0, 1 … all of the experiments. Whatever is found without a cluster has
    this on its page by itself.
    """
    from ale_dask.analyses.findings.model import model_of
    from ale_dask.analyses.sensitivity.power import power as simulate
    from ale_dask.errors import InputError
    from ale_dask.reporting.common.maps import stem
    from ale_dask.reporting.common.written import writing_results
    from ale_dask.reporting.sensitivity.power import power_line, power_table
    from ale_dask.reporting.tables.clusters import tsv
    from ale_dask.storage.location import place, replace_file
    from ale_dask.workflows.run import collect

    _, results, _ = collect(out)
    mains = {name: r for name, r in results.items() if model_of(r).kind == "main-effect"}
    if analysis is not None and analysis not in mains:
        raise InputError(f"{analysis}: no main effect of {out}, which has {', '.join(mains)}")
    told = {}
    for name in [analysis] if analysis else mains:
        curve = simulate(mains[name], simulations=simulations, within_mm=within, target=target)
        with writing_results(place(out)) as folder:
            replace_file(folder / stem(name) / f"{stem(name)}_power.tsv", tsv(power_table(curve)))
        told[name] = {key: value for key, value in curve.attrs.items() if key.startswith("power_")}
        if not as_json:
            print(power_line(curve), flush=True)
    if as_json:
        print(json.dumps({"out": out, "analyses": told}))


MostNoise = Annotated[
    int | None,
    typer.Option("--max", min=1, help="Noise experiments added at most; three times a main effect's own if not given."),
]
Series = Annotated[int, typer.Option("--series", min=1, help="Noise series, each with other foci.")]
NoiseIterations = Annotated[
    int, typer.Option("-i", "--iterations", min=1, help="Of the null after each noise experiment.")
]
NoiseNull = Annotated[
    str | None,
    typer.Option("--null", help="Where noise is, and what clusters must survive: uniform, base-rate or both."),
]


def fail_safe(
    out: Stored,
    analysis: Annotated[
        str | None, typer.Argument(help="Main effect or conjunction; all of them if not given.")
    ] = None,
    most: MostNoise = None,
    series: Series = 20,
    iterations: NoiseIterations = 1000,
    backend: Backend = None,
    workers: Workers = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
    null: NoiseNull = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="SVG of the curves.")] = True,
) -> None:
    """Say how many experiments without convergence the clusters of a finished run withstand (Acar 2018).

    Noise experiments have the sample's own n and numbers of foci, anywhere in the mask; after each, cluster-forming
    value and cut are those of the enlarged sample. In a conjunction they are added to each main effect alone, and to
    all in proportion. OUT/NAME/NAME_fail-safe.tsv, .json and .svg are written. Against the base rate, noise has its
    foci where the literature reports them, and clusters must survive that null (NAME_fail-safe-base-rate).
    """
    from ale_dask.cli.options import with_settings
    from ale_dask.execution.backends.connect import cpu_count
    from ale_dask.numerics.warm import cold
    from ale_dask.workflows.fail_safe import fail_safe as compute
    from ale_dask.workflows.fail_safe import plan_fail_safe

    stop_on_signals()
    show_messages(quiet=quiet)
    if cold("noise.noise_iterations"):
        log.info("compiling the kernels of noise, once on this machine: about 20 s")
    planned = plan_fail_safe(out, analysis=analysis, most=most, series=series, iterations=iterations, null=null)
    wanted = with_settings(planned.study, backend=backend, workers=workers).backend
    show_messages(quiet=quiet and not dry_run)
    for line in planned.lines(workers=wanted.most or cpu_count()):
        log.info(line)
    if dry_run:
        return
    found = compute(planned, backend=wanted, quiet=quiet, pictures=pictures)
    _print_fail_safe(planned.results, found, out, as_json=as_json)


def _print_fail_safe(
    results: Mapping[str, xr.Dataset], fail_safe_n: Mapping[str, xr.Dataset], out: str, *, as_json: bool
) -> None:
    from ale_dask.reporting.sensitivity.fail_safe import as_records, summary_lines

    if as_json:
        rows = [row for name, found in fail_safe_n.items() for row in as_records(results[name], found)]
        print(json.dumps({"out": out, "clusters": rows}))
        return
    for name, result in results.items():
        for line in summary_lines(result, fail_safe_n[name]) if name in fail_safe_n else [f"{name}: no cluster"]:
            print(line)
    if fail_safe_n:
        log.info(f"`ale-dask collect {out}` shows it in report.html")
