"""Write the table of a paper as a Word document, with python-docx."""

from __future__ import annotations

import re
import zipfile
from datetime import datetime
from io import BytesIO
from typing import Any

from ale_dask.reporting.tables.paper import Printed

_FACE, _POINTS = "Arial", 8
_MARGIN_CM = 1.8
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""Characters that XML cannot hold."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first time that a zip archive can state: equal tables are then equal files, whenever they are written."""


def article_docx(table: Printed) -> bytes:
    """Return the table of a paper, with its notes, as the bytes of a Word document; needs python-docx."""
    from docx import Document
    from docx.enum.section import WD_ORIENT
    from docx.shared import Cm, Pt

    document = Document()
    section = document.sections[0]
    section.orientation = WD_ORIENT.LANDSCAPE
    section.page_width, section.page_height = Cm(29.7), Cm(21.0)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Cm(_MARGIN_CM)
    style = document.styles["Normal"]
    style.font.name, style.font.size = _FACE, Pt(_POINTS)  # type: ignore[attr-defined]
    style.paragraph_format.space_after = Pt(2)  # type: ignore[attr-defined]
    about = document.core_properties
    title = _UNPRINTABLE.sub("", table.title)
    about.title, about.author, about.comments = title, "", ""
    about.created = about.modified = datetime(*_EPOCH)
    caption = document.add_paragraph()
    caption.add_run("Table. ").bold = True
    if table.mark:
        caption.add_run(f"{table.mark}. ").bold = True
    caption.add_run(f"{title}.")
    _fill(document.add_table(rows=1, cols=len(table.columns)), table)
    notes = document.add_paragraph()
    notes.add_run("Notes. ").italic = True
    notes.add_run(" ".join(table.notes))
    out = BytesIO()
    document.save(out)
    return _dated(out)


def _fill(grid: Any, table: Printed) -> None:
    """Fill the rows of a table: a header that is repeated on each page, headings of groups, and cells."""
    _write(grid.rows[0], [name for name, _ in table.columns], table)
    for run in (run for cell in grid.rows[0].cells for p in cell.paragraphs for run in p.runs):
        run.bold = True
    _ruled(grid.rows[0], "top", "bottom")
    _repeated(grid.rows[0])
    for heading, rows in table.groups:
        cells = grid.add_row().cells
        cells[0].merge(cells[-1]).paragraphs[0].add_run(_UNPRINTABLE.sub("", heading)).italic = True
        for row in rows:
            _write(grid.add_row(), row, table)
    _ruled(grid.rows[-1], "bottom")


def _write(row: Any, texts: list[str], table: Printed) -> None:
    from docx.enum.text import WD_ALIGN_PARAGRAPH

    # Asking a row for its cells takes long.
    for cell, text, (_, number) in zip(row.cells, texts, table.columns, strict=True):
        paragraph = cell.paragraphs[0]
        paragraph.add_run(_UNPRINTABLE.sub("", text))
        paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT if number else WD_ALIGN_PARAGRAPH.LEFT


def _ruled(row: Any, *edges: str) -> None:
    """Draw lines at edges of a row's cells, which python-docx has no name for."""
    from docx.oxml import OxmlElement
    from docx.oxml.ns import qn

    for cell in row.cells:
        borders = OxmlElement("w:tcBorders")
        for edge in edges:
            line = OxmlElement(f"w:{edge}")
            for name, value in (("val", "single"), ("sz", "8"), ("color", "000000")):
                line.set(qn(f"w:{name}"), value)
            borders.append(line)
        cell._tc.get_or_add_tcPr().append(borders)


def _repeated(row: Any) -> None:
    from docx.oxml import OxmlElement

    row._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))


def _dated(document: BytesIO) -> bytes:
    """Return an archive with the same time in all its entries."""
    out = BytesIO()
    with zipfile.ZipFile(document) as read, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as written:
        for name in read.namelist():
            written.writestr(zipfile.ZipInfo(name, _EPOCH), read.read(name), zipfile.ZIP_DEFLATED)
    return out.getvalue()
