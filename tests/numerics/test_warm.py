"""Kernels that were compiled are found in the cache by the names that are asked for."""

from __future__ import annotations

import pytest

from ale_dask.numerics import CACHE_IS_KEPT
from ale_dask.numerics.warm import KERNELS, cold, compile_beside, compile_kernels


@pytest.mark.skipif(not CACHE_IS_KEPT, reason="compiled kernels are kept nowhere on this machine")
def test_compiled_kernels_are_found_in_the_cache():
    compile_kernels()
    for kernel in (*KERNELS.values(), "exact_sums.exact_sums", "contrast.count_exceedances"):
        assert not cold(kernel)
    assert cold("base_rate_null.no_such_kernel")
    assert compile_beside(KERNELS) is None
