"""Write the table of a paper, a row per cluster, as HTML to paste into a word processor and as TSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import is_simulated, model_of
from ale_dask.analyses.main_effect import EPS
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.once import made_once
from ale_dask.reporting.common.presentation import presentation_of, presentations
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.tables.anatomy import area_words, region_words

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
        for direction, spec, table in presentation_of(result).listed(result):
            fixed = {"Analysis": mark, "Direction": direction, "Threshold": label(result, spec)}
            clusters = table[table["Cluster Size (mm3)"].notna()].to_dict("records")
            rows += [fixed | _row(row, result) for row in clusters] or [fixed | {"Region": "no cluster"}]
    return pd.DataFrame([dict.fromkeys(COLUMNS, "") | row for row in rows], columns=list(COLUMNS), dtype=object)


def _row(row: Mapping[Any, Any], result: xr.Dataset) -> dict[str, str]:
    correction = model_of(result).correction
    tested = model_of(result).kind == "main-effect" and correction.of_clusters
    p = f"p {correction.short} FWE" if tested else "p"
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
    by_kind: dict[str, dict[str, None]] = {shown.kind: {} for shown in presentations()}
    for result in results.values():
        for _, spec, _ in presentation_of(result).listed(result):
            by_kind[model_of(result).kind][presentation_of(result).note(result, spec)] = None
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
