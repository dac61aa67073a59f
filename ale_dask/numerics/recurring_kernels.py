"""Rows of experiments whose foci lie alike between voxels: each such kernel is worked out once, in fixed point.

    focus at (x, y, z) = (3.5, 7, 2)  ->  cell (3, 7, 2), place (.5, 0, 0) in it: whole millimetres on a grid of 2 mm
                                          have eight places
    plane (y, z), int32                   raised to the rows of the kernel of that place, in pieces of 8 cells
    voxels in the mask with value > 0  -> entries (voxel, value), and the plane is 0 again

The values are those of `ale.modelled_activation` bit for bit. A voxel's distance to a focus is exact in floating point
where it has enough digits, and else rounded as the distance within the cell is, so that equal places give equal
kernels. And the largest value in fixed point is that of the largest MA, since -log(1 - K) is worked out for K <= 0.1
by sums, products and quotients of numbers that are not negative, each of which never falls as K rises, rounded or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.elementary import neg_log1p_neg
from ale_dask.numerics.gaussian import Shape, gaussian_factors
from ale_dask.numerics.kernels.simd import BARE, INNER, SCAN, WIDTH, clear32, gain8, read8

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
_FOCI_PER_TABLE = 3
"""Fewer foci than this share a kernel: then it costs more to make than it saves."""
_MOST_CELLS = 2**24
"""Cells of all kernels together, 64 MB."""


class Tables(NamedTuple):
    """Kernels in fixed point, each of a place within a cell.

    Kernel k reaches the cells corner[k] to corner[k] + extent[k] - 1 (axis) from the focus's own; its rows along z, in
    the order (x, y), begin with row row_begin[k]. A row begins `low` (row) cells from the focus and has `pieces` (row)
    of 8 values, which begin at `where` (row) in `value`. `reached` (kernel) is the number of its values.
    """

    corner: I64
    extent: I64
    row_begin: I64
    low: I64
    pieces: I64
    where: I64
    value: I32
    reached: I64


class Placed(NamedTuple):
    """The cell (focus, axis) and the number of the kernel (focus) of all foci, and the kernels.

    The number is -1 for the foci of an experiment of which some lie like few others.
    """

    cell: I64
    number: I64
    tables: Tables


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _rows(place, corner, extent, sigma, limit, height, unit):  # type: ignore[no-untyped-def]
    """Return `low`, `pieces`, `where` and `value` of `Tables` of kernels (kernel, axis) at these places.

    `sigma` (kernel, axis), `limit` and `height` (kernel) are of `Shape`; values are -log1p(-K) in units of 1 / unit.
    """
    n_rows, n_values, longest = 0, 0, 0
    for k in range(place.shape[0]):
        n_rows += extent[k, 0] * extent[k, 1]
        n_values += extent[k, 0] * extent[k, 1] * (extent[k, 2] + WIDTH - 1)
        longest = max(longest, extent[k, 0], extent[k, 1], extent[k, 2])
    low, pieces, where = np.zeros((3, n_rows), dtype=np.int64)
    value = np.zeros(n_values, dtype=np.int32)
    squared, factor = np.empty((3, longest)), np.empty((3, longest))
    along = np.empty(longest, dtype=np.int32)
    row, size = 0, 0
    for k in range(place.shape[0]):
        for axis in range(3):
            first, end = corner[k, axis], corner[k, axis] + extent[k, axis]
            gaussian_factors(place[k, axis], sigma[k, axis], first, end, squared[axis], factor[axis])
        for x in range(extent[k, 0]):
            for y in range(extent[k, 1]):
                here, times = squared[0, x] + squared[1, y], factor[0, x] * factor[1, y]
                first, end = extent[k, 2], 0
                for z in range(extent[k, 2]):
                    along[z] = 0
                    if here + squared[2, z] <= limit[k]:
                        along[z] = np.int32(neg_log1p_neg(times * factor[2, z] * height[k]) * unit + 0.5)
                        if along[z] > 0:
                            first, end = min(first, z), z + 1
                low[row], where[row] = corner[k, 2] + first, size
                pieces[row] = max(0, end - first + WIDTH - 1) // WIDTH
                for z in range(first, end):
                    value[size + z - first] = along[z]
                size += pieces[row] * WIDTH
                row += 1
    return low, pieces, where, value[:size]


def placed(
    foci: Sequence[F64], kernels: Sequence[Shape], kernel: npt.NDArray[np.integer], *, bits: int
) -> Placed | None:
    """Return where the foci (focus, axis) of each experiment lie in their cells, with the kernels of these places.

    `kernel` (experiment) is the number of the experiment's among `kernels`. None where no experiment's foci share their
    places with enough others for it to be worth while, or a kernel's peak is above 0.1.
    """
    if not foci or max(shape.height for shape in kernels) > 0.1:
        return None
    of_focus = np.repeat(kernel, [len(f) for f in foci])
    at = np.concatenate(foci)
    cell = np.floor(at)
    # A place is exact, but for small negative numbers that 1 would be added to.
    cell[(at > -0.5) & (at < 0)] = 0
    reach = np.array([shape.reach for shape in kernels])[of_focus]
    # The ends are taken of the focus itself: of its place in the cell they could round to another voxel.
    ends = [np.ceil(at - reach) - cell, np.floor(at + reach) + 1 - cell]
    key = np.ascontiguousarray(np.column_stack([of_focus, at - cell, *ends]))
    known: dict[bytes, int] = {}
    number = np.array([known.setdefault(text, len(known)) for text in key.view(f"V{8 * key.shape[1]}")[:, 0].tolist()])
    shared = np.bincount(number)[number] >= _FOCI_PER_TABLE
    sizes = [len(f) for f in foci]
    alike = np.repeat([bool(part.all()) for part in np.split(shared, np.cumsum(sizes)[:-1])], sizes)
    if not alike.any():
        return None
    _, chosen, number[alike] = np.unique(number[alike], return_index=True, return_inverse=True)
    number[~alike] = -1
    chosen = np.flatnonzero(alike)[chosen]
    first, last = (end[chosen].astype(np.int64) for end in ends)
    if math.prod([len(chosen), *(last - first).max(axis=0).tolist()]) > _MOST_CELLS:
        return None
    shapes = [kernels[k] for k in of_focus[chosen]]
    return Placed(cell.astype(np.int64), number, _tables((at - cell)[chosen], first, last - first, shapes, bits=bits))


def _tables(place: F64, corner: I64, extent: I64, shapes: Sequence[Shape], *, bits: int) -> Tables:
    sigma, _, limit, height = (np.array(part) for part in zip(*shapes, strict=True))
    low, pieces, where, value = _rows(place, corner, extent, sigma, limit, height, 2.0**bits)
    row_begin = np.r_[0, np.cumsum(extent[:, 0] * extent[:, 1])]
    reached = WIDTH * np.add.reduceat(pieces, row_begin[:-1])
    return Tables(corner, extent, row_begin, low, pieces, where, value, reached)


class Plane(NamedTuple):
    """A plane (cell), int32, of rows that are `stride` long and begin `margin` cells before the grid's.

    `low` and `high` (row) are the cells of each that are not 0.
    """

    cells: I32
    margin: int
    stride: int
    low: I64
    high: I64


def plane_of(shape: tuple[int, ...], tables: Tables) -> Plane:
    """Return a plane of zeros for a grid of this shape (x, y, z): rows may overhang it, and so may what clears them."""
    margin = int(tables.extent[:, 2].max()) + WIDTH
    stride = 2 * margin + shape[2] + SCAN
    low, high = np.full(shape[1], stride), np.zeros(shape[1], dtype=np.int64)
    return Plane(np.zeros(shape[1] * stride, dtype=np.int32), margin, stride, low, high)


@numba.njit(**INNER)
def _raise(x, cell, f, k, tables, plane, rows, cells) -> None:  # type: ignore[no-untyped-def]
    """Raise the plane at x to kernel k of focus f in its `cell` (focus, axis), in a grid of so many rows and cells."""
    at_x = x - cell[f, 0] - tables.corner[k, 0]
    z0 = cell[f, 2] + tables.corner[k, 2]
    if not 0 <= at_x < tables.extent[k, 0] or z0 >= cells or z0 + tables.extent[k, 2] <= 0:
        return
    first = cell[f, 1] + tables.corner[k, 1]
    begin = max(0, first)
    end = max(begin, min(rows, first + tables.extent[k, 1]))
    row = np.uint64(tables.row_begin[k] + at_x * tables.extent[k, 1] + begin - first)
    for y in range(np.uint64(begin), np.uint64(end)):
        pieces = tables.pieces[row]
        if pieces > 0:
            z = cell[f, 2] + tables.low[row] + plane.margin
            plane.low[y] = min(plane.low[y], z)
            plane.high[y] = max(plane.high[y], z + pieces * WIDTH)
            to, entry = np.int64(y) * plane.stride + z, tables.where[row]
            # p + max(k, p) - p is max(k, p). At 2 mm a row has one or two pieces.
            gain8(plane.cells, to, tables.value, entry, read8(plane.cells, to))
            if pieces > 1:
                gain8(plane.cells, to + WIDTH, tables.value, entry + WIDTH, read8(plane.cells, to + WIDTH))
            for p in range(2, pieces):
                gain8(plane.cells, to + p * WIDTH, tables.value, entry + p * WIDTH, read8(plane.cells, to + p * WIDTH))
        row += np.uint64(1)


@numba.njit(**BARE)
def _row(cell, number, tables, voxel_of_cell, plane, voxels, values):  # type: ignore[no-untyped-def]
    """Fill voxels and values, int32, (entry) of one experiment in the order of cells, and return their number.

    Both have room for one more; the plane stays zeros.
    """
    nx, ny, nz = voxel_of_cell.shape
    x0, x1 = nx, 0
    for f in range(cell.shape[0]):
        first = cell[f, 0] + tables.corner[number[f], 0]
        x0, x1 = min(x0, first), max(x1, first + tables.extent[number[f], 0])
    n = np.uint64(0)
    for x in range(np.uint64(max(0, x0)), np.uint64(max(0, min(nx, x1)))):
        for f in range(cell.shape[0]):
            _raise(np.int64(x), cell, f, number[f], tables, plane, ny, nz)
        for y in range(np.uint64(ny)):
            low, high = plane.low[y], plane.high[y]
            if low < high:
                begin = np.int64(y) * plane.stride
                at = np.uint64(begin + max(low, plane.margin))
                for z in range(np.uint64(max(low - plane.margin, 0)), np.uint64(min(high - plane.margin, nz))):
                    voxel, value = voxel_of_cell[x, y, z], plane.cells[at]
                    # The next cell is written over one that does not count: cheaper than an unpredictable branch.
                    voxels[n] = voxel
                    values[n] = value
                    n += np.uint64((voxel >= 0) & (value > 0))
                    at += np.uint64(1)
                for place in range(begin + low, begin + high, SCAN):
                    clear32(plane.cells, place)
                plane.low[y], plane.high[y] = plane.stride, 0
    return np.int64(n)


def row_of(where: Placed, foci: slice, *, voxel_of_cell: I32, plane: Plane) -> tuple[I32, I32]:
    """Return the voxels (entry), ascending, and fixed-point values (entry), int32, of an experiment with these foci."""
    number = where.number[foci]
    capacity = 1 + min(int(where.tables.reached[number].sum()), voxel_of_cell.size)
    voxel, value = np.empty(capacity, dtype=np.int32), np.empty(capacity, dtype=np.int32)
    n = _row(where.cell[foci], number, where.tables, voxel_of_cell, plane, voxel, value)
    return voxel[:n], value[:n]
