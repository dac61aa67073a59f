"""The mask as planes of padded rows, and kernels as rows that are added to such a plane.

    plane at x:   row y      · M M M M M · · · · · · · ·      M: mask voxel, ·: border and padding, always there
                  row y + 1  · · M M M M M · · · · · · ·      cell = x * stride_x + y * stride_y + z

    kernel:       slab |dx| = 0, 1, …, each of rows dy = -3 … 3 along z; `entry` says where in `table` a row begins:
    table:        0 0 0 0 k k k k k 0 0 0 0 k k k 0 0 0 0 …   each distinct row once, zeros between rows

Adding a kernel is adding rows of the table to rows of a plane. Because of the padding and the zeros a row is added in
whole pieces of 8 cells, without a test of where it ends. A kernel is a mirror image of itself along x and y, so that
few rows are distinct: the tables of usual samples fit into the first cache.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.simd import SCAN, WIDTH

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
NOWHERE = -(2**20)
"""The reach of a slab of zeros: no row lies within it."""


class Geometry(NamedTuple):
    """The mask in a grid with a border of one cell; cell = x * stride_x + y * stride_y + z, a column is a pair (x, y).

    Foci are drawn from the voxels of `cell` (voxel) and `place` (voxel, axis), in that grid. Clusters are sought in the
    `voxels` of them, or others, for which `inside` (cell) is 1: those of a column are the cells column_begin (column)
    to column_end (column) - 1, those of plane x the columns plane_begin[x] to plane_begin[x + 1] - 1,
    and lie in the rows row_low[x] to row_high[x]. `pair_row_low` and `pair_row_high` (pair) are these for the planes
    1 and 2, 3 and 4, …. A voxel's earlier neighbours, with which it may form a cluster, lie `steps` (neighbour) cells
    before it.
    """

    stride_x: int
    stride_y: int
    size: int
    cell: I64
    place: I32
    inside: npt.NDArray[np.uint8]
    column_begin: I64
    column_end: I64
    plane_begin: I64
    row_low: I64
    row_high: I64
    pair_row_low: I64
    pair_row_high: I64
    voxels: int
    steps: I64


class KernelRows(NamedTuple):
    """Kernels as slabs, one for each distance |dx| to the focus's plane; a slab is rows along z, one for each dy.

    `radius` (kernel, axis) is in voxels. The slabs of a kernel are slab_begin[kernel] + |dx|, the last of them, beyond
    the kernel, being zeros. entry[middle[slab] + dy], |dy| up to three radii, is where in `table`, values in fixed
    point, the row at dy has the focus's own z. `reach` and `half` (slab) are the largest |dy| and |dz| of the cells
    that are not 0, or NOWHERE and 0 where all are.
    """

    radius: I64
    slab_begin: I64
    reach: I64
    half: I64
    middle: I64
    entry: I32
    table: I32


def geometry(voxel_ijk: I16, *, radius: I64, edges: bool = False, drawn: I16 | None = None) -> Geometry:
    """Return the rows and planes of a mask (voxel, axis), C order, for kernels (kernel, axis) of these radii in voxels.

    Clusters are of voxels that share a face, or with `edges` also an edge. Foci are drawn from the mask's voxels, or
    from the voxels `drawn` (voxel, axis).
    """
    sources = voxel_ijk if drawn is None else drawn
    low_corner = np.minimum(voxel_ijk.min(axis=0), sources.min(axis=0)).astype(np.int64)
    at = voxel_ijk.astype(np.int64) - low_corner + 1
    place = sources.astype(np.int64) - low_corner + 1
    planes, rows, cells = (int(n) for n in np.maximum(at.max(axis=0), place.max(axis=0)) + 2)
    stride_y = _row_stride(cells, radius=int(radius[:, 2].max()))
    stride = np.array([rows * stride_y, stride_y, 1])
    cell = at @ stride
    size = planes * rows * stride_y
    inside = np.zeros(size, dtype=np.uint8)
    inside[cell] = 1
    column = cell - at[:, 2]
    first = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
    last = np.r_[first[1:] - 1, len(cell) - 1]
    plane_begin = np.searchsorted(at[first, 0], np.arange(planes + 1)).astype(np.int64)
    low, high = _row_ends(at[first, 1], plane_begin, rows=rows)
    return Geometry(
        rows * stride_y,
        stride_y,
        size,
        place @ stride,
        # One order for every mask, however its voxels lie in memory: for each order the kernels would be compiled anew.
        place=place.astype(np.int32, order="C"),
        inside=inside,
        column_begin=cell[first],
        column_end=cell[last] + 1,
        plane_begin=plane_begin,
        row_low=low,
        row_high=high,
        pair_row_low=_by_pair(low).min(axis=1),
        pair_row_high=_by_pair(high).max(axis=1),
        voxels=len(cell),
        steps=_steps_back(rows * stride_y, stride_y, edges=edges),
    )


def _steps_back(x: int, y: int, *, edges: bool) -> I64:
    """Return how many cells before a voxel its earlier neighbours lie (neighbour), x and y being strides in cells.

    These are the three neighbours that share a face with it, or with `edges` the nine that share a face or an edge.
    """
    faces = [1, y, x]
    return np.array([*faces, y - 1, y + 1, x - 1, x + 1, x - y, x + y] if edges else faces, dtype=np.int64)


def _row_stride(cells: int, *, radius: int) -> int:
    """Return how many cells a row of a plane takes, for a grid of so many cells along z and kernels of this radius."""
    # What a row overhangs must not reach the next row: a kernel, with the aligned piece that it ends in, or the last
    # step of a scan. An odd number of 64-byte lines: a power of two maps all rows to the same cache sets (15-30 %).
    lines = -(-(cells + max(radius + WIDTH, SCAN)) // 16)
    return (lines + 1 - lines % 2) * 16


def _row_ends(y: I64, plane_begin: I64, *, rows: int) -> tuple[I64, I64]:
    """Return the first and the last row of each plane (plane) in which a column (column) of the mask lies."""
    planes = len(plane_begin) - 1
    low, high = np.full(planes, rows, dtype=np.int64), np.zeros(planes, dtype=np.int64)
    filled = np.flatnonzero(np.diff(plane_begin))
    low[filled] = np.minimum.reduceat(y, plane_begin[filled])
    high[filled] = np.maximum.reduceat(y, plane_begin[filled])
    return low, high


def _by_pair(ends: I64) -> I64:
    """Return the ends of planes (plane) by pair of planes (pair, 2): planes 1 and 2, 3 and 4, ….

    The second plane of the last pair is the border, plane 0, if the number of planes is odd.
    """
    return np.append(ends[1:], ends[0])[: len(ends) // 2 * 2].reshape(-1, 2)


class _RowTable:
    """Rows one after another, each distinct row once, between at least so many zeros."""

    def __init__(self, *, gap: int) -> None:
        # All rows begin in the middle of a cache line: from up to 7 cells earlier on, 24 cells are two lines, not two
        # or three (3 % of an iteration).
        self._gap = gap
        self._rows: list[I32] = [np.zeros(-(-self._gap // 16) * 16 + 8, dtype=np.int32)]
        self._size = len(self._rows[0])
        self._middle: dict[bytes, int] = {}

    def middle_of(self, row: I32) -> int:
        """Put a row into the table unless it is there, and return where its middle is."""
        text = row.tobytes()
        if text not in self._middle:
            self._middle[text] = self._size + len(row) // 2
            self._rows.append(np.zeros(-(-(len(row) + self._gap) // 16) * 16, dtype=np.int32))
            self._rows[-1][: len(row)] = row
            self._size += len(self._rows[-1])
        return self._middle[text]

    def aligned(self) -> I32:
        """Return the whole table, its first cell at the beginning of a cache line."""
        memory = np.empty(self._size + 16, dtype=np.int32)
        start = -memory.ctypes.data // 4 % 16
        memory[start : start + self._size] = np.concatenate(self._rows)
        return memory[start : start + self._size]


def farthest(box: I32) -> int:
    """Return the distance in voxels, rounded up, from a kernel's middle to the farthest of its cells that is not 0."""
    filled = np.argwhere(box) - np.array(box.shape) // 2
    return math.isqrt(max(int((filled**2).sum(axis=1).max(initial=0)) - 1, 0)) + 1


def rows_of_kernels(boxes: list[I32]) -> KernelRows:
    """Return the kernels (x, y, z), int32, each a mirror image of itself along x and y, as slabs of rows.

    Raises
    ------
    ValueError
        for a kernel that is no mirror image of itself.
    """
    slab_begin, entry = [0], list[int]()
    reach, half, middle = list[int](), list[int](), list[int]()
    far = [farthest(box) for box in boxes]
    # Between rows as many zeros as a focus whose box meets another one's may read beyond, and pieces that begin up to 7
    # cells early: a piece then needs no test of whether it meets the row. `exact_sums` reads for strips up to 14 cells
    # from a focus that is as far from a box as the kernel reaches.
    gaps = [
        max(2 * (box.shape[2] // 2) + WIDTH, f + 2 * WIDTH - box.shape[2] // 2)
        for box, f in zip(boxes, far, strict=True)
    ]
    table = _RowTable(gap=max(gaps))
    for box, reached in zip(boxes, far, strict=True):
        if not (np.array_equal(box, box[::-1]) and np.array_equal(box, box[:, ::-1])):
            raise ValueError("a kernel must be its own mirror image along x and y")
        rx, ry, rz = (n // 2 for n in box.shape)
        for slab in (*box[rx:], np.zeros_like(box[0])):
            filled = np.argwhere(slab)
            distance = np.abs(filled - [ry, rz]).max(axis=0) if len(filled) else np.array([NOWHERE, 0])
            reach.append(int(distance[0]))
            half.append(int(distance[1]))
            # Rows of zeros as far as another focus whose box meets this one's may ask for, or `exact_sums`.
            beyond = [table.middle_of(np.zeros_like(slab[0]))] * max(2 * ry, reached + WIDTH - ry)
            middle.append(len(entry) + len(beyond) + ry)
            entry += [*beyond, *map(table.middle_of, slab), *beyond]
        slab_begin.append(len(reach))
    return KernelRows(
        np.array([n // 2 for box in boxes for n in box.shape], dtype=np.int64).reshape(-1, 3),
        slab_begin=np.array(slab_begin, dtype=np.int64),
        reach=np.array(reach, dtype=np.int64),
        half=np.array(half, dtype=np.int64),
        middle=np.array(middle, dtype=np.int64),
        entry=np.array(entry, dtype=np.int32),
        table=table.aligned(),
    )
