"""Permutations of scores over groups, held to plain loops over Python's integers and to full enumeration."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import reference

from ale_dask.numerics import moderator as m
from ale_dask.numerics.contrast import relabellings
from ale_dask.numerics.contrast_clusters import neighbours_before
from ale_dask.numerics.moderator_clusters import edges, largest_clusters

NONE = np.zeros((7, 0))


def voxels_of(x, design=None):
    """Return the sparse rows of X (group, voxel), with 1 / sd where a design is given."""
    at = x.T > 0
    begin = np.r_[0, np.cumsum(at.sum(axis=1))].astype(np.int64)
    group = np.nonzero(at)[1].astype(np.int32)
    voxels = m.Voxels(begin, group, x.T[at].astype(np.int32), np.zeros((1, x.shape[1])))
    if design is None:
        return voxels
    return m.Voxels(voxels.begin, voxels.group, voxels.value, m.inverse_deviations(design, voxels))


def random_x(seed, n=7, voxels=40, largest=2**24):
    rng = np.random.default_rng(seed)
    return (rng.random((n, voxels)) < 0.6) * rng.integers(1, largest, (n, voxels))


def made(scores, *, nuisance=None, stratum=None, largest=2**27, omnibus=False):
    scores = np.asarray(scores, dtype=np.float64).reshape(len(scores), -1)
    n = len(scores)
    nuisance = np.zeros((n, 0)) if nuisance is None else np.asarray(nuisance, dtype=np.float64).reshape(n, -1)
    stratum = np.zeros(n, dtype=np.int64) if stratum is None else np.asarray(stratum, dtype=np.int64)
    return m.design(scores, nuisance=nuisance, stratum=stratum, largest=largest, omnibus=omnibus)[0]


def every(design, key=None):
    """Return the labels of all different arrangements."""
    n = m.n_arrangements(design.label, design.stratum)
    return m.arrangements(design, np.zeros(len(design.label), dtype=np.uint64), first=0, count=n, enumerate_all=True)


@pytest.mark.parametrize("stratum", [None, [0, 0, 0, 1, 1, 1]])
def test_enumeration_has_every_arrangement_once_in_order(stratum) -> None:
    design = made([1, 1, 2, 2, 3, 3], stratum=stratum)
    rows = [tuple(row) for row in every(design).tolist()]
    if stratum is None:
        assert rows == sorted(set(permutations(sorted(design.label.tolist()))))
    else:
        halves = [sorted(set(permutations(sorted(design.label[a:b].tolist())))) for a, b in ((0, 3), (3, 6))]
        assert sorted(rows) == sorted(one + two for one in halves[0] for two in halves[1])
    key = np.zeros(6, dtype=np.uint64)
    parts = [m.arrangements(design, key, first=f, count=2, enumerate_all=True) for f in range(0, len(rows) - 1, 2)]
    assert [tuple(row) for part in parts for row in part.tolist()] == rows[: 2 * len(parts)]


def test_drawn_permutations_do_not_depend_on_blocks_and_keep_strata() -> None:
    design = made([1, 2, 3, 4, 5, 6, 7], stratum=[0, 1, 0, 1, 0, 1, 0])
    key = np.arange(7, dtype=np.uint64)
    labels = m.arrangements(design, key, first=0, count=50, enumerate_all=False)
    for first in (0, 13, 49):
        np.testing.assert_array_equal(
            m.arrangements(design, key, first=first, count=1, enumerate_all=False)[0], labels[first]
        )
    for s in (0, 1):
        at = design.stratum == s
        assert (np.sort(labels[:, at], axis=1) == np.sort(design.label[at])).all()
    assert len({tuple(row) for row in labels.tolist()}) > 30


def test_drawn_labels_of_two_groups_are_the_relabellings_of_a_contrast() -> None:
    rng = np.random.default_rng(3)
    key = np.sort(rng.integers(0, 2**63, 9)).astype(np.uint64)
    design = made([1, 0, 1, 0, 0, 1, 0, 0, 1])
    chosen = relabellings(key, size=4, first=5, count=20, enumerate_all=False)
    labels = m.arrangements(design, key, first=5, count=20, enumerate_all=False)
    np.testing.assert_array_equal(design.score[labels][..., 0] > 0, chosen)


@given(st.integers(0, 10**6), st.booleans(), st.booleans())
def test_sums_are_those_of_whole_numbers(seed, with_nuisance, with_strata) -> None:
    rng = np.random.default_rng(seed)
    x = random_x(seed)
    design = made(
        rng.normal(size=7),
        nuisance=rng.normal(size=(7, 1)) if with_nuisance else None,
        stratum=[0, 0, 0, 0, 1, 1, 1] if with_strata else None,
        largest=int(x.sum(axis=0).max()),
    )
    voxels = voxels_of(x, design)
    labels = m.arrangements(design, np.arange(7, dtype=np.uint64), first=0, count=9, enumerate_all=False)
    w = m.weights(design, labels)
    plain = [[[sum(int(a) * int(b) for a, b in zip(row[0], column, strict=True)) for column in x.T]] for row in w]
    for _, _, values in m.walk(design, voxels, w):
        assert values[:, :1].tolist() == plain
        assert values[:, 1:].tolist() == (-np.array(plain)).tolist()
    seen = m.observed(design, voxels)
    exceed, largest = m.count_exceedances(design, voxels, w, seen)
    np.testing.assert_array_equal(exceed[0], (np.array(plain)[:, 0] >= seen[0]).sum(axis=0))
    np.testing.assert_array_equal(exceed[1], (np.array(plain)[:, 0] <= seen[0]).sum(axis=0))
    scaled = np.floor(np.array(plain)[:, 0] * voxels.inverse[0] * 2.0**m.UNIT_BITS)
    np.testing.assert_array_equal(largest[:, 0], scaled.max(axis=1))


@pytest.mark.parametrize("n", [4, 40, 4000])
def test_no_sum_can_leave_the_whole_numbers_of_float64(n) -> None:
    largest = 2**31 - 1
    rng = np.random.default_rng(n)
    # All of X may lie in the group whose score is largest, and nuisance may gather a whole vector in one entry.
    for scores in (rng.normal(size=n), np.sign(rng.normal(size=n)) + 0.0, np.r_[np.zeros(n - 1), 1.0]):
        design = made(scores, largest=largest)
        length = math.isqrt(int((design.score[design.label] ** 2).sum())) + 1
        assert (length + math.isqrt(n) + 2) * largest < 2**53
        assert np.abs(design.score).max() >= 2**8


def test_a_sum_at_the_bound_is_exact() -> None:
    n, largest = 41, 2**31 - 1
    design = made(np.arange(n), largest=largest)
    x = np.zeros((n, 3), dtype=np.int64)
    x[0, 0], x[-1, 1] = largest, largest
    x[:, 2] = largest // n
    w = m.weights(design, design.label[None])
    assert (w @ x.astype(np.float64)).reshape(-1).tolist() == [
        sum(int(a) * int(b) for a, b in zip(w[0, 0], column, strict=True)) for column in x.T
    ]


@pytest.mark.parametrize("stratum", [None, [0, 0, 0, 0, 1, 1, 1]])
def test_sd_is_that_of_all_permutations(stratum) -> None:
    x, scores = random_x(5), [0.5, 1, 2, 3.5, 5, 8, 13]
    design = made(scores, stratum=stratum)
    voxels = voxels_of(x, design)
    t = np.concatenate([v[:, 0] for part, _, v in m.walk(design, voxels, m.weights(design, every(design)))])
    # All permutations, not all different arrangements, are alike here: every score is another.
    np.testing.assert_allclose(t.std(axis=0) * voxels.inverse[0], 1, rtol=1e-9)


def test_voxels_without_variation_have_no_sd() -> None:
    x = random_x(6)
    x[:, 3], x[:, 4] = 1234567, 0
    voxels = voxels_of(x, made([1, 2, 3, 4, 5, 6, 7]))
    assert (voxels.inverse[0] == 0).nonzero()[0].tolist() == [3, 4]


def test_nuisance_is_that_of_freedman_and_lane() -> None:
    """Residuals of X permuted back, regressed on moderator and nuisance: their coefficient ranks as T does."""
    rng = np.random.default_rng(8)
    x = random_x(8, largest=2**26)
    z, nuisance = rng.normal(size=7), rng.normal(size=7)
    design = made(z + nuisance, nuisance=nuisance)
    chosen = every(design)[::97]
    w = m.weights(design, chosen)
    n_columns = np.c_[np.ones(7), nuisance]
    hat = n_columns @ np.linalg.pinv(n_columns)
    residual, residual_z = x - hat @ x, (np.eye(7) - hat) @ (z + nuisance)
    scale = np.abs(residual_z).max() / np.abs(design.score).max()
    for row in range(0, len(w), 5):
        order = np.array([np.flatnonzero(design.label == label)[0] for label in chosen[row]])
        back = np.argsort(order)
        full = np.c_[residual_z, n_columns]
        beta = (np.linalg.pinv(full) @ (hat @ x + residual[back]))[0]
        np.testing.assert_allclose(w[row, 0] @ x * scale, beta * (residual_z @ residual_z), rtol=1e-3, atol=2**14)
        assert abs(w[row, 0] @ nuisance) < 4


def test_a_moderator_that_nuisance_explains_leaves_nothing() -> None:
    scores = np.arange(7.0)
    _, left = m.design(
        scores[:, None],
        nuisance=(3 * scores + 1)[:, None],
        stratum=np.zeros(7, dtype=np.int64),
        largest=2,
        omnibus=False,
    )
    assert left[0] < 1e-20


def test_omnibus_is_the_largest_difference_of_any_two() -> None:
    x = random_x(9)
    x = x[:, x.any(axis=0)]
    groups = np.array([0, 0, 1, 1, 1, 2, 2])
    means = np.stack([(groups == g) / (groups == g).sum() for g in range(3)], axis=1)
    pairs = [(0, 1), (0, 2), (1, 2)]
    design = made(np.stack([means[:, b] - means[:, a] for a, b in pairs], axis=1), omnibus=True)
    voxels = voxels_of(x, design)
    rows = every(design)
    assert len(rows) == math.factorial(7) // (2 * 6 * 2)
    seen = m.observed(design, voxels)
    exceed, _ = m.count_exceedances(design, voxels, m.weights(design, rows), seen)
    spread = x - x.mean(axis=0)
    deviation = np.sqrt((spread**2).sum(axis=0) / 6)

    def largest(at):
        of = [means[at, b] - means[at, a] for a, b in pairs]
        return np.max([np.abs(w @ x) / (np.sqrt((w**2).sum()) * deviation) for w in of], axis=0)

    # Scores of 16 bits: an arrangement may tie with another in one arithmetic and not in the other.
    stat = np.array([largest(np.array(order)) for order in set(permutations(range(7)))])
    plain = (stat >= largest(np.arange(7)) * (1 - 1e-4)).mean(axis=0)
    np.testing.assert_allclose(exceed[0] / len(rows), plain, atol=0.02)


def test_edges_and_largest_clusters_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(11)
    ijk = np.argwhere(rng.random((6, 5, 5)) < 0.8).astype(np.int16)
    x = random_x(11, n=9, voxels=len(ijk))
    design = made(rng.normal(size=9))
    voxels = voxels_of(x, design)
    key = np.arange(9, dtype=np.uint64)
    seen = m.observed(design, voxels)

    def draw(first, count):
        return m.arrangements(design, key, first=first, count=count, enumerate_all=False)

    edge = edges(design, voxels, [draw(0, 50), draw(50, 10)], seen=seen, complete=False, allowed=5, threads=2)
    w = m.weights(design, draw(0, 60))
    t = (w[:, 0] @ m.dense(voxels, 0, len(ijk), n_groups=9)).astype(np.int64)
    values = np.stack([t, -t], axis=1)
    both = np.concatenate([values, seen[None]])
    np.testing.assert_array_equal(edge, np.sort(both, axis=0)[-6])
    found = largest_clusters(design, voxels, w, edge=edge, before=neighbours_before(ijk))
    assert found[..., 0].max() > 3
    for b in range(60):
        for side in range(2):
            over = values[b, side] - edge[side]
            cells = {
                tuple(ijk[v].tolist()): math.floor(over[v] * voxels.inverse[0, v] * 2.0**m.UNIT_BITS)
                for v in np.flatnonzero(over > 0)
            }
            groups = reference.clusters(list(cells))
            assert found[b, side, 0] == max(map(len, groups), default=0)
            assert found[b, side, 1] == max((sum(cells[c] for c in group) for group in groups), default=0)


def test_p_of_an_enumeration_is_the_share_of_all_arrangements() -> None:
    x = random_x(12, n=6, voxels=5)
    z = [1, 1, 2, 3, 3, 3]
    design = made(z)
    voxels = voxels_of(x, design)
    rows = every(design)
    seen = m.observed(design, voxels)
    exceed, _ = m.count_exceedances(design, voxels, m.weights(design, rows), seen)
    # The centred scores in whole numbers rank as the moderator itself: X does not change.
    orders = set(permutations(z))
    for v in range(5):
        stated = sum(Fraction(a) * int(b) for a, b in zip(z, x[:, v], strict=True))
        of_all = sum(
            sum(Fraction(a) * int(b) for a, b in zip(order, x[:, v], strict=True)) >= stated for order in orders
        )
        assert (exceed[0, v], len(rows)) == (of_all, len(orders))
