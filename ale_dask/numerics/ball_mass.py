"""How much of a density lies near a voxel, and so how likely it is that a focus reaches it with some kernel's value.

Kernels fall with the distance alone, so that the voxels around one form shells of one distance, and a focus drawn from
w gives the value x_k of shell k with the probability q_k - q_(k-1), q_k being the mass of w within the distance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


class Shells(NamedTuple):
    """The cells around a voxel by distance: offset (cell, axis) in voxels, begin (shell + 1), value (kernel, shell).

    Values are fixed-point integers; where kernels end at different distances the further ones are 0.
    """

    offset: I64
    begin: I64
    value: I64


def shells(boxes: list[npt.NDArray[np.int32]], *, voxel_size: F64) -> Shells:
    """Return the shells of kernels (x, y, z), int32, centred on a voxel, on a grid of these edges (axis) in mm."""
    radius = np.max([np.array(box.shape) // 2 for box in boxes], axis=0)
    offset = np.indices(2 * radius + 1).reshape(3, -1).T - radius
    # To a thousandth of a square mm: no two distances of a grid that differ are that near by chance.
    squared = np.rint(((offset * voxel_size) ** 2).sum(axis=1) * 1000).astype(np.int64)
    value = np.zeros((len(boxes), len(offset)), dtype=np.int64)
    for row, box in zip(value, boxes, strict=True):
        own = np.array(box.shape) // 2
        within = (np.abs(offset) <= own).all(axis=1)
        row[within] = box[tuple((offset[within] + own).T)]
    reached = value.any(axis=0)
    order = np.flatnonzero(reached)[np.argsort(squared[reached], kind="stable")]
    begin = np.flatnonzero(np.r_[True, np.diff(squared[order]) > 0])
    # A cube ends at another distance in its corners: the largest value of a shell stands for it.
    value = np.maximum.reduceat(value[:, order], begin, axis=1)
    return Shells(offset[order], np.append(begin, len(order)), value)


class Field:
    """A density (voxel) on a mask volume, ready to be summed around voxels."""

    def __init__(self, weight: F64, volume: npt.NDArray[np.bool_], *, radius: npt.NDArray[np.int64]) -> None:
        self._radius = radius
        self._volume = volume
        self._grid: F64 = np.zeros(tuple((np.array(volume.shape) + 2 * radius).tolist()))
        self._inside = tuple(slice(int(r), int(r) + n) for r, n in zip(radius, volume.shape, strict=True))
        self._grid[self._inside][volume] = weight
        self._bins = [fft.next_fast_len(n, real=True) for n in self._grid.shape]

    def convolved(self, around: Shells, value: F64) -> F64:
        """Return sum_f w(f) value(v - f) (voxel), float64, value (shell) being one of each distance."""
        kernel = np.zeros(self._bins)
        weights = np.repeat(value, np.diff(around.begin))
        kernel[tuple((around.offset % self._bins).T)] = weights
        spectrum = fft.rfftn(self._grid, self._bins) * fft.rfftn(kernel, self._bins)
        found = fft.irfftn(spectrum, self._bins)[self._inside][self._volume]
        # Rounding must not go below what is certainly there.
        return np.asarray(np.maximum(found, np.finfo(np.float64).tiny))

    def mean_mass(self, around: Shells) -> F64:
        """Return the mass within each distance (shell), float64, of w, the mean over all voxels v of the mask."""
        mask = np.zeros(self._bins)
        mask[self._inside] = self._volume
        correlation = fft.irfftn(fft.rfftn(self._grid, self._bins) * np.conj(fft.rfftn(mask, self._bins)), self._bins)
        at = correlation[tuple((around.offset % self._bins).T)]
        return np.asarray(np.cumsum(np.add.reduceat(at, around.begin[:-1])) / np.count_nonzero(self._volume))

    def mass(self, around: Shells, voxel_ijk: npt.NDArray[np.integer]) -> F64:
        """Return the mass within each distance (voxel, shell), float64, of w around some voxels (voxel, axis)."""
        _, rows, cells = self._grid.shape
        step = np.array([rows * cells, cells, 1])
        centre = (voxel_ijk.astype(np.int64) + self._radius) @ step
        near = self._grid.ravel()[centre[:, None] + around.offset @ step]
        return np.asarray(np.cumsum(np.add.reduceat(near, around.begin[:-1], axis=1), axis=1))
