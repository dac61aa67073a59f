"""Permutations of experiments between two arms (Eickhoff 2011), by integers.

With t the sum of S over both arms, which no relabelling changes, and s the first arm's part of it,

    ALE_A - ALE_B = exp(-(t - s)) - exp(-s)     increases strictly with s.

Whether a relabelling reaches the observed difference is therefore a comparison of two integers, ties included, for 64
relabellings at a time (`kernels.lanes`). Only the maximum over voxels needs an exponential, and only where a bound, a
straight line on each side of the curve, says that the maximum may rise. tests/numerics/test_contrast.py has the plain
version in numpy.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import lru_cache
from itertools import combinations, islice
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import permutation_keys
from ale_dask.numerics.kernels.lanes import (
    LANES,
    at_least,
    at_most,
    count_lanes,
    fill_members,
    has_lane,
    lane_sums,
    rising,
)

I64 = npt.NDArray[np.int64]
DIFFERENCE_BITS = 40
"""Differences are integers in units of 2^-40."""
_DIGIT = 10
_ENTRIES = 1 << _DIGIT


class Candidates(NamedTuple):
    """The X_i of each candidate voxel v, in fixed point: the entries begin[v] to begin[v + 1] - 1.

    begin (candidate + 1), experiment and value (entry); total and observed (candidate), the sum over both arms and over
    the first arm; component (candidate), the part of the map that a voxel belongs to, or -1.
    """

    begin: I64
    experiment: npt.NDArray[np.int32]
    value: npt.NDArray[np.int32]
    total: I64
    observed: I64
    component: I64


@lru_cache
def exponential_digits(bits: int) -> npt.NDArray[np.float64]:
    """Return exp(-d * 2^(10 k - bits)) (digit k, d), float64, correctly rounded.

    exp(-S) of a fixed-point S < 2^40 is the product over its four 10-bit digits: multiplications only, the
    same bits on every CPU. `decimal` rounds its exp correctly, unlike the C library's, and takes 50 ms.
    """
    with localcontext() as context:
        context.prec = 40
        digits = np.array(
            [
                [float((-Decimal(d) * Decimal(2) ** (_DIGIT * k - bits)).exp()) for d in range(_ENTRIES)]
                for k in range(4)
            ]
        )
    digits.flags.writeable = False
    return digits


def by_voxel(
    begin: I64,
    voxel: npt.NDArray[np.int32],
    value: npt.NDArray[np.int32],
    *,
    candidate: I64,
    n_voxels: int,
) -> tuple[I64, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return rows by candidate voxel: begin (candidate + 1), experiment and value (entry).

    The input is sparse by experiment: begin (experiment + 1), voxel and value (entry). `candidate` are the numbers of
    the candidate voxels (candidate) among the `n_voxels` of the mask.
    """
    slot = np.full(n_voxels, -1, dtype=np.int64)
    slot[candidate] = np.arange(len(candidate))
    experiment = np.repeat(np.arange(len(begin) - 1, dtype=np.int32), np.diff(begin))
    at = slot[voxel]
    keep = at >= 0
    at, experiment, value = at[keep], experiment[keep], value[keep]
    order = np.argsort(at, kind="stable")
    counts = np.bincount(at, minlength=len(candidate))
    return np.r_[0, np.cumsum(counts)].astype(np.int64), experiment[order], value[order]


def n_relabellings(n: int, k: int) -> int:
    """Return C(n, k), the number of ways to choose the first arm of k among n units."""
    return math.comb(n, k)


def relabellings(
    key: npt.NDArray[np.uint64],
    *,
    size: int,
    first: int,
    count: int,
    enumerate_all: bool,
    complement: bool = False,
    group: npt.NDArray[np.int32] | None = None,
) -> npt.NDArray[np.bool_]:
    """Return whether each experiment is in the first arm (relabelling, experiment), bool.

    Drawn: the `size` groups of experiments with the smallest words of their own Philox streams, of which `key` (group)
    are the keys. Enumerated: combinations number `first`, `first` + 1 … in lexicographic order. With `complement` those
    `size` groups are the second arm. `group` (experiment) is the position of each experiment's group in `key`; without
    it each experiment is a group.
    """
    chosen = _chosen(key, size=size, first=first, count=count, enumerate_all=enumerate_all)
    if complement:
        chosen = ~chosen
    return chosen if group is None else chosen[:, group]


def _chosen(
    key: npt.NDArray[np.uint64], *, size: int, first: int, count: int, enumerate_all: bool
) -> npt.NDArray[np.bool_]:
    chosen = np.zeros((count, len(key)), dtype=bool)
    if enumerate_all:
        for row, members in zip(chosen, islice(combinations(range(len(key)), size), first, first + count), strict=True):
            row[list(members)] = True
        return chosen
    words = np.empty((count, len(key)), dtype=np.uint64)
    permutation_keys(key, first, words)
    np.put_along_axis(chosen, np.argsort(words, axis=1, kind="stable")[:, :size], True, axis=1)
    return chosen


@numba.njit(cache=True, nogil=True, inline="always")
def _exp_of(s, digits):  # type: ignore[no-untyped-def]
    """Return exp(-S), float64, of a fixed-point S, int64, from `exponential_digits`."""
    last = np.int64(_ENTRIES - 1)
    return (
        digits[0, s & last]
        * digits[1, (s >> _DIGIT) & last]
        * digits[2, (s >> (2 * _DIGIT)) & last]
        * digits[3, s >> (3 * _DIGIT)]
    )


@numba.njit(cache=True, nogil=True)
def difference_of(s: int, total: int, digits: npt.NDArray[np.float64]) -> int:
    """Return ALE_A - ALE_B in units of 2^-40, int64, of the first arm's sum and both arms' total."""
    d = _exp_of(total - s, digits) - _exp_of(s, digits)
    # Odd, so that exchanging the arms changes the sign and nothing else.
    units: int = math.floor(abs(d) * 2.0**DIFFERENCE_BITS + 0.5)
    return units if d >= 0 else -units


@numba.njit(cache=True, nogil=True)
def difference_map(s: I64, total: I64, digits: npt.NDArray[np.float64], out: I64) -> None:
    """Fill out (voxel), int64, with `difference_of` of s and total (voxel), int64."""
    for v in range(s.shape[0]):
        out[v] = difference_of(s[v], total[v], digits)


@numba.njit(cache=True, nogil=True)
def _slopes(total, bits):  # type: ignore[no-untyped-def]
    """Return float32 slopes, in 2^-40 per unit of x = 2 s - total, between which ALE_A - ALE_B lies.

    With t the total, |x| (1 - t / 2) <= |ALE_A - ALE_B| = 2 exp(-t / 2) sinh(|x| / 2) <= |x| / (1 + t / 2), since
    sinh is convex, |x| <= t, and (1 - exp(-t)) / t <= 1 / (1 + t / 2). 2^-20 covers three roundings of 2^-24.
    """
    half = total * 0.5 / (1 << bits)
    unit = 2.0 ** (DIFFERENCE_BITS - bits)
    return np.float32(unit / (1.0 + half) * (1 + 2.0**-20)), np.float32(unit * max(0.0, 1.0 - half) * (1 - 2.0**-20))


@numba.njit(cache=True, nogil=True)
def _least(bounds):  # type: ignore[no-untyped-def]
    """Return the smallest |ALE_A - ALE_B|, float32, that may be an extreme of any lane, from bounds (2, lane)."""
    least = np.float32(np.inf)
    for lane in range(LANES):
        least = min(least, min(bounds[0, lane], -bounds[1, lane]))
    return least


@numba.njit(cache=True, nogil=True)
def count_exceedances(chosen, candidates, digits, bits, exceed, maxima) -> None:  # type: ignore[no-untyped-def]
    """Add to exceed (2, candidate) and raise maxima (relabelling, 2, component), int64, by relabellings.

    exceed[0] counts s >= observed (the first arm is greater), exceed[1] s <= observed; maxima holds the largest
    difference ALE_A - ALE_B, and ALE_B - ALE_A, over the voxels of each component, in units of 2^-40. Voxels of
    component -1 count but belong to no maximum. `chosen` is (relabelling, experiment), bool, `candidates` a
    `Candidates` whose values have `bits` bits, and `digits` of `exponential_digits`.
    """
    n, n_experiments = chosen.shape
    n_parts = maxima.shape[2]
    member = np.empty((n_experiments, LANES), dtype=np.int32)
    sums = np.empty(LANES, dtype=np.int32)
    bounds = np.empty((n_parts, 2, LANES), dtype=np.float32)
    least = np.empty(n_parts, dtype=np.float32)
    unit = 2.0 ** (DIFFERENCE_BITS - bits)
    promising = np.empty(candidates.observed.shape[0], dtype=np.int64)
    for first in range(0, n, LANES):
        lanes = fill_members(chosen, first, member)
        unused = LANES - lanes
        bounds[:, 0] = -np.inf
        bounds[:, 1] = np.inf
        least[:] = -np.inf
        n_promising = 0
        for v in range(candidates.observed.shape[0]):
            begin, end = candidates.begin[v], candidates.begin[v + 1]
            lane_sums(candidates.value, candidates.experiment, begin, end, member, sums)
            observed = candidates.observed[v]
            exceed[0, v] += count_lanes(at_least(sums, observed)) - unused * (sums[0] >= observed)
            exceed[1, v] += count_lanes(at_most(sums, observed)) - unused * (sums[0] <= observed)
            component = candidates.component[v]
            total = candidates.total[v]
            # |x| <= total: most voxels of a brain end here.
            if component >= 0 and total * unit >= least[component]:
                steep, flat = _slopes(total, bits)
                if rising(sums, total, steep, flat, bounds, component) != 0:
                    promising[n_promising] = v
                    if n_promising % 16 == 0:
                        least[component] = _least(bounds[component])
                    n_promising += 1
        # Now that the bounds are as narrow as they get, few differences are worth their exponentials.
        for v in promising[:n_promising]:
            component = candidates.component[v]
            total = candidates.total[v]
            if total * unit < least[component]:
                continue
            lane_sums(
                candidates.value, candidates.experiment, candidates.begin[v], candidates.begin[v + 1], member, sums
            )
            steep, flat = _slopes(total, bits)
            mask = rising(sums, total, steep, flat, bounds, component)
            for lane in range(lanes if mask != 0 else 0):
                if has_lane(mask, lane):
                    d = difference_of(np.int64(sums[lane]), total, digits)
                    b = first + lane
                    maxima[b, 0, component] = max(maxima[b, 0, component], d)
                    maxima[b, 1, component] = max(maxima[b, 1, component], -d)
