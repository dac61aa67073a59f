"""The table of a paper: what it lists, and that a word processor gets whole, escaped HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from io import BytesIO

import pandas as pd
import pytest
import xarray as xr
from support.samples import EVIL

from ale_dask.analyses.findings.atlas import atlas
from ale_dask.reporting.tables.anatomy import area_words, region_words
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.tables.comparisons import contrast_table
from ale_dask.reporting.tables.paper import COLUMNS, MINUS, UNDECIDED, article_html, article_table, printed
from ale_dask.reporting.tables.word import article_docx

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
        if tag not in ("meta", "br"):
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


def test_rows_are_the_clusters_of_the_tables(study: Study) -> None:
    table = article_table(study)
    # Only subsamples have shares.
    assert table.columns.tolist() == [column for column in COLUMNS if column != "Share"]
    mine = table[table["Analysis"] == "affect"]
    ours = cluster_table(study["affect"])
    assert mine["Cluster"].tolist() == ours["Cluster ID"].tolist()
    assert (ours["Cluster Size (mm3)"].notna()).sum() == 2
    volumes = pd.to_numeric(mine["Volume (mm3)"])
    pd.testing.assert_series_equal(
        volumes, ours["Cluster Size (mm3)"], check_names=False, check_index=False, check_dtype=False
    )
    # Sub-peaks have no p and no contributors of their own.
    sub = mine["Volume (mm3)"] == ""
    assert (mine[sub][["p", "Contributors"]] == "").to_numpy().all()
    assert (mine[~sub][["p", "Contributors"]] != "").to_numpy().all()
    assert mine["ALE"].astype(float).tolist() == pytest.approx(ours["Peak ALE"].tolist(), abs=5e-5)
    assert mine["Side"].tolist() == ["L" if x < 0 else "R" for x in ours["X"]]
    found = contrast_table(study["contrast"], source="cluster-fwe")
    of_contrast = table[table["Analysis"] == "contrast"]
    corrected = of_contrast["Threshold"].str.contains("FWE p")
    assert corrected.any()
    # What is corrected stands above what is not.
    assert corrected.tolist() == sorted(corrected, reverse=True)
    for direction, rows in found.groupby("Direction"):
        shown = of_contrast[~corrected & (of_contrast["Direction"] == direction)]
        assert shown["Contributors"].str.contains(rf"{direction.split()[0]} [1-9]\d*: \S").all()
        assert shown["Z"].astype(float).tolist() == pytest.approx(rows["Peak Stat"].abs().tolist(), abs=0.005)
    # A conjunction has the overlap of the corrected maps and, beside it, that of the voxel-FWE maps.
    nowhere = table[table["Analysis"] == "nowhere"]
    assert nowhere["Region"].tolist() == ["no cluster"] * 2
    assert nowhere["Threshold"].tolist() == [f"overlap of the maps at {what} FWE" for what in ("cluster-size", "voxel")]


def test_undecided_clusters_are_marked_and_explained(study: Study) -> None:
    # 201 * .95^200 is more than .001: 200 iterations leave every cluster undecided.
    table = article_table(study)
    main = table[(table["ALE"] != "") & (table["Direction"] == "") & (table["Volume (mm3)"] != "")]
    assert main["p"].str.endswith(UNDECIDED).all()
    assert not table[table["Direction"] != ""]["p"].str.endswith(UNDECIDED).any()
    assert f"{UNDECIDED} Undecided" in article_html(study, title="ours")


def test_the_fragment_is_whole_escaped_and_marked(study: Study, marked: Study) -> None:
    html = Table(article_html(marked, title=EVIL))
    assert html.open == []
    page = {"html", "head", "meta", "title", "body", "div", "p", "em", "strong", "br"}
    assert html.tags <= page | {"table", "thead", "tbody", "tr", "th", "td"}
    assert EVIL in html.text
    table = article_table(marked)
    cells = [row for row in html.rows[1:] if len(row) > 1]
    columns = [name.replace("mm³", "mm3") for name in html.rows[0]]
    empty = {name for name in COLUMNS if name not in table or not (table[name] != "").any()}
    assert set(columns) == set(COLUMNS) - {"Analysis", "Direction", "Threshold"} - empty
    plain = [[cell.replace(MINUS, "-").replace("< .", "<.") for cell in row] for row in cells]
    assert plain == table[columns].to_numpy().tolist()
    headings = [row[0] for row in html.rows if len(row) == 1]
    assert headings
    assert all(heading.startswith("SIMULATED DATA: ") for heading in headings)
    assert "SIMULATED" not in article_html(study, title="ours")
    assert isinstance(table, pd.DataFrame)


def test_every_cell_brings_its_own_style(study: Study) -> None:
    # Word processors keep no style sheet and no class of what is pasted.
    html = article_html(study, title="ours")
    assert "<style" not in html
    assert "class=" not in html
    # A browser gives the style of a table's <body> to the whole page that shows the table.
    assert "<body>" in html
    assert len(re.findall(r"<t[hd] (?![^>]*style=)", html)) == len(re.findall(r"<t[hd]>", html)) == 0


def test_a_word_document_holds_the_same_table(marked: Study) -> None:
    from docx import Document

    table = printed(marked, title=f"{EVIL}\x07")
    data = article_docx(table)
    assert data == article_docx(table)
    document = Document(BytesIO(data))
    (grid,) = document.tables
    rows = [[cell.text for cell in row.cells] for row in grid.rows]
    assert rows[0] == [name for name, _ in table.columns]
    expected = [row for heading, listed in table.groups for row in ([heading] * len(table.columns), *listed)]
    assert rows[1:] == expected
    text = "\n".join(paragraph.text for paragraph in document.paragraphs)
    assert f"SIMULATED DATA. {EVIL}" in text
    assert all(note in text for note in table.notes)


def test_the_notes_say_what_p_is_and_what_is_controlled(study: Study) -> None:
    html = article_html(study, title="ours")
    assert "Main effects: p is of the cluster&#39;s size, family-wise, from 200 iterations" in html
    assert "it does not say which of its voxels are active" in html
    assert "Contrasts, uncorrected: p is of the peak, uncorrected" in html
    assert "p is of the peak, family-wise, from" in html
    assert "nothing here is corrected for multiple comparisons" in html
    assert "Conjunctions, overlap of the maps at voxel FWE: no p." in html


def test_every_label_of_the_atlases_has_words_without_side_or_abbreviation() -> None:
    for name in atlas("AAL").names.values():
        words = region_words(name)
        assert words[0].isupper()
        assert not re.search(r" [LR]$|gyrus.* 2$|Sup\b|Inf\b|Mid\b|Ant\b|Oper\b|OFC", words), words
        assert region_words(f"near {name}").casefold() == f"near {words}".casefold()
    areas = [area_words(name) for name in atlas("Brodmann Area").names.values()]
    assert {"9", "Amygdala", "Medial globus pallidus"} <= set(areas)
    assert not any("rodmann" in words for words in areas)
    assert region_words("Cerebelum 4 5 L") == "Cerebellum, lobules 4-5"
    assert area_words("near Brodmann area 9 (2 mm)") == "near 9 (2 mm)"
    assert region_words("near Rectus L (2 mm)") == "near gyrus rectus (2 mm)"
