"""Sheets of experiments of JALE 0.2, made into tidy tables with a true/false column for each tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ale_dask.coordinates.readers.text import clean, shown
from ale_dask.errors import InputError

# JALE knows columns by their position: articles, subjects, x, y, z, space, then tags under any heading.
_FIRST_TAG = 6
TIDY = ("study", "contrast", "n", "space", "x", "y", "z")
"""The first columns of a tidy table, as a sheet of JALE becomes one."""
# pandas, with which JALE reads, takes these for an empty cell.
_EMPTY = frozenset(("#N/A", "N/A", "n/a", "NA", "<NA>", "NULL", "null", "NaN", "nan", "None"))
_RESERVED = frozenset({*TIDY, "id", "pmid", "pmcid", "name", "source", "foci"})

Row = tuple[int, Sequence[str]]


@dataclass
class _Record:
    """An experiment of a sheet, with its sample size and space as text."""

    article: str
    n: str
    space: str
    tags: tuple[str, ...]
    rows: list[tuple[int, Sequence[str]]] = field(default_factory=list)


def is_header(header: Sequence[str]) -> bool:
    """Return whether a header is that of a sheet of JALE: articles, subjects, x, y, z, space, tags."""
    names = [name.lower() for name in header]
    placed = names[2:5] == ["x", "y", "z"] and "space" in "".join(names[5:6])
    return placed and (names[1].startswith("subject") or names[0] not in ("study", "id", "pmid", "pmcid"))


def filled(cell: str) -> str:
    """Return a cell's text in one line, empty where JALE takes it for empty."""
    text = " ".join(clean(cell).split())
    return "" if text in _EMPTY else text


def tag_of(text: str) -> str:
    """Return a tag in lower case, as JALE compares tags, and as the name of a column."""
    tag = filled(text).lower().replace("/", "_").replace("`", "'")
    return f"{tag} tag" if tag in _RESERVED else tag


def tidy(header: Sequence[str], rows: Iterable[Row], *, file: str) -> tuple[list[str], Iterator[Row]]:
    """Return the header and the rows of a sheet as a tidy table, in which the contrast of an experiment is its tags.

    As in JALE, an experiment is a row with an article and the rows below without an article; where every row names its
    article, it is the rows of one article with the same tags. Rows keep their numbers.

    Raises
    ------
    InputError
        with file:row, for a row that belongs to no article.
    """
    experiments = _experiments(rows, file=file)
    tags = list(dict.fromkeys(tag for e in experiments for tag in e.tags))
    return [*TIDY, *tags], _tidied(experiments, tags)


def _experiments(rows: Iterable[Row], *, file: str) -> list[_Record]:
    padded = [(number, [*map(filled, row), *[""] * (_FIRST_TAG - len(row))]) for number, row in rows]
    padded = [(number, row) for number, row in padded if any(row)]
    all_name_article = all(row[0] for _, row in padded)
    records: list[_Record] = []
    by_article_and_tags: dict[tuple[str, ...], _Record] = {}
    for number, row in padded:
        article, n, space = row[0], row[1], row[5]
        tags = tuple(dict.fromkeys(tag_of(cell) for cell in row[_FIRST_TAG:] if cell))
        if article:
            record = by_article_and_tags.get((article, *tags)) if all_name_article else None
            if record is None:
                record = _Record(article, n, space, tags)
                records.append(record)
                by_article_and_tags[article, *tags] = record
        elif not records:
            raise InputError(f"{file}:{number}: the row has no article above it; name the article of each focus")
        else:
            record = records[-1]
            changed = [c for c, first in zip((n, space), (record.n, record.space), strict=True) if c and c != first]
            changed += [tag for tag in tags if tag not in record.tags]
            if changed:
                raise InputError(
                    f"{file}:{number}: {shown(changed[0])} is not in the first row of {shown(record.article)}; "
                    "JALE reads subjects, space and tags there"
                )
        record.rows.append((number, row))
    return records


def _tidied(experiments: Sequence[_Record], tags: Sequence[str]) -> Iterator[Row]:
    number_of: Counter[tuple[str, str]] = Counter()
    for record in experiments:
        contrast = ", ".join(record.tags)
        number_of[record.article, contrast] += 1
        if number_of[record.article, contrast] > 1:
            contrast = f"{contrast} ({number_of[record.article, contrast]})".strip()
        carried = ["true" if tag in record.tags else "false" for tag in tags]
        for number, row in record.rows:
            n, space = (row[1] or record.n, row[5] or record.space)
            yield number, [record.article, contrast, n, space, *row[2:5], *carried]
