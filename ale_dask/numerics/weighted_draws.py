"""Draws of voxels by given probabilities, in integers: the same voxels on every machine.

    voxel         0        1    2            3           0 … 2^64 is divided in proportion to the weights;
    words     |--------|-----|----|------------------|   a random word w is the voxel in whose part it falls
    cumulative         ^     ^    ^                  ^   the last word of each part

A search through 230,000 voxels would take 18 halvings. The first 16 bits of w look up in `guide` which voxels are left:
in a brain about four.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import philox

U64 = npt.NDArray[np.uint64]
_BITS = 53
"""Number of bits of a probability: a double holds no more."""
GUIDE_BITS = 16
"""Number of bits of a word by which the guide is looked up: the guide then takes 256 kB."""


def cumulative_words(weight: npt.NDArray[np.float64]) -> U64:
    """Return the last 64-bit word (voxel), uint64, ascending, that stands for each voxel of these weights (voxel).

    A word w stands for the first voxel whose last word is w or more. A voxel thus has the probability (its last word -
    the last word of the voxel before) / 2^64: its share of the weights, rounded to 2^-53 and at least 2^-53.
    """
    share = np.maximum(np.rint(weight / weight.sum() * 2.0**_BITS), 1).astype(np.int64)
    # The likeliest voxel gets what rounding has left over, a few hundred of 2^53.
    share[np.argmax(share)] += 2**_BITS - int(share.sum())
    ends = np.cumsum(share).astype(np.uint64) << np.uint64(64 - _BITS)
    # The last end is 2^64, which wraps to 0; 1 less is 2^64 - 1.
    return np.asarray(ends - np.uint64(1))


def guide(cumulative: U64) -> npt.NDArray[np.int32]:
    """Return the first voxel (part + 1), int32, that a word of each of 2^16 equal parts can stand for.

    `cumulative` (voxel) is of `cumulative_words`; the table ends with the last voxel.
    """
    starts = np.arange(2**GUIDE_BITS, dtype=np.uint64) << np.uint64(64 - GUIDE_BITS)
    return np.append(np.searchsorted(cumulative, starts), len(cumulative) - 1).astype(np.int32)


@numba.njit(cache=True, nogil=True, inline="always")
def voxel_of(word, cumulative, guide):  # type: ignore[no-untyped-def]
    """Return the voxel, int64, that `word`, uint64, stands for, by halving what the guide leaves."""
    part = word >> np.uint64(64 - GUIDE_BITS)
    low, high = np.int64(guide[part]), np.int64(guide[part + np.uint64(1)])
    while low < high:
        middle = (low + high) >> 1
        if cumulative[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def draw_weighted(key, iteration, cumulative, guide, out, begin, end) -> None:  # type: ignore[no-untyped-def]
    """Fill out[begin:end], int64, with voxels drawn by their cumulative words, one for each focus of an experiment.

    The generator's words are those that `draws.draw_voxels` would use: two of 32 bits for each focus. `key` is uint64.
    """
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    i = np.uint64(iteration)
    for pair in range((end - begin + 1) // 2):
        a, b, c, d = philox(i & low, i >> half, np.uint64(pair), np.uint64(0), key)
        f = begin + 2 * pair
        out[f] = voxel_of((b << half) | a, cumulative, guide)
        if f + 1 < end:
            out[f + 1] = voxel_of((d << half) | c, cumulative, guide)
