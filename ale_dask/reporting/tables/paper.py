"""Make the table of a paper, a row per cluster: as text, as HTML to paste into a word processor, ready to print."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import is_simulated, model_of
from ale_dask.analyses.main_effect import EPS
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.map_spec import MapSpec
from ale_dask.reporting.common.once import kept, made_once
from ale_dask.reporting.common.presentation import presentation_of, presentations
from ale_dask.reporting.common.templates import template
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.tables.anatomy import area_words, region_words
from ale_dask.reporting.tables.contributions import contribution_table
from ale_dask.reporting.tables.text import rows_of

COLUMNS = (
    "Analysis",
    "Direction",
    "Cluster",
    "Region",
    "Brodmann area",
    "Nucleus",
    "Side",
    "Z",
    "ALE",
    "Share",
    "p",
    "x",
    "y",
    "z",
    "Volume (mm3)",
    "Contributors",
    "Threshold",
)
MIDLINE_MM = 2.0
"""A peak closer to x = 0 has no side."""
UNDECIDED = "†"
MINUS = "−"
_NUMBERS = frozenset(("Cluster", "Z", "ALE", "Share", "p", "x", "y", "z", "Volume (mm3)"))
_NAMED = 3
"""Contributors that a row names; the table of contributions has them all."""


@made_once
def article_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Return the clusters of a study as a paper lists them, as text ready to print; peaks in mm MNI.

    Each cluster has a row, followed by its sub-peaks, whose rows have no p and no volume. Main effects are at their
    primary correction, with the p of the cluster by size or mass and † if it is undecided; contrasts at their
    corrections and, below them, at the corrected input with the uncorrected p of the peak; conjunctions at the
    corrected input and of the voxel-FWE maps, without p. A direction without a cluster has a row "no cluster".
    """
    rows: list[dict[str, str]] = []
    for name, result in results.items():
        mark = f"{SIMULATED}: {name}" if model_of(result).simulated else name
        alone = model_of(result).kind == "main-effect"
        own = article_rows(result) if alone else _rows(result, _contributors(result, results))
        rows += [{"Analysis": mark, **row} for row in own]
    # Only subsamples have shares.
    columns = [c for c in COLUMNS if c != "Share" or any(row.get(c) for row in rows)]
    return pd.DataFrame([dict.fromkeys(columns, "") | row for row in rows], columns=columns, dtype=object)


@kept
def article_rows(result: xr.Dataset) -> list[dict[str, str]]:
    """Return the rows of a main effect in `article_table`, without its name."""
    return _rows(result, _contributors(result, {str(result.attrs["name"]): result}))


def _rows(result: xr.Dataset, contributors: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the rows of an analysis in the table of a paper, without its name."""
    rows: list[dict[str, str]] = []
    for direction, spec, table in presentation_of(result).listed(result):
        fixed = {"Direction": direction, "Threshold": label(result, spec)}
        named = contributors if _is_shown(result, spec) else {}
        clusters = [_row(row, result, spec, named) for row in rows_of(table)]
        rows += [fixed | row for row in clusters] or [fixed | {"Region": "no cluster"}]
    return rows


def _is_shown(result: xr.Dataset, spec: MapSpec) -> bool:
    """Return whether the clusters of a map are those whose contributions are computed."""
    return spec.level == model_of(result).shown_level(INPUTS[0]) and spec.source in ("", INPUTS[0])


def _contributors(result: xr.Dataset, results: Mapping[str, xr.Dataset]) -> dict[str, str]:
    """Return by cluster how many experiments have a focus inside and which have the largest shares, arm by arm."""
    arms = model_of(result).parts
    if not set(arms) <= set(results):
        return {}
    words: dict[str, list[str]] = {}
    table = contribution_table(result, results)
    for (number, arm), rows in table[table["Foci"] > 0].groupby(["Cluster ID", "Arm"], sort=False):
        largest = rows.sort_values("Share (%)", ascending=False, kind="stable").head(_NAMED).to_dict("records")
        names = ", ".join(f"{row['Experiment']} ({row['Share (%)']:.0f} %)" for row in largest)
        of_arm = f"{arm} " if len(arms) > 1 else ""
        words.setdefault(str(number), []).append(f"{of_arm}{len(rows)}: {names}")
    return {number: "; ".join(parts) for number, parts in words.items()}


def _row(row: Mapping[Any, Any], result: xr.Dataset, spec: MapSpec, contributors: Mapping[str, str]) -> dict[str, str]:
    p, decision = _tests(result, spec)
    x, volume = float(row["X"]), row["Cluster Size (mm3)"]
    peak = volume == volume
    return {
        "Cluster": str(row["Cluster ID"]),
        "Region": region_words(row["AAL"]) if isinstance(row["AAL"], str) else "",
        "Brodmann area": area_words(row["Brodmann Area"]) if isinstance(row["Brodmann Area"], str) else "",
        "Nucleus": area_words(row["Nucleus"]) if isinstance(row["Nucleus"], str) else "",
        "Side": "" if abs(x) < MIDLINE_MM else "L" if x < 0 else "R",
        # Z has no sign, since the direction is a column of its own.
        "Z": _number(abs(row.get("Peak Stat", math.nan)), "{:.2f}"),
        "ALE": _number(row.get("Peak ALE"), "{:.4f}"),
        "Share": _number(row.get("Peak Share"), "{:.2f}"),
        "p": _p(row.get(p)) + (UNDECIDED if row.get(decision) == "undecided" else "") if peak else "",
        **{axis: f"{round(row[axis.upper()]) + 0:d}" for axis in "xyz"},
        "Volume (mm3)": f"{volume:.0f}" if peak else "",
        "Contributors": contributors.get(str(row["Cluster ID"]), "") if peak else "",
    }


def _tests(result: xr.Dataset, spec: MapSpec) -> tuple[str, str]:
    """Return the columns of p and of the decision on it; none for a decision that the table has not."""
    correction = model_of(result).correction
    if model_of(result).kind == "main-effect" and correction.of_clusters:
        return f"p {correction.short} FWE", correction.decision_column
    return "p", {"size-fwe": "decision", "mass-fwe": "decision mass"}.get(spec.level, "")


def _number(value: Any, pattern: str) -> str:
    return "" if value is None or value != value else pattern.format(value)


def _p(value: Any) -> str:
    if value is None or value != value:
        return ""
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


@dataclass(frozen=True)
class Printed:
    """The table of a paper ready to print: columns, groups of rows under a heading, notes, and a mark of simulation."""

    title: str
    mark: str
    columns: list[tuple[str, bool]]
    """The name of each column, and whether it holds numbers."""
    groups: list[tuple[str, list[list[str]]]]
    notes: list[str]


def printed(results: Mapping[str, xr.Dataset], *, title: str) -> Printed:
    """Return the table of a paper ready to print; columns that are empty in all rows are left out."""
    table = article_table(results)
    shown = [c for c in table.columns if c not in ("Analysis", "Direction", "Threshold") and (table[c] != "").any()]
    cells = table[shown].map(_printed)
    return Printed(
        title,
        SIMULATED if is_simulated(*results.values()) else "",
        [(c.replace("mm3", "mm³"), c in _NUMBERS) for c in shown],
        [
            (_heading(*map(str, key)), cells.loc[rows.index].to_numpy().tolist())
            for key, rows in table.groupby(["Analysis", "Direction", "Threshold"], sort=False)
        ],
        _notes(results, table),
    )


def article_html(results: Mapping[str, xr.Dataset], *, title: str) -> str:
    """Return the table of a paper, with its notes, as an HTML page to copy into a word processor; needs jinja2.

    Every element has its own style, because word processors drop all others.
    """
    return template("table.html.j2").render(table=printed(results, title=title))


def _printed(cell: str) -> str:
    """Return a cell with a true minus, and "< .001" with its space."""
    return cell.replace("<.", "< .") if not cell.startswith("-") else f"{MINUS}{cell[1:]}"


def _heading(analysis: str, direction: str, threshold: str) -> str:
    name = analysis.removesuffix("_pooled") + ", both arms pooled" if analysis.endswith("_pooled") else analysis
    return f"{': '.join(part for part in (name, direction) if part)} ({threshold})"


@kept
def article_notes(result: xr.Dataset) -> list[str]:
    """Return what the notes below the table say of each map of a result."""
    return [presentation_of(result).note(result, spec) for _, spec, _ in presentation_of(result).listed(result)]


def _notes(results: Mapping[str, xr.Dataset], table: pd.DataFrame) -> list[str]:
    """Return the notes below the table: columns, p, the error that each threshold controls, abbreviations."""
    by_kind: dict[str, dict[str, None]] = {shown.kind: {} for shown in presentations()}
    for result in results.values():
        by_kind[model_of(result).kind] |= dict.fromkeys(article_notes(result))
    notes = [
        "One row per cluster, followed by its sub-peaks (1a, 1b): x, y, z (mm, MNI), Z and ALE at the peak; of a "
        "conjunction Z and ALE are the least of its maps.",
        *(sentence for kind in by_kind for sentence in by_kind[kind]),
    ]
    if table["p"].str.endswith(UNDECIDED).any():
        notes.append(
            f"{UNDECIDED} Undecided: so few iterations do not tell p from the level (confidence sequence, error "
            f"{EPS:g})."
        )
    if table["Region"].str.len().any():
        notes.append("Regions: AAL2 and Talairach Daemon at the peak; “near”: the nearest within 5 mm, and how far.")
    if table["Contributors"].str.len().any():
        notes.append(
            "Contributors: number of experiments with a focus inside the cluster, and which of them have the largest "
            "shares of its ALE."
        )
    notes.append(
        "ALE, activation likelihood estimate; FWE, family-wise error; L, left; R, right; "
        "MNI, Montreal Neurological Institute."
    )
    return notes
