"""Descriptions: counts and quartiles by hand, tests against every relabelling and every table there is."""

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support import strategies as ours

import ale_dask
from ale_dask.coordinates.describe import categories, fisher, mann_whitney
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.errors import InputError


def sample(*rows):
    """Return the foci of experiments given as (n, number of foci, columns)."""
    return build(
        [
            Experiment(
                f"S{i // 2} 2010; {i}", n, tuple((float(j), 0.0, 0.0) for j in range(k)), "MNI", f"f:{i}", columns
            )
            for i, (n, k, columns) in enumerate(rows)
        ]
    )


DRUG = sample(
    (10, 1, {"dose": "5", "class": "SSRI", "patients": "yes"}),
    (20, 3, {"dose": "", "class": "SSRI", "patients": "no"}),
    (None, 2, {"dose": "7", "class": "SNRI", "patients": "yes"}),
)
THERAPY = sample((30, 4, {"class": "", "patients": "yes"}), (40, 6, {"class": "CBT", "patients": "yes"}))


def values(found, sample, column):
    rows = found[(found["sample"] == sample) & (found["column"] == column)]
    return {(r.category, r.statistic) if r.category else r.statistic: r.value for r in rows.itertuples()}


def test_counts_of_a_sample():
    found = ale_dask.describe({"drug": DRUG})
    assert values(found, "drug", "") == {"experiments": 3, "studies": 2, "foci": 6, "subjects": 30}
    assert values(found, "drug", "class") == {
        "categories": 2,
        ("SNRI", "experiments"): 1,
        ("SSRI", "experiments"): 2,
    }
    assert values(found, "drug", "patients") == {"categories": 2, ("no", "experiments"): 1, ("yes", "experiments"): 2}


def test_numbers_leave_out_what_is_not_known():
    found = ale_dask.describe(DRUG)
    n = values(found, "", "n")
    assert (n["experiments with a value"], n["minimum"], n["median"], n["maximum"]) == (2, 10, 15, 20)
    assert (n["lower quartile"], n["upper quartile"], n["mean"]) == (12.5, 17.5, 15)
    assert values(found, "", "dose")["median"] == 6


def test_missing_words_are_counted_and_not_compared():
    found = ale_dask.describe({"drug": DRUG, "therapy": THERAPY})
    assert values(found, "therapy", "class")[("not known", "experiments")] == 1
    # SSRI, SNRI and CBT are 2, 1, 0 against 0, 0, 1: of the 4 choose 3 relabellings only those of SSRI are likelier.
    assert values(found, "drug-vs-therapy", "class") == {"p Fisher exact": pytest.approx(0.5)}


def test_arms_are_compared_under_the_name_of_their_contrast():
    found = ale_dask.describe({"a": DRUG, "b": THERAPY, "c": DRUG}, contrasts={"first": ("a", "b")})
    assert set(found["sample"]) == {"a", "b", "c", "first"}
    assert values(found, "first", "n")["Mann-Whitney U"] == 0
    assert values(found, "first", "n")["p Mann-Whitney exact"] == pytest.approx(1 / 3)
    with pytest.raises(InputError, match="contrast 'x' names 'gone'; there are: a"):
        ale_dask.describe({"a": DRUG}, contrasts={"x": ("a", "gone")})


def test_a_column_of_names_is_no_category():
    found = ale_dask.describe(sample(*((12, 1, {"doi": f"10.1/{i}a"}) for i in range(12))))
    assert values(found, "", "doi") == {"categories": 12}


def u_of(x, y):
    return sum((a > b) + (a == b) / 2 for a in x for b in y)


@ours.QUICK
@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.lists(st.integers(0, 6), min_size=1, max_size=5))
def test_mann_whitney_is_the_share_of_all_relabellings(x, y):
    u, p, how = mann_whitney(np.array(x, float), np.array(y, float))
    both, mean = x + y, len(x) * len(y) / 2
    every = [
        u_of([both[i] for i in chosen], [both[i] for i in range(len(both)) if i not in chosen])
        for chosen in combinations(range(len(both)), len(x))
    ]
    assert (u, how) == (u_of(x, y), "exact")
    assert p == pytest.approx(np.mean([abs(e - mean) >= abs(u - mean) for e in every]), abs=1e-12)


def test_mann_whitney_is_scipys_exact_without_ties_and_its_asymptotic_when_large():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=30), rng.normal(0.6, size=25)
    u, p, how = mann_whitney(x, y)
    exact = stats.mannwhitneyu(x, y, method="exact")
    assert (u, how) == (exact.statistic, "exact")
    assert p == pytest.approx(exact.pvalue, rel=1e-9)
    assert mann_whitney(np.arange(100.0), np.arange(100.0) + 0.5)[2] == "asymptotic"


@ours.QUICK
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=4))
def test_fisher_sums_all_tables_no_likelier_than_this_one(columns):
    counts = np.array(columns).T
    sums, n = counts.sum(axis=0).tolist(), int(counts[0].sum())
    ways = {
        first: np.prod([comb(c, k) for c, k in zip(sums, first, strict=True)])
        for first in product(*(range(c + 1) for c in sums))
        if sum(first) == n
    }
    seen = ways[tuple(counts[0].tolist())]
    assert fisher(counts) == pytest.approx(sum(w for w in ways.values() if w <= seen) / sum(ways.values()), rel=1e-9)


def test_two_by_two_is_scipys():
    counts = np.array([[8, 2], [1, 5]])
    found = dict(categories(counts))
    exact = stats.fisher_exact(counts)
    assert found == {
        "odds ratio": exact.statistic,
        "p Fisher exact": pytest.approx(exact.pvalue, rel=1e-9),
    }


def test_too_many_tables_give_chi_squared():
    counts = np.arange(40, 60).reshape(2, 10) * 10
    assert fisher(counts) is None
    assert [name for name, _ in categories(counts)] == ["chi-squared", "degrees of freedom", "p chi-squared"]
