"""An upper bound of S on a coarse lattice: tables that are proven to lie above every kernel before they are used.

    kernel T        .  :  |  #  |  :  .        at every voxel, distances from the focus
    stamp D         o     O     O     o        at every other voxel, for a focus on a point or between points

A voxel between points has 2, 4 or 8 of them around it, the corners of its class. With integers u, a threshold, and
L_c, the limit of class c, a stamp is used only if for every distance v from the focus

    u * sum of D over the corners of v  >=  2^(number of odd axes) * L_c * T(v)                                     (1)

Summed over the foci of any iteration: where S(v) >= t, the mean of the lattice over the corners of v is at least
L_c t / u. No voxel with a smaller mean need be looked at. (1) holds for a Gaussian with D = T in units of u / L_0 if
L_c is smaller than L_0 by the ratio of its peak to the value beside it, 1.1 for each odd axis at 2 mm; where it does
not, mostly near the end of a kernel, D is raised. Points are uint16 that stay at 65,535, and L_c is at most that over
the number of corners, so that a point that should be higher lets its whole surroundings through.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.candidate_strips import CLASSES, Lattice, Limits, Stamps
from ale_dask.numerics.kernels.kernel_rows import Geometry
from ale_dask.numerics.kernels.lattice_lanes import LANES

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Values = TypeVar("Values", I64, npt.NDArray[np.float64])
MOST = 65_535
"""The largest value of a lattice point."""
_LIMIT = MOST // 8
"""The limit of a voxel between eight points: all of them then pass where one is at its largest value."""
_ODD = tuple(itertools.product((0, 1), repeat=3))
"""Classes of voxels in their order, 4 x + 2 y + z: the axes along which a voxel lies between points."""


def lattice_of(geometry: Geometry, *, reach: int, margin: int = 0) -> Lattice:
    """Return the lattice that covers the grid, for a bound whose foci reach so many voxels.

    `margin` points lie before the first cell of each axis and, with one more, behind the last.
    """
    planes, rows = geometry.size // geometry.stride_x, geometry.stride_x // geometry.stride_y
    searched = geometry.inside.reshape(planes, rows, geometry.stride_y)
    last = int(np.flatnonzero(searched.any(axis=(0, 1))).max())
    n_planes, n_rows, n_points = planes // 2 + 2, rows // 2 + 2, last // 2 + 2
    before = max(reach // 2, margin)
    # What a focus adds beyond the end of its row must end before the points of the next row begin.
    beyond = int(geometry.place[:, 2].max()) // 2 + (reach + 1) // 2 + 1
    stride_y = -(-max(before + n_points + margin, beyond + margin) // LANES) * LANES
    stored = n_rows + 2 * margin + (margin > 0)
    stride_x = stored * stride_y
    pieces = -(-n_points // LANES)
    mask = np.zeros((2 * n_planes, 2 * n_rows, pieces * 2 * LANES), dtype=np.uint8)
    mask[:planes, :rows, : last + 1] = searched[..., : last + 1]
    bits = np.packbits(mask, axis=-1, bitorder="little").view("<u4").reshape(n_planes, 2, n_rows, 2, pieces)
    inside = bits.transpose(0, 2, 4, 1, 3).astype(np.int64)
    filled = (inside.any(axis=(3, 4)).astype(np.int64) << np.arange(pieces)).sum(axis=-1).reshape(-1)
    lead = margin * (stride_x + stride_y) + before
    return Lattice(stride_x, stride_y, lead, n_planes, n_rows, pieces, filled, inside.reshape(-1))


def corner_limits(octants: I64) -> I64:
    """Return the limits L_c (class), int64, for kernels (kernel, x, y, z) from their middle on."""
    middle = octants[:, 0, 0, 0]
    whole, factor = float(_LIMIT), np.ones(CLASSES)
    for axis in range(3):
        beside = octants[:, *np.eye(3, dtype=int)[axis]]
        # Narrower kernels are raised around their peaks, where wider ones have something to spare: with four fifths of
        # the median, the fewest voxels were let through, from 17 to 2,000 experiments.
        drop = 0.8 * (float(np.median(middle / np.maximum(beside, 1))) - 1)
        whole *= 1 + min(drop, 1.0)
        factor[np.array(_ODD)[:, axis] == 1] *= 1 + min(drop, 1.0)
    largest = np.array([MOST >> sum(odd) for odd in _ODD], dtype=np.int64)
    return np.minimum(np.ceil(whole / factor).astype(np.int64), largest)


def _neighbours(values: Values, axis: int) -> tuple[Values, Values]:
    """Return the values one voxel before and after along an axis of octants, which go on as their own mirror images."""
    moved = np.moveaxis(values, axis, 0)
    before = np.concatenate([moved[1:2], moved[:-1]])
    after = np.concatenate([moved[1:], np.zeros_like(moved[:1])])
    return np.moveaxis(before, 0, axis), np.moveaxis(after, 0, axis)


def corner_sums(stamps: Values, odd: Sequence[int]) -> Values:
    """Return the sum over the corners of a voxel of this class, at each voxel of octants (kernel, x, y, z)."""
    total = stamps
    for axis in range(3):
        if odd[axis]:
            before, after = _neighbours(total, axis + 1)
            total = before + after
    return total


def dominates(stamps: I64, octants: I64, *, limits: I64, threshold: int) -> bool:
    """Return whether (1) holds for all stamps and kernels (kernel, x, y, z), octants from their middle on."""
    return not any(_lacks(stamps, octants, c, limits=limits, threshold=threshold).any() for c in range(CLASSES))


def _lacks(stamps: I64, octants: I64, c: int, *, limits: I64, threshold: int) -> I64:
    """Return by how much the sum over the corners is too small for (1), at each voxel if it is of class c."""
    odd = _ODD[c]
    needed = -(-octants * limits[c] * 2 ** sum(odd) // threshold)
    lack = np.maximum(needed - corner_sums(stamps, odd), 0)
    # A point that stays at its largest value lets all voxels around it pass.
    lack[corner_sums((stamps >= MOST).astype(np.int64), odd) > 0] = 0
    return np.asarray(lack)


def dominating_stamps(octants: I64, *, limits: I64, threshold: int) -> I64:
    """Return stamps (kernel, x, y, z) for kernels of this shape, octants from their middle on, that make (1) hold.

    The kernels must end one voxel before the octants do.
    """
    stamps = np.minimum(-(-octants * limits[0] // threshold), MOST)
    raised = np.zeros_like(stamps)
    for c in range(1, CLASSES):
        odd = _ODD[c]
        more = -(-_lacks(stamps, octants, c, limits=limits, threshold=threshold) // 2 ** sum(odd))
        for axis in range(3):
            if odd[axis]:
                more = np.maximum(*_neighbours(more, axis + 1))
        raised = np.maximum(raised, more)
    return np.asarray(np.minimum(stamps + raised, MOST))


def octants_of(boxes: Sequence[I32]) -> I64 | None:
    """Return kernels (x, y, z) from their middle on (kernel, x, y, z), two voxels larger, or None.

    None if one of them is no mirror image of itself along an axis.
    """
    if not all(np.array_equal(box, np.flip(box, axis)) for box in boxes for axis in range(3)):
        return None
    size = np.array([box.shape for box in boxes]).max(axis=0) // 2 + 3
    out = np.zeros((len(boxes), *size), dtype=np.int64)
    for i, box in enumerate(boxes):
        middle = box[tuple(slice(n // 2, None) for n in box.shape)]
        out[i, : middle.shape[0], : middle.shape[1], : middle.shape[2]] = middle
    return out


def stamp_tables(stamps: I64) -> Stamps:
    """Return stamps (kernel, x, y, z), octants from their middle on, as rows that are added to the lattice."""
    n, *size = stamps.shape
    filled = [np.flatnonzero(stamps.any(axis=tuple({0, 1, 2, 3} - {a + 1}))).max(initial=0) for a in range(3)]
    reach_x, reach_y, reach_z = (int(f) for f in filled)
    half = max(reach_y, reach_z) // 2
    height = half + (reach_y + 1) // 2 + 1
    width = -(-(half + (reach_z + 1) // 2 + 1) // LANES) * LANES
    end_of_row = [(0, max(0, 2 * max(height, width) + 2 - s)) for s in size[1:]]
    padded = np.pad(stamps[:, : reach_x + 1].astype(np.uint16), [(0, 0), (0, 0), *end_of_row])
    table = np.empty((n, 2, 2, reach_x + 1, height, width), dtype=np.uint16)
    for odd_z, odd_y in itertools.product((0, 1), repeat=2):
        dy = np.abs(2 * (np.arange(height) - half) - odd_y)
        dz = np.abs(2 * (np.arange(width) - half) - odd_z)
        table[:, odd_z, odd_y] = padded[:, :, dy][..., dz]
    some = np.asarray(table.any(axis=(1, 5)))
    row = np.arange(height)
    begin = np.where(some, row, height).min(axis=-1)
    end = np.where(some, row + 1, 0).max(axis=-1)
    extent = np.array([np.flatnonzero(s.any(axis=(1, 2))).max(initial=0) for s in stamps], dtype=np.int64)
    return Stamps(table.reshape(-1), np.minimum(begin, end), end, extent, reach_x, height, width, half)


def bound_by_stamps(
    boxes: Sequence[I32], geometry: Geometry, *, threshold: int
) -> tuple[Lattice, Stamps, Limits] | None:
    """Return the lattice, the stamps of the kernels (x, y, z) and their limits at a threshold; None without a proof."""
    octants = octants_of(boxes)
    if octants is None:
        return None
    limits = corner_limits(octants)
    stamps = dominating_stamps(octants, limits=limits, threshold=threshold)
    if not dominates(stamps, octants, limits=limits, threshold=threshold):
        return None
    tables = stamp_tables(stamps)
    lattice = lattice_of(geometry, reach=2 * tables.half + 1)
    nothing = np.zeros(0, dtype=np.int64)
    return lattice, tables, Limits(threshold, limits, nothing.astype(np.uint16), nothing)


def of_voxels(geometry: Geometry, grid: Lattice, *, cell: I64) -> tuple[I32, I32, I32]:
    """Return where voxels at these cells (voxel) stand in `of_cell`, their classes and the rows of cells (voxel)."""
    x, rest = np.divmod(cell.astype(np.int32), np.int32(geometry.stride_x))
    y, z = np.divmod(rest, np.int32(geometry.stride_y))
    row = x // 2 * grid.rows + y // 2
    kind = 4 * (x % 2) + 2 * (y % 2) + z % 2
    return ((row * grid.pieces + z // (2 * LANES)) * CLASSES + kind) * LANES + z // 2 % LANES, kind, row


def least_of_rows(value: Values, row: I32, grid: Lattice, *, nothing: float) -> Values:
    """Return the least value (voxel) of the cells around each lattice row, `nothing` where there is none.

    `row` (voxel) is of `of_voxels`. A point of row (X, Y) is a corner of the cells (X - 1, Y - 1) to (X, Y).
    """
    least = np.full(grid.planes * grid.rows, nothing, dtype=value.dtype)
    np.minimum.at(least, row, value)
    padded = np.pad(least.reshape(grid.planes, grid.rows), ((1, 0), (1, 0)), constant_values=nothing)
    corners = [padded[a : a + grid.planes, b : b + grid.rows] for a in (0, 1) for b in (0, 1)]
    return np.asarray(np.min(corners, axis=0).reshape(-1))


def limits_of_voxels(limits: Limits, threshold: I32, geometry: Geometry, grid: Lattice, *, cell: I64) -> Limits:
    """Return the limits of stamps where each voxel has a threshold of its own (voxel), at these cells (voxel)."""
    place, kind, row = of_voxels(geometry, grid, cell=cell)
    largest = np.array([MOST >> sum(odd) for odd in _ODD], dtype=np.int64)
    value = np.minimum(-(-limits.least[kind] * threshold.astype(np.int64) // limits.threshold), largest[kind])
    of_cell = np.full(grid.planes * grid.rows * grid.pieces * CLASSES * LANES, MOST, dtype=np.uint16)
    of_cell[place] = value
    return limits._replace(of_cell=of_cell, of_row=least_of_rows(value, row, grid, nothing=MOST))
