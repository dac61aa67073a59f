"""Commands that take finished runs to a paper or another program: compare, export, figure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ale_dask.cli.options import Json, Pictures, Stored

if TYPE_CHECKING:
    import xarray as xr

    from ale_dask.config.run_record import RunRecord
    from ale_dask.config.study import Study


def _collected(out: str) -> tuple[Study, dict[str, xr.Dataset], RunRecord]:
    from ale_dask.errors import StoreError
    from ale_dask.workflows.run import collect

    try:
        return collect(out)
    except StoreError as error:
        # The store's own messages may name the analysis only; here there are two runs.
        raise error if str(error).startswith(out) else StoreError(f"{out}: {error}") from error


def compare(
    out1: Annotated[str, typer.Argument(metavar="OUT1", help="Folder or URL of a finished run.")],
    out2: Annotated[str, typer.Argument(metavar="OUT2", help="Folder or URL of another finished run.")],
    folder: Annotated[
        Path | None, typer.Option("-o", "--out", file_okay=False, help="Write tables and pictures to this folder.")
    ] = None,
    as_json: Json = False,
    pictures: Pictures = True,
) -> None:
    """Print which clusters two finished runs share, how well their maps agree and which settings differ."""
    from ale_dask.reporting.compare.files import as_records, comparison_lines, write_comparison
    from ale_dask.reporting.compare.runs import compare as of

    (_, first, record1), (_, second, record2) = _collected(out1), _collected(out2)
    comparison = of(first, second, records=(record1, record2))
    if folder is not None:
        write_comparison(comparison, folder, names=(out1, out2), pictures=pictures)
    if as_json:
        print(json.dumps({"out1": out1, "out2": out2, **as_records(comparison)}))
        return
    for line in comparison_lines(comparison):
        print(line)
    if folder is not None:
        print(f"comparison: {folder}")


def export(
    out: Stored,
    to: Annotated[str, typer.Option("--to", metavar="PROGRAM", help="Program to write for: nimare, gingerale or csv.")],
    folder: Annotated[
        str | None, typer.Option("-o", "--out", help="Folder or URL to write to, by default OUT/export/PROGRAM.")
    ] = None,
) -> None:
    """Write maps, tables and foci of a finished run in the form that NiMARE, GingerALE or a spreadsheet reads."""
    from ale_dask.reporting.export.files import check_program
    from ale_dask.reporting.export.files import export as of
    from ale_dask.storage.location import place, staged

    check_program(to)
    _, results, _ = _collected(out)
    where = folder if folder is not None else f"{out.rstrip('/')}/export/{to}"
    with staged(place(where)) as local:
        written = of(results, local, to=to)
    print(f"{len(written)} files in {where}")


def figure(
    out: Stored,
    analyses: Annotated[
        list[str], typer.Argument(metavar="ANALYSIS", help="Name of an analysis; several stand below each other.")
    ],
    file: Annotated[Path, typer.Option("-o", "--out", dir_okay=False, help="File to write: .pdf, .svg or .png.")],
    style: Annotated[str, typer.Option("--style", help="slices, glass, surface, subcortex or composite.")] = "slices",
    map_name: Annotated[
        str,
        typer.Option("--map", help="Level, such as voxel or uncorrected, or the end of the name of a map's file."),
    ] = "",
    values: Annotated[str, typer.Option("--values", help="What is coloured: z, logp, ale or difference.")] = "",
    background: Annotated[str, typer.Option("--background", help="white or black.")] = "white",
    width: Annotated[float, typer.Option("--width", min=40, max=1000, help="Width in mm.")] = 180.0,
    dpi: Annotated[int, typer.Option("--dpi", min=50, max=1200, help="Dots per inch of PNG and of brains.")] = 300,
) -> None:
    """Draw a map of a finished run for print: the scale begins at the threshold, clusters are numbered as in the table.

    What the figure shows is printed in words, for its caption.
    """
    from io import BytesIO

    from ale_dask.errors import InputError, did_you_mean
    from ale_dask.reporting.figures.print.plot import check_style, plot_map
    from ale_dask.storage.location import replace_file

    if file.suffix.lower() not in (".pdf", ".svg", ".png"):
        raise typer.BadParameter(f"-o {file}: give a file that ends in .pdf, .svg or .png")
    check_style(style, background)
    _, results, _ = _collected(out)
    for name in analyses:
        if name not in results:
            hint = did_you_mean(name, results)
            raise InputError(f"{out} has no analysis '{name}'{hint}; it has {', '.join(results)}")
    chosen = [results[name] for name in dict.fromkeys(analyses)]
    drawn = plot_map(
        chosen,
        style=style,
        map_name=map_name,
        values=values,
        background=background,
        width=width,
        study=results,
    )
    content = BytesIO()
    drawn.savefig(content, format=file.suffix.lower().lstrip("."), dpi=dpi)
    replace_file(file, content.getvalue())
    print(f"{file}: {drawn.alt}")
