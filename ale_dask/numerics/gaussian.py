"""The Gaussian that stands for the spatial uncertainty of one focus (Eickhoff 2009)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.errors import InputError
from ale_dask.numerics.elementary import exp_neg, neg_log1p_neg

if TYPE_CHECKING:
    from ale_dask.config.inference import Kernel

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
# Mean Euclidean distances between templates (5.7 mm) and subjects (11.6 mm) turned into FWHMs: Eickhoff 2009.
TEMPLATE_FWHM = 5.7 / (2 * math.sqrt(2 / math.pi)) * FWHM_PER_SIGMA
SUBJECT_FWHM = 11.6 / (2 * math.sqrt(2 / math.pi)) * FWHM_PER_SIGMA


def sigma_mm(n_subjects: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the kernel's standard deviation in mm (experiment) for sample sizes (experiment).

    FWHM(n)^2 = a^2 + b^2/n with a = 8.41129 mm, b = 17.11771 mm (Eickhoff 2009); sigma = FWHM / sqrt(8 ln 2).
    """
    n = np.asarray(n_subjects, dtype=np.float64)
    sigma: npt.NDArray[np.float64] = np.sqrt(TEMPLATE_FWHM**2 + SUBJECT_FWHM**2 / n) / FWHM_PER_SIGMA
    return sigma


class Shape(NamedTuple):
    """A kernel: sigma and reach (axis) in voxels, its end in squared standard deviations, and its peak."""

    sigma: npt.NDArray[np.float64]
    reach: npt.NDArray[np.float64]
    limit: float
    height: float


def shape_of(sigma: npt.NDArray[np.float64], *, support: float, kernel: Kernel = "density") -> Shape:
    """Return the shape of the kernel of standard deviations in voxels (axis).

    "density" is K(v) = prod_axis exp(-v^2 / 2 s^2) / ((2 pi)^1.5 s_x s_y s_z) inside the ellipsoid of `support`
    standard deviations; of "lattice" each axis's factor sums to 1 over the whole voxels of a cube, whose half edge is
    support * s rounded to the nearest whole number; other kernels of cubes round it up.

    Raises
    ------
    InputError
        when its peak reaches 1: a kernel narrower than 0.4 voxel is no density per voxel any more.
    """
    if kernel == "density":
        height = float(1.0 / ((2 * math.pi) ** 1.5 * np.prod(sigma)))
        shape = Shape(sigma, support * sigma, support * support, height)
    else:
        reach = np.floor(support * sigma + 0.5) if kernel == "lattice" else np.ceil(support * sigma)
        # The limit lies beyond the cube's corner by more than rounding: the cube alone bounds the kernel.
        limit = float(((reach / sigma) ** 2).sum()) * (1 + 1e-6)
        shape = Shape(
            sigma, reach, limit, 1.0 / math.prod(_sum_along(s, int(r)) for s, r in zip(sigma, reach, strict=True))
        )
    if shape.height >= 1:
        raise InputError(
            f"the kernel's sigma is {', '.join(f'{s:.3g}' for s in sigma)} voxels, so its peak would be a "
            f"probability of {shape.height:.3g}; use a finer mask grid or a wider fwhm"
        )
    return shape


def _sum_along(sigma: float, reach: int) -> float:
    """Return the sum of exp(-v^2 / 2 sigma^2) over the voxels v from -reach to reach."""
    squared, factor = np.empty((2, 2 * reach + 1))
    gaussian_factors(float(reach), sigma, 0, 2 * reach + 1, squared, factor)
    return float(math.fsum(factor))


def peak(sigma: npt.NDArray[np.float64]) -> float:
    """Return the largest probability of a "density" kernel for standard deviations in voxels (axis), below 1."""
    return shape_of(sigma, support=1.0).height


@numba.njit(cache=True, nogil=True)
def focus_box(centre: float, reach: float, length: int) -> tuple[int, int]:
    """Return the first voxel and one past the last along an axis that a focus can reach."""
    return max(0, math.ceil(centre - reach)), min(length, math.floor(centre + reach) + 1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gaussian_factors(centre: float, sigma: float, first: int, last: int, squared, factor) -> None:  # type: ignore[no-untyped-def]
    """Fill squared and factor (voxel), float64, with (v - c)^2 / s^2 and exp(-(v - c)^2 / 2 s^2), first <= v < last."""
    for v in range(first, last):
        d = (v - centre) / sigma
        squared[v - first] = d * d
        factor[v - first] = exp_neg(0.5 * d * d)


@numba.njit(cache=True, nogil=True)
def _box(radius, sigma, limit, height, unit, box) -> None:  # type: ignore[no-untyped-def]
    """Fill box (x, y, z), int32, with -log1p(-K) in units of 1 / unit, for radius and sigma (axis) in voxels."""
    squared = np.empty((3, 2 * radius.max() + 1))
    factor = np.empty((3, 2 * radius.max() + 1))
    for axis in range(3):
        gaussian_factors(float(radius[axis]), sigma[axis], 0, 2 * radius[axis] + 1, squared[axis], factor[axis])
    for x in range(2 * radius[0] + 1):
        for y in range(2 * radius[1] + 1):
            for z in range(2 * radius[2] + 1):
                if squared[0, x] + squared[1, y] + squared[2, z] <= limit:
                    k = factor[0, x] * factor[1, y] * factor[2, z] * height
                    box[x, y, z] = np.int64(neg_log1p_neg(k) * unit + 0.5)


def kernel_box(
    sigma: npt.NDArray[np.float64], *, support: float, bits: int, kernel: Kernel = "density"
) -> npt.NDArray[np.int32]:
    """Return rint(-log1p(-K) * 2^bits) (x, y, z), int32, of the kernel centred on a voxel, 0 beyond its reach.

    The array is read-only: it is made once and given to all who ask for the same kernel.
    """
    return _known_box(tuple(np.asarray(sigma, dtype=np.float64).tolist()), support, bits, kernel)


@lru_cache(maxsize=256)
def _known_box(sigma: tuple[float, ...], support: float, bits: int, kernel: Kernel) -> npt.NDArray[np.int32]:
    shape = shape_of(np.array(sigma), support=support, kernel=kernel)
    radius = np.floor(shape.reach).astype(np.int64)
    box = np.zeros(tuple(2 * radius + 1), dtype=np.int32)
    _box(radius, np.array(sigma), shape.limit, shape.height, 2.0**bits, box)
    box.flags.writeable = False
    return box
