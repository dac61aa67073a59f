"""Modelled activation of experiments and its union over experiments (Turkeltaub 2012, Eickhoff 2012)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.elementary import fixed_point
from ale_dask.numerics.kernels import focus_box, gaussian_factors, peak

Row = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""Voxel and fixed-point value (entry) of one experiment, where it is not 0."""
_AT_ONCE = 16
"""Cells of a piece of a column: four AVX2 registers."""
STORED_FLOOR = 2.0**-32
"""MA probabilities below this are stored as 0: it is half an ulp of a float32 at the peak of usual kernels."""


def support_for_floor(sigma: npt.NDArray[np.float64], *, floor: float = STORED_FLOOR) -> float:
    """Return the support in standard deviations beyond which the kernel is below `floor`."""
    return math.sqrt(2 * max(math.log(peak(sigma) / floor), 1.0))


@numba.njit(cache=True, nogil=True)
def _stamp(foci, sigma, support, height, additive, shape, flat, low, high) -> None:  # type: ignore[no-untyped-def]
    """Raise `flat` to the MA of one experiment; cells `low` to `high` of each column (x * ny + y) are touched."""
    nx, ny, nz = shape
    squared = np.empty((3, max(nx, ny, nz) + _AT_ONCE))
    factor = np.zeros((3, max(nx, ny, nz) + _AT_ONCE))
    limit = support * support
    for f in range(foci.shape[0]):
        x0, x1 = focus_box(foci[f, 0], sigma[0], support, nx)
        y0, y1 = focus_box(foci[f, 1], sigma[1], support, ny)
        z0, z1 = focus_box(foci[f, 2], sigma[2], support, nz)
        gaussian_factors(foci[f, 0], sigma[0], x0, x1, squared[0], factor[0])
        gaussian_factors(foci[f, 1], sigma[1], y0, y1, squared[1], factor[1])
        gaussian_factors(foci[f, 2], sigma[2], z0, z1, squared[2], factor[2])
        squared[2, max(0, z1 - z0) :] = np.inf
        for x in range(x0, x1):
            for y in range(y0, y1):
                d2 = squared[0, x - x0] + squared[1, y - y0]
                if d2 > limit:
                    continue
                # Perhaps a cell more than is within reach, never one less.
                half = math.sqrt(limit - d2) * sigma[2]
                first = max(z0, math.floor(foci[f, 2] - half))
                last = min(z1, math.ceil(foci[f, 2] + half) + 1)
                if first >= last:
                    continue
                column = x * ny + y
                low[column] = min(low[column], first)
                high[column] = max(high[column], last)
                row = factor[0, x - x0] * factor[1, y - y0]
                begin = column * nz + first
                # Whole pieces without a branch, and slices, whose indices cannot be negative: the compiler then works
                # on four cells at once. What lies beyond reach is raised to 0, that is, left as it is.
                size = (last - first + _AT_ONCE - 1) // _AT_ONCE * _AT_ONCE
                cells = flat[begin : begin + size]
                away = squared[2, first - z0 : first - z0 + size]
                along = factor[2, first - z0 : first - z0 + size]
                if additive:
                    for z in range(cells.shape[0]):
                        k = row * along[z] * height if d2 + away[z] <= limit else 0.0
                        if cells[z] > 0 and k > 0:
                            # Many foci in one place round to 1, whose logarithm has no end.
                            cells[z] = min(1.0 - (1.0 - cells[z]) * (1.0 - k), 1.0 - 2.0**-53)
                        else:
                            cells[z] += k
                else:
                    for z in range(cells.shape[0]):
                        k = row * along[z] * height if d2 + away[z] <= limit else 0.0
                        cells[z] = k if k > cells[z] else cells[z]


@numba.njit(cache=True, nogil=True)
def _modelled_activation(foci, sigma, support, height, additive, voxel_of_cell, flat):  # type: ignore[no-untyped-def]
    """Return voxel and MA (entry) of one experiment in the order of cells, and leave `flat` as zeros."""
    nx, ny, nz = voxel_of_cell.shape
    low = np.full(nx * ny, nz, dtype=np.int32)
    high = np.zeros(nx * ny, dtype=np.int32)
    _stamp(foci, sigma, support, height, additive, voxel_of_cell.shape, flat, low, high)
    most = 1
    for column in range(nx * ny):
        most += max(0, high[column] - low[column])
    voxels = np.empty(most, dtype=np.int32)
    values = np.empty(most)
    inside = voxel_of_cell.reshape(-1)
    n = np.uint64(0)
    for column in range(nx * ny):
        if low[column] < high[column]:
            cells = flat[column * nz + low[column] : column * nz + high[column]]
            voxel = inside[column * nz + low[column] : column * nz + high[column]]
            for z in range(cells.shape[0]):
                # Written over by the next one if it does not count: cheaper than a branch that nobody can predict.
                voxels[n] = voxel[z]
                values[n] = cells[z]
                n += np.uint64((voxel[z] >= 0) & (cells[z] > 0))
                cells[z] = 0.0
    return voxels[:n], values[:n]


def modelled_activation(
    foci: npt.NDArray[np.float64],
    *,
    sigma: npt.NDArray[np.float64],
    support: float,
    voxel_of_cell: npt.NDArray[np.int32],
    additive: bool = False,
    scratch: npt.NDArray[np.float64] | None = None,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Return the voxels (entry), int32, ascending, and MA probabilities (entry), float64, of one experiment.

    Parameters
    ----------
    foci
        (focus, axis) in voxels of the grid, never rounded
    sigma
        (axis) in voxels
    support
        in standard deviations; a focus reaches no further
    voxel_of_cell
        (x, y, z), the mask voxel of each grid cell, -1 outside
    additive
        1 - prod(1 - K) over the foci instead of max K (Turkeltaub 2012: max)
    scratch
        `scratch_of(voxel_of_cell)`, given back as zeros; saves an allocation per experiment
    """
    flat = scratch_of(voxel_of_cell) if scratch is None else scratch
    voxels, values = _modelled_activation(
        np.atleast_2d(foci), sigma, float(support), peak(sigma), additive, voxel_of_cell, flat
    )
    return voxels, values


def scratch_of(voxel_of_cell: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Return zeros (cell), float64, for `modelled_activation`: a piece of the last column may end behind the grid."""
    return np.zeros(voxel_of_cell.size + _AT_ONCE)


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
) -> Iterator[Row]:
    """Yield the sparse row of rint(-log1p(-MA) * 2^bits), voxel and value (entry), int32, of each experiment.

    `foci` holds one (focus, axis) array in voxels per experiment, `sigma` is (experiment, axis) in voxels and
    `support` (experiment) in standard deviations. One row at a time: 14,000 together take 7 GB.
    """
    scratch = scratch_of(voxel_of_cell)
    for i, points in enumerate(foci):
        voxel, ma = modelled_activation(
            points,
            sigma=sigma[i],
            support=support[i],
            voxel_of_cell=voxel_of_cell,
            additive=additive,
            scratch=scratch,
        )
        value = fixed_point(ma, bits=bits)
        if not value.all():
            voxel, value = voxel[value > 0], value[value > 0]
        yield voxel, value


@numba.njit(cache=True, nogil=True)
def add_row(voxel: npt.NDArray[np.int32], value: npt.NDArray[np.int32], total: npt.NDArray[np.int64]) -> None:
    """Add one sparse row (entry) to the fixed-point sums `total` (voxel), int64."""
    for t in range(voxel.size):
        total[voxel[t]] += value[t]


def scale_bits(peaks: npt.NDArray[np.float64], *, most: int = 30) -> int:
    """Return s of the fixed point 2^s such that no possible sum of rows overflows an int32.

    `peaks` (term) holds the largest K of every term that may meet in one voxel: one per experiment, or one
    per focus when foci add. Each term is rounded up by at most 1/2, so the sum stays below
    2^s * bound + terms / 2 < 2^31.
    """
    bound = float(np.sum(-np.log1p(-np.asarray(peaks, dtype=np.float64))))
    room = 2.0**31 - 1 - len(peaks)
    return int(min(most, math.floor(math.log2(room / max(bound, 1e-12)) - 1e-6)))


def ale_from_s(s: npt.NDArray[np.integer[Any]], *, bits: int) -> npt.NDArray[np.float64]:
    """Return ALE = 1 - exp(-S) (voxel), float64, of fixed-point sums (voxel)."""
    ale: npt.NDArray[np.float64] = -np.expm1(-(s / 2.0**bits))
    return ale
