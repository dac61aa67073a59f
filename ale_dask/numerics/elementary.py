"""exp and log1p from +, -, *, / and sqrt alone.

    exp(-x)      = 2^-k exp(r),  k = round(x / ln 2),  |r| <= ln(2) / 2,  exp(r) by its Taylor polynomial
    -log(1 - p)  = 2 t (1 + t^2/3 + t^4/5 + …),  t = p / (2 - p),  after square roots of 1 - p for p > 0.1

The C library picks other instructions, and so other last bits, on other CPUs. IEEE 754 fixes the result of these five
operations, and numba does not contract them without fastmath, so that the numbers which decide a p-value are the same
bit for bit on every machine. Without branches the compiler computes four or eight values at once: 1.3 ns a value.
tests/numerics/test_elementary.py holds them to exact decimals.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

# ln 2 = _LN2_HIGH + _LN2_LOW; the high part ends in 21 zero bits, so k * _LN2_HIGH is exact for |k| < 2^21.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_INVERSE_LN2 = 1.44269504088896338700
_HALVINGS = 2.0 ** -np.arange(1022)
"""2^-k, k up to 708 / ln 2: exact, as is a product with them that stays normal."""


# Without branches, and with a loop that the compiler can unroll, eight values are computed at once.
@numba.njit(cache=True, nogil=True, error_model="numpy")
def exp_neg(x: float) -> float:
    """Return exp(-x) for x >= 0, within 2 ulp; 0 beyond x = 708, where doubles stop being normal."""
    clipped = x if x < 708.0 else 708.0
    k = np.floor(clipped * _INVERSE_LN2 + 0.5)
    r = (k * _LN2_HIGH - clipped) + k * _LN2_LOW
    # |r| <= ln(2)/2: the Taylor remainder r^14/14! is below 5e-18.
    total = 1.0
    for n in range(13, 0, -1):
        total = 1.0 + r * total / n
    return total * _HALVINGS[np.uint64(k)] if x <= 708.0 else 0.0


# Without numpy's error model every division is followed by a branch, for an exception that 2 - k cannot raise.
@numba.njit(cache=True, nogil=True, error_model="numpy")
def _small_neg_log1p_neg(k: float) -> float:
    """Return -log(1 - k) for 0 <= k <= 0.1, within 4 ulp."""
    # log((1 + t) / (1 - t)) with t = k / (2 - k) <= 0.053: t^17/17 is below 1e-22.
    t = k / (2.0 - k)
    s = t * t
    # Written out: a loop here keeps the compiler from computing four values at once.
    total = 1 / 7 + s * (1 / 9 + s * (1 / 11 + s * (1 / 13 + s * (1 / 15))))
    return 2.0 * t * (1.0 + s * (1 / 3 + s * (1 / 5 + s * total)))


@numba.njit(cache=True, nogil=True)
def neg_log1p_neg(probability: float) -> float:
    """Return -log(1 - p) for 0 <= p < 1, within 16 ulp (below 0.1: 4 ulp)."""
    if probability <= 0.1:
        return float(_small_neg_log1p_neg(probability))
    # -log(q) = 2 * -log(sqrt(q)), until 1 - q is small and exact (Sterbenz).
    q = 1.0 - probability
    doublings = 1.0
    while q < 0.9:
        q = math.sqrt(q)
        doublings *= 2.0
    return float(doublings * _small_neg_log1p_neg(1.0 - q))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fixed_point(ma: npt.NDArray[np.float64], unit: float, small: bool, out: npt.NDArray[np.int32]) -> None:
    """Fill out (entry) with -log(1 - MA) (entry) in units of 1 / unit; with `small` all MA are at most 0.1."""
    if small:
        for i in range(ma.size):
            out[i] = np.int32(_small_neg_log1p_neg(ma[i]) * unit + 0.5)
    else:
        for i in range(ma.size):
            out[i] = np.int32(neg_log1p_neg(ma[i]) * unit + 0.5)


def fixed_point(ma: npt.NDArray[np.float64], *, bits: int) -> npt.NDArray[np.int32]:
    """Return rint(-log1p(-MA) * 2^bits) (entry), int32, of MA probabilities (entry); the scale leaves no overflow."""
    out = np.empty(ma.size, dtype=np.int32)
    # The usual kernels' peaks are below 0.02. Without a branch four values are computed at once: 1.3 ns a value, not 5.
    _fixed_point(ma, 2.0**bits, bool(ma.max(initial=0.0) <= 0.1), out)
    return out


@numba.njit(cache=True, nogil=True)
def _add_fixed_points(ma: npt.NDArray[np.float32], unit: float, out: npt.NDArray[np.int64]) -> None:
    """Add -log(1 - MA) (experiment, voxel), in units of 1 / unit, over experiments to out (voxel)."""
    for e in range(ma.shape[0]):
        for v in range(ma.shape[1]):
            if ma[e, v] > 0:
                out[v] += np.int64(neg_log1p_neg(np.float64(ma[e, v])) * unit + 0.5)


def fixed_point_sum(ma: npt.NDArray[np.float32], *, bits: int) -> npt.NDArray[np.int64]:
    """Return sum_i rint(-log1p(-MA_i) * 2^bits) (voxel), int64, of MA probabilities (experiment, voxel)."""
    out = np.zeros(ma.shape[1], dtype=np.int64)
    _add_fixed_points(np.ascontiguousarray(ma), 2.0**bits, out)
    return out
