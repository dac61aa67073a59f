"""Tidy tables of foci, one row per focus: study, contrast, n, space, x, y, z and any further columns."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ale_dask.data.foci import Experiment
from ale_dask.data.readers.text import as_focus, as_space, as_subjects, clean, decode, shown
from ale_dask.words.errors import InputError

REQUIRED = ("study", "x", "y", "z")
_OPTIONAL = ("contrast", "n", "space")
_DELIMITERS = "\t;,"
# What R and pandas write for a sample size that is not known.
_NOT_KNOWN = frozenset({"na", "n/a", "nan", "none"})


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
    where = f"{name}:{first + 1}"
    delimiter, header = _header(lines[first], where=where)
    gathered: dict[tuple[str, str], _Open] = {}
    for number, row in _rows(lines, begin=first + 1, delimiter=delimiter, file=name):
        cells = [clean(cell) for cell in row]
        if not any(cells):
            continue
        where = f"{name}:{number}"
        if any(cells[len(header) :]):
            raise InputError(
                f"{where}: {len(cells)} values under {len(header)} columns; quote the values that hold {delimiter!r}"
            )
        # Columns without a heading (the row numbers that pandas writes) say nothing.
        values = {column: cell for column, cell in zip(header, cells, strict=False) if column}
        _gather(values, into=gathered, where=where, line=number)
    done = []
    for (study, contrast), record in gathered.items():
        title = f"{study}; {contrast}" if contrast else study
        where = f"{name}:{record.line}"
        known = record.space or space
        if known is None:
            raise InputError(
                f"{where}: no space for {shown(title)}; add a column space with MNI or Talairach, or give space"
            )
        done.append(Experiment(title, record.n, tuple(record.xyz), known, where, record.columns, study))
    if not any(e.xyz for e in done):
        raise InputError(f"{name}:{len(lines)}: no foci in the whole table; write one row with x, y, z in mm per focus")
    return tuple(done)


def header_columns(line: str) -> dict[str, list[str]]:
    """Return, for each delimiter, the column names of a header line; the table's own ones in lower case."""
    found = {}
    for delimiter in _DELIMITERS:
        try:
            # A "/" in a name would make a group of the variable's name in a zarr store.
            cells = [clean(c).replace("/", "_") for c in next(csv.reader([line], delimiter=delimiter), [])]
        except csv.Error:
            continue
        found[delimiter] = [c.lower() if c.lower() in REQUIRED + _OPTIONAL else c for c in cells]
    return found


def _header(line: str, *, where: str) -> tuple[str, list[str]]:
    read = header_columns(clean(line))
    if not read:
        raise InputError(f"{where}: the header cannot be read; its columns must be {', '.join(REQUIRED)}")
    delimiter, header = max(read.items(), key=lambda item: len(set(REQUIRED) & set(item[1])))
    missing = [c for c in REQUIRED if c not in header]
    if missing:
        raise InputError(
            f"{where}: the table has no column {', '.join(missing)} in {shown(clean(line))}; "
            f"it needs {', '.join(REQUIRED)}"
        )
    twice = sorted(c for c, n in Counter(header).items() if c and n > 1)
    if twice:
        raise InputError(f"{where}: the column {', '.join(twice)} is there twice; rename one")
    return delimiter, header


def _rows(lines: list[str], *, begin: int, delimiter: str, file: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line + "\n" for line in lines[begin:]), delimiter=delimiter, strict=True)
    while True:
        number = begin + reader.line_num + 1
        try:
            yield number, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{file}:{number}: cannot read the row ({error}); check its quotes") from error


def _gather(values: Mapping[str, str], *, into: dict[tuple[str, str], _Open], where: str, line: int) -> None:
    study, contrast = values.get("study", ""), values.get("contrast", "")
    if not study:
        raise InputError(f"{where}: the row has no study; name the study of each focus")
    record = into.setdefault((study, contrast), _Open(line=line))
    stated = values.get("n", "")
    n = None if stated.lower() in _NOT_KNOWN else as_subjects(stated, where=where)
    if n is not None:
        # Foci of fewer subjects than the group are the more uncertain ones.
        record.n = n if record.n is None else min(record.n, n)
    if values.get("space"):
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
    tokens = [values.get(axis, "") for axis in "xyz"]
    if any(tokens):
        record.xyz.append(as_focus(tokens, line=" ".join(tokens), where=where))
