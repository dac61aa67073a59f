"""exp and log1p from five operations, against 40-digit decimals."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ale_dask.numerics.elementary import exp_neg, fixed_point, fixed_point_sum, neg_log1p_neg

MANY = settings(deadline=None, max_examples=300)


def ulps(found, exact):
    """Distance of a double from a Decimal in units of the last place of the exact result."""
    return float(abs(Decimal(found) - exact) / Decimal(math.ulp(float(exact))))


def exact_exp(x):
    with localcontext() as context:
        context.prec = 40
        return (-Decimal(x)).exp()


def exact_neg_log1p_neg(p):
    # 1 - p is exact at 400 digits for every double p >= 1e-300; ln then rounds at 40.
    with localcontext() as context:
        context.prec = 400
        q = 1 - Decimal(p)
        if p < 1e-3:
            # The first 20 terms of the series reach 1e-60 relative; ln(1 - 1e-200) would need 240 digits.
            context.prec = 60
            return sum(Decimal(p) ** n / n for n in range(1, 21))
        context.prec = 40
        return -q.ln()


def test_exp_neg_is_within_2_ulp_over_its_range():
    x = np.random.default_rng(1).uniform(0, 1, 1500) * np.repeat([1e-6, 0.5, 5, 50, 708], 300)
    assert max(ulps(exp_neg(v), exact_exp(v)) for v in x) <= 2
    # Midpoints of the reduction, where |r| is largest, and both ends.
    worst = [0.0, 708.0, *((k + 0.5) * math.log(2) for k in range(0, 1021, 5))]
    assert max(ulps(exp_neg(v), exact_exp(v)) for v in worst) <= 2
    assert exp_neg(708.0001) == 0.0


@pytest.mark.parametrize(
    ("low", "high", "most"), [(1e-300, 1e-9, 4), (1e-9, 0.1, 4), (0.1, 0.9, 16), (0.9, 1 - 2.0**-53, 16)]
)
def test_neg_log1p_neg_is_within_its_ulps(low, high, most):
    log = np.random.default_rng(2).uniform(math.log(low), math.log(high), 300)
    p = np.clip(np.r_[np.exp(log), low, high], low, high)
    assert max(ulps(neg_log1p_neg(v), exact_neg_log1p_neg(v)) for v in p) <= most


def test_neg_log1p_neg_near_one():
    p = 1 - 2.0 ** -np.arange(1, 54)
    assert max(ulps(neg_log1p_neg(v), exact_neg_log1p_neg(v)) for v in p) <= 16


@MANY
@given(st.floats(0, 800), st.floats(0, 800))
def test_exp_neg_falls(a, b):
    # Rounding may turn neighbours round by its 2 ulp; never more.
    low, high = sorted((a, b))
    assert exp_neg(high) <= exp_neg(low) * (1 + 2**-50)


@MANY
@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_neg_log1p_neg_rises(a, b):
    low, high = sorted((a, b))
    assert neg_log1p_neg(high) >= neg_log1p_neg(low) * (1 - 2**-47)


@MANY
@given(st.lists(st.floats(0, 0.6), max_size=20), st.sampled_from([1.0, 0.1]), st.integers(1, 30))
def test_fixed_point_is_nearest_and_monotone(values, greatest, bits):
    ma = np.sort(np.array(values)) * greatest
    found = fixed_point(ma, bits=bits)
    exact = -np.log1p(-ma) * 2**bits
    assert np.all(np.abs(found - exact) <= 0.5 + 1e-14 * exact)
    assert np.all(np.diff(found) >= 0)
    # The path of small values alone gives what the other gives.
    assert found.tolist() == fixed_point(np.r_[ma, 0.6], bits=bits)[:-1].tolist()


def test_fixed_point_sum_adds_over_experiments():
    ma = np.array([[0, 0.5, 0.5], [0.25, 0, 0.5]], dtype=np.float32)
    assert fixed_point_sum(ma[:, ::-1], bits=20).tolist() == [2 * 726817, 726817, 301657]  # ln 2, -ln 0.75 times 2^20
    assert fixed_point_sum(ma[:0], bits=20).tolist() == [0, 0, 0]
    assert fixed_point_sum(np.full((1000, 1), 0.5, dtype=np.float32), bits=40).tolist() == [1000 * 762123384786]
