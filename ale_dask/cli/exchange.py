"""Commands that take finished runs to a paper or another program: compare, export, figure."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ale_dask.cli.options import Json, Pictures, Stored

if TYPE_CHECKING:
    import xarray as xr

    from ale_dask.config.run_record import RunRecord
    from ale_dask.config.study import Study


_CRATE = "ro-crate"


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
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="PROGRAM",
            help="What to write for: nimare, gingerale, neurovault, csv, compose, or ro-crate.",
        ),
    ],
    folder: Annotated[
        str | None, typer.Option("-o", "--out", help="Folder or URL to write to, by default OUT/export/PROGRAM.")
    ] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="Licence that an RO-Crate states for the run, such as a URL.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write maps, tables and foci of a finished run in the form that another program or an archive reads.

    With --to ro-crate, OUT itself becomes an RO-Crate: one file in it describes the others.
    """
    from ale_dask.reporting.export.files import check_program
    from ale_dask.reporting.export.files import export as of
    from ale_dask.storage.location import place, staged

    if to == _CRATE:
        if folder is not None:
            raise typer.BadParameter(f"-o {folder}: an RO-Crate is OUT itself, with a file that describes it")
        _describe_as_crate(out, license_ or "No licence is stated", as_json=as_json)
        return
    if license_ is not None:
        raise typer.BadParameter(f"--license {license_}: only for --to {_CRATE}")
    check_program(to, further=(_CRATE,))
    _, results, _ = _collected(out)
    where = folder if folder is not None else f"{out.rstrip('/')}/export/{to}"
    with staged(place(where)) as local:
        written = of(results, local, to=to)
        names = [path.relative_to(local).as_posix() for path in written]
    print(json.dumps({"folder": where, "files": names}) if as_json else f"{len(names)} files in {where}")


def _describe_as_crate(out: str, license_: str, *, as_json: bool) -> None:
    """Write the file that makes OUT an RO-Crate, and say how many files and folders it describes."""
    from ale_dask.reporting.export.crate import CRATE, crate_metadata
    from ale_dask.storage.location import place, replace_file

    content = crate_metadata(place(out), license_=license_)
    replace_file(place(out) / CRATE, content)
    graph = json.loads(content)["@graph"]
    described = [each["@id"] for each in graph if each["@type"] in ("File", "Dataset") and each["@id"] != "./"]
    written = f"{out.rstrip('/')}/{CRATE}: describes {len(described)} files and folders"
    print(json.dumps({"folder": out, "files": [CRATE], "describes": described}) if as_json else written)


def figure(
    out: Stored,
    analyses: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ANALYSIS…]", help="Name of an analysis; several stand below each other."),
    ] = None,
    *,
    file: Annotated[Path, typer.Option("-o", "--out", help="File to write: .pdf, .svg or .png; with --all a folder.")],
    every: Annotated[
        bool, typer.Option("--all", help="Draw every thresholded map, of all analyses or those named, each in a file.")
    ] = False,
    kind: Annotated[str, typer.Option("--format", help="Of the files of --all: pdf, svg or png.")] = "pdf",
    style: Annotated[str, typer.Option("--style", help="slices, glass, surface, subcortex or composite.")] = "slices",
    map_name: Annotated[
        str,
        typer.Option("--map", help="Level, such as voxel or uncorrected, or the end of the name of a map's file."),
    ] = "",
    values: Annotated[str, typer.Option("--values", help="What is coloured: z, logp, ale or difference.")] = "",
    background: Annotated[str, typer.Option("--background", help="white or black.")] = "white",
    width: Annotated[float, typer.Option("--width", min=40, max=1000, help="Width in mm.")] = 180.0,
    dpi: Annotated[int, typer.Option("--dpi", min=50, max=1200, help="Dots per inch of PNG and of brains.")] = 300,
    as_json: Json = False,
) -> None:
    """Draw a map of a finished run for print, or with --all every map: the scale begins at the threshold.

    Clusters are numbered as in the table. What a figure shows is printed in words, for its caption.
    """
    from ale_dask.reporting.figures.print.plot import check_style

    _check_written(file, kind, every=every, named=bool(analyses))
    check_style(style, background)
    _, results, _ = _collected(out)
    names = _named(out, analyses or [], results)
    draw = partial(_draw, study=results, dpi=dpi, style=style, values=values, background=background, width=width)
    if not every:
        drawn = {file: draw(file, [results[name] for name in names], map_name=map_name)}
        _print_drawn(drawn, out, as_json=as_json)
        return
    maps, drawn = _maps_of(results, names, map_name), {}
    file.mkdir(parents=True, exist_ok=True)
    for i, (name, map_, to) in enumerate(maps, 1):
        path = file / f"{to}.{kind}"
        drawn[path] = draw(path, [results[name]], map_name=map_)
        if not as_json:
            print(f"{i} of {len(maps)} · {path}: {drawn[path]}", flush=True)
    if as_json:
        _print_drawn(drawn, out, as_json=True)


def _print_drawn(drawn: Mapping[Path, str], out: str, *, as_json: bool) -> None:
    """Print what each figure shows in words."""
    if as_json:
        print(json.dumps({"out": out, "figures": [{"file": str(path), "shows": said} for path, said in drawn.items()]}))
        return
    for path, said in drawn.items():
        print(f"{path}: {said}")


def _check_written(file: Path, kind: str, *, every: bool, named: bool) -> None:
    formats = ("pdf", "svg", "png")
    if every and kind not in formats:
        raise typer.BadParameter(f"--format {kind}: give one of {', '.join(formats)}")
    if every and (file.is_file() or file.suffix.lower().lstrip(".") in formats):
        raise typer.BadParameter(f"-o {file}: --all writes several files; give a folder")
    if not every and not named:
        raise typer.BadParameter("name an analysis of the run, or --all for every map of it")
    if not every and file.suffix.lower().lstrip(".") not in formats:
        raise typer.BadParameter(f"-o {file}: give a file that ends in .pdf, .svg or .png")


def _named(out: str, analyses: Sequence[str], results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return the analyses that are named, without those named twice; without any, all but those made for a contrast."""
    from ale_dask.errors import InputError, did_you_mean
    from ale_dask.reporting.sensitivity.evidence import analyses_with_cards

    for name in analyses:
        if name not in results:
            hint = did_you_mean(name, results)
            raise InputError(f"{out} has no analysis '{name}'{hint}; it has {', '.join(results)}")
    return list(dict.fromkeys(analyses)) or analyses_with_cards(results)


def _maps_of(results: Mapping[str, xr.Dataset], names: Sequence[str], only: str) -> list[tuple[str, str, str]]:
    """Return the analysis, the name of the map and the name of the file of each map that can be drawn.

    Maps in which no voxel survives are named on stderr.
    """
    from ale_dask.errors import InputError
    from ale_dask.reporting.common.maps import stem
    from ale_dask.reporting.figures.print.shown import surviving_maps

    found: list[tuple[str, str, str]] = []
    empty: list[tuple[str, str, str]] = []
    for name in names:
        for map_name, (spec, survives) in surviving_maps(results[name]).items():
            if only in ("", map_name, spec.suffix):
                where = (name, map_name, f"{stem(name)}_{spec.suffix}")
                (found if survives else empty).append(where)
    if not found and not empty:
        raise InputError(f"no analysis has a thresholded map '{only}'")
    for name, map_name, _ in empty:
        print(f"{name}, {map_name}: no voxel survives, so there is nothing to draw", file=sys.stderr)
    return found


def _draw(file: Path, chosen: Sequence[xr.Dataset], *, study: Mapping[str, xr.Dataset], dpi: int, **how: Any) -> str:
    """Write a figure for print to a file, and return in words what it shows."""
    from io import BytesIO

    from ale_dask.reporting.figures.print.plot import plot_map
    from ale_dask.storage.location import replace_file

    drawn = plot_map(chosen, study=study, **how)
    content = BytesIO()
    drawn.savefig(content, format=file.suffix.lower().lstrip("."), dpi=dpi)
    replace_file(file, content.getvalue())
    return drawn.alt
