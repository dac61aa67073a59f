"""Commands for the paper: collect, cite, checklist."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ale_dask.cli.messages import show_messages
from ale_dask.cli.options import Json, Pictures, Quiet, Stored

if TYPE_CHECKING:
    from ale_dask.reporting.tables.long import Run

log = logging.getLogger(__name__)


def collect(
    outs: Annotated[
        list[str], typer.Argument(metavar="OUT", help="Folders or URLs of finished runs; several only with -o.")
    ],
    table: Annotated[
        Path | None,
        typer.Option("-o", "--table", dir_okay=False, help="Only write the clusters of all OUTs to this TSV file."),
    ] = None,
    as_json: Json = False,
    pictures: Pictures = True,
    quiet: Quiet = False,
) -> None:
    """Write the files of a run or a sweep again: maps, tables, pictures, report; with -o, one table of many runs."""
    show_messages(quiet=quiet)
    if table is not None:
        _collect_table(outs, table, as_json=as_json)
        return
    if len(outs) > 1:
        raise typer.BadParameter(f"{len(outs)} runs: give -o TABLE.tsv for one table of them all, or one OUT")
    from ale_dask.cli.output import finish, print_sets, print_sweep_result
    from ale_dask.storage.location import place
    from ale_dask.storage.ownership import holds_atlas, holds_sweep
    from ale_dask.workflows.literature_runs import write_page
    from ale_dask.workflows.run import collect as of
    from ale_dask.workflows.sweep import collect_sweep

    if holds_atlas(place(outs[0])):
        print_sets(write_page(outs[0]), outs[0], as_json=as_json)
        return
    if holds_sweep(place(outs[0])):
        print_sweep_result(*collect_sweep(outs[0]), outs[0], as_json=as_json)
        return
    study, results, record = of(outs[0])
    finish(results, record, outs[0], study=study, as_json=as_json, pictures=pictures)


def cite(
    out: Stored,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print the references instead of the text.")] = False,
    short: Annotated[bool, typer.Option("--short", help="Print a text of about 200 words.")] = False,
    as_json: Json = False,
) -> None:
    """Print the methods text of a finished run or sweep (CC0) for a paper, or its references as BibTeX."""
    from ale_dask.reporting import cite as of
    from ale_dask.reporting.text.methods import methods_of_run

    if not as_json:
        print(of(out, bibtex=bibtex, short=short), end="")
        return
    _, methods = methods_of_run(out, short=short)
    sections = [{"heading": heading, "paragraphs": list(paragraphs)} for heading, paragraphs in methods.sections]
    references = [{"text": each.line(), "bibtex": each.bibtex()} for each in methods.references]
    about = {"out": out, "title": methods.title, "simulated": methods.simulated}
    print(json.dumps({**about, "sections": sections, "references": references}))


def checklist(
    out: Stored,
    file: Annotated[
        Path | None, typer.Option("-o", "--out", dir_okay=False, help="Write the checklist to this file, .md or .tsv.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer the items of reporting guidelines from a finished run, and say what an author has to write."""
    from ale_dask.coordinates.spreadsheet_cells import escaped
    from ale_dask.reporting.text.checklist import checklist as of
    from ale_dask.reporting.text.checklist import checklist_lines
    from ale_dask.storage.location import replace_file

    if file is not None and file.suffix not in (".md", ".tsv"):
        raise typer.BadParameter(f"-o {file}: give a file that ends in .md or .tsv")
    items = of(out)
    lines = list(checklist_lines(items))
    if file is not None:
        markdown = "\n".join([f"# Reporting checklist of {out}", "", *lines]) + "\n"
        text = markdown if file.suffix == ".md" else escaped(items).to_csv(sep="\t", index=False, lineterminator="\n")
        replace_file(file, text.encode())
    if as_json:
        print(items.to_json(orient="records"))
    elif file is not None:
        print(f"{file}: {lines[0]}")
    else:
        print("\n".join(lines))


def _collect_table(outs: list[str], table: Path, *, as_json: bool) -> None:
    from ale_dask.reporting import long_records, long_table, long_tsv
    from ale_dask.storage.location import replace_file

    clusters = long_table(_each(outs))
    replace_file(table, long_tsv(clusters))
    if as_json:
        print(json.dumps(long_records(clusters)))
    else:
        print(f"{table}: {clusters['cluster'].count():,} clusters of {len(outs):,} runs in {len(clusters):,} rows")


def _each(outs: list[str]) -> Iterator[Run]:
    from ale_dask.errors import StoreError
    from ale_dask.workflows.run import collect as of

    for i, out in enumerate(outs, 1):
        log.info(f"reading {out} ({i} of {len(outs)})")
        try:
            study, results, record = of(out)
        except StoreError as error:
            # The store's own messages may name the analysis only; here there are several runs.
            raise error if str(error).startswith(out) else StoreError(f"{out}: {error}") from error
        yield out, study, results, record
