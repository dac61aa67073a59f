"""Tidy tables of foci, one row per focus: study, contrast, n, space, x, y, z and any further columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from ale_dask.coordinates.decisions import Decision
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers import columns as names
from ale_dask.coordinates.readers import jale
from ale_dask.coordinates.readers.blank_cells import BlankCells, year_column
from ale_dask.coordinates.readers.columns import IDS, REQUIRED
from ale_dask.coordinates.readers.faults import Faults
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.headings import is_heading
from ale_dask.coordinates.readers.sizes import several_n, stated_n
from ale_dask.coordinates.readers.text import as_focus, as_space, clean, shown, without_controls
from ale_dask.coordinates.spreadsheet_cells import plain_cell
from ale_dask.errors import InputError, did_you_mean

MAX_TITLES = 20
"""Number of rows that may stand above the header of a table."""
# A thousand columns take 20 kB; a longer first line is no header.
_MAX_HEADER = 1 << 16
_DELIMITERS = "\t;,"
# R and pandas write these for a sample size that is not known.
_NOT_KNOWN = frozenset({"na", "n/a", "nan", "none"})
# Neurosynth has "UNKNOWN" for a space that it could not tell.
_NO_SPACE = _NOT_KNOWN | {"", "unknown"}
# Columns of Neurosynth's tables that describe a focus, not its study.
_COLUMNS_OF_FOCI = frozenset(("table_id", "table_num", "table_label", "peak_id", "x_mni", "y_mni", "z_mni", "in_mask"))
# The coordinates of Neurosynth's 448,255 foci are 6,784 texts: each is read once. The limit bounds the memory.
_MAX_REMEMBERED = 1 << 16
_BREAK = re.compile(r"[ \t]*[\r\n]\s*")
# The only words of a row that are a footnote of a table and no study.
_NOTE = re.compile(r"[*†‡§¶#]|(?:notes?|abbreviations?|sources?)\b", re.IGNORECASE)

Row = tuple[int, Sequence[str]]


@dataclass
class _Record:
    """The experiment of one (study, contrast), gathered from its rows."""

    line: int
    sizes: list[int] = field(default_factory=list)
    space: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    xyz: list[tuple[float, float, float]] = field(default_factory=list)


def recognises(file: FociFile) -> bool:
    """Return whether a file of text begins with a column of a table of foci, or has a header after some titles."""
    _, first = file.first_line
    if not first or is_heading(first):
        return False
    if any(set(REQUIRED) & set(header) for header in header_columns(first, file.columns).values()):
        return True
    return not any(map(is_heading, file.lines)) and header_line(file.lines, columns=file.columns) is not None


def read(file: FociFile) -> tuple[Experiment, ...]:
    """Return the experiments of a comma, semicolon or tab separated table, as `parse_rows` does."""
    first, text = file.first_line
    if not text:
        raise InputError(f"{file.name}:1: the file is empty; give a table with the columns {', '.join(REQUIRED)}")
    index = header_line(file.lines, columns=file.columns)
    number = first if index is None else index + 1
    if number > first:
        file.tell(titles_left(file.name, [*filter(clean, file.lines[first - 1 : number - 1])]))
    delimiter, cells = cells_of(file.lines[number - 1], columns=file.columns, where=f"{file.name}:{number}")
    rows = rows_of(file.lines, begin=number, delimiter=delimiter, file=file.name)
    return parse_rows(cells, rows, number=number, file=file)


def titles_left(name: str, lines: Sequence[str]) -> Decision:
    """Return the decision to leave out lines above the header of a table."""
    said = ", ".join(shown(clean(line)) for line in lines[:3]) + (" …" if len(lines) > 3 else "")
    return Decision("title-rows", name, f"{len(lines)} row(s) above the header were left out: {said}", len(lines))


def parse_rows(cells: Sequence[str], rows: Iterable[Row], *, number: int, file: FociFile) -> tuple[Experiment, ...]:
    """Return the experiments of the rows below a header; n is None where a table states none.

    An experiment is a distinct (study, contrast), its rows together or apart. Of several sample sizes the smallest
    holds, which `file.tell` is told.

    Parameters
    ----------
    cells
        The cells of the header.
    rows
        The number and the cells of each row.
    number
        The number of the header's row.

    Raises
    ------
    InputError
        With file:line, for all rows that cannot be read at once, and for a table without foci.
    """
    last = number
    header, rows, space = _header(cells, rows, number=number, file=file)
    year = year_column(cells, header)
    table = _Table(_checked(header, where=f"{file.name}:{number}"), year=year, file=file)
    for last, row in rows:
        table.add(row, number=last)
    table.faults.refuse()
    table.leave_columns_of_foci()
    table.blank_cells.tell_filled(file.tell, file=file.name)
    return _experiments(table.records, last=last, space=space, file=file)


def _header(
    cells: Sequence[str], rows: Iterable[Row], *, number: int, file: FociFile
) -> tuple[list[str], Iterable[Row], str | None]:
    """Return the canonical names of the columns, the rows (those of a sheet of JALE made tidy), and the space."""
    where = f"{file.name}:{number}"
    names.check_mapping(file.columns, cells, where=where)
    header = names.canonical(cells, file.columns)
    if jale.is_header(names.plain(cells)):
        header, rows = jale.tidy(header, rows, file=file.name)
    elif said := names.renamed(cells, header):
        message = f"these columns were read as those of a table of foci: {', '.join(said)}"
        file.tell(Decision("columns", file.name, message))
    space = file.space
    if "space" not in header and (known := names.space_of_axes(cells, file.columns)):
        message = f"the names of its columns say that its coordinates are in {known}"
        file.tell(Decision("space-from-columns", file.name, message))
        space = known
    return header, rows, space


class _Table:
    """The rows of a table, gathered into one record per (study, contrast)."""

    def __init__(self, header: Sequence[str], *, year: str | None, file: FociFile) -> None:
        self.header, self.year, self.file = header, year, file
        # Columns without a heading are the row numbers that pandas writes.
        self.titled = [i for i, column in enumerate(self.header) if column]
        self.labels = itemgetter(*(i for i in self.titled if self.header[i] not in names.AXES))
        self.axes = itemgetter(*(self.header.index(axis) for axis in names.AXES))
        self.blank_cells = BlankCells(header, year=year)
        self.faults = Faults()
        self.records: dict[tuple[str, str], _Record] = {}
        # Rows of one experiment repeat all that is not a coordinate, so that one of them is checked for all.
        self.checked: dict[Sequence[str], _Record] = {}
        self.numbers: dict[str, float] = {}
        self.of_foci: list[str] = []

    def add(self, row: Sequence[str], *, number: int) -> None:
        where = f"{self.file.name}:{number}"
        width = len(self.header)
        if len(row) != width:
            if any(map(clean, row[width:])):
                self.faults.add(
                    f"{where}: {len(row)} values under {width} columns; quote the values that hold the separator"
                )
                return
            row = [*row[:width], *[""] * (width - len(row))]
        if self.is_note(row, where=where):
            return
        row = self.blank_cells.filled(row)
        label = self.labels(row)
        record = self.checked.get(label)
        if record is None:
            if not any(map(clean, row)):
                return
            with self.faults.gathered():
                record = self.record_of(row, number=number, where=where)
            if record is None:
                return
            self.checked[label] = record
        self.add_focus(record, self.axes(row), where=where)

    def is_note(self, row: Sequence[str], *, where: str) -> bool:
        """Return whether a row is a footnote below the table, which `file.tell` is told."""
        filled = [*filter(None, map(clean, row))] if not any(map(clean, self.axes(row))) else []
        if len(filled) != 1 or not _NOTE.match(filled[0]):
            return False
        self.file.tell(Decision("note-left", where, f"the row was left out as a note: {shown(filled[0])}"))
        return True

    def add_focus(self, record: _Record, cells: Sequence[str], *, where: str) -> None:
        x, y, z = cells
        try:
            record.xyz.append((self.numbers[x], self.numbers[y], self.numbers[z]))
        except KeyError:
            tokens = [clean(x), clean(y), clean(z)]
            if any(tokens):
                with self.faults.gathered():
                    focus = as_focus(tokens, line=" ".join(tokens), where=where)
                    record.xyz.append(focus)
                    if len(self.numbers) < _MAX_REMEMBERED:
                        self.numbers.update(zip((x, y, z), focus, strict=True))

    def record_of(self, row: Sequence[str], *, number: int, where: str) -> _Record:
        """Return the record of a row's experiment, with the sample size, space and columns of the row added."""
        values = {self.header[i]: self.tidy(row[i]) for i in self.titled}
        study, contrast = values.get("study", ""), values.get("contrast", "")
        if not study:
            raise InputError(f"{where}: the row has no study; name the study of each focus")
        if self.year and (year := values.get(self.year, "")) and year not in study:
            # Two papers of the same authors are two studies.
            study = f"{study} {year}"
        record = self.records.setdefault((study, contrast), _Record(line=number))
        stated = values.get("n", "")
        n, decision = (None, None) if stated.lower() in _NOT_KNOWN else stated_n(stated, where=where)
        if decision:
            self.file.tell(decision)
        if n is not None and n not in record.sizes:
            record.sizes.append(n)
        _add_space(record, values.get("space", ""), study=study, where=where)
        self.add_columns(record, values, where=where)
        return record

    def tidy(self, cell: str) -> str:
        # A line break within a cell is layout.
        plain = _BREAK.sub(" ", plain_cell(clean(cell)))
        return without_controls(plain, name=self.file.name, tell=self.file.tell)

    def add_columns(self, record: _Record, values: Mapping[str, str], *, where: str) -> None:
        for column, value in values.items():
            if column in REQUIRED or column in ("n", "space") or column in self.of_foci:
                continue
            earlier = record.columns.get(column, "")
            if not earlier or not value or earlier == value:
                record.columns[column] = earlier or value
            elif names.describes_foci(column):
                self.of_foci.append(column)
            else:
                contrasts = (
                    ""
                    if "contrast" in values
                    else (
                        f"; if it tells contrasts apart, name it: --columns contrast='{column}', or "
                        f'columns = {{ contrast = "{column}" }} in study.toml'
                    )
                )
                raise InputError(
                    f"{where}: column {shown(column)} has another value than in an earlier row of this experiment; "
                    f"give an experiment one value, or remove the column if it describes foci{contrasts}"
                )

    def leave_columns_of_foci(self) -> None:
        """Remove the columns that differ between the foci of an experiment, which `file.tell` is told."""
        for record in self.records.values():
            for column in self.of_foci:
                record.columns.pop(column, None)
        if self.of_foci:
            listed = ", ".join(map(shown, self.of_foci))
            message = f"these columns differ between the foci of an experiment and were left out: {listed}"
            self.file.tell(Decision("columns-of-foci", self.file.name, message, len(self.of_foci)))


def _add_space(record: _Record, text: str, *, study: str, where: str) -> None:
    if text.lower() in _NO_SPACE:
        return
    space = as_space(text)
    if space is None:
        meant = did_you_mean(text, ("MNI", "Talairach"))
        raise InputError(f"{where}: unknown space {shown(text)}{meant or '; write MNI or Talairach'}")
    if record.space not in (None, space):
        raise InputError(
            f"{where}: {shown(study)} is in {record.space} in an earlier row and in {space} here; "
            "give an experiment one space"
        )
    record.space = space


def _experiments(
    records: Mapping[tuple[str, str], _Record], *, last: int, space: str | None, file: FociFile
) -> tuple[Experiment, ...]:
    experiments, without_space = [], []
    for (study, contrast), record in records.items():
        title = f"{study}; {contrast}" if contrast else study
        where = f"{file.name}:{record.line}"
        # An experiment without foci is in no analysis, whatever its space.
        known = record.space or space or (None if record.xyz else "MNI")
        if known is None:
            without_space.append((where, title))
            continue
        if decision := several_n(record.sizes, title=title, where=where):
            file.tell(decision)
        # Foci of fewer subjects than the group are the more uncertain ones.
        n = min(record.sizes, default=None)
        experiments.append(Experiment(title, n, tuple(record.xyz), known, where, record.columns, study))
    if without_space:
        where, title = without_space[0]
        more = f" and {len(without_space) - 1:,} more of {len(records):,}" if len(without_space) > 1 else ""
        raise InputError(
            f"{where}: no space for {shown(title)}{more}; add a column space with MNI or Talairach, or say "
            'it for all: space = "MNI" below [foci.NAME] of study.toml, or --space MNI'
        )
    if not any(e.xyz for e in experiments):
        raise InputError(f"{file.name}:{last}: no foci in the whole table; write one row with x, y, z in mm per focus")
    return tuple(experiments)


def header_columns(line: str, columns: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Return, for each delimiter, the column names of a header line."""
    return {delimiter: names.canonical(cells, columns) for delimiter, cells in _split(line)}


def header_line(lines: Sequence[str], *, columns: Mapping[str, str] | None = None) -> int | None:
    """Return the index of the first line with all columns of a table of foci, None if none of the first lines is."""
    not_blank = (i for i, line in enumerate(lines) if clean(line))
    for i in islice(not_blank, MAX_TITLES + 1):
        if any(is_header(cells, columns) for _, cells in _split(clean(lines[i])[:_MAX_HEADER])):
            return i
    return None


def is_header(cells: Sequence[str], columns: Mapping[str, str] | None = None) -> bool:
    """Return whether cells name the columns of a table of foci, or of a sheet of experiments of JALE."""
    header = names.canonical(cells, columns)
    return jale.is_header(names.plain(cells)) or (study_column(header) is not None and set(names.AXES) <= set(header))


def cells_of(line: str, *, columns: Mapping[str, str] | None = None, where: str) -> tuple[str, list[str]]:
    """Return the delimiter and the cells of a header line: the delimiter that gives most of the columns required."""
    cells_by_delimiter = dict(_split(clean(line)))
    if not cells_by_delimiter:
        raise InputError(f"{where}: the header cannot be read; its columns must be {', '.join(REQUIRED)}")
    required = set(REQUIRED)
    return max(cells_by_delimiter.items(), key=lambda item: len(required & set(names.canonical(item[1], columns))))


def _split(line: str) -> Iterator[tuple[str, list[str]]]:
    for delimiter in _DELIMITERS:
        try:
            yield delimiter, next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue


def rows_of(lines: list[str], *, begin: int, delimiter: str, file: str) -> Iterator[Row]:
    """Yield the rows of delimited lines after the first `begin`, each with the number of its first line.

    Raises
    ------
    InputError
        for quotes that do not close, or a cell of more than 131,072 characters.
    """
    reader = csv.reader((line + "\n" for line in lines[begin:]), delimiter=delimiter, strict=True)
    number = begin + 1
    try:
        for row in reader:
            yield number, row
            number = begin + reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{file}:{number}: cannot read the row ({error}); check its quotes") from error


def study_column(header: Sequence[str]) -> str | None:
    """Return the column that names the study: study, else the first of id, pmid and pmcid, else None."""
    if "study" in header:
        return "study"
    return next((column for identifier in IDS for column in header if column.lower() == identifier), None)


def _checked(header: Sequence[str], *, where: str) -> list[str]:
    """Return the header with an id column named "study", and with "" for columns that describe single foci."""
    column = study_column(header)
    checked = ["study" if c == column else c for c in header]
    names.check_complete(checked, where=where)
    return checked if column == "study" else ["" if c in _COLUMNS_OF_FOCI else c for c in checked]
