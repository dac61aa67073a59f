"""Lay out the tables of the page: first columns first, as text, with the place in the brain of each row."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import xarray as xr

from ale_dask.coordinates.foci import n_foci, words_on
from ale_dask.coordinates.subject_groups import BETWEEN
from ale_dask.reporting.tables.anatomy import sided_words
from ale_dask.reporting.tables.headings import first_columns, heading
from ale_dask.reporting.tables.text import rows_of, text_of

LONG = 34
"""Cells of more characters than this are broken into lines."""
_ENDINGS = {".tsv": "TSV", ".nii.gz": "NIfTI", ".png": "PNG", ".svg": "SVG", ".html": "HTML", ".docx": "Word"}
PlaceOfRow = Callable[[dict[Any, Any]], str]
"""Takes a row to its place in a viewer, "" for none."""


def cells(
    table: pd.DataFrame,
    *,
    place_of_row: PlaceOfRow | None = None,
    by_mass: bool = False,
    links: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Return a table for the template: headings, rows of (text, whether long), and a place in a viewer for each row.

    "main" counts the columns that are shown before a reader asks for all; "go" is the column with the cluster's number;
    "links" are names and addresses of files beside the page. `by_mass` has the p and decision by mass among the first
    columns, not those by size.
    """
    text = text_of(table)
    # A column that is empty in all rows only takes width.
    shown = [c for c, of in text.items() if any(of)]
    first = first_columns(shown, by_mass=by_mass)
    shown = first + [c for c in shown if c not in first]
    if "AAL" in shown:
        text["AAL"] = [sided_words(label) for label in text["AAL"]]
    return {
        "columns": [heading(name) for name in shown],
        "rows": [[(text[c][i], len(text[c][i]) > LONG) for c in shown] for i in range(len(table))],
        "main": len(first),
        "go": next((shown.index(c) for c in ("Cluster ID", "cluster") if c in shown), 0),
        "places": [place_of_row(row) for row in rows_of(table)] if place_of_row else [""] * len(table),
        "links": links,
    }


def links_to(folder: Path, *paths: Path) -> list[tuple[str, str]]:
    """Return the kinds and addresses, relative to a page's folder, of those of some files that are there."""
    endings = ((path, next((name for end, name in _ENDINGS.items() if path.name.endswith(end)), "")) for path in paths)
    return [(name, quote(path.relative_to(folder).as_posix())) for path, name in endings if name and path.is_file()]


def peak_place(viewer: int, number: int, axes: str = "XYZ") -> PlaceOfRow:
    """Return the function that gives a row's place: number of the viewer, number of its map, and x, y, z in mm."""

    def place(row: dict[Any, Any]) -> str:
        mm = [row[axis] for axis in axes]
        # "none" has no peak.
        return "" if any(v != v for v in mm) else " ".join([str(viewer), str(number), *(f"{v:.2f}" for v in mm)])

    return place


def experiments_table(result: xr.Dataset) -> pd.DataFrame:
    """Return the experiments of a main effect (row: experiment) in the order of their names.

    Source files are named without their folders, which are private.
    """
    if "experiment_id" not in result:
        return pd.DataFrame()
    order = np.argsort(result["experiment_id"].values.astype(str), kind="stable")
    columns = {
        "Experiment": result["experiment_id"].values,
        "Subjects": result["experiment_n_subjects"].values,
        "Foci": n_foci(result),
        "n imputed": ["yes" if word else "" for word in words_on(result, "experiment_imputed")],
        "Converted from": _converted(result),
        "Pooled from": [word.replace(BETWEEN, "; ") for word in words_on(result, "experiment_pooled")],
        "Source": [str(s).replace("\\", "/").rsplit("/", 1)[-1] for s in result["experiment_source"].values],
    }
    return pd.DataFrame({c: np.asarray(v, dtype=object)[order] for c, v in columns.items()})


def _converted(result: xr.Dataset) -> list[str]:
    spaces = result["experiment_space"].values.astype(str).tolist()
    return ["Talairach" if space.startswith("TAL") else "" for space in spaces]


def image_size(image: bytes) -> tuple[int, int]:
    """Return width and height in the header of a PNG or an SVG, so that nothing moves while a page loads."""
    if image.startswith(b"\x89PNG"):
        width, height = struct.unpack(">II", image[16:24])
        return int(width), int(height)
    root = re.search(rb"<svg[^>]*>", image)
    edges = re.search(rb'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', root[0] if root else b"")
    return (round(float(edges[1])), round(float(edges[2]))) if edges else (0, 0)
