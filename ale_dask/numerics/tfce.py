r"""Threshold-free cluster enhancement (Smith & Nichols 2009, E = 1/2, H = 2), exact and in integers.

TFCE(v) = integral over h from 0 to z(v) of e_v(h)^(1/2) h^2 dh, e_v(h) the voxels of the face-connected component of {z
>= h} that holds v. z is put on a grid, z = l / 2^bits with an integer level l < 2^16; e_v is then constant between
levels, and in units of 1 / (3 * 2^(3 bits))

    TFCE(v) = sum over the nodes j of the component tree above v of floor(sqrt(e_j) * (l_j^3 - l_parent(j)^3)).

No table of floats, no choice of scale: cubes are below 2^48, so their differences are exact doubles; sqrt and * are
correctly rounded; the sum telescopes below sqrt(e) * l^3 < 2^63 for e < 2^30 voxels. Nodes belong to the map, not to
the way in which they were found, and no double is added to another, so neither order nor contraction to a fused
multiply-add changes a bit. Each node loses less than one unit, 3e-10 at 10 bits.

The null needs the maximum alone:

    level  9 |      a               each voxel points to its highest neighbour, and so to a local maximum: its basin
           7 |     /a\      b       (a or b); what lies above a level in one basin is connected
           5 |    /aaa\    /b\
           4 | __/aaaaa\__/bbb\_    the basins join where their highest common face lies, here at level 4

The component tree is then that of the basins, which are few and fit the first cache; the voxels, sorted by level, only
add to the sizes. All members of a component gain the same from each further level, so that a component carries the best
sum of its members and needs no map. The plain version is `tfce_map` (union-find over all voxels), itself held to
labelling at every level in tests/numerics/test_tfce.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.clusters import root
from ale_dask.numerics.kernels.kernel_rows import geometry
from ale_dask.numerics.null import NullTable, z_of_log_p

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
GRID_BITS = 10
"""Heights are multiples of 2^-10 = 0.001 for z below 64; the z of very large samples have fewer bits."""
_N_LEVELS = 1 << 16
_N_BINS = 1 << 20
_ROW = np.int64(0xFFFFFFFF)
_NUMBER_BITS = 23
"""Number of bits of a basin's number: no two local maxima touch, so that 2^24 voxels have at most 2^23 basins."""
_NUMBER = np.int64((1 << _NUMBER_BITS) - 1)


class Levels(NamedTuple):
    """The level of every S: level[min(S >> shift, last bin)] if S >= first, else 0; z = level / 2^bits."""

    level: npt.NDArray[np.uint16]
    shift: int
    first: int
    bits: int


class TfceMemory(NamedTuple):
    """Memory of one thread for `largest_tfce`; counts are zero before and after, `key` is 0 off the mask's columns.

    - key (cell): level << 32 | ~row, then level << 32 | basin, of a voxel with a level; 0 for other cells of a column
    - top (z): the highest key next to each cell of a column
    - cell, level, basin (row): of the voxels with a level, ordered by cell; number (row) of a basin's maximum
    - by_level (row): basins in the order of levels; border, border_by_level (border): level and both basins of a face
    - voxel_end, border_end (level): where each level ends in these
    - parent, size, last, best (basin): union-find, size in voxels, the level down to which TFCE is credited, best sum
    """

    key: I64
    top: I64
    cell: npt.NDArray[np.int32]
    level: npt.NDArray[np.int32]
    basin: npt.NDArray[np.int32]
    number: npt.NDArray[np.int32]
    by_level: npt.NDArray[np.int32]
    border: I64
    border_by_level: I64
    voxel_end: npt.NDArray[np.int32]
    border_end: npt.NDArray[np.int32]
    parent: npt.NDArray[np.int32]
    size: npt.NDArray[np.int32]
    last: npt.NDArray[np.int32]
    best: I64


def levels(table: NullTable) -> Levels:
    """Return the level, uint16, of each bin of S: z at the bin's middle, in steps of 2^-bits, floored at 0.

    Formula: level = floor(z 2^bits + 1/2). Bins are a sixteenth of the null's, or wider so that 2^20 reach its end:
    where z is steep, bins as wide as the null's moved TFCE by 0.3 % of its maximum (17 experiments). Made once, in the
    plan: z comes from the C library, whose last bits differ between machines.
    """
    top = max(1, math.ceil(len(table.log_p) * table.step * 2.0**table.bits))
    shift = max(0, math.floor(math.log2(table.step * 2.0**table.bits / 16)), (top // _N_BINS).bit_length())
    return levels_of_z(z_of_log_p(table.log_p_of(middles((top >> shift) + 1, shift=shift))), shift=shift)


def middles(n_bins: int, *, shift: int) -> F64:
    """Return the mean of the integers S of each bin (bin), float64; bin = S >> shift."""
    middle: F64 = np.arange(n_bins, dtype=np.float64) * 2.0**shift + (2.0**shift - 1) / 2
    return middle


def levels_of_z(z: F64, *, shift: int) -> Levels:
    """Return the levels of bins of S with these heights z (bin), float64; a height below an earlier one is raised."""
    z = np.maximum.accumulate(np.maximum(z, 0.0))
    bits = GRID_BITS
    while z[-1] * 2.0**bits >= _N_LEVELS - 1:
        bits -= 1
    level = np.floor(z * 2.0**bits + 0.5).astype(np.uint16)
    positive = np.flatnonzero(level)
    # S = 0 has p = 1 whatever the rest of its bin has.
    first = max(1, int(positive[0]) << shift) if len(positive) else 2**31
    return Levels(level, shift, first, bits)


def level_of(s: npt.ArrayLike, *, levels: Levels) -> I64:
    """Return the level (voxel), int64, 0 where z <= 0, of fixed-point sums S (voxel)."""
    s = np.asarray(s, dtype=np.int64)
    at = np.minimum(s >> levels.shift, len(levels.level) - 1)
    return np.where(s >= levels.first, levels.level[at], 0).astype(np.int64)


def tfce_of(units: npt.ArrayLike, *, levels: Levels) -> F64:
    """Return TFCE (voxel), float64, in voxels^(1/2) z^3, of its units: units / (3 * 2^(3 bits))."""
    return np.asarray(units, dtype=np.float64) / (3 * 2.0 ** (3 * levels.bits))


def unit_of(bits: int) -> float:
    """Return the TFCE of one unit of the integers that are compared, for heights in steps of 2^-bits."""
    return 1 / (3 * 8.0**bits)


def tfce_map(s: npt.ArrayLike, *, levels: Levels, volume: Bools) -> I64:
    """Return TFCE (voxel), int64, in units of 1 / (3 * 2^(3 bits)), of fixed-point sums S (voxel) in a mask (x, y, z).

    Formula: sum over the component tree's nodes above a voxel of floor(sqrt(e_j) (l_j^3 - l_parent(j)^3)), e in
    voxels that share faces, 0 where z <= 0 (Smith & Nichols 2009, NeuroImage 44:83, E = 1/2, H = 2).
    """
    return map_of_levels(level_of(s, levels=levels), volume=volume)


def map_of_levels(level: I64, *, volume: Bools) -> I64:
    """Return TFCE (voxel), int64, as `tfce_map` does, of levels below 2^16 (voxel), int64, 0 for no height."""
    grid = geometry(np.argwhere(volume).astype(np.int16), radius=np.zeros((1, 3), dtype=np.int64))
    out = np.zeros(grid.cell.shape[0], dtype=np.int64)
    _fill_map(level, grid, out)
    return out


@numba.njit(cache=True, nogil=True, inline="always")
def _gain(size, upper, lower):  # type: ignore[no-untyped-def]
    """Return floor(sqrt(e) (upper^3 - lower^3)), int64, of a component of e voxels between two levels, int64."""
    return np.int64(math.sqrt(np.float64(size)) * np.float64(upper * upper * upper - lower * lower * lower))


@numba.njit(cache=True, nogil=True)
def _fill_map(level, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (voxel), int64, by union-find over voxels from high to low levels (Najman & Couprie 2006)."""
    n = level.shape[0]
    order = np.argsort(-level, kind="mergesort")
    label = np.full(geometry.size, -1, dtype=np.int64)
    above = np.arange(n)
    joined = np.arange(n)
    size = np.ones(n, dtype=np.int64)
    # The voxel that came last stands for its component: `above[r] = v` says that v's component swallowed r's.
    for v in order:
        if level[v] == 0:
            break
        cell = geometry.cell[v]
        label[cell] = v
        for step in (1, geometry.stride_y, geometry.stride_x):
            for other in (label[cell - step], label[cell + step]):
                if other >= 0:
                    r = root(joined, other)
                    if r != v:
                        joined[r] = v
                        above[r] = v
                        size[v] += size[r]
    for v in order[::-1]:
        if level[v] > 0:
            p = above[v]
            if p == v:
                out[v] = _gain(size[v], level[v], 0)
            else:
                out[v] = out[p] + _gain(size[v], level[v], level[p])


@numba.njit(cache=True, nogil=True)
def tfce_memory(geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread for a `Geometry`: 8 bytes per cell, 92 per voxel, 29 MB for a brain."""
    n = geometry.cell.shape[0]
    return TfceMemory(
        np.zeros(geometry.size, dtype=np.int64),
        np.empty(geometry.stride_y, dtype=np.int64),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int32),
        np.empty(3 * n, dtype=np.int64),
        np.empty(3 * n, dtype=np.int64),
        np.zeros(_N_LEVELS, dtype=np.int32),
        np.zeros(_N_LEVELS, dtype=np.int32),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int32),
        np.empty(n, dtype=np.int64),
    )


@numba.njit(cache=True, nogil=True)
def collect_plane(x, volume, origin, geometry, levels, n, work):  # type: ignore[no-untyped-def]
    """Append the mask's cells of level > 0 of a plane to `work`, and return their number, int64, `n` before.

    `volume` holds S, int32, of the cells from `origin` on. The key of each cell of a column is set: level << 32 | ~row,
    or 0 without a level.
    """
    last = np.int64(levels.level.shape[0] - 1)
    first = np.int64(levels.first)
    for c in range(geometry.plane_begin[x], geometry.plane_begin[x + 1]):
        for j in range(np.uint64(geometry.column_begin[c]), np.uint64(geometry.column_end[c])):
            v = volume[j - np.uint64(origin)]
            key = np.int64(0)
            if v >= first and geometry.inside[j]:
                level = np.int64(levels.level[min(np.int64(v) >> levels.shift, last)])
                work.cell[n] = j
                work.level[n] = level
                key = (level << 32) | (_ROW - n)
                n += 1
            work.key[j] = key
    return n


@numba.njit(cache=True, nogil=True)
def _point_to_highest(geometry, n, work):  # type: ignore[no-untyped-def]
    """Point every row to its highest neighbour and number the rows that point to themselves; return how many these are.

    Keys order by level and among equals put the earlier cell first: strictly, so that pointers never circle.
    """
    key, top = work.key, work.top
    one, stride_y, stride_x = np.uint64(1), np.uint64(geometry.stride_y), np.uint64(geometry.stride_x)
    basins = 0
    t = 0
    for c in range(geometry.column_begin.shape[0]):
        begin, end = np.uint64(geometry.column_begin[c]), np.uint64(geometry.column_end[c])
        # The whole column, zeros too: without a branch it is done eight cells at a time.
        for j in range(begin, end):
            top[j - begin] = max(
                max(max(key[j - one], key[j + one]), max(key[j - stride_y], key[j + stride_y])),
                max(max(key[j - stride_x], key[j + stride_x]), key[j]),
            )
        while t < n and np.uint64(work.cell[t]) < end:
            up = _ROW - (top[np.uint64(work.cell[t]) - begin] & _ROW)
            if up == t:
                work.number[t] = basins
                work.parent[basins] = basins
                work.size[basins] = 0
                work.last[basins] = work.level[t]
                work.best[basins] = 0
                basins += 1
            work.basin[t] = up
            t += 1
    return basins


@numba.njit(cache=True, nogil=True)
def _number_basins(n, work) -> None:  # type: ignore[no-untyped-def]
    """Replace each row's pointer, and the row in its key, by the number of its basin."""
    basin = work.basin
    moved = np.int32(1)
    # Pointers to pointers: six rounds on a brain, half the time of following each to its end.
    while moved != 0:
        moved = np.int32(0)
        for t in range(n):
            up = basin[t]
            further = basin[np.uint32(up)]
            basin[t] = further
            moved |= up ^ further
    for t in range(n):
        basin[t] = work.number[basin[t]]
        level = np.int64(work.level[t])
        work.key[work.cell[t]] = (level << 32) | np.int64(basin[t])
        work.voxel_end[level] += 1


@numba.njit(cache=True, nogil=True)
def _borders(geometry, n, work):  # type: ignore[no-untyped-def]
    """List the faces between two basins with the lower one of their levels; return their number, int64."""
    m = 0
    for t in range(n):
        j = np.uint64(work.cell[t])
        own = work.key[j]
        for step in (1, geometry.stride_y, geometry.stride_x):
            other = work.key[j - np.uint64(step)]
            if other != 0 and (other ^ own) & _ROW:
                level = min(other, own) >> 32
                work.border[m] = (level << (2 * _NUMBER_BITS)) | ((own & _ROW) << _NUMBER_BITS) | (other & _ROW)
                work.border_end[level] += 1
                m += 1
    return m


@numba.njit(cache=True, nogil=True)
def _starts_of_counts(end, top) -> None:  # type: ignore[no-untyped-def]
    """Turn counts (level) into where each level begins."""
    total = 0
    for level in range(top + 1):
        count = end[level]
        end[level] = total
        total += count


@numba.njit(cache=True, nogil=True)
def _sort_by_level(n, m, top, work) -> None:  # type: ignore[no-untyped-def]
    """Order the basins of n voxels and m borders by level; voxel_end and border_end say where each level ends."""
    _starts_of_counts(work.voxel_end, top)
    _starts_of_counts(work.border_end, top)
    for t in range(n):
        level = np.int64(work.level[t])
        work.by_level[work.voxel_end[level]] = work.basin[t]
        work.voxel_end[level] += 1
    for q in range(m):
        level = work.border[q] >> (2 * _NUMBER_BITS)
        work.border_by_level[work.border_end[level]] = work.border[q]
        work.border_end[level] += 1


@numba.njit(cache=True, nogil=True, inline="always")
def _credit(work, r, level) -> None:  # type: ignore[no-untyped-def]
    """Credit component r with the levels over which it did not change, before it changes at `level`."""
    last = np.int64(work.last[r])
    if last > level:
        work.best[r] += _gain(work.size[r], last, np.int64(level))
        work.last[r] = level


@numba.njit(cache=True, nogil=True)
def _join_basins(basins, top, work):  # type: ignore[no-untyped-def]
    """Return the largest sum over the component tree, int64, built from the highest level to the lowest."""
    parent, size = work.parent, work.size
    for level in range(top, 0, -1):
        for q in range(work.border_end[level - 1], work.border_end[level]):
            a = root(parent, (work.border_by_level[q] >> _NUMBER_BITS) & _NUMBER)
            b = root(parent, work.border_by_level[q] & _NUMBER)
            if a != b:
                _credit(work, a, level)
                _credit(work, b, level)
                if size[a] < size[b]:
                    a, b = b, a
                parent[b] = a
                size[a] += size[b]
                work.best[a] = max(work.best[a], work.best[b])
        for q in range(work.voxel_end[level - 1], work.voxel_end[level]):
            r = root(parent, np.int64(work.by_level[q]))
            _credit(work, r, level)
            size[r] += 1
    largest_tfce = np.int64(0)
    for r in range(basins):
        if parent[r] == r:
            _credit(work, r, 0)
            largest_tfce = max(largest_tfce, work.best[r])
    return largest_tfce


@numba.njit(cache=True, nogil=True)
def largest_tfce(n, geometry, work):  # type: ignore[no-untyped-def]
    """Return the largest TFCE, int64, in units of 1 / (3 * 2^(3 bits)), of the n cells that were collected.

    It is the maximum of `tfce_map`, and 0 if no voxel has z > 0.
    """
    top = np.int64(0)
    for t in range(n):
        top = max(top, np.int64(work.level[t]))
    basins = _point_to_highest(geometry, n, work)
    _number_basins(n, work)
    m = _borders(geometry, n, work)
    _sort_by_level(n, m, top, work)
    largest = _join_basins(basins, top, work)
    work.voxel_end[: top + 1] = 0
    work.border_end[: top + 1] = 0
    return largest


@numba.njit(cache=True, nogil=True)
def max_tfce(volume, geometry, levels, work):  # type: ignore[no-untyped-def]
    """Return the largest TFCE, as `largest_tfce` does, of S in a padded volume (cell), int32, which is only read."""
    n = np.int64(0)
    for x in range(geometry.plane_begin.shape[0] - 1):
        n = collect_plane(x, volume, 0, geometry, levels, n, work)
    return largest_tfce(n, geometry, work)
