"""S in strips of eight voxels: the same integers as those of `planes`, in these voxels alone.

    all foci, by experiment      near the planes x = 8 … 15      near a group of strips (a cube of 8 x 8 x 8 voxels)
      e0 e0 e1 e2 e2 e2 …   ->     e0 e2 e2 …               ->     e0 e2 …

    for each strip, in two registers, and each focus near its group:
        new experiment?    most = 0                         most: the largest value of the experiment so far
        k = its kernel's row, read where the strip lies
        total += max(most, k) - most;  most = max(most, k)

The gains of an experiment's foci add up to the maximum over them; where foci add up, each counts as an experiment of
its own. All are int32, so no order changes a bit. Testing whether a focus is near takes half a nanosecond, so that no
table of places is kept; a focus and a pair of strips take 1.1 ns. `exact_sums` in tests/support/pruned.py is the plain
version.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.kernels.candidate_strips import Strips
from ale_dask.numerics.kernels.kernel_rows import Geometry
from ale_dask.numerics.kernels.lattice_lanes import LANES, grown8, kept8, lowest_bit, near16, store8, zero8
from ale_dask.numerics.kernels.simd import BARE, WIDTH, larger8, load

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
CUBE = 3
"""Strips whose first voxels share their coordinates without the lowest three bits are one group."""
ANYWHERE = 30_000
"""Half the length of a box that a focus is inside of along an axis, whatever its place."""


class NearFoci(NamedTuple):
    """The foci near something, in order of experiments: x, y, z and the squared reach of the kernel (focus), int16.

    number (focus), int32, is that of the focus in the iteration. Behind the last one are 16 that are near nothing.
    """

    x: I16
    y: I16
    z: I16
    reach: I16
    number: I32


class SumMemory(NamedTuple):
    """Memory of one thread for the exact sums.

    - foci, all of an iteration, and slab, those near eight planes
    - experiment (focus), int32, and squared reach (kernel), int16
    - row (focus, 6), int32, the foci near a group: x, the kernel's number of slabs, where in `KernelRows.entry` its
      first slab has the row y = 0 of the grid, the step to the next slab, z, and -1 where the experiment is that of the
      focus before, otherwise 0
    - next (strip) and head (group), int32, chain the strips of a group; group (y, z), int32, is the group of a column
      of cubes, or -1
    - box (group, 6), int16, encloses the strips of a group; value (strip, 8), flat, is S
    """

    foci: NearFoci
    slab: NearFoci
    experiment: I32
    reach: I16
    row: I32
    next: I32
    head: I32
    group: I32
    box: I16
    value: I32


class Found(NamedTuple):
    """The voxels with S at or above their threshold, in order of cells: cell, int64, and value, S, int32, (voxel).

    Those of iteration b are begin[b] to begin[b + 1] - 1; best (iteration), int32, is the largest S of all voxels that
    were looked at.
    """

    begin: I64
    cell: I64
    value: I32
    best: I32


def _near_memory(n_foci: int) -> NearFoci:
    x, y, z, reach = np.empty((4, n_foci + LANES), dtype=np.int16)
    return NearFoci(x, y, z, reach, np.empty(n_foci + LANES, dtype=np.int32))


def sum_memory(n_foci: int, *, reach: I16, most: int, geometry: Geometry) -> SumMemory:
    """Return the memory of one thread for so many foci and strips of an iteration; `reach` (kernel) is squared."""
    rows = geometry.stride_x // geometry.stride_y
    groups = ((rows >> CUBE) + 1) * ((geometry.stride_y >> CUBE) + 1)
    return SumMemory(
        _near_memory(n_foci),
        _near_memory(n_foci),
        np.empty(n_foci, dtype=np.int32),
        reach,
        np.empty((n_foci, 6), dtype=np.int32),
        np.empty(most, dtype=np.int32),
        np.empty(groups, dtype=np.int32),
        np.full(groups, -1, dtype=np.int32),
        np.empty((groups + 1, 6), dtype=np.int16),
        np.empty(most * WIDTH, dtype=np.int32),
    )


def found_memory(strips: Strips) -> Found:
    """Return room for all voxels of the strips of some iterations; what is not used takes no memory."""
    voxels = strips.bits.shape[0] * WIDTH
    begin, best = np.zeros(strips.begin.shape[0], dtype=np.int64), np.zeros(strips.dense.shape[0], dtype=np.int32)
    return Found(begin, np.empty(voxels, dtype=np.int64), np.empty(voxels, dtype=np.int32), best)


@numba.njit(**BARE)
def _place_foci(voxels, design, geometry, memory) -> None:  # type: ignore[no-untyped-def]
    """Fill memory.foci and memory.experiment from the voxels (focus), int64, of an iteration."""
    foci = memory.foci
    for e in range(design.kernel.shape[0]):
        reach = memory.reach[design.kernel[e]]
        for f in range(np.uint64(design.focus_begin[e]), np.uint64(design.focus_begin[e + 1])):
            v = np.uint64(voxels[f])
            foci.x[f] = geometry.place[v, 0]
            foci.y[f] = geometry.place[v, 1]
            foci.z[f] = geometry.place[v, 2]
            foci.reach[f] = reach
            foci.number[f] = f
            memory.experiment[f] = e
    foci.reach[voxels.shape[0] : voxels.shape[0] + LANES] = -1


@numba.njit(**BARE)
def _foci_of_slab(n_foci, box, foci, slab):  # type: ignore[no-untyped-def]
    """Copy the foci near a box (6), int16, to `slab`; return their number, int64."""
    n = np.int64(0)
    for first in range(0, n_foci, LANES):
        near = near16(foci.x, foci.y, foci.z, foci.reach, first, box)
        while near:
            f = first + lowest_bit(near)
            near &= near - 1
            slab.x[n], slab.y[n], slab.z[n] = foci.x[f], foci.y[f], foci.z[f]
            slab.reach[n], slab.number[n] = foci.reach[f], foci.number[f]
            n += 1
    slab.reach[n : n + LANES] = -1
    return n


@numba.njit(**BARE)
def _rows_of_group(n_slab, box, design, rows, memory):  # type: ignore[no-untyped-def]
    """Fill memory.row with the foci of the slab that are near a box (6), int16; return their number, int64."""
    slab, row = memory.slab, memory.row
    n, before = np.int64(0), np.int32(-1)
    for first in range(0, n_slab, LANES):
        near = near16(slab.x, slab.y, slab.z, slab.reach, first, box)
        while near:
            f = first + lowest_bit(near)
            near &= near - 1
            experiment = memory.experiment[slab.number[f]]
            kernel = design.kernel[experiment]
            slab_0 = rows.slab_begin[kernel]
            row[n, 0], row[n, 1] = slab.x[f], rows.radius[kernel, 0] + 1
            row[n, 2] = rows.middle[slab_0] - slab.y[f]
            row[n, 3] = rows.middle[slab_0 + 1] - rows.middle[slab_0]
            row[n, 4] = slab.z[f]
            row[n, 5] = -np.int32((experiment == before) & (not design.additive))
            before = experiment
            n += 1
    return n


@numba.njit(**BARE)
def _group_strips(begin, end, geometry, strips, memory):  # type: ignore[no-untyped-def]
    """Chain the strips begin … end - 1, all of one slab, by group; return the number of groups."""
    box = memory.box
    columns = (geometry.stride_y >> CUBE) + 1
    groups = 0
    for s in range(begin, end):
        i = s - begin
        x, y, z = np.int64(strips.x[s]), np.int64(strips.y[s]), np.int64(strips.z[s])
        column = (y >> CUBE) * columns + (z >> CUBE)
        g = memory.group[column]
        if g < 0:
            g = groups
            groups += 1
            memory.group[column] = g
            memory.head[g] = -1
            box[g, 0], box[g, 1], box[g, 2] = x, y, z
            box[g, 3], box[g, 4], box[g, 5] = x, y, z
        box[g, 0], box[g, 1], box[g, 2] = min(box[g, 0], x), min(box[g, 1], y), min(box[g, 2], z)
        box[g, 3], box[g, 4], box[g, 5] = max(box[g, 3], x), max(box[g, 4], y), max(box[g, 5], z + WIDTH - 1)
        memory.next[i] = memory.head[g]
        memory.head[g] = i
    for s in range(begin, end):
        memory.group[(np.int64(strips.y[s]) >> CUBE) * columns + (np.int64(strips.z[s]) >> CUBE)] = -1
    return groups


@numba.njit(**BARE)
def _sum_strips(begin, first, n, rows, strips, memory) -> None:  # type: ignore[no-untyped-def]
    """Fill memory.value for strips of a group, chained from begin + first, from its n foci: two strips at a time."""
    row = memory.row
    table, entries = rows.table, rows.entry
    i = np.int64(first)
    while i >= 0:
        after = np.int64(memory.next[i])
        j = after if after >= 0 else i
        s, t = begin + i, begin + j
        x, y, z = np.int64(strips.x[s]), np.int64(strips.y[s]), np.int64(strips.z[s])
        x_2, y_2, z_2 = np.int64(strips.x[t]), np.int64(strips.y[t]), np.int64(strips.z[t])
        total, most, total_2, most_2 = zero8(), zero8(), zero8(), zero8()
        for f in range(n):
            x0, beyond, base = np.int64(row[f, 0]), np.int64(row[f, 1]), np.int64(row[f, 2])
            step, z0, keep = np.int64(row[f, 3]), np.int64(row[f, 4]), np.int64(row[f, 5])
            old, old_2 = kept8(most, keep), kept8(most_2, keep)
            entry = np.int64(load(entries, base + min(abs(x - x0), beyond) * step + y))
            entry_2 = np.int64(load(entries, base + min(abs(x_2 - x0), beyond) * step + y_2))
            most = larger8(old, table, entry + z - z0)
            most_2 = larger8(old_2, table, entry_2 + z_2 - z0)
            total, total_2 = grown8(total, most, old), grown8(total_2, most_2, old_2)
        store8(memory.value, i * WIDTH, total)
        store8(memory.value, j * WIDTH, total_2)
        i = np.int64(memory.next[j]) if after >= 0 else np.int64(-1)


@numba.njit(**BARE)
def _keep_passing(begin, end, threshold, n, best, geometry, strips, memory, found):  # type: ignore[no-untyped-def]
    """Append the voxels of strips begin … end - 1 with S >= threshold; return their number and the largest S."""
    by_cell = threshold.shape[0] > 1
    least = threshold[0]
    for s in range(begin, end):
        bits = np.int64(strips.bits[s])
        origin = strips.x[s] * geometry.stride_x + strips.y[s] * geometry.stride_y + strips.z[s]
        while bits:
            i = lowest_bit(bits)
            bits &= bits - 1
            value = memory.value[(s - begin) * WIDTH + i]
            cell = origin + i
            best = max(best, value)
            if by_cell:
                least = threshold[cell]
            if value >= least:
                found.cell[n], found.value[n] = cell, value
                n += 1
    return n, best


@numba.njit(**BARE)
def exact_sums(voxels, done, threshold, design, rows, geometry, strips, memory, found) -> None:  # type: ignore[no-untyped-def]
    """Fill `found` for the first iterations, `done` of them, from the foci at voxels (iteration, focus) and `strips`.

    `threshold`, int32, holds the S that a voxel must reach, one for all or one of each cell.
    """
    n_foci = np.int64(voxels.shape[1])
    everywhere = memory.box[-1]
    everywhere[1:3], everywhere[4:6] = -ANYWHERE, ANYWHERE
    found.begin[0] = 0
    for b in range(done):
        _place_foci(voxels[b], design, geometry, memory)
        n, best = found.begin[b], np.int32(0)
        begin, last = strips.begin[b], strips.begin[b + 1]
        while begin < last:
            slab = strips.x[begin] >> CUBE
            end = begin
            while end < last and strips.x[end] >> CUBE == slab:
                end += 1
            groups = _group_strips(begin, end, geometry, strips, memory)
            everywhere[0], everywhere[3] = strips.x[begin], strips.x[end - 1]
            n_slab = _foci_of_slab(n_foci, everywhere, memory.foci, memory.slab)
            for g in range(groups):
                n_rows = _rows_of_group(n_slab, memory.box[g], design, rows, memory)
                _sum_strips(begin, memory.head[g], n_rows, rows, strips, memory)
            n, best = _keep_passing(begin, end, threshold, n, best, geometry, strips, memory, found)
            begin = end
        found.begin[b + 1], found.best[b] = n, best
