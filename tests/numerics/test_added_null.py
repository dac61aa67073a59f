"""Cluster-forming values of a growing sample, against the analytic null of each sample alone."""

import numpy as np
import pytest
from support.nulls import BITS, integers, random_experiments

from ale_dask.numerics.added_null import critical_values
from ale_dask.numerics.null import analytic_null, histogram


@pytest.fixture(scope="module")
def laws():
    """Return the laws of 20 experiments with 3 foci in 1,000 voxels."""
    random = np.random.default_rng(5)
    experiments = random_experiments(random, 20, (10, 10, 10), 3, np.array((1.3, 1.3, 1.0)))
    rows = integers(np.ones((10, 10, 10), dtype=bool), experiments)
    return [histogram(row[row > 0].astype(np.int32), n_voxels=1000, bits=BITS) for row in rows]


@pytest.mark.parametrize(("known", "p"), [(4, 0.05), (12, 1e-3), (16, 1e-6), (19, 1e-10)])
def test_each_value_is_that_of_the_enlarged_sample_alone(laws, known, p):
    s_max = 1 if p > 1e-7 else 2**30
    nulls = (analytic_null(laws[:n], bits=BITS, s_max=s_max) for n in range(known, len(laws) + 1))
    expected = [null.critical(p) for null in nulls]
    every, some = np.arange(len(expected)), np.r_[0, len(expected) - 1]
    for number in (every, some):
        found = critical_values(laws[:known], laws[known:], number=number, p=p, bits=BITS)
        assert found.tolist() == [expected[n] for n in number]
    assert np.all(np.diff(expected) > 0)
