"""One offline page of a whole study: tables, pictures, and what each result controls."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.main_effect import inference_of
from ale_dask.reporting.common.maps import MapSpec, corrected, pictured, stem, views_of
from ale_dask.reporting.common.wording import CORRECTED, controls, decided, facts, label, notes
from ale_dask.reporting.figures.flow import flow_svg, flow_table, sample_colours
from ale_dask.reporting.figures.maps import alt_text, picture_path
from ale_dask.reporting.figures.overlap import overlap_says, overlap_svg, overlap_table
from ale_dask.reporting.figures.plots import plot_path, plots_of
from ale_dask.reporting.figures.study_context import StudyContext, study_contexts
from ale_dask.reporting.figures.viewer_layers import Backdrop
from ale_dask.reporting.html.provenance_tables import NO_RECORD, analyses_table, files_table, origins, settings_table
from ale_dask.reporting.html.viewer import Viewers
from ale_dask.reporting.tables.clusters import study_table
from ale_dask.reporting.tables.page_tables import at_peak, cells, clusters_at, experiments_table, image_size
from ale_dask.reporting.text.follow_up_files import later, with_asked
from ale_dask.reporting.text.methods import LICENCE, methods_of
from ale_dask.reporting.text.summary import found_of
from ale_dask.storage.location import replace_file
from ale_dask.version import __version__

SCRIPTS = ("tables", "viewer")
PAGE = "report.html"
_KINDS = {"main-effect": "Main effect", "contrast": "Contrast", "conjunction": "Conjunction"}


def write_page(
    results: Mapping[str, xr.Dataset],
    folder: Path,
    *,
    title: str,
    simulated: bool,
    pictures: Sequence[Path] | None = None,
    record: Mapping[str, Any] | None = None,
    kept: Path | None = None,
    companies: Mapping[str, StudyContext] | None = None,
    backdrop: Backdrop | None = None,
) -> Path:
    """Write one self-contained HTML page of all results into a folder and return its path.

    `pictures` are the paths to inline; by default those that lie in the analyses' folders. `record` is a run's,
    for methods and provenance, `kept` its OUT on this machine, with what was asked of it later; `companies` what
    `study_contexts` returns; `backdrop` the brain behind the slices, by default the mask. Needs jinja2.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    companies = study_contexts(results) if companies is None else companies
    viewers = Viewers(backdrop)
    analyses = [
        _analysis(name, r, folder / stem(name), pictures, companies[name], viewers)
        | {"later": [] if record is None or kept is None else later(r, kept, record)}
        for name, r in results.items()
    ]
    style, script = _text("report.css"), "".join(_text(f"{name}.js") for name in SCRIPTS)
    # Titles and names come from users' files: everything is escaped.
    environment = Environment(loader=PackageLoader("ale_dask.reporting"), autoescape=True, undefined=StrictUndefined)
    text = environment.get_template("report.html.j2").render(
        title=title,
        simulated=simulated,
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        # Nothing else runs, whatever a name smuggles in, and nothing is loaded.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        found=found_of(results),
        numbers={name: i for i, name in enumerate(results, 1)},
        study=cells(_of_several(results).drop(columns="controls"), at=_in_study(results)),
        selections=_selections(results, simulated=simulated),
        methods=None if record is None else methods_of(record if kept is None else with_asked(record, kept)),
        no_record=NO_RECORD,
        licence=LICENCE,
        overlap=_overlap(results, simulated=simulated),
        analyses=analyses,
        origins=origins(results, record),
        files=cells(files_table(results, record)),
        made=cells(analyses_table(results, record)),
        settings=cells(settings_table(results)),
        viewers=viewers.as_json(),
        blobs=viewers.blobs(),
    )
    path = folder / PAGE
    replace_file(path, text.encode())
    return path


def _text(name: str) -> str:
    return (files("ale_dask.reporting") / "templates" / name).read_text(encoding="utf-8")


def _overlap(results: Mapping[str, xr.Dataset], *, simulated: bool) -> dict[str, Any]:
    figure = overlap_svg(results, simulated=simulated).encode()
    drawn = base64.b64encode(figure).decode()
    return {
        "figure": drawn,
        "says": overlap_says(results),
        "size": image_size(figure),
        "table": cells(overlap_table(results)),
    }


def _selections(results: Mapping[str, xr.Dataset], *, simulated: bool) -> list[dict[str, Any]]:
    colours = sample_colours(results)
    return [
        {
            "sample": name,
            "figure": flow_svg(steps, simulated=simulated, colour=colours.get(str(name), "currentColor")),
            "table": cells(steps.drop(columns="sample")),
        }
        for name, steps in flow_table(results).groupby("sample", sort=False)
    ]


def shown_in_page(result: xr.Dataset) -> list[MapSpec]:
    """Return the thresholded maps that have a table on the page, those with a picture first."""
    # The corrected maps that have no picture have their table and words all the same.
    return pictured(result) + corrected(result)


def _analysis(
    name: str,
    result: xr.Dataset,
    folder: Path,
    pictures: Sequence[Path] | None,
    company: StudyContext,
    viewers: Viewers,
) -> dict[str, Any]:
    views = shown_in_page(result)
    others = [v for v in views_of(result) if v.level in CORRECTED and v not in views]
    viewer = viewers.add(result, company, views + others)
    plots = _plots(result, folder, pictures, company)
    return {
        "name": name,
        "kind": _KINDS[result.attrs["kind"]],
        "facts": facts(result),
        "notes": notes(result),
        "viewer": viewer,
        "parts": [
            _part(result, view, folder, pictures, at=at_peak(viewer, number)) for number, view in enumerate(views)
        ],
        "plots": [plot for plot in plots if not plot["diagnostic"]],
        "diagnostics": [plot for plot in plots if plot["diagnostic"]],
        "shares": cells(pd.DataFrame() if company.shares is None else company.shares),
        "experiments": cells(experiments_table(result)),
    }


def _of_several(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    # The clusters of a main effect stand in its own section.
    return study_table({name: r for name, r in results.items() if r.attrs["kind"] != "main-effect"})


def _in_study(results: Mapping[str, xr.Dataset]) -> Callable[[dict[Any, Any]], str]:
    """Return what gives the place of a row of the study's table in the viewer of its analysis."""
    viewers = {name: number for number, name in enumerate(results)}
    maps = {name: [(v.level, v.source) for v in shown_in_page(r)] for name, r in results.items()}

    def place(row: dict[Any, Any]) -> str:
        name, which = row["analysis"], (row["level"], row["input"])
        return at_peak(viewers[name], maps[name].index(which), "xyz")(row) if which in maps[name] else ""

    return place


def _plots(
    result: xr.Dataset, folder: Path, pictures: Sequence[Path] | None, company: StudyContext
) -> list[dict[str, Any]]:
    drawn = {plot: plot_path(result, plot, folder) for plot in plots_of(result, company)}
    shown = {
        plot: path.read_bytes()
        for plot, path in drawn.items()
        if (path in pictures if pictures is not None else path.is_file())
    }
    return [
        {
            "title": plot.title,
            "diagnostic": plot.diagnostic,
            "says": plot.says,
            "media": "image/svg+xml" if plot.ending == "svg" else "image/png",
            "data": base64.b64encode(image).decode(),
            "size": image_size(image),
        }
        for plot, image in shown.items()
    ]


def _peak_stat(result: xr.Dataset, view: MapSpec) -> str:
    if result.attrs["kind"] == "contrast" and view.level != "uncorrected":
        return "z of the uncorrected p (Peak Stat)"
    return "z (Peak Stat)"


def _part(
    result: xr.Dataset,
    view: MapSpec,
    folder: Path,
    pictures: Sequence[Path] | None,
    *,
    at: Callable[[dict[Any, Any]], str],
) -> dict[str, Any]:
    words = label(result, view)
    path = picture_path(result, view, folder)
    shown = path in pictures if pictures is not None else path.is_file()
    image = path.read_bytes() if shown else b""
    width, height = image_size(image) if shown else (0, 0)
    return {
        "label": words[:1].upper() + words[1:],
        "controls": controls(result, view),
        # Beside the corrected ones, for those who ask.
        "lesser": "uncorrected" in (view.source or view.level),
        "caption": f"Clusters, largest first; X, Y, Z and {_peak_stat(result, view)} of peaks, “1a” a sub-peak of "
        f"cluster 1.{decided(view)}",
        "table": cells(clusters_at(result, view), at=at, by_mass=inference_of(result).correction == "cluster-mass"),
        "picture": base64.b64encode(image).decode(),
        "alt": alt_text(result, view) if shown else "",
        "width": width,
        "height": height,
    }
