"""Commands from coordinates to a study: example, new, import-jale, check, describe, double-extraction."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ale_dask.cli.messages import show_messages
from ale_dask.cli.options import Columns, Json, MaskName, N, Outside, Quiet, Search, Space, Verbose
from ale_dask.cli.studies import columns_from, load, with_settings

if TYPE_CHECKING:
    import xarray as xr

    from ale_dask.config.study import Study

log = logging.getLogger(__name__)


def example(
    folder: Annotated[Path, typer.Argument(help="Folder to create.")],
    real: Annotated[
        bool, typer.Option("--real", help="Download published foci once (Enge et al. 2020, CC BY 4.0).")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write an example study of three simulated Sleuth files and a study.toml, or with --real of published foci."""
    from ale_dask.datasets.example import write_example, write_real_example

    if real:
        from ale_dask.cli.fetch import Transfer

        show_messages(quiet=quiet)
        transfer = Transfer()
        try:
            write_real_example(folder, progress=None if quiet else transfer)
        finally:
            transfer.end()
    else:
        write_example(folder)
    print_next("study of published foci" if real else "simulated example", folder)


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of foci: Excel, CSV, Sleuth text …")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for study.toml and a copy of the file.")],
    by: Annotated[str | None, typer.Option("--by", help="Column whose values make the samples.")] = None,
    n: N = None,
    space: Space = None,
    columns: Columns = None,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Make a study of a file of foci: samples from a column, main effects, contrasts and conjunctions."""
    from ale_dask.config.inference import Inference
    from ale_dask.workflows.new_study import new_study
    from ale_dask.workflows.notices import foci_notices, notice_lines

    made = new_study(file, by=by, n=n, space=space, columns=columns_from(columns))
    made.write(out)
    notices = [] if made.foci is None else foci_notices(made.foci, name=file.name, inference=Inference())
    if as_json:
        about = {"out": str(out), "samples": dict(made.samples), "notes": list(made.notes)}
        print(json.dumps({**about, "input": [one.record() for one in notices]}))
        return
    for line in notice_lines(notices, verbose=verbose):
        print(line)
    for name, count in made.samples.items():
        print(f"sample {name}: {count} experiments with a focus")
    for note in made.notes:
        print(f"  note: {note}")
    print_next("study", out)


def double_extraction(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="The foci as one person extracted them.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="The foci as another person extracted them.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", dir_okay=False, help="Write the differences to this file, .tsv.")
    ] = None,
    space: Space = None,
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Compare two extractions of the same papers: agreement, kappa, and every difference with its lines."""
    from ale_dask.coordinates.double_extraction import agreement_lines
    from ale_dask.coordinates.double_extraction import double_extraction as of
    from ale_dask.coordinates.readers import read_foci
    from ale_dask.coordinates.spreadsheet_cells import escaped
    from ale_dask.storage.location import replace_file

    if out is not None and out.suffix != ".tsv":
        raise typer.BadParameter(f"-o {out}: give a file that ends in .tsv")
    mapping = columns_from(columns)
    compared = of(*(read_foci(file, space=space, columns=mapping, require_n=False) for file in (first, second)))
    differences = escaped(compared.differences).to_csv(sep="\t", index=False, lineterminator="\n")
    if out is not None:
        replace_file(out, differences.encode())
    if as_json:
        tables = {"agreement": compared.agreement, "differences": compared.differences}
        print(json.dumps({name: json.loads(t.to_json(orient="records")) for name, t in tables.items()}))
        return
    print("\n".join(agreement_lines(compared)))
    if out is not None:
        print(f"{out}: {len(compared.differences):,} differences")
    elif len(compared.differences):
        print(f"\n{differences}", end="")


def print_next(what: str, folder: Path) -> None:
    """Print the commands that follow on a new study in a folder."""
    from ale_dask.workflows.new_study import next_commands

    print(f"{what} in {folder}; next:")
    for command in next_commands(folder):
        print(f"  {command}")


def import_jale(
    experiments: Annotated[Path, typer.Argument(help="Sheet of experiments of JALE, .xlsx or .csv.")],
    analyses: Annotated[Path, typer.Argument(help="Sheet of analyses of JALE, .xlsx or .csv.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for study.toml and foci.csv.")],
    space: Space = None,
) -> None:
    """Convert the two sheets of JALE to a study.toml and a table of foci; say what becomes of each row."""
    from ale_dask.config.files import read_regular
    from ale_dask.coordinates.import_jale import import_jale as convert
    from ale_dask.coordinates.readers import space_of
    from ale_dask.storage.location import fill_folder

    contents = (read_regular(experiments), read_regular(analyses))
    imported = convert(*contents, names=(experiments.name, analyses.name), space=space_of(space))
    fill_folder(out, imported.files, what="the study")
    for note in imported.notes:
        log.info(f"{'' if note.same else 'warning: '}{note.where}: {note.text}")
    print(f"study in {out}; next: ale-dask check {out / 'study.toml'}")


def check(
    path: Annotated[Path, typer.Argument(help="A foci file or study.toml.")],
    mask: MaskName = None,
    n: N = None,
    space: Space = None,
    columns: Columns = None,
    search: Search = None,
    outside: Outside = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 65 if there is any warning.")] = False,
    verbose: Verbose = False,
    as_json: Json = False,
) -> None:
    """Read a foci file, or the samples and contrasts of a study, and say what looks wrong; nothing is computed."""
    from ale_dask.config.study import inference_from
    from ale_dask.errors import InputError
    from ale_dask.workflows.notices import file_notices, notice_lines, study_notices

    where = {"mask": mask, "search": search, "outside": outside}
    given = {key: value for key, value in where.items() if value is not None}
    if path.suffix == ".toml" or (path / "study.toml").is_file():
        notices = study_notices(with_settings(_study_at(path, n=n, space=space, columns=columns), **given))
    else:
        inference = inference_from(given, source="command line")
        notices = file_notices(path, inference=inference, n=n, space=space, columns=columns_from(columns))
    if as_json:
        print(json.dumps([entry.record() for entry in notices]))
    else:
        for line in notice_lines(notices, verbose=verbose):
            print(line)
    warnings = sum(len(entry.findings) for entry in notices)
    if strict and warnings:
        raise InputError(f"{path}: {warnings} warning(s)")


def _study_at(path: Path, *, n: int | None, space: str | None, columns: str | None) -> Study:
    """Return the study at a path; options that only a file of foci has are a usage error."""
    if (n, space, columns) != (None, None, None):
        raise typer.BadParameter(
            "--n, --space and --columns are for a file of foci; a study states them as foci.NAME.n, .space and .columns"
        )
    return load(str(path))


def _samples_at(
    path: Path, *, n: int | None, space: str | None, columns: str | None
) -> tuple[dict[str, xr.Dataset], dict[str, tuple[str, str]]]:
    """Return the foci Datasets of a file or of a study by name, and the arms of the study's contrasts."""
    if path.suffix == ".toml" or (path / "study.toml").is_file():
        from ale_dask.workflows.prepare import samples_and_arms

        return samples_and_arms(_study_at(path, n=n, space=space, columns=columns))
    from ale_dask.coordinates.readers import read_foci

    return {path.name: read_foci(path, n=n, space=space, columns=columns_from(columns), require_n=False)}, {}


def _write_bias(foci: dict[str, xr.Dataset], file: Path) -> None:
    """Draw the risk of bias of all experiments to a file."""
    from ale_dask.coordinates.foci import concat
    from ale_dask.reporting.figures.risk_of_bias import risk_of_bias
    from ale_dask.storage.location import replace_file

    replace_file(file, risk_of_bias(concat(list(foci.values()))).encode())


def describe(
    path: Annotated[Path, typer.Argument(help="A foci file or study.toml.")],
    table: Annotated[
        Path | None, typer.Option("-o", "--table", dir_okay=False, help="Write the table to this TSV file.")
    ] = None,
    first: Annotated[
        Path | None,
        typer.Option("--table-1", dir_okay=False, help="Write Table 1 of a paper to this file, .tsv or .html."),
    ] = None,
    bias: Annotated[
        Path | None,
        typer.Option("--risk-of-bias", dir_okay=False, help="Draw the columns rob_DOMAIN to this file, .svg."),
    ] = None,
    n: N = None,
    space: Space = None,
    columns: Columns = None,
    as_json: Json = False,
) -> None:
    """Describe the samples of a foci file or study, and compare the arms of its contrasts.

    Table 1, as a paper prints it, comes first; then every count, quartile and test, one in a row.
    """
    from ale_dask.coordinates.describe import describe as described
    from ale_dask.coordinates.spreadsheet_cells import escaped
    from ale_dask.coordinates.table_one import table_one
    from ale_dask.storage.location import replace_file

    if first is not None and first.suffix not in (".tsv", ".html"):
        raise typer.BadParameter(f"--table-1 {first}: give a file that ends in .tsv or .html")
    if bias is not None and bias.suffix != ".svg":
        raise typer.BadParameter(f"--risk-of-bias {bias}: give a file that ends in .svg")

    foci, contrasts = _samples_at(path, n=n, space=space, columns=columns)
    if bias is not None:
        _write_bias(foci, bias)
    description, paper = described(foci, contrasts=contrasts), table_one(foci, contrasts=contrasts)
    if table is not None:
        text = escaped(description).to_csv(sep="\t", index=False, lineterminator="\n", float_format="%.6g")
        replace_file(table, text.encode())
    if first is not None:
        html = first.suffix == ".html"
        text = paper.to_html(index=False, border=0) if html else escaped(paper).to_csv(sep="\t", index=False)
        replace_file(first, text.encode())
    if as_json:
        print(description.to_json(orient="records", double_precision=15))
        return
    print(paper.to_string(index=False))
    for path_written, rows in ((table, len(description)), (first, len(paper))):
        if path_written is not None:
            print(f"{path_written}: {rows:,} rows")
    if table is None:
        print()
        print(description.to_string(index=False, float_format="{:.6g}".format))
