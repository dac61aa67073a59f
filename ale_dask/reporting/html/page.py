"""Write report.html, one offline page of a whole study."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import xarray as xr

from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.findings.certainty import Evidence
from ale_dask.analyses.findings.model import PAIR, is_simulated, model_of
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.maps import MapSpec, corrected_map_specs, map_specs_of, pictured_map_specs, stem
from ale_dask.reporting.common.wording import controls, decision_words, facts, label, notes
from ale_dask.reporting.figures.flow import flow_svg, flow_table, sample_colours
from ale_dask.reporting.figures.maps import alt_text, picture_path
from ale_dask.reporting.figures.overlap import MOST_COMPARED, overlap_alt, overlap_svg, overlap_table
from ale_dask.reporting.figures.plots import plot_path, plots_of
from ale_dask.reporting.figures.study_context import StudyContext, study_contexts
from ale_dask.reporting.figures.viewer_layers import Backdrop
from ale_dask.reporting.html.provenance_tables import (
    NO_RECORD,
    analyses_table,
    files_table,
    provenance_facts,
    settings_table,
)
from ale_dask.reporting.html.rendering import rendered
from ale_dask.reporting.html.viewer import Viewers
from ale_dask.reporting.sensitivity.evidence_files import for_page
from ale_dask.reporting.tables.page_tables import (
    PlaceOfRow,
    cells,
    experiments_table,
    image_size,
    links_to,
    peak_place,
)
from ale_dask.reporting.tables.study import study_table, table_end, table_of_map
from ale_dask.reporting.text.follow_up_files import follow_ups_of, with_follow_ups
from ale_dask.reporting.text.living import looks_table
from ale_dask.reporting.text.methods import LICENCE, Methods, methods_of
from ale_dask.reporting.text.subgroups import subgroup_sentences
from ale_dask.reporting.text.summary import found_without_effect, summary_of
from ale_dask.storage.location import replace_file

PAGE = "report.html"
MOST_SECTIONS = 200
"""Analyses with a section each; a page of more, 40 kB each without pictures, is an index that leads to their tables."""


@dataclass(frozen=True)
class RunSource:
    """The record of a run and, where it lies on this machine, its folder OUT, which holds follow-up analyses too."""

    record: RunRecord | None = None
    folder: Path | None = None
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """The cards of evidence of each main effect that has them, by name."""

    def follow_ups(self, result: xr.Dataset) -> list[dict[str, Any]]:
        """Return the follow-up analyses of a result, as the page shows them."""
        return [] if self.record is None or self.folder is None else follow_ups_of(result, self.folder, self.record)

    def methods(self) -> Methods | None:
        """Return the methods text of the run, follow-up analyses included; None without a record."""
        if self.record is None:
            return None
        return methods_of(self.record if self.folder is None else with_follow_ups(self.record, self.folder))


@dataclass(frozen=True)
class PageFigures:
    """The figures of a page: paths to inline, the context of each analysis, and the brain behind the slices.

    By default the paths are those that lie in the analyses' folders, and the brain is the mask.
    """

    paths: Sequence[Path] | None = None
    contexts: Mapping[str, StudyContext] | None = None
    backdrop: Backdrop | None = None

    def image(self, path: Path) -> bytes:
        """Return the content of a figure to inline; nothing where it was not drawn."""
        drawn = path in self.paths if self.paths is not None else path.is_file()
        return path.read_bytes() if drawn else b""


_RESULTS_ALONE, _FIGURES_IN_FOLDERS = RunSource(), PageFigures()


def write_page(
    results: Mapping[str, xr.Dataset],
    folder: Path,
    *,
    title: str,
    source: RunSource = _RESULTS_ALONE,
    figures: PageFigures = _FIGURES_IN_FOLDERS,
) -> Path:
    """Write one self-contained HTML page of all results into a folder and return its path; needs jinja2."""
    text = rendered(
        "report.html.j2",
        title=title,
        simulated=is_simulated(*results.values()),
        **_study_sections(results, folder),
        looks=cells(looks_table(source.record or {})),
        **_analysis_sections(results, folder, source, figures),
        **_provenance_sections(results, source),
        table=links_to(folder, *(folder / f"table.{end}" for end in ("html", "docx", "tsv"))),
    )
    path = folder / PAGE
    replace_file(path, text)
    return path


def _is_index(results: Mapping[str, xr.Dataset]) -> bool:
    return len(results) > MOST_SECTIONS


def _places_on_page(results: Mapping[str, xr.Dataset]) -> dict[str, str]:
    """Return where each analysis is: its section, or on the page of an index its table of clusters."""
    if not _is_index(results):
        return {name: f"#a{i}" for i, name in enumerate(results, 1)}
    return {name: quote(f"{stem(name)}/{stem(name)}_clusters.tsv") for name in results}


def _index_words(results: Mapping[str, xr.Dataset]) -> list[str]:
    if not _is_index(results):
        return []
    return [
        f"This study has {len(results):,} analyses, more than a page can show in full: each name leads to its table of "
        "clusters, beside which its maps are."
    ]


def _study_sections(results: Mapping[str, xr.Dataset], folder: Path) -> dict[str, Any]:
    study = _contrasts_and_conjunctions(results)
    links = links_to(folder, folder / "study_results.tsv")
    return {
        "sentences": [*_index_words(results), *subgroup_sentences(results), *found_without_effect(results)],
        "summary": summary_of(results),
        "where": _places_on_page(results),
        "study": cells(study, place_of_row=None if _is_index(results) else _places_in_study(results), links=links),
        "selections": [] if _is_index(results) else _selections(results, folder),
        "overlap": _overlap(results, folder),
    }


def _analysis_sections(
    results: Mapping[str, xr.Dataset], folder: Path, source: RunSource, figures: PageFigures
) -> dict[str, Any]:
    if _is_index(results):
        return {"analyses": [], "viewers": Viewers(None).as_json(), "blobs": {}}
    contexts = study_contexts(results) if figures.contexts is None else figures.contexts
    viewers = Viewers(figures.backdrop)
    analyses = [
        _analysis(name, result, folder / stem(name), figures, contexts[name], viewers)
        | {"follow_ups": source.follow_ups(result), "evidence": for_page(source.evidence.get(name))}
        for name, result in results.items()
    ]
    return {"analyses": analyses, "viewers": viewers.as_json(), "blobs": viewers.blobs()}


def _provenance_sections(results: Mapping[str, xr.Dataset], source: RunSource) -> dict[str, Any]:
    return {
        "methods": source.methods(),
        "no_record": NO_RECORD,
        "licence": LICENCE,
        "provenance": provenance_facts(results, source.record),
        "files": cells(files_table(results, source.record)),
        "analyses_made": cells(analyses_table(results, source.record)),
        "settings": cells(settings_table(results)),
    }


def _overlap(results: Mapping[str, xr.Dataset], folder: Path) -> dict[str, Any]:
    if len(results) > MOST_COMPARED:
        words = f"More than {MOST_COMPARED} analyses are not compared with each other."
        return {"none": words, "figure": "", "table": cells(pd.DataFrame())}
    figure = overlap_svg(results).encode()
    return {
        "none": "There is one analysis.",
        "figure": base64.b64encode(figure).decode(),
        "alt": overlap_alt(results),
        "size": image_size(figure),
        "table": cells(overlap_table(results), links=links_to(folder, folder / "overlap.tsv")),
        "links": links_to(folder, folder / "overlap.svg"),
    }


def _selections(results: Mapping[str, xr.Dataset], folder: Path) -> list[dict[str, Any]]:
    colours, simulated = sample_colours(results), is_simulated(*results.values())
    return [
        {
            "sample": name,
            "figure": flow_svg(steps, simulated=simulated, colour=colours.get(str(name), "currentColor")),
            "table": cells(steps.drop(columns="sample"), links=links_to(folder, folder / "selection.tsv")),
            "links": links_to(folder, folder / f"selection_{stem(str(name))}.svg"),
        }
        for name, steps in flow_table(results).groupby("sample", sort=False)
    ]


def tabled_map_specs(result: xr.Dataset) -> list[MapSpec]:
    """Return the thresholded maps that have a table on the page, those with a picture first.

    Corrected maps without a picture have their table and words all the same.
    """
    pictured = pictured_map_specs(result)
    pairs = [spec for spec in map_specs_of(result) if spec.level == PAIR]
    return pictured + [spec for spec in (*corrected_map_specs(result), *pairs) if spec not in pictured]


def _analysis(
    name: str,
    result: xr.Dataset,
    folder: Path,
    figures: PageFigures,
    context: StudyContext,
    viewers: Viewers,
) -> dict[str, Any]:
    specs = tabled_map_specs(result)
    others = [v for v in map_specs_of(result) if v.level in CORRECTION_OF and v not in specs]
    viewer = viewers.add(result, context, specs + others)
    plots = _plots(result, folder, figures, context)
    return {
        "name": name,
        "kind": model_of(result).title,
        "facts": facts(result),
        "notes": notes(result),
        "viewer": viewer,
        "parts": [
            _part(result, spec, folder, figures, place_of_row=peak_place(viewer, number))
            for number, spec in enumerate(specs)
        ],
        "maps": [(spec.suffix, *link) for spec in map_specs_of(result) for link in _map_links(result, spec, folder)],
        "plots": [plot for plot in plots if not plot["diagnostic"]],
        "diagnostics": [plot for plot in plots if plot["diagnostic"]],
        "shares": cells(
            pd.DataFrame() if context.shares is None else context.shares,
            links=links_to(folder.parent, folder / f"{stem(name)}_contributions.tsv"),
        ),
        "experiments": cells(experiments_table(result)),
    }


def _map_links(result: xr.Dataset, spec: MapSpec, folder: Path) -> list[tuple[str, str]]:
    return links_to(folder.parent, folder / f"{stem(result.attrs['name'])}_{spec.suffix}.nii.gz")


def _contrasts_and_conjunctions(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    # The clusters of a main effect stand in its own section.
    several = {name: r for name, r in results.items() if model_of(r).kind != "main-effect"}
    return study_table(several).drop(columns="controls")


def _places_in_study(results: Mapping[str, xr.Dataset]) -> PlaceOfRow:
    """Return the function that gives the place of a row of the study's table in the viewer of its analysis."""
    viewers = {name: number for number, name in enumerate(results)}
    maps = {name: [(v.level, v.source) for v in tabled_map_specs(r)] for name, r in results.items()}

    def place(row: dict[Any, Any]) -> str:
        name, shown = row["analysis"], (row["level"], row["input"])
        return peak_place(viewers[name], maps[name].index(shown), "xyz")(row) if shown in maps[name] else ""

    return place


def _plots(result: xr.Dataset, folder: Path, figures: PageFigures, context: StudyContext) -> list[dict[str, Any]]:
    images = {plot: figures.image(plot_path(result, plot, folder)) for plot in plots_of(result, context)}
    return [
        {
            "title": plot.title,
            "diagnostic": plot.diagnostic,
            "alt": plot.alt,
            "media": "image/svg+xml" if plot.ending == "svg" else "image/png",
            "data": base64.b64encode(image).decode(),
            "size": image_size(image),
            "links": links_to(folder.parent, plot_path(result, plot, folder)),
        }
        for plot, image in images.items()
        if image
    ]


def _peak_stat(result: xr.Dataset, spec: MapSpec) -> str:
    if spec.level == PAIR:
        return "T over its permutation standard deviation"
    permuted = model_of(result).kind in ("contrast", "moderator") and spec.level != "uncorrected"
    return "z value of the uncorrected p" if permuted else "z value"


def _part(
    result: xr.Dataset,
    spec: MapSpec,
    folder: Path,
    figures: PageFigures,
    *,
    place_of_row: PlaceOfRow,
) -> dict[str, Any]:
    words = label(result, spec)
    by_mass = model_of(result).correction.by_mass
    end, picture = table_end(result, spec), picture_path(result, spec, folder)
    tsv = [] if end is None else [folder / f"{stem(result.attrs['name'])}_clusters{end}.tsv"]
    image = figures.image(picture)
    width, height = image_size(image) if image else (0, 0)
    drawn = [picture] if image else []
    links = [*links_to(folder.parent, *tsv), *_map_links(result, spec, folder), *links_to(folder.parent, *drawn)]
    return {
        "label": words[:1].upper() + words[1:],
        "controls": controls(result, spec),
        # Uncorrected maps are folded away below the corrected ones.
        "folded": "uncorrected" in (spec.source or spec.level),
        "caption": f"Clusters, largest first; x, y, z (mm) and {_peak_stat(result, spec)} of peaks, “1a” a sub-peak of "
        f"cluster 1.{decision_words(result, spec)}",
        "table": cells(table_of_map(result, spec), place_of_row=place_of_row, by_mass=by_mass, links=links),
        "picture": base64.b64encode(image).decode(),
        "alt": alt_text(result, spec) if image else "",
        "width": width,
        "height": height,
    }
