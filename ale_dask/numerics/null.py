r"""The analytic null of S in one voxel (Eickhoff 2012): independent experiments, v uniform in the mask.

P(S >= s) is the tail of the convolution of K histograms, done by FFT. Each value is split over its two neighbouring
bins so that its mean is kept: with bins of 1e-5 the relative error of p at 1e-6 is 3e-4, where the nearest bin gives
10-60 times that. Rounding noise of an FFT, about 1e-16 of its largest term, hides tails below p = 1e-9; there the
histograms are tilted by exp(theta x), which moves their bulk into the tail, and a ladder of such tilts is joined to the
body.

    laws   x x x x x x x x   x x x x x x x x   …       64 histograms, short transforms
           \______ 8 _____/  \______ 8 _____/
                  x                x            …      8 laws, longer ones
                  \________ 8 _____/                   …

Each transform is only as long as its own sum's law is wide, a fiftieth of the whole for the first eight of 14,000:
below 0.1 ms each, where transforms of the whole length took 40.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft, special

F64 = npt.NDArray[np.float64]
STEP = 1e-5
_SPLICE = math.log(1e-8)
_NEGLIGIBLE = math.log(1e-18)
_FOLD = 8
"""Laws convolved at once: two or four take more transforms, sixteen longer ones than their tails need."""
_REACH = 4.0
"""Standard deviations for which a tilt is used on both sides of its mean, where it is exp(-8) = 3e-4 of its peak."""
_BLOCK = 128
"""Experiments in one matrix, which is as wide as its widest row: one experiment with 2,000 additive foci does not
widen 14,000 others."""


@dataclass(frozen=True, eq=False)
class NullTable:
    """log P(S >= s), natural logarithm (bin), at s = (bin - 1/2) * step."""

    log_p: F64
    step: float
    bits: int

    def log_p_of(self, s: npt.ArrayLike) -> F64:
        """Return log p (voxel), float64, of fixed-point sums (voxel), log-linear between bins."""
        last = len(self.log_p) - 1
        at = np.clip(np.asarray(s, dtype=np.float64) / (2.0**self.bits * self.step) + 0.5, 0, last)
        # Bins are evenly spaced: np.interp would make their positions, and search among them, for each call.
        below = at.astype(np.int64)
        start = self.log_p[below]
        log_p: F64 = (self.log_p[np.minimum(below + 1, last)] - start) * (at - below) + start
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
    # p = 1, where no focus reaches, has z = -inf; the largest double below 1 keeps maps finite (z = -8.2).
    z: F64 = -special.ndtri_exp(np.minimum(np.asarray(log_p, dtype=np.float64), -(2.0**-53)))
    return z


@numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
def _split(value, width, weight) -> None:  # type: ignore[no-untyped-def]
    """Add the weights of values (entry), int32, to weight[2 * bin], of the bin below, and weight[2 * bin + 1], above.

    They take turns in memory so that both that a value adds to lie in one cache line.
    """
    for i in range(np.uint64(value.size)):
        x = value[i] / width
        low = np.int64(x)
        below = np.uint64(2 * low)
        weight[below] += 1.0 - (x - low)
        weight[below + np.uint64(3)] += x - low


def histogram(value: npt.NDArray[np.int32], *, n_voxels: int, bits: int) -> F64:
    """Return P(X_i = bin * STEP) (bin), float64, from the fixed-point row (entry) of one experiment."""
    width = 2.0**bits * STEP
    weight = np.zeros(2 * (int(value.max(initial=0) / width) + 2))
    _split(value, width, weight)
    weight[0] += n_voxels - value.size
    return np.asarray((weight[::2] + weight[1::2]) / n_voxels)


class _Laws:
    """The laws of all X_i in blocks (experiment, bin) of like width, narrow ones first, and their tilts.

    Tilts end where exp(theta x) would leave the normal doubles, which it does not below theta x = 700.
    """

    def __init__(self, histograms: Iterable[F64]) -> None:
        rows = sorted((h[: np.flatnonzero(h)[-1] + 1] for h in histograms), key=len)
        self.top = np.array([len(row) - 1 for row in rows])
        self.x = STEP * np.arange(len(rows[-1]))
        self.largest_theta = 600.0 / (STEP * len(rows[-1]))
        self.blocks = [_padded(rows[first : first + _BLOCK]) for first in range(0, len(rows), _BLOCK)]

    def log_moments(self, thetas: npt.ArrayLike) -> F64:
        """Return log E exp(theta X_i) (experiment, theta)."""
        weights = np.exp(self.x[:, None] * np.asarray(thetas))
        return np.asarray(np.log(np.concatenate([block @ weights[: block.shape[1]] for block in self.blocks])))

    def mean_sd(self, theta: float) -> tuple[float, float]:
        """Return the mean and standard deviation of S under the tilt."""
        weight = np.exp(theta * self.x)
        powers = np.stack([weight, weight * self.x, weight * self.x**2], axis=1)
        total, first, second = np.concatenate([block @ powers[: block.shape[1]] for block in self.blocks]).T
        mean = first / total
        return float(mean.sum()), math.sqrt(max(float((second / total - mean * mean).sum()), 1e-30))

    def mass(self, theta: float) -> F64:
        """Return the probability of each bin of S under the tilt, by convolving eight by eight."""
        _, sd = self.mean_sd(theta)
        # One experiment's tail needs a steeper bound than the sum's: sqrt(14,000) = 118 times as steep.
        steepest = 1.1 * self.largest_theta - theta
        etas = np.geomspace(min(0.5 / sd, steepest / 32), steepest, 32)
        here = self.log_moments([theta])
        bounds = self.log_moments(theta + etas) - here
        weight = np.exp(theta * self.x)
        tilted = (row for block in self.blocks for row in block * weight[: block.shape[1]])
        laws = [row[: top + 1] / row.sum() for row, top in zip(tilted, self.top, strict=True)]
        top = self.top
        while len(laws) > 1:
            starts = np.arange(0, len(laws), _FOLD)
            bounds, top = np.add.reduceat(bounds, starts), np.add.reduceat(top, starts)
            # Chernoff's bound: beyond `length` a law holds less than 1e-18, and as little is folded back.
            length = np.minimum(np.ceil(((bounds - _NEGLIGIBLE) / etas).min(axis=1) / STEP), top).astype(np.int64) + 1
            laws = _folded(laws, length)
        return np.asarray(np.maximum(laws[0], 0.0))


def _padded(rows: Sequence[F64]) -> F64:
    out = np.zeros((len(rows), max(map(len, rows))))
    for filled, row in zip(out, rows, strict=True):
        filled[: len(row)] = row
    return out


def _folded(laws: Sequence[F64], length: npt.NDArray[np.int64]) -> list[F64]:
    """Return the convolution of each eight laws, cut at `length` (eight)."""
    out: list[F64] = []
    # As many at once as fit 2^18 complex numbers, 4 MB: it is the spectra that take memory.
    at_once = max(1, 2**18 // (_FOLD * int(length.max())))
    for first in range(0, len(length), at_once):
        part = laws[_FOLD * first : _FOLD * (first + at_once)]
        part = [*part, *[np.ones(1)] * (-len(part) % _FOLD)]
        bins = fft.next_fast_len(int(length[first : first + at_once].max()), real=True)
        spectra = fft.rfft(_padded(part), bins).reshape(-1, _FOLD, bins // 2 + 1)
        mass = fft.irfft(spectra.prod(axis=1), bins)
        out += [row[:n] for row, n in zip(mass, length[first : first + at_once], strict=True)]
    return out


def _solve_theta(laws: _Laws, *, target: float, start: float) -> float:
    """Return the tilt whose mean lies at `target` + 4 sd, to a tenth of an sd, or the largest tilt if none does."""
    low, high = start, laws.largest_theta
    theta = start
    while high - low > 1e-3 * laws.largest_theta:
        mean, sd = laws.mean_sd(theta)
        gap = target + _REACH * sd - mean
        if abs(gap) < 0.1 * sd:
            return theta
        low, high = (theta, high) if gap > 0 else (low, theta)
        # Newton: the mean's derivative is the variance.
        newton = theta + gap / sd**2
        theta = newton if low < newton < high else 0.5 * (low + high)
    return high


def _log_tail(mass: F64, theta: float, log_moment: float) -> F64:
    """Return log P(S >= bin) of the untilted law from the tilted mass of each bin."""
    x = STEP * np.arange(len(mass))
    with np.errstate(divide="ignore"):
        log_mass = np.log(mass) - theta * x
    return np.asarray(np.logaddexp.accumulate(log_mass[::-1])[::-1] + log_moment)


def analytic_null(histograms: Iterable[F64], *, bits: int, s_max: int) -> NullTable:
    """Return the null of S, to the largest fixed-point sum `s_max`, of the `histogram` (bin) of each experiment.

    Formula: P(S >= s) with S = sum_i X_i and X_i from histogram i (Eickhoff 2012, Human Brain Mapping 33:1).
    """
    laws = _Laws(histograms)
    body = _log_tail(laws.mass(0.0), 0.0, 0.0)
    trusted = int(np.searchsorted(-body, -_SPLICE))
    # The body is kept whole: a critical value may lie above every observed sum.
    wanted = max(int(min(1.25 * s_max / (2.0**bits * STEP), float(laws.top.sum()))) + 3, trusted)
    log_p = np.full(wanted, -np.inf)
    log_p[:trusted] = body[:trusted]
    theta, filled = 0.0, trusted
    while filled < wanted:
        theta = _solve_theta(laws, target=filled * STEP, start=theta)
        mean, sd = laws.mean_sd(theta)
        tail = _log_tail(laws.mass(theta), theta, float(laws.log_moments([theta]).sum()))
        end = min(wanted, len(tail), max(int((mean + _REACH * sd) / STEP), filled + 1))
        if theta >= 0.999 * laws.largest_theta:
            end = min(wanted, len(tail))
        log_p[filled:end] = tail[filled:end]
        if end == filled:
            break
        filled = end
    finite = np.isfinite(log_p)
    log_p[~finite] = log_p[finite].min() if finite.any() else 0.0
    return NullTable(np.minimum(np.minimum.accumulate(log_p), 0.0), STEP, bits)
