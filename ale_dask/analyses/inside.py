"""The place that a contrast or conjunction is limited to: the clusters of a main effect, or an image.

A run knows its plans before anything is computed, the clusters that survive only after it. A plan therefore holds every
cluster that the main effect forms, each as a part, and the result keeps the parts that survived: the family over which
error is controlled are the voxels of these alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.base_rate import BaseRatePlan
from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import MainEffectPlan
from ale_dask.analyses.sample import Sample
from ale_dask.config.inference import OF_CLUSTERS, Inference
from ale_dask.coordinates.masks import within
from ale_dask.errors import InputError
from ale_dask.numerics import clusters
from ale_dask.numerics.space import Mask


@dataclass(frozen=True, eq=False)
class Inside:
    """Hold the parts of a place that something is limited to."""

    name: str
    """The main effect, or the file of the image without its folder."""
    identity: str
    """Changes with every bit of `part`."""
    part: npt.NDArray[np.int64]
    """The number of the part that each voxel lies in, from 0, or -1 (voxel)."""
    map: str = ""
    """The map of the main effect in which parts survive; of an image all do."""
    correction: str = ""
    """The correction of that map, in words."""

    def voxels(self, result: xr.Dataset | None) -> npt.NDArray[np.bool_]:
        """Return the voxels (voxel) of the parts that survive in the result of the main effect."""
        inside = self.part >= 0
        if not self.map:
            return inside
        assert result is not None
        return np.asarray(inside & (result[self.map].values != 0))


def of_image(image: Mask, *, mask: Mask) -> Inside:
    """Return the voxels of a mask that an image holds, as one part.

    Raises
    ------
    InputError
        when no voxel of the mask, or of its searched region, lies in the image.
    """
    whole = Mask(mask.volume, mask.affine, name=mask.name)
    held = within(whole, image)
    inside = held.searched & mask.searched
    if not inside.any():
        raise InputError(f"inside '{image.name}': none of its voxels is searched; give another image")
    name = image.name.replace("\\", "/").rsplit("/", 1)[-1]
    return Inside(name, f"image {held.search_sha256}", np.where(inside, 0, -1).astype(np.int64))


def of_main_effect(
    name: str, plan: MainEffectPlan | BaseRatePlan, *, mask: Mask, inference: Inference, correction: str | None
) -> Inside:
    """Return the clusters that a main effect forms, of which those count that survive a correction.

    `plan` is that of the null which decides: where foci are drawn from the base rate alone, that of the base rate.
    """
    row = CORRECTION_OF[correction or inference.correction]
    shown = row.base_rate if inference.null == "base-rate" else row.uniform
    above = (plan.s >= plan.threshold) & mask.searched
    labels = clusters.label_clusters(above, volume=mask.volume, connectivity=inference.connectivity)
    return Inside(name, plan.identity, labels.astype(np.int64) - 1, shown.map, row.label)


def of_result(result: xr.Dataset, *, correction: str | None) -> Inside:
    """Return the clusters of the result of a main effect, of which those count that survive a correction."""
    inference = model_of(result).inference
    row, against = CORRECTION_OF[correction or inference.correction], inference.null == "base-rate"
    label = result["base_rate_cluster_of_voxel" if against else "cluster_of_voxel"].values
    shown = row.base_rate if against else row.uniform
    return Inside(
        str(result.attrs["name"]), str(result.attrs["identity"]), label.astype(np.int64) - 1, shown.map, row.label
    )


def check_correction(inference: Inference, correction: str | None, *, name: str) -> None:
    """Raise an InputError for a correction that retains single voxels, which no plan can know."""
    if (word := correction or inference.correction) not in OF_CLUSTERS:
        raise InputError(
            f"{name}: '{word}' retains single voxels; set inside_correction to {' or '.join(OF_CLUSTERS)}, or save the "
            "map and name the image"
        )


def check_invariant(key: npt.NDArray[np.uint64], arms: Sequence[Sample], *, name: str) -> None:
    """Raise an InputError for a main effect of experiments `key` whose clusters a contrast of two arms would change.

    Relabelling must not change them: the main effect has all experiments that are compared, or none.
    """
    compared = np.concatenate([arm.key for arm in arms])
    n = int(np.isin(compared, key).sum())
    if 0 < n < len(compared):
        raise InputError(
            f"{name}: the main effect has {n:,} of the {len(compared):,} experiments that are compared, so that its "
            "clusters would change with the labels under test; name one of all of them, or of none, or an image"
        )


Limit = tuple[Inside, xr.Dataset | None]
"""What an analysis is limited to, with the result of the main effect if it is one's."""


def voxels_of(limit: Limit | None, *, mask: Mask) -> npt.NDArray[np.bool_]:
    """Return the voxels (voxel) that an analysis is limited to; all where it is not limited."""
    return np.ones(mask.n_voxels, dtype=bool) if limit is None else limit[0].voxels(limit[1])


def identity_of_limit(limit: Limit | None) -> list[str]:
    """Return what a limit adds to the identity of a result that has no plan."""
    return [] if limit is None else [limit[0].identity, limit[0].map]


def inside_variables(limit: Limit | None, voxels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return the variable of the voxels that a result is limited to; nothing where it is not."""
    return {} if limit is None else {"inside": ("voxel", voxels)}


def inside_attrs(limit: Limit | None, voxels: npt.NDArray[np.bool_], *, mask: Mask) -> dict[str, Any]:
    """Return what a result says of the place that it is limited to; nothing where it is not."""
    if limit is None:
        return {}
    inside, n = limit[0], int(np.count_nonzero(voxels & mask.searched))
    of = {"inside_correction": inside.correction} if inside.map else {}
    return {"inside": inside.name, **of, "inside_voxels": n, "inside_mm3": n * mask.voxel_volume}
