"""The table of a paper: main effects, contrasts and conjunctions, a row per cluster, as HTML to paste and as TSV."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.main_effect import inference_of
from ale_dask.results.maps import SIMULATED
from ale_dask.results.tables import cluster_table, conjunction_table, contrast_table, directions
from ale_dask.results.views import find_view
from ale_dask.results.wording import label
from ale_dask.words.config import INPUTS

COLUMNS = ("Analysis", "Direction", "Region", "BA", "Side", "Z", "ALE", "p", "x", "y", "z", "Volume (mm3)", "Threshold")
MIDLINE_MM = 2.0
"""A peak this near x = 0 is on neither side."""
_P_WORDS = {
    "main-effect": "cluster-level family-wise p",
    "contrast": "uncorrected p at the peak",
}


def article_table(results: Mapping[str, xr.Dataset], *, simulated: bool = False) -> pd.DataFrame:
    """Return the clusters of a study as a paper lists them, text ready to print, one row each; peaks in mm MNI.

    Main effects at their primary correction, p of the cluster by its size, or mass where that is the correction;
    contrasts at the corrected input with the uncorrected p of the peak; conjunctions at the corrected input, without
    p. A direction without any cluster has a row that says so.
    """
    rows: list[dict[str, str]] = []
    for name, result in results.items():
        kind = result.attrs["kind"]
        mark = f"{SIMULATED}: {name}" if simulated else name
        for direction, threshold, found in _found(result):
            fixed = {"Analysis": mark, "Direction": direction, "Threshold": threshold}
            kept = found[found["Cluster Size (mm3)"].notna()].to_dict("records")
            rows += [fixed | _row(row, result, kind) for row in kept] or [fixed | {"Region": "no cluster"}]
    return pd.DataFrame([dict.fromkeys(COLUMNS, "") | row for row in rows], columns=list(COLUMNS), dtype=object)


def _found(result: xr.Dataset) -> list[tuple[str, str, pd.DataFrame]]:
    kind, source = result.attrs["kind"], INPUTS[0]
    if kind == "main-effect":
        view = find_view(result, level=inference_of(result).correction)
        return [("", label(result, view), cluster_table(result))]
    if kind == "conjunction":
        view = find_view(result, level="thresholded", source=source)
        return [(directions(result)[0], label(result, view), conjunction_table(result, source=source))]
    view, table = find_view(result, level="uncorrected", source=source), contrast_table(result, source=source)
    return [(d, label(result, view), table[table["Direction"] == d]) for d in directions(result)]


def _row(row: Mapping[Any, Any], result: xr.Dataset, kind: str) -> dict[str, str]:
    correction = inference_of(result).correction
    p = {
        "main-effect": {"cluster-size": "p size FWE", "cluster-mass": "p mass FWE"}.get(correction, ""),
        "contrast": "p",
    }.get(kind, "")
    ba = str(row["Brodmann Area"]) if isinstance(row["Brodmann Area"], str) else ""
    x = float(row["X"])
    return {
        "Region": str(row["AAL"]) if isinstance(row["AAL"], str) else "",
        "BA": ba.replace("Brodmann area ", ""),
        "Side": "" if abs(x) < MIDLINE_MM else "L" if x < 0 else "R",
        # The direction is a column of its own.
        "Z": f"{abs(row['Peak Stat']):.2f}",
        "ALE": _number(row.get("Peak ALE"), "{:.4f}"),
        "p": _p(row.get(p)),
        **{axis: f"{round(row[axis.upper()]) + 0:d}" for axis in "xyz"},
        "Volume (mm3)": f"{row['Cluster Size (mm3)']:.0f}",
    }


def _number(value: Any, pattern: str) -> str:
    return "" if value is None or value != value else pattern.format(value)


def _p(value: Any) -> str:
    if value is None or value != value:
        return ""
    return "<.001" if value < 0.001 else f"{value:.3f}"


def article_html(results: Mapping[str, xr.Dataset], *, title: str, simulated: bool = False) -> str:
    """Return the same table as an HTML fragment to paste into a word processor; needs jinja2."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    table = article_table(results, simulated=simulated)
    # Names come from users' files: everything is escaped.
    environment = Environment(loader=PackageLoader("ale_dask.results"), autoescape=True, undefined=StrictUndefined)
    shown = [c for c in COLUMNS if c not in ("Analysis", "Direction", "Threshold")]
    groups = [
        {"heading": " · ".join(str(part) for part in key if part), "rows": rows[shown].to_numpy().tolist()}
        for key, rows in table.groupby(["Analysis", "Direction", "Threshold"], sort=False)
    ]
    return environment.get_template("table.html.j2").render(
        title=title, mark=SIMULATED if simulated else "", columns=shown, groups=groups, notes=list(_P_WORDS.values())
    )
