"""The permutation kernel against dictionaries, breadth-first search and its own plain twin."""

import json
import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import reference
from support.permutations import SIGMAS, SOME, Case, blob, cases
from support.runs import MACHINES

from ale_dask.numerics.kernels import simd
from ale_dask.numerics.kernels.kernel_rows import geometry, rows_of_kernels


@SOME
@given(cases(), st.integers(0, 10**6))
def test_sum_of_foci_equals_the_reference(case, seed):
    voxels = np.random.default_rng(seed).integers(0, len(case.ijk), sum(case.n_foci))
    assert np.array_equal(case.sum(voxels), case.reference_sum(voxels))


@SOME
@given(cases(), st.integers(0, 2**40), st.integers(1, 3), st.floats(0.01, 0.9))
def test_null_iterations_equal_the_reference(case, first, count, share):
    sums = [case.reference_sum(case.drawn(first + b)) for b in range(count)]
    threshold = max(1, int(share * max(int(s.max()) for s in sums)))
    expected = [case.statistics(s, threshold) for s in sums]
    assert case.rows(first, count, threshold).tolist() == expected


@pytest.mark.parametrize("additive", [False, True])
def test_200_foci_in_a_tiny_mask(additive):
    case = Case(blob(1, (4, 5, 3)), [(1.9,) * 3, (0.8, 1.2, 1.6)], [0, 1, 0], [200, 3, 200], additive=additive)
    for iteration in range(3):
        s = case.reference_sum(case.drawn(iteration))
        assert np.array_equal(case.sum(case.drawn(iteration)), s)
        # With 400 foci in 36 voxels the map is nearly flat: a threshold near its top cuts it into clusters.
        threshold = int(np.quantile(s, 0.6))
        assert case.rows(iteration, 1, threshold).tolist() == [case.statistics(s, threshold)]


def test_2000_foci_of_one_experiment():
    case = Case(blob(4, (30, 25, 20)), [(1.9,) * 3, (1.3,) * 3], [0, 1, 1], [2000, 10, 10])
    s = case.reference_sum(case.drawn(0))
    threshold = int(np.quantile(s, 0.9))
    assert case.rows(0, 1, threshold).tolist() == [case.statistics(s, threshold)]


def test_kernels_of_a_grid_of_1_mm():
    # Radius 14, 15 and 21: rows of four to seven pieces, and foci that meet one, two and more others.
    case = Case(blob(6, (37, 33, 45)), [(4.9,) * 3, (5.2, 5.0, 7.1)], [0, 1, 0, 1], [6, 5, 1, 2])
    for iteration in range(3):
        s = case.reference_sum(case.drawn(iteration))
        assert np.array_equal(case.sum(case.drawn(iteration)), s)
        threshold = int(np.quantile(s, 0.8))
        assert case.rows(iteration, 1, threshold).tolist() == [case.statistics(s, threshold)]


def test_a_threshold_that_nothing_reaches_leaves_the_maximum_only():
    case = Case(blob(2, (6, 6, 6)), [(1.3,) * 3], [0, 0], [3, 4])
    best = int(case.reference_sum(case.drawn(0)).max())
    assert case.rows(0, 1, best + 1).tolist() == [[best, 0, 0]]
    assert case.rows(0, 1, best)[0, 0] == best
    assert case.rows(0, 1, best)[0, 1] >= 1


def test_clusters_do_not_join_around_the_edge_of_the_grid():
    # Two slabs at opposite ends of y; sigma_y 0.3 at a support of 3 reaches no neighbour, so nothing pads y.
    volume = np.zeros((4, 5, 3), dtype=bool)
    volume[:, 0], volume[:, -1] = True, True
    case = Case(volume, [(1.0, 0.3, 1.0)], [0], [40])
    s = case.reference_sum(case.drawn(0))
    assert s.min() > 0
    assert case.rows(0, 1, 1).tolist() == [case.statistics(s, 1)]
    assert case.rows(0, 1, 1)[0, 1] == 12


@pytest.fixture(scope="module")
def typical():
    return Case(blob(5, (11, 9, 10)), SIGMAS[1:4], [0, 1, 2, 0, 1], [5, 1, 12, 3, 2])


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.integers(1, 12), min_size=1, max_size=6))
def test_any_split_into_batches_gives_the_same_rows(typical, parts):
    whole = typical.rows(7, sum(parts), 40000)
    starts = np.cumsum([7, *parts[:-1]])
    split = [typical.rows(int(f), n, 40000) for f, n in zip(starts, parts, strict=True)]
    assert np.array_equal(np.concatenate(split), whole)
    assert len(np.unique(whole, axis=0)) == len(whole)


def test_the_order_of_experiments_changes_no_row(typical):
    order = np.array([3, 0, 4, 2, 1])
    moved = Case(typical.volume, SIGMAS[1:4], typical.design.kernel[order], np.array(typical.n_foci)[order])
    moved.design = moved.design._replace(key=typical.design.key[order])
    assert np.array_equal(moved.rows(0, 20, 40000), typical.rows(0, 20, 40000))


def test_an_experiment_left_out_leaves_the_others_draws(typical):
    rest = [0, 1, 3, 4]
    fewer = Case(typical.volume, SIGMAS[1:4], typical.design.kernel[rest], np.array(typical.n_foci)[rest])
    fewer.design = fewer.design._replace(key=typical.design.key[rest])
    begin, voxels = typical.design.focus_begin, typical.drawn(3)
    kept = np.concatenate([voxels[begin[e] : begin[e + 1]] for e in rest])
    assert fewer.rows(3, 1, 2**30)[0, 0] == fewer.reference_sum(kept).max()


def gain_over_two(read8, larger8, gain8):
    @numba.njit
    def gain(volume, at, table, entry, one, two):
        gain8(volume, at, table, entry, larger8(read8(table, one), table, two))

    return gain


PLAIN_GAIN = gain_over_two(simd.plain_read8, simd.plain_larger8, simd.plain_gain8)
FAST_GAIN = gain_over_two(simd.fast_read8, simd.fast_larger8, simd.fast_gain8)


@pytest.mark.parametrize("seed", range(3))
def test_vector_and_plain_operations_agree(seed):
    random = np.random.default_rng(seed)
    a, t = (random.integers(0, 2**29, 64).astype(np.int32) for _ in range(2))
    t[::3] = t[1]
    for at, entry, one, two in random.integers(0, 56, (20, 4)):
        pairs = []
        for add8, gain in ((simd.plain_add8, PLAIN_GAIN), (simd.fast_add8, FAST_GAIN)):
            added, gained = a.copy(), a.copy()
            add8(added, at, t, entry)
            gain(gained, at, t, entry, one, two)
            pairs.append((added, gained))
        for plain, fast in zip(*pairs, strict=True):
            assert np.array_equal(plain, fast)
        added, gained = pairs[0]
        here, there = slice(at, at + 8), slice(entry, entry + 8)
        assert np.array_equal(added[here], a[here] + t[there])
        most = np.maximum(t[one : one + 8], t[two : two + 8])
        assert np.array_equal(gained[here], a[here] + np.maximum(t[there], most) - most)
        assert np.count_nonzero(added != a) <= 8
        assert np.count_nonzero(gained != a) <= 8


def lessen_by(read8, lessen8):
    @numba.njit
    def lessen(volume, at, table, entry, one):
        lessen8(volume, at, table, entry, read8(table, one))

    return lessen


@pytest.mark.parametrize("seed", range(3))
def test_what_overlaps_is_subtracted_from_eight_cells(seed):
    random = np.random.default_rng(seed)
    a, t = (random.integers(0, 2**29, 64).astype(np.int32) for _ in range(2))
    for lessen in (lessen_by(simd.plain_read8, simd.plain_lessen8), lessen_by(simd.fast_read8, simd.fast_lessen8)):
        for at, entry, one in random.integers(0, 56, (20, 3)):
            lessened = a.copy()
            lessen(lessened, at, t, entry, one)
            assert np.array_equal(lessened[at : at + 8], a[at : at + 8] - np.minimum(t[entry:][:8], t[one:][:8]))
            assert np.count_nonzero(lessened != a) <= 8


@pytest.mark.parametrize("where", range(32))
def test_a_scan_sees_every_cell_and_no_other(where):
    volume = np.zeros(96, dtype=np.int32)
    volume[[31, 64]] = 9
    volume[32 + where] = 7
    for reaches32, clear32 in (
        (simd.plain_reaches32, simd.plain_clear32),
        (simd.fast_reaches32, simd.fast_clear32),
    ):
        found = [bool(reaches32(volume, 32, np.int32(limit))) for limit in (7, 8)]
        assert found == [True, False]
        cleared = volume.copy()
        clear32(cleared, 32)
        assert np.flatnonzero(cleared).tolist() == [31, 64]


def test_a_kernel_that_is_not_its_own_mirror_image_is_refused():
    box = np.ones((3, 3, 3), dtype=np.int32)
    box[0, 0, 0] = 2
    with pytest.raises(ValueError, match="mirror"):
        rows_of_kernels([box])


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from support.permutations import Case, SIGMAS, blob
from ale_dask.numerics.kernels import simd
from support.pruned import null_of, pruned_rows
case = Case(blob(5, (11, 9, 10)), SIGMAS[1:4], [0, 1, 2, 0, 1], [5, 1, 12, 3, 2])
pruned = [pruned_rows(null_of(case, 40000, convolved=c), 0, 30, 40000).tolist() for c in (False, True)]
print(json.dumps([simd.PLAIN, case.rows(0, 30, 40000).tolist(), *pruned]))
"""


@pytest.mark.slow
@pytest.mark.integration
def test_another_machine_gives_the_same_rows(typical):
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    running = {}
    for name, extra in MACHINES.items():
        environment = {**os.environ, **extra}
        command = [sys.executable, "-c", SCRIPT, here]
        running[name] = subprocess.Popen(
            command, env=environment, cwd=os.path.dirname(here), stdout=subprocess.PIPE, text=True
        )
    found = {name: json.loads(process.communicate(timeout=1200)[0]) for name, process in running.items()}
    expected = typical.rows(0, 30, 40000).tolist()
    assert found == {"plain": [True, *[expected] * 3], "no AVX2, no FMA": [False, *[expected] * 3]}


def test_foci_of_a_mask_are_looked_at_beyond_it():
    case = Case(blob(5, (9, 8, 7), 0.4), [(1.3,) * 3], [0, 0], [3, 4])
    whole = np.argwhere(np.ones_like(case.volume))
    case.space = geometry(whole.astype(np.int16), radius=np.full((1, 3), 3), drawn=case.ijk.astype(np.int16))
    number = np.ravel_multi_index(tuple(case.ijk.T), case.volume.shape)
    s = Case(np.ones_like(case.volume), [(1.3,) * 3], [0, 0], [3, 4]).reference_sum(number[case.drawn(0)])
    threshold = int(np.quantile(s, 0.8))
    assert case.rows(0, 1, threshold).tolist() == [reference.cluster_statistics(whole, s, threshold)]
    assert s.max() >= case.reference_sum(case.drawn(0)).max()
