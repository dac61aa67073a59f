"""The pruned null against the kernel that sums all of S, its bound against S, and its steps against plain loops."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.permutations import BITS, SIGMAS, SOME, Case, blob, cases
from support.pruned import candidate_voxels, compiled_candidates, null_of, pruned_rows

from ale_dask.numerics import convolved_bound, upper_bound
from ale_dask.numerics.convolved_bound import bound_by_convolution
from ale_dask.numerics.gaussian import kernel_box
from ale_dask.numerics.kernels.convolved_strips import Convolution
from ale_dask.numerics.kernels.kernel_rows import geometry, rows_of_kernels
from ale_dask.numerics.pruned_null import passing_share


@SOME
@given(cases(), st.integers(0, 2**40), st.booleans(), st.data())
def test_rows_equal_those_of_the_kernel_that_sums_all_of_s(case, first, convolved, data):
    top = int(case.rows(first, 3, 1)[:, 0].max())
    threshold = data.draw(st.integers(1, 2 * top + 1))
    null = null_of(case, threshold, convolved=convolved)
    assert pruned_rows(null, first, 3, threshold).tolist() == case.rows(first, 3, threshold).tolist()
    # The bound of another threshold holds, too.
    other = data.draw(st.integers(1, 2 * top + 1))
    assert pruned_rows(null, first, 3, other).tolist() == case.rows(first, 3, other).tolist()


@SOME
@given(cases(), st.floats(0.05, 1.2))
def test_the_share_of_voxels_that_pass_is_what_counting_them_gives(case, share):
    sums = np.array([case.reference_sum(case.drawn(iteration)) for iteration in range(3)])
    threshold = max(1, int(share * sums.max()))
    null = null_of(case, threshold)
    for bound in (null.bound, None):
        assert passing_share(replace(null, bound=bound), threshold, 3) == pytest.approx((sums >= threshold).mean())


@SOME
@given(cases(), st.integers(0, 10**6), st.floats(0.05, 1.2), st.booleans())
def test_every_voxel_that_passes_is_looked_at_and_its_s_is_exact(case, seed, share, convolved):
    voxels = np.random.default_rng(seed).integers(0, len(case.ijk), sum(case.n_foci))
    s = case.reference_sum(voxels)
    threshold = max(1, int(share * s.max()))
    null = null_of(case, threshold, convolved=convolved)
    looked_at, found, _ = compiled_candidates(case, voxels, null, threshold)
    assert looked_at[s >= threshold].all()
    assert np.array_equal(found[looked_at], s[looked_at])


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_candidates_are_those_of_plain_loops(additive, share):
    case = Case(blob(8, (13, 9, 12), 0.8), SIGMAS[1:4], [0, 1, 2, 0], [3, 1, 4, 2], additive=additive)
    for iteration in range(3):
        voxels = case.drawn(iteration)
        threshold = int(share * case.reference_sum(voxels).max())
        null = null_of(case, threshold)
        looked_at, _, _ = compiled_candidates(case, voxels, null, threshold)
        assert np.array_equal(looked_at, candidate_voxels(case, voxels, null, threshold))
        assert 0 < looked_at.sum() < len(looked_at)


@st.composite
def kernels(draw):
    """Return kernels that are mirror images of themselves and of no shape in particular."""
    size = draw(st.tuples(*[st.integers(0, 4)] * 3))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    boxes = []
    for _ in range(draw(st.integers(1, 3))):
        octant = random.integers(0, draw(st.sampled_from([3, 1000, 2**26])), [n + 1 for n in size])
        octant[random.random(octant.shape) < draw(st.floats(0, 0.9))] = 0
        for axis in range(3):
            octant = np.concatenate([np.flip(octant, axis), np.delete(octant, 0, axis)], axis=axis)
        boxes.append(octant.astype(np.int32))
    return boxes


def lies_above(stamps, octants, limits, threshold):
    """Return whether the corners of every voxel are large enough: one offset after another, in Python's integers."""
    for number, kernel in enumerate(octants.tolist()):
        stamp = stamps[number].tolist()
        shape = np.array(octants[number].shape)

        def at(p, stamp=stamp, shape=shape):
            x, y, z = map(abs, p)
            return stamp[x][y][z] if (np.array([x, y, z]) < shape).all() else 0

        for v in itertools.product(*(range(-n + 1, n) for n in shape)):
            t = kernel[abs(v[0])][abs(v[1])][abs(v[2])]
            for c, odd in enumerate(itertools.product((0, 1), repeat=3)):
                steps = itertools.product(*((-1, 1) if o else (0,) for o in odd))
                corners = [at(np.add(v, step)) for step in steps]
                enough = threshold * sum(corners) >= 2 ** sum(odd) * int(limits[c]) * t
                if not enough and max(corners) < upper_bound.MOST:
                    return False
    return True


@SOME
@given(kernels(), st.sampled_from([1, 700, 10**6, 2**30]))
def test_stamps_lie_above_kernels_of_any_shape(boxes, threshold):
    octants = upper_bound.octants_of(boxes)
    limits = upper_bound.corner_limits(octants)
    assert all(limits[c] <= 65535 >> bin(c).count("1") for c in range(8))
    stamps = upper_bound.dominating_stamps(octants, limits=limits, threshold=threshold)
    assert upper_bound.dominates(stamps, octants, limits=limits, threshold=threshold)


@SOME
@given(kernels(), st.sampled_from([700, 2**26]), st.data())
def test_a_bound_that_does_not_hold_somewhere_is_refused(boxes, threshold, data):
    octants = upper_bound.octants_of(boxes[:1])
    limits = upper_bound.corner_limits(octants)
    stamps = upper_bound.dominating_stamps(octants, limits=limits, threshold=threshold)
    filled = np.argwhere(stamps)
    if len(filled):
        where = tuple(filled[data.draw(st.integers(0, len(filled) - 1))])
        stamps[where] = data.draw(st.integers(0, int(stamps[where]) - 1))
    kept = upper_bound.dominates(stamps, octants, limits=limits, threshold=threshold)
    assert kept == lies_above(stamps, octants, limits, threshold)


def test_a_kernel_that_is_no_mirror_image_along_z_has_no_bound():
    case = Case(blob(2, (6, 6, 6)), [(1.3,) * 3], [0, 0], [3, 4])
    case.boxes[0] = case.boxes[0].copy()
    case.boxes[0][0, 0, 0] += 1
    case.boxes[0][-1, 0, 0] += 1
    null = null_of(case, 1000)
    assert null.bound is None
    assert pruned_rows(null, 0, 4, 1000).tolist() == case.rows(0, 4, 1000).tolist()


def test_kernels_of_a_grid_of_1_mm_and_rows_of_two_pieces():
    case = Case(blob(6, (37, 33, 45)), [(4.9,) * 3, (5.2, 5.0, 7.1)], [0, 1, 0, 1], [6, 5, 1, 2])
    threshold = int(np.quantile(case.reference_sum(case.drawn(0)), 0.98))
    null = null_of(case, threshold)
    assert null.bound.tables.width == 32
    assert pruned_rows(null, 0, 4, threshold).tolist() == case.rows(0, 4, threshold).tolist()


@pytest.mark.parametrize("convolved", [False, True])
def test_a_brain_of_twenty_experiments(convolved):
    case = Case(blob(3, (70, 80, 75), 0.9), [(2.1,) * 3, (2.3,) * 3], [0, 1] * 10, [8] * 20, edges=True)
    threshold = int(np.quantile(case.reference_sum(case.drawn(0)), 0.999))
    null = null_of(case, threshold, most=3000, convolved=convolved)
    assert isinstance(null.bound.tables, Convolution) == convolved
    looked_at, _, _ = compiled_candidates(case, case.drawn(0), null, threshold)
    assert looked_at.mean() < 0.01
    for height in (threshold // 3, threshold, 2 * threshold, 5 * threshold):
        assert pruned_rows(null, 5, 300, height).tolist() == case.rows(5, 300, height).tolist()


def test_iterations_with_too_many_voxels_are_left_to_the_other_kernel():
    case = Case(blob(3, (40, 44, 38), 1.0), SIGMAS[1:2], [0] * 20, [8] * 20)
    threshold = int(np.quantile(case.reference_sum(case.drawn(0)), 0.995))
    null = null_of(case, threshold)
    strips = [compiled_candidates(case, case.drawn(b), null, threshold)[2] for b in range(40)]
    for most in (int(np.median(strips)), int(np.quantile(strips, 0.9)), 1):
        null = null_of(case, threshold, most=most)
        assert pruned_rows(null, 0, 40, threshold).tolist() == case.rows(0, 40, threshold).tolist()


@pytest.mark.parametrize("additive", [False, True])
def test_many_foci_of_anisotropic_kernels(additive):
    sigmas = [(2.0, 1.0, 1.4), (2.2, 1.1, 1.5), (2.5, 1.2, 1.7), (2.1, 1.0, 1.45)]
    case = Case(blob(9, (40, 30, 35), 0.8), sigmas, [0, 1, 2, 3] * 15, [12] * 60, additive=additive)
    threshold = int(np.quantile(case.reference_sum(case.drawn(0)), 0.999))
    null = null_of(case, threshold, convolved=True)
    assert isinstance(null.bound.tables, Convolution)
    looked_at, _, _ = compiled_candidates(case, case.drawn(0), null, threshold)
    assert looked_at.mean() < 0.05
    for height in (threshold // 2, threshold, 3 * threshold):
        assert pruned_rows(null, 0, 30, height).tolist() == case.rows(0, 30, height).tolist()


@SOME
@given(st.data())
def test_passes_lie_above_their_kernels(data):
    wide = data.draw(st.floats(0.8, 2.6))
    sigmas = [(wide * data.draw(st.floats(0.8, 1.0)),) * 3 for _ in range(data.draw(st.integers(1, 4)))]
    boxes = [kernel_box(np.array(s), support=data.draw(st.sampled_from([2.0, 3.0, 4.0])), bits=BITS) for s in sigmas]
    foci = np.array([data.draw(st.integers(0, 9000)) for _ in boxes])
    case = Case(blob(2, (6, 6, 6)), sigmas, [0], [1])
    bound = bound_by_convolution(boxes, case.space, threshold=50_000, foci=foci)
    if bound is None:
        return
    _, tables, _ = bound
    kernels = upper_bound.octants_of(boxes) / 50_000
    bases, n = tables.bases, kernels.shape[1]
    along = tables.along_y.reshape(bases, -1)[:, tables.reach_y :].astype(np.float64)
    along = np.pad(along, [(0, 0), (0, 2 * n)])
    weights = tables.weights.reshape(3, 3).astype(np.float64)
    share = tables.share.reshape(len(boxes), bases).astype(np.float64)
    d = np.arange(n)
    sides = {0: along[:, d]}
    sides[1] = sum(weights[0, i] * (along[:, np.abs(d - j)] + along[:, d + j]) for i, j in enumerate((1, 3, 5)))
    for odd in itertools.product((0, 1), repeat=3):
        product = np.einsum("kb,bx,by,bz->kxyz", share, *(sides[o] for o in odd))
        assert (product >= kernels).all()


def test_passes_that_lie_below_somewhere_are_refused():
    case = Case(blob(2, (6, 6, 6)), [(1.9,) * 3, (2.1,) * 3], [0], [1])
    kernels = upper_bound.octants_of(case.boxes) / 50_000
    bases = convolved_bound._bases(convolved_bound._sigmas(kernels), np.array([5, 6]))
    profiles, weights = zip(
        *(convolved_bound._profiles(bases[:, a], reach=kernels.shape[1] - 3) for a in range(3)), strict=True
    )
    share = convolved_bound._shares(kernels, profiles, np.array(weights))
    assert convolved_bound.lies_above(share, profiles, np.array(weights), kernels)
    lower, negative = share.copy(), share.copy()
    lower[1] *= np.float32(1 - 1e-5)
    negative[0, 0] = -1e-9
    steep = [profiles[0], profiles[1], profiles[2] * (np.arange(profiles[2].shape[1]) < 3)]
    for changed, parts in ((lower, profiles), (negative, profiles), (share, steep)):
        assert not convolved_bound.lies_above(changed, parts, np.array(weights), kernels)


def test_the_mask_is_drawn_from_and_the_grid_is_searched():
    case = Case(blob(5, (9, 8, 7), 0.4), [(1.3,) * 3], [0, 0], [3, 4])
    whole = np.argwhere(np.ones_like(case.volume))
    case.space = geometry(whole.astype(np.int16), radius=np.full((1, 3), 3), drawn=case.ijk.astype(np.int16))
    case.kernel_rows = rows_of_kernels(case.boxes)
    for threshold in (1, 30_000, 60_000, 10**6):
        assert pruned_rows(null_of(case, threshold), 0, 20, threshold).tolist() == case.rows(0, 20, threshold).tolist()
