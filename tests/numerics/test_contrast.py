"""Relabelling by integers against float64 and against enumeration."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support import reference

from ale_dask.numerics.contrast import (
    DIFFERENCE_BITS,
    Candidates,
    by_voxel,
    count_exceedances,
    difference_map,
    difference_of,
    exponential_digits,
    n_relabellings,
    relabellings,
)

BITS = 24
DIGITS = exponential_digits(BITS)
UNIT = 2.0**-DIFFERENCE_BITS
SOME = settings(deadline=None, max_examples=60)


def sparse(s_q):
    """begin, voxel and value of dense rows (experiment, voxel)."""
    voxel = [np.flatnonzero(row) for row in s_q]
    begin = np.r_[0, np.cumsum([len(v) for v in voxel])].astype(np.int64)
    value = np.concatenate([row[v] for row, v in zip(s_q, voxel, strict=True)])
    return begin, np.concatenate(voxel).astype(np.int32), value.astype(np.int32)


def candidates(s_q, in_a, candidate, component):
    begin, experiment, value = by_voxel(*sparse(s_q), candidate=candidate, n_voxels=s_q.shape[1])
    total, observed = s_q.sum(axis=0)[candidate], s_q[in_a].sum(axis=0)[candidate]
    return Candidates(begin, experiment, value, total, observed, component)


def counted(chosen, case, n_parts):
    exceed = np.zeros((2, len(case.observed)), dtype=np.int64)
    greatest = np.full((len(chosen), 2, n_parts), -(2**DIFFERENCE_BITS), dtype=np.int64)
    count_exceedances(chosen, case, DIGITS, BITS, exceed, greatest)
    return exceed, greatest


@st.composite
def arms(draw):
    """Coarse S_q (experiment, voxel), some experiments identical: exact ties that float64 tells from differences."""
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, n_voxels = draw(st.integers(2, 9)), draw(st.integers(1, 12))
    s_q = random.integers(0, 40, (n, n_voxels)) * (random.random((n, n_voxels)) < 0.6) << (BITS - 8)
    for twin in range(1, n):
        if draw(st.booleans()):
            s_q[twin] = s_q[twin - 1]
    in_a = np.zeros(n, dtype=bool)
    in_a[random.permutation(n)[: draw(st.integers(1, n - 1))]] = True
    return s_q, in_a, random


@SOME
@given(arms(), st.sampled_from([1, 63, 64, 65, 130]))
def test_exceedances_and_maxima_equal_the_float_reference(case, count):
    s_q, in_a, random = case
    key = random.integers(0, 2**63, len(s_q)).astype(np.uint64)
    chosen = relabellings(key, size=in_a.sum(), first=5, count=count, enumerate_all=False)
    candidate = np.flatnonzero(random.random(s_q.shape[1]) < 0.8)
    component = random.integers(-1, 3, len(candidate))
    exceed, greatest = counted(chosen, candidates(s_q, in_a, candidate, component), 3)
    s = s_q / 2.0**BITS
    if len(candidate):
        expected, _ = reference.contrast(s[:, candidate], chosen, in_a)
        assert np.array_equal(exceed, expected)
    for part in range(3):
        here = candidate[component == part]
        if len(here):
            _, largest = reference.contrast(s[:, here], chosen, in_a)
            np.testing.assert_allclose(greatest[:, :, part] * UNIT, largest, rtol=0, atol=2 * UNIT)
            sums, total = chosen.astype(np.int64) @ s_q[:, here], s_q[:, here].sum(axis=0)
            every = np.array([[difference_of(s, t, DIGITS) for s, t in zip(row, total, strict=True)] for row in sums])
            # To the unit: no voxel that a bound passed over would have raised a maximum.
            assert np.array_equal(greatest[:, :, part], np.stack([every.max(axis=1), -every.min(axis=1)], axis=1))
        else:
            assert np.all(greatest[:, :, part] == -(2**DIFFERENCE_BITS))


def test_every_enumerated_p_of_identical_experiments_is_1():
    s_q = np.full((6, 3), 5 << (BITS - 8))
    in_a = np.arange(6) < 2
    chosen = relabellings(np.zeros(6, dtype=np.uint64), size=2, first=0, count=15, enumerate_all=True)
    exceed, greatest = counted(chosen, candidates(s_q, in_a, np.arange(3), np.zeros(3, dtype=np.int64)), 1)
    assert np.all(exceed == 15)
    assert len(np.unique(greatest[:, 0])) == 1


@SOME
@given(arms(), st.integers(1, 9))
def test_counts_add_up_over_batches(case, batch):
    s_q, in_a, _ = case
    n = n_relabellings(len(s_q), int(in_a.sum()))
    columns = candidates(s_q, in_a, np.arange(s_q.shape[1]), np.zeros(s_q.shape[1], dtype=np.int64))
    key = np.zeros(len(s_q), dtype=np.uint64)

    def enumerated(first, count):
        return relabellings(key, size=in_a.sum(), first=first, count=count, enumerate_all=True)

    whole = counted(enumerated(0, n), columns, 1)
    parts = [counted(enumerated(f, min(batch, n - f)), columns, 1) for f in range(0, n, batch)]
    assert np.array_equal(sum(p[0] for p in parts), whole[0])
    assert np.array_equal(np.concatenate([p[1] for p in parts]), whole[1])
    # The observed labels are one of the enumerated ones, so p = count / C is never 0.
    assert whole[0].min() >= 1


@pytest.mark.parametrize(("n", "k"), [(2, 1), (6, 3), (7, 2), (5, 5)])
def test_enumeration_visits_every_relabelling_once(n, k):
    total = n_relabellings(n, k)
    assert total == math.comb(n, k)
    key = np.arange(n, dtype=np.uint64)
    rows = [relabellings(key, size=k, first=i, count=1, enumerate_all=True)[0] for i in range(total)]
    assert {tuple(np.flatnonzero(r).tolist()) for r in rows} == set(combinations(range(n), k))


KEYS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12, unique=True).map(
    lambda k: np.array(k, dtype=np.uint64)
)


@SOME
@given(KEYS, st.integers(0, 2**40), st.integers(1, 20), st.integers(0, 20), st.randoms())
def test_drawn_relabellings_follow_keys_and_iterations_only(key, first, count, skip, random):
    size = random.randint(0, len(key))
    chosen = relabellings(key, size=size, first=first, count=count + skip, enumerate_all=False)
    assert np.all(chosen.sum(axis=1) == size)
    later = relabellings(key, size=size, first=first + skip, count=count, enumerate_all=False)
    assert np.array_equal(chosen[skip:], later)
    order = random.sample(range(len(key)), len(key))
    second = relabellings(key, size=size, first=first, count=count + skip, enumerate_all=False, complement=True)
    assert np.array_equal(second, ~chosen)
    moved = relabellings(key[order], size=size, first=first, count=count + skip, enumerate_all=False)
    assert np.array_equal(moved, chosen[:, order])


def test_drawn_relabellings_are_uniform():
    key = np.random.default_rng(9).integers(0, 2**63, 6).astype(np.uint64)
    chosen = relabellings(key, size=2, first=0, count=15000, enumerate_all=False)
    _, counts = np.unique(chosen, axis=0, return_counts=True)
    assert len(counts) == 15
    # The draws are fixed by their keys, so this p-value is a constant.
    assert stats.chisquare(counts).pvalue > 1e-3


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_difference_is_within_two_units_of_float64(a, b):
    total = a + b
    exact = math.exp(-b / 2**BITS) - math.exp(-a / 2**BITS)  # ALE_A - ALE_B
    assert abs(difference_of(a, total, DIGITS) * UNIT - exact) <= 2 * UNIT
    assert difference_of(a, total, DIGITS) == -difference_of(b, total, DIGITS)
    assert difference_of(a, total, DIGITS) <= difference_of(a + 1, total + 1, DIGITS)
    if b:
        assert difference_of(a, total, DIGITS) <= difference_of(a + 1, total, DIGITS)


def test_difference_map_is_difference_of_each_voxel():
    s = np.array([0, 5, 2**24, 2**26])
    total = np.array([0, 7, 2**25, 2**26])
    out = np.empty(4, dtype=np.int64)
    difference_map(s, total, DIGITS, out)
    assert out.tolist() == [difference_of(a, t, DIGITS) for a, t in zip(s, total, strict=True)]
    assert out[0] == out[2] == 0
    assert out[3] == pytest.approx(2**40 * (1 - math.exp(-4)), abs=2)


def test_by_voxel_is_the_transpose_of_the_rows():
    s_q = np.array([[0, 3, 0, 4], [5, 0, 0, 6], [0, 7, 0, 0]])
    begin, experiment, value = by_voxel(*sparse(s_q), candidate=np.array([1, 2, 3]), n_voxels=4)
    assert begin.tolist() == [0, 2, 2, 4]
    assert experiment.tolist() == [0, 2, 0, 1]
    assert value.tolist() == [3, 7, 4, 6]


@pytest.mark.parametrize("bits", [10, 30])
def test_exponential_digits_are_exp_of_their_share(bits):
    digits = exponential_digits(bits)
    for k, d in [(0, 1), (1, 5), (2, 1023), (3, 1)]:
        assert digits[k, d] == pytest.approx(math.exp(-d * 2.0 ** (10 * k - bits)), rel=1e-14)
    assert np.all(digits[:, 0] == 1)
