"""Decisions made while foci were read and prepared, carried in the foci Dataset until they are shown."""

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
    """One thing that the program decided about the input, in a sentence that a user can act on.

    Parameters
    ----------
    code
        The kind of decision, in lower case with hyphens, such as "imputed-n", "converted-space" or "pooled-groups".
    where
        The sample, file and line, or experiments that the decision is about.
    message
        One sentence that says what was decided and how to decide otherwise.
    count
        How many rows, foci, experiments or groups the decision is about.
    """

    code: str
    where: str
    message: str
    count: int = 1


Tell = Callable[[Decision], None]
"""What readers tell their decisions to while there is no Dataset yet, such as the `append` of a list."""


def untold(decision: Decision) -> None:
    """Drop a decision, for callers that look at the experiments alone."""


def merged(made: Iterable[Decision]) -> list[Decision]:
    """Return decisions with those of one code and message, made in several places, as one with all of the places.

    Examples
    --------
    >>> merged([Decision("encoding", "a.txt", "read as X"), Decision("encoding", "b.txt", "read as X")])[0].where
    'a.txt, b.txt'
    """
    groups: dict[tuple[str, str], list[Decision]] = {}
    for one in dict.fromkeys(made):
        groups.setdefault((one.code, one.message), []).append(one)
    return [
        Decision(code, _places([one.where for one in same]), message, sum(one.count for one in same))
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
    """Return the foci Dataset with these decisions after those it has; a decision that it has already stays one."""
    every = dict.fromkeys([*decisions(dataset), *new])
    return dataset.assign_attrs({ATTRIBUTE: json.dumps([asdict(one) for one in every])}) if every else dataset


def fewer(made: Iterable[Decision], *, most: int = 10) -> list[Decision]:
    """Return the decisions with at most so many of each code, and one that says how many more there are."""
    by_code: dict[str, list[Decision]] = {}
    for one in dict.fromkeys(made):
        by_code.setdefault(one.code, []).append(one)
    kept = []
    for code, same in by_code.items():
        kept += same[:most]
        if len(same) > most:
            kept.append(Decision(code, "", f"the same of {len(same) - most:,} more", len(same) - most))
    return kept
