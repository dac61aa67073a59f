"""Say what of a main effect survives the base rate: its maps, clusters and p, from a plan and a null of `base_rate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.base_rate import BaseRatePlan, BaseRateThresholds
from ale_dask.analyses.corrections import BASE_RATE_STATISTICS, CORRECTION_OF, CORRECTIONS, TFCE, Scales
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import eps_of
from ale_dask.analyses.main_effect_result import tested
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.seed_reach import base_rate_reach
from ale_dask.config.inference import Inference
from ale_dask.errors import InputError
from ale_dask.execution.monitor.state import Statistic
from ale_dask.numerics import clusters, correct
from ale_dask.numerics.ale import ale_from_s
from ale_dask.numerics.base_rate_tfce import (
    base_rate_tfce_map,
    tfce_unit,
)
from ale_dask.numerics.density_levels import (
    NEVER,
    Z_UNIT,
    z_map,
)
from ale_dask.numerics.space import Mask
from ale_dask.schema import describe

MEASURES = ("size", "mass", "peak")
"""Measures of a cluster: number of voxels, sum of z beyond the cluster-forming z, largest z."""
_DECISIONS = ("not", "undecided", "significant")
"""The decisions on a cluster, from the least favourable to the most favourable."""
_COLUMN = {
    c.base_rate_short: BASE_RATE_STATISTICS.index(c.base_rate.statistic) for c in CORRECTIONS if not c.only_if_asked
}


def with_base_rate(result: xr.Dataset, sample: Sample, plan: BaseRatePlan, null: npt.NDArray[np.int64]) -> xr.Dataset:
    """Return a main effect with the variables of its test against the base-rate null (iteration, statistic) added.

    Notes
    -----
    Clusters consist of voxels with S >= u(v), where p under the base rate is below the cluster-forming p. A cluster of
    the uniform null gets, from the clusters against the base rate that it overlaps, the smallest p and the most
    favourable decision (1 and "not" if there are none), and the share of its voxels that survive the correction.
    p = (1 + r)/(1 + B) or according to `cluster_cut`; there is none with `until_decided`.
    """
    inference = sample.inference
    units, above, labels, measure = _observed(plan, inference)
    alpha, rule = inference.cluster_p, inference.cluster_cut
    cut = {m: correct.cut(null[:, _COLUMN[m]], alpha=alpha, rule=rule) for m in MEASURES}
    keep = {
        "z_base_rate_size_fwe": clusters.keep_clusters(labels, measure["size"] >= cut["size"]),
        "z_base_rate_mass_fwe": clusters.keep_clusters(labels, measure["mass"] >= cut["mass"]),
        "z_base_rate_voxel_fwe": above & (units >= cut["peak"]),
    }
    eps = eps_of(len(measure["size"]), statistics=len(MEASURES))
    found: dict[str, tuple[str, Any]] = {f"base_rate_cluster_{m}": ("base_rate_cluster", measure[m]) for m in MEASURES}
    for m in MEASURES:
        said = tested(null[:, _COLUMN[m]], measure[m], inference=inference, eps=eps)
        found |= {f"base_rate_cluster_{m}_{end}": ("base_rate_cluster", values) for end, values in said.items()}
    attrs = {f"base_rate_cut_{m}": cut[m] for m in MEASURES}
    if TFCE in plan.statistics:
        keep["z_base_rate_tfce_fwe"], enhanced, told = _enhanced(plan, units, null, sample=sample)
        found, attrs = found | enhanced, attrs | told
    z, reach = units / Z_UNIT, base_rate_reach(result, plan.threshold)
    out = result.assign(
        {
            "z_base_rate": ("voxel", z.astype(np.float32)),
            **{name: ("voxel", np.where(kept, z, 0).astype(np.float32)) for name, kept in keep.items()},
            "base_rate_threshold": ("voxel", _threshold_ale(plan)),
            "base_rate_cluster_of_voxel": ("voxel", labels),
            **found,
            "null_base_rate": (("iteration", "base_rate_statistic"), null),
            **reach,
        }
    ).assign_coords(base_rate_statistic=np.array(plan.statistics, dtype=object))
    kept = keep[CORRECTION_OF[inference.correction].base_rate.map]
    return describe(out.assign(_of_uniform(out, kept))).assign_attrs(
        base_rate=Path(inference.base_rate).name,
        base_rate_sha256=plan.base_rate_sha256,
        base_rate_plan=plan.id,
        base_rate_raised=_raised(plan),
        **{f"{name}_voxels": int(voxels.sum()) for name, (_, voxels) in reach.items()},
        **{f"base_rate_draw_{what}": number for what, number in plan.studies.items()},
        **attrs,
    )


def _observed(
    plan: BaseRatePlan, inference: Inference
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int32], dict[str, npt.NDArray[np.int64]]]:
    """Return z in steps, whether a voxel forms clusters, the cluster number (voxel), and the measures (cluster)."""
    s, threshold = plan.s.astype(np.int64), plan.threshold
    units = z_map(s, plan.table)
    above = (s >= threshold) & (threshold < NEVER) & plan.searched
    labels = clusters.label_clusters(above, volume=plan.volume, connectivity=inference.connectivity)
    return units, above, labels, _measures(labels, units, least=plan.least_z)


def primary_statistic(plan: BaseRatePlan, inference: Inference) -> Statistic | None:
    """Return the statistic of a base-rate null that the primary correction uses, with its unit.

    None where a sweep over corrections has a plan without TFCE.
    """
    base_rate = CORRECTION_OF[inference.correction].base_rate
    factor = base_rate.factor(Scales(plan.bits, base_rate_tfce=tfce_unit(plan.tfce_shift)))
    column = plan.statistics.index(base_rate.statistic)
    return Statistic(column, inference.cluster_p, base_rate.unit, factor, inference.cluster_cut)


def observed(plan: BaseRatePlan, inference: Inference) -> tuple[npt.NDArray[np.int64], float] | None:
    """Return the primary statistic of each cluster (cluster), and the error allowed to each confidence sequence.

    None if the primary correction is not one of clusters.
    """
    correction = CORRECTION_OF[inference.correction]
    if not correction.of_clusters:
        return None
    found = _observed(plan, inference)[-1][correction.base_rate_short]
    return found, eps_of(len(found), statistics=len(MEASURES))


def _enhanced(
    plan: BaseRatePlan, units: npt.NDArray[np.int64], null: npt.NDArray[np.int64], *, sample: Sample
) -> tuple[npt.NDArray[np.bool_], dict[str, tuple[str, Any]], dict[str, Any]]:
    """Return whether a voxel survives TFCE (voxel), TFCE and its p as variables, and its cut and unit as attributes.

    `units` are z in steps (voxel); p compares the TFCE of a voxel with the largest TFCE of each iteration of the null.
    """
    inference, mask = sample.inference, sample.mask
    column, shift = null[:, plan.statistics.index(TFCE)], plan.tfce_shift
    values = base_rate_tfce_map(units, shift=shift, volume=mask.volume, searched=mask.searched)
    cut = correct.cut(column, alpha=inference.cluster_p, rule=inference.cluster_cut)
    unit = tfce_unit(shift)
    p = correct.monte_carlo_p(column, values, rule=inference.cluster_cut)
    found = {
        "base_rate_tfce": ("voxel", (values * unit).astype(np.float32)),
        "base_rate_tfce_p": ("voxel", p),
    }
    return values >= cut, found, {"base_rate_cut_tfce": cut, "base_rate_tfce_unit": unit}


def survivors(
    s: npt.NDArray[np.integer[Any]],
    null: npt.NDArray[np.int64],
    against: BaseRateThresholds,
    *,
    mask: Mask,
    inference: Inference,
) -> npt.NDArray[np.bool_]:
    """Return whether a voxel (voxel) of sums `s` survives the primary correction against the base rate.

    The voxels are those of the corrected map of a result; `null` is (iteration, statistic).
    """
    units = z_map(s.astype(np.int64), against.table)
    above = (s >= against.threshold) & (against.threshold < NEVER) & mask.searched
    what, cut = CORRECTION_OF[inference.correction].base_rate_short, cut_of(null, inference)
    if what == "peak":
        return np.asarray(above & (units >= cut))
    labels = clusters.label_clusters(above, volume=mask.volume, connectivity=inference.connectivity)
    return clusters.keep_clusters(labels, _measures(labels, units, least=against.least_z)[what] >= cut)


def cut_of(null: npt.NDArray[np.int64], inference: Inference) -> int:
    """Return the smallest size in voxels, mass or z that survives the primary correction, which must not be TFCE."""
    column = null[:, _COLUMN[CORRECTION_OF[inference.correction].base_rate_short]]
    return int(correct.cut(column, alpha=inference.cluster_p, rule=inference.cluster_cut))


def _threshold_ale(plan: BaseRatePlan) -> npt.NDArray[np.float32]:
    """Return the cluster-forming ALE (voxel), float32; it is 1, which is never reached, where no cluster can form."""
    threshold = plan.threshold.astype(np.int64)
    ale = ale_from_s(threshold, bits=plan.bits)
    return np.where(threshold < NEVER, ale, 1.0).astype(np.float32)


def _measures(
    labels: npt.NDArray[np.int32], units: npt.NDArray[np.int64], *, least: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Return size in voxels, and mass and peak in steps of z, of labelled clusters (cluster), int64."""
    peak = np.zeros(int(labels.max(initial=0)) + 1, dtype=np.int64)
    np.maximum.at(peak, labels, units)
    return {
        "size": clusters.sizes(labels),
        "mass": clusters.masses(labels, s=units, threshold=least),
        "peak": peak[1:],
    }


def _of_uniform(result: xr.Dataset, kept: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return p, decisions and shares against the base rate for each cluster of the uniform null (cluster)."""
    own, other = result["cluster_of_voxel"].values, result["base_rate_cluster_of_voxel"].values
    pairs = np.unique(np.stack([own, other])[:, (own > 0) & (other > 0)], axis=1) - 1
    n = result.sizes["cluster"]
    found: dict[str, Any] = {}
    for m in MEASURES:
        p = np.ones(n)
        # With `until_decided` every p is NaN, and the minimum with NaN is NaN.
        with np.errstate(invalid="ignore"):
            np.minimum.at(p, pairs[0], result[f"base_rate_cluster_{m}_p"].values[pairs[1]])
        found[f"cluster_base_rate_{m}_p"] = ("cluster", p)
        rank = np.zeros(n, dtype=np.int64)
        said = result[f"base_rate_cluster_{m}_decision"].values[pairs[1]]
        np.maximum.at(rank, pairs[0], np.array([_DECISIONS.index(word) for word in said], dtype=np.int64))
        found[f"cluster_base_rate_{m}_decision"] = ("cluster", np.array(_DECISIONS, dtype=object)[rank])
    if "base_rate_tfce_p" in result:
        p = np.ones(n + 1)
        np.minimum.at(p, own, result["base_rate_tfce_p"].values)
        found["cluster_base_rate_tfce_p"] = ("cluster", p[1:])
    inside = np.bincount(own, kept, n + 1)[1:]
    found["cluster_base_rate_share"] = ("cluster", inside / np.maximum(result["cluster_size"].values, 1))
    return found


def _raised(plan: BaseRatePlan) -> int:
    """Return the number of voxels whose threshold was raised because one experiment alone would reach it."""
    return int((z_map(plan.threshold.astype(np.int64) - 1, plan.table) >= plan.least_z).sum())


def nulls_of(result: xr.Dataset) -> tuple[str, ...]:
    """Return the names of the nulls by which a result is reported: "uniform", "base-rate" or both, in this order."""
    asked = model_of(result).inference.null
    nulls = ("uniform", "base-rate") if asked == "both" else (asked,)
    # The pooled arms of a contrast are not always tested against the base rate.
    return tuple(null for null in nulls if null == "uniform" or "z_base_rate" in result)


def decided_by_base_rate(result: xr.Dataset) -> xr.Dataset:
    """Return a main effect that was tested against both nulls with the base rate as its only null.

    Raises
    ------
    InputError
        for a result without a base-rate null.
    """
    inference = model_of(result).inference
    if inference.null == "uniform":
        raise InputError(f"'{result.attrs['name']}' was not tested against the base rate; run it with null both")
    return result.assign_attrs(inference=inference.model_copy(update={"null": "base-rate"}).model_dump_json())


def only_against_base_rate(result: xr.Dataset, uniform: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return whether a voxel (voxel) is in a cluster that survives only against the base rate.

    Such a cluster overlaps no voxel of `uniform` (voxel), the voxels that survive against the uniform null.
    """
    correction = model_of(result).correction
    kept = result[correction.base_rate.map].values != 0
    label = result["base_rate_cluster_of_voxel"].values
    if correction.enhanced:
        # Voxels that survive TFCE may lie outside of the clusters above the cluster-forming value.
        label = clusters.label_clusters(kept, volume=model_of(result).mask.volume, connectivity=6)
    met = np.unique(label[kept & uniform])
    return np.asarray(kept & ~np.isin(label, met))
