"""Commands on how far the results of a finished run can be relied on, and what lies behind them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from ale_dask.cli.messages import show_messages
from ale_dask.cli.options import Backend, DryRun, Json, Quiet, Stored, Workers
from ale_dask.cli.signals import stop_on_signals
from ale_dask.cli.studies import with_settings
from ale_dask.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger(__name__)


def power(
    out: Stored,
    analysis: Annotated[str | None, typer.Argument(help="Name of a main effect, by default all of them.")] = None,
    simulations: Annotated[int, typer.Option("--simulations", min=1, help="Number of simulated places.")] = 300,
    within: Annotated[
        float, typer.Option("--within", min=0, help="Distance in mm: a place is found if a voxel survives within it.")
    ] = 5.0,
    target: Annotated[
        float, typer.Option("--target", help="Power for which the number of experiments is reported.")
    ] = 0.8,
    as_json: Json = False,
) -> None:
    """Simulate how many experiments must report a place for a run's main effects to find it.

    OUT/NAME/NAME_power.tsv holds the power for 0, 1 … all of the experiments. Every run computes it for a main effect
    without clusters, for its report.
    """
    from ale_dask.reporting.sensitivity.power import power_line
    from ale_dask.workflows.power import power_of_run

    curves = power_of_run(out, analysis=analysis, simulations=simulations, within_mm=within, target=target)
    if as_json:
        numbers = {
            name: {key: value for key, value in curve.attrs.items() if key.startswith("power_")}
            for name, curve in curves.items()
        }
        print(json.dumps({"out": out, "analyses": numbers}))
        return
    for curve in curves.values():
        print(power_line(curve))


def leave_one_out(
    out: Stored,
    analysis: Annotated[
        str | None, typer.Argument(help="With --maps, name of a main effect, by default all of them.")
    ] = None,
    maps: Annotated[
        bool, typer.Option("--maps", help="Only write the ALE maps without each experiment, into the store.")
    ] = False,
    by: Annotated[
        str,
        typer.Option("--by", help="Leave out each group (of subjects), experiment, study, or value of a column."),
    ] = "group",
    k: Annotated[int, typer.Option("--k", min=1, help="Number of them that are left out together.")] = 1,
    backend: Backend = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Repeat a finished run without each group of subjects, and say which clusters survive.

    Each repetition of a main effect, contrast or conjunction has its own nulls and cuts.
    """
    if analysis is not None and not maps:
        raise InputError(
            f"leave-one-out {analysis}: name an analysis only with --maps; without --maps all are computed together"
        )
    if maps:
        from ale_dask.workflows.maintain import leave_one_out as write

        for where in write(out, analysis=analysis):
            print(where)
        return
    from ale_dask.reporting.sensitivity.leave_one_out import jackknife_lines, jackknife_table
    from ale_dask.storage.location import place
    from ale_dask.workflows.leave_one_out import jackknife_of_run
    from ale_dask.workflows.run_directory import stored_study

    stop_on_signals()
    show_messages(quiet=quiet)
    study = with_settings(stored_study(place(out)), backend=backend, workers=workers)
    overlaps = jackknife_of_run(out, by=by, k=k, backend=study.backend, quiet=quiet)
    if as_json:
        rows = {
            name: json.loads(jackknife_table(overlap).to_json(orient="records")) for name, overlap in overlaps.items()
        }
        print(json.dumps({"by": by, "k": k, "analyses": rows}))
        return
    for line in jackknife_lines(overlaps):
        print(line)
    log.info(f"`ale-dask collect {out}` puts it into report.html")


def evidence(
    out: Stored,
    analysis: Annotated[str | None, typer.Argument(help="Name of a main effect, by default all of them.")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="Column on which reports may depend, by default modality and direction; may be repeated."
        ),
    ] = None,
    compute: Annotated[
        bool, typer.Option("--compute", help="First compute what is lacking; its cost is printed before.")
    ] = False,
    backend: Backend = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Print a card of evidence for each cluster of a finished run, with its level of certainty.

    OUT/NAME/NAME_evidence.tsv and .json are written.
    """
    from ale_dask.analyses.findings.certainty import HOW, RULES
    from ale_dask.reporting.sensitivity.evidence import COLUMNS
    from ale_dask.reporting.sensitivity.evidence_files import as_record, card_lines
    from ale_dask.storage.location import place
    from ale_dask.workflows.evidence import make_evidence
    from ale_dask.workflows.run_directory import stored_study

    stop_on_signals()
    show_messages(quiet=quiet)
    settings = with_settings(stored_study(place(out)), backend=backend, workers=workers).backend
    made = make_evidence(out, analysis=analysis, by=by or COLUMNS, compute=compute, backend=settings, quiet=quiet)
    if as_json:
        rules = [{"rule": rule.name, "says": rule.says} for rule in RULES]
        cards = [as_record(card) for each in made for card in each.cards]
        print(json.dumps({"out": out, "how": HOW, "rules": rules, "cards": cards}))
        return
    for each in made:
        for card in each.cards:
            print("\n".join(card_lines(card, out=out)))
        if not each.cards:
            print(f"{each.analysis}: no cluster")
    log.info(f"`ale-dask collect {out}` puts it into report.html")


MostNoise = Annotated[
    int | None,
    typer.Option(
        "--max",
        min=1,
        help="Largest number of noise experiments, by default three times the experiments of a main effect.",
    ),
]
Series = Annotated[
    int, typer.Option("--series", min=1, help="Number of series of noise experiments, each with other foci.")
]
NoiseIterations = Annotated[
    int, typer.Option("-i", "--iterations", min=1, help="Iterations of the null after each noise experiment.")
]
NoiseNull = Annotated[
    str | None,
    typer.Option("--null", help="Null of the noise foci, which clusters must survive: uniform, base-rate or both."),
]


def fail_safe(
    out: Stored,
    analysis: Annotated[
        str | None, typer.Argument(help="Name of a main effect or conjunction, by default all.")
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
    every: Annotated[
        int | None,
        typer.Option(
            "--every",
            min=1,
            help="Test after every so many noise experiments, by default 1, and more beyond 72 noise experiments.",
        ),
    ] = None,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw an SVG of the curves.")] = True,
) -> None:
    """Say how many experiments without convergence the clusters of a finished run withstand (Acar 2018).

    Noise experiments have the sample sizes and numbers of foci of the sample, and foci anywhere in the mask. After each
    of them the enlarged sample has its own cluster-forming value and cut. In a conjunction noise is added to each main
    effect alone, and to all in proportion. OUT/NAME/NAME_fail-safe.tsv, .json and .svg are written. Against the base
    rate noise has foci where the literature reports them, and clusters must survive that null
    (NAME_fail-safe-base-rate).
    """
    from ale_dask.execution.backends.connect import cpu_count
    from ale_dask.numerics.warm import cold
    from ale_dask.workflows.fail_safe import fail_safe as compute
    from ale_dask.workflows.fail_safe import plan_fail_safe

    stop_on_signals()
    show_messages(quiet=quiet)
    if cold("noise.noise_iterations"):
        log.info("compiling the kernels for noise experiments, once on this machine: about 20 s")
    planned = plan_fail_safe(
        out, analysis=analysis, most=most, series=series, iterations=iterations, null=null, every=every
    )
    settings = with_settings(planned.study, backend=backend, workers=workers).backend
    show_messages(quiet=quiet and not dry_run)
    for line in planned.lines(workers=settings.most or cpu_count()):
        log.info(line)
    if dry_run:
        return
    fail_safe_n = compute(planned, backend=settings, quiet=quiet, pictures=pictures)
    _print_fail_safe(planned.results, fail_safe_n, out, as_json=as_json)


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
        log.info(f"`ale-dask collect {out}` puts it into report.html")
