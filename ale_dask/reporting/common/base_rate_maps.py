"""List the maps of a main effect against the base rate."""

from __future__ import annotations

from ale_dask.reporting.common.map_spec import MapSpec, of

UNIFORM, AGAINST = "uniform-", "base-rate-"
"""Prefixes of a map's level for the null it is tested against, where this is not the deciding one."""
_DRAWN = (
    "were the foci where the literature reports them anyway, the chance of one such {} or more anywhere in the mask "
)
_BASE_RATE_CLUSTER = (
    f"family-wise error of clusters at {{cluster_p:g}} against the base rate: {_DRAWN.format('cluster')}"
    "is at most {cluster_p:g}; it does not say which of its voxels are active"
)
_BASE_RATE_VOXEL = (
    f"family-wise error of voxels at {{cluster_p:g}} against the base rate: {_DRAWN.format('voxel')}"
    "is at most {cluster_p:g}"
)
_BASE_RATE_ENHANCED = (
    "family-wise error of threshold-free cluster enhancement at {cluster_p:g} against the base rate: "
    f"{_DRAWN.format('voxel')}is at most {{cluster_p:g}}; what lies around a voxel counts for it"
)
_CONTROLS = {
    "cluster-size": _BASE_RATE_CLUSTER,
    "cluster-mass": _BASE_RATE_CLUSTER,
    "voxel": _BASE_RATE_VOXEL,
    "tfce": _BASE_RATE_ENHANCED,
}
_MC = "corr-FWE_method-montecarlo"
BASE_RATE_MAP_SPECS = (
    MapSpec(
        "z_desc-baseRate",
        of("z_base_rate"),
        "z of the voxel p when foci are drawn from the base rate",
        optional="z_base_rate",
    ),
    MapSpec(
        "stat_desc-baseRateThreshold",
        of("base_rate_threshold"),
        "ALE from which a voxel forms clusters against the base rate",
        units="probability",
        optional="base_rate_threshold",
    ),
    MapSpec(
        "stat_desc-baseRateTfce",
        of("base_rate_tfce"),
        "threshold-free cluster enhancement of z under the base rate, E = 1/2, H = 2",
        units="voxels^(1/2) z^3",
        optional="base_rate_tfce",
    ),
    *(
        MapSpec(
            f"z_desc-baseRate{statistic.title()}_level-{unit}_{_MC}",
            of(f"z_base_rate_{statistic}_fwe"),
            f"z under the base rate where the {unit} survives it by {criterion}",
            _CONTROLS[level],
            f"{AGAINST}{level}",
            cuts=("voxel_p", "cluster_p", "base_rate", "base_rate_sha256", *cuts),
            optional=f"z_base_rate_{statistic}_fwe",
        )
        for statistic, unit, criterion, level, *cuts in (
            ("size", "cluster", "cluster-size FWE", "cluster-size", "base_rate_cut_size"),
            ("mass", "cluster", "cluster-mass FWE", "cluster-mass", "base_rate_cut_mass"),
            ("voxel", "voxel", "FWE by the largest z", "voxel", "base_rate_cut_peak"),
            (
                "tfce",
                "voxel",
                "FWE by the largest TFCE",
                "tfce",
                "base_rate_cut_tfce",
                "base_rate_tfce_unit",
            ),
        )
    ),
)


def is_base_rate(spec: MapSpec) -> bool:
    """Return whether a map is tested against the base rate."""
    return spec.optional.startswith("z_base_rate")
