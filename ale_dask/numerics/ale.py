"""Modelled activation of experiments and its union over experiments (Turkeltaub 2012, Eickhoff 2012)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.elementary import neg_log1p_neg
from ale_dask.numerics.kernels import focus_box, gaussian_factors, peak

STORED_FLOOR = 2.0**-32
"""MA probabilities below this are stored as 0: it is half an ulp of a float32 at the peak of usual kernels."""


def support_for_floor(sigma: npt.NDArray[np.float64], *, floor: float = STORED_FLOOR) -> float:
    """Return the support in standard deviations beyond which the kernel is below `floor`."""
    return math.sqrt(2 * max(math.log(peak(sigma) / floor), 1.0))


@numba.njit(cache=True, nogil=True)
def _modelled_activation(foci, sigma, support, height, additive, volume, touched) -> int:  # type: ignore[no-untyped-def]
    """Fill `volume` with the MA of one experiment and list the cells it touches; returns their number."""
    nx, ny, nz = volume.shape
    flat = volume.reshape(-1)
    squared = np.empty((3, max(nx, ny, nz)))
    factor = np.empty((3, max(nx, ny, nz)))
    n = 0
    for f in range(foci.shape[0]):
        x0, x1 = focus_box(foci[f, 0], sigma[0], support, nx)
        y0, y1 = focus_box(foci[f, 1], sigma[1], support, ny)
        z0, z1 = focus_box(foci[f, 2], sigma[2], support, nz)
        gaussian_factors(foci[f, 0], sigma[0], x0, x1, squared[0], factor[0])
        gaussian_factors(foci[f, 1], sigma[1], y0, y1, squared[1], factor[1])
        gaussian_factors(foci[f, 2], sigma[2], z0, z1, squared[2], factor[2])
        for x in range(x0, x1):
            for y in range(y0, y1):
                d2 = squared[0, x - x0] + squared[1, y - y0]
                if d2 > support * support:
                    continue
                row = factor[0, x - x0] * factor[1, y - y0]
                for z in range(z0, z1):
                    if d2 + squared[2, z - z0] <= support * support:
                        k = row * factor[2, z - z0] * height
                        cell = (x * ny + y) * nz + z
                        old = flat[cell]
                        if old == 0.0:
                            touched[n] = cell
                            n += 1
                            flat[cell] = k
                        elif additive:
                            # Many foci in one place round to 1, whose logarithm has no end.
                            flat[cell] = min(1.0 - (1.0 - old) * (1.0 - k), 1.0 - 2.0**-53)
                        elif k > old:
                            flat[cell] = k
    return n


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
        (x, y, z) zeros, given back as zeros; saves an allocation per experiment
    """
    volume = np.zeros(voxel_of_cell.shape) if scratch is None else scratch
    touched = np.empty(volume.size, dtype=np.int64)
    n = _modelled_activation(np.atleast_2d(foci), sigma, float(support), peak(sigma), additive, volume, touched)
    cells = touched[:n]
    voxels, values = voxel_of_cell.reshape(-1)[cells], volume.reshape(-1)[cells]
    volume.reshape(-1)[cells] = 0.0
    inside = voxels >= 0
    order = np.argsort(voxels[inside])
    return voxels[inside][order], values[inside][order]


def cell_index(volume: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return the mask voxel of each grid cell (x, y, z), int32, -1 outside the mask."""
    index = np.full(volume.shape, -1, dtype=np.int32)
    index[volume] = np.arange(np.count_nonzero(volume), dtype=np.int32)
    return index


@numba.njit(cache=True, nogil=True)
def _quantise(values, unit, out) -> None:  # type: ignore[no-untyped-def]
    for i in range(values.size):
        out[i] = np.int64(neg_log1p_neg(values[i]) * unit + 0.5)


def fixed_point_rows(
    foci: Sequence[npt.NDArray[np.float64]],
    *,
    sigma: npt.NDArray[np.float64],
    support: npt.NDArray[np.float64],
    voxel_of_cell: npt.NDArray[np.int32],
    bits: int,
    additive: bool = False,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the sparse rows of rint(-log1p(-MA) * 2^bits): begin (experiment + 1), voxel and value (entry).

    `foci` holds one (focus, axis) array in voxels per experiment, `sigma` is (experiment, axis) in voxels and
    `support` (experiment) in standard deviations.
    """
    scratch = np.zeros(voxel_of_cell.shape)
    begin = np.zeros(len(foci) + 1, dtype=np.int64)
    voxels: list[npt.NDArray[np.int32]] = []
    values: list[npt.NDArray[np.int32]] = []
    for i, points in enumerate(foci):
        voxel, ma = modelled_activation(
            points,
            sigma=sigma[i],
            support=support[i],
            voxel_of_cell=voxel_of_cell,
            additive=additive,
            scratch=scratch,
        )
        value = np.empty(ma.size, dtype=np.int32)
        _quantise(ma, 2.0**bits, value)
        seen = value > 0
        voxels.append(voxel[seen])
        values.append(value[seen])
        begin[i + 1] = begin[i] + int(seen.sum())
    return begin, np.concatenate(voxels), np.concatenate(values)


def sum_rows(voxel: npt.NDArray[np.int32], value: npt.NDArray[np.int32], *, n_voxels: int) -> npt.NDArray[np.int64]:
    """Return S (voxel), int64: the sum over experiments of sparse fixed-point rows (entry)."""
    # bincount adds in float64, which is exact: a sum stays below 2^31, far below 2^53.
    return np.bincount(voxel, weights=value, minlength=n_voxels).astype(np.int64)


def scale_bits(peaks: npt.NDArray[np.float64], *, most: int = 30) -> int:
    """Return s of the fixed point 2^s such that no possible sum of rows overflows an int32.

    `peaks` (term) holds the largest K of every term that may meet in one voxel: one per experiment, or one
    per focus when foci add. Each term is rounded up by at most 1/2, so the sum stays below
    2^s * bound + terms / 2 < 2^31.
    """
    bound = float(np.sum(-np.log1p(-np.asarray(peaks, dtype=np.float64))))
    room = 2.0**31 - 1 - len(peaks)
    return int(min(most, math.floor(math.log2(room / max(bound, 1e-12)) - 1e-6)))


def ale_from_s(s: npt.NDArray[np.int64], *, bits: int) -> npt.NDArray[np.float64]:
    """Return ALE = 1 - exp(-S) (voxel), float64, of fixed-point sums (voxel)."""
    ale: npt.NDArray[np.float64] = -np.expm1(-(s / 2.0**bits))
    return ale
