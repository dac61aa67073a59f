"""Make the result of a main effect: maps, thresholds and tested clusters from the observed S and its null."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.corrections import CORRECTION_OF, CORRECTIONS, TFCE, Correction, Observed
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import KIND, MainEffectPlan, eps_of, null_voxel_rate, observe, uncorrected
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.seed_reach import seed_attrs, seed_variables
from ale_dask.config.analysis import INPUTS
from ale_dask.config.inference import Inference
from ale_dask.coordinates.direction import counts_of
from ale_dask.coordinates.subject_groups import count_of_pooled, n_subjects, subject_groups
from ale_dask.execution.plan import Plan
from ale_dask.numerics import clusters, correct
from ale_dask.numerics.ale import ale_from_s
from ale_dask.numerics.null import z_of_log_p
from ale_dask.numerics.space import Mask
from ale_dask.numerics.tfce import tfce_of
from ale_dask.schema import describe


def collect(
    sample: Sample, plan: MainEffectPlan, null: npt.NDArray[np.int64], *, ale: npt.NDArray[np.floating[Any]]
) -> xr.Dataset:
    """Return the result: maps (voxel), null (iteration, statistic), clusters (cluster) and thresholds (attrs).

    Clusters are those of voxels with S >= threshold; size and mass p are (1 + #{null >= observed}) / (1 + B).
    """
    inference, mask = sample.inference, sample.mask
    seen = observe(plan, inference)
    tests = {c: i for c in CORRECTIONS if (i := _column(plan, c.uniform.statistic)) is not None}
    measured = {c: c.measure(seen) for c in tests}
    cut = {c: correct.cut(null[:, i], alpha=inference.cluster_p, rule=inference.cluster_cut) for c, i in tests.items()}
    log_p = plan.null_table.log_p_of(seen.s)
    z = z_of_log_p(log_p)
    keep = _uncorrected(seen, log_p, sample) | {c.uniform.map: c.survives(seen, measured[c], cut[c]) for c in tests}
    enhanced = {c.short: tfce_of(measured[c], levels=seen.levels) for c in tests if c.only_if_asked and seen.levels}
    seed = seed_variables(sample, plan.threshold, bits=plan.bits)
    result = sample.foci.assign(
        {
            "ale": ("voxel", np.asarray(ale, dtype=np.float32)),
            "s": ("voxel", seen.s),
            "logp": ("voxel", (-log_p / math.log(10)).astype(np.float32)),
            "z": ("voxel", z.astype(np.float32)),
            **{name: ("voxel", np.where(kept, z, 0).astype(np.float32)) for name, kept in keep.items()},
            **{name: ("voxel", values.astype(np.float32)) for name, values in enhanced.items()},
            "cluster_of_voxel": ("voxel", seen.labels),
            **_tested_clusters(null, tests, measured, inference=inference),
            "null": (("iteration", "statistic"), null),
            "voxel_ijk": (("voxel", "axis"), mask.voxel_ijk),
            **search_variables(mask),
            **seed,
        }
    ).assign_coords(statistic=np.array(plan.statistics, dtype=object))
    return describe(result).assign_attrs(
        **result_attrs(mask, inference, plan),
        **_threshold_attrs(plan, {c.uniform.cut: cut[c] for c in tests}),
        **{
            f"{c.uniform.cut}_interval": correct.cut_interval(null[:, i], alpha=inference.cluster_p)
            for c, i in tests.items()
        },
        iterations=len(null),
        null_voxel_rate=null_voxel_rate(plan),
        **_sample_attrs(sample),
        **seed_attrs(sample, seed),
    )


def _column(plan: Plan, statistic: str) -> int | None:
    return plan.statistics.index(statistic) if statistic in plan.statistics else None


def _uncorrected(seen: Observed, log_p: npt.NDArray[np.float64], sample: Sample) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the voxels (voxel) that survive without family-wise correction, by map."""
    inside, q = seen.inside, sample.inference.cluster_p
    minimum = sample.inference.min_voxels(sample.mask.voxel_volume)
    return {
        "z_uncorrected": clusters.keep_clusters(seen.labels, clusters.sizes(seen.labels) >= minimum),
        "z_fdr_bh": np.asarray(seen.spread(correct.fdr_keep(log_p[inside], q=q)), dtype=bool),
        "z_fdr_by": np.asarray(seen.spread(correct.fdr_keep(log_p[inside], q=q, dependent=True)), dtype=bool),
    }


def _tested_clusters(
    null: npt.NDArray[np.int64],
    tests: Mapping[Correction, int],
    measured: Mapping[Correction, npt.NDArray[np.int64]],
    *,
    inference: Inference,
) -> dict[str, tuple[str, Any]]:
    """Return the variables (cluster) of clusters: each measure, its p, its interval, bound and decision."""
    of_clusters = [c for c in tests if c.of_clusters]
    variables: dict[str, tuple[str, Any]] = {f"cluster_{c.short}": ("cluster", measured[c]) for c in of_clusters}
    for c in of_clusters:
        eps = eps_of(len(measured[c]), statistics=len(of_clusters))
        test = tested(null[:, tests[c]], measured[c], inference=inference, eps=eps)
        variables |= {f"cluster_{c.short}_{end}": ("cluster", values) for end, values in test.items()}
    return variables


def _threshold_attrs(plan: MainEffectPlan, cuts: Mapping[str, int]) -> dict[str, Any]:
    """Return the thresholds of a main effect: of forming clusters, and the least that survives each correction."""
    ale = ale_from_s(np.array([plan.threshold, min(cuts["cut_s"], 2**31)]), bits=plan.bits)
    unit = {"tfce_unit": plan.tfce_unit} if TFCE in plan.statistics else {}
    return {**unit, "threshold": plan.threshold, "threshold_ale": float(ale[0]), **cuts, "cut_ale": float(ale[1])}


def _sample_attrs(sample: Sample) -> dict[str, Any]:
    """Return the numbers of experiments, foci and subjects of a main effect."""
    return {
        "n_experiments": len(sample.key),
        "n_foci": int(sample.n_foci.sum()),
        "n_subjects": n_subjects(sample.foci),
        "n_groups": int(subject_groups(sample.foci).max()) + 1,
        # Experiments that were pooled into some of these, and into how many.
        "pooled": count_of_pooled(sample.foci),
        # How many experiments are of each direction and modality, where columns say so.
        **{what: [f"{n} {word}" for word, n in counts.items()] for what, counts in counts_of(sample.foci).items()},
        "foci_outside_mask": int((sample.mask.distance(sample.foci["focus_xyz"].values) > 0).sum()),
    }


def tested(
    null: npt.NDArray[np.int64], measure: npt.NDArray[np.int64], *, inference: Inference, eps: float
) -> dict[str, npt.NDArray[Any]]:
    """Return p, its interval, its upper bound and the decision (cluster) for clusters of these sizes or masses.

    Keys are the ends of the names of variables. `null` (iteration) has the largest size or mass of each iteration;
    `eps` is the error allowed to the confidence sequence of each cluster.
    """
    r = correct.exceedances(null, measure)
    ends = correct.confidence_sequence(r, len(null), eps=eps)
    p = correct.monte_carlo_p(null, measure, rule=inference.cluster_cut)
    low, high = correct.clopper_pearson(r, len(null))
    if inference.until_decided is not None:
        # Where r has a part in n, (1 + r) / (1 + n) is no p; the confidence sequence still bounds it.
        p = np.full(len(measure), np.nan)
        low, high = ends
    decided = correct.decisions(r, len(null), alpha=inference.cluster_p, eps=eps)
    return {"p": p, "p_low": low, "p_high": high, "p_bound": ends[1], "decision": np.array(decided, dtype=object)}


def survivors(
    plan: MainEffectPlan, null: npt.NDArray[np.int64], *, mask: Mask, inference: Inference
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the surviving voxels (voxel) of a main effect by input, as `thresholded` of its whole result has them.

    At the primary correction, which is not TFCE, and at the uncorrected p; against foci spread evenly.
    """
    correction = CORRECTION_OF[inference.correction]
    seen = observe(plan, inference)
    column = null[:, plan.statistics.index(correction.uniform.statistic)]
    cut = correct.cut(column, alpha=inference.cluster_p, rule=inference.cluster_cut)
    corrected = correction.survives(seen, correction.measure(seen), cut)
    return dict(zip(INPUTS, (corrected, uncorrected(plan, mask=mask, inference=inference)), strict=True))


def decision_variables(result: xr.Dataset) -> dict[str, str]:
    """Return the variable with the decisions on the clusters of each null asked for: {"uniform": …, "base-rate": …}.

    At the primary correction; nothing where that is not one of clusters. Pooled arms of a contrast need not have all.
    """
    inference = model_of(result).inference
    correction = CORRECTION_OF[inference.correction]
    if not correction.of_clusters:
        return {}
    each = {"uniform": f"cluster_{correction.short}_decision"}
    each["base-rate"] = f"base_rate_cluster_{correction.base_rate_short}_decision"
    return {null: name for null, name in each.items() if inference.null in (null, "both") and name in result}


def undecided(results: Iterable[xr.Dataset]) -> int:
    """Return how many clusters of main effects are undecided at their primary correction, by size or by mass.

    Those of each null that is asked for.
    """
    number = 0
    for result in results:
        if model_of(result).kind == KIND:
            for name in decision_variables(result).values():
                number += int((result[name].values == "undecided").sum())
    return number


def result_attrs(mask: Mask, inference: Inference, plan: Plan) -> dict[str, Any]:
    """Return what every result says of itself: name, kind, identity, grid, mask and settings."""
    return {
        "name": plan.name,
        "kind": plan.kind,
        "identity": plan.identity,
        "plan": plan.id,
        "scale_bits": plan.bits,
        "affine": mask.affine.reshape(-1).tolist(),
        "shape": list(mask.volume.shape),
        "mask": mask.name,
        "mask_sha256": mask.sha256,
        **search_attrs(mask),
        "inference": inference.model_dump_json(),
    }


def search_attrs(mask: Mask) -> dict[str, Any]:
    """Return what a result says of the region that its inference was made in; nothing where it is the mask."""
    if mask.search is None:
        return {}
    n = int(mask.search.sum())
    return {
        "search": mask.search_name.replace("\\", "/").rsplit("/", 1)[-1],
        "search_sha256": mask.search_sha256,
        "search_voxels": n,
        "search_mm3": n * mask.voxel_volume,
    }


def search_variables(mask: Mask) -> dict[str, tuple[str, npt.NDArray[np.bool_]]]:
    """Return {"searched": (voxel)}, in which voxels inference was made; nothing where in all."""
    return {} if mask.search is None else {"searched": ("voxel", mask.search)}


def thresholded(result: xr.Dataset, source: str) -> npt.NDArray[np.bool_]:
    """Return the surviving voxels (voxel) of a main effect: "cluster-fwe" or "uncorrected"."""
    name = "z_uncorrected" if source == "uncorrected" else primary_map(model_of(result).inference)
    return np.asarray(result[name].values != 0)


def primary_map(inference: Inference) -> str:
    """Return the map of the primary correction: against the base rate where that null alone is asked for."""
    correction = CORRECTION_OF[inference.correction]
    return (correction.base_rate if inference.null == "base-rate" else correction.uniform).map
