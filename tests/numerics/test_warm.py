"""Kernels that were compiled are found in the cache by the names that are asked for."""

from __future__ import annotations

import pytest

from ale_dask.numerics import CACHE_IS_KEPT
from ale_dask.numerics.warm import cold, compile_kernels


@pytest.mark.skipif(not CACHE_IS_KEPT, reason="compiled kernels are kept nowhere on this machine")
def test_compiled_kernels_are_found_in_the_cache():
    compile_kernels(base_rate=True)
    assert not cold()
    for kernel in ("candidate_strips.stamped_strips", "convolved_strips.convolved_strips", "exact_sums.exact_sums"):
        assert not cold(kernel)
    assert not cold("pruned_base_rate.base_rate_statistics")
    assert cold("base_rate_null.no_such_kernel")
