"""Show results in a notebook: the map of what survives, and the table of its clusters."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import Results, by_name, model_of
from ale_dask.reporting.common.extra import PICTURES, available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import MapSpec
from ale_dask.reporting.common.presentation import presentation_of
from ale_dask.reporting.common.wording import label, notes
from ale_dask.reporting.figures.print.plot import plot_map
from ale_dask.reporting.tables.columns import FIRST_ON_PAGE
from ale_dask.reporting.tables.text import formatted


@dataclass(frozen=True, eq=False)
class ShownResults:
    """Results that a notebook shows as pictures and tables, and a terminal as tables."""

    results: Mapping[str, xr.Dataset]

    def __repr__(self) -> str:
        lines = []
        for name, result in self.results.items():
            for heading, _, table in _tables(name, result):
                lines += [heading, "no cluster" if table.empty else table.to_string(index=False), ""]
            lines += [f"Note: {note}" for note in notes(result)]
        return "\n".join(lines).rstrip()

    def _repr_html_(self) -> str:
        return "".join(_section(name, result, self.results) for name, result in self.results.items())


def show(results: Results) -> ShownResults:
    """Return results in a form that a notebook shows: a picture of the map and the table of clusters of each.

    Parameters
    ----------
    results
        What `main_effect`, `contrast` and `conjunction` return: one or several.

    Returns
    -------
    ShownResults
        With slices of what survives the primary correction (they need the extra [report]), the clusters as a paper
        lists them, and what a reader must know of each result. Printed, it is the tables as text.

    Raises
    ------
    InputError
        When something else is given, or two results have one name.

    Examples
    --------
    >>> result = ale.main_effect(ale.read_foci("drug.txt"), name="drug", mask="ball.nii.gz", iterations=60, seed=1)
    >>> print(repr(ale.show(result)).splitlines()[0])
    drug · cluster-size FWE p ≤ 0.05, cluster-forming p < 0.001
    """
    return ShownResults(by_name(results))


def _tables(name: str, result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    """Yield the heading, the map and the first columns of the table of each part of a result that a paper lists."""
    mark = f"{SIMULATED} · " if model_of(result).simulated else ""
    for direction, spec, table in presentation_of(result).listed(result):
        text = formatted(table)
        columns = [c for c in FIRST_ON_PAGE if c in text and (text[c] != "").any()]
        yield f"{mark}{direction or name} · {label(result, spec)}", spec, text[columns]


def _section(name: str, result: xr.Dataset, study: Mapping[str, xr.Dataset]) -> str:
    parts = list(_tables(name, result))
    html = [_picture(result, study)] if any(not table.empty for *_, table in parts) and available(*PICTURES) else []
    for heading, _, table in parts:
        found = "<p>no cluster</p>" if table.empty else table.to_html(index=False, border=0)
        html.append(f"<h4>{escape(heading)}</h4>{found}")
    html += [f"<p>{escape(note)}</p>" for note in notes(result)]
    return f"<section>{''.join(html)}</section>"


def _picture(result: xr.Dataset, study: Mapping[str, xr.Dataset]) -> str:
    figure = plot_map(result, study=study)
    data = base64.b64encode(figure._repr_png_()).decode()
    image = f'<img src="data:image/png;base64,{data}" alt="{escape(figure.alt)}" style="max-width: 100%">'
    return f"<figure>{image}<figcaption>{escape(figure.alt)}</figcaption></figure>"
