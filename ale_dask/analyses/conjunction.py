"""Where several main effects are found at once: the minimum of their thresholded maps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.inside import Limit, identity_of_limit, inside_attrs, inside_variables, voxels_of
from ale_dask.analyses.main_effect_result import search_attrs, search_variables, thresholded
from ale_dask.analyses.seed_reach import reach_of_parts
from ale_dask.config.analysis import INPUTS
from ale_dask.config.inference import Inference
from ale_dask.errors import InputError
from ale_dask.numerics import clusters
from ale_dask.schema import check, describe

KIND = "conjunction"


def collect(
    results: Sequence[xr.Dataset],
    *,
    name: str,
    inference: Inference | None = None,
    limit: Limit | None = None,
) -> xr.Dataset:
    """Return the result: ale_min and z_min (input, voxel), the voxel-FWE and the unthresholded minimum (voxel).

    Before the minimum volume, which comes once and last, the minimum is commutative, idempotent and no
    larger than any of its inputs. An overlap of cluster-FWE maps does not show that any one voxel is active
    in both; the voxel-FWE conjunction beside it does. Only voxels of the `limit` are shown, if there is one: a place
    with the main effect of it.

    Raises
    ------
    InputError
        for fewer than two main effects, or when their masks differ.
    """
    if len(results) < 2:
        raise InputError(f"{name}: a conjunction needs two or more main effects, got {len(results)}")
    for result in results:
        check(result, "ale", "z", "z_voxel_fwe")
    check_places(results, name=name)
    mask, settings = model_of(results[0]).mask, inference or model_of(results[0]).inference
    minimum = settings.min_voxels(mask.voxel_volume)
    ale = np.min([r["ale"].values for r in results], axis=0)
    z = np.min([r["z"].values for r in results], axis=0)
    inside, keep = voxels_of(limit, mask=mask), []
    for source in INPUTS:
        both = inside & np.all([thresholded(r, source) for r in results], axis=0)
        keep.append(clusters.at_least(both, volume=mask.volume, minimum=minimum, connectivity=settings.connectivity))
    conjunction = xr.Dataset(
        {
            "ale_min": (("input", "voxel"), np.where(keep, ale, 0).astype(np.float32)),
            "z_min": (("input", "voxel"), np.where(keep, z, 0).astype(np.float32)),
            "z_min_voxel_fwe": ("voxel", inside * np.min([r["z_voxel_fwe"].values for r in results], axis=0)),
            "z_min_unthresholded": ("voxel", z),
            **inside_variables(limit, inside),
            "voxel_ijk": (("voxel", "axis"), mask.voxel_ijk),
            **search_variables(mask),
            **reach_of_parts(results),
        },
        coords={"input": np.array(INPUTS, dtype=object)},
        attrs={
            "name": name,
            "kind": KIND,
            "identity": _identity(results, limit),
            "of": [r.attrs["name"] for r in results],
            "controls": "overlap of thresholded maps: each map controls its own error, the overlap of cluster-FWE "
            "maps does not show that any one voxel is active in all",
            "affine": mask.affine.reshape(-1).tolist(),
            "shape": list(mask.volume.shape),
            "mask": mask.name,
            "mask_sha256": mask.sha256,
            **search_attrs(mask),
            **inside_attrs(limit, inside, mask=mask),
            "inference": settings.model_dump_json(),
            "largest_minimum_z": float(z.max()),
        },
    )
    return describe(conjunction)


def _identity(results: Sequence[xr.Dataset], limit: Limit | None) -> str:
    identities = [*sorted(r.attrs["identity"] for r in results), *identity_of_limit(limit)]
    return hashlib.sha256(json.dumps([KIND, identities]).encode()).hexdigest()


def check_places(results: Sequence[xr.Dataset], *, name: str) -> None:
    """Raise an InputError for results on different masks, or searched in different regions."""
    if len({(r.attrs["mask_sha256"], r.attrs.get("search_sha256", "")) for r in results}) > 1:
        raise InputError(f"{name}: the results were computed on different masks or searched in different regions")
