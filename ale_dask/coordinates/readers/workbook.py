"""Excel workbooks (.xlsx): the sheets that hold tables of foci, as rows of text."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from itertools import islice
from typing import Any

from ale_dask.coordinates.decisions import Decision, Tell, untold
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers import table
from ale_dask.coordinates.readers.columns import REQUIRED
from ale_dask.coordinates.readers.packed import FREE, MOST, limit
from ale_dask.coordinates.readers.text import clean, shown
from ale_dask.errors import InputError

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Excel's own number of rows; of its 16,384 columns a table needs few, and each takes its place in every row.
_MOST_ROWS = 1 << 20
_MOST_COLUMNS = 256
_LISTED = 10

Sheet = tuple[str, Iterator[table.Row]]


def is_workbook(data: bytes) -> bool:
    """Return whether the bytes begin as those of a workbook, old or new."""
    return data.startswith((ZIP, OLE))


def parse_workbook(
    data: bytes,
    *,
    name: str,
    space: str | None = None,
    columns: Mapping[str, str] | None = None,
    tell: Tell = untold,
) -> tuple[Experiment, ...]:
    """Return the experiments of all sheets with a table of foci, each as `parse_table` reads it, or a sheet of JALE's.

    The header may stand below some rows of titles. What is left out, rows and sheets, is told.

    Raises
    ------
    InputError
        with file:sheet:row, for whatever cannot be read, and for a workbook without such a sheet.
    """
    done: list[Experiment] = []
    read, left, titles = [], [], []
    with sheets(data, name=name) as found:
        for title, rows in found:
            titles.append(title)
            above: list[str] = []
            header = _header(rows, above=above, columns=columns)
            if header is None:
                left += [title] if above else []
                continue
            file = f"{name}:{title}"
            if above:
                tell(table.titles_left(file, above))
            number, cells = header
            done += table.parse_rows(cells, rows, file=file, number=number, space=space, columns=columns, tell=tell)
            read.append(title)
    if not read:
        raise InputError(
            f"{name}: no sheet begins with the columns {', '.join(REQUIRED)}; "
            f"its sheets are {', '.join(map(shown, titles)) or 'none'}"
        )
    if len(read) > 1:
        said = ", ".join(map(shown, read))
        text = f"the foci of {len(read)} sheets were read: {said}; delete those that are not meant"
        tell(Decision("several-sheets", name, text, len(read)))
    if left:
        said = ", ".join(map(shown, left[:_LISTED])) + (" …" if len(left) > _LISTED else "")
        tell(
            Decision("sheets-left", name, f"{len(left)} sheet(s) without a table of foci were left: {said}", len(left))
        )
    return tuple(done)


def _header(
    rows: Iterator[table.Row], *, above: list[str], columns: Mapping[str, str] | None
) -> tuple[int, Sequence[str]] | None:
    """Return the number and the cells of the first row that is the header of a table; what stands above is appended."""
    for number, cells in rows:
        if not any(map(clean, cells)):
            continue
        if table.is_header(cells, columns):
            return number, cells
        above.append(", ".join(c for c in map(clean, cells) if c))
        if len(above) > table.TITLES:
            return None
    return None


@contextmanager
def sheets(data: bytes, *, name: str) -> Iterator[Iterator[Sheet]]:
    """Yield the sheets of a workbook's bytes: title, and rows of text with their numbers from 1.

    Raises
    ------
    InputError
        for bytes that are not such a workbook, and for one that unpacks to more than 16 MB and 20 times its size.
    """
    if data.startswith(OLE):
        raise InputError(f"{name}: an old (.xls) or an encrypted workbook; save it as .xlsx without a password")
    _refuse_traps(data, name=name)
    from openpyxl import load_workbook

    with _said(name):
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    try:
        yield ((str(sheet.title), _rows(sheet, name=name)) for sheet in book.worksheets)
    finally:
        book.close()


@contextmanager
def _said(name: str) -> Iterator[None]:
    """Turn whatever openpyxl raises of a damaged workbook (KeyError, TypeError, ParseError …) into an InputError."""
    with warnings.catch_warnings():
        # It also tells of what it leaves out: styles, drop-down lists, pictures.
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise InputError(f"{name}: the workbook cannot be read ({shown(reason)}); save it anew as .xlsx") from error


def _rows(sheet: Any, *, name: str) -> Iterator[table.Row]:
    found = sheet.iter_rows(max_row=_MOST_ROWS, max_col=_MOST_COLUMNS + 1, values_only=True)
    before, number = None, 0
    for row in _unbroken(found, name=name):
        number += 1
        # For rows that a sheet leaves out, openpyxl gives the same tuple of None again: there may be a million.
        if row is before:
            continue
        before, end = row, len(row)
        while end and row[end - 1] is None:
            end -= 1
        if end > _MOST_COLUMNS:
            raise InputError(f"{name}:{sheet.title}:{number}: more than {_MOST_COLUMNS} columns; save the table as CSV")
        yield number, [_text(cell) for cell in row[:end]]


def _unbroken(rows: Iterator[Any], *, name: str) -> Iterator[Any]:
    while True:
        with _said(name):
            some = list(islice(rows, 256))
        yield from some
        if not some:
            return


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, datetime) and (cell.hour, cell.minute, cell.second) == (0, 0, 0):
        return date.isoformat(cell)
    return repr(cell) if isinstance(cell, float) else str(cell)


def _refuse_traps(data: bytes, *, name: str) -> None:
    """Refuse what a workbook can hold to exhaust memory: contents far beyond its size, and entities in its XML."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            # zipfile reads no more of a member than is declared here.
            if sum(member.file_size for member in members) > limit(len(data)):
                raise InputError(
                    f"{name}: unpacks to more than {limit(len(data)):,} bytes, {MOST} times its size and "
                    f"{FREE >> 20} MB; save the table as CSV"
                )
            for member in members:
                # Excel writes none. NUL bytes are those of UTF-16.
                if b"<!DOCTYPE" in archive.read(member).replace(b"\0", b""):
                    raise InputError(f"{name}: {shown(member.filename)} declares entities; save the table as CSV")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: the workbook is damaged ({error}); save it anew as .xlsx") from error
