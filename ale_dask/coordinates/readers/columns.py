"""Names of the columns of tables of foci: the names that people use, and those that a user maps to them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from ale_dask.coordinates.readers.text import clean, shown
from ale_dask.errors import InputError, did_you_mean

AXES = ("x", "y", "z")
REQUIRED = ("study", *AXES)
CANONICAL = ("study", "contrast", "n", "space", *AXES)
"""The columns of a table of foci."""
IDS = ("id", "pmid", "pmcid")
"""Columns that name the study where there is no column study, as in Neurosynth and NeuroQuery."""

# Names in this module that are compared have small letters and digits only (see `key_of`). A study is named by pmid or
# pmcid before these columns, and by id before authors.
_PAPERS = ("paper", "papername", "article", "publication", "citation", "studyname", "studyid")
AUTHORS = ("author", "authors", "firstauthor", "authoryear")
"""Columns that name the study by its authors; a column year is added to them."""
# Not patients or controls, who may be one of two groups.
_PEOPLE = ("subjects", "participants", "individuals")
_NUMBER = ("", "n", "no", "noof", "nr", "nrof", "num", "numof", "number", "numberof", "total")
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "contrast": ("contrastname", "contrastid"),
    "n": (
        *("samplesize", "samplesizes", "nsubs", "nsub", "ntotal", "totaln"),
        *(f"{number}{people}" for people in _PEOPLE for number in _NUMBER),
        *(f"{people}n" for people in _PEOPLE),
    ),
    "space": (
        *("referencespace", "coordinatespace", "coordspace", "coordinatesystem", "stereotacticspace", "spacecode"),
        *("normalizationspace", "normalisationspace"),
    ),
}
_AXIS_PATTERNS = (
    "peak{a}",
    "{a}peak",
    "coord{a}",
    "{a}coord",
    "coordinate{a}",
    "{a}coordinate",
    "{a}mm",
    "pos{a}",
    "{a}pos",
)
_AXIS_PATTERNS_OF_SPACE = {
    "MNI": ("mni{a}", "{a}mni", "mnipeak{a}"),
    "TAL": ("tal{a}", "{a}tal", "talairach{a}", "{a}talairach"),
}


_OF_FOCI = frozenset(
    (
        *(
            "region",
            "regions",
            "brainregion",
            "roiname",
            "area",
            "brainarea",
            "structure",
            "label",
            "location",
            "gyrus",
        ),
        *("anatomicalregion", "anatomicallabel", "anatomy", "ba", "brodmann", "brodmannarea", "hemisphere", "hemi"),
        *("side", "lr", "laterality", "cluster", "clustersize", "clusterno", "k", "ke", "voxels", "volume", "size"),
        *("t", "tvalue", "tscore", "tmax", "tstat", "zvalue", "zscore", "zmax", "zstat", "f", "fvalue", "p", "pvalue"),
        *("statistic", "stat", "value", "peak", "peakvalue", "peakno", "focus", "foci", "no", "nr", "note", "notes"),
        *("comment", "comments", "remark", "remarks"),
    )
)


def describes_foci(column: str) -> bool:
    """Return whether a column of this name may differ between the foci of an experiment, as regions and t do."""
    return key_of(column) in _OF_FOCI


def key_of(name: str) -> str:
    """Return the small letters and digits of a column's name, by which names are compared."""
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def canonical(cells: Iterable[str], columns: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of the columns of a header, with the columns of a table of foci by their names in `CANONICAL`.

    A column that has such a name itself keeps it before all others with other names; `columns` maps canonical names to
    the names in the file, and comes first.
    """
    in_file, header = _names(cells), plain(cells)
    for own, name_in_file in (columns or {}).items():
        at = _index(name_in_file, in_file)
        if at is not None:
            # Another column that the file calls by the canonical name becomes one of its further columns.
            header = [f"{in_file[i]} (file)" if name == own and i != at else name for i, name in enumerate(header)]
            header[at] = own
    if not any(_name_axes(header, patterns) for patterns in (_AXIS_PATTERNS, *_AXIS_PATTERNS_OF_SPACE.values())):
        # A table of studies has no coordinates, and keeps its names.
        return header
    for own, aliases in _ALIASES.items():
        _name(header, own, aliases)
    keys = {key_of(c) for c in header}
    if "study" not in header and not keys & {"pmid", "pmcid"}:
        _name(header, "study", _PAPERS)
        if "study" not in header and "id" not in keys:
            _name(header, "study", AUTHORS)
        if "study" not in header and "id" not in keys:
            _name(header, "study", ("experiment",))
    if "study" in header:
        _name(header, "contrast", ("experiment", "analysis"))
    return header


def plain(cells: Iterable[str]) -> list[str]:
    """Return the names of the columns of a header as the file has them, canonical ones in lower case."""
    return [c.lower() if c.lower() in CANONICAL else c for c in _names(cells)]


def space_of_axes(cells: Iterable[str], columns: Mapping[str, str] | None = None) -> str | None:
    """Return "MNI" or "TAL" where the names of the columns of coordinates state it (mni_x), else None."""
    in_file, mapped = [clean(c) for c in cells], set((columns or {}).values())
    keys = {key_of(c) for c in in_file if c not in mapped}
    if set(AXES) & {c.lower() for c in in_file} or any(keys.intersection(_keys(_AXIS_PATTERNS, a)) for a in AXES):
        return None
    for space, patterns in _AXIS_PATTERNS_OF_SPACE.items():
        if all(keys.intersection(_keys(patterns, axis)) for axis in AXES):
            return space
    return None


def renamed(cells: Sequence[str], header: Sequence[str]) -> list[str]:
    """Return "Anzahl as n" for each column whose canonical name is not its name in the file."""
    pairs = zip([clean(c) for c in cells], header, strict=False)
    return [f"{cell} as {name}" for cell, name in pairs if name in CANONICAL and cell.lower() != name]


def check_mapping(columns: Mapping[str, str], cells: Sequence[str], *, where: str) -> None:
    """Raise an InputError where a mapping names a column that a table does not have."""
    in_file = _names(cells)
    for own, wanted in columns.items():
        if own not in CANONICAL:
            raise InputError(f"columns: {shown(own)} is none of {', '.join(CANONICAL)}{did_you_mean(own, CANONICAL)}")
        if _index(wanted, in_file) is None:
            has = ", ".join(shown(c) for c in in_file[:20] if c) + (" …" if len(in_file) > 20 else "") or "none"
            raise InputError(
                f"{where}: no column {shown(wanted)} for {own}{did_you_mean(wanted, in_file)}; it has {has}"
            )


def check_complete(header: Sequence[str], *, where: str) -> None:
    """Raise an InputError for a header without the columns that a table of foci needs, or with a column twice."""
    missing = [c for c in REQUIRED if c not in header]
    if missing:
        others = [name for name in header if name not in CANONICAL]
        hints = [f"{c}{hint}" for c in missing if (hint := did_you_mean(c, others))]
        meant = f" ({', '.join(hints)})" if hints else ""
        raise InputError(
            f"{where}: the table has no column {', '.join(missing)} in {shown(', '.join(header))}{meant}; it needs "
            f'{", ".join(REQUIRED)}: rename it, or say its name as columns = {{{missing[0]} = "NAME"}} in study.toml '
            f"or --columns {missing[0]}=NAME"
        )
    twice = sorted({c for c in header if c and list(header).count(c) > 1})
    if twice:
        raise InputError(f"{where}: the column {', '.join(twice)} is there twice; rename one")


def _name(header: list[str], own: str, aliases: Sequence[str]) -> None:
    """Give the first column with one of the aliases the canonical name `own`, unless a column has it."""
    if own not in header:
        at = next((i for alias in aliases for i, c in enumerate(header) if key_of(c) == alias), None)
        if at is not None:
            header[at] = own


def _name_axes(header: list[str], patterns: Sequence[str]) -> bool:
    """Name the columns that fit a pattern x, y and z, unless columns have these names; return whether there are all."""
    if set(AXES) <= set(header):
        return True
    by_key = {key_of(c): i for i, c in reversed(list(enumerate(header)))}
    indices = {a: next((by_key[k] for k in _keys(patterns, a) if k in by_key), None) for a in AXES if a not in header}
    if None in indices.values():
        return False
    for axis, at in indices.items():
        header[at or 0] = axis
    return True


def _keys(patterns: Sequence[str], axis: str) -> list[str]:
    return [pattern.format(a=axis) for pattern in patterns]


def _names(cells: Iterable[str]) -> list[str]:
    # In a zarr store a "/" in the name of a variable would make a group.
    return [clean(c).replace("/", "_") for c in cells]


def _index(wanted: str, names: Sequence[str]) -> int | None:
    name = clean(wanted).replace("/", "_")
    if name in names:
        return names.index(name)
    lowered = [c.lower() for c in names]
    return lowered.index(name.lower()) if name.lower() in lowered else None
