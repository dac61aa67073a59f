"""Random numbers that depend on what they are for and on nothing else.

Philox4x32-10 (Salmon et al. 2011): key = hash64(seed, stream, experiment key), counter = (iteration, focus
within the experiment). Neither the order of experiments nor the number of iterations, blocks or workers
changes a draw.
"""

from __future__ import annotations

import hashlib

import numba
import numpy as np
import numpy.typing as npt

NULL, RELABEL = "null", "relabel"


def draw_keys(experiment_key: npt.NDArray[np.uint64], *, seed: int, stream: str) -> npt.NDArray[np.uint64]:
    """Return the Philox key (experiment), uint64, of each experiment for one seed and stream."""
    prefix = f"{seed}:{stream}:".encode()
    digests = (hashlib.sha256(prefix + int(key).to_bytes(8, "little")).digest()[:8] for key in experiment_key)
    return np.array([int.from_bytes(d, "little") for d in digests], dtype=np.uint64)


@numba.njit(cache=True, nogil=True, inline="always")
def philox(c0, c1, c2, c3, key):  # type: ignore[no-untyped-def]
    """Return four 32-bit words, as uint64, of Philox4x32-10 for a counter of four words and a 64-bit key."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    k0 = key & low
    k1 = key >> half
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c0
        p1 = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & low, (p0 >> half) ^ c3 ^ k1, p0 & low
        k0 = (k0 + np.uint64(0x9E3779B9)) & low
        k1 = (k1 + np.uint64(0xBB67AE85)) & low
    return c0, c1, c2, c3


@numba.njit(cache=True, nogil=True)
def draw_voxels(key, iteration, n_voxels, out, begin, end) -> None:  # type: ignore[no-untyped-def]
    """Fill out[begin:end] with voxels uniform over 0 … n_voxels - 1, one per focus of an experiment.

    A 64-bit word times n_voxels, upper half: uniform to 2^-64 * n_voxels, below 1e-13 for any brain mask.
    """
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    n = np.uint64(n_voxels)
    i = np.uint64(iteration)
    for pair in range((end - begin + 1) // 2):
        a, b, c, d = philox(i & low, i >> half, np.uint64(pair), np.uint64(0), key)
        f = begin + 2 * pair
        out[f] = np.int64((b * n + ((a * n) >> half)) >> half)
        if f + 1 < end:
            out[f + 1] = np.int64((d * n + ((c * n) >> half)) >> half)


@numba.njit(cache=True, nogil=True)
def permutation_keys(key, first, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, experiment), uint64, with the words whose order is the relabelling."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for b in range(out.shape[0]):
        i = np.uint64(first + b)
        for e in range(key.shape[0]):
            w0, w1, _, _ = philox(i & low, i >> half, np.uint64(0), np.uint64(0), key[e])
            out[b, e] = (w0 << half) | w1
