"""The float32 operations of the bound by passes against their plain versions."""

import numpy as np
import pytest

from ale_dask.numerics.kernels import float_lanes as lanes


@pytest.fixture
def points():
    return np.random.default_rng(0).random(3000).astype(np.float32)


def test_scaled_rows_are_added(points):
    table = points[::-1].copy()
    plain, fast = points.copy(), points.copy()
    lanes.plain_add_scaled16(plain, 7, np.float32(0.3), table, 11)
    lanes.fast_add_scaled16(fast, 7, np.float32(0.3), table, 11)
    expected = points.astype(np.float64)
    expected[7:23] += 0.3 * table[11:27]
    assert np.allclose(plain, expected, rtol=1e-6)
    assert np.allclose(fast, expected, rtol=1e-6)


@pytest.mark.parametrize("span", [(0, 0), (2, 3), (1, 20)])
def test_weighted_sums_of_rows(points, span):
    weights = points[500:530].copy()
    for cells, plain, fast in (
        (16, lanes.plain_weighted_rows16, lanes.fast_weighted_rows16),
        (48, lanes.plain_weighted_rows48, lanes.fast_weighted_rows48),
    ):
        expected = np.full(100, -1.0)
        rows = [points[5 + 70 * i :][:cells].astype(np.float64) for i in range(span[1] - span[0])]
        expected[9 : 9 + cells] = sum(
            (w * r for w, r in zip(weights[slice(*span)], rows, strict=True)), np.zeros(cells)
        )
        for operation in (plain, fast):
            out = np.full(100, -1, dtype=np.float32)
            operation(out, 9, points, (5, 70), weights, span)
            assert np.allclose(out, expected, rtol=1e-5)


@pytest.mark.parametrize("where", range(16))
def test_a_step_sees_each_of_its_points_and_no_other(where):
    points = np.zeros(48, dtype=np.float32)
    points[[15, 32]] = 9
    points[16 + where] = 4
    for reaches in (lanes.plain_reaches16f, lanes.fast_reaches16f):
        assert [bool(reaches(points, 16, np.float32(limit))) for limit in (0, 4, 4.001)] == [True, True, False]


def bits_of(mask, z):
    return (int(mask) >> (2 * np.arange(16) + z)) & 1 == 1


def test_means_and_interpolations(points):
    steps, at = (400, 60), 1000
    weights = np.array([0.62, -0.15, 0.04, 0.6, -0.1, 0.02, 0.61, -0.12, 0.03], dtype=np.float32)
    cube = np.array(
        [[points[at + i * 400 + j * 60 - 2 :][:21] for j in range(-2, 4)] for i in range(-2, 4)], dtype=float
    )
    six = [w[[2, 1, 0, 0, 1, 2]].astype(float) for w in weights.reshape(3, 3)]
    for x, y, z in np.ndindex(2, 2, 2):
        value = np.tensordot(six[0] if x else np.eye(6)[2], cube, axes=1)
        value = np.tensordot(six[1] if y else np.eye(6)[2], value, axes=1)
        value = np.convolve(value, six[2] if z else np.eye(6)[3], mode="valid")
        assert value.shape == (16,)
        middle = np.sort(value)[[6, 9]]
        limits = np.full(130, np.inf, dtype=np.float32)
        first = 2 + 16 * (4 * x + 2 * y + z)
        for limit in middle:
            # Halfway to the next value, so that no rounding decides.
            limits[first : first + 16] = (limit + np.sort(value)[np.searchsorted(np.sort(value), limit) + 1]) / 2
            for stencil in (lanes.plain_stencil_masks, lanes.fast_stencil_masks):
                out = np.zeros(4, dtype=np.int64)
                stencil(points, (at, 2), steps, weights, limits, out)
                assert np.array_equal(bits_of(out[2 * x + y], z), value > limit)
                assert not out[[i for i in range(4) if i != 2 * x + y]].any()
        corners = cube[2 : 3 + x, 2 : 3 + y].sum(axis=(0, 1))
        corners = corners[2:18] + z * corners[3:19]
        shares = np.arange(1, 9).astype(np.float32)
        for factor, some in ((0.999, True), (1.001, False)):
            limits[first : first + 16] = np.inf
            limits[first + 5] = factor * corners[5] / shares[4 * x + 2 * y + z]
            for means in (lanes.plain_means_reach, lanes.fast_means_reach):
                assert bool(means(points, (at, 2), steps, limits, shares)) is some
