"""Make the result of a contrast: p and z of each direction from the counts and maxima of its relabellings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import special

from ale_dask.analyses.contrast import ContrastPlan, compared, shown_by
from ale_dask.analyses.contrast_clusters import ContrastClustersPlan, family_wise_p, tested
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.inside import Limit, inside_attrs, inside_variables, voxels_of
from ale_dask.analyses.main_effect_result import result_attrs, search_variables, thresholded
from ale_dask.analyses.seed_reach import reach_of_parts
from ale_dask.config.analysis import INPUTS
from ale_dask.config.inference import Inference, RelabelP
from ale_dask.coordinates import foci as foci_data
from ale_dask.coordinates.shared_subjects import shared as shared_by
from ale_dask.numerics import clusters, correct
from ale_dask.numerics.contrast import DIFFERENCE_BITS, difference_map
from ale_dask.numerics.space import Mask
from ale_dask.schema import describe


def summed(exceed: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the counts (2, candidate), int64, of all blocks (block, 1 + 2 candidates)."""
    return np.asarray(exceed[:, 1:].sum(axis=0).reshape(2, -1))


def relabelled_p(r: npt.NDArray[np.int64], n: int, *, complete: bool, rule: RelabelP) -> npt.NDArray[np.float64]:
    """Return the uncorrected p of r exceedances in n relabellings: by the rule, or r / n where these are all."""
    if rule == "share" and not complete:
        return np.asarray(np.maximum(r, 1) / n)
    return family_wise_p(r, n, complete=complete)


def collect(
    plan: ContrastPlan,
    null: npt.NDArray[np.int64],
    exceed: npt.NDArray[np.int64],
    *,
    parents: tuple[xr.Dataset, xr.Dataset, xr.Dataset],
    inference: Inference,
    second: tuple[ContrastClustersPlan, npt.NDArray[np.int64]] | None = None,
    limit: Limit | None = None,
) -> xr.Dataset:
    """Return the result: difference (voxel), one-sided p (voxel), signed z (input, voxel) for both inputs.

    `null` is (iteration, direction x component), `exceed` (2, candidate) the summed counts. T = ALE_A - ALE_B;
    p = (1 + #{T_b >= T}) / (1 + B), or #{T_b >= T} / C when all C relabellings were gone through. `parents` are the
    main effects of both arms and of their pooled experiments, `second` is the plan and null of the second pass, from
    which clusters have their p, and `limit` the place that the contrast is limited to, with the main effect of it.
    """
    *arms, pooled = parents
    mask = model_of(pooled).mask
    voxels = voxels_of(limit, mask=mask)
    regions = np.stack([_region(pooled, source, inference) & voxels for source in INPUTS])
    relabelled = _relabelled(plan, null, exceed, n_voxels=mask.n_voxels, inference=inference)
    p = relabelled.p
    p[:, ~voxels] = np.nan
    p_fwe, z_fwe = _voxel_fwe(relabelled, regions, inference=inference)
    z = _signed(p, plan.candidate)
    of_clusters = {} if second is None else tested(*second, z=z, regions=regions, inference=inference, mask=mask)
    result = xr.Dataset(
        {
            "difference": ("voxel", (relabelled.difference / 2.0**DIFFERENCE_BITS).astype(np.float32)),
            "p_greater": ("voxel", p[0].astype(np.float32)),
            "p_less": ("voxel", p[1].astype(np.float32)),
            "z_contrast": (("input", "voxel"), _gated(p, arms, regions, mask=mask, inference=inference)),
            "z_contrast_voxel_fwe": (("input", "voxel"), z_fwe),
            "p_voxel_fwe_greater": (("input", "voxel"), p_fwe[:, 0].astype(np.float32)),
            "p_voxel_fwe_less": (("input", "voxel"), p_fwe[:, 1].astype(np.float32)),
            **of_clusters,
            **inside_variables(limit, voxels),
            "voxel_ijk": (("voxel", "axis"), mask.voxel_ijk),
            **search_variables(mask),
            **reach_of_parts(arms),
        },
        coords={"input": np.array(INPUTS, dtype=object)},
    )
    return describe(result).assign_attrs(
        **result_attrs(mask, inference, plan),
        gate=inference.gate,
        controls=shown_by(inference),
        iterations=len(null),
        relabellings=plan.relabellings,
        enumerated=relabelled.complete,
        candidates=len(plan.candidate),
        components=plan.n_components,
        groups_per_arm=_group_counts(plan),
        **inside_attrs(limit, voxels, mask=mask),
        **_arm_attrs(arms),
    )


class _Relabelled(NamedTuple):
    """The observed difference of two arms, and its relabellings."""

    difference: npt.NDArray[np.int64]
    """(voxel), in fixed-point units."""
    p: npt.NDArray[np.float64]
    """One-sided and uncorrected (direction, voxel); NaN where voxels were not compared."""
    component: npt.NDArray[np.int64]
    """Of the pooled map that each voxel lies in, or -1."""
    greatest: npt.NDArray[np.int64]
    """The largest difference (iteration, direction, component) of each relabelling."""
    complete: bool
    """Whether these are all relabellings that there are."""


def _relabelled(
    plan: ContrastPlan,
    null: npt.NDArray[np.int64],
    exceed: npt.NDArray[np.int64],
    *,
    n_voxels: int,
    inference: Inference,
) -> _Relabelled:
    complete, candidate = plan.complete, plan.candidate
    s_a, s_b = plan.s_a.astype(np.int64), plan.s_b.astype(np.int64)
    difference = np.empty(n_voxels, dtype=np.int64)
    difference_map(s_a, s_a + s_b, plan.digits, difference)
    p = np.full((2, n_voxels), np.nan)
    p[:, candidate] = relabelled_p(exceed, len(null), complete=complete, rule=inference.relabel_p)
    component = np.full(n_voxels, -1, dtype=np.int64)
    component[candidate] = plan.component
    return _Relabelled(difference, p, component, null.reshape(len(null), 2, plan.n_components), complete)


def _region(pooled: xr.Dataset, source: str, inference: Inference) -> npt.NDArray[np.bool_]:
    """Return the region (voxel) that no relabelling changes: the pooled map at an input, or the whole mask."""
    invariant = thresholded(pooled, source)
    return np.ones_like(invariant) if inference.gate == "none" else invariant


def _gated(
    p: npt.NDArray[np.float64],
    arms: Sequence[xr.Dataset],
    regions: npt.NDArray[np.bool_],
    *,
    mask: Mask,
    inference: Inference,
) -> npt.NDArray[np.float32]:
    """Return the signed z (input, voxel) of voxels inside the gate with a small enough p, in clusters large enough."""
    z = np.zeros((len(INPUTS), mask.n_voxels), dtype=np.float32)
    minimum = inference.min_voxels(mask.voxel_volume)
    for i, source in enumerate(INPUTS):
        for d, sign in enumerate((1, -1)):
            # Of a voxel that the contrast is not limited to, p is NaN.
            gate = thresholded(arms[d], source) if inference.gate == "arms" else regions[i]
            passing = clusters.at_least(
                gate & (np.nan_to_num(p[d], nan=1.0) < inference.contrast_p),
                volume=mask.volume,
                minimum=minimum,
                connectivity=inference.connectivity,
            )
            z[i, passing] = sign * _z(p[d, passing])
    return z


def _voxel_fwe(
    relabelled: _Relabelled, regions: npt.NDArray[np.bool_], *, inference: Inference
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Return the family-wise p (input, direction, voxel) by the largest difference, and z (input, voxel) that survives.

    NaN and 0 outside the region (input, voxel) and its components.
    """
    difference, p, component, greatest, complete = relabelled
    p_fwe = np.full((len(INPUTS), *p.shape), np.nan)
    z = np.zeros((len(INPUTS), p.shape[1]), dtype=np.float32)
    for i, region in enumerate(regions):
        parts = np.unique(component[region & (component >= 0)])
        for d, sign in enumerate((1, -1) if parts.size else ()):
            inside = region & np.isin(component, parts)
            r = correct.exceedances(greatest[:, d, parts].max(axis=1), sign * difference[inside])
            p_fwe[i, d, inside] = family_wise_p(r, len(greatest), complete=complete)
            survives = inside & (np.nan_to_num(p_fwe[i, d], nan=1.0) <= inference.contrast_p)
            z[i, survives] = sign * _z(p[d, survives])
    return p_fwe, z


def _arm_attrs(arms: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Return the sizes of the arms, the subjects that they may share, and whether they differ much in size."""
    used = compared(*arms)
    foci = [float(_n_foci(arm).mean()) for arm in used]
    subjects = [float(arm["experiment_n_subjects"].values.mean()) for arm in used]
    return {
        "arms": [arm.attrs["name"] for arm in arms],
        "experiments_compared": [arm.sizes["experiment"] for arm in used],
        "foci_per_experiment": foci,
        "subjects_per_experiment": subjects,
        "shared": [group.words for group in shared_by(*arms)],
        "unbalanced": bool(max(_ratio(foci), _ratio(subjects)) > 1.5),
    }


def _z(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    # p = 1 / C of a complete enumeration is exact and never 0; one-sided.
    return np.asarray(-special.ndtri(p), dtype=np.float32)


def _signed(p: npt.NDArray[np.float64], candidate: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return z (direction, voxel) of the candidates, negative where the second arm is greater; 0 elsewhere."""
    signed = np.zeros(p.shape, dtype=np.float32)
    signed[:, candidate] = _z(p[:, candidate]) * np.array([[1], [-1]], dtype=np.float32)
    return signed


def _n_foci(arm: xr.Dataset) -> npt.NDArray[np.int64]:
    return np.asarray(foci_data.n_foci(arm))


def _group_counts(plan: ContrastPlan) -> list[int]:
    """Return how many subject groups the relabellings keep in each arm."""
    counts = [plan.size, len(plan.draw_key) - plan.size]
    return counts[::-1] if plan.complement else counts


def _ratio(pair: list[float]) -> float:
    return max(pair) / max(min(pair), 1e-9)
