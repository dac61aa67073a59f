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
from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.kernels.kernel_rows import Geometry
from ale_dask.numerics.kernels.lattice_lanes import FOCI, grown8, kept8, lowest_bit, near32, slab_rows8, store8, zero8
from ale_dask.numerics.kernels.simd import BARE, INNER, WIDTH, larger8, load

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
CUBE = 3
"""Strips whose first voxels share their coordinates without the lowest three bits are one group."""
ANYWHERE = 30_000
"""Half the length of a box that a focus is inside of along an axis, whatever its place."""


class FocusKinds(NamedTuple):
    """What is known of foci before they are drawn, in order of experiments: the squared reach of the kernel, int16, …

    … the numbers of the experiment and of the kernel, int32, (focus). Behind the last focus are 32 near nothing.
    """

    reach: I16
    experiment: I32
    kernel: I32


class NearFoci(NamedTuple):
    """The foci near something, in order of experiments: x, y and z (focus), int16, and the rest."""

    x: I16
    y: I16
    z: I16
    kind: FocusKinds


class SumMemory(NamedTuple):
    """Memory of one thread for the exact sums.

    - foci, all of an iteration, and slab, those near eight planes
    - row (focus, 8), flat, of the foci near a group: where in `KernelRows.entry` the rows y = 0 of the grid are of the
      slabs that lie in the planes x = 0 … 7 of the group; z (focus); and keep (focus), -1 where the experiment is that
      of the focus before, otherwise 0; all int32
    - next (strip) and head (group), int32, chain the strips of a group; group (y, z), int32, is the group of a column
      of cubes, or -1
    - box (group, 6), int16, encloses the strips of a group; value (strip, 8), flat, is S
    """

    foci: FocusKinds
    slab: NearFoci
    row: I32
    z: I32
    keep: I32
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


@numba.njit(**INNER)
def most_found(done, found):  # type: ignore[no-untyped-def]
    """Return the largest number of voxels of the first `done` iterations, int64, that `found` holds of one."""
    most = np.int64(0)
    for b in range(done):
        most = max(most, found.begin[b + 1] - found.begin[b])
    return most


def kinds_of_foci(design: Design, *, reach: I16) -> FocusKinds:
    """Return what is known of the foci of a `Design`, whose kernels (kernel) have this squared reach, int16."""
    n_foci = np.diff(design.focus_begin)
    kernel = np.repeat(design.kernel, n_foci)
    experiment = np.repeat(np.arange(len(n_foci)), n_foci)
    behind = (0, FOCI)
    return FocusKinds(
        np.pad(reach[kernel], behind, constant_values=-1),
        np.pad(experiment, behind).astype(np.int32),
        np.pad(kernel, behind).astype(np.int32),
    )


def sum_memory(foci: FocusKinds, *, most: int, geometry: Geometry) -> SumMemory:
    """Return the memory of one thread for these foci and so many strips of an iteration."""
    n_foci = len(foci.kernel)
    x, y, z, reach = np.empty((4, n_foci), dtype=np.int16)
    experiment, kernel = np.empty((2, n_foci), dtype=np.int32)
    rows = geometry.stride_x // geometry.stride_y
    groups = ((rows >> CUBE) + 1) * ((geometry.stride_y >> CUBE) + 1)
    return SumMemory(
        foci,
        NearFoci(x, y, z, FocusKinds(reach, experiment, kernel)),
        np.empty(n_foci << CUBE, dtype=np.int32),
        np.empty(n_foci, dtype=np.int32),
        np.empty(n_foci, dtype=np.int32),
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


@numba.njit(**INNER)
def _foci_of_slab(drawn, box, foci, slab):  # type: ignore[no-untyped-def]
    """Copy the drawn foci (axis, focus), int16, near a box (6), int16, to `slab`; return their number, int64."""
    x, y, z = drawn[0], drawn[1], drawn[2]
    n = np.int64(0)
    for first in range(0, drawn.shape[1] - FOCI, FOCI):
        near = near32(x, y, z, foci.reach, first, box)
        while near:
            f = np.uint64(first + lowest_bit(near))
            near &= near - 1
            slab.x[n], slab.y[n], slab.z[n] = x[f], y[f], z[f]
            slab.kind.reach[n] = foci.reach[f]
            slab.kind.experiment[n], slab.kind.kernel[n] = foci.experiment[f], foci.kernel[f]
            n += 1
    slab.kind.reach[n : n + FOCI] = -1
    return n


@numba.njit(**INNER)
def _rows_of_group(x, n_slab, box, additive, rows, memory):  # type: ignore[no-untyped-def]
    """Fill memory.row, z and keep with the foci of the slab near a box (6), int16; return their number, int64.

    The slab begins at plane `x`, int64.
    """
    slab, row = memory.slab, memory.row
    n, before = np.int64(0), np.int32(-1)
    for first in range(0, n_slab, FOCI):
        near = near32(slab.x, slab.y, slab.z, slab.kind.reach, first, box)
        while near:
            f = np.uint64(first + lowest_bit(near))
            near &= near - 1
            kernel = np.uint64(slab.kind.kernel[f])
            slab_0 = np.uint64(rows.slab_begin[kernel])
            middle = rows.middle[slab_0]
            base = np.int32(middle - slab.y[f])
            step = np.int32(rows.middle[slab_0 + np.uint64(1)] - middle)
            beyond = np.int32(rows.radius[kernel, 0] + 1)
            slab_rows8(row, n << CUBE, base, step, beyond, np.int32(x - slab.x[f]))
            memory.z[n] = slab.z[f]
            experiment = slab.kind.experiment[f]
            memory.keep[n] = -np.int32((experiment == before) & (not additive))
            before = experiment
            n += 1
    return n


@numba.njit(**INNER)
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


@numba.njit(**INNER)
def _sum_strips(begin, first, n, rows, strips, memory) -> None:  # type: ignore[no-untyped-def]
    """Fill memory.value for strips of a group, chained from begin + first, from its n foci: two strips at a time."""
    row, z, keep = memory.row, memory.z, memory.keep
    table, entries = rows.table, rows.entry
    within = (1 << CUBE) - 1
    i = np.int64(first)
    while i >= 0:
        after = np.int64(memory.next[i])
        j = after if after >= 0 else i
        s, t = begin + i, begin + j
        plane, y, from_z = np.int64(strips.x[s]) & within, np.int64(strips.y[s]), np.int64(strips.z[s])
        plane_2, y_2, from_z_2 = np.int64(strips.x[t]) & within, np.int64(strips.y[t]), np.int64(strips.z[t])
        total, most, total_2, most_2 = zero8(), zero8(), zero8(), zero8()
        for f in range(n):
            same, focus_z = np.int64(load(keep, f)), np.int64(load(z, f))
            old, old_2 = kept8(most, same), kept8(most_2, same)
            entry = np.int64(load(entries, np.int64(load(row, (f << CUBE) + plane)) + y))
            entry_2 = np.int64(load(entries, np.int64(load(row, (f << CUBE) + plane_2)) + y_2))
            most = larger8(old, table, entry + from_z - focus_z)
            most_2 = larger8(old_2, table, entry_2 + from_z_2 - focus_z)
            total, total_2 = grown8(total, most, old), grown8(total_2, most_2, old_2)
        store8(memory.value, i * WIDTH, total)
        store8(memory.value, j * WIDTH, total_2)
        i = np.int64(memory.next[j]) if after >= 0 else np.int64(-1)


@numba.njit(**INNER)
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
def exact_sums(foci, done, threshold, additive, rows, geometry, strips, memory, found) -> None:  # type: ignore[no-untyped-def]
    """Fill `found` for the first iterations, `done` of them, from foci (iteration, axis, focus), int16, and `strips`.

    Behind the foci of an iteration are 32 places of no meaning; with `additive` foci of an experiment add up.
    `threshold`, int32, holds the S that a voxel must reach, one for all or one of each cell.
    """
    everywhere = memory.box[-1]
    everywhere[1:3], everywhere[4:6] = -ANYWHERE, ANYWHERE
    found.begin[0] = 0
    for b in range(done):
        n, best = found.begin[b], np.int32(0)
        begin, last = strips.begin[b], strips.begin[b + 1]
        while begin < last:
            slab = strips.x[begin] >> CUBE
            end = begin
            while end < last and strips.x[end] >> CUBE == slab:
                end += 1
            groups = _group_strips(begin, end, geometry, strips, memory)
            everywhere[0], everywhere[3] = strips.x[begin], strips.x[end - 1]
            n_slab = _foci_of_slab(foci[b], everywhere, memory.foci, memory.slab)
            for g in range(groups):
                n_rows = _rows_of_group(np.int64(slab) << CUBE, n_slab, memory.box[g], additive, rows, memory)
                _sum_strips(begin, memory.head[g], n_rows, rows, strips, memory)
            n, best = _keep_passing(begin, end, threshold, n, best, geometry, strips, memory, found)
            begin = end
        found.begin[b + 1], found.best[b] = n, best
