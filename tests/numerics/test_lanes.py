"""The vector operations on 64 relabellings against their plain twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ale_dask.numerics import contrast
from ale_dask.numerics.kernels import lanes

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
def test_the_largest_and_smallest_difference_are_never_passed_over(random, bits):
    digits = contrast.exponential_digits(bits)
    bounds = np.empty((2, 2, 64), dtype=np.float32)
    bounds[:, 0], bounds[:, 1] = -np.inf, np.inf
    also = bounds.copy()
    totals = random.integers(1, 1 << random.integers(2, 31), 12)
    # Twins and near twins: ties, and differences of a unit.
    totals[6:] = totals[:6] + random.integers(0, 2, 6)
    sums = (random.random((6, 64)) * (totals[:6, None] + 1)).astype(np.int32)
    sums = np.concatenate([sums, sums + random.integers(0, 2, (6, 64), dtype=np.int32)])
    sums = np.minimum(sums, totals[:, None].astype(np.int32))
    for again in range(2):
        for total, row in zip(totals, sums, strict=True):
            arguments = (row, np.int32(total), *map(np.float32, contrast._slopes(total, bits)))
            mask = lanes.fast_rising(*arguments, bounds, 1)
            assert mask == lanes.plain_rising(*arguments, also, 1)
            if again:
                every = [
                    [contrast.difference_of(np.int64(s), t, digits) for s in r]
                    for t, r in zip(totals, sums, strict=True)
                ]
                here = [contrast.difference_of(np.int64(s), total, digits) for s in row]
                extreme = (here == np.max(every, axis=0)) | (here == np.min(every, axis=0))
                assert not np.any(extreme & ~np.array([lanes.has_lane(np.uint64(mask), lane) for lane in range(64)]))
    assert np.array_equal(bounds, also)
    assert np.all(bounds[0, 0] == -np.inf)


def test_a_lane_far_within_its_bounds_is_passed_over():
    bounds = np.full((1, 2, 64), 0.1 * 2**40, dtype=np.float32) * np.array([1, -1], dtype=np.float32)[None, :, None]
    # x = 2^19 of 2^24: a difference of .03, within .1 either way.
    arguments = (np.full(64, 1 << 20, dtype=np.int32), np.int32(3 << 19))
    slopes = [np.float32(s) for s in contrast._slopes(3 << 19, 24)]
    assert lanes.fast_rising(*arguments, *slopes, bounds, 0) == 0
    bounds[0, 0, 5] = 0.01 * 2**40
    assert lanes.fast_rising(*arguments, *slopes, bounds, 0) == 1 << 5
    assert 0.029 < bounds[0, 0, 5] / 2**40 < 0.0313


@pytest.mark.parametrize("count", [1, 63, 64])
def test_spare_lanes_repeat_the_first_relabelling(count):
    chosen = np.random.default_rng(count).random((count + 64, 5)) < 0.5
    member = np.empty((5, 64), dtype=np.int32)
    assert lanes.fill_members(chosen, 64, member) == count
    expected = np.concatenate([chosen[64:], np.repeat(chosen[64:65], 64 - count, axis=0)])
    assert np.array_equal(member.T == -1, expected)
    assert set(np.unique(member)) <= {-1, 0}
