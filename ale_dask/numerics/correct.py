"""p-values, cuts, intervals and decisions from a null."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import special

if TYPE_CHECKING:
    from ale_dask.config.inference import ClusterCut


F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
UNREACHABLE = 2**62
"""The cut of a null with too few iterations for its level: no value survives."""


def exceedances(null: I64, observed: npt.ArrayLike) -> I64:
    """Return #{null >= observed} (observed), int64, for a null (iteration)."""
    ordered = np.sort(null)
    return np.asarray(len(ordered) - np.searchsorted(ordered, observed, side="left"), dtype=np.int64)


def monte_carlo_p(null: I64, observed: npt.ArrayLike, *, rule: ClusterCut = "plus-one") -> F64:
    """Return p = (1 + #{null >= observed}) / (1 + B) (observed), float64, never 0 (Phipson & Smyth 2010).

    With the rule "share" it is #{null >= observed} / B, kept between 1/B and 1 - 1/B.
    """
    r = exceedances(null, observed)
    if rule == "share":
        return np.asarray(np.maximum(np.minimum(r / len(null), 1 - 1 / len(null)), 1 / len(null)))
    return np.asarray((1 + r) / (1 + len(null)))


def cut(null: I64, *, alpha: float, rule: ClusterCut = "plus-one") -> int:
    """Return the smallest integer k with (1 + #{null >= k}) / (1 + B) <= alpha; values >= k are kept.

    When B is too small for any k to reach alpha, one more than the largest null value would claim too much: the result
    then is 2^62, which nothing reaches.

    Other rules: "share", the smallest k with #{null >= k} / B <= alpha; "at", the value of rank ceil(alpha B) from the
    top; "above", the least integer beyond the 1 - alpha quantile, interpolated between two values.
    """
    value = _cut_of(np.sort(null)[::-1], len(null), alpha=alpha, rule=rule)
    assert value is not None
    return value


def _cut_of(ordered: I64, n: int, *, alpha: float, rule: ClusterCut) -> int | None:
    """Return the cut of n iterations by their largest values, descending (value), or None if these are too few."""
    if rule == "above":
        # NumPy's position and way to interpolate, so that a whole number is not missed by a rounding error.
        below, part = divmod((n - 1) * (1 - alpha), 1.0)
        first, second = n - 1 - int(below), max(0, n - 2 - int(below))
        if first >= len(ordered):
            return None
        low, high = int(ordered[first]), int(ordered[second])
        between = low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
        return math.floor(between) + 1
    if rule == "at":
        rank = max(0, math.ceil(alpha * n * (1 - 1e-12)) - 1)
        return int(ordered[rank]) if rank < len(ordered) else None
    # p is (extra + r) / (extra + B), and the smallest p is 1 / (extra + B).
    extra = 1 if rule == "plus-one" else 0
    allowed = math.floor(alpha * (n + extra) * (1 + 1e-12)) - extra
    if allowed < 1 - extra:
        return UNREACHABLE
    if allowed < len(ordered):
        return int(ordered[allowed]) + 1
    return 0 if len(ordered) == n else None


def cut_interval(null: I64, *, alpha: float, confidence: float = 0.95) -> tuple[int, int]:
    """Return an interval that holds the cut of infinitely many iterations with at least the given confidence.

    Parameters
    ----------
    null
        integers (iteration)
    alpha
        level of the cut
    confidence
        probability that the interval holds it

    Returns
    -------
    tuple of int
        its ends. The high one is 2^62, above any value, where the iterations are too few to bound the cut from above:
        fewer than 72 at a level of .05. The low one is 0 where they are too few to bound it from below.

    Notes
    -----
    The number of null values at or above the cut is binomial with probability alpha at most, of those at or above the
    cut - 1 with alpha at least: with R of the binomial, the ends are one more than the order statistics of descending
    ranks l, h (from 0) for which P(R > l) and P(R <= h) are at most (1 - confidence) / 2 (David & Nagaraja 2003, 7.1).
    """
    ordered = np.sort(null)[::-1]
    low, high = _interval_ranks(len(null), alpha=alpha, confidence=confidence)
    return _end(ordered, low, none=0), _end(ordered, high, none=UNREACHABLE)


def _end(ordered: I64, rank: int | None, *, none: int) -> int:
    return none if rank is None else int(ordered[rank]) + 1


def _interval_ranks(n: int, *, alpha: float, confidence: float = 0.95) -> tuple[int | None, int | None]:
    """Return the ranks, from the top, of the low and the high end of the cut's interval; None for no end."""
    tail = (1 - confidence) / 2
    below = special.bdtr(np.arange(n), n, alpha)
    low, high = int(np.searchsorted(below, 1 - tail)), int(np.searchsorted(below, tail, side="right")) - 1
    return low if low < n else None, high if high >= 0 else None


def top_cut(ordered: I64, n: int, *, alpha: float, rule: ClusterCut = "plus-one") -> tuple[int, int, int] | None:
    """Return the cut of n iterations and its 95 % interval from their largest values, descending (value).

    Returns None when n is too small for the level or for an end of the interval, or the values are too few for it.
    """
    value = _cut_of(ordered, n, alpha=alpha, rule=rule)
    if value is None or value == UNREACHABLE:
        return None
    low, high = _interval_ranks(n, alpha=alpha)
    if low is None or high is None or low >= len(ordered):
        return None
    return value, int(ordered[low]) + 1, int(ordered[high]) + 1


def clopper_pearson(r: npt.ArrayLike, n: int, *, confidence: float = 0.95) -> tuple[F64, F64]:
    """Return the exact binomial interval of r exceedances in n iterations, two arrays (observed), float64."""
    r = np.asarray(r, dtype=np.float64)
    tail = (1 - confidence) / 2
    low = np.where(r > 0, special.betaincinv(np.maximum(r, 1), n - r + 1, tail), 0.0)
    high = np.where(r < n, special.betaincinv(r + 1, np.maximum(n - r, 1), 1 - tail), 1.0)
    return low, high


def confidence_sequence(r: npt.ArrayLike, n: int, *, eps: float) -> tuple[F64, F64]:
    """Return the ends of {p: (n + 1) Binom(r; n, p) > eps}, two arrays (observed), float64.

    The set holds the true p at every n at once with probability 1 - eps (Robbins 1970), so that one may look at it as
    often as one likes and continue the iterations in its light; it is wider than an interval for one n.
    """
    values, place = np.unique(np.asarray(r, dtype=np.float64), return_inverse=True)
    constant, level = _log_factor(values, n), math.log(eps)

    def inside(p: F64) -> npt.NDArray[np.bool_]:
        return np.asarray(constant + special.xlogy(values, p) + special.xlog1py(n - values, -p) > level)

    # (n + 1) Binom(r; n, p) is the density of Beta(r + 1, n - r + 1): it is at least 1 at r / n and falls on each side.
    ends = []
    for end in (0.0, 1.0):
        within, beyond = values / n, np.full(values.shape, end)
        # 200 halvings reach the last digit of a p above 1e-40.
        for _ in range(200):
            middle = (within + beyond) / 2
            if np.all((middle == within) | (middle == beyond)):
                break
            in_set = inside(middle)
            within, beyond = np.where(in_set, middle, within), np.where(in_set, beyond, middle)
        ends.append(np.asarray(np.where(inside(np.full(values.shape, end)), end, within)[place]))
    return ends[0], ends[1]


def _log_density(r: npt.NDArray[Any], n: Any, p: npt.ArrayLike) -> F64:
    """Return log((n + 1) Binom(r; n, p)), -inf where r is impossible."""
    return np.asarray(_log_factor(r, n) + special.xlogy(r, p) + special.xlog1py(n - r, -np.asarray(p)))


def _log_factor(r: npt.NDArray[Any], n: Any) -> F64:
    """Return log((n + 1) n! / (r! (n - r)!)), the part of the density that does not depend on p."""
    choices = special.gammaln(n + 1.0) - special.gammaln(r + 1.0) - special.gammaln(n - r + 1.0)
    return np.asarray(np.log(n + 1.0) + choices)


def decisions(r: npt.ArrayLike, n: int, *, alpha: float, eps: float) -> list[str]:
    """Return "significant", "not" or "undecided" for each of r exceedances (observed) in n iterations.

    A value is undecided while alpha lies inside its `confidence_sequence`, so that a decision holds however often one
    looks.
    """
    r = np.asarray(r, dtype=np.float64)
    undecided = _log_density(r, n, alpha) > math.log(eps)
    return ["undecided" if u else "significant" if k < alpha * n else "not" for u, k in zip(undecided, r, strict=True)]


def decided_at(null: I64, observed: npt.ArrayLike, *, alpha: float, eps: float) -> I64:
    """Return after how many iterations each value was first decided (observed), int64; 0 where it is undecided."""
    n = np.arange(1, len(null) + 1)
    first_decided = []
    for value in np.atleast_1d(observed):
        r = np.cumsum(null >= value)
        decided = np.flatnonzero(_log_density(r, n, alpha) <= math.log(eps))
        first_decided.append(int(decided[0]) + 1 if decided.size else 0)
    return np.array(first_decided, dtype=np.int64)


def fdr_keep(log_p: F64, *, q: float, dependent: bool = False) -> npt.NDArray[np.bool_]:
    """Return the voxels (voxel), bool, kept at false discovery rate q over all of them, from natural log p (voxel).

    Benjamini & Hochberg 1995; `dependent` divides q by sum 1/i (Benjamini & Yekutieli 2001). It bounds the expected
    share of false voxels, and says nothing about clusters.
    """
    n = len(log_p)
    level = q / float((1.0 / np.arange(1, n + 1)).sum()) if dependent else q
    order = np.sort(log_p)
    passing = np.flatnonzero(order <= np.log(level * np.arange(1, n + 1) / n))
    if not passing.size:
        return np.zeros(n, dtype=bool)
    return np.asarray(log_p <= order[passing[-1]])
