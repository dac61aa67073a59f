"""The columns of a moderator analysis: scores of subject groups, nuisance, strata, and what must be said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.sample import Sample
from ale_dask.config.analysis import Moderator
from ale_dask.coordinates.decisions import Decision
from ale_dask.coordinates.foci import subset, table, word_of
from ale_dask.coordinates.misplaced import Finding
from ale_dask.coordinates.shared_subjects import author_year
from ale_dask.coordinates.subject_groups import group_keys, members_of
from ale_dask.errors import InputError, did_you_mean
from ale_dask.numerics.moderator import Design, design

F64 = npt.NDArray[np.float64]
CORRELATED = 0.3
"""Correlation of a moderator with the number of foci beyond which is warned."""
FEWEST_GROUPS, FEWEST_PER_LEVEL = 4, 2
MISSING, FOCI_CODE, AS_NAMES, FROM_NAMES = "moderator-missing", "moderator-foci", "moderator-names", "moderator-year"
"""Codes of what is said of a moderator."""
YEAR = "year"
"""The column that, where the files have none, is read from the names of studies."""
_NUMBERS, _FACTOR = "numbers", "factor"
_LISTED = 5
_NOTHING = 1e-6
"""Share of a moderator's variance of which no permutation can tell anything."""


@dataclass(frozen=True, eq=False)
class Column:
    """A column over subject groups: numbers (group), NaN where missing, or words (group), "" where missing."""

    name: str
    values: npt.NDArray[Any]

    @property
    def is_numbers(self) -> bool:
        """Whether the column holds numbers."""
        return bool(self.values.dtype.kind == "f")

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Whether each group has a value (group)."""
        return np.asarray(~np.isnan(self.values) if self.is_numbers else self.values != "", dtype=bool)

    def of(self, keep: npt.NDArray[np.bool_]) -> Column:
        """Return the column of some groups."""
        return Column(self.name, self.values[keep])

    @property
    def levels(self) -> list[str]:
        """The words of the column, sorted, "no" before "yes"."""
        return sorted(set(self.values.tolist()) - {""})


@dataclass(frozen=True, eq=False)
class Moderated:
    """The groups of subjects of a main effect that have a moderator, with its scores.

    score (group, column), nuisance (group, nuisance) and stratum (group) are in the order of the groups' keys; own
    (group) is the moderator in its own unit, or None where it has none.
    """

    spec: Moderator
    sample: Sample
    group: npt.NDArray[np.int32]
    """The group of each experiment (experiment)."""
    key: npt.NDArray[np.uint64]
    score: F64
    own: F64 | None
    nuisance: F64
    stratum: npt.NDArray[np.int64]
    directions: tuple[str, ...]
    """What more activation says in words, and less; of k groups one."""
    pairs: tuple[str, ...]
    """The pairs of levels of k groups, in the order of the columns of the score."""
    kind: str
    """What is tested, in words."""
    counts: dict[str, int]
    """Groups by level of a factor."""
    decisions: tuple[Decision, ...]

    @property
    def omnibus(self) -> bool:
        """Whether the largest difference of any two of several groups is tested."""
        return bool(self.pairs)

    @property
    def title(self) -> str:
        """The moderator in words."""
        return " × ".join(self.spec.on)

    def design(self, *, largest: int) -> tuple[Design, F64]:
        """Return the scores in whole numbers and the share of variance that nuisance leaves of each column.

        `largest` is the largest sum of X over all groups of any voxel, in fixed point.
        """
        return design(self.score, nuisance=self.nuisance, stratum=self.stratum, largest=largest, omnibus=self.omnibus)

    @cached_property
    def n_foci(self) -> npt.NDArray[np.int64]:
        """The number of foci (group)."""
        return np.bincount(self.group, weights=self.sample.n_foci, minlength=len(self.key)).astype(np.int64)

    @cached_property
    def with_foci(self) -> float:
        """The correlation of the moderator with the number of foci; of k groups the multiple one; NaN of constants."""
        if len(set(self.n_foci.tolist())) < 2:
            return float("nan")
        if not self.omnibus:
            return float(np.corrcoef(self.score[:, 0], self.n_foci)[0, 1])
        design = np.c_[np.ones(len(self.key)), self.score]
        fitted = design @ np.linalg.lstsq(design, self.n_foci.astype(np.float64), rcond=None)[0]
        return float(np.sqrt(fitted.var() / self.n_foci.var()))


def follows_foci(r: float | None) -> str:
    """Return the warning of a moderator that correlates with the number of foci, "" for one that hardly does."""
    if r is None or not abs(r) > CORRELATED:
        return ""
    return (
        f"the moderator correlates with the number of foci per group (r = {r:.2f}, beyond {CORRELATED:g}): more foci "
        'alone raise MA, so that it may be their number that is found; nuisance = "foci" takes its linear effect out'
    )


def moderator_findings(moderated: Moderated) -> list[Finding]:
    """Return the finding that a moderator correlates with the number of foci, where that is no nuisance column."""
    if "foci" in _named(moderated.spec) or not (words := follows_foci(moderated.with_foci)):
        return []
    return [Finding(FOCI_CODE, words, "", abs(moderated.with_foci))]


def moderated(sample: Sample, spec: Moderator, *, name: str) -> Moderated:
    """Return the groups of a main effect's sample that have the moderator, with their scores.

    Raises
    ------
    InputError
        for a column that there is not or that is of no use, or too few groups.
    """
    keys = group_keys(sample.foci, sample.groups)
    order = np.argsort(keys, kind="stable")
    said: list[Decision] = []
    frame = _with_year(table(sample.foci), sample.foci, spec, said, name=name)
    members = [members_of(sample.groups)[g] for g in order]
    columns = {c: _column(frame, c, members, name=name) for c in dict.fromkeys(_named(spec))}
    on = [_on(columns[c], spec, said, name=name) for c in spec.on]
    nuisance = [columns[c] for c in spec.nuisance]
    strata = _words(columns[spec.strata]) if spec.strata else None
    keep = np.all([c.known for c in (*on, *nuisance, *([strata] if strata else []))], axis=0)
    _say_missing(keep, sample.foci, members, said, name=name)
    position = np.cumsum(keep) - 1
    rank = np.empty(len(keys), dtype=np.int64)
    rank[order] = np.where(keep, position, -1)
    of_experiment = rank[sample.groups]
    used = Sample(subset(sample.foci, of_experiment >= 0), sample.mask, sample.inference)
    parts = _Parts([c.of(keep) for c in on], [c.of(keep) for c in nuisance], strata.of(keep) if strata else None)
    _check(parts, spec, name=name)
    scored = _scores(parts.on, spec, name=name)
    found = Moderated(
        spec=spec,
        sample=used,
        group=of_experiment[of_experiment >= 0].astype(np.int32),
        key=keys[order][keep],
        nuisance=_nuisance(parts, scored),
        stratum=_strata(parts.strata, int(keep.sum())),
        decisions=tuple(said),
        **scored.as_fields,
    )
    if found.design(largest=1)[1].min() < _NOTHING:
        others = [*spec.nuisance, *([spec.strata] if spec.strata else [])]
        raise InputError(f"{name}: {_some(others)} leave nothing of '{found.title}': it does not vary apart from them")
    return found


@dataclass(frozen=True, eq=False)
class _Parts:
    on: list[Column]
    nuisance: list[Column]
    strata: Column | None


def _named(spec: Moderator) -> list[str]:
    return [*spec.on, *spec.nuisance, *([spec.strata] if spec.strata else [])]


def _with_year(
    frame: pd.DataFrame, foci: xr.Dataset, spec: Moderator, said: list[Decision], *, name: str
) -> pd.DataFrame:
    """Return the table of experiments with a column of years, read from names where one is asked for and missing."""
    if YEAR not in _named(spec) or YEAR in frame:
        return frame
    years = [author_year(str(study)) for study in foci["experiment_study"].values]
    values = np.array([np.nan if year is None else year[2] for year in years], dtype=np.float64)
    if np.isnan(values).all():
        return frame
    n = int((~np.isnan(values)).sum())
    said.append(Decision(FROM_NAMES, name, f"no column '{YEAR}': years were read from the names of {n:,} studies", n))
    return frame.assign(**{YEAR: values})


def _column(frame: pd.DataFrame, column: str, members: Sequence[Sequence[int]], *, name: str) -> Column:
    """Return a column of experiments by group of subjects; a group whose experiments differ has no value."""
    if column not in frame:
        names = [str(c) for c in frame.columns if c not in ("id", "name", "source")]
        raise InputError(f"{name}: no column '{column}'{did_you_mean(column, names)}; there are: {', '.join(names)}")
    values = frame[column].to_numpy()
    if values.dtype.kind in "fiu":
        numbers = values.astype(np.float64)
        if column == "n":
            # 0 stands for a sample size that is not known.
            numbers = np.where(numbers > 0, numbers, np.nan)
        if column == "foci":
            return Column(column, np.array([numbers[list(group)].sum() for group in members]))
        single = [numbers[group[0]] if len(set(numbers[list(group)].tolist())) == 1 else np.nan for group in members]
        return Column(column, np.array(single, dtype=np.float64))
    words = [word_of(value) for value in values.tolist()]
    own = [{words[i] for i in group} for group in members]
    return Column(column, np.array([next(iter(w)) if len(w) == 1 else "" for w in own], dtype=object))


def _words(column: Column) -> Column:
    """Return a column as one of words: numbers are the names of levels."""
    return Column(column.name, np.array([word_of(v) for v in column.values.tolist()], dtype=object))


def _on(column: Column, spec: Moderator, said: list[Decision], *, name: str) -> Column:
    """Return the column of a moderator, checked for text among numbers; with levels, only these have a value."""
    if spec.levels:
        return _ordered(_words(column), [word_of(level) for level in spec.levels], name=name)
    if column.is_numbers:
        return column
    if spec.ranks:
        raise InputError(f"{name}: ranks are of numbers, and the column '{column.name}' holds {_some(column.levels)}")
    known = column.values[column.known].tolist()
    text = [word for word in known if not _is_number(word)]
    if known and len(text) < len(known) / 2:
        raise InputError(
            f"{name}: the column '{column.name}' holds numbers, but also {_some(list(dict.fromkeys(text)))}; write a "
            "number or nothing there, or give the levels in their order (levels)"
        )
    if len(column.levels) > max(2, len(known) / FEWEST_PER_LEVEL):
        raise InputError(
            f"{name}: the column '{column.name}' is text, {_some(column.levels)}, with {len(column.levels)} different "
            f"values in {len(known)} groups of subjects: too many to compare; write numbers, or fewer names"
        )
    if column.levels != ["no", "yes"]:
        said.append(
            Decision(AS_NAMES, name, f"'{column.name}' was read as names of groups: {', '.join(column.levels)}")
        )
    return column


def _ordered(column: Column, levels: list[str], *, name: str) -> Column:
    """Return a column of words as the numbers 0, 1, 2 … of its levels; other words have none."""
    if unknown := [level for level in levels if level not in column.levels]:
        raise InputError(
            f"{name}: no experiment has the level '{unknown[0]}' in '{column.name}'"
            f"{did_you_mean(unknown[0], column.levels)}; there are: {', '.join(column.levels)}"
        )
    number = {level: float(i) for i, level in enumerate(levels)}
    return Column(column.name, np.array([number.get(word, np.nan) for word in column.values.tolist()]))


def _say_missing(
    keep: npt.NDArray[np.bool_], foci: xr.Dataset, members: Sequence[Sequence[int]], said: list[Decision], *, name: str
) -> None:
    if keep.all():
        return
    ids = foci["experiment_id"].values
    out = [str(ids[group[0]]) for group, kept in zip(members, keep, strict=True) if not kept]
    said.append(
        Decision(
            MISSING,
            name,
            f"{len(out):,} of {len(keep):,} groups of subjects have no value in every column and were left out: "
            f"{_some(out)}",
            len(out),
        )
    )


def _check(parts: _Parts, spec: Moderator, *, name: str) -> None:
    """Raise InputError for too few groups, a column without differences, or a level with too few groups."""
    n = len(parts.on[0].values)
    fewest = FEWEST_GROUPS + sum(1 if c.is_numbers else max(0, len(c.levels) - 1) for c in parts.nuisance)
    if n < fewest:
        raise InputError(
            f"{name}: {n} group{'s' * (n != 1)} of subjects with a value in {_some(_named(spec))}; "
            f"a moderator needs at least {fewest}" + (" with these nuisance columns" if parts.nuisance else "")
        )
    for column in (*parts.on, *parts.nuisance):
        if len(set(column.values.tolist())) < 2:
            value = f"{column.values[0]:g}" if column.is_numbers else column.values[0]
            raise InputError(
                f"{name}: the column '{column.name}' is {value} in all {n} groups of subjects; nothing varies with it"
            )
    for column in parts.on:
        few = [level for level, k in _counts(column).items() if k < FEWEST_PER_LEVEL]
        if few:
            raise InputError(
                f"{name}: '{few[0]}' in '{column.name}' is one group of subjects; a level needs at least "
                f"{FEWEST_PER_LEVEL}: join levels, or leave these experiments out by a rule of selection"
            )


def _counts(column: Column) -> dict[str, int]:
    counted = Counter(column.values.tolist())
    return {} if column.is_numbers else {level: counted[level] for level in column.levels}


@dataclass(frozen=True, eq=False)
class _Scores:
    score: F64
    own: F64 | None
    directions: tuple[str, ...]
    kind: str
    pairs: tuple[str, ...] = ()
    counts: dict[str, int] | None = None
    mains: F64 | None = None
    """The two columns (group, 2) of an interaction."""

    @property
    def as_fields(self) -> dict[str, Any]:
        names = ("score", "own", "directions", "kind", "pairs")
        return {name: getattr(self, name) for name in names} | {"counts": self.counts or {}}


def _scores(on: list[Column], spec: Moderator, *, name: str) -> _Scores:
    """Return the scores of a moderator: a column of numbers, two groups, k groups, or an interaction."""
    if len(on) == 2:
        return _interaction(on, name=name)
    (column,) = on
    if column.is_numbers:
        from scipy.stats import rankdata

        values = column.values
        ranked = rankdata(values).astype(np.float64) if spec.ranks else values
        kind = "linear contrast of ordered levels" if spec.levels else "ranks of a number" if spec.ranks else "number"
        counts = None
        if spec.levels:
            counts = {word_of(level): int((values == i).sum()) for i, level in enumerate(spec.levels)}
        directions = (f"higher {column.name}", f"lower {column.name}")
        return _Scores(ranked[:, None], values, directions, kind, counts=counts)
    levels = column.levels
    if len(levels) == 2:
        # As "yes" follows "no", the second name is the greater score.
        own = (column.values == levels[1]).astype(np.float64)
        less, more = (f"{column.name} {level}" for level in levels)
        directions = (f"{more} > {less}", f"{less} > {more}")
        return _Scores(own[:, None], own, directions, "two groups", counts=_counts(column))
    indicators = np.stack([(column.values == level).astype(np.float64) for level in levels], axis=1)
    means = indicators / indicators.sum(axis=0)
    pairs = list(combinations(range(len(levels)), 2))
    score = np.stack([means[:, b] - means[:, a] for a, b in pairs], axis=1)
    words = tuple(f"{levels[a]}, {levels[b]}" for a, b in pairs)
    direction = f"any two of {', '.join(levels)} differ"
    return _Scores(score, None, (direction,), f"{len(levels)} groups", words, _counts(column))


def _interaction(on: list[Column], *, name: str) -> _Scores:
    """Return the product of two columns, each a number or +1 and -1 of two levels, and both columns themselves."""
    sides = []
    for column in on:
        if column.is_numbers:
            sides.append(column.values - column.values.mean())
        elif len(column.levels) == 2:
            sides.append(np.where(column.values == column.levels[1], 1.0, -1.0))
        else:
            raise InputError(
                f"{name}: an interaction is of numbers and of columns with two values; '{column.name}' has "
                f"{len(column.levels)}: {', '.join(column.levels)}"
            )
    score = sides[0] * sides[1]
    counts: dict[str, int] = {}
    if not any(column.is_numbers for column in on):
        words = [f"{a} {b}" for a, b in zip(on[0].values, on[1].values, strict=True)]
        cells = [f"{a} {b}" for a in on[0].levels for b in on[1].levels]
        counts = {cell: words.count(cell) for cell in cells}
        if few := [cell for cell, k in counts.items() if k < FEWEST_PER_LEVEL]:
            raise InputError(
                f"{name}: {counts[few[0]]} group{'s' * (counts[few[0]] != 1)} of subjects with {on[0].name} and "
                f"{on[1].name} '{few[0]}'; each of the four cells of an interaction needs at least {FEWEST_PER_LEVEL}"
            )
    title = f"{on[0].name} × {on[1].name}"
    return _Scores(
        score[:, None], None, (f"{title} > 0", f"{title} < 0"), "interaction", (), counts, np.stack(sides, axis=1)
    )


def _nuisance(parts: _Parts, scored: _Scores) -> F64:
    """Return the nuisance columns (group, column): numbers, one indicator per level, and the mains of an interaction.

    Those belong there also where it is permuted within one of them: groups in unequal cells let the other one in.
    """
    own = [] if scored.mains is None else [scored.mains]
    given = [
        column.values[:, None].astype(np.float64)
        if column.is_numbers
        else np.stack([(column.values == level).astype(np.float64) for level in column.levels[1:]], axis=1)
        for column in parts.nuisance
    ]
    return np.concatenate([np.zeros((len(scored.score), 0)), *own, *given], axis=1)


def _strata(column: Column | None, n: int) -> npt.NDArray[np.int64]:
    if column is None:
        return np.zeros(n, dtype=np.int64)
    return np.unique(column.values.astype(str), return_inverse=True)[1].astype(np.int64)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return ", ".join(f"'{word}'" for word in words[:_LISTED]) + more
