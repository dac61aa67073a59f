"""Commands that say more of what was found: clustering, decode."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from ale_dask.cli.messages import show_messages
from ale_dask.cli.options import Backend, Json, Quiet, Stored, Workers
from ale_dask.cli.signals import stop_on_signals
from ale_dask.cli.studies import with_settings
from ale_dask.errors import InputError

log = logging.getLogger(__name__)


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
    """Group the experiments of main effects of a run by how alike their modelled activation (MA) maps are.

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
        log.info(f"`ale-dask collect {out}` puts it into report.html")


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
    """Name the terms of a database of studies that go with each cluster of a run, with a region or with a whole map.

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
    from ale_dask.reporting.tables.text import tsv
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
