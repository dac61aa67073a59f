"""Put the image of a statistic on the grid of a result: regions by the nearest voxel, other values by interpolation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.atlas import ATLASES, atlas
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.coordinates.masks.images import read_numbers
from ale_dask.datasets.atlases import ATLAS_IMAGES, atlas_image, label_names
from ale_dask.errors import InputError, did_you_mean
from ale_dask.numerics.space import Mask, check_affine, invert

_COPY = "image_"
"""The beginning of the name of a label image that a run keeps in its folder."""
MOST_REGIONS = 2_000
"""Most regions of a label image that are on a mask: statistics of more numbers than this are not of a few."""


@dataclass(frozen=True, eq=False)
class GridImage:
    """An image on the searched voxels of a mask (voxel): its name, the names of its labels, and how it was read."""

    name: str
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    labels: dict[int, str]
    note: str
    citation: str = ""
    """The keys of references that an image of the program has."""


@dataclass(frozen=True, eq=False)
class _Image:
    """An image as it was read: its voxels (x, y, z), float64, its affine (4, 4) in mm, and the names of its labels."""

    name: str
    volume: npt.NDArray[np.float64]
    affine: npt.NDArray[np.float64]
    labels: dict[int, str]
    citation: str = ""

    def voxels(self, mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return positions in voxels (point, axis) of points in mm (point, axis)."""
        return invert(self.affine[:3, :3], self.affine[:3, 3], mm)


def on_grid(image: str | Path | xr.Dataset, mask: Mask, *, wanted: str | None) -> GridImage:
    """Return an image on the searched voxels of a mask.

    `wanted` says what the statistic takes: "labels", "values", the "voxels" that are not 0, or None for whatever the
    image holds, labels where all of its values are whole numbers.

    Raises
    ------
    InputError
        for an image that cannot be read, holds something else, or has nothing in the searched voxels.
    """
    if isinstance(image, xr.Dataset):
        return _of_result(image, mask)
    mm = mask.to_mm(mask.voxel_ijk[mask.searched])
    if str(image) in ATLASES:
        found = atlas(str(image))
        return _labelled(str(image), found.at(mm), found.names, "labels of the nearest voxel", "")
    read = _read(str(image))
    whole = bool((np.isfinite(read.volume) & (read.volume == np.rint(read.volume))).all())
    if wanted == "labels" and not (whole and read.volume.min() >= 0):
        raise InputError(f"image '{read.name}': its values are no labels; give an image of whole numbers from 0")
    if wanted in ("labels", "voxels") or (wanted is None and whole and read.volume.min() >= 0):
        values = _nearest(read, mm)
        how = f"of the nearest voxel of {_grid_words(read, mask)}"
        if wanted == "voxels":
            return GridImage(read.name, _not_empty(read.name, values != 0).astype(np.int64), {}, f"voxels {how}")
        return _labelled(read.name, values, read.labels, f"labels {how}", read.citation)
    values = _interpolated(read, mm)
    missing = int((~np.isfinite(values)).sum())
    _not_empty(read.name, np.isfinite(values))
    left_out = f"; {missing:,} voxels without a value are left out" if missing else ""
    return GridImage(read.name, values, {}, f"values interpolated from {_grid_words(read, mask)}{left_out}")


def _not_empty(name: str, found: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    if not found.any():
        raise InputError(f"image '{name}': holds nothing in the voxels that are searched; check its space")
    return found


def _labelled(name: str, values: npt.NDArray[np.generic], names: dict[int, str], how: str, citation: str) -> GridImage:
    labels = values.astype(np.int64)
    _not_empty(name, labels > 0)
    there = np.unique(labels[labels > 0]).tolist()
    if len(there) > MOST_REGIONS or there[-1] > 10**6:
        raise InputError(
            f"image '{name}': {len(there):,} labels up to {there[-1]:,}; "
            f"give an image of at most {MOST_REGIONS:,} regions"
        )
    lost = len(set(names) - set(there) - {0})
    lacking = f"; {lost} of its regions have no voxel here" if lost else ""
    note = f"{how}, which label {(labels > 0).mean():.0%} of the voxels{lacking}"
    return GridImage(name, labels, {i: names.get(i, str(i)) for i in there}, note, citation)


def _of_result(result: xr.Dataset, mask: Mask) -> GridImage:
    """Return the voxels that survive in another result, on its primary correction."""
    name = str(result.attrs.get("name", "result"))
    if kind_of(result) != "main-effect":
        raise InputError(f"'{name}': is no main effect; give one, or an image of the voxels")
    other = model_of(result).mask
    volume = np.zeros(other.volume.shape)
    volume[other.volume] = thresholded(result, "cluster-fwe")
    read = _Image(name, volume, other.affine, {})
    kept = _nearest(read, mask.to_mm(mask.voxel_ijk[mask.searched])) != 0
    note = f"{int(kept.sum()):,} voxels that survive in '{name}'"
    return GridImage(name, kept.astype(np.int64), {}, note)


def label_file(name: str) -> tuple[str, Path, dict[int, str]] | None:
    """Return the name of an image, its file and the names of its labels; None for an atlas of the cluster tables.

    A fetched image is fetched where it is not there yet. A run keeps a copy of it as image_NAME.nii.gz.
    """
    if name in ATLASES:
        return None
    if name in ATLAS_IMAGES:
        return name, *atlas_image(name)
    path = Path(name)
    if not path.exists():
        known = [*ATLASES, *ATLAS_IMAGES]
        raise InputError(
            f"image '{name}': no such file{did_you_mean(path.name, known)}; give an image, or one of "
            f"{', '.join(ATLASES)}, yeo7, yeo17, schaefer100 … schaefer1000"
        )
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    return stem.removeprefix(_COPY), path, _names_beside(path.with_name(stem))


def _read(name: str) -> _Image:
    found = label_file(name)
    assert found is not None
    stem, path, labels = found
    volume, affine = read_numbers(path, what=f"image '{name}'")
    check_affine(affine, what=f"image '{name}'")
    kept = Path(name).name.startswith(_COPY) and stem in ATLAS_IMAGES
    return _Image(stem, volume, affine, labels, ATLAS_IMAGES[stem].citation if kept or name in ATLAS_IMAGES else "")


def _names_beside(stem: Path) -> dict[int, str]:
    """Return the names of labels from STEM.names.txt, STEM.txt, STEM.lut or STEM.tsv; none without such a file."""
    for end in (".names.txt", ".txt", ".lut", ".tsv"):
        path = stem.with_name(stem.name + end)
        if path.is_file():
            return label_names(path.read_text(encoding="utf-8", errors="replace"))
    return {}


def _grid_words(read: _Image, mask: Mask) -> str:
    edges = np.sqrt((read.affine[:3, :3] ** 2).sum(axis=0))
    same = read.volume.shape == mask.volume.shape and np.allclose(read.affine, mask.affine, atol=1e-3)
    return f"'{read.name}' ({'the same grid' if same else ' x '.join(f'{e:g}' for e in edges) + ' mm'})"


def _nearest(read: _Image, mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the value of the voxel (point) in which each point in mm (point, axis) lies; 0 outside the image."""
    ijk = np.rint(read.voxels(mm)).astype(np.int64)
    inside = np.all((ijk >= 0) & (ijk < np.array(read.volume.shape)), axis=1)
    values = read.volume[tuple(np.where(inside[:, None], ijk, 0).T)]
    return np.where(inside & np.isfinite(values), values, 0.0)


def _interpolated(read: _Image, mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the trilinear value (point) at each point in mm (point, axis); NaN outside the image and beside a NaN."""
    at = read.voxels(mm)
    # A point on a voxel's centre must not take a part of its neighbour, which may have no value.
    near = np.rint(at)
    at = np.where(np.abs(at - near) < 1e-6, near, at)
    low = np.floor(at).astype(np.int64)
    part = at - low
    inside = np.all((at >= 0) & (at <= np.array(read.volume.shape) - 1), axis=1)
    values = np.zeros(len(at))
    for corner in np.ndindex(2, 2, 2):
        weight = np.where(np.array(corner) == 1, part, 1 - part).prod(axis=1)
        ijk = np.clip(low + np.array(corner), 0, np.array(read.volume.shape) - 1)
        values += np.where(weight > 0, read.volume[tuple(ijk.T)], 0.0) * weight
    return np.where(inside, values, np.nan)
