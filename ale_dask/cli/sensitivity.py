"""Commands on how far the results of a finished run can be relied on, and what lies behind them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ale_dask.cli import options
from ale_dask.cli.options import (
    Backend,
    DryRun,
    Json,
    Quiet,
    Stored,
    Workers,
    show_messages,
    stop_on_signals,
    with_settings,
)
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


def clustering(
    out: Stored,
    analysis: Annotated[str | None, typer.Argument(help="Name of a main effect, by default all of them.")] = None,
    k: Annotated[
        int | None, typer.Option("--k", min=2, help="Number of experiment clusters whose members are written.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="For --k: medoids (k-medoids) or average (average linkage).")
    ] = "medoids",
    k_max: Annotated[
        int | None, typer.Option("--k-max", min=2, help="Largest number that the criteria are given for, usually 10.")
    ] = None,
    subsamples: Annotated[
        int, typer.Option("--subsamples", min=1, help="Number of subsamples of 80 % of the experiments.")
    ] = 100,
    study: Annotated[
        Path | None, typer.Option("--study", help="With --k, write a study of the experiment clusters into a folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Group the experiments of a finished run's main effects by how alike their MA maps are.

    Such a group is called an experiment cluster. OUT/NAME/NAME_experiment-clusters-criteria.tsv, .json and .svg say
    what silhouette, variation of information and stability speak for; the number is yours: with --k the groups, their
    members and the columns that go with membership are written as well.
    """
    from ale_dask.reporting.sensitivity.experiment_clusters import criteria_lines, criteria_table, group_lines
    from ale_dask.workflows.experiment_clusters import clustering_of_run, write_study_of_groups

    if study is not None and (k is None or analysis is None):
        raise InputError("--study: say with --k how many experiment clusters, and name the analysis")
    found = {}
    made = clustering_of_run(out, analysis=analysis, k=k, method=method, k_max=k_max, subsamples=subsamples)
    for stored, result, solutions in made:
        name = str(result.attrs["name"])
        found[name] = json.loads(criteria_table(solutions).to_json(orient="records"))
        lines = [f"{name}: {line}" for line in criteria_lines(solutions)]
        if k is not None:
            lines += [f"{name}: {line}" for line in group_lines(result, solutions, method=method, k=k)]
            if study is not None:
                write_study_of_groups(stored, result, solutions, method=method, k=k, folder=study)
                log.info(f"`ale-dask run {study} -o OUT` computes the ALE of each experiment cluster")
        if not as_json:
            print("\n".join(lines))
    if as_json:
        print(json.dumps({"out": out, "analyses": found}))
    else:
        log.info(f"`ale-dask collect {out}` shows it in report.html")


def design(
    experiments: Annotated[int, typer.Option("--experiments", min=2, help="Number of experiments.")] = 20,
    foci: Annotated[int, typer.Option("--foci", min=1, help="Foci of each experiment.")] = 8,
    n: Annotated[int, typer.Option("--n", min=1, help="Subjects of each experiment.")] = 18,
    at: Annotated[
        list[str] | None, typer.Option("--at", help="A place, x,y,z in mm MNI, with power of its own; may be repeated.")
    ] = None,
    simulations: Annotated[int, typer.Option("--simulations", min=1, help="Number of simulations per place.")] = 300,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for table, curves, figure and methods text.")
    ] = None,
    null: options.Null = None,
    iterations: options.Iterations = None,
    correction: options.Correction = None,
    voxel_p: options.VoxelP = None,
    cluster_p: options.ClusterP = None,
    mask: options.MaskName = None,
    base_rate: options.BaseRate = None,
    seed: options.Seed = None,
    as_json: Json = False,
) -> None:
    """Simulate what a meta-analysis of so many experiments could find, before there are data.

    Against foci anywhere and against the base rate, unless --null says otherwise; 1,000 iterations unless -i does.
    """
    from ale_dask.analyses.sensitivity.design import design as simulate
    from ale_dask.reporting.sensitivity.design import design_lines, design_table, write_design

    settings = {
        "null": null,
        "iterations": iterations,
        "correction": correction,
        "voxel_p": voxel_p,
        "cluster_p": cluster_p,
        "mask": mask,
        "base_rate": base_rate,
        "seed": seed,
    }
    chosen: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
    places = [_place(words) for words in at or ()]
    made = simulate(experiments=experiments, foci=foci, n=n, at=places, simulations=simulations, **chosen)
    if out is not None:
        write_design(made, out)
    if as_json:
        print(json.dumps({"design": made.attrs, "places": json.loads(design_table(made).to_json(orient="records"))}))
        return
    print("\n".join(design_lines(made)))


def _place(words: str) -> tuple[float, float, float]:
    """Return the place that is written as x,y,z."""
    try:
        x, y, z = map(float, words.split(","))
    except ValueError as error:
        raise InputError(f"--at {words}: give x,y,z in mm, such as --at 22,-4,-18") from error
    return x, y, z


def decode(
    out: Annotated[
        str, typer.Argument(metavar="OUT|IMAGE", help="Folder of a run, or an image of a region (.nii.gz).")
    ],
    analysis: Annotated[str | None, typer.Argument(help="Name of an analysis, by default all of them.")] = None,
    database: Annotated[
        str, typer.Option("--database", help="neurosynth or neuroquery, fetched before.")
    ] = "neurosynth",
    above: Annotated[float, typer.Option("--above", help="Smallest tf-idf at which a term indexes a study.")] = 0.001,
    table: Annotated[
        Path | None, typer.Option("-o", "--table", help="Table to write with all terms of a region (.tsv).")
    ] = None,
    by: Annotated[
        str, typer.Option("--by", help="clusters, or correlation of the ALE map with the map of each term.")
    ] = "clusters",
    which: Annotated[
        str | None, typer.Option("--null", help="With --by correlation, null: uniform, base-rate or both.")
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option("-i", "--iterations", min=1, help="With --by correlation; by default of the run."),
    ] = None,
    backend: Backend = None,
    workers: Workers = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Name the terms of the studies in a database that report each cluster of a run, or a region, or go with its map.

    OUT/NAME/NAME_decoding.tsv and .json are written. Nothing is downloaded: `ale-dask fetch neurosynth` comes first.
    """
    if by not in ("clusters", "correlation"):
        raise InputError(f"--by {by}: give clusters or correlation")
    if by == "correlation":
        if table is not None or out.endswith((".nii", ".nii.gz")):
            raise InputError("--by correlation: of the main effects of a run; its tables are in OUT")
        given = {"null": which, "iterations": iterations, "quiet": quiet}
        _by_correlation(out, analysis, given, backend, workers, database=database, above=above, as_json=as_json)
        return
    if any(value is not None for value in (which, iterations, backend, workers)):
        raise InputError("--null, -i, -b and -w belong to --by correlation: terms of clusters take no null")
    _of_clusters(out, analysis, table, database=database, above=above, as_json=as_json)


def _of_clusters(
    out: str, analysis: str | None, table: Path | None, *, database: str, above: float, as_json: bool
) -> None:
    """Decode the clusters of a run, or a region, write their tables, and print the terms."""
    from ale_dask.reporting.sensitivity.decoding import decode as decode_region
    from ale_dask.reporting.sensitivity.decoding import decoding_lines, terms_that_go_with
    from ale_dask.reporting.tables.clusters import tsv
    from ale_dask.storage.location import replace_file
    from ale_dask.workflows.decoding import decode_run

    if out.endswith((".nii", ".nii.gz")):
        found = {"": decode_region(out, database=database, above=above)}
        if table is not None:
            replace_file(table, tsv(found[""]))
    else:
        if table is not None:
            raise InputError("--table: for an image of a region; the tables of a run are in OUT")
        found = decode_run(out, analysis=analysis, database=database, above=above)
    if as_json:
        rows = {name: json.loads(terms_that_go_with(terms).to_json(orient="records")) for name, terms in found.items()}
        print(json.dumps({"out": out, "analyses": rows}))
        return
    for name, terms in found.items():
        for line in decoding_lines(terms) or ["no cluster"]:
            print(f"{name}: {line}" if name else line)


def _by_correlation(
    out: str,
    analysis: str | None,
    given: dict[str, Any],
    backend: str | None,
    workers: str | None,
    *,
    database: str,
    above: float,
    as_json: bool,
) -> None:
    """Decode the map of a main effect, or of each, by correlation with maps of terms, and print the terms."""
    from ale_dask.config.study import main_effects_of
    from ale_dask.reporting.sensitivity.decoding import SHOWN, correlation_lines
    from ale_dask.storage.location import place
    from ale_dask.workflows.decoding import decode_by_correlation
    from ale_dask.workflows.run_directory import stored_study

    stop_on_signals()
    show_messages(quiet=bool(given["quiet"]))
    study = with_settings(stored_study(place(out)), backend=backend, workers=workers)
    found = {
        name: decode_by_correlation(out, database=database, above=above, analysis=name, backend=study.backend, **given)
        for name in ([analysis] if analysis else main_effects_of(study))
    }
    if as_json:
        each = {n: t.groupby("null", sort=False).head(SHOWN).to_json(orient="records") for n, t in found.items()}
        print(json.dumps({"out": out, "analyses": {name: json.loads(rows) for name, rows in each.items()}}))
        return
    for name, terms in found.items():
        for line in correlation_lines(terms):
            print(f"{name}, {line}")


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
    log.info(f"`ale-dask collect {out}` shows it in report.html")


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
    log.info(f"`ale-dask collect {out}` shows it in report.html")


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
        log.info("compiling the kernels of noise, once on this machine: about 20 s")
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
        log.info(f"`ale-dask collect {out}` shows it in report.html")
