"""The share of a density that lies within each distance of a voxel: how likely a focus has some kernel's value there.

A kernel's value depends on the distance alone, so that the voxels around a voxel form shells of equal distance. A focus
drawn from w has the value x_k of shell k with the probability q_k - q_(k-1), q_k being the mass of w within the
distance.
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

    Values are fixed-point integers; where kernels end at different distances, further values are 0.
    """

    offset: I64
    begin: I64
    value: I64


def shells(boxes: list[npt.NDArray[np.int32]], *, voxel_size: F64) -> Shells:
    """Return the shells of kernels (x, y, z), int32, centred on a voxel, on a grid with these edges (axis) in mm."""
    radius = np.max([np.array(box.shape) // 2 for box in boxes], axis=0)
    offset = np.indices(2 * radius + 1).reshape(3, -1).T - radius
    # Rounded to a thousandth of a square mm: different distances on a grid are never that near by chance.
    squared = np.rint(((offset * voxel_size) ** 2).sum(axis=1) * 1000).astype(np.int64)
    value = np.zeros((len(boxes), len(offset)), dtype=np.int64)
    for row, box in zip(value, boxes, strict=True):
        own = np.array(box.shape) // 2
        within = (np.abs(offset) <= own).all(axis=1)
        row[within] = box[tuple((offset[within] + own).T)]
    reached = value.any(axis=0)
    order = np.flatnonzero(reached)[np.argsort(squared[reached], kind="stable")]
    begin = np.flatnonzero(np.r_[True, np.diff(squared[order]) > 0])
    # A cubic kernel cuts through shells near its corners: the largest value of a shell stands for it.
    value = np.maximum.reduceat(value[:, order], begin, axis=1)
    return Shells(offset[order], np.append(begin, len(order)), value)


class Field:
    """A density (voxel) on a mask volume (x, y, z), padded by a radius (axis), ready to be summed around voxels."""

    def __init__(self, weight: F64, volume: npt.NDArray[np.bool_], *, radius: npt.NDArray[np.int64]) -> None:
        self._radius = radius
        self._volume = volume
        self._grid: F64 = np.zeros(tuple((np.array(volume.shape) + 2 * radius).tolist()))
        self._inside = tuple(slice(int(r), int(r) + n) for r, n in zip(radius, volume.shape, strict=True))
        self._grid[self._inside][volume] = weight
        self._bins = [fft.next_fast_len(n, real=True) for n in self._grid.shape]
        self._spectrum = fft.rfftn(self._grid, self._bins)
        self._mean: dict[bytes, F64] = {}

    def convolved(self, around: Shells, value: F64) -> F64:
        """Return sum_f w(f) value(v - f) (voxel), float64, of a value (shell) for each distance."""
        kernel = np.zeros(self._bins)
        weights = np.repeat(value, np.diff(around.begin))
        kernel[tuple((around.offset % self._bins).T)] = weights
        total = fft.irfftn(self._spectrum * fft.rfftn(kernel, self._bins), self._bins)[self._inside][self._volume]
        # Rounding must not make a sum of positive terms 0 or negative.
        return np.asarray(np.maximum(total, np.finfo(np.float64).tiny))

    def mean_mass(self, around: Shells) -> F64:
        """Return the mass of w within each distance (shell), float64, averaged over all voxels of the mask."""
        key = around.offset.tobytes() + around.begin.tobytes()
        if key not in self._mean:
            mask = np.zeros(self._bins)
            mask[self._inside] = self._volume
            correlation = fft.irfftn(self._spectrum * np.conj(fft.rfftn(mask, self._bins)), self._bins)
            at = correlation[tuple((around.offset % self._bins).T)]
            mean = np.cumsum(np.add.reduceat(at, around.begin[:-1])) / np.count_nonzero(self._volume)
            self._mean[key] = np.asarray(mean)
        return self._mean[key]

    def mass(self, around: Shells, voxel_ijk: npt.NDArray[np.integer]) -> F64:
        """Return the mass of w within each distance (voxel, shell), float64, around some voxels (voxel, axis)."""
        _, rows, cells = self._grid.shape
        step = np.array([rows * cells, cells, 1])
        centre = (voxel_ijk.astype(np.int64) + self._radius) @ step
        mass = np.take(self._grid.ravel(), centre[:, None] + around.offset @ step)
        return np.asarray(np.cumsum(np.add.reduceat(mass, around.begin[:-1], axis=1), axis=1))
