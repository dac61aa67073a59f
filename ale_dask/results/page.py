"""One offline page of a whole study: tables, pictures, and what each result controls."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ale_dask.analyses.main_effect import inference_of
from ale_dask.data.foci import n_foci
from ale_dask.data.places import replace_file
from ale_dask.results.company import Company, company_of
from ale_dask.results.figures import alt_text, picture_path
from ale_dask.results.flow import flow_svg, flow_table, sample_colours
from ale_dask.results.methods import LICENCE, Methods
from ale_dask.results.overlap import overlap_says, overlap_svg, overlap_table
from ale_dask.results.plots import plot_path, plots_of
from ale_dask.results.tables import (
    cluster_table,
    conjunction_table,
    contrast_table,
    formatted,
    study_table,
)
from ale_dask.results.views import View, pictured, stem, views_of
from ale_dask.results.wording import controls, decided, facts, label, notes
from ale_dask.words.version import __version__

PAGE = "report.html"
_KINDS = {"main-effect": "Main effect", "contrast": "Contrast", "conjunction": "Conjunction"}


def write_page(
    results: Mapping[str, xr.Dataset],
    folder: Path,
    *,
    title: str,
    simulated: bool,
    pictures: Sequence[Path] | None = None,
    methods: Methods | None = None,
    companies: Mapping[str, Company] | None = None,
) -> Path:
    """Write one self-contained HTML page of all results into a folder and return its path.

    `pictures` are the paths to inline; by default those that lie in the analyses' folders. `methods` is a run's,
    `companies` what `company_of` returns. Needs jinja2.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    companies = company_of(results) if companies is None else companies
    # Titles and names come from users' files: everything is escaped.
    environment = Environment(loader=PackageLoader("ale_dask.results"), autoescape=True, undefined=StrictUndefined)
    text = environment.get_template("report.html.j2").render(
        title=title,
        simulated=simulated,
        version=__version__,
        study=_cells(study_table(results).drop(columns="controls")),
        selections=_selections(results, simulated=simulated),
        methods=methods,
        licence=LICENCE,
        overlap=_overlap(results, simulated=simulated),
        analyses=[_analysis(name, r, folder / stem(name), pictures, companies[name]) for name, r in results.items()],
    )
    path = folder / PAGE
    replace_file(path, text.encode())
    return path


def _overlap(results: Mapping[str, xr.Dataset], *, simulated: bool) -> dict[str, Any]:
    figure = overlap_svg(results, simulated=simulated).encode()
    drawn = base64.b64encode(figure).decode()
    return {
        "figure": drawn,
        "says": overlap_says(results),
        "size": image_size(figure),
        "table": _cells(overlap_table(results)),
    }


def _selections(results: Mapping[str, xr.Dataset], *, simulated: bool) -> list[dict[str, Any]]:
    colours = sample_colours(results)
    return [
        {
            "sample": name,
            "figure": flow_svg(steps, simulated=simulated, colour=colours.get(str(name), "currentColor")),
            "table": _cells(steps.drop(columns="sample")),
        }
        for name, steps in flow_table(results).groupby("sample", sort=False)
    ]


def _analysis(
    name: str, result: xr.Dataset, folder: Path, pictures: Sequence[Path] | None, company: Company
) -> dict[str, Any]:
    kind = result.attrs["kind"]
    drawn = pictured(result)
    # The corrected maps that have no picture have their table and words all the same.
    corrected = ("voxel-fwe", {"cluster-mass": "mass-fwe"}.get(inference_of(result).correction, "size-fwe"))
    views = drawn + [v for v in views_of(result) if v.level in corrected]
    return {
        "name": name,
        "kind": _KINDS[kind],
        "facts": facts(result),
        "notes": notes(result),
        "parts": [_part(result, view, folder, pictures) for view in views],
        "plots": _plots(result, folder, pictures, company),
        "experiments": _cells(_experiments(result)),
    }


def _plots(result: xr.Dataset, folder: Path, pictures: Sequence[Path] | None, company: Company) -> list[dict[str, Any]]:
    drawn = {plot: plot_path(result, plot, folder) for plot in plots_of(result, company)}
    shown = {
        plot: path.read_bytes()
        for plot, path in drawn.items()
        if (path in pictures if pictures is not None else path.is_file())
    }
    return [
        {
            "title": plot.title,
            "says": plot.says,
            "media": "image/svg+xml" if plot.ending == "svg" else "image/png",
            "data": base64.b64encode(image).decode(),
            "size": image_size(image),
        }
        for plot, image in shown.items()
    ]


def _part(result: xr.Dataset, view: View, folder: Path, pictures: Sequence[Path] | None) -> dict[str, Any]:
    words = label(result, view)
    path = picture_path(result, view, folder)
    shown = path in pictures if pictures is not None else path.is_file()
    image = path.read_bytes() if shown else b""
    width, height = image_size(image) if shown else (0, 0)
    return {
        "label": words[:1].upper() + words[1:],
        "controls": controls(result, view),
        "caption": "Clusters, largest first; positions of peaks, “1a” a sub-peak of cluster 1." + decided(view),
        "table": _cells(_table(result, view)),
        "picture": base64.b64encode(image).decode(),
        "alt": alt_text(result, view) if shown else "",
        "width": width,
        "height": height,
    }


def image_size(image: bytes) -> tuple[int, int]:
    """Return width and height in the header of a PNG or an SVG, so that nothing moves while a page loads."""
    if image.startswith(b"\x89PNG"):
        width, height = struct.unpack(">II", image[16:24])
        return int(width), int(height)
    root = re.search(rb"<svg[^>]*>", image)
    found = re.search(rb'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', root[0] if root else b"")
    return (round(float(found[1])), round(float(found[2]))) if found else (0, 0)


def _table(result: xr.Dataset, view: View) -> pd.DataFrame:
    kind = result.attrs["kind"]
    if kind == "contrast":
        return contrast_table(result, source=view.source, level=view.level)
    if kind == "conjunction":
        return conjunction_table(result, source=view.source)
    return cluster_table(result, source="uncorrected" if view.level == "uncorrected" else "cluster-fwe")


def _experiments(result: xr.Dataset) -> pd.DataFrame:
    if "experiment_id" not in result:
        return pd.DataFrame()
    order = np.argsort(result["experiment_id"].values.astype(str), kind="stable")
    columns = {
        "Experiment": result["experiment_id"].values,
        "Subjects": result["experiment_n_subjects"].values,
        "Foci": n_foci(result),
        "Source": [str(s).replace("\\", "/").rsplit("/", 1)[-1] for s in result["experiment_source"].values],
    }
    return pd.DataFrame({c: np.asarray(v, dtype=object)[order] for c, v in columns.items()})


def _cells(table: pd.DataFrame) -> dict[str, Any]:
    text = formatted(table)
    # A column that says nothing in any row only takes width.
    kept = [c for c in text.columns if (text[c] != "").any()]
    return {"columns": kept, "rows": text[kept].to_numpy().tolist() if len(text) else []}
