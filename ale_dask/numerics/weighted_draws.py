"""Draws of voxels by given probabilities, in integers: the same voxels on every machine."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import philox

U64 = npt.NDArray[np.uint64]
_BITS = 53
"""Of a probability: a double holds no more."""
GUIDE_BITS = 16
"""Of a drawn word, by which the guide is looked up: 256 kB, and then a search among four voxels of a brain."""


def last_words(weight: npt.NDArray[np.float64]) -> U64:
    """Return the last 64-bit word (voxel), uint64, ascending, that stands for each voxel of these weights (voxel).

    A word w means the first voxel whose last word is w or more, so that a voxel has the probability
    (last - last of the one before) / 2^64: its weight's share, rounded to 2^-53, and at least that.
    """
    share = np.maximum(np.rint(weight / weight.sum() * 2.0**_BITS), 1).astype(np.int64)
    # What rounding has left over, a few hundred of 2^53, is the likeliest voxel's.
    share[np.argmax(share)] += 2**_BITS - int(share.sum())
    ends = np.cumsum(share).astype(np.uint64) << np.uint64(64 - _BITS)
    # The last is 2^64, which is 0: one less is 2^64 - 1.
    return np.asarray(ends - np.uint64(1))


def guide(last: U64) -> npt.NDArray[np.int32]:
    """Return the first voxel (part + 1), int32, that a word of each of 2^16 equal parts can mean; ends with the last.

    `last` (voxel) are the last words of the voxels.
    """
    starts = np.arange(2**GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - GUIDE_BITS)
    return np.append(np.searchsorted(last, starts), len(last) - 1).astype(np.int32)


@numba.njit(cache=True, nogil=True, inline="always")
def voxel_of(word, last, guide):  # type: ignore[no-untyped-def]
    """Return the first voxel whose last word is `word` or more: halving what the guide leaves."""
    part = word >> np.uint64(64 - GUIDE_BITS)
    low, high = np.int64(guide[part]), np.int64(guide[part + np.uint64(1)])
    while low < high:
        middle = (low + high) >> 1
        if last[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def draw_weighted(key, iteration, last, guide, out, begin, end) -> None:  # type: ignore[no-untyped-def]
    """Fill out[begin:end] with voxels drawn by their last words, one per focus of an experiment.

    From the words that `draws.draw_voxels` would use: two 32-bit words of the generator for each focus.
    """
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    i = np.uint64(iteration)
    for pair in range((end - begin + 1) // 2):
        a, b, c, d = philox(i & low, i >> half, np.uint64(pair), np.uint64(0), key)
        f = begin + 2 * pair
        out[f] = voxel_of((b << half) | a, last, guide)
        if f + 1 < end:
            out[f + 1] = voxel_of((d << half) | c, last, guide)
