"""What samples are made of, and how the arms of a contrast differ: a tidy table of counts, quartiles and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.coordinates.foci import table
from ale_dask.coordinates.subject_groups import n_subjects
from ale_dask.errors import InputError

COLUMNS = ("sample", "column", "category", "statistic", "value")
"""The columns of a description."""
_NAMES = ("id", "study", "name", "source", "pooled_from")
_NOT_KNOWN = "not known"
# A column in which most experiments have a value of their own names them, and is no category.
_IDENTIFIER = 10
# Above these the exact distributions take seconds, and their approximations are as good.
_EXACT_EXPERIMENTS, _EXACT_TABLES = 120, 500_000
# Tables as probable as the observed one but for the last bits count as such.
_EQUAL = 1 + 1e-7


def describe(
    foci: xr.Dataset | Mapping[str, xr.Dataset], *, contrasts: Mapping[str, tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Return counts, quartiles and comparisons as rows of sample, column, category, statistic and value.

    Parameters
    ----------
    foci
        one sample, or several by name
    contrasts
        names of the two samples that each contrast compares, by its own name; by default each pair, "A-vs-B"

    Two samples are compared over experiments with a known value: numbers by Mann-Whitney U, two-sided, its p exact
    over all relabellings (ties included) up to 120 experiments; categories by Fisher's exact test (Freeman-Halton for
    more than two categories), or by chi-squared where there are too many tables.

    Raises
    ------
    InputError
        for a contrast of samples that are not there.
    """
    samples = {"": foci} if isinstance(foci, xr.Dataset) else dict(foci)
    if contrasts is None:
        contrasts = {f"{a}-vs-{b}": (a, b) for a, b in combinations(samples, 2)}
    for name, arms in contrasts.items():
        for arm in arms:
            if arm not in samples:
                raise InputError(f"describe: contrast '{name}' names '{arm}'; there are: {', '.join(samples)}")
    tables = {name: _known(table(dataset)) for name, dataset in samples.items()}
    rows: list[tuple[Any, ...]] = []
    for name, experiments in tables.items():
        rows += [(name, *row) for row in _sample(experiments, subjects=n_subjects(samples[name]))]
    for name, (one, two) in contrasts.items():
        rows += [(name, *row) for row in _comparison(tables[one], tables[two])]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": np.float64})


def _known(experiments: pd.DataFrame) -> pd.DataFrame:
    """Return the table with n as a number that may be missing, and tags in words."""
    made = experiments.assign(n=experiments["n"].replace(0, np.nan).astype(np.float64))
    for column in made.columns[made.dtypes == np.bool_]:
        made[column] = np.where(made[column], "yes", "no")
    return made


def _sample(experiments: pd.DataFrame, *, subjects: int) -> Iterator[tuple[str, str, str, float]]:
    yield "", "", "experiments", len(experiments)
    yield "", "", "studies", experiments["study"].nunique()
    yield "", "", "foci", experiments["foci"].sum()
    yield "", "", "subjects", subjects
    for column in [c for c in experiments.columns if c not in _NAMES]:
        values = experiments[column]
        if _is_number(values):
            known = values.dropna().to_numpy(np.float64)
            yield column, "", "experiments with a value", len(known)
            if len(known):
                yield from (
                    (column, "", statistic, float(v))
                    for statistic, v in zip(
                        ("minimum", "lower quartile", "median", "upper quartile", "maximum"),
                        np.quantile(known, [0, 0.25, 0.5, 0.75, 1]),
                        strict=True,
                    )
                )
                yield column, "", "mean", float(known.mean())
            continue
        words = values.astype(str).str.strip()
        counted = words[words != ""].value_counts().sort_index()
        yield column, "", "categories", len(counted)
        if not _is_identifier(words):
            yield from ((column, str(c), "experiments", n) for c, n in counted.items())
            if (words == "").any():
                yield column, _NOT_KNOWN, "experiments", int((words == "").sum())


def _comparison(one: pd.DataFrame, two: pd.DataFrame) -> Iterator[tuple[str, str, str, float]]:
    for column in [c for c in one.columns if c in two.columns and c not in _NAMES]:
        a, b = one[column], two[column]
        if _is_number(a) and _is_number(b):
            x, y = (v.dropna().to_numpy(np.float64) for v in (a, b))
            if len(x) and len(y):
                u, p, how = mann_whitney(x, y)
                yield column, "", "Mann-Whitney U", u
                # The share of pairs in which the first arm's experiment has the larger value.
                yield column, "", "probability of superiority", u / (len(x) * len(y))
                yield column, "", f"p Mann-Whitney {how}", p
            continue
        words = [v.astype(str).str.strip() for v in (a, b)]
        words = [w[w != ""] for w in words]
        if _is_identifier(pd.concat(words)):
            continue
        counts = pd.DataFrame([w.value_counts() for w in words]).fillna(0).to_numpy(np.int64)
        if counts.shape[1] > 1 and (counts.sum(axis=1) > 0).all():
            yield from ((column, "", statistic, value) for statistic, value in categories(counts))


def _is_number(values: pd.Series) -> bool:
    return values.dtype.kind in "iuf"


def _is_identifier(words: pd.Series) -> bool:
    known = words[words != ""]
    return known.nunique() > max(_IDENTIFIER, len(known) / 2)


def mann_whitney(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float, str]:
    """Return U of x, how many pairs have x above y with ties as halves, its two-sided p, and "exact" or "asymptotic".

    Exact: the share of all divisions of the values into groups of these sizes whose U is as far from its mean.
    """
    from scipy.stats import mannwhitneyu, rankdata

    n, m = len(x), len(y)
    # Midranks are halves: doubled they are whole numbers.
    ranks = np.rint(2 * rankdata(np.concatenate([x, y]))).astype(np.int64)
    u = (ranks[:n].sum() - n * (n + 1)) / 2
    if n + m > _EXACT_EXPERIMENTS:
        return float(u), float(mannwhitneyu(x, y, alternative="two-sided", method="asymptotic").pvalue), "asymptotic"
    total = int(ranks.sum())
    # ways[k, s]: in how many ways k of the values seen so far have doubled ranks that add to s.
    ways = np.zeros((n + 1, total + 1))
    ways[0, 0] = 1
    for rank in ranks.tolist():
        ways[1:, rank:] += ways[:-1, : total + 1 - rank].copy()
    of_n = ways[n]
    # Sum and mean, four-fold: whole numbers.
    away = np.abs(2 * np.arange(total + 1) - 2 * n * (n + m + 1))
    seen = abs(2 * int(ranks[:n].sum()) - 2 * n * (n + m + 1))
    return float(u), float(of_n[away >= seen].sum() / of_n.sum()), "exact"


def categories(counts: npt.NDArray[np.int64]) -> list[tuple[str, float]]:
    """Return the statistics and p, by name, of counts (arm, category) of two arms in two or more categories."""
    from scipy.stats import chi2_contingency

    found: list[tuple[str, float]] = []
    if counts.shape == (2, 2):
        (a, b), (c, d) = counts.tolist()
        found.append(("odds ratio", a * d / (b * c) if b * c else np.inf if a * d else np.nan))
    p = fisher(counts)
    if p is not None:
        return [*found, ("p Fisher exact", p)]
    test = chi2_contingency(counts, correction=False)
    return [*found, ("chi-squared", test.statistic), ("degrees of freedom", test.dof), ("p chi-squared", test.pvalue)]


def fisher(counts: npt.NDArray[np.int64]) -> float | None:
    """Return the probability of tables as improbable as this one (2, category), or less, given its margins.

    None if there are more than 500,000 such tables.
    """
    from scipy.special import gammaln

    columns, n = counts.sum(axis=0), int(counts[0].sum())

    def weight(of: int, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray(gammaln(of + 1) - gammaln(chosen + 1) - gammaln(of - chosen + 1), dtype=np.float64)

    left = int(columns.sum())
    used = np.zeros(1, dtype=np.int64)
    logs = np.zeros(1)
    for column in columns.tolist():
        left -= column
        # From 0 to all of a column may be of the first arm, as long as the other columns can still fill it.
        chosen = np.arange(column + 1)
        if len(used) * len(chosen) > 10 * _EXACT_TABLES:
            return None
        sums = used[:, None] + chosen
        possible = (sums <= n) & (sums + left >= n)
        logs = (logs[:, None] + weight(column, chosen))[possible]
        used = sums[possible]
        if len(used) > _EXACT_TABLES:
            return None
    seen = sum(float(weight(c, np.array([k]))[0]) for c, k in zip(columns.tolist(), counts[0].tolist(), strict=True))
    share = np.exp(logs - logs.max())
    return float(share[logs <= seen + np.log(_EQUAL)].sum() / share.sum())
