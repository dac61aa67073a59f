"""Decisions that were made while foci were read and prepared, kept in the foci Dataset until they are reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import xarray as xr

ATTRIBUTE = "decisions"
"""The attribute of a foci Dataset that holds its decisions as JSON."""
_LISTED = 5


@dataclass(frozen=True)
class Decision:
    """A decision of the program about its input, in a sentence that a user can act on.

    Parameters
    ----------
    code
        The kind of decision, in lower case with hyphens, such as "imputed-n", "converted-space" or "pooled-groups".
    where
        The sample, file and line, or experiments that the decision is about.
    message
        A sentence with the decision and how to decide otherwise.
    count
        The number of rows, foci, experiments or groups that the decision is about.
    """

    code: str
    where: str
    message: str
    count: int = 1


Tell = Callable[[Decision], None]
"""A function that readers call with each decision, such as the `append` of a list."""


def untold(decision: Decision) -> None:
    """Ignore a decision."""


def merged(made: Iterable[Decision]) -> list[Decision]:
    """Return decisions of which those with the same code and message are joined to one, with all of their places.

    Examples
    --------
    >>> merged([Decision("encoding", "a.txt", "read as X"), Decision("encoding", "b.txt", "read as X")])[0].where
    'a.txt, b.txt'
    """
    groups: dict[tuple[str, str], list[Decision]] = {}
    for decision in dict.fromkeys(made):
        groups.setdefault((decision.code, decision.message), []).append(decision)
    return [
        Decision(code, _places([d.where for d in same]), message, sum(d.count for d in same))
        for (code, message), same in groups.items()
    ]


def _places(wheres: list[str]) -> str:
    more = f" and {len(wheres) - _LISTED:,} more" if len(wheres) > _LISTED else ""
    return ", ".join(wheres[:_LISTED]) + more


def decisions(dataset: xr.Dataset) -> list[Decision]:
    """Return the decisions that were made about a foci Dataset, in the order in which they were made.

    Examples
    --------
    >>> import xarray as xr
    >>> made = add_decisions(xr.Dataset(), [Decision("imputed-n", "drug", "20 stands for 3 sample sizes", 3)])
    >>> decisions(made)[0].count
    3
    """
    return [Decision(**row) for row in json.loads(dataset.attrs.get(ATTRIBUTE, "[]"))]


def add_decisions(dataset: xr.Dataset, new: Iterable[Decision]) -> xr.Dataset:
    """Return the foci Dataset with these decisions after those that it has; equal decisions are kept once."""
    every = dict.fromkeys([*decisions(dataset), *new])
    return dataset.assign_attrs({ATTRIBUTE: json.dumps([asdict(d) for d in every])}) if every else dataset


def fewer(made: Iterable[Decision], *, limit: int = 10) -> list[Decision]:
    """Return at most `limit` decisions of each code, and one with the number of the others."""
    by_code: dict[str, list[Decision]] = {}
    for decision in dict.fromkeys(made):
        by_code.setdefault(decision.code, []).append(decision)
    fewer_of_each = []
    for code, same in by_code.items():
        fewer_of_each += same[:limit]
        if len(same) > limit:
            rest = len(same) - limit
            fewer_of_each.append(Decision(code, "", f"the same holds for {rest:,} more", rest))
    return fewer_of_each
