"""Tables of studies, without coordinates, as Neurosynth and NeuroQuery publish them: id, title, year …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ale_dask.coordinates.foci import Experiment, study_of
from ale_dask.coordinates.readers import table
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.text import clean, decode, shown
from ale_dask.errors import InputError

# 64 kB are a thousand columns.
_MAX_HEADER = 1 << 16


@dataclass(frozen=True)
class Studies:
    """A table of studies: the columns of each study by its id, and the name of the file."""

    file: str
    columns: Mapping[str, Mapping[str, str]]


def read_studies(file: FociFile) -> Studies | None:
    """Return the table of a file with a column id (or pmid, pmcid) and without coordinates, None for other files.

    Raises
    ------
    InputError
        with file:line, for rows that cannot be read, and a study that is there twice.
    """
    known = _header(file)
    if known is None:
        return None
    delimiter, header = known
    id_column = header.index(str(table.study_column(header)))
    lines = decode(file.content, name=file.name)
    first = next(i for i, line in enumerate(lines) if clean(line))
    studies: dict[str, dict[str, str]] = {}
    for number, row in table.rows_of(lines, begin=first + 1, delimiter=delimiter, file=file.name):
        where = f"{file.name}:{number}"
        cells = [clean(cell) for cell in row]
        if not any(cells):
            continue
        study = cells[id_column] if id_column < len(cells) else ""
        if not study or any(cells[len(header) :]):
            raise InputError(f"{where}: {len(cells)} values under {len(header)} columns; write one id per row")
        if study in studies:
            raise InputError(f"{where}: the study {shown(study)} is there twice; remove one")
        # The space of its foci stands in the table of the foci.
        values = enumerate(zip(header, cells, strict=False))
        studies[study] = {c: v for i, (c, v) in values if c and i != id_column and c != "space"}
    return Studies(file.name, studies)


def _header(file: FociFile) -> tuple[str, list[str]] | None:
    """Return the delimiter and the columns of a table of studies, None where a file is no such table."""
    head = file.content[:_MAX_HEADER].lstrip().split(b"\n", 1)[0].split(b"\r", 1)[0]
    if b"\0" in head or head.startswith(b"//"):
        return None
    headers = table.header_columns(clean(head.decode("utf-8-sig", "replace")), file.columns)
    if any({"x", "y", "z"} & set(header) for header in headers.values()):
        return None
    with_id = (h for h in headers.items() if len(h[1]) > 1 and table.study_column(h[1]) not in (None, "study"))
    return next(with_id, None)


def with_columns_of_studies(experiments: Sequence[Experiment], tables: Sequence[Studies]) -> list[Experiment]:
    """Return the experiments with the columns of their studies added to their own; names and keys stay.

    Raises
    ------
    InputError
        for a table without any of the studies of these experiments.
    """
    described = list(experiments)
    for studies in tables:
        columns = [studies.columns.get(e.study or study_of(e.name), {}) for e in described]
        if not any(columns):
            raise InputError(
                f"{studies.file}: no foci, and its studies are none of those with foci; give the table of their foci"
            )
        described = [replace(e, columns={**c, **e.columns}) for e, c in zip(described, columns, strict=True)]
    return described
