"""From nulls to p-values, cuts, intervals and decisions."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
UNREACHABLE = 2**62
"""The cut of a null with too few iterations for its level: no value survives."""


def exceedances(null: I64, observed: npt.ArrayLike) -> I64:
    """Return #{null >= observed} (observed), int64, for a null (iteration)."""
    ordered = np.sort(null)
    return np.asarray(len(ordered) - np.searchsorted(ordered, observed, side="left"), dtype=np.int64)


def monte_carlo_p(null: I64, observed: npt.ArrayLike) -> F64:
    """Return p = (1 + #{null >= observed}) / (1 + B) (observed), float64, never 0 (Phipson & Smyth 2010)."""
    return np.asarray((1 + exceedances(null, observed)) / (1 + len(null)))


def cut(null: I64, *, alpha: float) -> int:
    """Return the smallest integer k with (1 + #{null >= k}) / (1 + B) <= alpha; values >= k are kept.

    When B is too small for any k to reach alpha, one more than the largest null value would claim too much:
    the result then is 2^62, which nothing reaches.
    """
    allowed = math.floor(alpha * (1 + len(null)) * (1 + 1e-12)) - 1
    if allowed < 0:
        return UNREACHABLE
    ordered = np.sort(null)[::-1]
    return int(ordered[allowed]) + 1 if allowed < len(ordered) else 0


def cut_interval(null: I64, *, alpha: float, confidence: float = 0.95) -> tuple[int, int]:
    """Return the binomial interval of the cut: order statistics of the null (iteration)."""
    n = len(null)
    ordered = np.sort(null)[::-1]
    low, high = (special.bdtrik(q, n, alpha) for q in ((1 - confidence) / 2, (1 + confidence) / 2))
    first = int(np.clip(math.floor(low), 0, n - 1))
    last = int(np.clip(math.ceil(high), 0, n - 1))
    return int(ordered[last]) + 1, int(ordered[first]) + 1


def clopper_pearson(r: npt.ArrayLike, n: int, *, confidence: float = 0.95) -> tuple[F64, F64]:
    """Return the exact binomial interval of r exceedances in n iterations, two arrays (observed), float64."""
    r = np.asarray(r, dtype=np.float64)
    tail = (1 - confidence) / 2
    low = np.where(r > 0, special.betaincinv(np.maximum(r, 1), n - r + 1, tail), 0.0)
    high = np.where(r < n, special.betaincinv(r + 1, np.maximum(n - r, 1), 1 - tail), 1.0)
    return low, high


def decisions(r: npt.ArrayLike, n: int, *, alpha: float, eps: float) -> list[str]:
    """Return "significant", "not" or "undecided" for each of r exceedances in n iterations.

    The confidence sequence {p: (n + 1) Binom(r; n, p) > eps} holds at every n at once with probability
    1 - eps, so the decision may be looked at as often as one likes (Robbins 1970).
    """
    r = np.asarray(r, dtype=np.float64)
    log_mass = (
        special.gammaln(n + 1)
        - special.gammaln(r + 1)
        - special.gammaln(n - r + 1)
        + r * math.log(alpha)
        + (n - r) * math.log1p(-alpha)
    )
    undecided = math.log(n + 1) + log_mass > math.log(eps)
    return ["undecided" if u else "significant" if k < alpha * n else "not" for u, k in zip(undecided, r, strict=True)]


def fdr_keep(log_p: F64, *, q: float, dependent: bool = False) -> npt.NDArray[np.bool_]:
    """Return the voxels (voxel) kept at false discovery rate q over all of them, from natural log p (voxel).

    Benjamini & Hochberg 1995; `dependent` divides q by sum 1/i (Benjamini & Yekutieli 2001). It bounds the
    expected share of false voxels, and says nothing about clusters.
    """
    n = len(log_p)
    level = q / float((1.0 / np.arange(1, n + 1)).sum()) if dependent else q
    order = np.sort(log_p)
    passing = np.flatnonzero(order <= np.log(level * np.arange(1, n + 1) / n))
    if not passing.size:
        return np.zeros(n, dtype=bool)
    return np.asarray(log_p <= order[passing[-1]])
