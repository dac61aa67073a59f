"""Columns of a file that the methods text needs: how much of the brain was searched, who extracted, whose data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.coordinates.decisions import Decision
from ale_dask.coordinates.foci import table, word_of
from ale_dask.coordinates.readers.columns import key_of

COVERAGE, REGION, EXTRACTOR, CHECKER, AUTHORS = "coverage", "region", "extractor", "checker", "authors"
# Names are compared by their small letters and digits.
_NAMES: Mapping[str, tuple[str, ...]] = {
    COVERAGE: (
        *("coverage", "searchcoverage", "braincoverage", "searchvolume", "searcharea", "fieldofview", "fov"),
        *("wholebrain", "wholebrainanalysis", "wholebrainsearch"),
    ),
    REGION: ("roi", "roianalysis", "roionly", "smallvolume", "smallvolumecorrection", "svc"),
    EXTRACTOR: ("extractor", "extractedby", "dataextractor", "dataextractedby", "coder", "codedby", "rater"),
    CHECKER: ("checker", "checkedby", "verifiedby", "secondextractor", "secondcoder", "secondrater"),
    AUTHORS: (
        *("dataauthors", "datafromauthors", "coordinatesfromauthors", "fromauthors", "authorsdata", "authordata"),
        *("unpublisheddata", "unpublished", "personalcommunication", "datasource", "coordinatesfrom"),
    ),
}
_SAYS = {
    COVERAGE: "whether an experiment searched the whole brain",
    REGION: "whether an experiment searched a region only",
    EXTRACTOR: "who extracted an experiment",
    CHECKER: "who checked it",
    AUTHORS: "whether its data came from its authors",
}
_WHOLE_BRAIN = re.compile(r"whole[ _-]?brain|full|complete|wb|yes", re.IGNORECASE)
_FROM_AUTHORS = re.compile(r"yes|.*\b(?:authors?|personal|unpublished|e-?mail|request(?:ed)?)\b.*", re.IGNORECASE)


def known_columns(names: Iterable[str]) -> dict[str, str]:
    """Return the first column with each of these meanings, by its meaning."""
    by_key: dict[str, str] = {}
    for name in names:
        by_key.setdefault(key_of(name), name)
    found = {meaning: next((by_key[k] for k in keys if k in by_key), None) for meaning, keys in _NAMES.items()}
    return {meaning: name for meaning, name in found.items() if name is not None}


def whole_brain(experiments: pd.DataFrame) -> tuple[str, list[bool | None]] | None:
    """Return the column on coverage of a table as `foci.table` makes it, and of each experiment whether it searched the
    whole brain, None where it is not stated; None without such a column."""
    columns = known_columns(experiments.columns)
    if COVERAGE in columns:
        return columns[COVERAGE], _truth(experiments[columns[COVERAGE]], lambda w: bool(_WHOLE_BRAIN.fullmatch(w)))
    if REGION in columns:
        return columns[REGION], _truth(experiments[columns[REGION]], lambda word: word.lower() in ("no", "none"))
    return None


def _truth(column: Iterable[Any], holds: Callable[[str], bool]) -> list[bool | None]:
    words = map(word_of, column)
    return [holds(word) if word else None for word in words]


def told(dataset: xr.Dataset) -> list[Decision]:
    """Return the decision on the columns of a file whose meaning is known; none without any."""
    columns = known_columns(map(str, table(dataset).columns))
    if not columns:
        return []
    said = "; ".join(f"'{name}' says {_SAYS[meaning]}" for meaning, name in columns.items())
    return [Decision("known-columns", "", f"these columns are used in the methods text and by check: {said}")]


def described(samples: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Return, of the distinct experiments of some samples, what such columns say of them, for the methods text.

    The keys are `experiments`, their number; `whole_brain` with the number of those that searched it, those that did
    not and those of which it is not known; `extractor` and `checker` with the number of experiments of each person;
    `authors` with the names of the experiments whose data came from authors, and the number of those where this is
    stated. A key is there when a column is.
    """
    rows: dict[int, dict[str, Any]] = {}
    for sample in samples:
        for key, row in _rows(sample):
            rows.setdefault(key, row)
    found: dict[str, Any] = {}
    for row in rows.values():
        if "whole_brain" in row:
            of = found.setdefault("whole_brain", {"yes": 0, "no": 0, "not_known": 0})
            of[{True: "yes", False: "no", None: "not_known"}[row["whole_brain"]]] += 1
        for role in (EXTRACTOR, CHECKER):
            if row.get(role):
                found[role] = Counter(found.get(role, {})) + Counter([row[role]])
        if row.get(AUTHORS):
            of = found.setdefault(AUTHORS, {"experiments": [], "stated": 0})
            of["stated"] += 1
            of["experiments"] += [row["id"]] if _FROM_AUTHORS.fullmatch(row[AUTHORS]) else []
    if "whole_brain" in found:
        # Those of samples without the column are not known, either.
        found["whole_brain"]["not_known"] = len(rows) - found["whole_brain"]["yes"] - found["whole_brain"]["no"]
    return {"experiments": len(rows)} | {k: dict(v) for k, v in found.items()} if found else {}


def _rows(sample: xr.Dataset) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the key of each experiment of a sample, and what its columns say."""
    experiments = table(sample)
    columns = {m: c for m, c in known_columns(map(str, experiments.columns)).items() if m not in (COVERAGE, REGION)}
    searched = whole_brain(experiments)
    for i, key in enumerate(sample["experiment_key"].values.tolist()):
        row: dict[str, Any] = {m: word_of(experiments[c].iloc[i]) for m, c in columns.items()}
        row |= {"id": str(experiments["id"].iloc[i])}
        yield key, row | ({} if searched is None else {"whole_brain": searched[1][i]})
