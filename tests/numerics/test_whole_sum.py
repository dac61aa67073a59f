"""All of S by a Fourier transform less overlaps, against the kernel that adds the rows of every focus."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.permutations import SIGMAS, SOME, Case, blob, cases

from ale_dask.numerics import pruned_null
from ale_dask.numerics.whole_sum import whole_sum, whole_sum_iterations


def rows_of(case, first, count, threshold, *, whole=None):
    """Return the null (iteration, statistic) by the transform."""
    out = np.full((count, 3), -1, dtype=np.int64)
    whole = whole or whole_sum(case.boxes[0], case.space)
    whole_sum_iterations(first, count, threshold, (case.design, case.kernel_rows, case.space), whole, out)
    return out


@SOME
@given(cases(), st.sampled_from(SIGMAS), st.data())
def test_rows_equal_those_of_the_kernel_that_adds_every_focus(case, sigma, data):
    kernels = [0] * len(case.n_foci)
    one = Case(case.volume, [sigma], kernels, case.n_foci, additive=case.design.additive, edges=case.edges, seed=1)
    threshold = data.draw(st.integers(1, int(one.rows(3, 2, 1)[:, 0].max()) + 1))
    assert rows_of(one, 3, 2, threshold).tolist() == one.rows(3, 2, threshold).tolist()


@pytest.fixture
def crowded():
    """A ball in which every focus meets several of its experiment."""
    grid = np.indices((17, 17, 17)) - 8
    return Case((grid**2).sum(axis=0) <= 64, [(2.0, 2.0, 2.0)], [0] * 30, [25] * 30)


def test_many_foci_of_an_experiment_overlap(crowded):
    for threshold in (1, 10**6, 10**7):
        assert rows_of(crowded, 0, 3, threshold).tolist() == crowded.rows(0, 3, threshold).tolist()


def test_where_rounding_might_be_wrong_every_focus_is_added(crowded):
    whole = replace(whole_sum(crowded.boxes[0], crowded.space), length=np.inf, spectrum=np.array(np.nan))
    assert rows_of(crowded, 0, 2, 10**6, whole=whole).tolist() == crowded.rows(0, 2, 10**6).tolist()


def test_a_null_of_very_many_foci_takes_it_where_its_bound_is_of_no_use(crowded, monkeypatch):
    monkeypatch.setattr(pruned_null, "FROM", 700)
    tables = {"design": crowded.design, "rows": crowded.kernel_rows, "geometry": crowded.space}
    null = pruned_null.pruned_null(crowded.boxes, threshold=1000, **tables)
    for threshold in (1000, 1000, int(crowded.rows(0, 1, 1)[0, 0])):
        out = np.empty((3, 3), dtype=np.int64)
        pruned_null.pruned_iterations(0, 3, threshold, null, out)
        assert out.tolist() == crowded.rows(0, 3, threshold).tolist()
    assert null.dense.count(1000) == 1
    two = Case(blob(1, (5, 5, 5)), SIGMAS[:2], [0, 1], [400, 400])
    assert pruned_null.whole_sum_of(two.boxes, two.design, two.space) is None
