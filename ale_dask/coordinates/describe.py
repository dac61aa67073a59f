"""Description of samples, and of how the arms of a contrast differ: a tidy table of counts, quartiles and tests."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.coordinates.expressions import columns_named
from ale_dask.coordinates.foci import table
from ale_dask.coordinates.selection import flow
from ale_dask.coordinates.subject_groups import n_subjects
from ale_dask.errors import InputError

COLUMNS = ("sample", "column", "category", "statistic", "value")
"""The columns of the table that `describe` returns."""
_NAMES = ("id", "study", "name", "source", "pooled_from")
_NOT_KNOWN = "not known"
PICKED_BY = "picked by it, not tested"
"""The statistic of a comparison for a column whose values are the reason why an experiment is in one of the samples."""
# A column with more different words than this, and than half of its experiments, names them and is no category.
_MAX_CATEGORIES = 10
# Beyond these numbers the exact distributions take seconds, and their approximations are as good.
_MAX_EXACT_EXPERIMENTS, _MAX_EXACT_TABLES = 120, 500_000
# Probabilities of equally probable tables differ by rounding.
_ROUNDING = 1 + 1e-7


def describe(
    foci: xr.Dataset | Mapping[str, xr.Dataset], *, contrasts: Mapping[str, tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Return a table of the experiments, foci, subjects and columns of samples, and of how pairs of samples differ.

    Parameters
    ----------
    foci
        A foci Dataset as `read_foci` returns it, or several by name.
    contrasts
        The names of the two samples of each comparison, by its own name; by default each pair, "A-vs-B".

    Returns
    -------
    pandas.DataFrame
        Rows of sample (of a comparison, its name), column, category, statistic and value: numbers of experiments,
        studies, foci and subjects; minimum, quartiles, maximum and mean of columns of numbers; experiments in each
        category of columns of words.

    Raises
    ------
    InputError
        For a comparison of samples that are not there.

    Notes
    -----
    Samples are compared over the experiments with a known value. Numbers: the Mann-Whitney U test, two-sided, with the
    exact p over all relabellings, ties included, up to 120 experiments. Categories: Fisher's exact test (Freeman and
    Halton 1951, Biometrika 38:141, for more than two), or chi-squared beyond 500,000 tables. A column by which `select`
    picked two samples differently is not tested, because the samples differ in it by definition.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from ale_dask import read_foci
    >>> described = describe(read_foci(files("ale_dask.datasets.example") / "psychotherapy.csv"))
    >>> described.loc[described["column"] == "", ["statistic", "value"]].values.tolist()
    [['experiments', 17.0], ['studies', 17.0], ['foci', 120.0], ['subjects', 276.0]]
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
    for name, (first, second) in contrasts.items():
        picked_by = _picked_by(samples[first], samples[second], columns=tables[first].columns)
        rows += [(name, *row) for row in _comparison(tables[first], tables[second], picked_by=picked_by)]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"value": np.float64})


def _known(experiments: pd.DataFrame) -> pd.DataFrame:
    """Return the table with unknown sample sizes missing, and tags as "yes" and "no"."""
    known = experiments.assign(n=experiments["n"].replace(0, np.nan).astype(np.float64))
    for column in known.columns[known.dtypes == np.bool_]:
        known[column] = np.where(known[column], "yes", "no")
    return known


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
        if not is_identifier(words):
            yield from ((column, str(c), "experiments", n) for c, n in counted.items())
            if (words == "").any():
                yield column, _NOT_KNOWN, "experiments", int((words == "").sum())


def _picked_by(first: xr.Dataset, second: xr.Dataset, *, columns: Collection[str]) -> set[str]:
    """Return the columns that are named in conditions by which only one of two samples was selected."""
    conditions = [{rule for rule in flow(sample)["rule"] if rule.startswith("where ")} for sample in (first, second)]
    return {name for rule in conditions[0] ^ conditions[1] for name in columns_named(rule, columns)}


def _comparison(
    first: pd.DataFrame, second: pd.DataFrame, *, picked_by: set[str]
) -> Iterator[tuple[str, str, str, float]]:
    for column in [c for c in first.columns if c in second.columns and c not in _NAMES]:
        if column in picked_by:
            yield column, "", PICKED_BY, np.nan
            continue
        a, b = first[column], second[column]
        if _is_number(a) and _is_number(b):
            x, y = (v.dropna().to_numpy(np.float64) for v in (a, b))
            if len(x) and len(y):
                u, p, method = mann_whitney(x, y)
                yield column, "", "Mann-Whitney U", u
                # The share of pairs in which the experiment of the first sample has the larger value.
                yield column, "", "probability of superiority", u / (len(x) * len(y))
                yield column, "", f"p Mann-Whitney {method}", p
            continue
        words = [v.astype(str).str.strip() for v in (a, b)]
        words = [w[w != ""] for w in words]
        if is_identifier(pd.concat(words)):
            continue
        counts = pd.DataFrame([w.value_counts() for w in words]).fillna(0).to_numpy(np.int64)
        if counts.shape[1] > 1 and (counts.sum(axis=1) > 0).all():
            yield from ((column, "", statistic, value) for statistic, value in categories(counts))


def _is_number(values: pd.Series) -> bool:
    return values.dtype.kind in "iuf"


def is_identifier(words: pd.Series) -> bool:
    """Return whether a column of words names experiments rather than groups of them."""
    known = words[words != ""]
    return known.nunique() > max(_MAX_CATEGORIES, len(known) / 2)


def mann_whitney(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> tuple[float, float, str]:
    """Return U, its two-sided p, and "exact" or "asymptotic".

    U is the number of pairs with x above y, ties as halves. The exact p is the share of all divisions of the values
    into groups of these sizes whose U is at least as far from its mean.
    """
    from scipy.stats import mannwhitneyu, rankdata

    n, m = len(x), len(y)
    # Midranks are multiples of 1/2: doubled, they are whole numbers.
    ranks = np.rint(2 * rankdata(np.concatenate([x, y]))).astype(np.int64)
    u = (ranks[:n].sum() - n * (n + 1)) / 2
    if n + m > _MAX_EXACT_EXPERIMENTS:
        return float(u), float(mannwhitneyu(x, y, alternative="two-sided", method="asymptotic").pvalue), "asymptotic"
    total = int(ranks.sum())
    # ways[k, s]: the number of subsets of k values, among the first ones, whose doubled ranks sum to s.
    ways = np.zeros((n + 1, total + 1))
    ways[0, 0] = 1
    for rank in ranks.tolist():
        ways[1:, rank:] += ways[:-1, : total + 1 - rank].copy()
    # Distances of rank sums from their mean, times four: whole numbers.
    distance = np.abs(2 * np.arange(total + 1) - 2 * n * (n + m + 1))
    observed = abs(2 * int(ranks[:n].sum()) - 2 * n * (n + m + 1))
    return float(u), float(ways[n][distance >= observed].sum() / ways[n].sum()), "exact"


def categories(counts: npt.NDArray[np.int64]) -> list[tuple[str, float]]:
    """Return the statistics and the p, by name, of counts (arm, category) of two arms in two or more categories."""
    from scipy.stats import chi2_contingency

    statistics: list[tuple[str, float]] = []
    if counts.shape == (2, 2):
        (a, b), (c, d) = counts.tolist()
        statistics.append(("odds ratio", a * d / (b * c) if b * c else np.inf if a * d else np.nan))
    p = fisher(counts)
    if p is not None:
        return [*statistics, ("p Fisher exact", p)]
    test = chi2_contingency(counts, correction=False)
    return [
        *statistics,
        *(("chi-squared", test.statistic), ("degrees of freedom", test.dof), ("p chi-squared", test.pvalue)),
    ]


def fisher(counts: npt.NDArray[np.int64]) -> float | None:
    """Return the probability of all tables (2, category) with these margins that are at most as probable as this one.

    None if there are more than 500,000 such tables.
    """
    from scipy.special import gammaln

    columns, n = counts.sum(axis=0), int(counts[0].sum())

    def log_choose(of: int, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return np.asarray(gammaln(of + 1) - gammaln(chosen + 1) - gammaln(of - chosen + 1), dtype=np.float64)

    remaining = int(columns.sum())
    # The sum of the first row, and the log of the number of relabellings, of each table so far.
    sums = np.zeros(1, dtype=np.int64)
    logs = np.zeros(1)
    for column in columns.tolist():
        remaining -= column
        # The first row takes 0 to all of a column, as long as the other columns can still fill the row.
        chosen = np.arange(column + 1)
        if len(sums) * len(chosen) > 10 * _MAX_EXACT_TABLES:
            return None
        longer = sums[:, None] + chosen
        possible = (longer <= n) & (longer + remaining >= n)
        logs = (logs[:, None] + log_choose(column, chosen))[possible]
        sums = longer[possible]
        if len(sums) > _MAX_EXACT_TABLES:
            return None
    pairs = zip(columns.tolist(), counts[0].tolist(), strict=True)
    observed = sum(float(log_choose(c, np.array([k]))[0]) for c, k in pairs)
    share = np.exp(logs - logs.max())
    return float(share[logs <= observed + np.log(_ROUNDING)].sum() / share.sum())
