"""Tidy tables of foci, one row per focus: study, contrast, n, space, x, y, z and any further columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter

from ale_dask.coordinates.decisions import Decision, Tell, untold
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers import columns as names
from ale_dask.coordinates.readers import jale
from ale_dask.coordinates.readers.columns import IDS, REQUIRED
from ale_dask.coordinates.readers.faults import Faults
from ale_dask.coordinates.readers.rows import Above, named_by_authors
from ale_dask.coordinates.readers.sizes import several_n, stated_n
from ale_dask.coordinates.readers.text import as_focus, as_space, clean, decode, shown
from ale_dask.coordinates.spreadsheet_cells import plain_cell
from ale_dask.errors import InputError

TITLES = 20
"""Rows that may stand above the header of a table."""
# Of a longer first line no header is made: a thousand columns take 20 kB.
_HEADER = 1 << 16
_DELIMITERS = "\t;,"
# What R and pandas write for a sample size that is not known.
_NOT_KNOWN = frozenset({"na", "n/a", "nan", "none"})
# Neurosynth's word for a space that it could not tell.
_NO_SPACE = _NOT_KNOWN | {"", "unknown"}
# Of tables with an id: these say something of a focus, not of its study.
_OF_FOCI = frozenset(("table_id", "table_num", "table_label", "peak_id", "x_mni", "y_mni", "z_mni", "in_mask"))
# Coordinates repeat: those of Neurosynth's 448,255 foci are 6,784 texts. Where they do not, memory has an end.
_MOST_NUMBERS = 1 << 16

Row = tuple[int, Sequence[str]]


@dataclass
class _Open:
    """The experiment that rows of one (study, contrast) are gathered into."""

    line: int
    sizes: list[int] = field(default_factory=list)
    space: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    xyz: list[tuple[float, float, float]] = field(default_factory=list)


def parse_table(
    data: bytes,
    *,
    name: str,
    space: str | None = None,
    columns: Mapping[str, str] | None = None,
    tell: Tell = untold,
) -> tuple[Experiment, ...]:
    """Return the experiments of a comma, semicolon or tab separated table, n None where it states none.

    An experiment is a distinct (study, contrast), its rows together or apart; of several sample sizes the
    smallest holds, and is told.

    Parameters
    ----------
    name
        Stands for the file in messages and sources.
    space
        "MNI" or "TAL", for rows that state none.
    columns
        Names in the file of study, contrast, n, space, x, y and z, where they are unusual ones.
    tell
        Called with each decision about what could be read in two ways.

    Raises
    ------
    InputError
        with file:line, for anything that is not such a table, all its lines at once, and for a table without foci.
    """
    return parse_lines(decode(data, name=name, tell=tell), name=name, space=space, columns=columns, tell=tell)


def parse_lines(
    lines: list[str],
    *,
    name: str,
    space: str | None = None,
    columns: Mapping[str, str] | None = None,
    tell: Tell = untold,
) -> tuple[Experiment, ...]:
    """Return the experiments of a table's lines, as `parse_table` does of its bytes."""
    first = next((i for i, line in enumerate(lines) if clean(line)), None)
    if first is None:
        raise InputError(f"{name}:1: the file is empty; give a table with the columns {', '.join(REQUIRED)}")
    at = header_line(lines, columns=columns)
    at = first if at is None else at
    if at > first:
        tell(titles_left(name, [lines[i] for i in range(first, at) if clean(lines[i])]))
    delimiter, cells = cells_of(lines[at], columns=columns, where=f"{name}:{at + 1}")
    rows = rows_of(lines, begin=at + 1, delimiter=delimiter, file=name)
    return parse_rows(cells, rows, file=name, number=at + 1, space=space, columns=columns, tell=tell)


def titles_left(name: str, lines: Sequence[str]) -> Decision:
    """Return what to say of lines above a table's header, which are no part of it."""
    said = ", ".join(shown(clean(line)) for line in lines[:3]) + (" …" if len(lines) > 3 else "")
    return Decision("title-rows", name, f"{len(lines)} row(s) above the header were left out: {said}", len(lines))


def parse_rows(
    cells: Sequence[str],
    rows: Iterable[Row],
    *,
    file: str,
    number: int,
    space: str | None = None,
    columns: Mapping[str, str] | None = None,
    tell: Tell = untold,
) -> tuple[Experiment, ...]:
    """Return the experiments of rows of text below a header, its row numbered `number`, each row with its own."""
    last = number
    where = f"{file}:{number}"
    names.check_mapping(columns or {}, cells, where=where)
    header = names.canonical(cells, columns)
    if jale.is_header(names.plain(cells)):
        header, rows = jale.tidy(header, rows, file=file)
    elif said := names.renamed(cells, header):
        tell(Decision("columns", file, f"these columns were read as those of a table of foci: {', '.join(said)}"))
    if "space" not in header and (known := names.space_of_axes(cells, columns)):
        tell(Decision("space-from-columns", file, f"the names of its columns say that its coordinates are in {known}"))
        space = known
    authors = named_by_authors(cells, header)
    header = _checked(header, where=where)
    # Columns without a heading (the row numbers that pandas writes) say nothing.
    titled = [i for i, column in enumerate(header) if column]
    labels = itemgetter(*(i for i in titled if header[i] not in names.AXES))
    axes = itemgetter(*(header.index(axis) for axis in names.AXES))
    gathered: dict[tuple[str, str], _Open] = {}
    # What was checked once needs no second look: rows of one experiment repeat all that is not a coordinate.
    checked: dict[Sequence[str], _Open] = {}
    numbers: dict[str, float] = {}
    faults = Faults()
    above = Above(header, authors=authors)
    width = len(header)
    for last, row in rows:
        if len(row) != width:
            if any(map(clean, row[width:])):
                faults.add(
                    f"{file}:{last}: {len(row)} values under {width} columns; quote the values that hold the separator"
                )
                continue
            row = [*row[:width], *[""] * (width - len(row))]
        row = above.filled(row)
        label = labels(row)
        record = checked.get(label)
        if record is None:
            if not any(map(clean, row)):
                continue
            values = {header[i]: plain_cell(clean(row[i])) for i in titled}
            with faults.gathered():
                record = _gather(values, into=gathered, where=f"{file}:{last}", line=last, authors=authors, tell=tell)
            if record is None:
                continue
            checked[label] = record
        x, y, z = axes(row)
        try:
            record.xyz.append((numbers[x], numbers[y], numbers[z]))
        except KeyError:
            tokens = [clean(x), clean(y), clean(z)]
            if any(tokens):
                with faults.gathered():
                    focus = as_focus(tokens, line=" ".join(tokens), where=f"{file}:{last}")
                    record.xyz.append(focus)
                    if len(numbers) < _MOST_NUMBERS:
                        numbers.update(zip((x, y, z), focus, strict=True))
    faults.refuse()
    above.tell_filled(tell, file=file)
    return _finish(gathered, file=file, last=last, space=space, tell=tell)


def _finish(
    gathered: Mapping[tuple[str, str], _Open], *, file: str, last: int, space: str | None, tell: Tell
) -> tuple[Experiment, ...]:
    done, homeless = [], []
    for (study, contrast), record in gathered.items():
        title = f"{study}; {contrast}" if contrast else study
        where = f"{file}:{record.line}"
        known = record.space or space
        if known is None:
            homeless.append((where, title))
            continue
        if said := several_n(record.sizes, title=title, where=where):
            tell(said)
        # Foci of fewer subjects than the group are the more uncertain ones.
        n = min(record.sizes, default=None)
        done.append(Experiment(title, n, tuple(record.xyz), known, where, record.columns, study))
    if homeless:
        where, title = homeless[0]
        more = f" and {len(homeless) - 1:,} more of {len(gathered):,}" if len(homeless) > 1 else ""
        raise InputError(
            f"{where}: no space for {shown(title)}{more}; add a column space with MNI or Talairach, or give space"
        )
    if not any(e.xyz for e in done):
        raise InputError(f"{file}:{last}: no foci in the whole table; write one row with x, y, z in mm per focus")
    return tuple(done)


def header_columns(line: str, columns: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Return, for each delimiter, the column names of a header line."""
    return {delimiter: names.canonical(cells, columns) for delimiter, cells in _split(line)}


def header_line(lines: Sequence[str], *, columns: Mapping[str, str] | None = None) -> int | None:
    """Return the place of the first line that has all columns of a table of foci; None where the first few have not."""
    full = (i for i, line in enumerate(lines) if clean(line))
    for i in islice(full, TITLES + 1):
        if any(is_header(cells, columns) for _, cells in _split(clean(lines[i])[:_HEADER])):
            return i
    return None


def is_header(cells: Sequence[str], columns: Mapping[str, str] | None = None) -> bool:
    """Return whether cells are the names of the columns of a table of foci or of a sheet of JALE's."""
    found = names.canonical(cells, columns)
    return jale.is_header(names.plain(cells)) or (study_column(found) is not None and set(names.AXES) <= set(found))


def cells_of(line: str, *, columns: Mapping[str, str] | None = None, where: str) -> tuple[str, list[str]]:
    """Return the delimiter and the cells of a header line."""
    read = dict(_split(clean(line)))
    if not read:
        raise InputError(f"{where}: the header cannot be read; its columns must be {', '.join(REQUIRED)}")
    wanted = set(REQUIRED)
    return max(read.items(), key=lambda item: len(wanted & set(names.canonical(item[1], columns))))


def header_of(line: str, *, where: str) -> tuple[str, list[str]]:
    """Return the delimiter and the column names of a header line, whatever the columns are."""
    delimiter, cells = cells_of(line, where=where)
    return delimiter, names.canonical(cells)


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
    return next((column for one in IDS for column in header if column.lower() == one), None)


def _checked(header: Sequence[str], *, where: str) -> list[str]:
    """Return the header with a column study, and "" for what there says something of a focus beside an id."""
    column = study_column(header)
    found = ["study" if c == column else c for c in header]
    names.missing(found, where=where)
    return found if column == "study" else ["" if c in _OF_FOCI else c for c in found]


def _gather(
    values: Mapping[str, str],
    *,
    into: dict[tuple[str, str], _Open],
    where: str,
    line: int,
    authors: str | None,
    tell: Tell,
) -> _Open:
    study, contrast = values.get("study", ""), values.get("contrast", "")
    if not study:
        raise InputError(f"{where}: the row has no study; name the study of each focus")
    if authors and (year := values.get(authors, "")) and year not in study:
        # Two papers of one author are two studies.
        study = f"{study} {year}"
    record = into.setdefault((study, contrast), _Open(line=line))
    stated = values.get("n", "")
    n, said = (None, None) if stated.lower() in _NOT_KNOWN else stated_n(stated, where=where)
    if said:
        tell(said)
    if n is not None and n not in record.sizes:
        record.sizes.append(n)
    if values.get("space", "").lower() not in _NO_SPACE:
        space = as_space(values["space"])
        if space is None:
            raise InputError(f"{where}: unknown space {shown(values['space'])}; write MNI or Talairach")
        if record.space not in (None, space):
            raise InputError(
                f"{where}: {shown(study)} is in {record.space} in an earlier row and in {space} here; "
                "give an experiment one space"
            )
        record.space = space
    for column, value in values.items():
        if column in REQUIRED or column in ("n", "space"):
            continue
        earlier = record.columns.get(column, "")
        if earlier and value and earlier != value:
            raise InputError(
                f"{where}: column {shown(column)} is {shown(earlier)} in an earlier row of {shown(study)} "
                f"and {shown(value)} here; give an experiment one value, or remove the column"
            )
        record.columns[column] = earlier or value
    return record
