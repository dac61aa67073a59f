"""Pack maps, and the brain behind them, into small text that the page's slice viewer unpacks in a browser."""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.space import Mask

SHADES = 64
"""Greys of the brain: half the bytes of 256 greys, without a visible difference."""
MARGIN_MM = 4.0
FAINT = 0.1
"""Greys below this are left around the brain by interpolation."""
INT16 = 32767


@dataclass(frozen=True)
class Backdrop:
    """The brain behind the slices: shape, mm to voxels (3, 4), packed greys (x, y, z), and the shown box in mm."""

    shape: tuple[int, ...]
    inverse: list[list[float]]
    data: str
    top: int
    box: list[tuple[float, float]]


def packed(*arrays: npt.NDArray[Any]) -> str:
    """Return arrays, joined as little-endian bytes and gzipped, as base64; equal text for equal arrays."""
    raw = b"".join(np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")).tobytes() for a in arrays)
    return base64.b64encode(gzip.compress(raw, compresslevel=6, mtime=0)).decode()


def sparse(values: npt.NDArray[Any], *, mask: Mask, step: float) -> str:
    """Return the voxels of a map (voxel) that are not 0, packed.

    First the differences of their indices on the grid in C order (uint32, the first from 0), then as many values in
    units of `step` (int16).
    """
    voxels = np.flatnonzero(values)
    flat = np.ravel_multi_index(tuple(mask.voxel_ijk[voxels].T.astype(np.int64)), mask.volume.shape)
    quantised = np.clip(np.rint(values[voxels] / step), -INT16, INT16)
    # A value that rounds to 0 becomes one step: its voxel survives.
    quantised = np.where(quantised == 0, np.sign(values[voxels]), quantised)
    return packed(np.diff(flat, prepend=0).astype(np.uint32), quantised.astype(np.int16))


def inverse_of(affine: npt.NDArray[np.float64]) -> list[list[float]]:
    """Return the upper three rows of an affine's inverse, which takes mm to voxels."""
    return [[round(v, 9) + 0.0 for v in row] for row in np.linalg.inv(affine)[:3].tolist()]


def backdrop(grey: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> Backdrop:
    """Return a brain (x, y, z) from 0 to 1, 0 outside, as the viewer's background."""
    shades = np.rint(np.clip(grey, 0, 1) * (SHADES - 1)).astype(np.uint8)
    return Backdrop(tuple(grey.shape), inverse_of(affine), packed(shades), SHADES - 1, _box(grey > FAINT, affine))


def template() -> Backdrop:
    """Return nilearn's MNI152 template at 2 mm as the viewer's background; imports nilearn."""
    from ale_dask.reporting.figures.slices import background

    return backdrop(*background())


def silhouette(mask: Mask) -> Backdrop:
    """Return the mask itself as the viewer's background, for a page without nilearn."""
    return backdrop(np.where(mask.volume, 0.35, 0.0), mask.affine)


def _box(inside: npt.NDArray[np.bool_], affine: npt.NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return the lowest and highest edge of voxels in mm along each axis, with a margin."""
    ijk = np.argwhere(inside)
    ends = np.array([ijk.min(axis=0) - 0.5, ijk.max(axis=0) + 0.5])
    corners = np.array([[ends[i, 0], ends[j, 1], ends[k, 2]] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    mm = corners @ affine[:3, :3].T + affine[:3, 3]
    return [(float(low) - MARGIN_MM, float(high) + MARGIN_MM) for low, high in zip(mm.min(0), mm.max(0), strict=True)]
