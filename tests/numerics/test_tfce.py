"""TFCE against labelling at every level, numerical integration and itself turned around."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from support.reference_tfce import IDENTITY, mask, maximum, several, slow_map
from support.runs import MACHINES

from ale_dask.numerics import tfce
from ale_dask.numerics.kernels.kernel_rows import geometry
from ale_dask.numerics.null import NullTable, analytic_null, z_of_log_p
from ale_dask.numerics.tfce import level_of, levels, levels_of_z, tfce_map, tfce_memory, tfce_of

SOME = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])


def definition(z, volume):
    """Sum over the distinct heights of e^0.5 (h_j^3 - h_(j-1)^3) / 3 (voxel), in float64."""
    grid = np.zeros(volume.shape)
    grid[volume] = np.maximum(z, 0)
    total, below = np.zeros(volume.shape), 0.0
    for h in np.unique(grid[grid > 0]):
        labels, _ = ndimage.label(grid >= h)
        size = np.bincount(labels.reshape(-1))[labels]
        total += np.where(labels > 0, np.sqrt(size) * (h**3 - below**3) / 3, 0)
        below = h
    return total[volume]


@st.composite
def maps(draw):
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 12)))
    seed = draw(st.integers(0, 10**6))
    volume = mask(seed, shape, draw(st.sampled_from([0.2, 0.7, 1.0])))
    random = np.random.default_rng(seed)
    # Few values make plateaus and ties, a smooth field long chains of components.
    if draw(st.booleans()):
        s = random.integers(0, draw(st.sampled_from([1, 2, 4, 30, 60000])), volume.sum(), endpoint=True)
    else:
        field = ndimage.gaussian_filter(random.standard_normal(shape), 1.5)
        s = np.maximum(0, field[volume] / np.abs(field).max() * 5000).astype(np.int64)
    return s, volume


@SOME
@given(maps())
@example((np.zeros(1, dtype=np.int64), np.ones((1, 1, 1), dtype=bool)))
@example((np.array([65535]), np.ones((1, 1, 1), dtype=bool)))
def test_the_map_and_its_maximum_equal_labelling_at_every_level(case):
    s, volume = case
    expected = slow_map(s, volume)
    found = tfce_map(s, levels=IDENTITY, volume=volume)
    assert found.dtype == np.int64
    assert np.array_equal(found, expected)
    assert maximum(s, IDENTITY, volume) == expected.max()


@SOME
@given(maps())
def test_the_units_are_those_of_the_definition(case):
    s, volume = case
    found = tfce_of(tfce_map(s, levels=IDENTITY, volume=volume), levels=IDENTITY)
    # Every node of the tree is rounded down by less than one unit.
    slack = (len(np.unique(s)) + 1) / (3 * 2.0**30) + 1e-12 * found.max()
    assert np.abs(found - definition(s / 1024, volume)).max() <= slack


@SOME
@given(maps(), st.permutations([0, 1, 2]), st.sets(st.sampled_from([0, 1, 2])))
def test_turning_and_mirroring_the_brain_turns_and_mirrors_the_map(case, axes, flips):
    s, volume = case
    grid = np.full(volume.shape, -1)
    grid[volume] = np.arange(len(s))
    turned = np.flip(grid.transpose(axes), tuple(flips))
    order = turned[turned >= 0]
    before = tfce_map(s, levels=IDENTITY, volume=volume)
    assert np.array_equal(tfce_map(s[order], levels=IDENTITY, volume=turned >= 0), before[order])
    assert maximum(s[order], IDENTITY, turned >= 0) == before.max()


def test_tfce_of_small_maps_equals_values_by_hand():
    volume = np.ones((1, 1, 5), dtype=bool)
    # Towers of 3 and 2 over a floor of 1 that joins them.
    found = tfce_map([3, 1, 1, 2, 0], levels=IDENTITY, volume=volume)
    assert found.tolist() == [26 + 2, 2, 2, 7 + 2, 0]
    assert maximum([3, 1, 1, 2, 0], IDENTITY, volume) == 28
    assert maximum([0, 0, 5, 0, 0], IDENTITY, volume) == 125
    assert maximum([0] * 5, IDENTITY, volume) == 0
    assert not tfce_map([0] * 5, levels=IDENTITY, volume=volume).any()


def test_the_higher_tower_need_not_win():
    volume = np.ones((1, 1, 30), dtype=bool)
    s = [9] + [0] + [8] * 28
    assert tfce_map(s, levels=IDENTITY, volume=volume).tolist() == [729, 0] + [int(math.sqrt(28) * 512)] * 28
    assert maximum(s, IDENTITY, volume) == int(math.sqrt(28) * 512)


@pytest.mark.parametrize(
    ("second", "joined"), [((1, 2, 2), True), ((2, 3, 2), True), ((2, 2, 1), True), ((1, 1, 2), False)]
)
def test_only_faces_join(second, joined):
    volume = np.ones((5, 4, 6), dtype=bool)
    grid = np.zeros(volume.shape, dtype=np.int64)
    grid[2, 2, 2] = grid[second] = 100
    expected = int(math.sqrt(1 + joined) * 100**3)
    assert tfce_map(grid[volume], levels=IDENTITY, volume=volume).max() == expected
    assert maximum(grid[volume], IDENTITY, volume) == expected


def test_clusters_do_not_join_outside_the_mask():
    volume = np.array([True, True, False, True]).reshape(1, 1, 4)
    assert maximum([4, 4, 4], IDENTITY, volume) == int(math.sqrt(2) * 64)


@SOME
@given(maps(), st.integers(0, 5), st.integers(0, 10**6))
def test_sums_of_one_height_are_one_level(case, shift, seed):
    s, volume = case
    # A height table of many steps, flat in places and below 0 at first.
    z = np.random.default_rng(seed).integers(0, 2, (int(s.max()) >> shift) + 1).cumsum() / 16 - 0.5
    table = levels_of_z(z, shift=shift)
    level = level_of(s, levels=table)
    assert np.array_equal(level, np.maximum(z[s >> shift] * 2**table.bits, 0) * (s > 0))
    expected = slow_map(level, volume)
    assert np.array_equal(tfce_map(s, levels=table, volume=volume), expected)
    assert maximum(s, table, volume) == expected.max()
    _, lowest = np.unique(level, return_index=True)
    same = s[lowest][np.searchsorted(level[lowest], level)]
    assert np.array_equal(tfce_map(same, levels=table, volume=volume), expected)


def test_scratch_serves_one_field_after_another():
    random = np.random.default_rng(3)
    volume = mask(3, (9, 8, 10), 0.7)
    space = geometry(np.argwhere(volume).astype(np.int16), radius=np.full((1, 3), 2, dtype=np.int64))
    work = tfce_memory(space)
    for most in (60000, 3, 0, 900):
        s = random.integers(0, most, volume.sum(), endpoint=True)
        expected = tfce_map(s, levels=IDENTITY, volume=volume).max()
        assert maximum(s, IDENTITY, volume, work=work, radius=2) == expected
        assert not work.voxel_end.any()
        assert not work.border_end.any()


def test_numerical_integration_converges_to_the_exact_tfce():
    random = np.random.default_rng(5)
    volume = mask(5, (12, 11, 13), 0.9)
    field = ndimage.gaussian_filter(random.standard_normal(volume.shape), 1.5)[volume]
    z = np.floor(field / field.max() * 6 * 1024 + 0.5) / 1024
    s = np.maximum(z * 1024, 0).astype(np.int64)
    exact = tfce_of(tfce_map(s, levels=IDENTITY, volume=volume), levels=IDENTITY)
    grid = np.full(volume.shape, -1.0)
    grid[volume] = z
    errors = []
    for steps in (50, 500, 5000):
        width = z.max() / steps
        total = np.zeros(volume.shape)
        for i in range(steps):
            h = (i + 0.5) * width
            labels, _ = ndimage.label(grid >= h)
            total += np.where(labels > 0, np.sqrt(np.bincount(labels.reshape(-1)))[labels] * h * h * width, 0)
        errors.append(np.abs(total[volume] - exact).max() / exact.max())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 1e-3


def test_the_largest_brain_and_height_do_not_overflow():
    # 2.0 million voxels (1 mm) on one plateau as high as levels go, beside the bound: 2^30 voxels.
    volume = np.ones((126, 126, 126), dtype=bool)
    s = np.full(126**3, 2**16 - 1)
    expected = int(math.sqrt(126**3) * float((2**16 - 1) ** 3))
    assert maximum(s, IDENTITY, volume) == expected
    assert expected < math.sqrt(2**30) * 2.0**48 <= 2**63
    assert tfce._gain(2**30 - 1, 2**16 - 1, 0) == int(math.sqrt(2**30 - 1) * float((2**16 - 1) ** 3))


@pytest.fixture(scope="module")
def null():
    x = np.random.default_rng(0).random((6, 40)) ** 8
    table = np.zeros((6, 3000))
    for row, values in zip(table, x, strict=True):
        np.add.at(row, (values * 2999).astype(int), 0.4 / 40)
        row[0] += 0.6
    return analytic_null(table, bits=20, s_max=4 * 2**14)


@pytest.mark.parametrize("bits", [14, 20, 30])
def test_levels_are_the_heights_of_the_null(null, bits):
    null = NullTable(null.log_p, null.step, bits)
    table = levels(null)
    assert 1 <= 2**table.shift <= max(1, null.step * 2**bits / 16)
    end = int(len(null.log_p) * null.step * 2**bits)
    s = np.unique(np.random.default_rng(1).integers(0, 2 * end, 5000))
    level = level_of(s, levels=table)
    assert np.all(np.diff(level) >= 0)
    low, high = (s >> table.shift) << table.shift, ((s >> table.shift) + 1) << table.shift
    z = [np.maximum(z_of_log_p(null.log_p_of(np.minimum(edge, end))), 0) for edge in (low, high)]
    half = 2.0 ** -(table.bits + 1)
    inside = (s > 0) & (s < end)
    assert np.all((level / 2**table.bits >= z[0] - half - 1e-12)[inside])
    assert np.all((level / 2**table.bits <= z[1] + half + 1e-12)[inside])
    assert level_of([0, table.first - 1, table.first], levels=table).tolist()[:2] == [0, 0]
    assert level_of(table.first, levels=table) > 0


def test_a_sum_of_nothing_has_no_height_where_most_voxels_have_none():
    # 1 voxel in 100 is reached at all: the least S > 0 has z = 2.3, S = 0 has none.
    null = analytic_null(np.array([[0.99, 0.01]]), bits=20, s_max=10)
    table = levels(null)
    assert table.first == 1
    assert level_of([0, 1], levels=table)[0] == 0
    assert level_of([0, 1], levels=table)[1] > 0


def test_heights_beyond_64_lose_a_bit():
    assert levels_of_z(np.array([0.0, 63.9]), shift=3).bits == 10
    table = levels_of_z(np.array([-8.0, 1.0, 200.0]), shift=3)
    assert table.bits == 8
    assert table.level.tolist() == [0, 256, 51200]
    assert (table.shift, table.first) == (3, 8)


def test_a_table_without_heights_gives_nothing():
    table = levels_of_z(np.full(4, -8.0), shift=2)
    assert not level_of([0, 5, 2**31 - 1], levels=table).any()
    assert maximum([5, 2**31 - 1], table, np.ones((1, 1, 2), dtype=bool)) == 0


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from support.reference_tfce import several
print(json.dumps(several()))
"""
OTHERS = {"no AVX2, no FMA": MACHINES["no AVX2, no FMA"], "interpreted": {"NUMBA_DISABLE_JIT": "1"}}


@pytest.mark.integration
@pytest.mark.parametrize("name", ["interpreted", pytest.param("no AVX2, no FMA", marks=pytest.mark.slow)])
def test_another_machine_gives_the_same_integers(name):
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    environment = {**os.environ, **OTHERS[name]}
    command = [sys.executable, "-c", SCRIPT, here]
    done = subprocess.run(
        command, env=environment, cwd=os.path.dirname(here), stdout=subprocess.PIPE, text=True, timeout=1200, check=True
    )
    assert json.loads(done.stdout) == several()
