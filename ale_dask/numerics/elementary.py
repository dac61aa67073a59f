"""exp and log1p from +, -, *, / and sqrt alone.

The C library picks other instructions, and so other last bits, on other CPUs. IEEE 754 fixes the result of
these five operations, and numba does not contract them without fastmath, so what decides a p-value is the
same bit for bit on every machine.
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


@numba.njit(cache=True, nogil=True)
def exp_neg(x: float) -> float:
    """Return exp(-x) for x >= 0, within 2 ulp; 0 beyond x = 708, where doubles stop being normal."""
    if x > 708.0:
        return 0.0
    k = math.floor(x * _INVERSE_LN2 + 0.5)
    r = (k * _LN2_HIGH - x) + k * _LN2_LOW
    # |r| <= ln(2)/2: the Taylor remainder r^14/14! is below 5e-18.
    total = 1.0
    for n in range(13, 0, -1):
        total = 1.0 + r * total / n
    for _ in range(int(k) // 32):
        total *= 2.0**-32
    for _ in range(int(k) % 32):
        total *= 0.5
    return total


@numba.njit(cache=True, nogil=True)
def neg_log1p_neg(probability: float) -> float:
    """Return -log(1 - p) for 0 <= p < 1, within 16 ulp (below 0.1: 4 ulp)."""
    k = probability
    doublings = 1.0
    if k > 0.1:
        # -log(q) = 2 * -log(sqrt(q)), until 1 - q is small and exact (Sterbenz).
        q = 1.0 - k
        while q < 0.9:
            q = math.sqrt(q)
            doublings *= 2.0
        k = 1.0 - q
    # log((1 + t) / (1 - t)) with t = k / (2 - k) <= 0.053: t^17/17 is below 1e-22.
    t = k / (2.0 - k)
    square = t * t
    total = 0.0
    for n in range(15, 0, -2):
        total = 1.0 / n + square * total
    return 2.0 * doublings * t * total


@numba.njit(cache=True, nogil=True)
def _fixed_point(ma: npt.NDArray[np.float32], unit: float, out: npt.NDArray[np.int64]) -> None:
    for i in range(ma.size):
        if ma[i] > 0:
            out[i] = np.int64(neg_log1p_neg(np.float64(ma[i])) * unit + 0.5)


def fixed_point(ma: npt.NDArray[np.float32], *, bits: int) -> npt.NDArray[np.int64]:
    """Return rint(-log1p(-MA) * 2^bits), int64, of the same shape as the MA probabilities."""
    out = np.zeros(ma.shape, dtype=np.int64)
    _fixed_point(np.ascontiguousarray(ma).reshape(-1), 2.0**bits, out.reshape(-1))
    return out
