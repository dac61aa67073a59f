"""Modelled activation of experiments and its union over experiments (Turkeltaub 2012, Eickhoff 2012).

    for each x:  plane (y, z), 80 kB      raised to K of each focus that reaches it, in pieces of 16 cells of a column
                 voxels in the mask with MA > 0  ->  entries (voxel, MA), and the plane is 0 again

A volume of float64, 7 MB, would leave the second cache and take twice as long; the rows of foci are far fewer than the
mask's voxels, so that MA is sparse. tests/support/reference.py has the plain version.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.elementary import fixed_point
from ale_dask.numerics.gaussian import focus_box, gaussian_factors, peak, shape_of
from ale_dask.numerics.recurring_kernels import placed, plane_of, row_of

if TYPE_CHECKING:
    from ale_dask.config.inference import Kernel

Row = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""Voxel and fixed-point value (entry) of one experiment, where it is not 0."""
_AT_ONCE = 16
"""Number of cells in a piece of a column: four AVX2 registers."""
STORED_FLOOR = 2.0**-32
"""MA probabilities below this are stored as 0: it is half an ulp of a float32 at the peak of usual kernels."""


def support_for_floor(sigma: npt.NDArray[np.float64], *, floor: float = STORED_FLOOR) -> float:
    """Return the support in standard deviations beyond which the kernel is below `floor`."""
    return math.sqrt(2 * max(math.log(peak(sigma) / floor), 1.0))


def full_support(
    sigma: npt.NDArray[np.float64], *, support: float, kernel: Kernel = "density", floor: float = STORED_FLOOR
) -> float:
    """Return the support of maps for display: of a density where it falls below `floor`, else `support`."""
    return support_for_floor(sigma, floor=floor) if kernel == "density" else support


@numba.njit(cache=True, nogil=True)
def _factors(foci, sigma, reach, shape):  # type: ignore[no-untyped-def]
    """Return the box (focus, axis, 2) of foci, and (v - c)^2 / s^2 and exp(-(v - c)^2 / 2 s^2) (focus, axis, voxel)."""
    longest = int(2 * max(reach[0], reach[1], reach[2])) + 2
    width = min(longest, max(shape[0], shape[1], shape[2])) + _AT_ONCE
    box = np.empty((foci.shape[0], 3, 2), dtype=np.int64)
    squared = np.empty((foci.shape[0], 3, width))
    factor = np.zeros((foci.shape[0], 3, width))
    for f in range(foci.shape[0]):
        for axis in range(3):
            first, last = focus_box(foci[f, axis], reach[axis], shape[axis])
            box[f, axis, 0], box[f, axis, 1] = first, last
            gaussian_factors(foci[f, axis], sigma[axis], first, last, squared[f, axis], factor[f, axis])
        squared[f, 2, max(0, box[f, 2, 1] - box[f, 2, 0]) :] = np.inf
    return box, squared, factor


@numba.njit(cache=True, nogil=True)
def _raise_plane(centre, sigma, box, d2, row, away, along, limit, height, additive, plane, nz, low, high) -> None:  # type: ignore[no-untyped-def]
    """Raise a plane (cell), float64, to the MA of a focus; it changes cells low (y) to high (y) - 1 of columns.

    `d2` (y) and `row` (y) are the squared distance and the product of the factors along x and y, `away` (z) and `along`
    (z) those along z, from the first cell of the focus's box (axis, 2) on; `centre` is its z in voxels, `sigma` that of
    z.
    """
    y0, z0, z1 = box[1, 0], box[2, 0], box[2, 1]
    for y in range(y0, box[1, 1]):
        if d2[y - y0] > limit:
            continue
        # Rounding may add a cell beyond the reach, and never drops one within it.
        half = math.sqrt(limit - d2[y - y0]) * sigma
        first = max(z0, math.floor(centre - half))
        last = min(z1, math.ceil(centre + half) + 1)
        if first >= last:
            continue
        low[y] = min(low[y], first)
        high[y] = max(high[y], last)
        begin = y * nz + first
        # Whole pieces without a branch, and slices, whose indices cannot be negative: the compiler then works
        # on four cells at once. What lies beyond reach is raised to 0, that is, left as it is.
        size = (last - first + _AT_ONCE - 1) // _AT_ONCE * _AT_ONCE
        cells = plane[begin : begin + size]
        far = away[first - z0 : first - z0 + size]
        along_z = along[first - z0 : first - z0 + size]
        here, times = d2[y - y0], row[y - y0]
        if additive:
            for z in range(cells.shape[0]):
                k = times * along_z[z] * height if here + far[z] <= limit else 0.0
                if cells[z] > 0 and k > 0:
                    # Many foci in one place would round to 1, and log(0) is infinite.
                    cells[z] = min(1.0 - (1.0 - cells[z]) * (1.0 - k), 1.0 - 2.0**-53)
                else:
                    cells[z] += k
        else:
            for z in range(cells.shape[0]):
                k = times * along_z[z] * height if here + far[z] <= limit else 0.0
                cells[z] = k if k > cells[z] else cells[z]


@numba.njit(cache=True, nogil=True)
def _modelled_activation(foci, kernel, additive, voxel_of_cell, plane):  # type: ignore[no-untyped-def]
    """Return voxel, int32, and MA, float64, (entry) of one experiment in the order of cells; `plane` stays zeros.

    foci (focus, axis) are in voxels, `kernel` is a `Shape`, voxel_of_cell (x, y, z), int32, the mask voxel or -1.
    """
    nx, ny, nz = voxel_of_cell.shape
    sigma, limit, height = kernel.sigma, kernel.limit, kernel.height
    box, squared, factor = _factors(foci, sigma, kernel.reach, voxel_of_cell.shape)
    low, high = np.full(ny, nz, dtype=np.int64), np.zeros(ny, dtype=np.int64)
    d2, row = np.empty(squared.shape[2]), np.empty(squared.shape[2])
    capacity, x0, x1 = 1, nx, 0
    for f in range(foci.shape[0]):
        x0, x1 = min(x0, box[f, 0, 0]), max(x1, box[f, 0, 1])
        reached = 1
        for axis in range(3):
            reached *= max(0, box[f, axis, 1] - box[f, axis, 0])
        capacity += reached
    capacity = min(capacity, nx * ny * nz + 1)
    voxels = np.empty(capacity, dtype=np.int32)
    values = np.empty(capacity)
    n = np.uint64(0)
    for x in range(x0, x1):
        for f in range(foci.shape[0]):
            if box[f, 0, 0] <= x < box[f, 0, 1]:
                at = x - box[f, 0, 0]
                for y in range(d2.shape[0]):
                    d2[y] = squared[f, 0, at] + squared[f, 1, y]
                    row[y] = factor[f, 0, at] * factor[f, 1, y]
                _raise_plane(
                    foci[f, 2],
                    sigma[2],
                    box[f],
                    d2,
                    row,
                    squared[f, 2],
                    factor[f, 2],
                    limit,
                    height,
                    additive,
                    plane,
                    nz,
                    low,
                    high,
                )
        inside = voxel_of_cell[x]
        for y in range(ny):
            if low[y] < high[y]:
                cells = plane[y * nz + low[y] : y * nz + high[y]]
                voxel = inside[y, low[y] : high[y]]
                for z in range(cells.shape[0]):
                    # The next cell is written over one that does not count: cheaper than an unpredictable branch.
                    voxels[n] = voxel[z]
                    values[n] = cells[z]
                    n += np.uint64((voxel[z] >= 0) & (cells[z] > 0))
                    cells[z] = 0.0
                low[y], high[y] = nz, 0
    return voxels[:n], values[:n]


def modelled_activation(
    foci: npt.NDArray[np.float64],
    *,
    sigma: npt.NDArray[np.float64],
    support: float,
    voxel_of_cell: npt.NDArray[np.int32],
    additive: bool = False,
    kernel: Kernel = "density",
    scratch: npt.NDArray[np.float64] | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Return the voxels (entry), int32, ascending, and MA probabilities (entry), float64, of one experiment.

    Parameters
    ----------
    foci
        (focus, axis) in voxels of the grid
    sigma
        (axis) in voxels
    support
        in standard deviations; a focus reaches no further
    voxel_of_cell
        (x, y, z), the mask voxel of each grid cell, -1 outside
    additive
        1 - prod(1 - K) over the foci instead of max K (Turkeltaub 2012: max)
    kernel
        of `shape_of`; one of whole voxels asks for foci at voxel centres
    scratch
        `scratch_of(voxel_of_cell)`, given back as zeros; saves an allocation per experiment
    """
    plane = scratch_of(voxel_of_cell) if scratch is None else scratch
    shape = shape_of(sigma, support=float(support), kernel=kernel)
    voxels, values = _modelled_activation(np.atleast_2d(foci), shape, additive, voxel_of_cell, plane)
    return voxels, values


def scratch_of(voxel_of_cell: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Return zeros (cell), float64, for `modelled_activation`: a plane, and room for the last piece's overhang."""
    return np.zeros(voxel_of_cell[0].size + _AT_ONCE)


def cell_index(volume: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return the mask voxel of each grid cell (x, y, z), int32, -1 outside the mask."""
    index = np.full(volume.shape, -1, dtype=np.int32)
    index[volume] = np.arange(np.count_nonzero(volume), dtype=np.int32)
    return index


def fixed_point_rows(
    foci: Sequence[npt.NDArray[np.float64]],
    *,
    sigma: npt.NDArray[np.float64],
    support: npt.NDArray[np.float64],
    voxel_of_cell: npt.NDArray[np.int32],
    bits: int,
    additive: bool = False,
    kernel: Kernel = "density",
) -> Iterator[Row]:
    """Yield the sparse row of rint(-log1p(-MA) * 2^bits), voxel and value (entry), int32, of each experiment.

    `foci` holds one (focus, axis) array in voxels per experiment, `sigma` is (experiment, axis) in voxels and
    `support` (experiment) in standard deviations. One row at a time: 14,000 together take 7 GB.
    """
    distinct, number = np.unique(np.column_stack([sigma, support]), axis=0, return_inverse=True)
    number = number.reshape(-1)
    shapes = [shape_of(d[:3], support=float(d[3]), kernel=kernel) for d in distinct]
    where = None if additive else placed(foci, shapes, number, bits=bits)
    plane = None if where is None else plane_of(voxel_of_cell.shape, where.tables)
    scratch = scratch_of(voxel_of_cell)
    end = 0
    for points, k in zip(foci, number, strict=True):
        own, end = slice(end, end + len(points)), end + len(points)
        if where is not None and plane is not None and (where.number[own] >= 0).all():
            yield row_of(where, own, voxel_of_cell=voxel_of_cell, plane=plane)
            continue
        voxel, ma = _modelled_activation(np.atleast_2d(points), shapes[k], additive, voxel_of_cell, scratch)
        value = fixed_point(ma, bits=bits)
        if not value.all():
            voxel, value = voxel[value > 0], value[value > 0]
        yield voxel, value


@numba.njit(cache=True, nogil=True)
def add_row(voxel: npt.NDArray[np.int32], value: npt.NDArray[np.int32], total: npt.NDArray[np.int64]) -> None:
    """Add the sparse row (entry) of an experiment to the fixed-point sums `total` (voxel)."""
    for t in range(voxel.size):
        total[voxel[t]] += value[t]


def scale_bits(peaks: npt.NDArray[np.float64], *, most: int = 30) -> int:
    """Return s of the fixed point 2^s such that no possible sum of rows overflows an int32.

    `peaks` (term) holds the largest K of every term that may meet in one voxel: one per experiment, or one per focus
    when foci add. Each term is rounded up by at most 1/2, so that the sum stays below 2^s * bound + terms / 2 < 2^31.
    `most` is the largest s.
    """
    bound = float(np.sum(-np.log1p(-np.asarray(peaks, dtype=np.float64))))
    room = 2.0**31 - 1 - len(peaks)
    return int(min(most, math.floor(math.log2(room / max(bound, 1e-12)) - 1e-6)))


def ale_from_s(s: npt.NDArray[np.integer[Any]], *, bits: int) -> npt.NDArray[np.float64]:
    """Return ALE = 1 - exp(-S) (voxel), float64, of fixed-point sums (voxel)."""
    ale: npt.NDArray[np.float64] = -np.expm1(-(s / 2.0**bits))
    return ale
