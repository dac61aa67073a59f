"""The null of the cluster-level tests: foci drawn anew, ALE maximum, largest cluster and largest mass.

One iteration in one pass: every focus adds its fixed-point kernel to a padded volume row by row; a scan over
the mask's columns collects the voxels above the cluster-forming value and zeroes as it goes; union-find joins
those few voxels by faces. All sums are of int32 integers, so no order of anything changes a bit.

Within an experiment the maximum over foci counts, not their sum: a focus adds max(k, m) - m, where m is the
maximum over the earlier foci of its experiment, kept in a small local box. Foci can then be visited in the
order in which they lie in the volume, which keeps its rows in cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.simd import WIDTH, add8, excess8, max8
from ale_dask.numerics.stamps import Geometry, Stamps

I64 = npt.NDArray[np.int64]
_PIECE = WIDTH
"""Rows are added in pieces of 8 cells (32 bytes), zero-padded, so that no remainder loop is needed."""


class Design(NamedTuple):
    """Which foci belong to which experiment, its kernel and the key of its draws."""

    focus_begin: I64
    kernel: I64
    key: npt.NDArray[np.uint64]
    additive: bool


@numba.njit(cache=True, nogil=True, inline="always")
def _add_row(volume, cell, table, entry, pieces) -> None:  # type: ignore[no-untyped-def]
    for j in range(pieces):
        add8(volume, cell + j * _PIECE, table, entry + j * _PIECE)


@numba.njit(cache=True, nogil=True)
def _earlier_overlaps(position, design, stamps, overlap_begin, overlap) -> None:  # type: ignore[no-untyped-def]
    """List, for each focus, the earlier foci of its experiment whose boxes meet its own."""
    n = 0
    for e in range(design.kernel.shape[0]):
        kernel = design.kernel[e]
        reach_x = 2 * stamps.radius[kernel, 0]
        reach_y = 2 * stamps.radius[kernel, 1]
        reach_z = 2 * stamps.radius[kernel, 2]
        begin = design.focus_begin[e]
        for i in range(begin, design.focus_begin[e + 1]):
            overlap_begin[i] = n
            if design.additive:
                continue
            x = position[i, 0]
            y = position[i, 1]
            z = position[i, 2]
            for j in range(begin, i):
                if (
                    abs(position[j, 0] - x) <= reach_x
                    and abs(position[j, 1] - y) <= reach_y
                    and abs(position[j, 2] - z) <= reach_z
                ):
                    overlap[n] = j
                    n += 1
    overlap_begin[position.shape[0]] = n


@numba.njit(cache=True, nogil=True)
def _spatial_order(position, counts, width, order) -> None:  # type: ignore[no-untyped-def]
    """Sort foci by (x // 8, y) in two counting passes."""
    counts[:] = 0
    for f in range(position.shape[0]):
        counts[(position[f, 0] >> 3) * width + position[f, 1] + 1] += 1
    for i in range(1, counts.shape[0]):
        counts[i] += counts[i - 1]
    for f in range(position.shape[0]):
        slot = (position[f, 0] >> 3) * width + position[f, 1]
        order[counts[slot]] = f
        counts[slot] += 1


@numba.njit(cache=True, nogil=True, inline="always")
def _pieces(cells):  # type: ignore[no-untyped-def]
    return (cells + _PIECE - 1) // _PIECE


@numba.njit(cache=True, nogil=True)
def _add_excess(volume, cell, focus, kernel, position, earlier, stamps, local, seen) -> None:  # type: ignore[no-untyped-def]
    """Add max(k, m) - m of one focus, m the maximum over the earlier overlapping foci of its experiment.

    `local` holds m for the rows of the focus's own box that an earlier focus reaches; `seen` says which. Both
    are zero before and after.
    """
    table = stamps.table
    deep = 2 * stamps.radius[kernel, 0] + 1
    wide = 2 * stamps.radius[kernel, 1] + 1
    pieces = _pieces(2 * stamps.radius[kernel, 2] + 1)
    box = stamps.box_begin[kernel]
    for q in range(earlier.shape[0]):
        j = earlier[q]
        dx = position[j, 0] - position[focus, 0]
        dy = position[j, 1] - position[focus, 1]
        dz = position[j, 2] - position[focus, 2]
        for x in range(max(0, dx), min(deep, deep + dx)):
            for y in range(max(0, dy), min(wide, wide + dy)):
                row = x * wide + y
                other = box + (x - dx) * wide + y - dy
                if stamps.box_filled[box + row] and stamps.box_filled[other]:
                    seen[row] = 1
                    at = row * pieces * _PIECE
                    entry = stamps.box_table[other] - dz
                    for p in range(pieces):
                        max8(local, at + p * _PIECE, table, entry + p * _PIECE)
    for r in range(stamps.row_begin[kernel], stamps.row_begin[kernel + 1]):
        row = stamps.row_box[r]
        if seen[row]:
            seen[row] = 0
            at = row * pieces * _PIECE
            entry = stamps.box_table[box + row]
            target = cell + stamps.row_offset[r] - (stamps.row_table[r] - entry)
            for p in range(pieces):
                excess8(volume, target + p * _PIECE, table, entry + p * _PIECE, local, at + p * _PIECE)
        else:
            _add_row(volume, cell + stamps.row_offset[r], table, stamps.row_table[r], stamps.row_pieces[r])


@numba.njit(cache=True, nogil=True)
def _scan(volume, geometry, threshold, found, value):  # type: ignore[no-untyped-def]
    """Collect the mask cells at or above the threshold, zero the columns; returns their number and the maximum."""
    n = 0
    best = np.int32(0)
    for c in range(geometry.column_begin.shape[0]):
        begin = np.uint64(geometry.column_begin[c])
        end = np.uint64(geometry.column_end[c])
        top = np.int32(0)
        for j in range(begin, end):
            top = max(top, volume[j])
        if top >= threshold or top > best:
            for j in range(begin, end):
                v = volume[j]
                if geometry.inside[j]:
                    if v >= threshold:
                        found[n] = j
                        value[n] = v
                        n += 1
                    if v > best:
                        best = v
        for j in range(begin, end):
            volume[j] = 0
    return n, best


@numba.njit(cache=True, nogil=True)
def _root(parent, t):  # type: ignore[no-untyped-def]
    while parent[t] != t:
        parent[t] = parent[parent[t]]
        t = parent[t]
    return t


@numba.njit(cache=True, nogil=True)
def _largest(found, value, n, threshold, geometry, label, parent, size, mass):  # type: ignore[no-untyped-def]
    """Return the size in voxels and the mass (sum of value - threshold) of the largest face-connected cluster."""
    for t in range(n):
        cell = found[t]
        parent[t] = t
        size[t] = 1
        mass[t] = value[t] - threshold
        label[cell] = t + 1
        for step in (1, geometry.stride_y, geometry.stride_x):
            other = label[cell - step]
            if other > 0:
                a = _root(parent, other - 1)
                b = _root(parent, t)
                if a != b:
                    if size[a] < size[b]:
                        a, b = b, a
                    parent[b] = a
                    size[a] += size[b]
                    mass[a] += mass[b]
    largest = 0
    heaviest = 0
    for t in range(n):
        if parent[t] == t:
            largest = max(largest, size[t])
            heaviest = max(heaviest, mass[t])
        label[found[t]] = 0
    return largest, heaviest


@numba.njit(cache=True, nogil=True)
def _stamp_all(cells, position, design, stamps, geometry, volume, work) -> None:  # type: ignore[no-untyped-def]
    kernel_of_focus, overlap_begin, overlap, counts, width, order, local, seen = work
    for f in range(cells.shape[0]):
        position[f, 0] = cells[f] // geometry.stride_x
        rest = cells[f] - position[f, 0] * geometry.stride_x
        position[f, 1] = rest // geometry.stride_y
        position[f, 2] = rest - position[f, 1] * geometry.stride_y
    _earlier_overlaps(position, design, stamps, overlap_begin, overlap)
    _spatial_order(position, counts, width, order)
    for o in range(cells.shape[0]):
        f = order[o]
        kernel = kernel_of_focus[f]
        if overlap_begin[f] == overlap_begin[f + 1]:
            for r in range(stamps.row_begin[kernel], stamps.row_begin[kernel + 1]):
                _add_row(
                    volume,
                    cells[f] + stamps.row_offset[r],
                    stamps.table,
                    stamps.row_table[r],
                    stamps.row_pieces[r],
                )
        else:
            earlier = overlap[overlap_begin[f] : overlap_begin[f + 1]]
            _add_excess(volume, cells[f], f, kernel, position, earlier, stamps, local, seen)


@numba.njit(cache=True, nogil=True)
def _workspace(design, stamps, geometry):  # type: ignore[no-untyped-def]
    n_foci = design.focus_begin[-1]
    kernel_of_focus = np.empty(n_foci, dtype=np.int64)
    pairs = 1
    for e in range(design.kernel.shape[0]):
        begin = design.focus_begin[e]
        end = design.focus_begin[e + 1]
        kernel_of_focus[begin:end] = design.kernel[e]
        pairs += (end - begin) * (end - begin - 1) // 2
    box = 1
    rows = 1
    for k in range(stamps.radius.shape[0]):
        wide = (2 * stamps.radius[k, 0] + 1) * (2 * stamps.radius[k, 1] + 1)
        rows = max(rows, wide)
        box = max(box, wide * _pieces(2 * stamps.radius[k, 2] + 1) * _PIECE)
    width = geometry.stride_x // geometry.stride_y
    counts = np.zeros((geometry.size // geometry.stride_x // 8 + 2) * width + 2, dtype=np.int64)
    return (
        kernel_of_focus,
        np.zeros(n_foci + 1, dtype=np.int64),
        np.empty(1 if design.additive else pairs, dtype=np.int32),
        counts,
        width,
        np.empty(n_foci, dtype=np.int64),
        np.zeros(box, dtype=np.int32),
        np.zeros(rows, dtype=np.uint8),
    )


@numba.njit(cache=True, nogil=True)
def null_iterations(first, count, threshold, design, stamps, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 3), int64, with the largest S, cluster size in voxels and cluster mass of each iteration.

    Every focus of iterations first … first + count - 1 is drawn uniformly, with replacement, over the mask's
    voxel centres; clusters are of voxels with S >= threshold that share faces (method: Eickhoff 2012, 2016).
    """
    n_voxels = geometry.cell.shape[0]
    volume = np.zeros(geometry.size, dtype=np.int32)
    label = np.zeros(geometry.size, dtype=np.int32)
    found = np.empty(n_voxels, dtype=np.int64)
    value = np.empty(n_voxels, dtype=np.int32)
    parent = np.empty(n_voxels, dtype=np.int64)
    size = np.empty(n_voxels, dtype=np.int64)
    mass = np.empty(n_voxels, dtype=np.int64)
    cells = np.empty(design.focus_begin[-1], dtype=np.int64)
    position = np.empty((cells.shape[0], 3), dtype=np.int64)
    work = _workspace(design, stamps, geometry)
    for b in range(count):
        for e in range(design.kernel.shape[0]):
            draw_voxels(design.key[e], first + b, n_voxels, cells, design.focus_begin[e], design.focus_begin[e + 1])
        for f in range(cells.shape[0]):
            cells[f] = geometry.cell[cells[f]]
        _stamp_all(cells, position, design, stamps, geometry, volume, work)
        n, best = _scan(volume, geometry, threshold, found, value)
        out[b, 0] = best
        out[b, 1], out[b, 2] = _largest(found, value, n, threshold, geometry, label, parent, size, mass)


@numba.njit(cache=True, nogil=True)
def _sum_of_stamps(voxels, design, stamps, geometry, out) -> None:  # type: ignore[no-untyped-def]
    volume = np.zeros(geometry.size, dtype=np.int32)
    cells = geometry.cell[voxels]
    position = np.empty((cells.shape[0], 3), dtype=np.int64)
    _stamp_all(cells, position, design, stamps, geometry, volume, _workspace(design, stamps, geometry))
    for v in range(out.shape[0]):
        out[v] = volume[geometry.cell[v]]


def sum_of_stamps(voxels: I64, *, design: Design, stamps: Stamps, geometry: Geometry) -> I64:
    """Return S (voxel), int64, of foci that lie on the centres of these voxels (focus)."""
    out = np.empty(geometry.cell.shape[0], dtype=np.int64)
    _sum_of_stamps(voxels, design, stamps, geometry, out)
    return out
