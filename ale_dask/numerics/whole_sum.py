"""S in all voxels for very many foci that share one kernel: a Fourier transform, less what overlaps in experiments.

    foci per voxel  *  kernel          the sum over all foci, by `scipy.fft`, rounded to the integer that it is
                    -  min(k, m)       of each focus and the earlier ones of its experiment (`kernels.overlaps`)

The time of the transform does not depend on the number of foci. Of all studies of Neurosynth (14,371 experiments,
448,255 foci, one kernel) a third of the foci meet no earlier one of their experiment and are done with it; for the
others only the rows in which both reach are left.

The rounding is exact where the error of the transforms is below a half. For two vectors h and k it is at most
c u log2(N) |h| |k| in each element, u = 2^-53 and c about 10 (Higham, Accuracy and Stability of Numerical Algorithms,
2002, chapter 24). `_MARGIN` takes c = 32 and a quarter; an iteration beyond it is summed by `null_iterations`. Measured
is 3e-8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import draw_foci
from ale_dask.numerics.kernels.focus_visits import Design, Workspace, list_foci, workspace
from ale_dask.numerics.kernels.kernel_rows import Geometry, KernelRows
from ale_dask.numerics.kernels.overlaps import subtract_overlaps
from ale_dask.numerics.permutation_null import PassingVoxels, largest, null_iterations, passing_memory

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
FROM = 100_000
"""Foci from which on this takes less time than summing the rows of every focus."""
_MARGIN = 0.25 / (32 * 2.0**-53)
"""What log2(N) |h| |k| may be at most."""


class Grid(NamedTuple):
    """The places of a `Geometry` in a flat array: place (x, y, z) is element origin + x stride_x + y stride_y + z."""

    planes: int
    rows: int
    stride_x: int
    stride_y: int
    origin: int


@dataclass(frozen=True, eq=False)
class WholeSum:
    """The kernel's transform (x, y, half of z), complex, and its Euclidean length, for grids of `shape`."""

    shape: tuple[int, int, int]
    spectrum: npt.NDArray[np.complex128]
    length: float
    grid: Grid


@dataclass(frozen=True, eq=False)
class Room:
    """Memory of one thread: foci per voxel (x, y, z), S (element), what `list_foci` fills, and voxels that pass."""

    counts: F64
    s: I32
    work: Workspace
    passing: PassingVoxels


def whole_sum(box: I32, geometry: Geometry) -> WholeSum:
    """Return the transform of a kernel (x, y, z), int32, on the grid of a mask."""
    from scipy import fft

    radius = [n // 2 for n in box.shape]
    planes, rows = geometry.size // geometry.stride_x, geometry.stride_x // geometry.stride_y
    cells = max(int(((geometry.column_end - 1) % geometry.stride_y).max()), int(geometry.place[:, 2].max())) + 1
    # What a kernel adds beyond one end comes back at the other: as many places there belong to no voxel.
    shape = [int(fft.next_fast_len(n + r, real=True)) for n, r in zip((planes, rows, cells), radius, strict=True)]
    # Rows a power of two apart meet in the same lines of a cache.
    while shape[2] % 16 == 0:
        shape[2] = int(fft.next_fast_len(shape[2] + 1, real=True))
    kernel = np.zeros(shape)
    kernel[np.ix_(*(np.arange(-r, r + 1) for r in radius))] = box
    grid = Grid(planes, rows, shape[1] * shape[2], shape[2], origin=max(radius) + 8)
    return WholeSum((shape[0], shape[1], shape[2]), fft.rfftn(kernel), float(np.linalg.norm(kernel)), grid)


def whole_sum_iterations(
    first: int, count: int, threshold: int, tables: tuple[Design, KernelRows, Geometry], whole: WholeSum, out: I64
) -> None:
    """Fill out (iteration, 3), int64, as `permutation_null.null_iterations` does."""
    from scipy import fft

    design, rows, geometry = tables
    room = _room(design, geometry, whole)
    farthest = _MARGIN / (np.log2(np.prod(whole.shape)) * whole.length)
    for b in range(count):
        _draw_and_count(first + b, design, rows, geometry, whole.grid, room.counts.reshape(-1), room.work)
        if np.linalg.norm(room.counts) > farthest:
            null_iterations(first + b, 1, np.int32(threshold), design, rows, geometry, out[b : b + 1])
            continue
        field = fft.irfftn(fft.rfftn(room.counts) * whole.spectrum, whole.shape, overwrite_x=True)
        _round(field.reshape(-1), whole.grid.origin, room.s)
        _statistics(np.int32(threshold), rows, geometry, whole.grid, room.s, room.work, room.passing, out[b])


def _room(design: Design, geometry: Geometry, whole: WholeSum) -> Room:
    size = int(np.prod(whole.shape)) + 2 * whole.grid.origin
    return Room(
        np.zeros(whole.shape), np.zeros(size, dtype=np.int32), workspace(design, geometry), passing_memory(geometry)
    )


@numba.njit(cache=True, nogil=True)
def _draw_and_count(iteration, design, rows, geometry, grid, counts, work) -> None:  # type: ignore[no-untyped-def]
    """Draw the foci of an iteration, list those that meet in an experiment, fill counts (element) with all by place."""
    draw_foci(iteration, design, geometry, work)
    list_foci(design, rows, geometry, work)
    counts[:] = 0
    for f in range(work.voxel.shape[0]):
        x, y, z = geometry.place[work.voxel[f], 0], geometry.place[work.voxel[f], 1], geometry.place[work.voxel[f], 2]
        counts[x * grid.stride_x + y * grid.stride_y + z] += 1


@numba.njit(cache=True, nogil=True)
def _round(field, origin, s) -> None:  # type: ignore[no-untyped-def]
    """Fill s (element), int32, from `origin` on with the integers nearest to `field` (element), float64."""
    for i in range(field.shape[0]):
        s[origin + i] = np.int32(np.floor(field[i] + 0.5))


@numba.njit(cache=True, nogil=True)
def _statistics(threshold, rows, geometry, grid, s, work, passing, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (3) with the largest S, cluster size and cluster mass of s (element), the sum over all foci."""
    subtract_overlaps(s, grid, rows, work)
    n, best = np.int64(0), np.int32(0)
    for x in range(geometry.plane_begin.shape[0] - 1):
        for c in range(geometry.plane_begin[x], geometry.plane_begin[x + 1]):
            begin = geometry.column_begin[c]
            inside = begin - x * geometry.stride_x
            y = inside // geometry.stride_y
            at = grid.origin + x * grid.stride_x + y * grid.stride_y - y * geometry.stride_y - x * geometry.stride_x
            for cell in range(begin, geometry.column_end[c]):
                if geometry.inside[cell]:
                    value = s[at + cell]
                    best = max(best, value)
                    if value >= threshold:
                        passing.cell[n] = cell
                        passing.value[n] = value
                        n += 1
    out[0] = best
    out[1], out[2] = largest(n, np.int64(threshold), geometry, passing)
