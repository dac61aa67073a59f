"""The voxels that may pass where foci are many: an upper bound of S on a coarse lattice by three passes of Gaussians.

    kernel k  <=  sum over b of  share[k, b] * g_b(x) g_b(y) g_b(z)           two or three g_b stand for all kernels

    for each plane x of voxels, for each g_b:   a row along z of every focus, times its share     (`_add_rows`)
                                                every second row along y: a sum of these rows
    every second plane along x:                 a sum of these planes, over all g_b

so that a focus costs 3 ns for each g_b, where its stamp in `candidate_strips` costs 80, and the rest of the passes
does not depend on how many there are. Voxels between points are interpolated from six points along each axis, which
follows the peak of a Gaussian: the bound is 6 % above the sum of kernels on average, with stamps 20 %.

Sums are float32. No term of the passes is negative, so that m additions err by at most m 2^-24 of a point; of an
interpolation, whose weights have both signs, all is at most the sum of their sizes times the highest point. The limit
is lowered by twice that (`_slack`): rounding may let a voxel more through, never one too few.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.candidate_strips import CLASSES, STRIPS_OF_PIECE, Lattice, append_strips
from ale_dask.numerics.kernels.float_lanes import (
    WIDE,
    add_scaled16,
    means_reach,
    reaches16f,
    stencil_masks,
    weighted_rows16,
    weighted_rows48,
)
from ale_dask.numerics.kernels.kernel_rows import Geometry
from ale_dask.numerics.kernels.lattice_lanes import LANES, lowest_bit
from ale_dask.numerics.kernels.simd import BARE, INNER

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
BAND = 4
"""Rows that are summed along x at once: those of 19 planes and two bases take 29 kB."""
MARGIN = 2
"""Points before the first cell of each axis, and one more behind the last, that an interpolation reads."""


class Convolution(NamedTuple):
    """The tables of the passes, in units of a threshold, all float32.

    share (kernel * bases + base); along_z ((base * 2 + z modulo 2) * 16 + point), whose first point lies `half` points
    before the focus's own; along_y (base * (2 reach_y + 1) + distance) and along_x (distance * bases + base), distances
    in voxels from -reach on. `weights` (9) are those of `stencil_masks`, `corners` (class) the `shares` of
    `means_reach`; `spread` bounds the sum of the sizes of the weights that make one voxel. Only the lattice's rows
    point_rows[p, 0] to point_rows[p, 1] - 1 of its plane p, both counted from the margin on, are read by a search, and
    of voxel plane x only the sums sum_rows[x, 0] to sum_rows[x, 1] - 1 go into them.
    """

    bases: int
    half: int
    reach_x: int
    reach_y: int
    share: F32
    along_z: F32
    along_y: F32
    along_x: F32
    weights: F32
    corners: F32
    spread: float
    point_rows: I64
    sum_rows: I64


class Levels(NamedTuple):
    """What a voxel must reach: `threshold`, S in fixed point, is 1 in the units of the tables.

    With a threshold of each voxel, of_cell[(piece * 8 + class) * 16 + cell], float32, has them in these units, for
    pieces ((X * rows + Y) * pieces + p), and of_row (X * rows + Y), float32, the least that a point of a lattice row
    must have; otherwise both are empty.
    """

    threshold: int
    of_cell: F32
    of_row: F32


class Passes(NamedTuple):
    """Memory of one thread: the planes between the passes, the lattice, and what the search needs.

    - begin (plane + 2) and focus (focus, 3), int32: the foci by planes, their y, z and kernel
    - plane (cell), rows along z of one plane; across (plane, base, point), sums of them along y
    - points (point), the lattice, and the same as `bits`, int32
    - marks, hot and piece_bits are those of `candidate_strips.Search`; limits (class, cell) is of one piece
    """

    begin: I64
    focus: I32
    plane: F32
    across: F32
    points: F32
    bits: I32
    marks: I64
    hot: I64
    piece_bits: I64
    limits: F32


def passes_memory(n_foci: int, *, grid: Lattice, tables: Convolution, geometry: Geometry) -> Passes:
    """Return the memory of one thread for so many foci."""
    planes, rows = geometry.size // geometry.stride_x, grid.stride_x // grid.stride_y
    points = np.zeros((grid.planes + 2 * MARGIN + 1) * grid.stride_x + 2 * WIDE, dtype=np.float32)
    return Passes(
        np.zeros(planes + 2, dtype=np.int64),
        np.empty((n_foci, 3), dtype=np.int32),
        np.zeros((2 * rows + 2 * tables.reach_y + 1) * grid.stride_y + WIDE, dtype=np.float32),
        np.zeros(planes * tables.bases * grid.stride_x + WIDE, dtype=np.float32),
        points,
        points.view(np.int32),
        np.zeros((2, grid.rows), dtype=np.int64),
        np.zeros((grid.rows * grid.pieces + 1, 6), dtype=np.int64),
        np.zeros(4, dtype=np.int64),
        np.zeros(CLASSES * LANES, dtype=np.float32),
    )


@numba.njit(**INNER)
def _order_foci(foci, design, memory):  # type: ignore[no-untyped-def]
    """Fill memory.focus and memory.begin from foci (axis, focus), int16; return the most foci in one plane, int64."""
    begin, focus = memory.begin, memory.focus
    x, y, z = foci[0], foci[1], foci[2]
    begin[:] = 0
    for f in range(np.uint64(design.focus_begin[-1])):
        begin[np.uint64(x[f]) + np.uint64(2)] += 1
    most = np.int64(0)
    for plane in range(1, begin.shape[0]):
        most = max(most, begin[plane])
        begin[plane] += begin[plane - 1]
    for e in range(design.kernel.shape[0]):
        for f in range(np.uint64(design.focus_begin[e]), np.uint64(design.focus_begin[e + 1])):
            place = np.uint64(x[f]) + np.uint64(1)
            t = np.uint64(begin[place])
            begin[place] += 1
            focus[t, 0], focus[t, 1], focus[t, 2] = y[f], z[f], design.kernel[e]
    return most


@numba.njit(**INNER)
def _add_rows(begin, end, base, low, high, first, grid, tables, memory) -> None:  # type: ignore[no-untyped-def]
    """Fill rows low … high of memory.plane with the rows along z of foci begin … end - 1, which lie in these.

    `first` is the place that the row of a focus at y = z = 0 begins at; other rows are left as they are.
    """
    plane, focus = memory.plane, memory.focus
    row = first // grid.stride_y + low
    plane[row * grid.stride_y : (row + high - low + 1) * grid.stride_y + LANES] = 0
    for f in range(np.uint64(begin), np.uint64(end)):
        y, z = np.int64(focus[f, 0]), np.int64(focus[f, 1])
        weight = tables.share[np.uint64(focus[f, 2]) * np.uint64(tables.bases) + np.uint64(base)]
        at = first + y * grid.stride_y + (z >> 1)
        add_scaled16(plane, at, weight, tables.along_z, (base * 2 + (z & 1)) * LANES)


@numba.njit(**INNER)
def _sum_rows(out, to, rows, places, weights, span, cells) -> None:  # type: ignore[no-untyped-def]
    """Set out[to:to + cells] to the weighted sum of rows, as `weighted_rows16` does for 16 cells."""
    at = np.int64(0)
    while cells - at >= WIDE:
        weighted_rows48(out, to + at, rows, (places[0] + at, places[1]), weights, span)
        at += WIDE
    while at < cells:
        weighted_rows16(out, to + at, rows, (places[0] + at, places[1]), weights, span)
        at += LANES


@numba.njit(**INNER)
def _sum_along_y(x, grid, tables, memory) -> None:  # type: ignore[no-untyped-def]
    """Fill the rows of memory.across that are read of voxel plane x from its foci."""
    stride, bases, taps = np.int64(grid.stride_y), np.int64(tables.bases), np.int64(2 * tables.reach_y + 1)
    # The lattice's row q lies at y = 2 (q - MARGIN); the first row that its sum may read is row 2 q of memory.plane.
    before = 2 * MARGIN + tables.reach_y
    first = before * stride + (grid.lead - MARGIN * (grid.stride_x + stride)) - tables.half
    begin, end = memory.begin[x], memory.begin[x + 1]
    low, high = np.int64(grid.stride_x), np.int64(0)
    for f in range(np.uint64(begin), np.uint64(end)):
        low, high = min(low, np.int64(memory.focus[f, 0])), max(high, np.int64(memory.focus[f, 0]))
    for base in range(bases):
        to = (x * bases + base) * grid.stride_x
        if begin < end:
            _add_rows(begin, end, base, low, high, first, grid, tables, memory)
        for q in range(tables.sum_rows[x, 0], tables.sum_rows[x, 1]):
            # Rows of the plane without foci are neither cleared nor read.
            t0 = min(max(0, low + before - 2 * q), taps)
            t1 = max(min(taps, high + before - 2 * q + 1), t0)
            span = (base * taps + t0, base * taps + t1)
            places = ((2 * q + t0) * stride, stride)
            _sum_rows(memory.across, to + q * stride, memory.plane, places, tables.along_y, span, stride)


@numba.njit(**INNER)
def convolve(foci, design, grid, tables, memory):  # type: ignore[no-untyped-def]
    """Fill memory.points with the bound for foci (axis, focus), int16; return the most foci in one plane, int64."""
    most = _order_foci(foci, design, memory)
    stride, bases, planes = np.int64(grid.stride_y), np.int64(tables.bases), memory.begin.shape[0] - 2
    for x in range(planes):
        _sum_along_y(x, grid, tables, memory)
    # A few rows of all planes at a time: what the sums of neighbouring planes share stays in the first cache.
    for band in range(0, grid.stride_x // stride, BAND):
        for p in range(grid.planes + 2 * MARGIN + 1):
            begin, end = max(band, tables.point_rows[p, 0]), min(band + BAND, tables.point_rows[p, 1])
            if begin >= end:
                continue
            lowest = 2 * (p - MARGIN) - tables.reach_x
            low, high = max(0, lowest), min(planes, lowest + 2 * tables.reach_x + 1)
            span = ((low - lowest) * bases, max(high - lowest, low - lowest) * bases)
            places = (low * bases * grid.stride_x + begin * stride, np.int64(grid.stride_x))
            to, cells = p * grid.stride_x + begin * stride, (end - begin) * stride
            _sum_rows(memory.points, to, memory.across, places, tables.along_x, span, cells)
    return most


@numba.njit(**INNER)
def _slack(most_foci, tables, memory):  # type: ignore[no-untyped-def]
    """Return by how much rounding may lower an interpolation, float32, from the most foci of a plane."""
    additions = most_foci + 2 * tables.reach_y + 1 + tables.bases * (2 * tables.reach_x + 1) + 32
    # Floats that are not negative are in the order of their bits: integers, of which many are compared at once.
    highest = np.int32(0)
    for i in range(np.uint64(memory.bits.shape[0] - 1)):
        highest = max(highest, memory.bits[i])
    # The last point lies behind the lattice.
    memory.bits[-1] = highest
    return np.float32(additions * 2.0**-23 * tables.spread * memory.points[-1])


@numba.njit(**INNER)
def _mark_rows(plane, least, slack, levels, grid, points, marks) -> None:  # type: ignore[no-untyped-def]
    """Fill marks (row), int64, with a bit for each piece of a plane of points in which one reaches its limit."""
    for row in range(grid.rows):
        if levels.of_row.shape[0]:
            least = levels.of_row[plane * grid.rows + row] - slack
        at = plane * grid.stride_x + row * grid.stride_y + grid.lead
        bits = np.int64(0)
        for piece in range(grid.pieces):
            bits |= np.int64(reaches16f(points, at + piece * LANES, least)) << piece
        marks[row] = bits


@numba.njit(**INNER)
def _hot_pieces(plane, slack, levels, grid, tables, memory):  # type: ignore[no-untyped-def]
    """List in memory.hot the pieces of a plane of cells with voxels that may pass, by row; return their number."""
    hot, bits, limits = memory.hot, memory.piece_bits, memory.limits
    near, far = memory.marks[plane & 1], memory.marks[(plane + 1) & 1]
    steps = (np.int64(grid.stride_x), np.int64(grid.stride_y))
    by_cell = levels.of_cell.shape[0] > 0
    n = np.int64(0)
    for row in range(grid.rows - 1):
        place = plane * grid.rows + row
        marked = near[row] | near[row + 1] | far[row] | far[row + 1]
        left = (marked | (marked >> 1)) & grid.filled[place]
        while left:
            piece = lowest_bit(left)
            left &= left - 1
            number = place * grid.pieces + piece
            at = plane * grid.stride_x + row * grid.stride_y + grid.lead + piece * LANES
            if by_cell:
                for i in range(CLASSES * LANES):
                    limits[i] = levels.of_cell[number * CLASSES * LANES + i] - slack
            if not means_reach(memory.points, (at, np.int64(0)), steps, limits, tables.corners):
                continue
            stencil_masks(memory.points, (at, np.int64(0)), steps, tables.weights, limits, bits)
            some = np.int64(0)
            for r in range(4):
                hot[n, 2 + r] = bits[r] & grid.inside[4 * number + r]
                some |= hot[n, 2 + r]
            hot[n, 0], hot[n, 1] = row, piece
            n += np.int64(some != 0)
    return n


@numba.njit(**INNER)
def _find_strips(threshold, most_foci, n, most, levels, grid, tables, memory, strips):  # type: ignore[no-untyped-def]
    """Append the strips of voxels whose S may reach `threshold`; return their number, or -1 if it is above `most`."""
    slack = _slack(most_foci, tables, memory)
    limit = np.float32(threshold / levels.threshold * (1 - 1e-6)) - slack
    memory.limits[:] = limit
    least = limit
    for c in range(CLASSES):
        corners = 1 << ((c & 1) + ((c >> 1) & 1) + (c >> 2))
        # A hair below, since this product is rounded another way than those of `means_reach`.
        least = min(least, np.float32(limit * tables.corners[c] / corners * np.float32(1 - 1e-6)))
    _mark_rows(0, least, slack, levels, grid, memory.points, memory.marks[0])
    for plane in range(grid.planes - 1):
        _mark_rows(plane + 1, least, slack, levels, grid, memory.points, memory.marks[(plane + 1) & 1])
        n_hot = _hot_pieces(plane, slack, levels, grid, tables, memory)
        n = append_strips(plane, n_hot, n, memory.hot, strips)
        if n > most:
            return np.int64(-1)
    return n


@numba.njit(**BARE)
def convolved_strips(foci, threshold, most, design, grid, tables, levels, memory, strips):  # type: ignore[no-untyped-def]
    """Do what `candidate_strips.stamped_strips` does, with the bound of a `Convolution` and its `Levels`."""
    room = strips.bits.shape[0] - most - STRIPS_OF_PIECE * grid.rows * grid.pieces
    strips.begin[0] = 0
    for b in range(foci.shape[0]):
        begin = strips.begin[b]
        if begin > room:
            return b
        most_foci = convolve(foci[b], design, grid, tables, memory)
        end = _find_strips(threshold[b], most_foci, begin, begin + most, levels, grid, tables, memory, strips)
        strips.dense[b] = end < 0
        strips.begin[b + 1] = max(end, begin)
    return np.int64(foci.shape[0])
