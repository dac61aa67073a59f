"""List every map of a result: its file name, its content and its control of error."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.corrections import CLUSTER_SHORTS, CORRECTIONS, Correction
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import thresholded
from ale_dask.config.study import INPUTS
from ale_dask.reporting.common.base_rate_maps import AGAINST, BASE_RATE_MAP_SPECS, UNIFORM
from ale_dask.reporting.common.map_spec import MapSpec as MapSpec
from ale_dask.reporting.common.map_spec import of


def main_clusters(result: xr.Dataset, *, source: str) -> list[Cluster]:
    """Return the clusters of a main effect that survive the primary correction, or the "uncorrected" ones."""
    return model_of(result).clusters(thresholded(result, source).astype(np.int8), level=source)


def _labels(result: xr.Dataset) -> npt.NDArray[np.int16]:
    labels = np.zeros(result.sizes["voxel"], dtype=np.int16)
    for cluster in main_clusters(result, source=INPUTS[0]):
        labels[cluster.voxels] = cluster.number
    return labels


_FDR = "the expected share of false voxels among those shown at {cluster_p:g}, and nothing about clusters"
_NOTHING = (
    "nothing over the whole mask: each voxel by itself is tested at p < {voxel_p:g}, in clusters of at least "
    "{min_volume:g} mm³"
)
_CONTRAST_FWE = (
    "family-wise error of voxels at {contrast_p:g}, each direction by itself, over a region that no "
    "relabelling changes: {region}"
)
_CONTRAST_CLUSTER = (
    "family-wise error of clusters at {cluster_p:g}, each direction by itself, over a region that no relabelling "
    "changes: {region}; it does not say in which of its voxels the arms differ"
)
_CONJUNCTION_FWE = (
    "family-wise error of voxels at {cluster_p:g} in each map: a voxel shown survives in every one of them"
)
_DIFF = "desc-group1MinusGroup2"
_FORMING = ("voxel_p", "threshold_ale")
_P = "uncorrected"


def _survives(variable: str, what: str, suffix: str, controls: str, level: str, *cuts: str) -> MapSpec:
    return MapSpec(suffix, of(variable), f"z where {what}", controls, level, cuts=cuts)


def _corrected(correction: Correction) -> MapSpec:
    uniform = correction.uniform
    forming = _FORMING if correction.of_clusters else ()
    optional = uniform.map if correction.only_if_asked else ""
    cuts = (*forming, "cluster_p", *uniform.attributes)
    made = _survives(uniform.map, uniform.meaning, uniform.suffix, uniform.controls, correction.word, *cuts)
    return replace(made, optional=optional)


_MAIN_EFFECT = (
    MapSpec("stat", of("ale"), "activation likelihood estimate (ALE)", units="probability"),
    MapSpec("z", of("z"), "z of the analytic voxel p"),
    MapSpec("logp", of("logp"), "-log10 of the analytic voxel p", units="-log10(p)"),
    *(_corrected(c) for c in CORRECTIONS if not c.only_if_asked),
    MapSpec(
        "stat_desc-tfce",
        of("tfce"),
        "threshold-free cluster enhancement, E = 1/2, H = 2",
        units="voxels^(1/2) z^3",
        optional="tfce",
    ),
    *(_corrected(c) for c in CORRECTIONS if c.only_if_asked),
    _survives(
        "z_fdr_bh",
        "the voxel survives Benjamini-Hochberg FDR",
        "z_corr-FDR_method-indep",
        _FDR,
        "fdr-bh",
        "cluster_p",
    ),
    _survives(
        "z_fdr_by",
        "the voxel survives Benjamini-Yekutieli FDR",
        "z_corr-FDR_method-negcorr",
        _FDR,
        "fdr-by",
        "cluster_p",
    ),
    _survives(
        "z_uncorrected",
        "the voxel is below the uncorrected p, in clusters of the minimum volume",
        "z_desc-uncorrected",
        _NOTHING,
        "uncorrected",
        *_FORMING,
        "min_volume",
    ),
    *BASE_RATE_MAP_SPECS,
    MapSpec(
        "label_tab-clust_corr-FWE",
        _labels,
        "numbers of the clusters that survive the primary correction, as in the cluster table",
        None,
        "label",
        units="cluster",
        cuts=(*_FORMING, "cluster_p", "correction"),
        dtype="int16",
    ),
)


def _contrast(source: str, short: str) -> tuple[MapSpec, ...]:
    gate = "signed z inside the gate, uncorrected p, in clusters of the minimum volume"
    fwe = "signed z where the voxel survives FWE by the maximum difference"
    cuts = ("contrast_p", "gate", "min_volume")
    return (
        MapSpec(f"z_{_DIFF}_input-{short}", of("z_contrast", source), gate, None, _P, source, cuts=cuts),
        MapSpec(
            f"z_{_DIFF}_level-voxel_corr-FWE_input-{short}",
            of("z_contrast_voxel_fwe", source),
            fwe,
            _CONTRAST_FWE,
            "voxel-fwe",
            source,
            cuts=("contrast_p",),
        ),
        *(
            MapSpec(
                f"z_{_DIFF}{what.title()}_level-cluster_corr-FWE_input-{short}",
                of(f"z_contrast_{what}_fwe", source),
                f"signed z in clusters that survive cluster-{what} FWE",
                _CONTRAST_CLUSTER,
                f"{what}-fwe",
                source,
                cuts=("voxel_p", "cluster_p"),
                optional=f"z_contrast_{what}_fwe",
            )
            for what in CLUSTER_SHORTS
        ),
    )


def _conjunction(source: str, short: str) -> tuple[MapSpec, MapSpec]:
    name = f"desc-conjunction_input-{short}"
    what = "minimum of the thresholded {} maps, in clusters of the minimum volume"
    cuts = ("min_volume",)
    return (
        MapSpec(
            f"stat_{name}",
            of("ale_min", source),
            what.format("ALE"),
            None,
            "stat",
            source,
            units="probability",
            cuts=cuts,
        ),
        MapSpec(f"z_{name}", of("z_min", source), what.format("z"), None, "thresholded", source, cuts=cuts),
    )


LABELS = "label-"
"""Prefix of the level of a map that numbers the clusters of another map."""
_CLUSTERED = ("uncorrected", "voxel-fwe", "size-fwe", "mass-fwe", "thresholded")


def _numbered(spec: MapSpec) -> MapSpec:
    """Return the map that numbers the clusters of a contrast's or a conjunction's map."""

    def read(result: xr.Dataset) -> npt.NDArray[np.int16]:
        labels = np.zeros(result.sizes["voxel"], dtype=np.int16)
        for cluster in model_of(result).clusters(spec.read(result), level=spec.level):
            labels[cluster.voxels] = cluster.number
        return labels

    suffix, what = f"label{spec.suffix.removeprefix('z')}", "numbers of the clusters, as in their table, of the map: "
    level, units = f"{LABELS}{spec.level}", "cluster"
    return replace(spec, suffix=suffix, read=read, what=what + spec.what, level=level, units=units, dtype="int16")


_SHORT = {"cluster-fwe": "clusterFWE", "uncorrected": "uncorrected"}
_MAPS: dict[str, tuple[MapSpec, ...]] = {
    "main-effect": _MAIN_EFFECT,
    "contrast": (
        MapSpec(f"stat_{_DIFF}", of("difference"), "ALE of the first arm minus the second", units="probability"),
        MapSpec(f"p_{_DIFF}", of("p_greater"), "one-sided p, first > second; NaN: not tested", None, units="p"),
        MapSpec(
            "p_desc-group2MinusGroup1",
            of("p_less"),
            "one-sided p, second > first; NaN: not tested",
            None,
            units="p",
        ),
        *(spec for source in INPUTS for spec in _contrast(source, _SHORT[source])),
    ),
    "conjunction": (
        *(spec for source in INPUTS for spec in _conjunction(source, _SHORT[source])),
        MapSpec(
            "z_desc-conjunction_level-voxel_corr-FWE",
            of("z_min_voxel_fwe"),
            "minimum of the voxel-FWE z maps",
            _CONJUNCTION_FWE,
            "voxel-fwe",
            "voxel-fwe",
            cuts=("cluster_p",),
        ),
        MapSpec(
            "z_desc-conjunctionUnthresholded",
            of("z_min_unthresholded"),
            "minimum of the z maps before any threshold",
        ),
    ),
}
MAP_SPECS: dict[str, tuple[MapSpec, ...]] = {
    kind: (*maps, *(_numbered(v) for v in maps if kind != "main-effect" and v.level in _CLUSTERED))
    for kind, maps in _MAPS.items()
}


def map_specs_of(result: xr.Dataset) -> list[MapSpec]:
    """Return the maps that a result has.

    If the base rate is the only null asked for, its maps have the level of their correction, and the maps of the
    uniform null the level "uniform-…".
    """
    specs = [v for v in MAP_SPECS[model_of(result).kind] if not v.optional or v.optional in result]
    if model_of(result).kind != "main-effect" or model_of(result).inference.null != "base-rate":
        return specs
    against = {v.level.removeprefix(AGAINST) for v in specs if v.level.startswith(AGAINST)}
    moved = {level: f"{UNIFORM}{level}" for level in against} | {f"{AGAINST}{level}": level for level in against}
    return [replace(v, level=moved.get(v.level, v.level)) for v in specs]


def find_map_spec(result: xr.Dataset, *, level: str, source: str = "") -> MapSpec:
    """Return the map of a result at a level, and at an input if there are several."""
    return next(v for v in map_specs_of(result) if v.level == level and source in ("", v.source))


def pictured_map_specs(result: xr.Dataset) -> list[MapSpec]:
    """Return the maps that have a figure: at the primary correction and uncorrected, or at both inputs."""
    primary, uncorrected = map(model_of(result).shown_level, INPUTS)
    levels = dict.fromkeys((primary, f"{AGAINST}{primary}", uncorrected))
    return [v for level in levels for v in map_specs_of(result) if v.level == level]


def corrected_map_specs(result: xr.Dataset) -> list[MapSpec]:
    """Return a contrast's or conjunction's maps corrected over voxels, and over clusters by the primary correction."""
    correction = model_of(result).correction
    clusters = correction.short if correction.of_clusters else "size"
    return [v for v in map_specs_of(result) if v.level in ("voxel-fwe", f"{clusters}-fwe")]


def stem(name: str) -> str:
    """Return a name as part of a file name, without characters that could lead out of a folder."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip(".") or "analysis"
