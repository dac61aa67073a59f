"""Cluster-forming values of a sample to which experiments are added step by step, at one transform for each of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import fft

from ale_dask.numerics.null import STEP, NullTable, analytic_null

F64 = npt.NDArray[np.float64]
_SMALL = 1e-7
"""A p below which the null without tilts, right to 1e-16, is inexact: each step then has its whole analytic null."""
_NEGLIGIBLE = -math.log(1e-18)


def _longest(laws: Sequence[F64]) -> int:
    """Return the number of bins beyond which the sum of all laws holds less than 1e-18 (Bernstein's inequality)."""
    x = STEP * np.arange(max(map(len, laws)))
    mean = np.array([law @ x[: len(law)] for law in laws])
    square = np.array([law @ x[: len(law)] ** 2 for law in laws])
    variance = float((square - mean**2).sum())
    widest = float(x[-1])
    # exp(-t^2 / 2 (variance + widest t / 3)) = 1e-18, solved for t.
    half = _NEGLIGIBLE * widest / 3
    beyond = half + math.sqrt(half * half + 2 * _NEGLIGIBLE * variance)
    return min(math.ceil((float(mean.sum()) + beyond) / STEP), sum(len(law) - 1 for law in laws)) + 2


def critical_values(
    laws: Sequence[F64], added: Sequence[F64], *, number: npt.NDArray[np.int64], p: float, bits: int
) -> npt.NDArray[np.int64]:
    """Return the smallest S whose analytic p is below `p` (step), int64, with the first number (step) of `added`.

    `number` begins with 0 and rises to the number of `added`. `laws` and `added` are the histograms (bin) of
    experiments; each value is `NullTable.critical` of `analytic_null`.
    """
    if p < _SMALL:
        whole = [*laws, *added]
        top = math.ceil(sum(len(law) for law in whole) * STEP * 2.0**bits)
        s_max = min(top, 2**31 - 1)
        nulls = (analytic_null(whole[: len(laws) + n], bits=bits, s_max=s_max) for n in number)
        return np.array([null.critical(p) for null in nulls], dtype=np.int64)
    bins = fft.next_fast_len(_longest([*laws, *added]), real=True)
    spectrum = np.ones(bins // 2 + 1, dtype=np.complex128)
    for law in laws:
        spectrum *= fft.rfft(law, bins)
    out = [_critical(spectrum, bins, p=p, bits=bits)]
    for first, last in itertools.pairwise(number):
        for law in added[first:last]:
            spectrum *= fft.rfft(law, bins)
        out.append(_critical(spectrum, bins, p=p, bits=bits))
    return np.array(out, dtype=np.int64)


def _critical(spectrum: npt.NDArray[np.complex128], bins: int, *, p: float, bits: int) -> int:
    """Return the smallest S whose p is below `p`, from the spectrum of its law of so many bins."""
    mass = np.maximum(fft.irfft(spectrum, bins), 0.0)
    tail = np.cumsum(mass[::-1])[::-1]
    # p halves within fewer than 1,000 bins: the crossing and its neighbours are all that a search needs.
    first = int(np.searchsorted(-tail, -p, side="right"))
    begin, end = max(0, first - 2), min(bins, first + 3)
    table = NullTable(np.minimum(np.log(np.maximum(tail[begin:end], 1e-300)), 0.0), STEP, bits)
    unit = 2.0**bits * STEP
    # S = (bin - 1/2) unit, read from a table that begins at another bin.
    low, high = math.floor((first - 1.5) * unit) - 1, math.ceil((first + 0.5) * unit) + 1
    target, shift = math.log(p), begin * unit

    def passes(s: int) -> bool:
        return s > 0 and float(table.log_p_of(s - shift)) < target

    low = max(low, 0)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high
