"""Random numbers that depend on what they are for and on nothing else.

    key     = hash64(seed, stream, experiment key)         counter = (iteration, pair of foci within the experiment)
    philox(counter, key) -> four words of 32 bits -> two voxels

Philox4x32-10 (Salmon et al. 2011) has no state that one draw would hand to the next: neither the order of experiments
nor the number of iterations, blocks or workers changes a draw. tests/support/reference.py has it in plain integers.
"""

from __future__ import annotations

import hashlib

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.simd import INNER

NULL, RELABEL = "null", "relabel"
"""Streams of the foci of a null and of the relabellings of a contrast."""


def draw_keys(experiment_key: npt.NDArray[np.uint64], *, seed: int, stream: str) -> npt.NDArray[np.uint64]:
    """Return the Philox key (experiment), uint64, of each experiment's key, for a seed and a stream."""
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
    """Fill out[begin:end], int64, with voxels uniform over 0 … n_voxels - 1, one for each focus of an experiment.

    A 64-bit word times n_voxels, upper half: uniform to 2^-64 * n_voxels, below 1e-13 for any brain mask. `key` is
    uint64.
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


@numba.njit(**INNER)
def draw_foci(iteration, design, geometry, work) -> None:  # type: ignore[no-untyped-def]
    """Fill work.voxel (focus) with the voxels of all foci of an iteration, uniform over the mask's voxel centres.

    `design` is a `Design`, `geometry` a `Geometry` and `work` a `Workspace` of `kernels`; foci are in the order of
    experiments.
    """
    for e in range(design.kernel.shape[0]):
        begin, end = design.focus_begin[e], design.focus_begin[e + 1]
        draw_voxels(design.key[e], iteration, geometry.cell.shape[0], work.voxel, begin, end)


@numba.njit(cache=True, nogil=True)
def permutation_keys(key, first, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, unit), uint64, with words from the key (unit) of each unit; their order relabels."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    for b in range(out.shape[0]):
        i = np.uint64(first + b)
        for e in range(key.shape[0]):
            w0, w1, _, _ = philox(i & low, i >> half, np.uint64(0), np.uint64(0), key[e])
            out[b, e] = (w0 << half) | w1
