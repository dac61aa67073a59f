"""Permutations of a moderator over subject groups: exact whole numbers in float64.

    T_b(v) = sum_i w_bi X_i(v)        w_b: the scores of permutation b, whole numbers of 16 bits
    |T_b(v)| <= |w_b| max_v sum_i X_i(v) < 2^53

Every product and every partial sum is then a whole number that float64 holds exactly, so that a matrix product gives
the same bits in any order, with any library and with or without fused multiply-add. `design` lowers the bits of the
scores until the bound holds.

With nuisance columns N and R = 1 - N N^+, the scores are the residuals R z. A permutation P of them is made orthogonal
to N again: T_b = (R P R z)' X, which is z' R P R X, the numerator of Freedman & Lane (1983) for residuals of X that are
permuted the other way round. Strata are columns of N of their own, over whose members alone scores are permuted.
tests/analyses/test_moderator.py has the plain version of all of this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import permutation_keys

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
SCORE_BITS = 15
"""Bits of the largest score, besides its sign."""
EXACT_BITS = 53
"""Whole numbers of so many bits are exact in float64."""
UNIT_BITS = 24
"""T / sd is compared between voxels in units of 2^-24. It is below sqrt(groups)."""
_VOXELS, _PERMUTATIONS = 4096, 256
"""Voxels and permutations that are computed at a time: 8 MB for each column of scores."""


@dataclass(frozen=True, eq=False)
class Design:
    """The scores that are permuted, and among which groups.

    `label` (group) is the row of `score` (label, column) that each group has; scores are whole numbers. `stratum`
    (group) is numbered from 0. `basis` (group, nuisance) are orthonormal columns, `again` whether permuted scores must
    be made orthogonal to them again, and `omnibus` whether the largest |T| / sd of all columns counts.
    """

    label: I64
    score: I64
    stratum: I64
    basis: F64
    again: bool
    omnibus: bool

    @property
    def sides(self) -> int:
        """The number of directions that are tested: both, or with `omnibus` the only one."""
        return 1 if self.omnibus else 2


@dataclass(frozen=True, eq=False)
class Voxels:
    """The X of each voxel v, in fixed point: the entries begin[v] to begin[v + 1] - 1.

    begin (voxel + 1), group and value (entry); inverse (column, voxel) is 1 / sd of T over permutations.
    """

    begin: I64
    group: npt.NDArray[np.int32]
    value: npt.NDArray[np.int32]
    inverse: F64


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    # math.fsum rounds once, whatever the order: the same bits on every machine.
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _residual(column: list[float], basis: Sequence[list[float]]) -> list[float]:
    # Twice is enough (Kahan, in Parlett 1980): once leaves what rounding left of a nearly dependent column.
    for _ in range(2):
        for known in basis:
            share = _dot(known, column)
            column = [x - share * b for x, b in zip(column, known, strict=True)]
    return column


def orthonormal(columns: F64) -> F64:
    """Return an orthonormal basis (group, nuisance) of columns (group, nuisance), dependent ones left out."""
    basis: list[list[float]] = []
    for column in columns.T.tolist():
        left = _residual(column, basis)
        length = math.sqrt(_dot(left, left))
        if length > 1e-9 * math.sqrt(_dot(column, column)):
            basis.append([x / length for x in left])
    return np.array(basis, dtype=np.float64).reshape(len(basis), len(columns)).T


def design(
    scores: F64, *, nuisance: F64, stratum: I64, largest: int, omnibus: bool
) -> tuple[Design, npt.NDArray[np.float64]]:
    """Return the design of scores (group, column), and the share of their variance that nuisance leaves (column).

    Parameters
    ----------
    scores
        numbers, one column or with `omnibus` several (group, column)
    nuisance
        columns whose linear effect is taken out of the scores (group, nuisance)
    stratum
        the stratum of each group, numbered from 0 (group)
    largest
        the largest sum of X over all groups of any voxel, in fixed point
    omnibus
        whether the largest |T| / sd of all columns counts
    """
    strata = (stratum[:, None] == np.arange(stratum.max(initial=0) + 1)).astype(np.float64)
    basis = orthonormal(np.concatenate([strata, nuisance], axis=1))
    within = orthonormal(strata)
    residuals = [_residual(column, basis.T.tolist()) for column in scores.T.tolist()]
    centred = [_residual(column, within.T.tolist()) for column in scores.T.tolist()]
    left = np.array([_dot(r, r) / max(_dot(c, c), 1e-300) for r, c in zip(residuals, centred, strict=True)])
    whole = np.array([_whole(r, largest=largest) for r in residuals], dtype=np.int64).T
    # The greatest scores have the first labels: those of a 0/1 column then fall to the groups with the smallest words,
    # as the first arm of a contrast does.
    unique, label = np.unique(-whole, axis=0, return_inverse=True)
    made = Design(label.reshape(-1).astype(np.int64), -unique, stratum, basis, nuisance.shape[1] > 0, omnibus)
    return made, left


def _whole(residual: list[float], *, largest: int) -> list[int]:
    """Return residuals as whole numbers of 16 bits, or fewer where their sums with X could pass 2^53."""
    most = max(map(abs, residual), default=0.0)
    if most == 0.0:
        return [0] * len(residual)
    # Orthogonal projections lengthen no vector, so that no permuted score is beyond the length; 1 for its rounding.
    length = math.sqrt(_dot(residual, residual)) / most
    bits = SCORE_BITS
    while bits > 1 and (length * ((1 << bits) - 1) + math.sqrt(len(residual)) + 1) * largest >= 1 << EXACT_BITS:
        bits -= 1
    return [round(x / most * ((1 << bits) - 1)) for x in residual]


def n_arrangements(label: I64, stratum: I64) -> int:
    """Return how many different arrangements labels (group) have within strata (group)."""
    return math.prod(_multinomial(np.bincount(label[stratum == s]).tolist()) for s in range(int(stratum.max()) + 1))


def _multinomial(counts: Sequence[int]) -> int:
    return reduce(lambda n, k: n // math.factorial(k), counts, math.factorial(sum(counts)))


def arrangements(design: Design, key: npt.NDArray[np.uint64], *, first: int, count: int, enumerate_all: bool) -> I64:
    """Return the label of each group (permutation, group), int64, in `count` permutations from number `first` on.

    Drawn: within each stratum the labels in ascending order fall to the groups in the order of the words of their own
    Philox streams, of which `key` (group) are the keys. Enumerated: all different arrangements in lexicographic order.
    """
    out = np.empty((count, len(design.label)), dtype=np.int64)
    members = [np.flatnonzero(design.stratum == s) for s in range(int(design.stratum.max()) + 1)]
    if enumerate_all:
        for row, number in zip(out, range(first, first + count), strict=True):
            for at in members:
                labels = np.sort(design.label[at]).tolist()
                number, own = divmod(number, _multinomial(np.bincount(labels).tolist()))
                row[at] = _arrangement(labels, own)
        return out
    words = np.empty((count, len(key)), dtype=np.uint64)
    permutation_keys(key, first, words)
    for at in members:
        order = np.argsort(words[:, at], axis=1, kind="stable")
        out[np.arange(count)[:, None], at[order]] = np.sort(design.label[at])
    return out


def _arrangement(labels: list[int], number: int) -> list[int]:
    """Return arrangement `number`, in lexicographic order, of sorted labels."""
    left = {label: labels.count(label) for label in dict.fromkeys(labels)}
    total, chosen = _multinomial(list(left.values())), []
    for remaining in range(len(labels), 0, -1):
        for label in left:
            # So many of the arrangements of what is left begin with this label.
            begin = total * left[label] // remaining
            if number < begin:
                chosen.append(label)
                left[label] -= 1
                total = begin
                break
            number -= begin
    return chosen


def weights(design: Design, labels: npt.NDArray[np.integer[Any]]) -> F64:
    """Return the whole-numbered scores w (permutation, column, group), float64, of labels (permutation, group)."""
    w: F64 = design.score[labels].astype(np.float64)
    if design.again:
        # Element by element, so that no library's order of sums decides a bit.
        fitted = np.zeros_like(w)
        for column in design.basis.T:
            share = np.zeros((len(w), w.shape[2]))
            for group, at in enumerate(column):
                share += at * w[:, group]
            for group, at in enumerate(column):
                fitted[:, group] += at * share
        w = np.rint(w - fitted)
    return np.ascontiguousarray(w.transpose(0, 2, 1))


def dense(voxels: Voxels, first: int, last: int, *, n_groups: int) -> F64:
    """Return X (group, voxel), float64, in fixed point, of the voxels from number `first` to before `last`."""
    begin = voxels.begin[first : last + 1]
    entries = slice(begin[0], begin[-1])
    at = np.repeat(np.arange(last - first), np.diff(begin))
    flat = voxels.group[entries].astype(np.int64) * (last - first) + at
    x = np.bincount(flat, weights=voxels.value[entries], minlength=n_groups * (last - first))
    # Without any entry bincount counts in integers.
    return np.asarray(x, dtype=np.float64).reshape(n_groups, last - first)


def parts(n_voxels: int) -> list[slice]:
    """Return the slices of voxels that are computed at a time."""
    return [slice(first, min(first + _VOXELS, n_voxels)) for first in range(0, n_voxels, _VOXELS)]


def batches(count: int) -> list[slice]:
    """Return the slices of permutations that are computed at a time."""
    return [slice(first, min(first + _PERMUTATIONS, count)) for first in range(0, count, _PERMUTATIONS)]


def inverse_deviations(design: Design, voxels: Voxels) -> F64:
    """Return 1 / sd of T over all permutations (column, voxel), float64; 0 where T never changes.

    sd^2 = sum over strata s of sum_{i in s} z_i^2 sum_{i in s} (R X)_i^2 / (n_s - 1), which without strata and nuisance
    is sum z^2 / (K - 1) * sum_i (X_i - mean)^2, the exact variance over permutations.
    """
    n_groups = len(design.label)
    out = np.zeros((design.score.shape[1], len(voxels.begin) - 1))
    z = design.score[design.label]
    for part in parts(out.shape[1]):
        x = dense(voxels, part.start, part.stop, n_groups=n_groups)
        shares = []
        for column in design.basis.T:
            share = np.zeros(x.shape[1])
            for group, at in enumerate(column):
                share += at * x[group]
            shares.append(share)
        squares = np.zeros((int(design.stratum.max()) + 1, x.shape[1]))
        for group, stratum in enumerate(design.stratum):
            left = x[group]
            for column, share in zip(design.basis.T, shares, strict=True):
                left = left - column[group] * share
            squares[stratum] += left * left
        for c in range(len(out)):
            variance = np.zeros(x.shape[1])
            for stratum, square in enumerate(squares):
                own = z[design.stratum == stratum, c]
                if len(own) > 1:
                    variance += int((own * own).sum()) / (len(own) - 1) * square
            # Where X is the same in all groups, rounding leaves about 1e-32 of its square.
            level = np.maximum((x * x).max(axis=0), 1.0) * max(int((z[:, c] ** 2).max()), 1)
            certain = variance > 1e-18 * level
            out[c, part][certain] = 1.0 / np.sqrt(variance[certain])
    return out


def statistics(design: Design, voxels: Voxels, w: F64, part: slice, x: F64) -> F64:
    """Return what is compared (permutation, side, voxel), whole numbers in float64: T and -T.

    With `omnibus`, the largest |T| / sd of all columns in units of 2^-UNIT_BITS. `w` is of `weights` and `x` of `dense`
    for the voxels of a part.
    """
    t: F64 = (w.reshape(-1, w.shape[2]) @ x).reshape(*w.shape[:2], x.shape[1])
    if design.omnibus:
        largest: F64 = (np.abs(t) * voxels.inverse[:, part]).max(axis=1, keepdims=True)
        return np.floor(largest * 2.0**UNIT_BITS)
    return np.concatenate([t, -t], axis=1)


def standardised(design: Design, voxels: Voxels, values: F64, part: slice) -> F64:
    """Return statistics (…, voxel) as T / sd in units of 2^-UNIT_BITS, rounded down: whole numbers in float64."""
    if design.omnibus:
        return values
    return np.asarray(np.floor(values * voxels.inverse[0, part] * 2.0**UNIT_BITS))


def walk(design: Design, voxels: Voxels, w: F64) -> Iterator[tuple[slice, slice, F64]]:
    """Yield a part of the voxels, a batch of permutations and their `statistics` until all are gone through."""
    for part in parts(len(voxels.begin) - 1):
        x = dense(voxels, part.start, part.stop, n_groups=w.shape[2])
        for batch in batches(len(w)):
            yield part, batch, statistics(design, voxels, w[batch], part, x)


def observed(design: Design, voxels: Voxels) -> I64:
    """Return the statistics (side, voxel), int64, of the labels as they are, by the arithmetic of permuted ones."""
    out = np.zeros((design.sides, len(voxels.begin) - 1), dtype=np.int64)
    for part, _, values in walk(design, voxels, weights(design, design.label[None])):
        out[:, part] = values[0]
    return out


def count_exceedances(design: Design, voxels: Voxels, w: F64, seen: I64) -> tuple[I64, I64]:
    """Return how often permutations reach what was observed, and the largest T / sd of each.

    exceed (side, voxel) counts T_b >= T, the statistics that were `seen` (side, voxel); the largest (permutation, side)
    is over voxels, in units of 2^-UNIT_BITS. Both are int64.
    """
    exceed = np.zeros_like(seen)
    largest = np.full((len(w), design.sides), -(2.0**EXACT_BITS))
    for part, batch, values in walk(design, voxels, w):
        exceed[:, part] += (values >= seen[:, part]).sum(axis=0)
        most = standardised(design, voxels, values, part).max(axis=2)
        np.maximum(largest[batch], most, out=largest[batch])
    return exceed, largest.astype(np.int64)
