"""Draws of whole studies from a database: each experiment gets the foci of one published study of like size.

Foci of one study lie closer together than foci drawn one by one from a density. A null of whole studies keeps this.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import philox

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
ENOUGH = 100
"""Least number of studies that an experiment's foci are drawn from."""

MOST_PASSED = 50
"""Number of studies that an experiment passes over because another experiment has them; then it takes any."""


class Pool(NamedTuple):
    """The studies of a database, ascending in their numbers of foci, and those that each experiment draws from.

    The foci of a study are voxel[begin[study] : begin[study + 1]]. An experiment draws from the studies low[experiment]
    … high[experiment] - 1. Without any experiment nothing is drawn from studies.
    """

    begin: I64
    voxel: I32
    low: I64
    high: I64


NO_POOL = Pool(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32), *np.zeros((2, 0), dtype=np.int64))


def windows(begin: I64, n_foci: I64) -> tuple[I64, I64]:
    """Return the first study (experiment), int64, that each experiment draws from, and one past the last (experiment).

    These are the studies with as many foci as the experiment or more, up to the least number of foci with which they
    are 100. Where fewer than 100 studies have so many, they are the 100 with the most foci. Of studies with the same
    number of foci either all are among them or none.

    Parameters
    ----------
    begin
        where the foci of each study begin (study + 1); the numbers of foci ascend, and there are 100 studies or more
    n_foci
        number of foci of each experiment (experiment)
    """
    size = np.diff(begin)
    least = np.minimum(np.searchsorted(size, n_foci), len(size) - ENOUGH)
    low = np.searchsorted(size, size[least])
    high = np.searchsorted(size, size[least + ENOUGH - 1], side="right")
    return low.astype(np.int64), high.astype(np.int64)


@numba.njit(cache=True, nogil=True, inline="always")
def _below(upper, lower, n):  # type: ignore[no-untyped-def]
    """Return floor(n * fraction), int64, of the fraction with the 32-bit halves `upper` and `lower`."""
    half = np.uint64(32)
    return np.int64((upper * n + ((lower * n) >> half)) >> half)


@numba.njit(cache=True, nogil=True)
def draw_study(key, iteration, e, pool, given, out, first, end) -> None:  # type: ignore[no-untyped-def]
    """Fill out[first:end], int64, with the voxels of a study drawn for experiment `e`, as many of them as are wanted.

    `given` (study), bool, says which studies this iteration has given to experiments already: no two get the same, as
    no two experiments of a sample are the same, unless nearly all are given. Of a study with more foci than are wanted
    every subset is equally likely. When it has fewer, which happens to experiments with more foci than nearly all
    studies, another study is drawn for the rest. Of the generator's words of round r = 0, 1 … (counter: iteration, pair
    of words, 1 + r) the first chooses the study, and the next ones say of each of its foci in turn whether it is taken.
    """
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    i = np.uint64(iteration)
    stream = np.uint64(1)
    passed = 0
    while first < end:
        a, b, c, d = philox(i & low, i >> half, np.uint64(0), stream, key)
        study = pool.low[e] + _below(b, a, np.uint64(pool.high[e] - pool.low[e]))
        if given[study] and passed < MOST_PASSED:
            passed += 1
            stream += np.uint64(1)
            continue
        given[study] = True
        begin, stop = pool.begin[study], pool.begin[study + 1]
        wanted = min(end - first, stop - begin)
        for f in range(begin, stop):
            if wanted == 0:
                break
            word = f - begin + 1
            if word & 1 == 0:
                a, b, c, d = philox(i & low, i >> half, np.uint64(word >> 1), stream, key)
                taken = _below(b, a, np.uint64(stop - f)) < wanted
            else:
                taken = _below(d, c, np.uint64(stop - f)) < wanted
            if taken:
                out[first] = pool.voxel[f]
                first += 1
                wanted -= 1
        stream += np.uint64(1)
