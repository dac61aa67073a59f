"""Experiments of both arms of a contrast that may be of the same subjects."""

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
# One or two foci in whole millimetres, in the amygdala for example, are often equal by chance.
_MIN_EQUAL_FOCI = 3
_PARTICLES = frozenset(
    ("al", "bin", "ben", "da", "de", "del", "della", "den", "der", "di", "dos", "du", "el", "la", "le", "st", "ten")
) | {"ter", "van", "vom", "von", "zu", "zur"}
_CONJUNCTIONS = frozenset(["et", "al", "and", "und", "y", "colleagues", "others"])
# An id of PubMed, or a DOI.
_IDENTIFIER = re.compile(r"(?:pmid\W*)?\d{5,}|\S*\b10\.\d{4,}/\S+", re.IGNORECASE)
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_WORD = re.compile(r"[^\W\d_][^\W\d_'’‐‑-]*(?:['’‐‑-][^\W\d_]+)*")


@dataclass(frozen=True)
class Shared:
    """Experiments, by position in each arm, that may be of the same subjects; `identical` if they are one experiment.

    `words` names the experiments and says why.
    """

    words: str
    identical: bool
    a: tuple[int, ...]
    b: tuple[int, ...]


def author_year(name: str) -> tuple[str, str, int] | None:
    """Return the first author's surname without accents in lower case, the first initial or "", and the year.

    None for a name that does not begin with authors and a year, as "Smith 2010", "Smith J, Jones K & Li (2010)", "van
    der Meer et al., 2010" and "Smith2010a" do. A letter after the year tells papers apart, not subjects, and is left
    out.
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
    # The surname of "Du Y 2013" is Du, that of "du Plessis 2013" is du Plessis.
    begin = next(
        (i for i, (w, after) in enumerate(pairwise([*words, ""])) if w.lower() not in _PARTICLES or _initials(after)),
        len(words) - 1,
    )
    rest = words[begin + 1 :]
    # "Pain in patients 2010" has other words than names.
    if any(w[0].islower() and w not in _PARTICLES | _CONJUNCTIONS for w in rest):
        return None
    initial = rest[0][0] if rest and _initials(rest[0]) else ""
    surname = unicodedata.normalize("NFKD", "".join(words[: begin + 1])).casefold()
    return "".join(c for c in surname if c.isalnum()), initial, int(year[0])


def _initials(word: str) -> bool:
    return word.isupper() and len(word) <= 3


def shared(a: xr.Dataset, b: xr.Dataset) -> list[Shared]:
    """Return the groups of experiments of both arms that may have subjects in common; no pair is in two groups.

    First come experiments with the same key, then those with the same foci (three or more) and sample size, of the
    same study, and of the same first author, year and sample size. A study whose name is that of its experiment tells
    only if it is an author and year, a PubMed id or a DOI: "patients 3" in two files does not mean the same subjects.
    """
    for arm in (a, b):
        check(arm, *FOCI)
    groups: list[Shared] = []
    grouped: set[tuple[int, int]] = set()
    for reason, by_value in _REASONS.items():
        in_a, in_b = by_value(a), by_value(b)
        for value in [v for v in in_a if v in in_b]:
            pairs = {(i, j) for i, p in in_a[value] for j, q in in_b[value] if p == q or not (p and q)}
            if pairs - grouped:
                grouped |= pairs
                members = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
                groups.append(_group(reason, a, b, *members))
    return groups


def without_shared(
    a: xr.Dataset, b: xr.Dataset, *, choice: str, name: str
) -> tuple[xr.Dataset, xr.Dataset, list[Shared]]:
    """Return the foci of the arms without shared experiments, or unchanged, and the groups that they share.

    Parameters
    ----------
    choice
        "refuse" raises an error for shared experiments, "exclude" removes them from both arms, "keep" keeps them,
        which is not possible for an experiment in both arms.
    name
        The name of the contrast in messages.

    Raises
    ------
    InputError
        As `choice` says, and when "exclude" leaves an arm without experiments.
    """
    groups = shared(a, b)
    identical = [g for g in groups if g.identical]
    if not groups or (choice == "keep" and not identical):
        return a, b, groups
    if choice == "exclude":
        without_a = _without(a, [i for g in groups for i in g.a])
        without_b = _without(b, [i for g in groups for i in g.b])
        if not (without_a.sizes["experiment"] and without_b.sizes["experiment"]):
            raise InputError(
                f'{name}: inference.shared = "exclude" leaves an arm without experiments: {_listed(groups)}; '
                'change the samples, or "keep" what are different subjects'
            )
        return without_a, without_b, groups
    if identical:
        n = sum(len(g.a) for g in identical)
        raise InputError(
            f"{name}: {n} experiment(s) stand in both arms ({_listed(identical)}) and cannot be exchanged, nor kept; "
            'remove them, or set inference.shared = "exclude"'
        )
    raise InputError(
        f"{name}: the arms may share subjects: {_listed(groups)}; relabelling takes experiments as independent. "
        'Remove them from one arm, or set inference.shared = "exclude" (drop them from both arms) or "keep" (they are '
        "different subjects)"
    )


def _without(arm: xr.Dataset, experiments: Sequence[int]) -> xr.Dataset:
    return subset(arm, ~np.isin(np.arange(arm.sizes["experiment"]), experiments))


def _listed(groups: Sequence[Shared]) -> str:
    more = f" and {len(groups) - _LISTED} more" if len(groups) > _LISTED else ""
    return "; ".join(g.words for g in groups[:_LISTED]) + more


def _group(reason: str, a: xr.Dataset, b: xr.Dataset, in_a: Sequence[int], in_b: Sequence[int]) -> Shared:
    def names(arm: xr.Dataset, members: Sequence[int]) -> str:
        ids = [f"'{arm['experiment_id'].values[i]}'" for i in members[:_LISTED]]
        return ", ".join(ids) + (" …" if len(members) > _LISTED else "")

    identical = reason == _IDENTICAL
    verb = "have" if reason.endswith("foci and sample size") else "are of"
    words = names(a, in_a) if identical else f"{names(a, in_a)} and {names(b, in_b)} {verb} {reason}"
    return Shared(f"{words} in both arms" if identical else words, identical, tuple(in_a), tuple(in_b))


Members = dict[Hashable, list[tuple[int, str]]]
"""The experiments of each value, each with the initial of its first author, "" where it is not known or of no matter.

Experiments of the same value belong together unless they have different initials."""


def _keys(arm: xr.Dataset) -> Members:
    return {key: [(i, "")] for i, key in enumerate(arm["experiment_key"].values.tolist())}


def of_same_foci(arm: xr.Dataset) -> Members:
    """Return the experiments of each sample size and set of three or more foci."""
    members: Members = {}
    sizes = arm["experiment_n_subjects"].values.tolist()
    for i, (n, xyz) in enumerate(zip(sizes, foci_of(arm), strict=True)):
        if len(xyz) >= _MIN_EQUAL_FOCI:
            # Adding 0.0 makes 0.0 of -0.0, whose bytes differ.
            members.setdefault((n, (xyz[np.lexsort(xyz.T)] + 0.0).tobytes()), []).append((i, ""))
    return members


def tells_subjects(study: str, name: str) -> bool:
    """Return whether experiments of a study, one of which has this name, are of the same subjects by its name."""
    return bool(study) and (study != name or _IDENTIFIER.fullmatch(study) is not None or author_year(study) is not None)


def _studies(arm: xr.Dataset) -> Members:
    members: Members = {}
    names = arm["experiment_name"].values.tolist()
    for i, (study, name) in enumerate(zip(arm["experiment_study"].values.tolist(), names, strict=True)):
        if tells_subjects(study, name):
            members.setdefault(study.casefold(), []).append((i, ""))
    return members


def _authors(arm: xr.Dataset) -> Members:
    members: Members = {}
    sizes = arm["experiment_n_subjects"].values.tolist()
    for i, (study, n) in enumerate(zip(arm["experiment_study"].values.tolist(), sizes, strict=True)):
        authors = author_year(study)
        if authors is not None and n:
            surname, initial, year = authors
            members.setdefault((surname, year, n), []).append((i, initial))
    return members


_IDENTICAL = "the same experiment"
_REASONS: dict[str, Callable[[xr.Dataset], Members]] = {
    _IDENTICAL: _keys,
    "the same foci and sample size": of_same_foci,
    "the same study": _studies,
    "the same first author, year and sample size": _authors,
}
