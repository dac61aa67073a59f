"""The vector operations on 64 relabellings against their plain twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ale_dask.numerics import contrast, lanes

MANY = settings(deadline=None, max_examples=80)
SEEDS = st.integers(0, 10**9).map(np.random.default_rng)
INT32 = np.iinfo(np.int32)


def drawn_sums(random):
    """Sums of every size, the ends of int32 among them, some equal."""
    sums = random.integers(INT32.min, INT32.max + 1, 64) >> random.integers(0, 31, 64)
    sums[random.integers(0, 64, 4)] = random.choice([INT32.min, -1, 0, 1, INT32.max], 4)
    return sums.astype(np.int32)


@MANY
@given(SEEDS)
def test_sums_are_those_of_the_members(random):
    n, entries = random.integers(1, 12), random.integers(0, 20)
    value = random.integers(0, 1 << 26, entries).astype(np.int32)
    experiment = random.integers(0, n, entries).astype(np.int32)
    member = -random.integers(0, 2, (n, 64)).astype(np.int32)
    begin = int(random.integers(0, entries + 1))
    fast, plain = np.full(64, 7, dtype=np.int32), np.full(64, 9, dtype=np.int32)
    lanes.fast_sums(value, experiment, begin, entries, member, fast)
    lanes.plain_sums(value, experiment, begin, entries, member, plain)
    expected = (value[begin:, None] * -member[experiment[begin:]]).sum(axis=0)
    assert fast.tolist() == plain.tolist() == expected.tolist()


@MANY
@given(SEEDS)
def test_comparisons_set_the_lanes_that_hold(random):
    sums = drawn_sums(random)
    for bound in (sums[random.integers(64)], np.int32(INT32.min), np.int32(INT32.max)):
        for fast, plain, holds in (
            (lanes.fast_at_least, lanes.plain_at_least, sums >= bound),
            (lanes.fast_at_most, lanes.plain_at_most, sums <= bound),
        ):
            mask = int(fast(sums, bound))
            assert mask == int(plain(sums, bound)) == sum(1 << lane for lane in np.flatnonzero(holds).tolist())
            assert lanes.count_lanes(np.uint64(mask)) == holds.sum()
            assert [lanes.has_lane(np.uint64(mask), lane) for lane in range(64)] == holds.tolist()


@MANY
@given(SEEDS, st.sampled_from([10, 24, 33]))
def test_a_lane_that_raises_a_maximum_is_never_passed_over(random, bits):
    total = int(random.integers(1, 1 << random.integers(2, 31)))
    sums = random.integers(0, total + 1, 64).astype(np.int32)
    digits = contrast.exponential_digits(bits)
    difference = np.array([contrast.difference_of(np.int64(s), total, digits) for s in sums])
    # Maxima so far that a few lanes exceed by one unit, just reach, or miss.
    so_far = np.stack([difference, -difference]) + random.integers(-1, 2, (2, 64))
    bounds = np.stack([[contrast._short_of(g) for g in side] for side in so_far])[None].astype(np.float32)
    bounds[:, 1] *= -1
    steep, flat = map(np.float32, contrast._slopes(total, bits))
    arguments = (sums, np.int32(total), steep, flat, bounds, 0)
    mask = lanes.fast_may_raise(*arguments)
    assert mask == lanes.plain_may_raise(*arguments)
    raises = (difference > so_far[0]) | (-difference > so_far[1])
    assert not np.any(raises & ~np.array([lanes.has_lane(mask, lane) for lane in range(64)]))


def test_a_lane_far_below_its_maximum_is_passed_over():
    sums = np.full(64, 1 << 20, dtype=np.int32)
    steep, flat = map(np.float32, contrast._slopes(3 << 19, 24))
    bounds = np.full((1, 2, 64), 0.1 * 2**40, dtype=np.float32) * np.array([1, -1], dtype=np.float32)[None, :, None]
    # x = 2^20 of 2^24: a difference of .06, below .1 in both directions.
    assert lanes.fast_may_raise(sums, np.int32(3 << 19), steep, flat, bounds, 0) == 0
    bounds[0, 0, 5] = 0.01 * 2**40
    assert lanes.fast_may_raise(sums, np.int32(3 << 19), steep, flat, bounds, 0) == 1 << 5


@pytest.mark.parametrize("count", [1, 63, 64])
def test_spare_lanes_repeat_the_first_relabelling(count):
    chosen = np.random.default_rng(count).random((count + 64, 5)) < 0.5
    member = np.empty((5, 64), dtype=np.int32)
    assert lanes.fill_members(chosen, 64, member) == count
    expected = np.concatenate([chosen[64:], np.repeat(chosen[64:65], 64 - count, axis=0)])
    assert np.array_equal(member.T == -1, expected)
    assert set(np.unique(member)) <= {-1, 0}
