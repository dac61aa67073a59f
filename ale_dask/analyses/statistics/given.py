"""The statistics of a map that come with the program: functions of a map Dataset, as a user's own are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

Numbers = dict[str, dict[str, float]]
"""Numbers by name, in groups whose members are compared with each other."""
Tail = Literal["upper", "lower", "two-sided"]


# The identity of a stored test holds the source of its function, docstring included: a changed word in one of these
# has stored blocks computed again.
def networks(maps: xr.Dataset) -> Numbers:
    """Return the mean z of each network of a label image, and its share of all that lies beyond the threshold.

    The share is that of the summed excess; it is 0 for all networks of a map in which nothing passes.
    """
    names, voxels, label = _labelled(maps)
    mass = np.bincount(label, maps["excess"].values, len(voxels))
    total = float(maps["excess"].values.sum())
    mean = np.bincount(label, maps["z"].values, len(voxels)) / np.maximum(voxels, 1)
    share = mass / total if total > 0 else np.zeros_like(mass)
    return {
        "mean z": {name: float(mean[i]) for i, name in names.items()},
        "share of mass": {name: float(share[i]) for i, name in names.items()},
    }


def regions(maps: xr.Dataset) -> Numbers:
    """Return the mean and the largest z of each region of a label image."""
    names, voxels, label = _labelled(maps)
    z = maps["z"].values
    mean = np.bincount(label, z, len(voxels)) / np.maximum(voxels, 1)
    largest = np.zeros(len(voxels))
    np.maximum.at(largest, label, z)
    return {
        "mean z": {name: float(mean[i]) for i, name in names.items()},
        "largest z": {name: float(largest[i]) for i, name in names.items()},
    }


def laterality(maps: xr.Dataset) -> Numbers:
    """Return how far the left side exceeds the right: mean difference of z, and (L - R) / (L + R) of the mass.

    The difference is taken at voxels left of the midline, to the voxel at -x; voxels without a mirror image in the
    search space are left out of it. L and R are the summed excess of each side; the index is 0 where nothing passes.
    """
    x, mirror, z = maps["xyz"].values[:, 0], maps["mirror"].values, maps["z"].values
    left = np.flatnonzero((x < 0) & (mirror >= 0))
    difference = float((z[left] - z[mirror[left]]).sum()) / max(len(left), 1)
    excess = maps["excess"].values
    on_left, on_right = float(excess[x < 0].sum()), float(excess[x > 0].sum())
    both = on_left + on_right
    return {
        "difference of z": {"left - right": difference},
        "index of mass": {"(L - R) / (L + R)": (on_left - on_right) / both if both > 0 else 0.0},
    }


def correlation(maps: xr.Dataset) -> Numbers:
    """Return Pearson's correlation of z with the values of an image, over the searched voxels that have a value."""
    known = np.isfinite(maps["image"].values)
    value, z = maps["image"].values[known], maps["z"].values[known]
    value, z = value - value.sum() / len(value), z - z.sum() / len(z)
    size = np.sqrt((value * value).sum() * (z * z).sum())
    return {"correlation": {"r": float((value * z).sum() / size) if size > 0 else 0.0}}


def dice(maps: xr.Dataset) -> Numbers:
    """Return the Dice coefficient 2 |A and B| / (|A| + |B|) of the voxels that pass, A, and those of an image, B."""
    other, above = maps["image"].values != 0, maps["above"].values
    total = int(other.sum()) + int(above.sum())
    return {"overlap": {"Dice": 2 * int((other & above).sum()) / total if total else 0.0}}


def _labelled(maps: xr.Dataset) -> tuple[dict[int, str], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the names of an image's labels that are searched, their numbers of voxels (label), and labels (voxel)."""
    label = maps["image"].values
    voxels = np.bincount(label)
    names = maps["image"].attrs["labels"]
    return {i: names.get(i, str(i)) for i in np.flatnonzero(voxels).tolist() if i}, voxels, label


@dataclass(frozen=True)
class Given:
    """A statistic of the program: its function, what it takes of an image, its tail, and what it measures in words."""

    function: Callable[[xr.Dataset], Any]
    image: Literal["labels", "values", "voxels"] | None
    tail: Tail
    says: str
    """As an object of "were tested for …"; {image} is the name of the image."""


GIVEN = {
    "networks": Given(
        networks,
        "labels",
        "upper",
        "the mean z of each network of {image} and its share of the mass beyond the cluster-forming value",
    ),
    "regions": Given(regions, "labels", "upper", "the mean and the largest z of each region of {image}"),
    "laterality": Given(
        laterality,
        None,
        "two-sided",
        "the mean difference of z to the mirror image of the map, left minus right, and the laterality index of the "
        "mass beyond the cluster-forming value",
    ),
    "correlation": Given(correlation, "values", "two-sided", "the correlation of z with {image} over voxels"),
    "dice": Given(
        dice, "voxels", "upper", "the Dice overlap of the voxels beyond the cluster-forming value with {image}"
    ),
}
"""The statistics of the program by name."""
