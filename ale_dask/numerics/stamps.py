"""The mask as a padded volume, and kernels as rows that are added to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.simd import WIDTH

I64 = npt.NDArray[np.int64]


class Geometry(NamedTuple):
    """The mask inside a padded volume; cell = x * stride_x + y * stride_y + z."""

    stride_x: int
    stride_y: int
    size: int
    cell: I64
    inside: npt.NDArray[np.uint8]
    column_begin: I64
    column_end: I64


class Stamps(NamedTuple):
    """Kernels as rows along z; `table` holds each distinct row once, with zeros before and after it."""

    radius: I64
    row_begin: I64
    row_offset: I64
    row_table: I64
    row_pieces: I64
    row_box: I64
    box_begin: I64
    box_table: I64
    box_filled: npt.NDArray[np.uint8]
    table: npt.NDArray[np.int32]


def geometry(voxel_ijk: npt.NDArray[np.int16], *, radius: npt.NDArray[np.int64]) -> Geometry:
    """Return the padded volume of a mask (voxel, axis) for kernels (kernel, axis) of these radii."""
    ijk = voxel_ijk.astype(np.int64)
    low = ijk.min(axis=0)
    nx, ny, nz = ijk.max(axis=0) - low + 1
    # At least one cell of padding: without it the cell before a row's first is the previous plane's last.
    rx, ry, rz = (max(1, int(r)) for r in radius.max(axis=0))
    # Strides are an odd number of 64-byte lines: a power of two maps all rows to the same cache sets (15-30 %).
    lines = -(-(int(nz) + rz + 2 * WIDTH) // 16)
    stride_y = (lines + 1 - lines % 2) * 16
    rows = int(ny) + 2 * ry
    stride_x = (rows + 1 - rows % 2) * stride_y
    at = ijk - low + np.array([rx, ry, rz])
    cell = at[:, 0] * stride_x + at[:, 1] * stride_y + at[:, 2]
    size = int((nx + 2 * rx) * stride_x + 8 * WIDTH)
    inside = np.zeros(size, dtype=np.uint8)
    inside[cell] = 1
    column = at[:, 0] * stride_x + at[:, 1] * stride_y
    first = np.flatnonzero(np.r_[True, column[1:] != column[:-1]])
    last = np.r_[first[1:] - 1, len(cell) - 1]
    return Geometry(stride_x, stride_y, size, cell, inside, cell[first], cell[last] + 1)


def stamps(boxes: list[npt.NDArray[np.int32]], *, stride_x: int, stride_y: int) -> Stamps:
    """Return the kernels (x, y, z), int32, as rows for a volume of these strides."""
    table: list[npt.NDArray[np.int32]] = []
    known: dict[bytes, int] = {}
    size = 0

    def place(row: npt.NDArray[np.int32], radius: int) -> int:
        """Put a row into the table once, behind and before at least 2 r zeros; returns where its z = -r cell is."""
        nonlocal size
        text = row.tobytes()
        if text not in known:
            padded = np.zeros(2 * radius + len(row) + 2 * radius + WIDTH, dtype=np.int32)
            padded[2 * radius : 2 * radius + len(row)] = row
            table.append(padded)
            known[text] = size + 2 * radius
            size += len(padded)
        return known[text]

    row_begin, offset, where, pieces, row_box, box_begin, box_table, filled = [0], [], [], [], [], [0], [], []
    for box in boxes:
        rx, ry, rz = (n // 2 for n in box.shape)
        for dx in range(-rx, rx + 1):
            for dy in range(-ry, ry + 1):
                row = box[dx + rx, dy + ry]
                at = place(row, rz)
                box_table.append(at)
                filled.append(row.any())
                if row.any():
                    row_box.append(len(box_table) - 1 - box_begin[-1])
                    half = rz - int(np.argmax(row > 0))
                    offset.append(dx * stride_x + dy * stride_y - half)
                    where.append(at + rz - half)
                    pieces.append(-(-(2 * half + 1) // WIDTH))
        row_begin.append(len(offset))
        box_begin.append(len(box_table))
    radius = np.array([[n // 2 for n in box.shape] for box in boxes], dtype=np.int64)

    def whole(numbers: list[int]) -> I64:
        return np.array(numbers, dtype=np.int64)

    return Stamps(
        radius,
        row_begin=whole(row_begin),
        row_offset=whole(offset),
        row_table=whole(where),
        row_pieces=whole(pieces),
        row_box=whole(row_box),
        box_begin=whole(box_begin),
        box_table=whole(box_table),
        box_filled=np.array(filled, dtype=np.uint8),
        table=np.concatenate(table),
    )
