"""The voxels that may pass in an iteration: an upper bound of S on a coarse lattice, held against a limit everywhere.

    lattice    p . p . p . p       a point at every other voxel of each axis: an eighth of the voxels
               . v . . . . .       v lies between points: S(v) / unit <= mean of the 2, 4 or 8 points around it,
               p . p . p . p       times a factor that `upper_bound` has checked kernel by kernel

    for each focus:       add its stamp to the lattice, 16 points at a time            (`add_stamps`)
    for each lattice row: does a point reach the least limit of the row?               (`_mark_rows`)
    for 16 cells of it:   which of their 128 voxels have a mean that reaches its limit (`corner_masks`)
    for these voxels:     strips of eight along z that cover them                      (`append_strips`)

The bound adds foci where S takes their maximum within an experiment, and points count in steps of a ten-thousandth of
the threshold, rounded up: it lets a few too many voxels through and never one too few. Two in a thousand voxels are
left with 20 experiments. `candidate_voxels` in tests/support/pruned.py is the plain version.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.lattice_lanes import LANES, add16, corner_masks, corners_reach, lowest_bit, reaches16
from ale_dask.numerics.kernels.simd import BARE, INNER

I64 = npt.NDArray[np.int64]
U16 = npt.NDArray[np.uint16]
CLASSES = 8
"""Number of places of a voxel in its cell: on a point, or between points along z, y, x: 4 x + 2 y + z."""
STRIPS_OF_PIECE = 16
"""Number of strips that cover 16 cells: four rows of 32 voxels."""


class Lattice(NamedTuple):
    """The lattice: point (X, Y, Z) lies at the voxel (2 X, 2 Y, 2 Z); number X * stride_x + Y * stride_y + Z + lead.

    There are `planes` and `rows` of points from 0 on. Cell (X, Y, Z) holds the 8 voxels from its point to the points
    that follow. `pieces` are the steps of 16 cells along z; bit p of filled[X * rows + Y], int64, says whether piece p
    has a voxel in which clusters are sought, and
    inside[((X * rows + Y) * pieces + p) * 4 + 2 x + y], int64, has a bit for each voxel along z of its row (x, y).
    """

    stride_x: int
    stride_y: int
    lead: int
    planes: int
    rows: int
    pieces: int
    filled: I64
    inside: I64


class Stamps(NamedTuple):
    """What each kernel adds to the lattice, in steps of `unit`: an upper bound of the kernel.

    The points of the stamp of a focus with z = pz and y = py modulo 2, |dx| voxels away, are rows of `width` points:
    table[(((kernel * 2 + pz) * 2 + py) * (reach + 1) + |dx|) * height + row) * width + point]. Those from row_begin to
    row_end (kernel, py, |dx|) are not 0; `half` is how many points a row begins before the focus's own. `extent`
    (kernel) is the largest |dx|.
    """

    table: U16
    row_begin: I64
    row_end: I64
    extent: I64
    reach: int
    height: int
    width: int
    half: int


class Limits(NamedTuple):
    """The least mean with which a voxel may have an S of `threshold`, for the eight classes of voxels.

    With a single threshold `least` (class), int64, are these, and `of_cell` and `of_row` are empty. With a threshold of
    each voxel, of_cell[(piece * 8 + class) * 16 + cell], uint16, has them for pieces ((X * rows + Y) * pieces + p), and
    of_row (X * rows + Y), int64, the least of a lattice row.
    """

    threshold: int
    least: I64
    of_cell: U16
    of_row: I64


class Strips(NamedTuple):
    """The voxels that may pass: strips of 8 along z, those of iteration b being begin[b] to begin[b + 1] - 1.

    x, y and z (strip), int16, are the first voxel in the grid of `Geometry`, and bit i of bits (strip), uint8, is set
    where the i-th voxel may pass. An iteration with too many has none, and dense (iteration), bool, is true.
    """

    begin: I64
    x: npt.NDArray[np.int16]
    y: npt.NDArray[np.int16]
    z: npt.NDArray[np.int16]
    bits: npt.NDArray[np.uint8]
    dense: npt.NDArray[np.bool_]


class Search(NamedTuple):
    """Memory of one thread for the search.

    lattice (point); marks (side, row), the pieces of the rows of two lattice planes that may hold something; hot
    (piece, 6), pieces of one plane of cells: row, piece and the bits of four rows of voxels; bits (4), those of one
    piece; limits (class, cell), flat, those of any piece where there is a single threshold.
    """

    lattice: U16
    marks: I64
    hot: I64
    bits: I64
    limits: U16


def search_memory(grid: Lattice) -> Search:
    """Return the memory of one thread for a lattice."""
    return Search(
        # A stamp may overhang the last row, and a piece that is looked at may begin at its last point.
        np.zeros(grid.planes * grid.stride_x + 3 * grid.lead + 4 * LANES, dtype=np.uint16),
        np.zeros((2, grid.rows), dtype=np.int64),
        np.zeros((grid.rows * grid.pieces + 1, 6), dtype=np.int64),
        np.zeros(4, dtype=np.int64),
        np.zeros(CLASSES * LANES, dtype=np.uint16),
    )


def strips_memory(iterations: int, *, most: int, grid: Lattice) -> Strips:
    """Return room for the strips of some iterations, `most` of each at most."""
    room = max(2**15, 2 * most) + STRIPS_OF_PIECE * grid.rows * grid.pieces
    return Strips(
        np.zeros(iterations + 1, dtype=np.int64),
        np.empty(room, dtype=np.int16),
        np.empty(room, dtype=np.int16),
        np.empty(room, dtype=np.int16),
        np.empty(room, dtype=np.uint8),
        np.zeros(iterations, dtype=np.bool_),
    )


@numba.njit(**INNER)
def add_stamps(foci, design, grid, stamps, lattice) -> None:  # type: ignore[no-untyped-def]
    """Fill lattice (point), uint16, with the sum of the stamps of foci (axis, focus), int16, in the grid."""
    lattice[:] = 0
    table, width = stamps.table, np.int64(stamps.width)
    for e in range(design.kernel.shape[0]):
        kernel = design.kernel[e]
        extent = stamps.extent[kernel]
        for f in range(design.focus_begin[e], design.focus_begin[e + 1]):
            x, y, z = np.int64(foci[0, f]), np.int64(foci[1, f]), np.int64(foci[2, f])
            odd = y & 1
            first_row = (y >> 1) - stamps.half
            own = ((kernel * 2 + (z & 1)) * 2 + odd) * (stamps.reach + 1)
            for plane in range(max(0, (x - extent + 1) >> 1), min(grid.planes, ((x + extent) >> 1) + 1)):
                dx = abs(2 * plane - x)
                begin = max(stamps.row_begin[kernel, odd, dx], -first_row)
                end = min(stamps.row_end[kernel, odd, dx], grid.rows - first_row)
                at = plane * grid.stride_x + (first_row + begin) * grid.stride_y + (z >> 1) - stamps.half + grid.lead
                entry = ((own + dx) * stamps.height + begin) * width
                if width == LANES:
                    for _ in range(end - begin):
                        add16(lattice, at, table, entry)
                        at += grid.stride_y
                        entry += LANES
                    continue
                for _ in range(end - begin):
                    for piece in range(0, width, LANES):
                        add16(lattice, at + piece, table, entry + piece)
                    at += grid.stride_y
                    entry += width


@numba.njit(**INNER)
def _mark_rows(plane, least, limits, grid, lattice, marks) -> None:  # type: ignore[no-untyped-def]
    """Fill marks (row), int64, with a bit for each piece of a plane of points in which one reaches its limit."""
    for row in range(grid.rows):
        if limits.of_row.shape[0]:
            least = limits.of_row[plane * grid.rows + row]
        at = plane * grid.stride_x + row * grid.stride_y + grid.lead
        bits = np.int64(0)
        for piece in range(grid.pieces):
            bits |= np.int64(reaches16(lattice, at + piece * LANES, least)) << piece
        marks[row] = bits


@numba.njit(**INNER)
def _hot_pieces(plane, limits, grid, search):  # type: ignore[no-untyped-def]
    """List in search.hot the pieces of a plane of cells with voxels that may pass, by row; return their number."""
    hot, bits = search.hot, search.bits
    near, far = search.marks[plane & 1], search.marks[(plane + 1) & 1]
    steps = (np.int64(grid.stride_x), np.int64(grid.stride_y))
    by_cell = limits.of_cell.shape[0] > 0
    least = limits.of_cell if by_cell else search.limits
    n = np.int64(0)
    for row in range(grid.rows - 1):
        place = plane * grid.rows + row
        marked = near[row] | near[row + 1] | far[row] | far[row + 1]
        # The last cell of a piece ends at the first point of the next.
        left = (marked | (marked >> 1)) & grid.filled[place]
        while left:
            piece = lowest_bit(left)
            left &= left - 1
            number = place * grid.pieces + piece
            at = plane * grid.stride_x + row * grid.stride_y + grid.lead + piece * LANES
            first = number * CLASSES * LANES if by_cell else np.int64(0)
            if not corners_reach(search.lattice, at, steps, least, first):
                continue
            corner_masks(search.lattice, at, steps, least, first, bits)
            some = np.int64(0)
            for r in range(4):
                hot[n, 2 + r] = bits[r] & grid.inside[4 * number + r]
                some |= hot[n, 2 + r]
            hot[n, 0], hot[n, 1] = row, piece
            n += np.int64(some != 0)
    return n


@numba.njit(**INNER)
def append_strips(plane, n_hot, n, hot, strips):  # type: ignore[no-untyped-def]
    """Append strips that cover the voxels of the hot pieces of a plane of cells, in order; return their number."""
    for side in range(2):
        begin = np.int64(0)
        while begin < n_hot:
            end = begin
            while end < n_hot and hot[end, 0] == hot[begin, 0]:
                end += 1
            for y in range(2):
                for h in range(begin, end):
                    bits = hot[h, 2 + 2 * side + y]
                    while bits:
                        start = lowest_bit(bits)
                        strips.x[n] = 2 * plane + side
                        strips.y[n] = 2 * hot[begin, 0] + y
                        strips.z[n] = 2 * LANES * hot[h, 1] + start
                        strips.bits[n] = (bits >> start) & 255
                        bits &= ~(np.int64(255) << start)
                        n += 1
            begin = end
    return n


@numba.njit(**INNER)
def _find_strips(threshold, n, most, limits, grid, search, strips):  # type: ignore[no-untyped-def]
    """Append the strips of voxels whose S may reach `threshold`; return their number, or -1 if it is above `most`."""
    least = np.int64(65535)
    if limits.of_cell.shape[0] == 0:
        for c in range(CLASSES):
            corners = (c & 1) + ((c >> 1) & 1) + (c >> 2)
            limit = min(-(-limits.least[c] * threshold // limits.threshold), np.int64(65535) >> corners)
            least = min(least, limit)
            for i in range(LANES):
                search.limits[c * LANES + i] = limit
    _mark_rows(0, least, limits, grid, search.lattice, search.marks[0])
    for plane in range(grid.planes - 1):
        _mark_rows(plane + 1, least, limits, grid, search.lattice, search.marks[(plane + 1) & 1])
        n_hot = _hot_pieces(plane, limits, grid, search)
        n = append_strips(plane, n_hot, n, search.hot, strips)
        if n > most:
            return np.int64(-1)
    return n


@numba.njit(**BARE)
def stamped_strips(foci, threshold, most, design, grid, stamps, limits, search, strips):  # type: ignore[no-untyped-def]
    """Fill `strips` for foci (iteration, axis, focus), int16, and return the number of iterations done, int64.

    `threshold` (iteration), int64, is the least S that counts; with a threshold of each voxel in `limits` it is not
    read. An iteration with more than `most` strips, int64, is called dense. The last iterations are not done where
    `strips` has no room for as many.
    """
    # As many strips as cover all voxels of a plane of cells may be found before they are counted.
    room = strips.bits.shape[0] - most - STRIPS_OF_PIECE * grid.rows * grid.pieces
    strips.begin[0] = 0
    for b in range(foci.shape[0]):
        begin = strips.begin[b]
        if begin > room:
            return b
        add_stamps(foci[b], design, grid, stamps, search.lattice)
        end = _find_strips(threshold[b], begin, begin + most, limits, grid, search, strips)
        strips.dense[b] = end < 0
        strips.begin[b + 1] = max(end, begin)
    return np.int64(foci.shape[0])
