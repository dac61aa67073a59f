"""The mask as planes of padded rows, and kernels as slabs of rows that are added to a plane."""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.simd import SCAN, WIDTH

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
NOWHERE = -(2**20)
"""Rows that an empty slab reaches: no row lies within."""


class Geometry(NamedTuple):
    """The mask in a grid with a border of one; cell = x * stride_x + y * stride_y + z, (x, y) is a column.

    The grid holds the voxels that foci are drawn from, `cell` and `place`, and those that are looked at, `inside` and
    the rest: `voxels` of them. Only rows `row_low` … `row_high` of a plane hold ones that are looked at; clusters join
    by edges, too, if `edges`.
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
    low_of_two: I64
    high_of_two: I64
    voxels: int
    edges: bool


@numba.njit(cache=True, nogil=True)
def face_steps(geometry):  # type: ignore[no-untyped-def]
    """Return how many cells before a voxel those lie that share a face with it."""
    return 1, geometry.stride_y, geometry.stride_x


@numba.njit(cache=True, nogil=True)
def edge_steps(geometry):  # type: ignore[no-untyped-def]
    """Return how many cells before a voxel those lie that share a face or an edge with it."""
    y, x = geometry.stride_y, geometry.stride_x
    return 1, y, x, y - 1, y + 1, x - 1, x + 1, x - y, x + y


class Stamps(NamedTuple):
    """Kernels as slabs, one for each distance |dx| to the focus's plane; a slab is rows along z, one for each dy.

    `entry[middle[slab] + dy]`, |dy| up to three radii, is where in `table` the row at dy has the focus's own z;
    `table` holds each distinct row once. `reach` and `half` are the largest |dy| and |dz| of a slab's cells, NOWHERE
    and 0 if nothing of it is left; the last slab of each kernel is such a one.
    """

    radius: I64
    slab_begin: I64
    reach: I64
    half: I64
    middle: I64
    entry: I32
    table: I32


def geometry(
    voxel_ijk: npt.NDArray[np.int16],
    *,
    radius: npt.NDArray[np.int64],
    edges: bool = False,
    drawn: npt.NDArray[np.int16] | None = None,
) -> Geometry:
    """Return the rows and planes of a mask (voxel, axis), C order, for kernels (kernel, axis) of these radii.

    Clusters are of voxels that share a face, or with `edges` also an edge; foci are drawn from the mask's voxels, or
    from those of `drawn` (voxel, axis).
    """
    places = voxel_ijk if drawn is None else drawn
    low_corner = np.minimum(voxel_ijk.min(axis=0), places.min(axis=0)).astype(np.int64)
    at = voxel_ijk.astype(np.int64) - low_corner + 1
    placed = places.astype(np.int64) - low_corner + 1
    planes, rows, cells = np.maximum(at.max(axis=0), placed.max(axis=0)) + 2
    # What a row overhangs must not reach the next one: the kernel, by the aligned piece that it ends in, or a scan's
    # last step. An odd number of 64-byte lines: a power of two maps all rows to the same cache sets (15-30 %).
    lines = -(-(int(cells) + max(int(radius[:, 2].max()) + WIDTH, SCAN)) // 16)
    stride_y = (lines + 1 - lines % 2) * 16
    stride_x = int(rows) * stride_y
    cell = at @ np.array([stride_x, stride_y, 1])
    size = int(planes) * stride_x
    inside = np.zeros(size, dtype=np.uint8)
    inside[cell] = 1
    column = cell - at[:, 2]
    first = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
    last = np.r_[first[1:] - 1, len(cell) - 1]
    plane_begin = np.searchsorted(at[first, 0], np.arange(int(planes) + 1)).astype(np.int64)
    low, high = np.full(int(planes), rows, dtype=np.int64), np.zeros(int(planes), dtype=np.int64)
    filled = np.flatnonzero(np.diff(plane_begin))
    low[filled] = np.minimum.reduceat(at[first, 1], plane_begin[filled])
    high[filled] = np.maximum.reduceat(at[first, 1], plane_begin[filled])
    # Planes 1 and 2, 3 and 4, …; the border is the last one's second if their number is odd.
    low_of_two, high_of_two = (
        np.append(ends[1:], ends[0])[: int(planes) // 2 * 2].reshape(-1, 2) for ends in (low, high)
    )
    return Geometry(
        stride_x,
        stride_y,
        size,
        placed @ np.array([stride_x, stride_y, 1]),
        place=placed.astype(np.int32),
        inside=inside,
        column_begin=cell[first],
        column_end=cell[last] + 1,
        plane_begin=plane_begin,
        row_low=low,
        row_high=high,
        low_of_two=low_of_two.min(axis=1),
        high_of_two=high_of_two.max(axis=1),
        voxels=len(cell),
        edges=edges,
    )


def _aligned(table: I32) -> I32:
    memory = np.empty(len(table) + 16, dtype=np.int32)
    start = -memory.ctypes.data // 4 % 16
    memory[start : start + len(table)] = table
    return memory[start : start + len(table)]


def stamps(boxes: list[I32]) -> Stamps:
    """Return the kernels (x, y, z), int32, each a mirror image of itself along x and y, as slabs of rows.

    Raises
    ------
    ValueError
        for a kernel that is not.
    """
    slab_begin, entry = [0], list[int]()
    reach, half, middle = list[int](), list[int](), list[int]()
    # Between rows as many zeros as another focus whose box meets this one's may read beyond, and pieces that begin up
    # to 7 cells early: a piece then needs no test of whether it meets the row. All rows begin in the middle of a cache
    # line: from up to 7 cells earlier on, 24 cells are two lines, not two or three (3 % of an iteration).
    gap = 2 * max(box.shape[2] // 2 for box in boxes) + WIDTH
    table: list[I32] = [np.zeros(-(-gap // 16) * 16 + 8, dtype=np.int32)]
    known: dict[bytes, int] = {}
    size = len(table[0])

    def place(row: I32) -> int:
        """Put a row into the table once; returns where its middle is."""
        nonlocal size
        text = row.tobytes()
        if text not in known:
            known[text] = size + len(row) // 2
            table.append(np.zeros(-(-(len(row) + gap) // 16) * 16, dtype=np.int32))
            table[-1][: len(row)] = row
            size += len(table[-1])
        return known[text]

    for box in boxes:
        if not (np.array_equal(box, box[::-1]) and np.array_equal(box, box[:, ::-1])):
            raise ValueError("a kernel must be its own mirror image along x and y")
        rx, ry, rz = (n // 2 for n in box.shape)
        for slab in (*box[rx:], np.zeros_like(box[0])):
            filled = np.argwhere(slab)
            distance = np.abs(filled - [ry, rz]).max(axis=0) if len(filled) else np.array([NOWHERE, 0])
            reach.append(int(distance[0]))
            half.append(int(distance[1]))
            # Rows of zeros as far as another focus whose box meets this one's may ask for.
            beyond = [place(np.zeros_like(slab[0]))] * (2 * ry)
            middle.append(len(entry) + len(beyond) + ry)
            entry += [*beyond, *map(place, slab), *beyond]
        slab_begin.append(len(reach))

    def whole(numbers: list[int]) -> I64:
        return np.array(numbers, dtype=np.int64)

    return Stamps(
        whole([n // 2 for box in boxes for n in box.shape]).reshape(-1, 3),
        slab_begin=whole(slab_begin),
        reach=whole(reach),
        half=whole(half),
        middle=whole(middle),
        entry=np.array(entry, dtype=np.int32),
        table=_aligned(np.concatenate(table)),
    )
