"""The analytic null of S in one voxel (Eickhoff 2012): independent experiments, v uniform in the mask.

P(S >= s) is the tail of the convolution of K histograms, done by FFT. Each value is split over its two
neighbouring bins so that its mean is kept: with bins of 1e-5 the relative error of p at 1e-6 is 3e-4, where
the nearest bin gives 10-60 times that. Rounding noise of an FFT, about 1e-16 of its largest term, hides tails
below p = 1e-9; there the histograms are tilted by exp(theta x), which moves their bulk into the tail, and a
ladder of such tilts is joined to the body.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, special

F64 = npt.NDArray[np.float64]
STEP = 1e-5
_SPLICE = math.log(1e-8)
_NEGLIGIBLE = math.log(1e-18)


@dataclass(frozen=True, eq=False)
class NullTable:
    """log P(S >= s), natural logarithm (bin), at s = (bin - 1/2) * step."""

    log_p: F64
    step: float
    bits: int

    def log_p_of(self, s: npt.ArrayLike) -> F64:
        """Return log p (voxel), float64, of fixed-point sums (voxel), log-linear between bins."""
        at = np.asarray(s, dtype=np.float64) / (2.0**self.bits * self.step) + 0.5
        log_p: F64 = np.interp(at, np.arange(len(self.log_p)), self.log_p)
        return np.where(np.asarray(s) <= 0, 0.0, log_p)

    def critical(self, p: float) -> int:
        """Return the smallest integer S whose analytic p is below `p`: voxels with S >= it pass."""
        target = math.log(p)
        low, high = 0, int(len(self.log_p) * self.step * 2.0**self.bits) + 1
        if self.log_p_of(high) >= target:
            return high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.log_p_of(middle) < target else (middle, high)
        return high


def z_of_log_p(log_p: npt.ArrayLike) -> F64:
    """Return z = isf(p) (voxel), float64, of natural log p (voxel); exact far beyond p = 1e-300."""
    # p = 1, where no focus reaches, would be z = -inf; the largest double below 1 keeps maps finite (z = -8.2).
    z: F64 = -special.ndtri_exp(np.minimum(np.asarray(log_p, dtype=np.float64), -(2.0**-53)))
    return z


def histograms(begin: npt.NDArray[np.int64], value: npt.NDArray[np.int32], *, n_voxels: int, bits: int) -> F64:
    """Return P(X_i = bin * STEP) (experiment, bin), float64, from sparse fixed-point rows (entry)."""
    n_experiments = len(begin) - 1
    x = value / (2.0**bits * STEP)
    bins = int(x.max(initial=0.0)) + 2
    low = x.astype(np.int64)
    upper = x - low
    at = np.repeat(np.arange(n_experiments), np.diff(begin)) * bins + low
    flat = np.bincount(at, weights=1.0 - upper, minlength=n_experiments * bins)
    flat += np.bincount(at + 1, weights=upper, minlength=n_experiments * bins)[: n_experiments * bins]
    table = flat.reshape(n_experiments, bins)
    table[:, 0] += n_voxels - np.diff(begin)
    return np.asarray(table / n_voxels)


class _Tilted:
    """The sum's law with weights exp(theta x); x is taken from each histogram's top to stay in range."""

    def __init__(self, table: F64) -> None:
        self.table = table
        self.x = STEP * np.arange(table.shape[1])
        self.top = np.array([self.x[np.flatnonzero(row)[-1]] for row in table])

    def log_moment(self, theta: float) -> float:
        """Return log E exp(theta S)."""
        shifted = np.exp(np.minimum(theta * (self.x[None, :] - self.top[:, None]), 0.0))
        return float((np.log((self.table * shifted).sum(axis=1)) + theta * self.top).sum())

    def mean_sd(self, theta: float) -> tuple[float, float]:
        """Return the mean and standard deviation of S under the tilt."""
        weights = self._weights(theta)
        mean = weights @ self.x
        variance = weights @ (self.x * self.x) - mean * mean
        return float(mean.sum()), math.sqrt(max(float(variance.sum()), 1e-30))

    def _weights(self, theta: float) -> F64:
        weights = self.table * np.exp(np.minimum(theta * (self.x[None, :] - self.top[:, None]), 0.0))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def length(self, theta: float) -> int:
        """Return the number of bins beyond which the tilted law holds less than 1e-18 (Chernoff)."""
        _, sd = self.mean_sd(theta)
        here = self.log_moment(theta)
        bounds = [
            (self.log_moment(theta + eta) - here - _NEGLIGIBLE) / eta for eta in np.geomspace(0.5 / sd, 60 / sd, 16)
        ]
        full = float(self.top.sum())
        return int(min(*bounds, full) / STEP) + int(self.table.shape[1]) + 2

    def mass(self, theta: float) -> F64:
        """Return the tilted probability of each bin of S."""
        bins = int(fft.next_fast_len(self.length(theta), real=True))
        spectrum = np.ones(bins // 2 + 1, dtype=np.complex128)
        weights = self._weights(theta)
        for first in range(0, len(weights), 64):
            spectrum *= np.prod(fft.rfft(weights[first : first + 64], bins, axis=1), axis=0)
        mass: F64 = np.maximum(fft.irfft(spectrum, bins), 0.0)
        return mass


def _solve_theta(tilted: _Tilted, *, target: float, start: float, most: float) -> float:
    """Return the tilt whose mean lies at `target` + 3 sd, or `most`, by bisection."""
    low, high = start, most
    for _ in range(40):
        middle = 0.5 * (low + high)
        mean, sd = tilted.mean_sd(middle)
        low, high = (middle, high) if mean < target + 3 * sd else (low, middle)
    return high


def _log_tail(mass: F64, theta: float, log_moment: float) -> F64:
    """Return log P(S >= bin) of the untilted law from the tilted mass of each bin."""
    x = STEP * np.arange(len(mass))
    with np.errstate(divide="ignore"):
        log_mass = np.log(mass) - theta * x
    return np.asarray(np.logaddexp.accumulate(log_mass[::-1])[::-1] + log_moment)


def analytic_null(table: F64, *, bits: int, s_max: int) -> NullTable:
    """Return the null of S, to the largest fixed-point sum `s_max`, of histograms (experiment, bin).

    Formula: P(S >= s) with S = sum_i X_i and X_i from row i (Eickhoff 2012, Human Brain Mapping 33:1).
    """
    tilted = _Tilted(table)
    body = _log_tail(tilted.mass(0.0), 0.0, 0.0)
    trusted = int(np.searchsorted(-body, -_SPLICE))
    # The body comes at no cost and is kept whole: a critical value may lie above every observed sum.
    wanted = max(int(min(1.25 * s_max / 2.0**bits, float(tilted.top.sum())) / STEP) + 3, trusted)
    log_p = np.full(wanted, -np.inf)
    log_p[:trusted] = body[:trusted]
    theta, filled = 0.0, trusted
    # exp(-600) is still a normal double; a lower bound leaves experiments of low tops untilted beside a high one.
    most = 600.0 / STEP / table.shape[1]
    while filled < wanted:
        theta = _solve_theta(tilted, target=filled * STEP, start=theta, most=most)
        mean, sd = tilted.mean_sd(theta)
        tail = _log_tail(tilted.mass(theta), theta, tilted.log_moment(theta))
        end = min(wanted, len(tail), max(int((mean + 3 * sd) / STEP), filled + 1))
        if theta >= 0.999 * most:
            end = min(wanted, len(tail))
        log_p[filled:end] = tail[filled:end]
        if end == filled:
            break
        filled = end
    finite = np.isfinite(log_p)
    log_p[~finite] = log_p[finite].min() if finite.any() else 0.0
    return NullTable(np.minimum(np.minimum.accumulate(log_p), 0.0), STEP, bits)
