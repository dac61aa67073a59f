"""Sample sizes as people write them, and the decisions on sample sizes and spaces that users are told."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ale_dask.coordinates.decisions import Decision
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers.text import as_subjects, clean, shown
from ale_dask.errors import InputError

IMPUTED, IN_WORDS, SEVERAL, CONVERTED = "imputed-n", "n-in-words", "several-n", "converted-space"
"""Codes of the decisions on sample sizes and spaces."""
# "14 (12 f)", "14 subjects", "n = 14"; not "14 + 12", "14-16" or "14 (7) (7)", which may be a sum or a range.
_IN_WORDS = re.compile(r"(?:n\s*=\s*)?(\d+)(?:\s*\([^()]*\)|\s*[A-Za-z][A-Za-z ]*\.?)?", re.ASCII | re.IGNORECASE)
_LISTED = 10


def stated_n(text: str, *, where: str) -> tuple[int | None, Decision | None]:
    """Return the sample size that a text states, None where it is empty, and the decision if it is in words.

    Raises
    ------
    InputError
        for a text that does not state one whole number of 1 or more.
    """
    try:
        return as_subjects(text, where=where), None
    except InputError as error:
        words = _IN_WORDS.fullmatch(clean(text))
        if words is None:
            two = "" if len(re.findall(r"\d+", text)) < 2 else ", that of all subjects whose foci these are"
            raise InputError(f"{error}{two}") from error
        n = as_subjects(words[1], where=where)
        return n, Decision(IN_WORDS, where, f"{shown(clean(text))} was read as a sample size of {n}")


def several_n(sizes: Sequence[int], *, title: str, where: str) -> Decision | None:
    """Return the decision to use the smallest of several sample sizes, None where there is only one."""
    stated = sorted(set(sizes))
    if len(stated) < 2:
        return None
    return Decision(
        SEVERAL,
        where,
        f"{shown(title)} states n = {', '.join(map(str, stated[:_LISTED]))}; the least, {stated[0]}, is used: correct "
        "the file if that is wrong, or give different contrasts names of their own",
        len(stated),
    )


def imputed_n(experiments: Sequence[Experiment], n: int) -> list[Decision]:
    """Return the decision to use `n` for the experiments whose file states no sample size."""
    without = [e for e in experiments if e.n is None and e.xyz]
    if not without:
        return []
    names = ", ".join(f"{shown(e.name)} ({e.source})" for e in without[:_LISTED])
    more = f" and {len(without) - _LISTED:,} more" if len(without) > _LISTED else ""
    return [
        Decision(
            IMPUTED,
            "",
            f"n = {n} stands for the sample size of {len(without):,} of {len(experiments):,} experiments, whose file "
            f"states none: {names}{more}; write it in the file (column n, or '// Subjects=' below the name)",
            len(without),
        )
    ]


def converted(experiments: Sequence[Experiment], talairach: str) -> list[Decision]:
    """Return the decision to convert the foci of experiments from Talairach to MNI space."""
    number = sum(e.space == "TAL" and bool(e.xyz) for e in experiments)
    if not number:
        return []
    message = (
        f"the foci of {number:,} of {len(experiments):,} experiments are stated in Talairach space and were "
        f"converted to MNI (inverse of icbm2tal, software '{talairach}')"
    )
    return [Decision(CONVERTED, "", message, number)]
