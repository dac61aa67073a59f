"""p-values, cuts, intervals, decisions and false discovery rates against brute force and scipy."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from ale_dask.numerics.correct import (
    UNREACHABLE,
    clopper_pearson,
    confidence_sequence,
    cut,
    cut_interval,
    decisions,
    exceedances,
    fdr_keep,
    monte_carlo_p,
    top_cut,
)

MANY = settings(deadline=None, max_examples=200)
NULLS = st.lists(st.integers(0, 30), min_size=1, max_size=120).map(np.array)
ALPHAS = st.sampled_from(["0.05", "0.01", "0.001", "0.1", "0.3", "0.5"])


@MANY
@given(NULLS, st.integers(-1, 32))
def test_monte_carlo_p_counts_ties(null, observed):
    r = sum(int(x) >= observed for x in null)
    assert exceedances(null, observed) == r
    assert monte_carlo_p(null, observed) == (1 + r) / (1 + len(null)) > 0


@MANY
@given(NULLS, ALPHAS)
def test_cut_is_the_smallest_k_that_reaches_alpha(null, alpha):
    def p(k):
        return Fraction(1 + sum(int(x) >= k for x in null), 1 + len(null))

    passing = [k for k in range(33) if p(k) <= Fraction(alpha)]
    assert cut(null, alpha=float(alpha)) == (passing[0] if passing else 2**62)


@pytest.mark.parametrize("alpha", [0.05, 0.01, 0.29, 0.57])
def test_cut_and_p_agree_where_alpha_divides_the_iterations(alpha):
    # 0.29 * 100 is 28.999… in doubles; the cut must not lose the value with p = alpha exactly.
    null = np.arange(99)
    k = cut(null, alpha=alpha)
    assert monte_carlo_p(null, k) == pytest.approx(alpha, rel=1e-12)
    assert monte_carlo_p(null, k - 1) > alpha + 5e-3


@pytest.mark.parametrize(("n", "reached"), [(18, False), (19, True)])
def test_the_cut_needs_19_iterations_at_5_percent(n, reached):
    null = np.zeros(n, dtype=np.int64)
    assert cut(null, alpha=0.05) == (1 if reached else 2**62)


@pytest.mark.parametrize(("n", "low", "high"), [(1000, 0.037, 0.064), (10000, 0.046, 0.054)])
def test_cut_interval_spans_the_true_level_of_a_5_percent_cut(n, low, high):
    # method.md: 3.7-6.4 % from 1,000 iterations, 4.6-5.4 % from 10,000. Of ranks, #{null >= k} = n - k.
    first, last = cut_interval(np.arange(n), alpha=0.05)
    assert (n - last) / n == pytest.approx(low, abs=1.5e-3)
    assert (n - first) / n == pytest.approx(high, abs=1.5e-3)
    # R = #{null >= true cut} is binomial; the interval holds the true cut for these R.
    assert stats.binom.cdf(n - first, n, 0.05) - stats.binom.cdf(n - last - 1, n, 0.05) >= 0.95
    assert first <= cut(np.arange(n), alpha=0.05) <= last


@pytest.mark.parametrize(("n", "open_upwards"), [(1, True), (19, True), (71, True), (72, False)])
def test_cut_interval_of_few_iterations_has_no_upper_end(n, open_upwards):
    # .95^71 = .026: so often not one of 71 values reaches the true cut, and none of them bounds it.
    low, high = cut_interval(np.arange(n), alpha=0.05)
    assert (high == UNREACHABLE) == open_upwards
    assert 0 <= low <= n
    assert (top_cut(np.arange(n)[::-1], n, alpha=0.05) is None) == open_upwards


@pytest.mark.parametrize("n", [1, 5, 20, 59, 72, 100, 1000])
@pytest.mark.parametrize("values", [1000, 30])
def test_cut_interval_holds_the_true_cut_as_often_as_it_says(n, values):
    # Whole numbers below `values`, equally likely: the true cut is the smallest k with (values - k) / values <= .05.
    true = int(np.ceil(0.95 * values - 1e-9))
    nulls = np.random.default_rng(n + values).integers(values, size=(2000, n))
    ends = [cut_interval(null, alpha=0.05) for null in nulls]
    held = sum(low <= true <= high for low, high in ends)
    assert held >= stats.binom.ppf(0.001, len(ends), 0.95)


@pytest.mark.parametrize(("r", "n"), [(0, 1), (1, 1), (0, 1000), (1, 1000), (50, 1000), (1000, 1000), (499, 10000)])
def test_clopper_pearson_equals_scipy(r, n):
    low, high = clopper_pearson(np.array([r]), n)
    exact = stats.binomtest(r, n).proportion_ci(0.95, method="exact")
    assert low[0] == pytest.approx(exact.low, rel=1e-9)
    assert high[0] == pytest.approx(exact.high, rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 20000), st.floats(0, 1), st.sampled_from([0.05, 0.001]), st.sampled_from([1e-3, 1e-5]))
def test_decisions_follow_the_confidence_sequence(n, share, alpha, eps):
    r = round(share * n)
    inside = math.log(n + 1) + stats.binom.logpmf(r, n, alpha) > math.log(eps)
    expected = "undecided" if inside else "significant" if r / n < alpha else "not"
    assert decisions([r], n, alpha=alpha, eps=eps) == [expected]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 20000), st.floats(0, 1), st.sampled_from([0.01, 1e-3, 1e-6]))
def test_the_confidence_sequence_ends_where_its_equation_has_roots(n, share, eps):
    r = round(share * n)

    def above(p):
        return math.log(n + 1) + stats.binom.logpmf(r, n, p) - math.log(eps)

    low, high = (float(end) for end in confidence_sequence(r, n, eps=eps))
    assert low == (pytest.approx(optimize.brentq(above, 1e-300, r / n, xtol=1e-300, rtol=1e-12), rel=1e-9) if r else 0)
    assert high == (pytest.approx(optimize.brentq(above, r / n, 1 - 1e-16, xtol=1e-15), rel=1e-9) if r < n else 1)


@pytest.mark.parametrize("eps", [0.01, 1e-4])
def test_decisions_are_where_the_confidence_sequence_leaves_alpha(eps):
    r, n = np.arange(0, 401), 400
    low, high = confidence_sequence(r, n, eps=eps)
    expected = np.select([high < 0.05, low > 0.05], ["significant", "not"], "undecided")
    assert decisions(r, n, alpha=0.05, eps=eps) == expected.tolist()
    assert set(expected) == {"significant", "undecided", "not"}
    assert np.all(np.diff(low) > 0)
    assert np.all(np.diff(high) > 0)


def test_the_confidence_sequence_holds_at_every_n_at_once():
    # Of 4,000 runs looked at 60 times up to 10,000 iterations at most eps = 5 %, 200, may ever lose their p.
    p, runs, looks = 0.05, 4000, np.unique(np.geomspace(5, 10000, 60).astype(int))
    counts = np.random.default_rng(8).binomial(np.diff(looks, prepend=0), p, (runs, len(looks))).cumsum(axis=1)
    lost = np.zeros(runs, dtype=bool)
    for n, r in zip(looks, counts.T, strict=True):
        seen, which = np.unique(r, return_inverse=True)
        low, high = confidence_sequence(seen, int(n), eps=0.05)
        lost |= ((low > p) | (high < p))[which]
    assert 0 < lost.sum() <= 200


def test_decisions_of_known_counts():
    assert decisions([0, 30, 50, 100], 1000, alpha=0.05, eps=0.001) == ["significant", "undecided", "undecided", "not"]
    assert decisions([0], 100, alpha=0.05, eps=0.001) == ["undecided"]  # 101 * 0.95^100 = 0.6


def test_decisions_at_p_equal_alpha_are_wrong_less_often_than_eps():
    # method.md: this rule declares below .1 % significant at p = alpha, however often one looks.
    looks, runs, wrong = np.array([250, 500, 1000, 2000, 4000]), 2000, 0
    counts = np.random.default_rng(6).binomial(np.diff(looks, prepend=0), 0.05, (runs, len(looks))).cumsum(axis=1)
    for row in counts:
        wrong += any(decisions([r], n, alpha=0.05, eps=0.01)[0] != "undecided" for r, n in zip(row, looks, strict=True))
    # The bound for eps = .01 allows 20 of 2,000; 4 sigma more would be 38.
    assert wrong <= 20


@MANY
@given(
    st.lists(st.sampled_from([1e-12, 1e-4, 0.003, 0.01, 0.012, 0.02, 0.04, 0.3, 1.0]), min_size=1, max_size=40),
    st.sampled_from([0.0123, 0.0517, 0.2011]),
    st.booleans(),
)
def test_fdr_equals_scipy(p, q, dependent):
    # The q are not reached exactly by any p * n / i above, so rounding decides nothing.
    adjusted = stats.false_discovery_control(p, method="by" if dependent else "bh")
    assert fdr_keep(np.log(p), q=q, dependent=dependent).tolist() == (adjusted <= q).tolist()


@pytest.mark.parametrize("dependent", [False, True])
def test_fdr_equals_scipy_on_many_voxels(dependent):
    random = np.random.default_rng(4)
    p = np.r_[random.random(3000), random.random(200) * 1e-4]
    adjusted = stats.false_discovery_control(p, method="by" if dependent else "bh")
    kept = fdr_keep(np.log(p), q=0.05, dependent=dependent)
    assert kept.tolist() == (adjusted <= 0.05).tolist()
    assert 100 < kept.sum() < 300


def test_fdr_uses_log_p_beyond_the_smallest_double():
    assert fdr_keep(np.array([-2000.0, 0.0]), q=0.05).tolist() == [True, False]
