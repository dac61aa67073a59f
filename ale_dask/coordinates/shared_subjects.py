"""Subjects that may stand in both arms of a contrast: same experiment, foci, study, or first author, year and n."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

from ale_dask.coordinates.foci import foci_of, subset
from ale_dask.errors import InputError
from ale_dask.schema import FOCI, check

_LISTED = 10
# One or two foci in whole millimetres, of the amygdala say, are the same by chance.
_ENOUGH_FOCI = 3
_PARTICLES = frozenset(
    ("al", "bin", "ben", "da", "de", "del", "della", "den", "der", "di", "dos", "du", "el", "la", "le", "st", "ten")
) | {"ter", "van", "vom", "von", "zu", "zur"}
_JOINS = frozenset(["et", "al", "and", "und", "y", "colleagues", "others"])
# Of PubMed, or a DOI.
_IDENTIFIER = re.compile(r"(?:pmid\W*)?\d{5,}|\S*\b10\.\d{4,}/\S+", re.IGNORECASE)
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_WORD = re.compile(r"[^\W\d_][^\W\d_'’‐‑-]*(?:['’‐‑-][^\W\d_]+)*")


@dataclass(frozen=True)
class Shared:
    """Experiments, by position in each arm, that may be of the same subjects; `identical` if they are the same one."""

    words: str
    identical: bool
    a: tuple[int, ...]
    b: tuple[int, ...]


def author_year(name: str) -> tuple[str, str, int] | None:
    """Return the first author's surname without accents in lower case, the first initial or "", and the year.

    None for a name that does not begin "Smith 2010", "Smith J, Jones K & Li (2010)", "van der Meer et al., 2010",
    "Smith2010a" or the like. Letters after the year are of papers, not of subjects.
    """
    name = unicodedata.normalize("NFC", name)
    year = _YEAR.search(name)
    if year is None:
        return None
    head = name[: year.start()]
    words = _WORD.findall(head)
    if re.search(r"[^\w\s,.;&()\[\]'’‐‑-]|[\d]", head):
        return None
    if not words:
        return None
    # "Du Y 2013" is of Du, "du Plessis 2013" is not.
    begin = next(
        (i for i, (w, after) in enumerate(pairwise([*words, ""])) if w.lower() not in _PARTICLES or _initials(after)),
        len(words) - 1,
    )
    rest = words[begin + 1 :]
    # Other words than names stand there too: "Pain in patients 2010" is no author's.
    if any(w[0].islower() and w not in _PARTICLES | _JOINS for w in rest):
        return None
    initial = rest[0][0] if rest and _initials(rest[0]) else ""
    surname = unicodedata.normalize("NFKD", "".join(words[: begin + 1])).casefold()
    return "".join(c for c in surname if c.isalnum()), initial, int(year[0])


def _initials(word: str) -> bool:
    return word.isupper() and len(word) <= 3


def shared(a: xr.Dataset, b: xr.Dataset) -> list[Shared]:
    """Return the groups of experiments of both arms that may have subjects in common, each pair in one of them.

    First experiments with one key, then those with the same foci (three or more) and sample size, whatever their
    name, then the experiments of one study, then those of one first author, year and sample size. Where a study's name
    is its experiment's own, it counts only as author and year, a PubMed id or a DOI: "patients 3" of two files, or a
    bare word, says nothing.
    """
    for arm in (a, b):
        check(arm, *FOCI)
    groups: list[Shared] = []
    seen: set[tuple[int, int]] = set()
    for why, of in _WAYS.items():
        left, right = of(a), of(b)
        for value in [v for v in left if v in right]:
            pairs = {(i, j) for i, one in left[value] for j, two in right[value] if one == two or not (one and two)}
            if pairs - seen:
                seen |= pairs
                members = (sorted({p[side] for p in pairs}) for side in (0, 1))
                groups.append(_group(why, a, b, *members))
    return groups


def without_shared(
    a: xr.Dataset, b: xr.Dataset, *, choice: str, name: str
) -> tuple[xr.Dataset, xr.Dataset, list[Shared]]:
    """Return the arms' foci as `choice` ("refuse", "exclude" or "keep") wants them, and what they shared.

    Raises
    ------
    InputError
        when they share anything and the choice is "refuse", the same experiment and it is "keep", or when "exclude"
        leaves an arm without experiments.
    """
    found = shared(a, b)
    identical = [g for g in found if g.identical]
    if not found or (choice == "keep" and not identical):
        return a, b, found
    if choice == "exclude":
        left = [
            subset(arm, ~np.isin(np.arange(arm.sizes["experiment"]), [i for g in found for i in members(g)]))
            for arm, members in ((a, _in_a), (b, _in_b))
        ]
        if not all(arm.sizes["experiment"] for arm in left):
            raise InputError(
                f'{name}: inference.shared = "exclude" leaves an arm without experiments: {_listed(found)}; '
                'change the samples, or "keep" what are different subjects'
            )
        return left[0], left[1], found
    if identical:
        n = sum(len(g.a) for g in identical)
        raise InputError(
            f"{name}: {n} experiment(s) stand in both arms ({_listed(identical)}) and cannot be exchanged, nor kept; "
            'remove them, or set inference.shared = "exclude"'
        )
    raise InputError(
        f"{name}: the arms may share subjects: {_listed(found)}; relabelling takes experiments as independent. "
        'Remove them from one arm, or set inference.shared = "exclude" (drop them from both arms) or "keep" (they are '
        "different subjects)"
    )


def _in_a(group: Shared) -> tuple[int, ...]:
    return group.a


def _in_b(group: Shared) -> tuple[int, ...]:
    return group.b


def _listed(groups: Sequence[Shared]) -> str:
    more = f" and {len(groups) - _LISTED} more" if len(groups) > _LISTED else ""
    return "; ".join(g.words for g in groups[:_LISTED]) + more


def _group(why: str, a: xr.Dataset, b: xr.Dataset, in_a: Sequence[int], in_b: Sequence[int]) -> Shared:
    def names(arm: xr.Dataset, members: Sequence[int]) -> str:
        ids = [f"'{arm['experiment_id'].values[i]}'" for i in members[:_LISTED]]
        return ", ".join(ids) + (" …" if len(members) > _LISTED else "")

    identical = why == _IDENTICAL
    are = "have" if why.endswith("foci and sample size") else "are of"
    words = names(a, in_a) if identical else f"{names(a, in_a)} and {names(b, in_b)} {are} {why}"
    return Shared(f"{words} in both arms" if identical else words, identical, tuple(in_a), tuple(in_b))


Members = dict[Hashable, list[tuple[int, str]]]
"""The experiments of each value, each with what must not differ between two of them ("" for not known)."""


def _keys(arm: xr.Dataset) -> Members:
    return {key: [(i, "")] for i, key in enumerate(arm["experiment_key"].values.tolist())}


def of_same_foci(arm: xr.Dataset) -> Members:
    """Return the experiments of each sample size and set of three or more foci."""
    found: Members = {}
    sizes = arm["experiment_n_subjects"].values.tolist()
    for i, (n, xyz) in enumerate(zip(sizes, foci_of(arm), strict=True)):
        if len(xyz) >= _ENOUGH_FOCI:
            # + 0.0 makes 0.0 of -0.0, whose bytes differ.
            found.setdefault((n, (xyz[np.lexsort(xyz.T)] + 0.0).tobytes()), []).append((i, ""))
    return found


def tells_subjects(study: str, name: str) -> bool:
    """Return whether a study's name says that its experiments are of the same people, `name` being an experiment's."""
    return bool(study) and (study != name or _IDENTIFIER.fullmatch(study) is not None or author_year(study) is not None)


def _studies(arm: xr.Dataset) -> Members:
    found: Members = {}
    names = arm["experiment_name"].values.tolist()
    for i, (study, name) in enumerate(zip(arm["experiment_study"].values.tolist(), names, strict=True)):
        if tells_subjects(study, name):
            found.setdefault(study.casefold(), []).append((i, ""))
    return found


def _authors(arm: xr.Dataset) -> Members:
    found: Members = {}
    sizes = arm["experiment_n_subjects"].values.tolist()
    for i, (study, n) in enumerate(zip(arm["experiment_study"].values.tolist(), sizes, strict=True)):
        by = author_year(study)
        if by is not None and n:
            found.setdefault((by[0], by[2], n), []).append((i, by[1]))
    return found


_IDENTICAL = "the same experiment"
_WAYS: dict[str, Callable[[xr.Dataset], Members]] = {
    _IDENTICAL: _keys,
    "the same foci and sample size": of_same_foci,
    "the same study": _studies,
    "the same first author, year and sample size": _authors,
}
