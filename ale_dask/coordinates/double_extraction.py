"""Compare two extractions of the same papers: what both agree on, and every difference between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.coordinates.foci import OF_READER, as_stated, n_foci, table
from ale_dask.schema import FOCI, check

F64 = npt.NDArray[np.float64]
SAME_MM = 0.5
"""Distance in mm up to which two foci are the same one: papers give whole millimetres, or one decimal."""
AGREEMENT = ("what", "agree", "of", "share", "kappa")
DIFFERENCES = ("experiment", "what", "first", "second", "where_first", "where_second")
_NOT_IN_A_NAME = re.compile(r"[\W_]+")
_Difference = tuple[str, str, str, str, str, str]


@dataclass(frozen=True)
class DoubleExtraction:
    """Two extractions compared: a table of agreement, and a table of differences.

    `agreement` has a row per kind of entry: what, how many agree, of how many, their share, and Cohen's kappa where
    entries are categories. `differences` has a row per difference: the experiment, what differs, the value of the
    first and of the second extraction, and where (file:line) each stands.
    """

    agreement: pd.DataFrame
    differences: pd.DataFrame


@dataclass(frozen=True)
class _Extraction:
    """One extraction: its table of experiments, their coordinates as the files state them, and spaces."""

    table: pd.DataFrame
    foci: tuple[F64, ...]
    space: tuple[str, ...]

    def where(self, i: int) -> str:
        return str(self.table["source"].iloc[i])


def double_extraction(first: xr.Dataset, second: xr.Dataset) -> DoubleExtraction:
    """Return the agreement and the differences of two extractions of the same papers.

    Parameters
    ----------
    first, second
        The foci Datasets of the two extractions, as `read_foci` returns them.

    Returns
    -------
    DoubleExtraction
        `agreement` and `differences`, both as a DataFrame.

    Notes
    -----
    Experiments are the same if their names are, without case, spaces and punctuation. Foci are compared as their files
    state them, in mm, before any conversion, and are the same within 0.5 mm; foci that differ only in left and right
    are told as such. Kappa is Cohen's (1960), (p_o - p_e) / (1 - p_e), with p_o the share of experiments on which both
    agree and p_e the share expected of the frequencies of each category. Foci and sample sizes have no kappa: what both
    agreed to leave out is not known.

    Examples
    --------
    >>> compared = ale.double_extraction(ale.read_foci("drug.txt"), ale.read_foci("drug.txt"))
    >>> compared.agreement[["what", "share"]].values.tolist()[:2]
    [['experiments', 1.0], ['sample size', 1.0]]
    >>> len(compared.differences)
    0
    """
    a, b = _extraction(first), _extraction(second)
    pairs, differences = _paired(a, b)
    either = len(a.table) + len(b.table) - len(pairs)
    agreement = [("experiments", len(pairs), either, np.nan)]
    agreement.append(
        _entries(
            "sample size",
            [int(a.table["n"].iloc[i]) for i, _ in pairs],
            [int(b.table["n"].iloc[j]) for _, j in pairs],
            kappa=False,
        )
    )
    agreement.append(_entries("space", [a.space[i] for i, _ in pairs], [b.space[j] for _, j in pairs]))
    shared = [c for c in a.table.columns if c in b.table.columns and c not in OF_READER]
    for column in shared:
        agreement.append(_entries(column, *_column(a, b, column, pairs)))
    same, number = 0, 0
    for i, j in pairs:
        in_both, own = _foci(a, b, i, j)
        same, number = same + in_both, number + len(a.foci[i]) + len(b.foci[j]) - in_both
        differences += [*_values(a, b, i, j, shared), *own]
    agreement.append(("foci", same, number, np.nan))
    rows = [(what, agree, of, agree / of if of else np.nan, kappa) for what, agree, of, kappa in agreement]
    return DoubleExtraction(
        pd.DataFrame(rows, columns=list(AGREEMENT)), pd.DataFrame(differences, columns=list(DIFFERENCES))
    )


def _extraction(dataset: xr.Dataset) -> _Extraction:
    check(dataset, *FOCI)
    order = np.argsort(dataset["focus_experiment"].values, kind="stable")
    stated = as_stated(dataset)[order]
    ends = [0, *np.cumsum(n_foci(dataset)).tolist()]
    spaces = dataset["experiment_space"].values.astype(str).tolist()
    return _Extraction(
        table(dataset),
        tuple(stated[begin:end] for begin, end in pairwise(ends)),
        tuple("Talairach" if space.startswith("TAL") else space for space in spaces),
    )


def _paired(a: _Extraction, b: _Extraction) -> tuple[list[tuple[int, int]], list[_Difference]]:
    """Return the positions of experiments in both extractions, and the differences that the others are."""
    names = [_plain_names(e) for e in (a, b)]
    at = {name: j for j, name in enumerate(names[1])}
    pairs = [(i, at[name]) for i, name in enumerate(names[0]) if name in at]
    found = {name for name in names[0] if name in at}
    only = [
        (
            str(e.table["id"].iloc[i]),
            "experiment",
            *(("extracted", "") if e is a else ("", "extracted")),
            *_places(e is a, e.where(i)),
        )
        for e, own in ((a, names[0]), (b, names[1]))
        for i, name in enumerate(own)
        if name not in found
    ]
    return pairs, only


def _plain_names(extraction: _Extraction) -> list[str]:
    """Return names without case, spaces and punctuation; as they are where two experiments would have the same one."""
    ids = [str(name) for name in extraction.table["id"]]
    plain = [_NOT_IN_A_NAME.sub("", name.casefold()) for name in ids]
    number = Counter(plain)
    return [short if number[short] == 1 else name for name, short in zip(ids, plain, strict=True)]


def _places(first: bool, where: str) -> tuple[str, str]:
    return (where, "") if first else ("", where)


def _column(
    a: _Extraction, b: _Extraction, column: str, pairs: Sequence[tuple[int, int]]
) -> tuple[list[str], list[str]]:
    return [str(a.table[column].iloc[i]) for i, _ in pairs], [str(b.table[column].iloc[j]) for _, j in pairs]


def _entries(what: str, a: Sequence[object], b: Sequence[object], *, kappa: bool = True) -> tuple[str, int, int, float]:
    """Return a row of the table of agreement for two lists (experiment) of entries."""
    return what, sum(x == y for x, y in zip(a, b, strict=True)), len(a), cohens_kappa(a, b) if kappa else np.nan


def cohens_kappa(a: Sequence[object], b: Sequence[object]) -> float:
    """Return Cohen's kappa of two lists of categories; nan where chance alone makes all entries agree, or of none."""
    if not a:
        return np.nan
    observed = sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    expected = sum((list(a).count(c) / len(a)) * (list(b).count(c) / len(b)) for c in {*a, *b})
    return float((observed - expected) / (1 - expected)) if expected < 1 else np.nan


def _values(a: _Extraction, b: _Extraction, i: int, j: int, shared: Sequence[str]) -> Iterator[_Difference]:
    """Yield the differences of an experiment in its sample size, space and columns."""
    entries = {
        "sample size": (a.table["n"].iloc[i], b.table["n"].iloc[j]),
        "space": (a.space[i], b.space[j]),
        **{column: (a.table[column].iloc[i], b.table[column].iloc[j]) for column in shared},
    }
    for what, (first, second) in entries.items():
        if str(first) != str(second):
            yield str(a.table["id"].iloc[i]), what, str(first), str(second), a.where(i), b.where(j)


def _foci(a: _Extraction, b: _Extraction, i: int, j: int) -> tuple[int, list[_Difference]]:
    """Return how many foci of an experiment both extractions have, and the differences that the others are."""
    left = list(range(len(b.foci[j])))
    only_first, same = [], 0
    for focus in a.foci[i]:
        if (match := _nearest(focus, b.foci[j], left)) is None:
            only_first.append(focus)
        else:
            left.remove(match)
            same += 1
    name, rows = str(a.table["id"].iloc[i]), []
    for focus in only_first:
        mirrored = _nearest(focus * (-1, 1, 1), b.foci[j], left)
        if mirrored is not None:
            left.remove(mirrored)
        what = "focus" if mirrored is None else "focus, left and right"
        second = "" if mirrored is None else _words(b.foci[j][mirrored])
        rows.append((name, what, _words(focus), second, a.where(i), b.where(j)))
    rows += [(name, "focus", "", _words(b.foci[j][k]), a.where(i), b.where(j)) for k in left]
    return same, rows


def _nearest(focus: F64, others: F64, left: Sequence[int]) -> int | None:
    """Return the nearest of the foci at positions `left` that is the same focus, or None."""
    if not left:
        return None
    distance = np.linalg.norm(others[list(left)] - focus, axis=1)
    best = int(np.argmin(distance))
    return left[best] if distance[best] <= SAME_MM else None


def _words(focus: F64) -> str:
    return " ".join(f"{v + 0.0:g}" for v in focus.round(2))


def agreement_lines(compared: DoubleExtraction) -> list[str]:
    """Return the agreement of two extractions in lines for a terminal."""
    lines = []
    for row in compared.agreement.to_dict("records"):
        kappa = "" if np.isnan(row["kappa"]) else f", kappa {row['kappa']:.2f}"
        share = "" if np.isnan(row["share"]) else f" ({100 * row['share']:.0f} %)"
        lines.append(f"{row['what']}: {row['agree']:,} of {row['of']:,} agree{share}{kappa}")
    return lines
