"""Brain clusters of a signed map, with their peaks and sub-peaks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage

from ale_dask.numerics.clusters import structure
from ale_dask.numerics.space import Mask

APART_MM = 8.0
SUB_PEAKS = 3
"""As many as nilearn lists: 1a, 1b, 1c."""

Floats = npt.NDArray[np.floating[Any]]
I64 = npt.NDArray[np.int64]
_CUBE = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Cluster:
    """One brain cluster: its number, side of zero, voxels, peak voxel, peak in mm and sub-peak voxels."""

    number: int
    sign: int
    voxels: I64
    peak: int
    peak_mm: npt.NDArray[np.float64]
    sub_peaks: tuple[int, ...]

    def center(self, weight: npt.NDArray[Any], *, mask: Mask) -> npt.NDArray[np.float64]:
        """Return the centre of mass (axis) in mm under the weights (voxel)."""
        w = np.abs(weight[self.voxels].astype(np.float64))
        w = w if w.sum() > 0 else np.ones_like(w)
        return np.asarray(mask.to_mm(np.average(mask.voxel_ijk[self.voxels], axis=0, weights=w)))

    def bounds(self, *, mask: Mask) -> str:
        """Return the smallest and largest voxel centre of each axis in mm, as text."""
        mm = mask.to_mm(mask.voxel_ijk[self.voxels]).round(1) + 0.0
        pairs = zip("xyz", mm.min(axis=0), mm.max(axis=0), strict=True)
        return ", ".join(f"{axis} {low:g} to {high:g}" for axis, low, high in pairs)


def find_clusters(
    z: npt.NDArray[Any],
    *,
    mask: Mask,
    rank: npt.NDArray[Any] | None = None,
    average_ties: bool = False,
    connectivity: int = 6,
) -> list[Cluster]:
    """Return the clusters of the voxels above 0, then of those below, each side by descending size.

    The peak is the voxel of the largest `rank` (voxel; default |z|), the first in C order of several; its
    position in mm is the mean of the tied ones where `average_ties`, as GingerALE does.
    """
    order = np.abs(z) if rank is None else rank
    sides = {sign: np.flatnonzero(sign * z > 0) for sign in (1, -1)}
    # All that clusters depend on: a map that is shown, tabled and drawn is labelled once.
    key = hashlib.sha256(f"{mask.sha256} {average_ties} {connectivity} {order.dtype}".encode())
    for voxels in sides.values():
        key.update(len(voxels).to_bytes(8, "little") + voxels.tobytes() + order[voxels].tobytes())
    found = _LABELLED.get(key.digest())
    if found is None:
        found = []
        for sign, inside in sides.items():
            for voxels in sorted(_groups(inside, mask, connectivity), key=len, reverse=True):
                found.append(_cluster(voxels, order, len(found) + 1, sign, mask, average_ties))
        if len(_LABELLED) >= MOST_MAPS:
            _LABELLED.clear()
        _LABELLED[key.digest()] = found
    return found.copy()


MOST_MAPS = 64
"""Maps whose clusters are remembered."""
_LABELLED: dict[bytes, list[Cluster]] = {}


def grid_name(result: xr.Dataset) -> str:
    """Return a short hash of the grid that a result's voxels are of, whatever its mask."""
    affine, shape = np.array(result.attrs["affine"], dtype=np.float64), tuple(result.attrs["shape"])
    return hashlib.sha256(affine.tobytes() + str(shape).encode()).hexdigest()[:8]


def _groups(inside: I64, mask: Mask, connectivity: int) -> list[I64]:
    """Return the voxels of each cluster, in C order, clusters by their first voxel."""
    if not inside.size:
        return []
    # Only the box around the voxels: a study labels dozens of nearly empty maps.
    ijk = mask.voxel_ijk[inside].astype(np.int64)
    ijk -= ijk.min(axis=0)
    box = np.zeros(ijk.max(axis=0) + 1, dtype=bool)
    box[tuple(ijk.T)] = True
    labels = ndimage.label(box, structure(connectivity))[0][tuple(ijk.T)]
    order = np.argsort(labels, kind="stable")
    return np.split(inside[order], np.flatnonzero(np.diff(labels[order])) + 1)


def _cluster(voxels: I64, rank: npt.NDArray[Any], number: int, sign: int, mask: Mask, average: bool) -> Cluster:
    value = rank[voxels]
    tied = voxels[value == value.max()]
    mm = mask.to_mm(mask.voxel_ijk[tied if average else tied[:1]]).mean(axis=0)
    # A plateau of the peak itself is no sub-peak, wherever the mean of it lies.
    others = [v for v in _maxima(voxels, value, mask) if rank[v] < value.max()]
    kept = [mm]
    sub_peaks: list[int] = []
    for v in others:
        here = mask.to_mm(mask.voxel_ijk[v])
        if len(sub_peaks) < SUB_PEAKS and min(np.linalg.norm(here - k) for k in kept) >= APART_MM:
            kept.append(here)
            sub_peaks.append(v)
    return Cluster(number, sign, voxels, int(tied[0]), mm, tuple(sub_peaks))


def _maxima(voxels: I64, value: npt.NDArray[Any], mask: Mask) -> list[int]:
    """Return a voxel of each local maximum of a cluster (26 neighbours), highest first."""
    ijk = mask.voxel_ijk[voxels].astype(np.int64)
    ijk = ijk - ijk.min(axis=0) + 1
    box = np.full(ijk.max(axis=0) + 2, -np.inf)
    at = tuple(ijk.T)
    box[at] = value
    highest = (ndimage.maximum_filter(box, footprint=_CUBE) == box) & np.isfinite(box)
    # A flat part whose rim goes on up is a shoulder, not a peak.
    beside = ndimage.maximum_filter(np.where(highest, -np.inf, box), footprint=_CUBE)
    flats, n = ndimage.label(highest, structure=_CUBE)
    shoulders = np.unique(flats[highest & (beside == box)])
    flat = flats[at]
    first = [int(np.flatnonzero(flat == k)[0]) for k in range(1, n + 1) if k not in shoulders]
    return [int(voxels[i]) for i in sorted(first, key=lambda i: (-value[i], i))]
