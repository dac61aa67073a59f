"""The base rate: the density of foci that are reported whatever was studied, of the literature or of an image."""

from __future__ import annotations

import gzip
import hashlib
import math
import threading
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ale_dask.config.inference import LITERATURE
from ale_dask.coordinates.masks.images import read_numbers
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask, check_affine, invert

F64 = npt.NDArray[np.float64]
FWHM = 4.0
"""Width of the Gaussian in mm: of 3 to 12 mm it gives left-out foci of the database the largest likelihood."""
UNIFORM = 0.02
"""Share of foci that are spread evenly over the mask, so that no voxel is impossible."""
_VERSION = 1
_TRUNCATE = 5.0


@dataclass(frozen=True, eq=False)
class Counts:
    """The number of foci in each voxel of an image: volume (x, y, z), float64, not below 0, and affine in mm."""

    name: str
    volume: F64
    affine: F64

    @cached_property
    def sha256(self) -> str:
        """The hash of everything but the mask that a density of these counts depends on."""
        digest = hashlib.sha256(f"{_VERSION}:{FWHM}:{UNIFORM}:{self.volume.shape}".encode())
        digest.update(np.ascontiguousarray(self.affine, dtype="<f8").tobytes())
        digest.update(np.ascontiguousarray(self.volume, dtype="<f8").tobytes())
        return digest.hexdigest()

    @cached_property
    def smooth(self) -> F64:
        """The counts (x, y, z) smoothed by a Gaussian; foci that it moves beyond the image are lost."""
        edges = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        sigma = FWHM / math.sqrt(8 * math.log(2)) / edges
        out: F64 = ndimage.gaussian_filter(self.volume, sigma, mode="constant", truncate=_TRUNCATE)
        return out


def load_counts(name: str | Path = LITERATURE) -> Counts:
    """Return the foci per voxel of the literature, or of an image file.

    Parameters
    ----------
    name
        "literature", or a NIfTI image of numbers of foci, such as `ale-dask base-rate` writes

    Raises
    ------
    InputError
        when the file is missing, is no 3-D image, holds a number below 0 or no focus.
    """
    if str(name) == LITERATURE:
        return _built_in()
    path = Path(name)
    if not path.exists():
        raise InputError(f"base_rate '{name}': no such file; give an image or {LITERATURE}")
    stat = path.stat()
    return _of_file(path, str(name), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _built_in() -> Counts:
    source = resources.files(__name__) / f"{LITERATURE}.nii.gz"
    image = nib.Nifti1Image.from_bytes(gzip.decompress(source.read_bytes()))
    return Counts(LITERATURE, np.asarray(image.dataobj, dtype=np.float64), np.asarray(image.affine, dtype=np.float64))


@lru_cache(maxsize=4)
def _of_file(path: Path, name: str, changed: int, size: int) -> Counts:
    volume, affine = read_numbers(path, what=f"base_rate '{name}'")
    if not np.isfinite(volume).all() or volume.min() < 0:
        raise InputError(f"base_rate '{name}': a voxel is below 0 or no number; it must hold numbers of foci")
    if not volume.any():
        raise InputError(f"base_rate '{name}': no voxel holds a focus")
    check_affine(affine, what=f"base_rate '{name}'")
    return Counts(name, volume, affine)


def density(mask: Mask, counts: Counts | None = None) -> F64:
    """Return the probability (voxel), float64, with which a focus lies in each voxel of a mask; they sum to 1.

    Parameters
    ----------
    mask
        on any grid
    counts
        foci per voxel; the literature's if none are given

    Raises
    ------
    InputError
        when no focus of the counts lies in or near the mask.

    Notes
    -----
    w = .98 g + .02 uniform, g the counts smoothed by a Gaussian of 4 mm FWHM and cut to the mask, without a correction
    at its edge. On another grid g is the mean over points of the voxel, at most one edge of the counts' own voxels
    apart, of the smoothed counts interpolated linearly.
    """
    counts = counts or load_counts()
    with _SAMPLING:
        smoothed = _sampled(mask, counts)
    total = float(smoothed.sum())
    if not total > 0:
        raise InputError(
            f"base_rate '{counts.name}': no focus lies in the mask '{mask.name}'; null uniform does without"
        )
    w = (1 - UNIFORM) * smoothed / total + UNIFORM / mask.n_voxels
    return np.asarray(w / w.sum())


_SAMPLING = threading.Lock()
"""Held while counts are sampled, so that main effects that are planned at once share the samples of their mask."""


@lru_cache(maxsize=4)
def _sampled(mask: Mask, counts: Counts) -> F64:
    """Return the mean of the smoothed counts over points of each voxel of a mask (voxel)."""
    own = np.sqrt((counts.affine[:3, :3] ** 2).sum(axis=0)).min()
    # Rounding errors of a thousandth do not count: a voxel of 2.0001 mm needs no second point per axis.
    points = np.maximum(1, np.ceil(mask.voxel_size / own - 1e-3)).astype(int)
    out = np.zeros(mask.n_voxels)
    for step in np.ndindex(*points):
        shift = (np.array(step) + 0.5) / points - 0.5
        at = invert(counts.affine[:3, :3], counts.affine[:3, 3], mask.to_mm(mask.voxel_ijk + shift))
        # Voxel centres that agree but for rounding are not interpolated.
        near = np.rint(at)
        at = np.where(np.abs(at - near) < 1e-6, near, at)
        out += ndimage.map_coordinates(counts.smooth, at.T, order=1, mode="constant")
    out.flags.writeable = False
    return out
