"""Tables of studies beside tables of coordinates, as Neurosynth and NeuroQuery have them: id, title, year …"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ale_dask.coordinates.foci import Experiment, study_of
from ale_dask.coordinates.readers import table
from ale_dask.coordinates.readers.packed import unpacked
from ale_dask.coordinates.readers.text import clean, decode, shown
from ale_dask.errors import InputError

# Of no more than the header: 64 kB are a thousand columns.
_HEADER = 1 << 16


@dataclass(frozen=True)
class Studies:
    """What a file tells of studies: their columns by id."""

    file: str
    columns: Mapping[str, Mapping[str, str]]


def parse_studies(data: bytes, *, name: str, columns: Mapping[str, str] | None = None) -> Studies | None:
    """Return what a table with a column id (or pmid, pmcid) and without coordinates tells, None for any other file.

    Raises
    ------
    InputError
        with file:line, for rows that cannot be read, and a study that is there twice.
    """
    data = unpacked(data, name=name)
    head = data[:_HEADER].lstrip().split(b"\n", 1)[0].split(b"\r", 1)[0]
    if b"\0" in head or head.startswith(b"//"):
        return None
    read = table.header_columns(clean(head.decode("utf-8-sig", "replace")), columns)
    ids = {delimiter: c for delimiter, c in read.items() if len(c) > 1 and table.study_column(c) not in (None, "study")}
    if not ids or any({"x", "y", "z"} & set(columns) for columns in read.values()):
        return None
    delimiter, header = next(iter(ids.items()))
    key = header.index(str(table.study_column(header)))
    lines = decode(data, name=name)
    first = next(i for i, line in enumerate(lines) if clean(line))
    found: dict[str, dict[str, str]] = {}
    for number, row in table.rows_of(lines, begin=first + 1, delimiter=delimiter, file=name):
        cells = [clean(cell) for cell in row]
        if not any(cells):
            continue
        study = cells[key] if key < len(cells) else ""
        if not study or any(cells[len(header) :]):
            raise InputError(f"{name}:{number}: {len(cells)} values under {len(header)} columns; write one id per row")
        if study in found:
            raise InputError(f"{name}:{number}: the study {shown(study)} is there twice; remove one")
        # The space is that of its foci, which their own table gives.
        said = zip(header, cells, strict=False)
        found[study] = {c: v for i, (c, v) in enumerate(said) if c and i != key and c != "space"}
    return Studies(name, found)


def describe(experiments: Iterable[Experiment], studies: Sequence[Studies]) -> list[Experiment]:
    """Return the experiments with the columns of their studies added to their own; names and keys stay.

    Raises
    ------
    InputError
        for a table that tells of none of these studies.
    """
    described = list(experiments)
    for told in studies:
        columns = [told.columns.get(e.study or study_of(e.name), {}) for e in described]
        if not any(columns):
            raise InputError(
                f"{told.file}: no foci, and its studies are none of those with foci; give the table of their foci"
            )
        described = [replace(e, columns={**c, **e.columns}) for e, c in zip(described, columns, strict=True)]
    return described
