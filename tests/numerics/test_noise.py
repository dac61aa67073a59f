"""Noise added one experiment at a time, against the null and the map of each enlarged sample alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.permutations import SIGMAS, SOME, Case, blob, cases

from ale_dask.numerics import clusters
from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.kernels.planes import sum_of_foci
from ale_dask.numerics.noise import MASS, SIZE, VOXEL, SignificanceRule, noise_iterations, surviving, values_of
from ale_dask.numerics.permutation_null import null_iterations


def cut_off(design, first, last):
    """Return the design of experiments first … last - 1 alone."""
    begin = design.focus_begin[first : last + 1]
    return Design(begin - begin[0], design.kernel[first:last], design.key[first:last], design.additive)


def drawn_for(case, first, last, iteration):
    """Return the voxels of the foci of experiments first … last - 1 in an iteration."""
    begin = case.design.focus_begin
    return case.drawn(iteration)[begin[first] : begin[last]]


def rows_of(case, known, threshold, statistic, first, count):
    """Return the null (iteration, step, series) of the first `known` experiments and, one by one, the others."""
    n = len(case.n_foci)
    noise, out = cut_off(case.design, known, n), np.full((count, n - known + 1, len(threshold)), -1, dtype=np.int64)
    values = values_of(np.array(threshold, dtype=np.int32), number=np.arange(n - known + 1))
    noise_iterations(
        first, count, statistic, values, cut_off(case.design, 0, known), noise, case.kernel_rows, case.space, out
    )
    return out


@settings(SOME, max_examples=12)
@given(cases(), st.data())
def test_each_step_is_the_null_of_the_enlarged_sample(case, data):
    n = len(case.n_foci)
    known = data.draw(st.integers(1, n))
    top = int(case.rows(3, 2, 1)[:, 0].max())
    values = st.lists(st.integers(1, top + 1), min_size=n - known + 1, max_size=n - known + 1)
    thresholds = data.draw(st.lists(values, min_size=1, max_size=3))
    found = {s: rows_of(case, known, thresholds, s, 3, 2) for s in (VOXEL, SIZE, MASS)}
    for step in range(n - known + 1):
        for series, threshold in enumerate(thresholds):
            out = np.empty((2, 3), dtype=np.int64)
            design = cut_off(case.design, 0, known + step)
            null_iterations(3, 2, np.int32(threshold[step]), design, case.kernel_rows, case.space, out)
            assert [found[s][:, step, series].tolist() for s in (VOXEL, SIZE, MASS)] == out.T.tolist()


@SOME
@given(cases(), st.data())
def test_what_survives_is_what_survives_in_the_enlarged_map(case, data):
    n = len(case.n_foci)
    known = data.draw(st.integers(0, n - 1))
    s = case.sum(case.drawn(5))
    begin = case.design.focus_begin
    base = partial_sum(case, 0, known, case.drawn(5)[: begin[known]])
    top = int(s.max())
    steps = n - known + 1
    threshold = data.draw(st.lists(st.integers(1, top), min_size=steps, max_size=steps))
    cut = data.draw(st.lists(st.integers(1, 12), min_size=steps, max_size=steps))
    noise = cut_off(case.design, known, n)
    where = {"s": base.astype(np.int32), "noise": noise, "rows": case.kernel_rows, "geometry": case.space}
    for statistic in (VOXEL, SIZE, MASS):
        least = np.array(cut, dtype=np.int64) * (1 if statistic == SIZE else top // 8 + 1)
        rule = SignificanceRule(statistic, np.array(threshold, dtype=np.int32), least, np.arange(steps))
        voxels, starts = surviving(5, rule, **where)
        for step in range(steps):
            end = begin[known + step]
            whole = base + partial_sum(case, known, known + step, case.drawn(5)[begin[known] : end])
            above = whole >= threshold[step]
            labels = clusters.label_clusters(above, volume=case.volume, connectivity=18 if case.edges else 6)
            size = clusters.sizes(labels)
            mass = clusters.masses(labels, s=whole, threshold=threshold[step])
            kept = {VOXEL: size > 0, SIZE: size >= least[step], MASS: mass >= least[step]}[statistic]
            expected = np.flatnonzero(clusters.keep_clusters(labels, kept))
            assert voxels[starts[step] : starts[step + 1]].tolist() == expected.tolist()


def partial_sum(case, first, last, voxels):
    """Return S (voxel) of experiments first … last - 1 with foci at these voxels."""
    if first == last:
        return np.zeros(len(case.ijk), dtype=np.int64)
    return sum_of_foci(voxels, design=cut_off(case.design, first, last), rows=case.kernel_rows, geometry=case.space)


@pytest.mark.parametrize("statistic", [VOXEL, SIZE, MASS])
def test_a_brain_of_ten_experiments_and_twenty_of_noise(statistic):
    case = Case(blob(3, (40, 44, 38), 1.0), SIGMAS[1:2], [0] * 30, [8] * 30)
    s = case.reference_sum(case.drawn(0))
    last = int(np.quantile(s, 0.995))
    steps = [int(last * (1 + k / 10) / 3) for k in range(21)]
    found = rows_of(case, 10, [steps, [u + 9 for u in steps], [u + 300 for u in steps]], statistic, 0, 2)
    for step in (0, 1, 7, 20):
        out = np.empty((2, 3), dtype=np.int64)
        design = cut_off(case.design, 0, 10 + step)
        for series, more in enumerate((0, 9, 300)):
            null_iterations(0, 2, np.int32(steps[step] + more), design, case.kernel_rows, case.space, out)
            assert (out[:, 1] > 1).all()
            assert found[:, step, series].tolist() == out[:, statistic].tolist()


def test_several_experiments_at_a_step_give_the_null_of_one_after_another():
    case = Case(blob(3, (30, 34, 28), 1.0), SIGMAS[1:2], [0] * 18, [6] * 18)
    top = int(case.reference_sum(case.drawn(0)).max())
    number = np.array([0, 1, 4, 5, 11])
    threshold = np.array([[top // 4 + 20 * k, top // 4 + 23 * k] for k in range(13)], dtype=np.int32).T
    known, noise = cut_off(case.design, 0, 6), cut_off(case.design, 6, 18)
    for statistic in (VOXEL, SIZE, MASS):
        out = np.empty((3, len(number), 2), dtype=np.int64)
        values = values_of(np.ascontiguousarray(threshold[:, number]), number=number)
        noise_iterations(0, 3, statistic, values, known, noise, case.kernel_rows, case.space, out)
        every = rows_of(case, 6, threshold, statistic, 0, 3)
        assert (out > 1).all()
        np.testing.assert_array_equal(out, every[:, number])
