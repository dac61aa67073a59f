"""The maps of the base-rate null beside those of a main effect."""

from __future__ import annotations

from ale_dask.reporting.common.map_spec import MapSpec, of

UNIFORM = "uniform-"
AGAINST = "base-rate-"
"""How the level of a map against the base rate begins, before that of the same correction."""
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
            f"z_desc-baseRate{what.title()}_level-{where}_{_MC}",
            of(f"z_base_rate_{what}_fwe"),
            f"z under the base rate where {of_what} survives it by {by}",
            _CONTROLS[level],
            f"{AGAINST}{level}",
            cuts=("voxel_p", "cluster_p", "base_rate", "base_rate_sha256", *cuts),
            optional=f"z_base_rate_{what}_fwe",
        )
        for what, where, of_what, by, level, *cuts in (
            ("size", "cluster", "the cluster", "cluster-size FWE", "cluster-size", "base_rate_cut_size"),
            ("mass", "cluster", "the cluster", "cluster-mass FWE", "cluster-mass", "base_rate_cut_mass"),
            ("voxel", "voxel", "the voxel", "FWE by the largest z", "voxel", "base_rate_cut_peak"),
            (
                "tfce",
                "voxel",
                "the voxel",
                "FWE by the largest TFCE",
                "tfce",
                "base_rate_cut_tfce",
                "base_rate_tfce_unit",
            ),
        )
    ),
)


def is_base_rate(spec: MapSpec) -> bool:
    """Return whether a map is one of the base-rate null."""
    return spec.optional.startswith("z_base_rate")
