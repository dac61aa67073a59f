"""Grids, masks and the way from Talairach to MNI."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ale_dask.errors import InputError

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

    from ale_dask.config.inference import Rounding

# icbm2tal, MNI -> Talairach, rows [R | t] in mm: Lancaster et al. 2007, Human Brain Mapping 28:1194.
ICBM2TAL: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "other": (
        (0.9357, 0.0029, -0.0072, -1.0423),
        (-0.0065, 0.9396, -0.0726, -1.3940),
        (0.0103, 0.0752, 0.8967, 3.6475),
    ),
    "fsl": (
        (0.9464, 0.0034, -0.0026, -1.0680),
        (-0.0083, 0.9479, -0.0580, -1.0239),
        (0.0053, 0.0617, 0.9010, 3.1883),
    ),
    "spm": (
        (0.9254, 0.0024, -0.0118, -1.0207),
        (-0.0048, 0.9316, -0.0871, -1.7667),
        (0.0152, 0.0883, 0.8924, 4.0926),
    ),
}


MOST_COSINE = 1e-3
"""Largest cosine between two axes of a grid: 0.06 degrees from a right angle; rounded headers stay below 1e-6."""


@dataclass(frozen=True, eq=False)
class Mask:
    """The voxels that foci are drawn from, on one grid; `search` (voxel) says in which of them inference is made."""

    volume: npt.NDArray[np.bool_]
    affine: npt.NDArray[np.float64]
    name: str = "mask"
    search: npt.NDArray[np.bool_] | None = None
    """None: inference is made in all voxels."""
    search_name: str = ""
    notes: tuple[str, ...] = ()
    """Sentences for the user on how the images were read."""
    what: str = "mask"
    """The name that messages give to this kind of mask."""

    def __post_init__(self) -> None:
        if self.volume.ndim != 3 or not self.volume.any():
            raise InputError(
                f"{self.what} '{self.name}': need a 3-D image with at least one voxel, got {self.volume.shape}"
            )
        check_affine(self.affine, what=f"{self.what} '{self.name}'")

    @property
    def n_voxels(self) -> int:
        """Number of voxels inside the mask."""
        return int(self.voxel_ijk.shape[0])

    @cached_property
    def voxel_ijk(self) -> npt.NDArray[np.int16]:
        """Grid positions (voxel, axis), C order, int16."""
        return np.argwhere(self.volume).astype(np.int16)

    @cached_property
    def voxel_size(self) -> npt.NDArray[np.float64]:
        """Edge lengths (axis) in mm, float64."""
        edges: npt.NDArray[np.float64] = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return edges

    @property
    def voxel_volume(self) -> float:
        """Volume of one voxel in mm3."""
        return float(np.prod(self.voxel_size))

    @cached_property
    def sha256(self) -> str:
        """Hash of the mask's grid, affine and voxels, but not of its name."""
        digest = hashlib.sha256(repr(self.volume.shape).encode())
        digest.update(np.ascontiguousarray(self.affine, dtype="<f8").tobytes())
        digest.update(np.packbits(self.volume).tobytes())
        return digest.hexdigest()

    @cached_property
    def searched(self) -> npt.NDArray[np.bool_]:
        """Whether inference is made in each voxel (voxel), bool."""
        return np.ones(self.n_voxels, dtype=bool) if self.search is None else self.search

    @cached_property
    def searched_volume(self) -> npt.NDArray[np.bool_]:
        """The voxels in which inference is made, on the grid (x, y, z), bool."""
        volume = np.zeros_like(self.volume)
        volume[self.volume] = self.searched
        return volume

    @cached_property
    def search_sha256(self) -> str:
        """Hash of the voxels in which inference is made; empty where it is made in all."""
        return "" if self.search is None else hashlib.sha256(np.packbits(self.search).tobytes()).hexdigest()

    def to_grid(self, xyz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return positions in voxels (focus, axis), float64, of points given in mm (focus, axis)."""
        return invert(self.affine[:3, :3], self.affine[:3, 3], xyz)

    def to_mm(self, ijk: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return positions in mm (point, axis), float64, of points given in voxels (point, axis)."""
        points = np.asarray(ijk, dtype=np.float64)
        mm: npt.NDArray[np.float64] = points @ self.affine[:3, :3].T + self.affine[:3, 3]
        return mm

    def voxel_at(self, xyz: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the voxel (focus), int64, that each point, in mm (focus, axis), lies in; -1 outside the mask."""
        ijk = np.rint(self.to_grid(xyz)).astype(np.int64)
        on_grid = np.all((ijk >= 0) & (ijk < np.array(self.volume.shape)), axis=1)
        voxel = self._number[tuple(np.where(on_grid[:, None], ijk, 0).T)]
        return np.where(on_grid, voxel, -1)

    @cached_property
    def _number(self) -> npt.NDArray[np.int64]:
        number = np.full(self.volume.shape, -1, dtype=np.int64)
        number[self.volume] = np.arange(self.n_voxels)
        return number

    def distance(self, xyz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the distance in mm (focus) of each point to the mask, 0 for those inside one of its voxels."""
        inside = self.voxel_at(xyz) >= 0
        far = np.zeros(len(inside))
        if not inside.all():
            far[~inside], _ = self._tree.query(np.asarray(xyz)[~inside])
        return far

    @cached_property
    def _tree(self) -> cKDTree:
        from scipy.spatial import cKDTree

        return cKDTree(self.to_mm(self.voxel_ijk))


def check_affine(affine: npt.NDArray[np.float64], *, what: str) -> None:
    """Raise InputError unless an affine (4, 4) is finite, with axes of some length that stand at right angles.

    Kernels are computed along the axes of the grid: on sheared axes they would have another shape.
    """
    if not np.isfinite(affine).all():
        raise InputError(f"{what}: its affine has numbers that are not finite; write its header again")
    length = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if (length < 1e-6).any() or (length > 1e6).any() or (np.abs(affine) > 1e6).any():
        sizes = " x ".join(f"{edge:g}" for edge in length)
        raise InputError(f"{what}: its affine gives voxels of {sizes} mm; write its header again")
    axes = affine[:3, :3] / length
    cosine = np.abs(axes.T @ axes - np.eye(3)).max()
    if cosine >= MOST_COSINE:
        raise InputError(
            f"{what}: its axes are not at right angles (cosine {cosine:.3g}, allowed less than {MOST_COSINE:g}), on "
            "which kernels have the wrong shape; resample it to a grid with such axes"
        )


def rounded(grid: npt.NDArray[np.float64], how: Rounding) -> npt.NDArray[np.float64]:
    """Return positions in voxels (focus, axis), float64, rounded to voxel centres.

    "half-even" and "half-up" go to the nearest centre, "ceil" to the next and "floor" to the one before; "none" does
    not round. A position within 1e-9 of a voxel centre is that centre: another rounding error must not move "ceil" or
    "floor".
    """
    if how == "none":
        return grid
    if how == "half-even":
        return np.asarray(np.rint(grid))
    if how == "half-up":
        return np.asarray(np.floor(grid + 0.5))
    return np.asarray(np.ceil(grid - 1e-9) if how == "ceil" else np.floor(grid + 1e-9))


def talairach_to_mni(xyz: npt.NDArray[np.float64], *, variant: str = "other") -> npt.NDArray[np.float64]:
    """Return MNI coordinates in mm (focus, axis), float64, of Talairach coordinates in mm (focus, axis).

    The inverse of Lancaster's icbm2tal; `variant` names the software that had normalised the data
    ("other", "fsl", "spm").

    Raises
    ------
    InputError
        for a variant that is none of the three.
    """
    if variant not in ICBM2TAL:
        raise InputError(f"unknown Talairach variant '{variant}'; choose one of {', '.join(ICBM2TAL)}")
    matrix = np.array(ICBM2TAL[variant])
    return invert(matrix[:, :3], matrix[:, 3], xyz)


def mni_to_talairach(xyz: npt.NDArray[np.float64], *, variant: str = "other") -> npt.NDArray[np.float64]:
    """Return Talairach coordinates in mm (focus, axis), float64, of MNI coordinates in mm: Lancaster's icbm2tal."""
    matrix = np.array(ICBM2TAL[variant])
    talairach: npt.NDArray[np.float64] = np.asarray(xyz, dtype=np.float64) @ matrix[:, :3].T + matrix[:, 3]
    return talairach


def invert(
    matrix: npt.NDArray[np.float64], offset: npt.NDArray[np.float64], points: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Return the points q (point, axis), float64, with matrix q + offset = points (point, axis).

    Cramer's rule, term by term: LAPACK and BLAS give other last bits on other CPUs and for other batches.
    """
    m = np.asarray(matrix, dtype=np.float64)
    cofactor = [
        [
            m[(c + 1) % 3, (r + 1) % 3] * m[(c + 2) % 3, (r + 2) % 3]
            - m[(c + 1) % 3, (r + 2) % 3] * m[(c + 2) % 3, (r + 1) % 3]
            for c in range(3)
        ]
        for r in range(3)
    ]
    determinant = m[0, 0] * cofactor[0][0] + m[0, 1] * cofactor[1][0] + m[0, 2] * cofactor[2][0]
    x, y, z = np.atleast_2d(np.asarray(points, dtype=np.float64)).T - np.asarray(offset, dtype=np.float64)[:, None]
    return np.stack([(row[0] * x + row[1] * y + row[2] * z) / determinant for row in cofactor], axis=-1)
