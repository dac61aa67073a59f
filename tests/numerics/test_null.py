"""The analytic null against enumeration, brute-force draws and exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from support import reference
from support.nulls import BITS, integers, random_experiments

from ale_dask.numerics.null import STEP, analytic_null, histogram, z_of_log_p


def table_of(x, s_max=None):
    rows = [histogram(row[row > 0].astype(np.int32), n_voxels=x.shape[1], bits=BITS) for row in x]
    return analytic_null(rows, bits=BITS, s_max=int(x.max(axis=1).sum() if s_max is None else s_max))


@pytest.mark.parametrize(
    ("shape", "n", "n_foci", "sigma"),
    [
        ((5, 4, 2), 2, 1, (1.0, 1.0, 1.0)),
        ((5, 4, 2), 2, 3, (2.0, 0.8, 0.6)),
        ((3, 3, 3), 3, 1, (0.6, 0.6, 0.6)),
        ((4, 3, 3), 3, 2, (1.9, 1.9, 1.9)),
        ((5, 2, 4), 4, 2, (1.2, 2.4, 0.7)),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_p_is_bracketed_by_exhaustive_enumeration(shape, n, n_foci, sigma, seed):
    random = np.random.default_rng(seed)
    x = integers(np.ones(shape, dtype=bool), random_experiments(random, n, shape, n_foci, np.array(sigma)))
    table = table_of(x)
    sums, tail = reference.tail_by_enumeration(x)
    tail = np.r_[tail, 0.0]
    # Splitting moves each experiment by less than a step and the table's bins are read half a step early.
    slack = (n + 0.5) * STEP * 2.0**BITS
    s = np.r_[sums[:: max(1, len(sums) // 2000)], sums[-50:], random.uniform(1, sums[-1], 2000)]
    # A step function is bracketed worst just beside its jumps.
    s = np.r_[s, *(s + k * STEP * 2.0**BITS for k in np.arange(-n - 1, n + 1.1, 0.5))].astype(np.int64)
    s = s[(s > 0) & (s <= sums[-1])]
    p = np.exp(table.log_p_of(s))
    assert np.all(p >= tail[np.searchsorted(sums, s + slack)] * (1 - 1e-9))
    assert np.all(p <= tail[np.searchsorted(sums, s - slack)] * (1 + 1e-9))


@pytest.fixture(scope="module")
def many():
    """S_q of 24 experiments with 2 foci in 1,000 voxels."""
    random = np.random.default_rng(11)
    return integers(
        np.ones((10, 10, 10), dtype=bool), random_experiments(random, 24, (10, 10, 10), 2, np.array((1.3, 1.3, 1.0)))
    )


def test_p_equals_brute_force_draws(many):
    x, n = many[:20], 2_000_000
    table = table_of(x)
    random = np.random.default_rng(12)
    s = sum(row[random.integers(0, x.shape[1], n)] for row in x)
    at = np.quantile(s, [0.05, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999]).astype(np.int64)
    # One step of each experiment is 2e-4 in S: far below what 2 million draws can tell from 0.
    p = np.exp(table.log_p_of(at))
    drawn = np.array([(s >= a).mean() for a in at])
    assert np.all(np.abs(drawn - p) <= 5 * np.sqrt(p * (1 - p) / n))


def test_p_falls_smoothly_through_the_splice(many):
    log_p = table_of(many).log_p
    splice = int(np.searchsorted(-log_p, -math.log(1e-8)))
    assert splice + 500 < len(log_p)
    drop = -np.diff(log_p[splice - 500 : splice + 500])
    assert np.all(drop > 0)
    # Body and first tilt meet at the splice: its drop stands out of its neighbours by no more than they do.
    typical = np.abs(np.diff(drop)).max()
    assert drop.max() < 1.2 * np.median(drop) + typical
    assert abs(drop[499] - np.median(drop)) < 1e-2 * np.median(drop) + 1e-6


LAWS = {
    "24 rare": [{1: Fraction(1, 50 + i), 3: Fraction(1, 90), 7: Fraction(1, 400 + i)} for i in range(24)],
    "24 rare, one large": [{1: Fraction(1, 60 + i)} for i in range(23)] + [{60: Fraction(1, 1000)}],
    "60 frequent": [{1: Fraction(1, 5), 2: Fraction(1, 30 + i), 5: Fraction(1, 300)} for i in range(60)],
}


@pytest.mark.parametrize("laws", LAWS.values(), ids=LAWS)
def test_tail_equals_exact_fractions(laws):
    laws = [{0: 1 - sum(law.values()), **law} for law in laws]
    bins = max(map(max, laws)) + 1
    table = np.zeros((len(laws), bins))
    for row, law in zip(table, laws, strict=True):
        for value, p in law.items():
            row[value] = float(p)
    exact = np.array([math.log(p) for p in reference.tail_by_fractions(laws)])
    log_p = analytic_null(table, bits=BITS, s_max=2**31 - 1).log_p
    assert exact.min() < math.log(1e-40)
    deep = exact > math.log(1e-40)
    np.testing.assert_allclose(log_p[: len(exact)][deep], exact[deep], rtol=0, atol=1e-6)
    assert np.all(np.diff(log_p) <= 0)


@pytest.mark.parametrize("n", [1, 8, 9, 601])
def test_many_equal_laws_are_binomial(n):
    law = np.array([0.9, 0, 0, 0.1])
    log_p = analytic_null([law] * n, bits=BITS, s_max=2**31 - 1).log_p
    exact = stats.binom.logsf(np.arange(n + 1) - 1, n, 0.1)
    # The bin of 3 k and the two below it: P(S >= 3 k).
    deep = np.flatnonzero(exact > math.log(1e-200))
    np.testing.assert_allclose(log_p[3 * deep], exact[deep], rtol=0, atol=1e-6)
    np.testing.assert_allclose(log_p[3 * deep[1:] - 2], exact[deep[1:]], rtol=0, atol=1e-6)
    assert len(deep) == min(n + 1, len(exact)) or exact[deep[-1]] < math.log(1e-190)


def test_the_order_of_experiments_and_one_of_another_width_change_nothing_but_rounding(many):
    laws = [histogram(row[row > 0].astype(np.int32), n_voxels=1000, bits=BITS) for row in many]
    wide = np.zeros(5000)
    wide[[0, 4999]] = 0.999, 0.001
    tables = [analytic_null(some, bits=BITS, s_max=2**BITS // 5) for some in ([*laws, wide], [wide, *laws[::-1]])]
    np.testing.assert_allclose(tables[0].log_p, tables[1].log_p, rtol=0, atol=1e-6)


def test_splitting_a_value_over_two_bins_keeps_its_mean(many):
    for row in many:
        law = histogram(row[row > 0].astype(np.int32), n_voxels=1000, bits=BITS)
        assert law.sum() == pytest.approx(1, rel=1e-12)
        assert law @ (STEP * np.arange(len(law))) == pytest.approx(row.mean() / 2.0**BITS, rel=1e-9)


@pytest.mark.parametrize("p", [0.5, 0.05, 1e-3, 1e-6, 1e-9, 1e-15])
def test_critical_is_the_smallest_integer_below_p(many, p):
    table = table_of(many)
    k = table.critical(p)
    assert table.log_p_of(k) < math.log(p) <= table.log_p_of(k - 1)


def test_critical_does_not_depend_on_how_far_the_table_was_asked_for(many):
    # Weak data: the largest observed S may lie below the value that p < .001 needs.
    assert table_of(many, s_max=2**BITS // 100).critical(1e-3) == table_of(many).critical(1e-3)


def test_what_cannot_happen_is_never_critical(many):
    assert table_of(many[:2]).critical(1e-12) > many[:2].max(axis=1).sum()


def test_p_of_nothing_is_1_and_p_falls_with_s(many):
    table = table_of(many)
    assert table.log_p_of([0, -5]).tolist() == [0, 0]
    log_p = table.log_p_of(np.linspace(0, many.max(axis=1).sum(), 5000).astype(np.int64))
    assert np.all(np.diff(log_p) <= 0)
    assert log_p[-1] < -30


def test_z_of_log_p():
    assert z_of_log_p(math.log(0.05)) == pytest.approx(1.6448536269514722, rel=1e-12)
    assert z_of_log_p(math.log(0.5)) == pytest.approx(0, abs=1e-12)
    assert z_of_log_p(math.log(1e-300)) == pytest.approx(stats.norm.isf(1e-300), rel=1e-10)
    assert stats.norm.logsf(z_of_log_p(-2000.0)) == pytest.approx(-2000, rel=1e-10)
    z = z_of_log_p(-np.r_[0, np.geomspace(1e-15, 1e5, 500)])
    assert np.all(np.isfinite(z))
    assert np.all(np.diff(z) > 0)
