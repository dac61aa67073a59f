"""Excel workbooks (.xlsx): the sheets that hold tables of foci, as rows of text."""

from __future__ import annotations

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from itertools import islice
from typing import Any

from ale_dask.coordinates.decisions import Decision
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers import table
from ale_dask.coordinates.readers.columns import REQUIRED
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.packed import FREE_BYTES, MAX_RATIO, limit
from ale_dask.coordinates.readers.text import clean, shown
from ale_dask.errors import InputError

ZIP = b"PK\x03\x04"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# The number of rows of Excel; of its 16,384 columns a table needs few, and each takes memory in every row.
_MAX_ROWS = 1 << 20
_MAX_COLUMNS = 256
_LISTED = 10

Sheet = tuple[str, Iterator[table.Row]]


def is_workbook(data: bytes) -> bool:
    """Return whether bytes begin as a workbook does, .xlsx or .xls."""
    return data.startswith((ZIP, OLE))


def recognises(file: FociFile) -> bool:
    """Return whether a file begins as a workbook does."""
    return is_workbook(file.content)


def read(file: FociFile) -> tuple[Experiment, ...]:
    """Return the experiments of all sheets of a workbook with a table of foci, each read by `table.parse_rows`.

    The header may stand below some rows of titles. `file.tell` is told which rows and sheets are left out.

    Raises
    ------
    InputError
        with file:sheet:row, for rows that cannot be read, and for a workbook without a table of foci.
    """
    experiments: list[Experiment] = []
    used, left_out, titles = [], [], []
    with sheets(file.content, name=file.name) as all_sheets:
        for title, rows in all_sheets:
            titles.append(title)
            above: list[str] = []
            header = _header(rows, above=above, columns=file.columns)
            if header is None:
                left_out += [title] if above else []
                continue
            sheet = replace(file, name=f"{file.name}:{title}")
            if above:
                file.tell(table.titles_left(sheet.name, above))
            number, cells = header
            experiments += table.parse_rows(cells, rows, number=number, file=sheet)
            used.append(title)
    if not used:
        raise InputError(
            f"{file.name}: no sheet begins with the columns {', '.join(REQUIRED)}; "
            f"its sheets are {', '.join(map(shown, titles)) or 'none'}"
        )
    _tell_sheets(used, left_out, file=file)
    return tuple(experiments)


def _tell_sheets(used: Sequence[str], left_out: Sequence[str], *, file: FociFile) -> None:
    if len(used) > 1:
        listed = ", ".join(map(shown, used))
        text = f"the foci of {len(used)} sheets were read: {listed}; delete those that are not meant"
        file.tell(Decision("several-sheets", file.name, text, len(used)))
    if left_out:
        listed = ", ".join(map(shown, left_out[:_LISTED])) + (" …" if len(left_out) > _LISTED else "")
        text = f"{len(left_out)} sheet(s) without a table of foci were left: {listed}"
        file.tell(Decision("sheets-left", file.name, text, len(left_out)))


def _header(
    rows: Iterator[table.Row], *, above: list[str], columns: Mapping[str, str] | None
) -> tuple[int, Sequence[str]] | None:
    """Return the number and the cells of the header of a table; rows above it are appended to `above`."""
    for number, cells in rows:
        if not any(map(clean, cells)):
            continue
        if table.is_header(cells, columns):
            return number, cells
        above.append(", ".join(c for c in map(clean, cells) if c))
        if len(above) > table.MAX_TITLES:
            return None
    return None


@contextmanager
def sheets(data: bytes, *, name: str) -> Iterator[Iterator[Sheet]]:
    """Yield the sheets of a workbook's bytes: title, and rows of text with their numbers from 1.

    Raises
    ------
    InputError
        for bytes that are no .xlsx workbook, and for a workbook that unpacks to more than 16 MB and 20 times its size.
    """
    if data.startswith(OLE):
        raise InputError(f"{name}: an old (.xls) or an encrypted workbook; save it as .xlsx without a password")
    _refuse_traps(data, name=name)
    from openpyxl import load_workbook

    with _as_input_error(name):
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    try:
        yield ((str(sheet.title), _rows(sheet, name=name)) for sheet in book.worksheets)
    finally:
        book.close()


@contextmanager
def _as_input_error(name: str) -> Iterator[None]:
    """Turn the errors of openpyxl for a damaged workbook (KeyError, TypeError, ParseError …) into an InputError."""
    with warnings.catch_warnings():
        # openpyxl warns of styles, drop-down lists and pictures, which do not matter here.
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            reason = str(error) or type(error).__name__
            raise InputError(f"{name}: the workbook cannot be read ({shown(reason)}); save it anew as .xlsx") from error


def _rows(sheet: Any, *, name: str) -> Iterator[table.Row]:
    rows = sheet.iter_rows(max_row=_MAX_ROWS, max_col=_MAX_COLUMNS + 1, values_only=True)
    previous, number = None, 0
    for row in _with_input_errors(rows, name=name):
        number += 1
        # For each row that a sheet leaves out, openpyxl gives the same tuple of None: there may be a million.
        if row is previous:
            continue
        previous, end = row, len(row)
        while end and row[end - 1] is None:
            end -= 1
        if end > _MAX_COLUMNS:
            raise InputError(f"{name}:{sheet.title}:{number}: more than {_MAX_COLUMNS} columns; save the table as CSV")
        yield number, [_text(cell) for cell in row[:end]]


def _with_input_errors(rows: Iterator[Any], *, name: str) -> Iterator[Any]:
    while True:
        with _as_input_error(name):
            batch = list(islice(rows, 256))
        yield from batch
        if not batch:
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
    """Raise an InputError for contents that exhaust memory: far beyond the workbook's size, or XML with entities."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            # zipfile reads no more of a member than its declared size.
            if sum(member.file_size for member in members) > limit(len(data)):
                raise InputError(
                    f"{name}: unpacks to more than {limit(len(data)):,} bytes, {MAX_RATIO} times its size and "
                    f"{FREE_BYTES >> 20} MB; save the table as CSV"
                )
            for member in members:
                # Excel declares no entities. Without its NUL bytes, UTF-16 reads as ASCII.
                if b"<!DOCTYPE" in archive.read(member).replace(b"\0", b""):
                    raise InputError(f"{name}: {shown(member.filename)} declares entities; save the table as CSV")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: the workbook is damaged ({error}); save it anew as .xlsx") from error
