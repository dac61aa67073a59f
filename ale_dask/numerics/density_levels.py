"""The null of S in each voxel when foci are drawn from a density: a table of z by level of that density.

    level 0 (few foci near)   z: 0  0.4  1.1  1.9  …       a voxel between level 0 and 1, and S between two bins:
    level 1                   z: 0  0.3  0.9  1.6  …       z is linear in both, in integers
    …                            S ->

The law of S in a voxel depends on how much of the density w lies at each distance. One number per voxel orders these
laws so well that some 40 of them, interpolated, serve all voxels:

    g_v = log sum_f w(f) mean_i (exp(theta x_i(v - f)) - 1),

with theta the saddlepoint of p = e^-7 where w is average: near it log p is nearly linear in g. Against the law of the
voxel itself z errs by .013 (root mean square) at p = .001. The null's iterations and the observed map are read from one
table, so that such an error moves the cluster-forming value a little and no family-wise error.

Whatever decides a result is an integer here: z in steps of 1/4096, interpolated in integers.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy import fft, special

from ale_dask.numerics.ball_mass import Field, Shells

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Z_UNIT = 4096
"""Number of steps of a z of 1."""
LEVEL_BITS = 10
"""Number of bits of the place of a voxel between two levels."""
NEVER = 2**31 - 1
"""The threshold of a voxel that never passes."""
_LEVELS, _FEWEST, _SAMPLED = 43, 6, 100
_DEPTH = 7.0
_STEP = 2e-5
_RUNGS = (11.0, 128.0, 400.0)
"""-log p about which the laws are tilted: z of 4, 16 and 28."""
_SPLICES = (50.0, 242.0)
_AT_ONCE = 6
_REACH = 7.0
"""Standard deviations beyond a tilt's mean for which its tail is right to 1e-5."""
_CLEAR, _NEWTON_STEPS = 1e-9, 16


class Law(NamedTuple):
    """The law of X_i in a voxel of each level: the values x (value) with the probabilities mass (level, value), else 0.

    `experiments` is the number of experiments that have this law.
    """

    x: F64
    mass: F64
    experiments: int


class LevelTable(NamedTuple):
    """z in steps (level, bin), int32, at S = bin << shift, and the place between levels (voxel), int32,."""

    z: I32
    shift: int
    position: I32


class Experiments(NamedTuple):
    """The number of the kernel (experiment) and the number of foci (experiment) of each experiment.

    With `additive` an experiment's foci add up, so that each focus is like an experiment of its own.
    """

    kernel: I64
    n_foci: I64
    additive: bool


def laws(q: F64, value: F64, experiments: Experiments) -> list[Law]:
    """Return the distinct laws of X_i of experiments, where a focus lies within each distance with the probability q.

    `q` is (level, shell), `value` -log1p(-K) of each kernel at each distance (kernel, shell).
    """
    kernel, n_foci = experiments.kernel, experiments.n_foci
    if experiments.additive:
        kernel, n_foci = np.repeat(kernel, n_foci), np.ones(int(n_foci.sum()), dtype=np.int64)
    pairs, count = np.unique(np.stack([kernel, n_foci], axis=1), axis=0, return_counts=True)
    distinct, of_kernel = [], dict[int, tuple[F64, F64]]()
    for (k, n), c in zip(pairs.tolist(), count.tolist(), strict=True):
        if k not in of_kernel:
            inside = value[k] > 0
            of_kernel[k] = value[k][inside], np.log1p(-np.minimum(q[:, inside], 1 - 1e-12))
        x, log_outside = of_kernel[k]
        # No focus within a distance: (1 - q)^n.
        none = np.exp(n * log_outside)
        distinct.append(Law(x, -np.diff(none, axis=1, prepend=1.0), c))
    return distinct


def _moments(of: list[Law], theta: F64) -> tuple[F64, F64, F64]:
    """Return K, K' and K'' (level), the cumulant function of S and its derivatives, at theta (level)."""
    k0, k1, k2 = np.zeros((3, len(theta)))
    for x, mass, count in of:
        weighed = np.exp(theta[:, None] * x) * mass
        total = 1.0 - mass.sum(axis=1) + weighed.sum(axis=1)
        first, second = (weighed @ x) / total, (weighed @ x**2) / total
        k0 += count * np.log(total)
        k1 += count * first
        k2 += count * (second - first**2)
    return k0, k1, k2


def saddlepoint(of: list[Law], depth: float, levels: int) -> F64:
    """Return theta (level) with theta K' - K = `depth`, where p is about exp(-depth), or the largest theta.

    The result is that of 40 halvings, each of which asks on which side of the root the middle lies. Newton's method
    finds the root first, and `_moments` are worked out only for a middle that lies too near to it.
    """
    # exp(theta x) must stay a normal double.
    top = 600.0 / max(law.x.max() for law in of)
    low, high = np.zeros(levels), np.full(levels, top)
    root, clear = _root(of, depth, high)
    for _ in range(40):
        middle = 0.5 * (low + high)
        up = middle < root
        if (np.abs(middle - root) <= clear).any():
            k0, k1, _ = _moments(of, middle)
            up = middle * k1 - k0 < depth
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    return np.asarray(0.5 * (low + high))


@np.errstate(divide="ignore", invalid="ignore", over="ignore")
def _root(of: list[Law], depth: float, top: F64) -> tuple[F64, F64]:
    """Return theta (level) with theta K' - K = `depth`, and the distance from it (level) from which sides are certain.

    The theta is infinite where `top` (level) is too small. theta K' - K never falls, its slope is theta K'', and its
    rounding error stays below 1e-12: a thousand times that decides. The logarithm is nearly straight for large theta.
    Where no root is found, no side is certain.
    """
    groups = _by_kernel(of)
    k0, k1, _ = _moments_by_kernel(groups, top)
    beyond = top * k1 - k0 < depth - _CLEAR
    low, high = np.zeros(len(top)), top.copy()
    theta = np.minimum(np.sqrt(2 * depth / _moments_by_kernel(groups, low)[2]), 0.5 * top)
    for _ in range(_NEWTON_STEPS):
        k0, k1, k2 = _moments_by_kernel(groups, theta)
        height, slope = np.maximum(theta * k1 - k0, np.finfo(np.float64).tiny), theta * k2
        low, high = np.where(height < depth, theta, low), np.where(height < depth, high, theta)
        found = np.abs(height - depth) < 0.01 * _CLEAR
        if (found | beyond).all():
            break
        following = theta - np.log(height / depth) * height / slope
        inside = (following > low) & (following < high)
        theta = np.where(found, theta, np.where(inside, following, 0.5 * (low + high)))
    clear = np.where(found, _CLEAR / slope, np.inf)
    return np.where(beyond, np.inf, np.where(found, theta, 0.0)), np.where(beyond, 0.0, clear)


def _by_kernel(of: list[Law]) -> list[tuple[F64, F64, F64]]:
    """Return x (value), mass (law, level, value) and the number of experiments (law) of the laws of each kernel."""
    kernels: dict[int, list[Law]] = {}
    for law in of:
        kernels.setdefault(id(law.x), []).append(law)
    return [
        (some[0].x, np.stack([law.mass for law in some]), np.array([law.experiments for law in some], dtype=np.float64))
        for some in kernels.values()
    ]


def _moments_by_kernel(groups: list[tuple[F64, F64, F64]], theta: F64) -> tuple[F64, F64, F64]:
    """Return what `_moments` does but for rounding, several times as fast where many laws share a kernel."""
    k0, k1, k2 = np.zeros((3, len(theta)))
    for x, mass, count in groups:
        weight = np.exp(theta[:, None] * x)
        moment = np.stack([weight - 1, weight * x, weight * x**2], axis=2)
        # (level, law, value) @ (level, value, moment)
        grown, first, second = np.moveaxis(mass.transpose(1, 0, 2) @ moment, 2, 0)
        total = 1.0 + grown
        first, second = first / total, second / total
        k0 += np.log(total) @ count
        k1 += first @ count
        k2 += (second - first**2) @ count
    return k0, k1, k2


def _tilted_tail(of: list[Law], theta: F64) -> tuple[F64, F64]:
    """Return log P(S >= (bin - 1/2) step) (level, bin) by laws tilted by theta (level), and its reach in S (level)."""
    # Levels of like density have laws of like width: six at a time, whose spectra stay in the second cache.
    tails, reaches = [], []
    for first in range(0, len(theta), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        tail, reach = _tilted_some([Law(x, mass[part], count) for x, mass, count in of], theta[part])
        tails.append(tail)
        reaches.append(reach)
    width = max(tail.shape[1] for tail in tails)
    return np.concatenate([_widened(tail, width) for tail in tails]), np.concatenate(reaches)


def _widened(tail: F64, width: int) -> F64:
    return np.pad(tail, ((0, 0), (0, width - tail.shape[1])), mode="edge")


def _tilted_some(of: list[Law], theta: F64) -> tuple[F64, F64]:
    k0, mean, variance = _moments(of, theta)
    sd = np.sqrt(np.maximum(variance, 0.0))
    top = float((mean + 12 * sd).max()) + max(float(law.x.max()) for law in of)
    bins = fft.next_fast_len(int(top / _STEP) + 8, real=True)
    spectrum = np.ones((len(theta), bins // 2 + 1), dtype=np.complex128)
    widest = max(law.x.max() for law in of)
    tilt = np.exp(theta[:, None] * _STEP * np.arange(int(widest / _STEP) + 2))
    splits: dict[int, F64] = {}
    for x, mass, count in of:
        if id(x) not in splits:
            splits[id(x)] = _split(x)
        row = mass @ splits[id(x)]
        row[:, 0] += 1 - mass.sum(axis=1)
        row *= tilt[:, : row.shape[1]]
        row /= row.sum(axis=1, keepdims=True)
        _multiply(spectrum, fft.rfft(row, bins, axis=1), count)
    tilted = np.maximum(fft.irfft(spectrum, bins, axis=1), 0.0)
    with np.errstate(divide="ignore"):
        log_mass = np.log(tilted) - theta[:, None] * _STEP * np.arange(bins) + k0[:, None]
    tail = np.logaddexp.accumulate(log_mass[:, ::-1], axis=1)[:, ::-1]
    tail = np.minimum(tail, 0.0)
    reach = np.minimum(mean + _REACH * sd, top)
    # Beyond its reach the tail is rounding noise.
    last = np.minimum((reach / _STEP).astype(np.int64), bins - 1)
    return np.where(np.arange(bins) <= last[:, None], tail, tail[np.arange(len(last)), last][:, None]), reach


def _split(x: F64) -> F64:
    """Return the shares (value, bin) of values x in the two bins next to each of them, so that the mean stays."""
    at = x / _STEP
    low = at.astype(np.int64)
    out = np.zeros((len(x), int(low.max()) + 2))
    out[np.arange(len(x)), low] = 1 - (at - low)
    out[np.arange(len(x)), low + 1] += at - low
    return out


def _multiply(spectrum: npt.NDArray[np.complex128], factor: npt.NDArray[np.complex128], count: int) -> None:
    """Multiply a spectrum by a factor `count` times, by squaring: a complex power takes ten times as long."""
    while count:
        if count & 1:
            spectrum *= factor
        count >>= 1
        if count:
            factor = factor * factor


def _log_tails(of: list[Law], *, wanted: F64) -> F64:
    """Return log P(S >= (bin - 1/2) step) (level, bin), right at least up to the S `wanted` (level)."""
    tail, reach = _tilted_tail(of, saddlepoint(of, _RUNGS[0], len(wanted)))
    for splice, depth in zip(_SPLICES, _RUNGS[1:], strict=True):
        short = np.flatnonzero(reach < wanted)
        if not short.size:
            break
        part = [Law(x, mass[short], count) for x, mass, count in of]
        further, beyond = _tilted_tail(part, saddlepoint(part, depth, len(short)))
        width = max(tail.shape[1], further.shape[1])
        tail, further = _widened(tail, width), _widened(further, width)
        right = (tail[short] > -splice) & (np.arange(width) * _STEP <= reach[short, None])
        tail[short] = np.where(right, tail[short], further)
        reach[short] = beyond
    return np.asarray(np.minimum.accumulate(tail, axis=1))


def level_table(
    field: Field,
    around: Shells,
    experiments: Experiments,
    *,
    voxel_ijk: npt.NDArray[np.integer],
    s: I64,
    bits: int,
) -> LevelTable:
    """Return the table of z by level and S, and the place of each voxel between levels.

    Parameters
    ----------
    field
        the density w of foci on the mask
    around
        the distances, and the value of each kernel there in fixed point
    voxel_ijk
        the mask's voxels (voxel, axis), whose observed sums in fixed point are `s` (voxel): the table reaches them
    """
    value = around.value / 2.0**bits

    def of(q: F64) -> list[Law]:
        return laws(q, value, experiments)

    theta = float(saddlepoint(of(field.mean_mass(around)[None]), _DEPTH, 1)[0])
    share = np.bincount(experiments.kernel, experiments.n_foci, len(value)) / experiments.n_foci.sum()
    g = np.log(field.convolved(around, share @ np.expm1(theta * value)))
    at, members = _levels(g)
    q = np.exp([np.log(np.maximum(field.mass(around, voxel_ijk[m]), 1e-12)).mean(axis=0) for m in members])
    place = np.interp(g, at, np.arange(len(at)))
    position = np.rint(place * 2**LEVEL_BITS).astype(np.int32)
    wanted = np.zeros(len(at) + 1)
    for above in range(2):
        np.maximum.at(wanted, (position >> LEVEL_BITS) + above, s / 2.0**bits)
    tail = _log_tails(of(q), wanted=wanted[: len(at)])
    if len(at) == 1:
        tail = np.repeat(tail, 2, axis=0)
    shift = max(0, int(np.floor(np.log2(_STEP * 2.0**bits))))
    return LevelTable(_z_steps(tail, bits=bits, shift=shift), shift, position)


def _levels(g: F64) -> tuple[F64, list[I64]]:
    """Return the mean g of each level (level), ascending, and some of its voxels, spread over it."""
    order = np.argsort(g, kind="stable")
    ordered = g[order]
    targets = np.linspace(ordered[0], ordered[-1], _LEVELS)
    half = 0.5 * (targets[1] - targets[0])
    at, members = list[float](), list[I64]()
    for target in targets:
        first, end = np.searchsorted(ordered, (target - half, target + half))
        # Where few voxels have such a density, the nearest ones: the least and the largest are levels of their own.
        middle = int(np.searchsorted(ordered, target))
        first = max(0, min(int(first), middle - _FEWEST // 2))
        end = min(len(g), max(int(end), first + _FEWEST))
        first = max(0, min(first, end - _FEWEST))
        sampled = order[first + np.unique(np.linspace(0, end - first - 1, _SAMPLED).astype(np.int64))]
        mean = float(g[sampled].mean())
        if not at or mean > at[-1] + 1e-9:
            at.append(mean)
            members.append(sampled)
    return np.array(at), members


def _z_steps(tail: F64, *, bits: int, shift: int) -> I32:
    """Return z in steps (level, bin), int32, at S = bin << shift, of log tails (level, bin) in steps of S of 2e-5."""
    bins = int((tail.shape[1] - 1) * _STEP * 2.0**bits) >> shift
    at = np.arange(bins + 1) * (2.0**shift / (2.0**bits * _STEP)) + 0.5
    log_p = np.stack([np.interp(at, np.arange(len(row)), row) for row in tail])
    log_p[:, 0] = 0.0
    z = -special.ndtri_exp(np.minimum(log_p, -(2.0**-53)))
    # Beyond the S that a level has to reach its tail may vanish (p < e^-224), and no integer holds an infinite z.
    z[np.isinf(z)] = -np.inf
    return np.asarray(np.maximum.accumulate(np.rint(z * Z_UNIT), axis=1).astype(np.int32))


@numba.njit(cache=True, nogil=True)
def z_of(s, position, z, shift):  # type: ignore[no-untyped-def]
    """Return z in steps, int64, of the sum `s` in a voxel at `position` between levels: linear in both, in integers.

    `z` (level, bin), int32, and `shift` are of a `LevelTable`; s is in fixed point.
    """
    level = min(np.int64(position) >> LEVEL_BITS, z.shape[0] - 2)
    over = np.int64(position) - (level << LEVEL_BITS)
    whole = np.int64(1) << shift
    first = min(np.int64(s) >> shift, z.shape[1] - 2)
    part = min(np.int64(s) - (first << shift), whole)
    low = z[level, first] * (whole - part) + z[level, first + 1] * part
    high = z[level + 1, first] * (whole - part) + z[level + 1, first + 1] * part
    return (low * ((1 << LEVEL_BITS) - over) + high * over) >> (LEVEL_BITS + shift)


@numba.njit(cache=True, nogil=True)
def _z_map(s, position, z, shift, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (voxel), int64, with `z_of` of s (voxel), int64."""
    for v in range(s.shape[0]):
        out[v] = z_of(s[v], position[v], z, shift)


@numba.njit(cache=True, nogil=True)
def _critical(least, position, z, shift, first, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (voxel), int32, with the smallest S > 0 with z_of(S) >= least, or NEVER.

    first (level) is the number of the first bin whose z is at least `least`. Between levels z is too small before the
    earlier of two such bins, and large enough from the later one on; within a bin it is a straight line in integers.
    """
    bins, whole = z.shape[1], np.int64(1) << shift
    most = min(np.int64(bins - 1) << shift, np.int64(NEVER))
    for v in range(position.shape[0]):
        if z_of(most, position[v], z, shift) < least:
            out[v] = NEVER
            continue
        level = min(np.int64(position[v]) >> LEVEL_BITS, z.shape[0] - 2)
        over = np.int64(position[v]) - (level << LEVEL_BITS)
        under = (np.int64(1) << LEVEL_BITS) - over
        wanted = np.int64(least) << LEVEL_BITS
        low = max(np.int64(0), min(first[level], first[level + 1]) - 1)
        high = min(np.int64(bins - 1), max(first[level], first[level + 1]))
        while high - low > 1:
            middle = (low + high) >> 1
            if z[level, middle] * under + z[level + 1, middle] * over >= wanted:
                high = middle
            else:
                low = middle
        before = z[level, low] * under + z[level + 1, low] * over
        rise = z[level, low + 1] * under + z[level + 1, low + 1] * over - before
        # The smallest part of the bin with before * whole + rise * part >= wanted * whole.
        part = -(-((wanted - before) << shift) // rise) if wanted > before else np.int64(0)
        out[v] = min(max(np.int64(1), (low << shift) + min(part, whole)), most)


def z_map(s: I64, table: LevelTable) -> I64:
    """Return z in steps of 1/4096 (voxel), int64, of fixed-point sums (voxel), int64."""
    out = np.empty(len(s), dtype=np.int64)
    _z_map(s, table.position, table.z, table.shift, out)
    return out


def least_z(p: float) -> int:
    """Return the smallest z, in steps of 1/4096, whose p is at most `p`."""
    return int(np.ceil(-special.ndtri(p) * Z_UNIT))


def least_sums(table: LevelTable, *, least: int) -> I32:
    """Return the smallest S > 0 (voxel), int32, in fixed point, whose z in steps is at least `least`."""
    out = np.empty(len(table.position), dtype=np.int32)
    first = np.array([np.searchsorted(row, least) for row in table.z], dtype=np.int64)
    _critical(least, table.position, table.z, table.shift, first, out)
    return out


def critical_map(table: LevelTable, *, p: float, above: int) -> I32:
    """Return the smallest S that passes in each voxel (voxel), int32: its p is at most `p`, and it is above `above`."""
    return np.maximum(least_sums(table, least=least_z(p)), min(above + 1, NEVER)).astype(np.int32)
