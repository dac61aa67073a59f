"""Write the page of a sweep: what it found in sentences, maps of stability, and the table of its places."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.figures.viewer_layers import Backdrop
from ale_dask.reporting.html.page import PAGE
from ale_dask.reporting.html.rendering import rendered
from ale_dask.reporting.html.viewer import Viewers
from ale_dask.reporting.sensitivity.stability import Stability, words_on
from ale_dask.reporting.sensitivity.sweep_clusters import SweepPlaces, table_of_places
from ale_dask.reporting.tables.page_tables import cells, image_size, links_to
from ale_dask.storage.location import replace_file


@dataclass(frozen=True)
class SweepPage:
    """What the page of a sweep shows beside its places and maps.

    `record` is the content of sweep.json, `figures` are titles and paths of SVG files in the page's folder.
    """

    record: Mapping[str, Any]
    sentences: Sequence[str]
    figures: Sequence[tuple[str, Path]]
    backdrop: Backdrop | None = None


def write_sweep_page(page: SweepPage, sweeps: Sequence[SweepPlaces], stability: Stability, folder: Path) -> Path:
    """Write report.html of a sweep into its folder, in which its other files lie already, and return its path."""
    viewers = Viewers(page.backdrop)
    number_of: dict[str, int] = {}
    at: dict[tuple[str, str], int] = {}
    maps = sorted((folder / "stability").glob("*.nii.gz"))
    for grid, mask, shares in stability.by_grid():
        number_of[grid] = viewers.add_shares(f"stability on grid {grid}", shares, mask=mask)
        at |= {(grid, words): number for number, words in enumerate(shares)}

    def place_of_row(row: dict[Any, Any]) -> str:
        words = words_on(row["Direction"] or row["Analysis"], INPUTS[0])
        mm = " ".join(f"{row[axis]:.2f}" for axis in "XYZ")
        return f"{number_of[row['Grid']]} {at[row['Grid'], words]} {mm}"

    record = page.record
    text = rendered(
        "sweep.html.j2",
        title=record["title"],
        simulated=record["simulated"],
        sentences=page.sentences,
        places=cells(
            table_of_places(sweeps), place_of_row=place_of_row, links=links_to(folder, folder / "robustness.tsv")
        ),
        shown=sorted(number_of.values()),
        maps=[(path.name.removesuffix("_stability.nii.gz"), *link) for path in maps for link in links_to(folder, path)],
        figures=[_figure(title, path, folder) for title, path in page.figures],
        combinations=cells(_combinations(record), links=links_to(folder, folder / "sweep.tsv")),
        facts=_facts(record),
        viewers=viewers.as_json(),
        blobs=viewers.blobs(),
    )
    replace_file(folder / PAGE, text)
    return folder / PAGE


def _figure(title: str, path: Path, folder: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "title": title,
        "data": base64.b64encode(data).decode(),
        "size": image_size(data),
        "links": links_to(folder, path),
    }


def _combinations(record: Mapping[str, Any]) -> pd.DataFrame:
    """Return the combinations (row) with their settings, and why some could not be run."""
    rows = [{"Combination": label, **cell["values"], "Run": "yes"} for label, cell in record["cells"].items()]
    rows += [{"Combination": label, "Run": why} for label, why in record["failed"].items()]
    return pd.DataFrame(rows).fillna("")


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    program = record["program"]
    return [
        ("Program", f"{program['name']} {program['version']}"),
        ("Nulls", f"{record['nulls']:,} in {len(record['passes']):,} passes over random draws"),
        *((axis, words) for axis, words in record["shares"].items()),
        ("Wall time, last sweep or collect", f"{record['wall_seconds']:,.0f} s"),
    ]
