"""The null of TFCE when foci are drawn from a density, beside those of the cluster-level tests, of the same iterations.

As `tfce_null`, with the z of S in its voxel under the density as heights: of the table of z by level, in integer steps
of 1/4096. tests/numerics/test_base_rate.py holds it to TFCE maps of the same fields.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.base_rate_null import draw_base_rate, scan_plane
from ale_dask.numerics.density_levels import Z_UNIT, LevelTable, least_sums, z_of
from ale_dask.numerics.kernels.focus_visits import list_foci, workspace
from ale_dask.numerics.kernels.kernel_rows import Geometry
from ale_dask.numerics.kernels.planes import plane_of, sum_planes
from ale_dask.numerics.permutation_null import largest, passing_memory
from ale_dask.numerics.tfce import largest_tfce, map_of_levels, tfce_memory, unit_of

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
_ROW = np.int64(0xFFFFFFFF)
_Z_BITS = Z_UNIT.bit_length() - 1
_LEVEL_BITS = 16
"""Number of bits of a level of TFCE: its sums then stay below 2^63."""


class Heights(NamedTuple):
    """The least S with a level above 0 (cell), int32, and by how many bits z in steps is shifted to its level."""

    first: I32
    shift: int


def height_shift(table: LevelTable) -> int:
    """Return by how many bits z in steps is shifted to its level, for levels below 2^16: 0 for z below 16."""
    return max(0, int(table.z.max()).bit_length() - _LEVEL_BITS)


def tfce_unit(shift: int) -> float:
    """Return the TFCE, in voxels^(1/2) z^3, of one unit of the integers that are compared."""
    return unit_of(_Z_BITS - shift)


def heights(table: LevelTable, searched: npt.NDArray[np.bool_], *, shift: int, geometry: Geometry) -> Heights:
    """Return the least S with a height by cell; voxels of the mask that are not `searched` (voxel) have none."""
    nowhere = np.int32(2**31 - 1)
    first = np.full(geometry.size, nowhere, dtype=np.int32)
    first[geometry.cell] = np.where(searched, least_sums(table, least=1 << shift), nowhere)
    return Heights(first, shift)


def base_rate_tfce_map(
    units: I64, *, shift: int, volume: npt.NDArray[np.bool_], searched: npt.NDArray[np.bool_]
) -> I64:
    """Return TFCE (voxel), int64, in units of `tfce_unit`, of z in steps (voxel), int64, in a mask (x, y, z).

    Voxels that are not `searched` (voxel) have no height.
    """
    return map_of_levels(np.where(searched, np.maximum(units, 0) >> shift, 0), volume=volume)


@numba.njit(cache=True, nogil=True)
def _collect_plane(x, plane, geometry, critical, heights, n, work):  # type: ignore[no-untyped-def]
    """Append the cells of level > 0 of a plane, as `tfce.collect_plane` does; return their number, `n` before."""
    origin = np.uint64(x * geometry.stride_x)
    for c in range(geometry.plane_begin[x], geometry.plane_begin[x + 1]):
        for j in range(np.uint64(geometry.column_begin[c]), np.uint64(geometry.column_end[c])):
            v = plane[j - origin]
            key = np.int64(0)
            if v >= heights.first[j]:
                level = z_of(v, critical.position[j], critical.z, critical.shift) >> heights.shift
                work.cell[n] = j
                work.level[n] = level
                key = (level << 32) | (_ROW - n)
                n += 1
            work.key[j] = key
    return n


@numba.njit(cache=True, nogil=True)
def base_rate_tfce_iterations(first, count, source, critical, heights, design, rows, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 4), int64, as `base_rate_iterations` does, and with the largest TFCE of each iteration.

    TFCE is in units of `tfce_unit`. A function of its own, so that a run without TFCE has nothing more to compile.
    """
    work = workspace(design, geometry)
    passing = passing_memory(geometry)
    memory = tfce_memory(geometry)
    for b in range(count):
        draw_base_rate(first + b, source, design, work.voxel)
        list_foci(design, rows, geometry, work)
        n = np.int64(0)
        n_positive = np.int64(0)
        best = np.int64(0)
        for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
            sum_planes(x, rows, geometry, work)
            for side in range(2):
                plane = plane_of(side, geometry, work)
                n_positive = _collect_plane(x + side, plane, geometry, critical, heights, n_positive, memory)
                n, best = scan_plane(x + side, geometry, critical, n, best, plane, passing)
        out[b, 0] = best
        out[b, 1], out[b, 2] = largest(n, critical.least_z, geometry, passing)
        out[b, 3] = largest_tfce(n_positive, geometry, memory)
