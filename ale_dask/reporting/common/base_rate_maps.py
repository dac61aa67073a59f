"""List the maps of a main effect against the base rate."""

from __future__ import annotations

from ale_dask.analyses.corrections import CORRECTIONS
from ale_dask.reporting.common.map_spec import MapSpec, of

UNIFORM, AGAINST = "uniform-", "base-rate-"
"""Prefixes of a map's level for the null it is tested against, where this is not the deciding one."""
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
            c.base_rate.suffix,
            of(c.base_rate.map),
            f"z under the base rate where {c.base_rate.meaning}",
            c.base_rate.controls,
            f"{AGAINST}{c.word}",
            cuts=("voxel_p", "cluster_p", "base_rate", "base_rate_sha256", *c.base_rate.attributes),
            optional=c.base_rate.map,
        )
        for c in CORRECTIONS
    ),
)


def is_base_rate(spec: MapSpec) -> bool:
    """Return whether a map is tested against the base rate."""
    return spec.optional.startswith(("z_base_rate", "subsample_base_rate"))
