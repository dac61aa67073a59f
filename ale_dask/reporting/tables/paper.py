"""Write the table of a paper, a row per cluster, as HTML to paste into a word processor and as TSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import xarray as xr
from scipy import special

from ale_dask.analyses.findings.model import is_simulated, model_of
from ale_dask.analyses.main_effect import EPS
from ale_dask.config.study import INPUTS
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import MapSpec, find_map_spec
from ale_dask.reporting.common.once import made_once
from ale_dask.reporting.common.wording import controls, label
from ale_dask.reporting.tables.anatomy import area_words, region_words
from ale_dask.reporting.tables.clusters import cluster_table, conjunction_table, contrast_table

COLUMNS = (
    "Analysis",
    "Direction",
    "Region",
    "BA or nucleus",
    "Side",
    "Z",
    "ALE",
    "p",
    "x",
    "y",
    "z",
    "Volume (mm3)",
    "Threshold",
)
MIDLINE_MM = 2.0
"""A peak closer to x = 0 has no side."""
UNDECIDED = "†"
MINUS = "−"
_NUMBERS = frozenset(("Z", "ALE", "p", "x", "y", "z", "Volume (mm3)"))


@made_once
def article_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Return the clusters of a study as a paper lists them, as text ready to print, one row each; peaks in mm MNI.

    Main effects are at their primary correction, with the p of the cluster by size or mass and † if it is undecided;
    contrasts at the corrected input, with the uncorrected p of the peak; conjunctions at the corrected input and of the
    voxel-FWE maps, without p. A direction without a cluster has a row "no cluster".
    """
    rows: list[dict[str, str]] = []
    for name, result in results.items():
        mark = f"{SIMULATED}: {name}" if model_of(result).simulated else name
        for direction, spec, table in _listed(result):
            fixed = {"Analysis": mark, "Direction": direction, "Threshold": label(result, spec)}
            clusters = table[table["Cluster Size (mm3)"].notna()].to_dict("records")
            rows += [fixed | _row(row, result) for row in clusters] or [fixed | {"Region": "no cluster"}]
    return pd.DataFrame([dict.fromkeys(COLUMNS, "") | row for row in rows], columns=list(COLUMNS), dtype=object)


def _listed(result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    """Yield the direction, the map and the clusters of each part of a result that a paper lists."""
    kind, source, correction = model_of(result).kind, INPUTS[0], model_of(result).correction
    if kind == "main-effect":
        yield "", find_map_spec(result, level=correction.word), cluster_table(result)
    elif kind == "contrast":
        table = contrast_table(result, source=source)
        for direction in model_of(result).directions:
            spec = find_map_spec(result, level="uncorrected", source=source)
            yield direction, spec, table[table["Direction"] == direction]
    else:
        inputs = {"thresholded": source} | ({} if correction.of_single_voxels else {"voxel-fwe": "voxel-fwe"})
        for level, used in inputs.items():
            spec = find_map_spec(result, level=level, source=used)
            yield model_of(result).directions[0], spec, conjunction_table(result, source=used)


def _row(row: Mapping[Any, Any], result: xr.Dataset) -> dict[str, str]:
    kind, correction = model_of(result).kind, model_of(result).correction
    tested = kind == "main-effect" and correction.of_clusters
    p = f"p {correction.short} FWE" if tested else "p" if kind == "contrast" else ""
    decision = correction.decision_column if tested else ""
    x = float(row["X"])
    return {
        "Region": region_words(row["AAL"]) if isinstance(row["AAL"], str) else "",
        "BA or nucleus": area_words(row["Brodmann Area"]) if isinstance(row["Brodmann Area"], str) else "",
        "Side": "" if abs(x) < MIDLINE_MM else "L" if x < 0 else "R",
        # Z has no sign, since the direction is a column of its own.
        "Z": f"{abs(row['Peak Stat']):.2f}",
        "ALE": _number(row.get("Peak ALE"), "{:.4f}"),
        "p": _p(row.get(p)) + (UNDECIDED if row.get(decision) == "undecided" else ""),
        **{axis: f"{round(row[axis.upper()]) + 0:d}" for axis in "xyz"},
        "Volume (mm3)": f"{row['Cluster Size (mm3)']:.0f}",
    }


def _number(value: Any, pattern: str) -> str:
    return "" if value is None or value != value else pattern.format(value)


def _p(value: Any) -> str:
    if value is None or value != value:
        return ""
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def article_html(results: Mapping[str, xr.Dataset], *, title: str) -> str:
    """Return the table of a paper, with its notes, as an HTML page to copy into a word processor; needs jinja2.

    Every element has its own style, because word processors drop all others.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    table = article_table(results)
    # Names come from users' files: everything is escaped.
    environment = Environment(loader=PackageLoader("ale_dask.reporting"), autoescape=True, undefined=StrictUndefined)
    shown = [c for c in COLUMNS if c not in ("Analysis", "Direction", "Threshold")]
    printed = table[shown].map(_printed)
    groups = [
        {"heading": _heading(*map(str, key)), "rows": printed.loc[rows.index].to_numpy().tolist()}
        for key, rows in table.groupby(["Analysis", "Direction", "Threshold"], sort=False)
    ]
    return environment.get_template("table.html.j2").render(
        title=title,
        mark=SIMULATED if is_simulated(*results.values()) else "",
        columns=[{"name": c.replace("mm3", "mm³"), "number": c in _NUMBERS} for c in shown],
        groups=groups,
        notes=_notes(results, table),
    )


def _printed(cell: str) -> str:
    """Return a cell with a true minus, and "< .001" with its space."""
    return cell.replace("<.", "< .") if not cell.startswith("-") else f"{MINUS}{cell[1:]}"


def _heading(analysis: str, direction: str, threshold: str) -> str:
    name = analysis.removesuffix("_pooled") + ", both arms pooled" if analysis.endswith("_pooled") else analysis
    return f"{': '.join(part for part in (name, direction) if part)} ({threshold})"


def _notes(results: Mapping[str, xr.Dataset], table: pd.DataFrame) -> list[str]:
    """Return the notes below the table: columns, p, the error that each threshold controls, abbreviations."""
    by_kind: dict[str, dict[str, None]] = {"main-effect": {}, "contrast": {}, "conjunction": {}}
    for result in results.values():
        for _, spec, _ in _listed(result):
            by_kind[model_of(result).kind][_kind_note(result, spec)] = None
    notes = [
        "One row per cluster: x, y, z (mm, MNI), Z and ALE at its peak; of a conjunction Z and ALE are the least of "
        "its maps.",
        *(sentence for kind in by_kind for sentence in by_kind[kind]),
    ]
    if table["p"].str.endswith(UNDECIDED).any():
        notes.append(
            f"{UNDECIDED} Undecided: so few iterations do not tell p from the level (confidence sequence, error "
            f"{EPS:g})."
        )
    if table["Region"].str.len().any():
        notes.append("Regions: AAL2 and Talairach Daemon at the peak; “near”: within 5 mm of it.")
    notes.append(
        "ALE, activation likelihood estimate; BA, Brodmann area; FWE, family-wise error; L, left; R, right; "
        "MNI, Montreal Neurological Institute."
    )
    return notes


def _kind_note(result: xr.Dataset, spec: MapSpec) -> str:
    """Return the note on the p of a kind of result, and on the error that its threshold controls."""
    attrs, i = result.attrs, model_of(result).inference
    if model_of(result).kind == "main-effect":
        correction, iterations = model_of(result).correction, f"{attrs['iterations']:,} iterations"
        of_cluster = f"p is of the cluster's {correction.short}, family-wise, from {iterations}; "
        p = of_cluster if correction.of_clusters else ""
        return f"Main effects: {p}controlled is the {controls(result, spec)}."
    if model_of(result).kind == "contrast":
        n = int(attrs["iterations"])
        relabellings = f"{n:,} relabellings{', which are all' if attrs['enumerated'] else ''}"
        least = 1 / n if attrs["enumerated"] or i.relabel_p == "share" else 1 / (1 + n)
        largest_z = f"{-special.ndtri(least):.2f}"
        return (
            f"Contrasts: p is of the peak, uncorrected, from {relabellings}, so that Z is at most {largest_z}; "
            f"of equal Z the peak is where the ALE maps differ most. Shown is {controls(result, spec)}."
        )
    verb = "Controlled" if spec.level == "voxel-fwe" else "Shown"
    return f"Conjunctions, {label(result, spec)}: no p. {verb} is the {controls(result, spec)}."
