"""Sheets of JALE (0.2): experiments with tags, as rows of a tidy table with one true/false column per tag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ale_dask.coordinates.readers.text import clean, shown
from ale_dask.errors import InputError

# JALE knows its columns by their place: articles, subjects, x, y, z, space, then tags under any heading.
_TAGS = 6
TIDY = ("study", "contrast", "n", "space", "x", "y", "z")
# What pandas, and so JALE, takes for an empty cell.
_EMPTY = frozenset(("#N/A", "N/A", "n/a", "NA", "<NA>", "NULL", "null", "NaN", "nan", "None"))
_TAKEN = frozenset({*TIDY, "id", "pmid", "pmcid", "name", "source", "foci"})

Row = tuple[int, Sequence[str]]


@dataclass
class _Open:
    """One experiment of a sheet; n and space as they stand there."""

    article: str
    n: str
    space: str
    tags: tuple[str, ...]
    rows: list[tuple[int, Sequence[str]]] = field(default_factory=list)


def is_header(header: Sequence[str]) -> bool:
    """Return whether column names are those of JALE's experiments: articles, subjects, x, y, z, space, tags."""
    names = [name.lower() for name in header]
    placed = names[2:5] == ["x", "y", "z"] and "space" in "".join(names[5:6])
    return placed and (names[1].startswith("subject") or names[0] not in ("study", "id", "pmid", "pmcid"))


def filled(cell: str) -> str:
    """Return a cell's text in one line, empty where JALE takes it for empty."""
    text = " ".join(clean(cell).split())
    return "" if text in _EMPTY else text


def tag_of(text: str) -> str:
    """Return a tag as JALE compares it, without regard to case, and as a column can be named."""
    tag = filled(text).lower().replace("/", "_").replace("`", "'")
    return f"{tag} tag" if tag in _TAKEN else tag


def tidy(header: Sequence[str], rows: Iterable[Row], *, file: str) -> tuple[list[str], Iterator[Row]]:
    """Return the header and the rows of the same experiments as a tidy table, their contrast being their tags.

    As in JALE, an experiment is a row with an article and the rows below without one; in a sheet that names the
    article in every row, it is the rows of one article with the same tags. Numbers of rows stay.

    Raises
    ------
    InputError
        with file:row, for a row that belongs to no article.
    """
    experiments = _experiments(rows, file=file)
    tags = list(dict.fromkeys(tag for e in experiments for tag in e.tags))
    return [*TIDY, *tags], _tidied(experiments, tags)


def _experiments(rows: Iterable[Row], *, file: str) -> list[_Open]:
    listed = [(number, [*map(filled, row), *[""] * (_TAGS - len(row))]) for number, row in rows]
    listed = [(number, row) for number, row in listed if any(row)]
    each_named = all(row[0] for _, row in listed)
    found: list[_Open] = []
    same: dict[tuple[str, ...], _Open] = {}
    for number, row in listed:
        article, n, space = row[0], row[1], row[5]
        tags = tuple(dict.fromkeys(tag_of(cell) for cell in row[_TAGS:] if cell))
        if article:
            one = same.get((article, *tags)) if each_named else None
            if one is None:
                one = _Open(article, n, space, tags)
                found.append(one)
                same[article, *tags] = one
        elif not found:
            raise InputError(f"{file}:{number}: the row has no article above it; name the article of each focus")
        else:
            one = found[-1]
            changed = [c for c, own in zip((n, space), (one.n, one.space), strict=True) if c and c != own]
            changed += [tag for tag in tags if tag not in one.tags]
            if changed:
                raise InputError(
                    f"{file}:{number}: {shown(changed[0])} is not in the first row of {shown(one.article)}; "
                    "JALE reads subjects, space and tags there"
                )
        one.rows.append((number, row))
    return found


def _tidied(experiments: Sequence[_Open], tags: Sequence[str]) -> Iterator[Row]:
    twins: Counter[tuple[str, str]] = Counter()
    for one in experiments:
        contrast = ", ".join(one.tags)
        twins[one.article, contrast] += 1
        if twins[one.article, contrast] > 1:
            contrast = f"{contrast} ({twins[one.article, contrast]})".strip()
        carried = ["true" if tag in one.tags else "false" for tag in tags]
        for number, row in one.rows:
            n, space = (row[1] or one.n, row[5] or one.space)
            yield number, [one.article, contrast, n, space, *row[2:5], *carried]
