"""The table of a paper: what it lists, and that a word processor gets whole, escaped HTML."""

from __future__ import annotations

from html.parser import HTMLParser

import pandas as pd
import pytest
import xarray as xr
from test_results import EVIL, study  # noqa: F401

from ale_dask.results.article import COLUMNS, article_html, article_table
from ale_dask.results.tables import cluster_table, contrast_table

Study = dict[str, xr.Dataset]


class Table(HTMLParser):
    """Gathers a table's rows of cells, and that every tag is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_rows_are_the_clusters_of_the_tables(study: Study) -> None:  # noqa: F811
    table = article_table(study)
    assert tuple(table.columns) == COLUMNS
    mine = table[table["Analysis"] == "affect"]
    ours = cluster_table(study["affect"])
    ours = ours[ours["Cluster Size (mm3)"].notna()]
    assert len(ours) == 2
    assert mine["Volume (mm3)"].astype(float).tolist() == ours["Cluster Size (mm3)"].tolist()
    assert mine["ALE"].astype(float).tolist() == pytest.approx(ours["Peak ALE"].tolist(), abs=5e-5)
    assert mine["Side"].tolist() == ["L" if x < 0 else "R" for x in ours["X"]]
    found = contrast_table(study["contrast"], source="cluster-fwe")
    for direction, rows in found.groupby("Direction"):
        shown = table[table["Direction"] == direction]
        assert shown["Z"].astype(float).tolist() == pytest.approx(rows["Peak Stat"].abs().tolist(), abs=0.005)
    assert table[table["Analysis"] == "nowhere"]["Region"].tolist() == ["no cluster"]


def test_the_fragment_is_whole_escaped_and_marked(study: Study) -> None:  # noqa: F811
    html = Table(article_html(study, title=EVIL, simulated=True))
    assert html.open == []
    assert html.tags <= {"table", "caption", "strong", "thead", "tbody", "tr", "th", "td"}
    assert EVIL in html.text
    table = article_table(study, simulated=True)
    cells = [row for row in html.rows[1:] if len(row) > 1]
    assert cells == table[html.rows[0]].to_numpy().tolist()
    headings = [row[0] for row in html.rows if len(row) == 1]
    assert headings
    assert all(heading.startswith("SIMULATED DATA: ") for heading in headings)
    assert "SIMULATED" not in article_html(study, title="ours")
    assert isinstance(table, pd.DataFrame)
