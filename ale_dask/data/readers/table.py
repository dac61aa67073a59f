"""Tidy tables of foci, one row per focus: study, contrast, n, space, x, y, z and any further columns."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from ale_dask.data.cells import plain_cell
from ale_dask.data.foci import Experiment
from ale_dask.data.readers import jale
from ale_dask.data.readers.text import as_focus, as_space, as_subjects, clean, decode, shown
from ale_dask.words.errors import InputError

REQUIRED = ("study", "x", "y", "z")
IDS = ("id", "pmid", "pmcid")
"""Columns that name the study where there is no column study, as Neurosynth and NeuroQuery have it."""
_OPTIONAL = ("contrast", "n", "space")
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
    n: int | None = None
    space: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    xyz: list[tuple[float, float, float]] = field(default_factory=list)


def parse_table(data: bytes, *, name: str, space: str | None = None) -> tuple[Experiment, ...]:
    """Return the experiments of a comma, semicolon or tab separated table, n None where it states none.

    An experiment is a distinct (study, contrast), its rows together or apart; of several sample sizes the
    smallest holds. `name` stands for the file in messages and sources; `space` ("MNI" or "TAL") is for
    rows that state none.

    Raises
    ------
    InputError
        with file:line, for anything that is not such a table, and for a table without foci.
    """
    return parse_lines(decode(data, name=name), name=name, space=space)


def parse_lines(lines: list[str], *, name: str, space: str | None = None) -> tuple[Experiment, ...]:
    """Return the experiments of a table's lines, as `parse_table` does of its bytes."""
    first = next((i for i, line in enumerate(lines) if clean(line)), None)
    if first is None:
        raise InputError(f"{name}:1: the file is empty; give a table with the columns {', '.join(REQUIRED)}")
    delimiter, header = header_of(lines[first], where=f"{name}:{first + 1}")
    rows = rows_of(lines, begin=first + 1, delimiter=delimiter, file=name)
    return parse_rows(header, rows, file=name, number=first + 1, space=space)


def parse_rows(
    header: Sequence[str], rows: Iterable[Row], *, file: str, number: int, space: str | None = None
) -> tuple[Experiment, ...]:
    """Return the experiments of rows of text below a header, its row numbered `number`, each row with its own."""
    last = number
    if jale.is_header(header):
        header, rows = jale.tidy(header, rows, file=file)
    header = _checked(header, where=f"{file}:{number}")
    # Columns without a heading (the row numbers that pandas writes) say nothing.
    titled = [i for i, column in enumerate(header) if column]
    labels = itemgetter(*(i for i in titled if header[i] not in ("x", "y", "z")))
    axes = itemgetter(*(header.index(axis) for axis in ("x", "y", "z")))
    gathered: dict[tuple[str, str], _Open] = {}
    # What was checked once needs no second look: rows of one experiment repeat all that is not a coordinate.
    checked: dict[Sequence[str], _Open] = {}
    numbers: dict[str, float] = {}
    width = len(header)
    for last, row in rows:
        if len(row) != width:
            if any(map(clean, row[width:])):
                raise InputError(
                    f"{file}:{last}: {len(row)} values under {width} columns; quote the values that hold the separator"
                )
            row = [*row[:width], *[""] * (width - len(row))]
        label = labels(row)
        record = checked.get(label)
        if record is None:
            if not any(map(clean, row)):
                continue
            values = {header[i]: plain_cell(clean(row[i])) for i in titled}
            record = checked[label] = _gather(values, into=gathered, where=f"{file}:{last}", line=last)
        x, y, z = axes(row)
        try:
            record.xyz.append((numbers[x], numbers[y], numbers[z]))
        except KeyError:
            tokens = [clean(x), clean(y), clean(z)]
            if any(tokens):
                focus = as_focus(tokens, line=" ".join(tokens), where=f"{file}:{last}")
                record.xyz.append(focus)
                if len(numbers) < _MOST_NUMBERS:
                    numbers.update(zip((x, y, z), focus, strict=True))
    return _finish(gathered, file=file, last=last, space=space)


def _finish(
    gathered: Mapping[tuple[str, str], _Open], *, file: str, last: int, space: str | None
) -> tuple[Experiment, ...]:
    done, homeless = [], []
    for (study, contrast), record in gathered.items():
        title = f"{study}; {contrast}" if contrast else study
        where = f"{file}:{record.line}"
        known = record.space or space
        if known is None:
            homeless.append((where, title))
            continue
        done.append(Experiment(title, record.n, tuple(record.xyz), known, where, record.columns, study))
    if homeless:
        where, title = homeless[0]
        more = f" and {len(homeless) - 1:,} more of {len(gathered):,}" if len(homeless) > 1 else ""
        raise InputError(
            f"{where}: no space for {shown(title)}{more}; add a column space with MNI or Talairach, or give space"
        )
    if not any(e.xyz for e in done):
        raise InputError(f"{file}:{last}: no foci in the whole table; write one row with x, y, z in mm per focus")
    return tuple(done)


def named(cells: Iterable[str]) -> list[str]:
    """Return the column names of a header's cells; the table's own ones in lower case."""
    # A "/" in a name would make a group of the variable's name in a zarr store.
    read = [clean(c).replace("/", "_") for c in cells]
    return [c.lower() if c.lower() in REQUIRED + _OPTIONAL else c for c in read]


def header_columns(line: str) -> dict[str, list[str]]:
    """Return, for each delimiter, the column names of a header line."""
    found = {}
    for delimiter in _DELIMITERS:
        try:
            found[delimiter] = named(next(csv.reader([line], delimiter=delimiter), []))
        except csv.Error:
            continue
    return found


def header_of(line: str, *, where: str) -> tuple[str, list[str]]:
    """Return the delimiter and the column names of a header line, whatever the columns are."""
    read = header_columns(clean(line))
    if not read:
        raise InputError(f"{where}: the header cannot be read; its columns must be {', '.join(REQUIRED)}")
    return max(read.items(), key=lambda item: len(set(REQUIRED) & set(item[1])))


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
    missing = [c for c in REQUIRED if c not in found]
    if missing:
        said = shown(", ".join(header))
        raise InputError(
            f"{where}: the table has no column {', '.join(missing)} in {said}; it needs {', '.join(REQUIRED)}"
        )
    twice = sorted(c for c, n in Counter(found).items() if c and n > 1)
    if twice:
        raise InputError(f"{where}: the column {', '.join(twice)} is there twice; rename one")
    return found if column == "study" else ["" if c in _OF_FOCI else c for c in found]


def _gather(values: Mapping[str, str], *, into: dict[tuple[str, str], _Open], where: str, line: int) -> _Open:
    study, contrast = values.get("study", ""), values.get("contrast", "")
    if not study:
        raise InputError(f"{where}: the row has no study; name the study of each focus")
    record = into.setdefault((study, contrast), _Open(line=line))
    stated = values.get("n", "")
    n = None if stated.lower() in _NOT_KNOWN else as_subjects(stated, where=where)
    if n is not None:
        # Foci of fewer subjects than the group are the more uncertain ones.
        record.n = n if record.n is None else min(record.n, n)
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
