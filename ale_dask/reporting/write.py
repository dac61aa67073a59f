"""Write everything that a run hands over: a folder per analysis, the tables of the study, the page."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import xarray as xr

from ale_dask.analyses.findings.model import by_name, is_simulated, model_of, with_origin
from ale_dask.analyses.main_effect import EPS
from ale_dask.analyses.main_effect_result import decision_variables
from ale_dask.analyses.sensitivity.power import with_power
from ale_dask.coordinates.selection import UNLISTED
from ale_dask.coordinates.spreadsheet_cells import escaped
from ale_dask.errors import InputError
from ale_dask.reporting.common.extra import PAGE, PICTURES, WORD, available
from ale_dask.reporting.common.map_files import SIMULATED, write_maps
from ale_dask.reporting.common.maps import find_map_spec, stem
from ale_dask.reporting.common.once import each_table_once, forget_tables, kept
from ale_dask.reporting.common.palette import hues_of
from ale_dask.reporting.common.phrases import volume_at
from ale_dask.reporting.common.wording import label, shortfalls
from ale_dask.reporting.figures.flow import flow_svg, flow_table, sample_colours
from ale_dask.reporting.figures.maps import write_pictures
from ale_dask.reporting.figures.overlap import MOST_COMPARED, overlap_svg, overlap_table
from ale_dask.reporting.figures.plots import write_plots
from ale_dask.reporting.figures.study_context import StudyContext, study_context
from ale_dask.reporting.figures.viewer_layers import template
from ale_dask.reporting.html.page import MOST_SECTIONS, PageFigures, RunSource, write_page
from ale_dask.reporting.sensitivity.evidence_files import write_evidence
from ale_dask.reporting.sensitivity.scaling import scaling_table
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.tables.contributions import contribution_table
from ale_dask.reporting.tables.paper import article_html, article_notes, article_rows, article_table, printed
from ale_dask.reporting.tables.study import ENDS, cluster_tables, rows_of_main_effect, study_table
from ale_dask.reporting.tables.text import formatted, rows_of, tsv
from ale_dask.reporting.tables.word import article_docx
from ale_dask.reporting.text.base_rate import base_rate_lines, clusters_beside_uniform
from ale_dask.reporting.text.subgroups import subgroup_sentences
from ale_dask.reporting.text.summary import found_without_effect, level_and_lines
from ale_dask.storage.location import replace_file
from ale_dask.version import __version__

log = logging.getLogger(__name__)


@each_table_once()
def write_results(
    results: Mapping[str, xr.Dataset],
    out: Path,
    *,
    title: str,
    pictures: bool,
    source: RunSource | None = None,
) -> None:
    """Write all maps, sidecars, tables and figures of a study, and report.html, into a folder.

    `pictures` says whether figures are drawn; `source` is the run that the results come from, for the page. Without the
    extra [report] figures or page are left out, and the log says what to install.

    Raises
    ------
    InputError
        when two names would share a folder.
    StoreError
        when a file cannot be written.
    """
    folders = {name: out / stem(name) for name in results}
    if len(set(folders.values())) < len(folders):
        raise InputError(f"two of the analyses {', '.join(results)} would share a folder; rename one")
    drawing = pictures and available(*PICTURES)
    contexts: dict[str, StudyContext] = {}
    figure_paths: list[Path] = []
    names = list(results)
    for first in range(0, len(names), _TOGETHER):
        some = names[first : first + _TOGETHER]
        figure_paths += _write_analyses(some, results, folders, source, contexts, drawing=drawing)
        if len(results) > MOST_SECTIONS:
            # The page is an index: what was made of these, 0.2 MB each, is not shown again.
            contexts.clear()
            forget_tables()
    _write_study_files(results, out, title=title)
    if len(results) > MOST_SECTIONS:
        log.info(f"no table.docx: Word opens no table of {len(results):,} analyses; table.tsv and table.html have them")
    elif available(*WORD):
        replace_file(out / "table.docx", article_docx(printed(results, title=title)))
    if available(*PAGE):
        replace_file(out / "table.html", article_html(results, title=title).encode())
        figures = PageFigures(figure_paths, contexts, template() if drawing else None)
        write_page(results, out, title=title, source=source or RunSource(), figures=figures)


_TOGETHER = 8
"""Analyses that are written before the next are begun: memory may hold the maps of a few only."""


def _write_analyses(
    names: Sequence[str],
    results: Mapping[str, xr.Dataset],
    folders: Mapping[str, Path],
    source: RunSource | None,
    contexts: dict[str, StudyContext],
    *,
    drawing: bool,
) -> list[Path]:
    """Write the files of some analyses, add the context of each, and return the paths of their figures."""
    hues = hues_of(results)
    contexts |= {name: study_context(results[name], results, hues) for name in names}
    figures: list[Path] = []
    # Maps are compressed, and their pictures drawn, mostly without the interpreter lock, while this thread makes tables
    # and plots.
    with ThreadPoolExecutor(1) as pool:
        beside = [pool.submit(write_maps, results[name], folders[name]) for name in names]
        painted = names if drawing else ()
        drawn = [pool.submit(write_pictures, results[n], folders[n], contexts[n]) for n in painted]
        for name in names:
            _write_analysis_tables(results[name], results, folders[name])
            if source is not None and name in source.evidence:
                write_evidence(source.evidence[name], folders[name])
            if drawing:
                figures += write_plots(results[name], folders[name], context=contexts[name])
            _keep_small(results[name])
        for written in beside:
            written.result()
        for paths in drawn:
            figures += paths.result()
    return figures


def _keep_small(result: xr.Dataset) -> None:
    """Make what tables and texts of the whole study say of a main effect, while its maps are at hand."""
    if model_of(result).kind == "main-effect":
        rows_of_main_effect(result)
        article_rows(result)
        article_notes(result)
        level_and_lines(result)
        _places(result)
        if "z_base_rate" in result and model_of(result).inference.null == "both":
            clusters_beside_uniform(result)


def _write_analysis_tables(result: xr.Dataset, results: Mapping[str, xr.Dataset], folder: Path) -> None:
    base = stem(result.attrs["name"])
    for suffix, table in cluster_tables(result).items():
        replace_file(folder / f"{base}_clusters{suffix}.tsv", tsv(table))
    if model_of(result).kind == "main-effect":
        replace_file(folder / f"{base}_scaling.tsv", tsv(scaling_table(result)))
    if set(model_of(result).parts) <= set(results):
        for source, end in ENDS.items():
            table = contribution_table(result, results, source=source)
            replace_file(folder / f"{base}_contributions{end}.tsv", tsv(table))


def _write_study_files(results: Mapping[str, xr.Dataset], out: Path, *, title: str) -> None:
    simulated = is_simulated(*results.values())
    replace_file(out / "study_results.tsv", tsv(study_table(results)))
    if len(results) > MOST_COMPARED:
        log.info(f"no overlap.tsv: {len(results):,} analyses, and only up to {MOST_COMPARED} are compared two by two")
    elif len(overlaps := overlap_table(results)):
        replace_file(out / "overlap.tsv", tsv(overlaps))
        if matrix := overlap_svg(results):
            replace_file(out / "overlap.svg", matrix.encode())
    _write_selection(results, out, simulated=simulated)
    replace_file(out / "dataset_description.json", _description(title, simulated=simulated))
    article = article_table(results)
    replace_file(out / "table.tsv", str(escaped(article).to_csv(sep="\t", index=False, lineterminator="\n")).encode())


def _write_selection(results: Mapping[str, xr.Dataset], out: Path, *, simulated: bool) -> None:
    selection = flow_table(results)
    if selection.empty:
        return
    replace_file(out / "selection.tsv", tsv(selection))
    if selection["removed"].str.endswith(UNLISTED).any():
        log.info("selection.tsv: counts the experiments that rules removed; too many samples are picked to name them")
    if len(results) > MOST_SECTIONS:
        log.info(f"no selection_*.svg: selection.tsv has what was picked for each of {len(results):,} analyses")
        return
    colours = sample_colours(results)
    for sample, steps in selection.groupby("sample", sort=False):
        # Names come from study.toml, or from a Python user who may write anything.
        figure = flow_svg(steps, simulated=simulated, colour=colours.get(str(sample), "currentColor"))
        replace_file(out / f"selection_{stem(str(sample))}.svg", figure.encode())


def write_report(
    results: Sequence[xr.Dataset],
    out: str | Path,
    *,
    title: str = "ALE meta-analysis",
    simulated: bool = False,
    pictures: bool = True,
) -> Path:
    """Write maps, tables, figures and report.html of results into a folder, as a run does, and return the folder.

    Parameters
    ----------
    results
        What `main_effect`, `contrast` and `conjunction` return, each under a name of its own.
    out
        The folder; it is made if it does not exist.
    title
        Title of the page.
    simulated
        Whether every table, figure and page is marked as of simulated data.
    pictures
        Whether figures are drawn; they need the extra [report].

    Returns
    -------
    Path
        The folder, with report.html and a folder for each result.

    Raises
    ------
    InputError
        When two results have one name.

    Examples
    --------
    >>> result = ale.main_effect(ale.read_foci("drug.txt"), mask="ball.nii.gz", iterations=60, seed=1)
    >>> folder = ale.write_report([result], "report", pictures=False)
    >>> (folder / "report.html").is_file()
    True
    """
    write_results(
        with_power(with_origin(by_name(results), simulated=simulated)),
        Path(out),
        title=title,
        pictures=pictures,
    )
    return Path(out)


def summary_lines(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return the clusters of each analysis in lines for a terminal, main effects first."""
    lines = subgroup_sentences(results)
    for name, result in results.items():
        if model_of(result).kind != "main-effect":
            continue
        lines.append(f"{name}: {_places(result)}")
    lines += base_rate_lines(results)
    lines += decision_lines(results)
    lines += [f"{name}: {words}" for name, result in results.items() for words in shortfalls(result)]
    lines += _lines_by_threshold({n: r for n, r in results.items() if model_of(r).kind != "main-effect"})
    return lines + found_without_effect(results)


def _lines_by_threshold(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return the clusters of contrasts, conjunctions …: for each direction and threshold a heading and a line each."""
    table = study_table(results)
    table = table[table["input"] != "uncorrected"]
    lines: list[str] = []
    last = ""
    for row, text in zip(rows_of(table), rows_of(formatted(table)), strict=True):
        result = results[row["analysis"]]
        spec = find_map_spec(result, level=row["level"], source=row["input"])
        heading = f"{row['direction']}, {label(result, spec)}:"
        if row["cluster"] == "none":
            lines.append(f"{heading} none")
            continue
        lines += [heading] if heading != last else []
        last = heading
        values = [f"{column} {text[column]}" for column in ("Z", "ALE", "share", "p") if text.get(column)]
        lines.append(f"  {volume_at(row['volume_mm3'], (row['x'], row['y'], row['z']))}: {', '.join(values)}")
    return lines


@kept
def _places(result: xr.Dataset) -> str:
    """Return the size and place of the largest clusters of a main effect in words."""
    table = cluster_table(result)
    clusters = table[table["Cluster Size (mm3)"].notna()]
    places = [volume_at(row["Cluster Size (mm3)"], (row["X"], row["Y"], row["Z"])) for row in rows_of(clusters.head(5))]
    more = f" and {len(clusters) - 5} more" if len(clusters) > 5 else ""
    return f"{'; '.join(places) or 'no cluster'}{more}"


def decision_lines(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return how many clusters are decided, and the resampling risk, of main effects iterated until decided."""
    lines = []
    for name, result in results.items():
        if model_of(result).kind != "main-effect" or model_of(result).inference.until_decided is None:
            continue
        i = model_of(result).inference
        for null, variable in decision_variables(result).items():
            counts = Counter(result[variable].values.tolist())
            decided = ", ".join(f"{counts[word]} {word}" for word in ("significant", "not", "undecided"))
            base_rate = ", against the base rate" if null == "base-rate" else ""
            lines.append(
                f"{name}{base_rate}: clusters {decided} after {result.attrs['iterations']:,} iterations; resampling "
                f"risk <= {EPS:g}, error <= {i.cluster_p + EPS:g}"
            )
    return lines


def _description(title: str, *, simulated: bool) -> bytes:
    content = {
        "Name": f"{SIMULATED}: {title}" if simulated else title,
        # No version of BIDS is claimed: names of analyses are free, and NiMARE's names of maps are not of its grammar.
        "Description": "ALE meta-analysis: a folder per analysis, maps under the names that NiMARE gives them",
        "GeneratedBy": [{"Name": "ale_dask", "Version": __version__}],
        "Simulated": simulated,
    }
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()
