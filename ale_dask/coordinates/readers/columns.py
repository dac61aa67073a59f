"""Names of columns: what people call study, contrast, n, space, x, y and z, and what a mapping says they call them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from ale_dask.coordinates.readers.text import clean, shown
from ale_dask.errors import InputError

AXES = ("x", "y", "z")
REQUIRED = ("study", *AXES)
OWN = ("study", "contrast", "n", "space", *AXES)
"""The columns of a table of foci."""
IDS = ("id", "pmid", "pmcid")
"""Columns that name the study where there is no column study, as Neurosynth and NeuroQuery have it."""

# Keys have small letters and digits only. Before those of `study` come pmid and pmcid, and `id` before authors.
_PAPERS = ("paper", "papername", "article", "publication", "citation", "studyname", "studyid")
AUTHORS = ("author", "authors", "firstauthor", "authoryear")
"""Keys of columns that name the study by its authors, to whom a column year is added."""
ALIASES: Mapping[str, tuple[str, ...]] = {
    "contrast": ("contrastname", "contrastid"),
    "n": (
        *("samplesize", "samplesizes", "subjects", "nsubjects", "nosubjects", "noofsubjects", "numsubjects"),
        *("numberofsubjects", "nsubs", "nsub", "participants", "nparticipants", "numberofparticipants"),
        *("ntotal", "totaln", "subjectsn"),
    ),
    "space": (
        *("referencespace", "coordinatespace", "coordspace", "coordinatesystem", "stereotacticspace", "spacecode"),
        *("normalizationspace", "normalisationspace"),
    ),
}
"""Other names of columns, in lower case and without blanks and marks."""
_OF_AXIS = ("peak{a}", "{a}peak", "coord{a}", "{a}coord", "coordinate{a}", "{a}coordinate", "{a}mm", "pos{a}", "{a}pos")
_OF_SPACE = {
    "MNI": ("mni{a}", "{a}mni", "mnipeak{a}"),
    "TAL": ("tal{a}", "{a}tal", "talairach{a}", "{a}talairach"),
}


def key_of(name: str) -> str:
    """Return a column's name as names are compared: small letters and digits only."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def canonical(cells: Iterable[str], columns: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of a header's cells, with those of a table of foci by their own names.

    A name that stands there itself is never replaced by another; `columns` maps a table's own names to those of the
    file and comes before all.
    """
    read, found = _read(cells), plain(cells)
    for own, wanted in (columns or {}).items():
        at = _place(wanted, read)
        if at is not None:
            # The column that the file itself calls so is then one of its further columns.
            found = [f"{read[i]} (file)" if name == own and i != at else name for i, name in enumerate(found)]
            found[at] = own
    if not (_name_axes(found, _OF_AXIS) or any(_name_axes(found, patterns) for patterns in _OF_SPACE.values())):
        # A table of studies has names of its own.
        return found
    for own, keys in ALIASES.items():
        _name(found, own, keys)
    named = {key_of(c) for c in found}
    if "study" not in found and not named & {"pmid", "pmcid"}:
        _name(found, "study", _PAPERS)
        if "study" not in found and "id" not in named:
            _name(found, "study", AUTHORS)
        if "study" not in found and "id" not in named:
            _name(found, "study", ("experiment",))
    if "study" in found:
        _name(found, "contrast", ("experiment", "analysis"))
    return found


def plain(cells: Iterable[str]) -> list[str]:
    """Return the names of a header's cells as they stand there, those of a table of foci in lower case."""
    return [c.lower() if c.lower() in OWN else c for c in _read(cells)]


def space_of_axes(cells: Iterable[str], columns: Mapping[str, str] | None = None) -> str | None:
    """Return "MNI" or "TAL" where a header's columns of coordinates say so (mni_x), else None."""
    read, taken = [clean(c) for c in cells], set((columns or {}).values())
    keys = {key_of(c) for c in read if c not in taken}
    if set(AXES) & {c.lower() for c in read} or any(_keys(_OF_AXIS, a) & keys for a in AXES):
        return None
    for space, patterns in _OF_SPACE.items():
        if all(_keys(patterns, axis) & keys for axis in AXES):
            return space
    return None


def renamed(cells: Sequence[str], found: Sequence[str]) -> list[str]:
    """Return "Anzahl as n" for each column that is read under another name than its own but for case."""
    pairs = zip([clean(c) for c in cells], found, strict=False)
    return [f"{cell} as {name}" for cell, name in pairs if name in OWN and cell.lower() != name]


def check_mapping(columns: Mapping[str, str], cells: Sequence[str], *, where: str) -> None:
    """Refuse a mapping that names what a table has not.

    Raises
    ------
    InputError
        naming the column that is not there, and the nearest that is.
    """
    read = _read(cells)
    for own, wanted in columns.items():
        if own not in OWN:
            raise InputError(f"columns: {shown(own)} is none of {', '.join(OWN)}{like(own, OWN)}")
        if _place(wanted, read) is None:
            raise InputError(f"{where}: no column {shown(wanted)} for {own}{like(wanted, read)}; it has {_all(read)}")


def missing(found: Sequence[str], *, where: str) -> None:
    """Refuse a header without the columns that a table of foci needs, or with one of them twice.

    Raises
    ------
    InputError
        naming what is missing, what may be meant, and how to say so.
    """
    lacking = [c for c in REQUIRED if c not in found]
    if lacking:
        near = [f"{c}{hint}" for c in lacking if (hint := like(c, [f for f in found if f not in OWN]))]
        meant = f" ({'; '.join(near)})" if near else ""
        raise InputError(
            f"{where}: the table has no column {', '.join(lacking)} in {shown(', '.join(found))}{meant}; it needs "
            f'{", ".join(REQUIRED)}: rename it, or say its name as columns = {{{lacking[0]} = "NAME"}} in study.toml '
            f"or --columns {lacking[0]}=NAME"
        )
    twice = sorted({c for c in found if c and list(found).count(c) > 1})
    if twice:
        raise InputError(f"{where}: the column {', '.join(twice)} is there twice; rename one")


def like(wanted: str, have: Iterable[str]) -> str:
    """Return ", did you mean …?" for the name that is nearest to one, "" where none is near."""
    by_key = {key_of(c): c for c in have if key_of(c)}
    near = difflib.get_close_matches(key_of(wanted), by_key, n=1, cutoff=0.6)
    return f", did you mean {shown(by_key[near[0]])}?" if near else ""


def _name(found: list[str], own: str, keys: Sequence[str]) -> None:
    """Give the first column of one of the keys its own name, where none has it."""
    if own not in found:
        at = next((i for key in keys for i, c in enumerate(found) if key_of(c) == key), None)
        if at is not None:
            found[at] = own


def _name_axes(found: list[str], patterns: Sequence[str]) -> bool:
    """Give three columns of one pattern the names x, y and z, where they have none; return whether they have now."""
    if set(AXES) <= set(found):
        return True
    by_key = {key_of(c): i for i, c in reversed(list(enumerate(found)))}
    places = {a: next((by_key[k] for k in _ordered(patterns, a) if k in by_key), None) for a in AXES if a not in found}
    if None in places.values():
        return False
    for axis, at in places.items():
        found[at or 0] = axis
    return True


def _ordered(patterns: Sequence[str], axis: str) -> list[str]:
    return [pattern.format(a=axis) for pattern in patterns]


def _keys(patterns: Sequence[str], axis: str) -> set[str]:
    return set(_ordered(patterns, axis))


def _read(cells: Iterable[str]) -> list[str]:
    # A "/" in a name would make a group of the variable's name in a zarr store.
    return [clean(c).replace("/", "_") for c in cells]


def _place(wanted: str, read: Sequence[str]) -> int | None:
    name = clean(wanted).replace("/", "_")
    if name in read:
        return read.index(name)
    lowered = [c.lower() for c in read]
    return lowered.index(name.lower()) if name.lower() in lowered else None


def _all(read: Sequence[str]) -> str:
    shown_ = ", ".join(shown(c) for c in read[:20] if c)
    return shown_ + (" …" if len(read) > 20 else "") or "none"
