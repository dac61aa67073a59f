"""The vector operations of the pruned null against their plain versions."""

import numba
import numpy as np
import pytest

from ale_dask.numerics.kernels import lattice_lanes as lanes
from ale_dask.numerics.kernels import simd


@pytest.fixture
def lattice():
    random = np.random.default_rng(0)
    points = random.integers(0, 2**16, 400).astype(np.uint16)
    points[random.random(400) < 0.2] = 65535
    return points


def test_sums_stay_at_the_largest_value(lattice):
    table = np.r_[lattice[::-1], lattice[:50]]
    for at, entry in ((0, 3), (17, 40), (200, 111)):
        plain, fast = lattice.copy(), lattice.copy()
        lanes.plain_add16(plain, at, table, entry)
        lanes.fast_add16(fast, at, table, entry)
        assert np.array_equal(plain, fast)
        added = np.minimum(lattice[at : at + 16].astype(int) + table[entry : entry + 16], 65535)
        assert np.array_equal(plain[at : at + 16], added)
        assert np.count_nonzero(plain != lattice) <= 16


@pytest.mark.parametrize("where", range(16))
def test_a_step_sees_each_of_its_points_and_no_other(where):
    points = np.zeros(48, dtype=np.uint16)
    points[[15, 32]] = 65535
    points[16 + where] = 40_000
    for reaches in (lanes.plain_reaches16, lanes.fast_reaches16):
        assert [bool(reaches(points, 16, limit)) for limit in (0, 40_000, 40_001)] == [True, True, False]


def test_masks_of_corners_agree_and_are_the_means_of_the_points(lattice):
    random = np.random.default_rng(1)
    points = lattice.astype(np.int64)
    step_x, step_y = 100, 40
    for at in (0, 11, 200):
        limits = random.integers(1000, 2**16, 16 * 8 + 5).astype(np.uint16)
        plain, fast = np.zeros((2, 4), dtype=np.int64)
        lanes.plain_corner_masks(lattice, at, (step_x, step_y), limits, 5, plain)
        lanes.fast_corner_masks(lattice, at, (step_x, step_y), limits, 5, fast)
        assert np.array_equal(plain, fast)
        for x, y, z in np.ndindex(2, 2, 2):
            mean = points[at : at + 160].copy()
            for step in (z, y * step_y, x * step_x):
                mean = (mean + np.r_[mean[step:], np.zeros(step, dtype=np.int64)] + 1) // 2
            expected = mean[:16] >= limits[5 + 16 * (4 * x + 2 * y + z) :][:16]
            bits = (int(plain[2 * x + y]) >> (2 * np.arange(16) + z)) & 1
            assert np.array_equal(bits == 1, expected)
    for shift, some in ((0, True), (1, False)):
        # Only one mean of one cell reaches its limit, or just misses it.
        limits = np.full(128, 65535, dtype=np.uint16)
        flat = np.full(400, 1000, dtype=np.uint16)
        limits[37] = 1000 + shift
        for reach in (lanes.plain_corners_reach, lanes.fast_corners_reach):
            assert bool(reach(flat, 11, (step_x, step_y), limits, 0)) is some


def test_foci_near_a_box():
    random = np.random.default_rng(2)
    x, y, z = random.integers(0, 60, (3, 60)).astype(np.int16)
    reach = random.integers(-1, 300, 60).astype(np.int16)
    for box in ([10, 20, 30, 17, 20, 44], [5, -30_000, -30_000, 9, 30_000, 30_000]):
        corners = np.array(box, dtype=np.int16)
        place = np.stack([x, y, z]).astype(int).T
        beyond = np.maximum(np.maximum(box[:3] - place, place - box[3:]), 0)
        expected = (np.minimum(beyond, 104) ** 2).sum(axis=1) <= reach
        for at in (0, 8, 24):
            for near in (lanes.plain_near32, lanes.fast_near32):
                mask = int(near(x, y, z, reach, at, corners))
                assert [bool(mask >> i & 1) for i in range(32)] == expected[at : at + 32].tolist()


def test_the_lowest_bit():
    for mask, bit in ((1, 0), (0b101000, 3), (1 << 40, 40), (2**63 - 2**32, 32)):
        assert lanes.plain_lowest_bit(mask) == lanes.fast_lowest_bit(mask) == bit


def test_rows_of_eight_planes():
    for base, step, beyond, from_x in ((100, 33, 9, -20), (100, 33, 9, -3), (7, 5, 2, 1)):
        plain, fast = np.zeros((2, 12), dtype=np.int32)
        arguments = [np.int32(a) for a in (base, step, beyond, from_x)]
        lanes.plain_slab_rows8(plain, 3, *arguments)
        lanes.fast_slab_rows8(fast, 3, *arguments)
        expected = base + step * np.minimum(np.abs(from_x + np.arange(8)), beyond)
        assert plain.tolist() == fast.tolist() == [0, 0, 0, *expected.tolist(), 0]


def chain(zero8, kept8, grown8, store8, larger8):
    @numba.njit
    def run(table, keep, out):
        total, most = zero8(), zero8()
        for i in range(keep.shape[0]):
            old = kept8(most, keep[i])
            most = larger8(old, table, 8 * i)
            total = grown8(total, most, old)
        store8(out, 3, total)

    return run


def test_maxima_within_an_experiment_add_up():
    table = np.random.default_rng(3).integers(0, 2**27, 48).astype(np.int32)
    keep = np.array([0, -1, -1, 0, 0, -1])
    plain, fast = np.zeros((2, 14), dtype=np.int32)
    chain(lanes.plain_zero8, lanes.plain_kept8, lanes.plain_grown8, lanes.plain_store8, simd.plain_larger8)(
        table, keep, plain
    )
    chain(lanes.fast_zero8, lanes.fast_kept8, lanes.fast_grown8, lanes.fast_store8, simd.fast_larger8)(
        table, keep, fast
    )
    rows = table.reshape(6, 8)
    expected = rows[:3].max(axis=0) + rows[3] + rows[4:].max(axis=0)
    assert np.array_equal(plain, np.r_[0, 0, 0, expected, 0, 0, 0])
    assert np.array_equal(fast, plain)
