"""Sum up in a line or two what each analysis found, for the head of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from ale_dask.analyses.corrections import CORRECTIONS
from ale_dask.analyses.findings.atlas import ATLASES, regions
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.common.maps import find_map_spec
from ale_dask.reporting.common.once import kept
from ale_dask.reporting.common.palette import pooled_names
from ale_dask.reporting.common.phrases import counted
from ale_dask.reporting.common.presentation import presentation_of
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.tables.anatomy import sided_words
from ale_dask.reporting.tables.contributions import surviving_clusters

LISTED = 3
"""Largest clusters that a line names; the table has them all."""
_CORRECTED = {f"{correction.short}-fwe": correction.label for correction in CORRECTIONS}


@dataclass(frozen=True)
class Summary:
    """The summary of an analysis: its name, the threshold of its map, and for each direction ("" or words) a line."""

    name: str
    level: str
    lines: tuple[tuple[str, str], ...]


def summary_of(results: Mapping[str, xr.Dataset]) -> list[Summary]:
    """Return a summary of each analysis at the primary correction; main effects pooled for a contrast are left out."""
    pooled = pooled_names(results)
    return [Summary(name, *level_and_lines(result)) for name, result in results.items() if name not in pooled]


def found_without_effect(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return a sentence on how many main effects would find something without any effect, where one or more would.

    Each controls its family-wise error at its own level, so that the sum of their levels bounds the expected number,
    whether they share experiments or not.
    """
    pooled = pooled_names(results)
    models = [model_of(result) for name, result in results.items() if name not in pooled]
    levels = [model.inference.cluster_p for model in models if model.kind == "main-effect"]
    expected = sum(levels)
    # A thousandth less, since twenty times .05 in binary may lie below 1.
    if expected < 0.999:
        return []
    return [
        f"Each of the {len(levels):,} main effects controls its own error alone: were there no effect anywhere, up to "
        f"{expected:,.0f} of them would be expected to find something."
    ]


@kept
def level_and_lines(result: xr.Dataset) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the threshold of the map of a result in words, and a line for each direction."""
    clusters = surviving_clusters(result, INPUTS[0])
    source = "" if model_of(result).kind == "main-effect" else INPUTS[0]
    words = label(result, find_map_spec(result, level=model_of(result).shown_level(INPUTS[0]), source=source))
    return words, tuple(presentation_of(result).summary(result, clusters))


def surviving_words(level: str, clusters: Sequence[Cluster], result: xr.Dataset) -> str:
    """Return in words the volume of the clusters that survive a correction, "nothing" without one."""
    volume = sum(len(c.voxels) for c in clusters) * model_of(result).mask.voxel_volume
    return f"{f'{volume:,.0f} mm³' if clusters else 'nothing'} by {_CORRECTED[level]}"


def cluster_words(clusters: Sequence[Cluster], result: xr.Dataset) -> str:
    """Return in words how many clusters there are, their volume, and where the largest are."""
    if not clusters:
        return "no cluster"
    mask = model_of(result).mask
    ordered = sorted(clusters, key=lambda c: -len(c.voxels))
    places = []
    for cluster in ordered[:LISTED]:
        x, y, z = (f"{v + 0.0:.0f}" for v in cluster.peak_mm.round())
        region = regions(cluster.peak_mm)[next(iter(ATLASES))] if available(*LABELS) else ""
        # The distance of what is near stands behind a comma inside these parentheses.
        words = sided_words(region).replace(" (", ", ").removesuffix(")")
        where = f" ({words[:1].lower()}{words[1:]})" if region else ""
        places.append(f"{len(cluster.voxels) * mask.voxel_volume:,.0f} mm³ at {x},\u00a0{y},\u00a0{z}{where}")
    rest = [f"{len(ordered) - LISTED} more"] if len(ordered) > LISTED else []
    total = sum(len(c.voxels) for c in ordered) * mask.voxel_volume
    whole = f", {total:,.0f} mm³ in all" if len(ordered) > 1 else ""
    return f"{counted(len(ordered), 'cluster')}{whole}: {'; '.join(places + rest)}"
