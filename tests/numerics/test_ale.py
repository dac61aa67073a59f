"""Kernels, MA and ALE, the fixed point and its bound, against the slow reference."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import reference

from ale_dask.errors import InputError
from ale_dask.numerics.ale import (
    add_row,
    ale_from_s,
    cell_index,
    fixed_point_rows,
    modelled_activation,
    scale_bits,
    scratch_of,
    support_for_floor,
)
from ale_dask.numerics.gaussian import FWHM_PER_SIGMA, kernel_box, peak, sigma_mm
from ale_dask.numerics.kernels.kernel_rows import geometry, rows_of_kernels
from ale_dask.numerics.kernels.planes import Design, sum_of_foci

INT32_MAX = 2**31 - 1
EVERYWHERE = 30.0  # standard deviations: further than any test grid reaches


def sum_rows(rows, *, n_voxels):
    total = np.zeros(n_voxels, dtype=np.int64)
    for voxel, value in rows:
        add_row(voxel, value, total)
    return total


def blob(seed, shape=(9, 8, 7), share=0.6):
    volume = np.random.default_rng(seed).random(shape) < share
    volume[tuple(n // 2 for n in shape)] = True
    return volume


def dense(volume, foci, sigma, *, support=EVERYWHERE, additive=False):
    """MA (voxel) from the sparse rows of the program."""
    voxel, value = modelled_activation(
        np.array(foci, dtype=float),
        sigma=np.array(sigma, dtype=float),
        support=support,
        voxel_of_cell=cell_index(volume),
        additive=additive,
    )
    assert np.all(np.diff(voxel) > 0)
    out = np.zeros(np.count_nonzero(volume))
    out[voxel] = value
    return out


@pytest.mark.parametrize(("n", "fwhm"), [(10, 10.003), (20, 9.241), (50, 8.753)])
def test_fwhm_of_eickhoff_2009(n, fwhm):
    assert sigma_mm(n) * FWHM_PER_SIGMA == pytest.approx(fwhm, abs=5e-4)
    assert sigma_mm([n])[0] * FWHM_PER_SIGMA == pytest.approx(reference.fwhm(n), rel=1e-14)


@pytest.mark.parametrize("bits", [12, 26, 30])
@pytest.mark.parametrize("support", [2.0, 3.0, 4.5])
@pytest.mark.parametrize("sigma", [(1.9, 1.9, 1.9), (2.1, 1.05, 0.7), (1.0, 1.0, 1.0), (3.0, 0.4, 0.4)])
def test_kernel_box_equals_the_quantised_reference(sigma, support, bits):
    box = kernel_box(np.array(sigma), support=support, bits=bits)
    centre = np.array(box.shape) // 2
    expected = reference.stamp(sigma, support=support, bits=bits)
    found = {tuple(int(i) for i in at - centre): int(box[tuple(at)]) for at in np.ndindex(box.shape)}
    assert found == expected


def test_kernel_box_is_zero_outside_the_ellipsoid_and_symmetric():
    box = kernel_box(np.array([1.5, 2.0, 1.0]), support=2.5, bits=30)
    assert box.shape == (7, 11, 5)
    assert box[0, 0, 0] == 0 < box[3, 5, 2] == box.max()
    assert np.array_equal(box, box[::-1, ::-1, ::-1])


def test_a_kernel_narrower_than_0_4_voxel_is_refused():
    with pytest.raises(InputError, match="finer mask grid or a wider fwhm"):
        kernel_box(np.full(3, 0.398), support=4, bits=20)
    assert 0.9 < peak(np.full(3, 0.4)) < 1  # (2 pi)^-0.5 = 0.3989
    with pytest.raises(InputError):
        modelled_activation(
            np.zeros((1, 3)),
            sigma=np.full(3, 0.39),
            support=4,
            voxel_of_cell=cell_index(np.ones((2, 2, 2), dtype=bool)),
        )


FOCI = {
    "one, off the lattice": [(4.3, 3.51, 2.77)],
    "outside the mask, between cells": [(0.5, 0.5, 0.5)],
    "outside the grid": [(-1.4, 3.0, 9.2), (10.1, 9.7, -3.0)],
    "overlapping": [(4.2, 4.0, 3.0), (4.9, 4.1, 3.3), (4.2, 4.0, 3.0), (1.1, 6.3, 5.5)],
}


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("sigma", [(1.9, 1.9, 1.9), (2.4, 1.2, 0.8)])
@pytest.mark.parametrize("foci", FOCI.values(), ids=FOCI)
def test_ma_equals_the_reference(foci, sigma, additive):
    volume = blob(1)
    ijk = np.argwhere(volume)
    expected = reference.modelled_activation(ijk, foci, sigma, additive=additive)
    np.testing.assert_allclose(dense(volume, foci, sigma, additive=additive), expected, rtol=0, atol=1e-12)
    cropped = reference.modelled_activation(ijk, foci, sigma, additive=additive, support=2.5)
    np.testing.assert_allclose(dense(volume, foci, sigma, additive=additive, support=2.5), cropped, rtol=0, atol=1e-12)


def test_additive_is_at_least_the_maximum_and_differs_where_foci_overlap():
    volume = blob(2)
    largest, added = (dense(volume, FOCI["overlapping"], (1.5,) * 3, additive=a) for a in (False, True))
    assert np.all(added >= largest)
    assert added.max() > 1.5 * largest.max()


def test_scratch_is_given_back_as_zeros():
    volume = blob(3)
    scratch = scratch_of(cell_index(volume))
    for foci in FOCI.values():
        plain = dense(volume, foci, (1.5,) * 3, support=4.0)
        voxel, value = modelled_activation(
            np.array(foci),
            sigma=np.full(3, 1.5),
            support=4.0,
            voxel_of_cell=cell_index(volume),
            scratch=scratch,
        )
        assert np.array_equal(value, plain[voxel])
        assert not scratch.any()


def test_a_focus_beyond_its_support_leaves_nothing():
    assert not dense(blob(1), [(-40.0, 0.0, 0.0)], (1.5,) * 3, support=4.0).any()


def test_support_for_floor_is_where_the_kernel_meets_the_floor():
    sigma = np.array([2.0, 1.5, 1.0])
    r = support_for_floor(sigma, floor=1e-7)
    assert peak(sigma) * math.exp(-r * r / 2) == pytest.approx(1e-7, rel=1e-12)


EXPERIMENTS = st.lists(
    st.tuples(
        st.lists(st.tuples(*[st.floats(-2, 9, allow_subnormal=False)] * 3), min_size=1, max_size=4),
        st.sampled_from([(1.9, 1.9, 1.9), (0.6, 1.0, 1.4), (2.4, 1.2, 0.8)]),
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=25)
@given(EXPERIMENTS, st.integers(8, 28), st.booleans(), st.integers(0, 9))
def test_the_fixed_point_is_off_by_half_a_unit_per_covering_experiment(experiments, bits, additive, seed):
    volume = blob(seed, shape=(7, 6, 5))
    ijk = np.argwhere(volume)
    support = 3.0
    rows = list(
        fixed_point_rows(
            [np.array(foci) for foci, _ in experiments],
            sigma=np.array([sigma for _, sigma in experiments]),
            support=np.full(len(experiments), support),
            voxel_of_cell=cell_index(volume),
            bits=bits,
            additive=additive,
        )
    )
    mas = np.array(
        [reference.modelled_activation(ijk, f, s, additive=additive, support=support) for f, s in experiments]
    )
    found = sum_rows(rows, n_voxels=len(ijk))
    covering = (mas > 0).sum(axis=0)
    # 1e-14: the rounding of a reference in doubles.
    error = np.abs(found / 2.0**bits + np.log1p(-mas).sum(axis=0))
    assert np.all(error <= covering * 2.0 ** -(bits + 1) + 1e-14)
    assert len(rows) == len(experiments)
    assert all(np.all(value > 0) for _, value in rows)


def test_ale_equals_the_union_of_the_reference():
    volume = blob(4)
    ijk = np.argwhere(volume)
    sigmas = [(1.9, 1.9, 1.9), (2.4, 1.2, 0.8), (1.5, 1.5, 1.5), (1.7, 1.7, 1.7)]
    mas = [reference.modelled_activation(ijk, f, s) for f, s in zip(FOCI.values(), sigmas, strict=True)]
    ours = [dense(volume, f, s) for f, s in zip(FOCI.values(), sigmas, strict=True)]
    union = -np.expm1(-sum(-np.log1p(-m) for m in ours))
    np.testing.assert_allclose(union, reference.union(mas), rtol=0, atol=1e-12)
    rows = list(
        fixed_point_rows(
            [np.array(f) for f in FOCI.values()],
            sigma=np.array(sigmas),
            support=np.full(4, EVERYWHERE),
            voxel_of_cell=cell_index(volume),
            bits=28,
        )
    )
    s = sum_rows(rows, n_voxels=len(ijk))
    np.testing.assert_allclose(ale_from_s(s, bits=28), reference.union(mas), rtol=0, atol=4 * 2.0**-29)
    # Leave one out: S without the row of experiment 1.
    without = s - sum_rows(rows[1:2], n_voxels=len(ijk))
    rest = reference.union(mas[:1] + mas[2:])
    np.testing.assert_allclose(ale_from_s(without, bits=28), rest, rtol=0, atol=4 * 2.0**-29)


def test_cell_index_counts_in_c_order():
    volume = blob(5)
    index = cell_index(volume)
    assert np.array_equal(index[tuple(np.argwhere(volume).T)], np.arange(volume.sum()))
    assert np.all(index[~volume] == -1)


def worst(peaks, bits):
    """The largest sum that the quantised terms can make in one voxel, as a Python int."""
    return sum(math.floor(-math.log1p(-k) * 2**bits + 0.5) for k in peaks)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.floats(1e-5, 0.9999), min_size=1, max_size=300))
def test_scale_bits_leave_no_overflow_and_waste_no_bit(peaks):
    bits = scale_bits(np.array(peaks))
    assert worst(peaks, bits) <= INT32_MAX
    # 1e-6 of safety on log2, and one unit per term: the next bit would leave the int32 or the margin.
    assert bits == 30 or worst(peaks, bits + 1) + 2 * len(peaks) > INT32_MAX * (1 - 1e-6)


def test_14000_experiments_in_one_voxel_fit():
    n = np.random.default_rng(3).integers(4, 200, 14000)
    peaks = [peak(np.full(3, s / 2)) for s in sigma_mm(n)]
    bits = scale_bits(np.array(peaks))
    assert worst(peaks, bits) <= INT32_MAX < worst(peaks, bits + 1)
    assert bits >= 20  # error of S: 14,000 * 2^-21 = 0.007 of a sum of 2^31 / 2^20 = 2,000


@pytest.mark.parametrize("additive", [False, True])
def test_all_foci_in_one_voxel_do_not_overflow_an_int32(additive):
    # sigma 0.45 voxel: K = 0.70, so 60 experiments sum to 72 and one of 150 foci, additive, to 180.
    sigma, foci = np.full(3, 0.45), [1] * 60 + [150]
    peaks = np.full(sum(foci) if additive else len(foci), peak(sigma))
    bits = scale_bits(peaks)
    space = geometry(np.argwhere(np.ones((3, 3, 3), dtype=bool)).astype(np.int16), radius=np.array([[1, 1, 1]]))
    box = kernel_box(sigma, support=3.0, bits=bits)
    design = Design(np.r_[0, np.cumsum(foci)], np.zeros(61, dtype=np.int64), np.zeros(61, dtype=np.uint64), additive)
    found = sum_of_foci(
        np.full(sum(foci), 13),
        design=design,
        rows=rows_of_kernels([box]),
        geometry=space,
    )
    exact = (sum(foci) if additive else 61) * int(box.max())
    assert found[13] == found.max() == exact <= INT32_MAX
    assert exact > 2**29  # at most two bits are left unused
