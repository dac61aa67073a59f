"""The tables of an upper bound of S by three passes, proven to lie above every kernel before they are used.

    Gaussians G_b      one as wide as the widest kernel, one as the narrowest, perhaps one between
    profile g_b(d)     at distances 0, 1, 2, … along one axis, not negative, as small as possible such that
                         on points         g_b(d) >= G_b(d)
                         between points    w1 (g_b(d - 1) + g_b(d + 1)) + w3 (…) + w5 (…) >= G_b(d)
    share c_kb         not negative, as small as possible such that
                         sum over b of c_kb h_b(x) h_b(y) h_b(z) >= kernel k    at all distances (x, y, z)    (2)

h_b(d) is the smaller of the two left sides above. Wherever a voxel lies in its cell, the interpolation of the sum over
b of c_kb g_b g_b g_b at distance (x, y, z) is a sum of products of one of the two sides for each axis: at least the
left side of (2), as long as no h_b is negative. These linear programs are small; (2) and the signs are checked with the
very float32 that are used, offset by offset, and the tables are refused if anything fails.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.candidate_strips import CLASSES, Lattice
from ale_dask.numerics.kernels.convolved_strips import MARGIN, Convolution, Levels
from ale_dask.numerics.kernels.kernel_rows import Geometry
from ale_dask.numerics.kernels.lattice_lanes import LANES
from ale_dask.numerics.upper_bound import corner_sums, lattice_of, least_of_rows, octants_of, of_voxels

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
_THREE = 10_000
"""Foci from which on three Gaussians take less time than two."""
_STEEPEST = 8
"""How many times the mean of the corners around it a voxel may be: kernels of half a voxel are steeper."""
_HAIR = 1e-6
"""Above the rounding of float32 tables and below anything that lets a voxel more through."""


def bound_by_convolution(
    boxes: Sequence[I32], geometry: Geometry, *, threshold: int, foci: I64
) -> tuple[Lattice, Convolution, Levels] | None:
    """Return the lattice, the tables and the units of the passes for kernels (x, y, z); None without a proof.

    `foci` (kernel) is how many foci each has, and `threshold` the S in fixed point at which the bound is finest.
    """
    octants = octants_of(boxes)
    if octants is None:
        return None
    kernels = octants / threshold
    sigma = _sigmas(kernels)
    if sigma is None:
        return None
    bases = _bases(sigma, foci)
    axes = [_profiles(bases[:, axis], reach=kernels.shape[axis + 1] - 3) for axis in range(3)]
    if any(a is None for a in axes):
        return None
    profiles, weights = [a[0] for a in axes if a], np.array([a[1] for a in axes if a], dtype=np.float32)
    share = _shares(kernels, profiles, weights)
    if share is None or not lies_above(share, profiles, weights, kernels):
        return None
    return _tables(share, profiles, weights, kernels, geometry, threshold=threshold)


def _sigmas(kernels: F64) -> F64 | None:
    """Return the standard deviations (kernel, axis) in voxels of kernels (kernel, x, y, z), None if one has none."""
    out = np.empty((len(kernels), 3))
    for i, kernel in enumerate(kernels):
        for axis in range(3):
            along = np.moveaxis(kernel, axis, 0)[:, 0, 0]
            distance = np.count_nonzero(along) // 2
            if distance < 1 or not 0 < along[distance] < along[0]:
                return None
            out[i, axis] = distance / np.sqrt(2 * np.log(along[0] / along[distance]))
    return out


def _bases(sigma: F64, foci: I64) -> F64:
    """Return the standard deviations (base, axis) of Gaussians that enclose all kernels: one, two or three.

    A third one costs half as much again for the passes, and spares some of the exact sums.
    """
    order = np.argsort(-sigma.prod(axis=1), kind="stable")
    widest, narrowest = order[0], order[-1]
    if np.allclose(sigma[widest], sigma[narrowest], rtol=1e-3):
        return sigma[[widest]]
    if foci.sum() < _THREE:
        return sigma[[widest, narrowest]]
    # With s = sigma^-2, a Gaussian between those of a and b lies (s - a)(b - s) below their least combination.
    s = sigma[order].prod(axis=1) ** (-2 / 3)

    def excess(middle: int) -> float:
        above = np.where(s < s[middle], s[middle], s[-1])
        below = np.where(s < s[middle], s[0], s[middle])
        return float((foci[order] * (s - below) * (above - s)).sum())

    return sigma[order[[0, min(range(1, len(s) - 1), key=excess, default=0), -1]]]


def _profiles(sigma: F64, *, reach: int) -> tuple[F32, F32] | None:
    """Return the profiles (base, distance) along an axis and the weights (3) between points, None if there are none."""
    from scipy.optimize import linprog

    distance = np.arange(-reach - 6, reach + 7)

    def gaussian(s: float) -> F64:
        return np.where(np.abs(distance) <= reach, np.exp(-(distance**2) / (2 * s * s)), 0.0)

    middle = gaussian(float(np.sqrt(sigma[0] * sigma[-1])))
    padded = np.pad(middle, 6)
    pairs = np.stack([np.roll(padded, i) + np.roll(padded, -i) for i in (1, 3, 5)], axis=1)[6:-6]
    found = linprog([1, 1, 1], A_ub=-pairs, b_ub=-middle, bounds=(None, None))
    if found.status:
        return None
    weights = found.x.astype(np.float32)
    own, between = np.zeros((2, len(distance), reach + 1))
    for i, d in enumerate(distance.tolist()):
        for step, weight in ((0, 1.0), *((s * n, weights[n // 2]) for n in (1, 3, 5) for s in (1, -1))):
            if abs(d + step) <= reach:
                (between if step else own)[i, abs(d + step)] += weight
    profiles = []
    for s in sigma:
        # A hair above 0 beyond the Gaussian's end, so that rounding makes nothing negative.
        sides = np.r_[own, between]
        least = np.maximum(np.r_[gaussian(s), gaussian(s)], 1e-7 * sides.any(axis=1))
        found = linprog((own + between).sum(axis=0), A_ub=-sides, b_ub=-least, bounds=(0, None))
        if found.status:
            return None
        profiles.append(found.x * (1 + _HAIR))
    return np.array(profiles).astype(np.float32), weights


def least_of_profiles(profiles: F32, weights: F32, *, length: int) -> F64:
    """Return h (base, distance) for distances 0 … length - 1, whether on points or between them."""
    reach = profiles.shape[1] - 1
    padded = np.pad(profiles.astype(np.float64), [(0, 0), (0, length + 6)])
    distance = np.arange(length)
    between = np.zeros((len(profiles), length))
    for i, step in enumerate((1, 3, 5)):
        between += np.float64(weights[i]) * (padded[:, np.abs(distance - step)] + padded[:, distance + step])
    # Rounding of this sum in float64 must not make 0 of what should be 0 look negative.
    between[:, reach + 6 :] = 0
    return np.minimum(padded[:, :length], between)


def _product(share: F64, along: Sequence[F64]) -> F64:
    """Return the sum over bases of share (kernel, base) times one factor (base, distance) for each axis."""
    return np.asarray(np.einsum("kb,bx,by,bz->kxyz", share, *along, optimize=True))


def _factors(profiles: Sequence[F32], weights: F32, kernels: F64) -> list[F64]:
    return [least_of_profiles(p, w, length=n) for p, w, n in zip(profiles, weights, kernels.shape[1:], strict=True)]


def _shares(kernels: F64, profiles: Sequence[F32], weights: F32) -> F32 | None:
    """Return the least shares (kernel, base) that make (2) hold, None if there are none."""
    from scipy.optimize import linprog

    along = _factors(profiles, weights, kernels)
    bases = len(along[0])
    mass = np.prod([2 * h.sum(axis=1) - h[:, 0] for h in along], axis=0)
    cube = np.einsum("bx,by,bz->bxyz", *along).reshape(bases, -1)
    out = np.empty((len(kernels), bases))
    for i, kernel in enumerate(kernels.reshape(len(kernels), -1)):
        some = kernel > 0
        found = linprog(
            mass / mass.max(), A_ub=-cube[:, some].T / kernel.max(), b_ub=-kernel[some] / kernel.max(), bounds=(0, None)
        )
        if found.status:
            return None
        out[i] = found.x
    # The program's own tolerance: what is missing somewhere is added everywhere.
    with np.errstate(divide="ignore", invalid="ignore"):
        lacking = np.nanmax(kernels / _product(out, along), axis=(1, 2, 3), initial=1.0, where=kernels > 0)
    return (out * (lacking * (1 + _HAIR))[:, None]).astype(np.float32) if np.isfinite(lacking).all() else None


def lies_above(share: F32, profiles: Sequence[F32], weights: F32, kernels: F64) -> bool:
    """Return whether (2) holds for kernels (kernel, x, y, z), octants, and nothing that must not be negative is."""
    longer = max(kernels.shape[1:]) + 12
    along = [least_of_profiles(p, w, length=longer) for p, w in zip(profiles, weights, strict=True)]
    if (share < 0).any() or any((p < 0).any() for p in profiles) or any((h < 0).any() for h in along):
        return False
    sums = _product(share.astype(np.float64), _factors(profiles, weights, kernels))
    return bool((sums >= kernels * (1 + 1e-9)).all())


def _tables(
    share: F32, profiles: Sequence[F32], weights: F32, kernels: F64, geometry: Geometry, *, threshold: int
) -> tuple[Lattice, Convolution, Levels] | None:
    x, y, z = profiles
    bases, reach_z = len(share[0]), z.shape[1] - 1
    half = reach_z // 2
    if half + (reach_z + 1) // 2 + 1 > LANES:
        return None
    along_z = np.zeros((bases, 2, LANES), dtype=np.float32)
    for odd in (0, 1):
        distance = np.abs(2 * (np.arange(LANES) - half) - odd)
        within = distance <= reach_z
        along_z[:, odd, within] = z[:, distance[within]]
    along_y, along_x = (np.concatenate([p[:, :0:-1], p], axis=1) for p in (y, x))
    corners = _corner_shares(share, profiles, kernels)
    if corners.max(initial=0) <= 0 or (corners * _STEEPEST < [2 ** sum(odd) for odd in _ODD]).any():
        return None
    grid = lattice_of(geometry, reach=reach_z, margin=MARGIN)
    point_rows, sum_rows = _rows_read(grid, geometry, reach_x=x.shape[1] - 1)
    tables = Convolution(
        bases,
        half,
        x.shape[1] - 1,
        y.shape[1] - 1,
        share.reshape(-1),
        along_z.reshape(-1),
        np.ascontiguousarray(along_y).reshape(-1),
        np.ascontiguousarray(along_x.T).reshape(-1),
        np.ascontiguousarray(weights).reshape(-1),
        corners.astype(np.float32),
        # At least half of _STEEPEST: what a limit is lowered by is then more than the error of means, too.
        max(_STEEPEST / 2, float(np.prod([max(1.0, 2 * np.abs(w).sum()) for w in weights.astype(np.float64)]))),
        point_rows,
        sum_rows,
    )
    nothing = np.zeros(0, dtype=np.float32)
    return grid, tables, Levels(threshold, nothing, nothing)


def _rows_read(grid: Lattice, geometry: Geometry, *, reach_x: int) -> tuple[I64, I64]:
    """Return the first row and one past the last that interpolations read, of the lattice's planes and of voxel planes.

    A cell reads MARGIN points before its own and one more behind.
    """
    filled = grid.filled.reshape(grid.planes, grid.rows) != 0
    stored = grid.planes + 2 * MARGIN + 1
    low, high = np.full(stored, grid.rows), np.zeros(stored, dtype=np.int64)
    for plane in np.flatnonzero(filled.any(axis=1)).tolist():
        rows = np.flatnonzero(filled[plane])
        near = slice(plane, plane + 2 * MARGIN + 2)
        low[near], high[near] = np.minimum(low[near], rows[0]), np.maximum(high[near], rows[-1] + 2 * MARGIN + 2)
    sums = []
    for x in range(geometry.size // geometry.stride_x):
        into = np.abs(2 * (np.arange(stored) - MARGIN) - x) <= reach_x
        sums.append([low[into].min(initial=grid.rows), high[into].max(initial=0)])
    return np.stack([np.minimum(low, high), high], axis=1), np.array(sums, dtype=np.int64)


_ODD = tuple(itertools.product((0, 1), repeat=3))


def _corner_shares(share: F32, profiles: Sequence[F32], kernels: F64) -> F64:
    """Return the factor (class) that kernels times it do not lie above the sums over the corners of a voxel."""
    along = []
    for profile, n in zip(profiles, kernels.shape[1:], strict=True):
        along.append(np.pad(profile.astype(np.float64), [(0, 0), (0, n - profile.shape[1])]))
    points = _product(share.astype(np.float64), along)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = [
            np.nanmin(corner_sums(points, odd) / kernels, initial=np.inf, where=kernels > 0) for odd in _ODD[:CLASSES]
        ]
    return np.array(ratios) * (1 - _HAIR)


def levels_of_voxels(
    levels: Levels, tables: Convolution, threshold: I32, geometry: Geometry, grid: Lattice, *, cell: I64
) -> Levels:
    """Return the levels of passes where each voxel has a threshold of its own (voxel), at these cells (voxel)."""
    place, kind, row = of_voxels(geometry, grid, cell=cell)
    value = threshold / levels.threshold * (1 - _HAIR)
    of_cell = np.full(grid.planes * grid.rows * grid.pieces * CLASSES * LANES, np.inf, dtype=np.float32)
    of_cell[place] = value
    share = np.minimum(tables.corners.astype(np.float64) / [2 ** sum(odd) for odd in _ODD], 1.0)
    least = least_of_rows(value * share[kind] * (1 - _HAIR), row, grid, nothing=np.inf)
    return levels._replace(of_cell=of_cell, of_row=least.astype(np.float32))
