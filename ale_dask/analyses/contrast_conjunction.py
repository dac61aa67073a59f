"""Where several contrasts are found at once, each direction by itself: A more than B and more than C.

A voxel is in it where every contrast survives: its p is the largest of theirs, and z the smallest (the minimum
statistic against the conjunction null, Nichols et al. 2005), so that nothing is relabelled anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.conjunction import check_places
from ale_dask.analyses.corrections import CLUSTER_SHORTS
from ale_dask.analyses.findings.model import Result, model_of
from ale_dask.analyses.inside import Limit, identity_of_limit, inside_attrs, inside_variables, voxels_of
from ale_dask.analyses.main_effect_result import search_attrs, search_variables
from ale_dask.analyses.seed_reach import reach_of_parts
from ale_dask.analyses.subsamples import ranked
from ale_dask.config.analysis import INPUTS
from ale_dask.config.inference import Inference
from ale_dask.numerics import clusters
from ale_dask.schema import Variable, describe

KIND = "contrast-conjunction"
CONTROLS = (
    "overlap of uncorrected maps: in each voxel, p is valid against the null that at least one of the contrasts has no "
    "difference there"
)
_OWN = (
    Variable("difference_min", ("voxel",), "f", "probability", "smallest difference of ALE; 0 where signs differ"),
    Variable("p_max_greater", ("voxel",), "f", "p", "largest one-sided p, first arms > second; nan where not tested"),
    Variable("p_max_less", ("voxel",), "f", "p", "largest one-sided p, second arms > first; nan where not tested"),
    Variable("p_max_voxel_fwe_greater", ("input", "voxel"), "f", "p", "largest family-wise p, first arms > second"),
    Variable("p_max_voxel_fwe_less", ("input", "voxel"), "f", "p", "largest family-wise p, second arms > first"),
    Variable("z_joint", ("input", "voxel"), "f", "z", "smallest z where all are below the uncorrected p; signed"),
    *(
        Variable(f"z_joint_{level}_fwe", ("input", "voxel"), "f", "z", f"smallest z where all survive {level} FWE")
        for level in ("voxel", *CLUSTER_SHORTS)
    ),
)


class ContrastConjunctionResult(Result, kind=KIND):
    """View a Dataset as a conjunction of contrasts."""

    title = "Conjunction of contrasts"

    @property
    def parts(self) -> list[str]:
        """The names of the main effects that are compared."""
        return list(dict.fromkeys(arm for pair in self.pairs for arm in pair))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The two arms of each contrast."""
        arms = [str(arm) for arm in self.dataset.attrs["compared"]]
        return list(zip(arms[::2], arms[1::2], strict=True))

    @property
    def directions(self) -> tuple[str, ...]:
        """Both directions in words, in the order of `signs`: ("a > b AND a > c", "b > a AND c > a")."""
        return (
            " AND ".join(f"{first} > {second}" for first, second in self.pairs),
            " AND ".join(f"{second} > {first}" for first, second in self.pairs),
        )

    def shown_level(self, source: str) -> str:
        """Return the level of the map that is uncorrected at both inputs."""
        return "uncorrected"

    def _rank(self, values: npt.NDArray[Any], level: str) -> npt.NDArray[Any]:
        return ranked(values, self.dataset["difference_min"].values)


def collect(
    results: Sequence[xr.Dataset], *, name: str, inference: Inference | None = None, limit: Limit | None = None
) -> xr.Dataset:
    """Return the result: signed z_joint and z_joint_voxel_fwe … (input, voxel), the largest p, the least difference.

    Each map is the minimum of the contrasts' maps of one level and direction, in clusters of the minimum volume where
    p is uncorrected.

    Raises
    ------
    InputError
        when the masks of the contrasts differ.
    """
    check_places(results, name=name)
    mask, settings = model_of(results[0]).mask, inference or model_of(results[0]).inference
    inside = voxels_of(limit, mask=mask)
    joint = _joint([r["z_contrast"].values for r in results], inside)
    large = [_large(z, settings.min_voxels(mask.voxel_volume), results[0], settings) for z in joint]
    variables: dict[str, tuple[Any, Any]] = {"z_joint": (("input", "voxel"), joint * np.stack(large))}
    for level in ("voxel", *CLUSTER_SHORTS):
        own = f"z_contrast_{level}_fwe"
        if all(own in r for r in results):
            corrected = _joint([r[own].values for r in results], inside)
            variables[f"z_joint_{level}_fwe"] = (("input", "voxel"), corrected)
    for side in ("greater", "less"):
        for own, dims in ((f"p_{side}", ("voxel",)), (f"p_voxel_fwe_{side}", ("input", "voxel"))):
            # A voxel that one of the contrasts does not test has no p: NaN.
            largest = np.max([r[own].values for r in results], axis=0)
            variables[own.replace("p_", "p_max_", 1)] = (dims, np.where(inside, largest, np.nan).astype(np.float32))
    return describe(
        xr.Dataset(
            {
                **variables,
                "difference_min": ("voxel", _joint([r["difference"].values for r in results], inside)),
                **inside_variables(limit, inside),
                "voxel_ijk": (("voxel", "axis"), mask.voxel_ijk),
                **search_variables(mask),
                **reach_of_parts(results),
            },
            coords={"input": np.array(INPUTS, dtype=object)},
        ),
        *_OWN,
    ).assign_attrs(
        **_attrs(results, name=name, limit=limit),
        **inside_attrs(limit, inside, mask=mask),
        inference=settings.model_dump_json(),
    )


def _joint(values: Sequence[npt.NDArray[Any]], inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return, of values of one sign, that nearest to 0; 0 where signs differ, any is 0, or outside."""
    stacked = np.stack(values)
    least = np.where((stacked > 0).all(axis=0), stacked.min(axis=0), 0)
    return np.asarray(inside * (least + np.where((stacked < 0).all(axis=0), stacked.max(axis=0), 0)), dtype=np.float32)


def _large(z: npt.NDArray[Any], minimum: int, result: xr.Dataset, settings: Inference) -> npt.NDArray[np.bool_]:
    """Return the voxels (voxel) in clusters of one sign that have the minimum volume."""
    volume, connectivity = model_of(result).mask.volume, settings.connectivity
    kept = [clusters.at_least(s * z > 0, volume=volume, minimum=minimum, connectivity=connectivity) for s in (1, -1)]
    return np.asarray(kept[0] | kept[1])


def _attrs(results: Sequence[xr.Dataset], *, name: str, limit: Limit | None) -> dict[str, Any]:
    mask = model_of(results[0]).mask
    identities = [*sorted(r.attrs["identity"] for r in results), *identity_of_limit(limit)]
    return {
        "name": name,
        "kind": KIND,
        "identity": hashlib.sha256(json.dumps([KIND, identities]).encode()).hexdigest(),
        "of": [r.attrs["name"] for r in results],
        "compared": [arm for r in results for arm in model_of(r).parts],
        "gate": results[0].attrs["gate"],
        "controls": CONTROLS,
        "affine": mask.affine.reshape(-1).tolist(),
        "shape": list(mask.volume.shape),
        "mask": mask.name,
        "mask_sha256": mask.sha256,
        **search_attrs(mask),
    }
