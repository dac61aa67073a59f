"""Sum up in a line or two what each analysis found, for the head of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import xarray as xr

from ale_dask.analyses.base_rate import nulls_of
from ale_dask.analyses.corrections import CORRECTIONS
from ale_dask.analyses.findings.atlas import ATLASES, regions
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import decision_variables
from ale_dask.config.study import INPUTS
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.common.maps import corrected_map_specs, find_map_spec
from ale_dask.reporting.common.palette import pooled_names
from ale_dask.reporting.common.phrases import counted, listed
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.reporting.text.base_rate import base_rate_overlap_words

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
    return [_summary(name, result) for name, result in results.items() if name not in pooled]


def _summary(name: str, result: xr.Dataset) -> Summary:
    kind = model_of(result).kind
    clusters = surviving_clusters(result, INPUTS[0])
    source = "" if kind == "main-effect" else INPUTS[0]
    words = label(result, find_map_spec(result, level=model_of(result).shown_level(INPUTS[0]), source=source))
    if kind == "main-effect":
        deciding_null, *other_nulls = nulls_of(result)
        lines = [("", _clusters(clusters, result) + _undecided(result, deciding_null))]
        if other_nulls:
            lines.append(("against the base rate", base_rate_overlap_words(result) + _undecided(result, "base-rate")))
        return Summary(name, words, tuple(lines))
    if kind == "conjunction":
        largest = f"; the largest minimum z before any threshold is {result.attrs['largest_minimum_z']:.2f}"
        return Summary(name, words, (("", _clusters(clusters, result) + ("" if clusters else largest)),))
    lines = [
        (direction, _clusters([c for c in clusters if c.sign == sign], result) + _corrected(result, sign))
        for sign, direction in model_of(result).sides.items()
    ]
    return Summary(name, words, tuple(lines))


def _clusters(clusters: Sequence[Cluster], result: xr.Dataset) -> str:
    if not clusters:
        return "no cluster"
    mask = model_of(result).mask
    ordered = sorted(clusters, key=lambda c: -len(c.voxels))
    places = []
    for cluster in ordered[:LISTED]:
        x, y, z = (f"{v + 0.0:.0f}" for v in cluster.peak_mm.round())
        region = regions(cluster.peak_mm)[next(iter(ATLASES))] if available(*LABELS) else ""
        where = f" ({region.replace('_', ' ')})" if region else ""
        places.append(f"{len(cluster.voxels) * mask.voxel_volume:,.0f} mm³ at {x},\u00a0{y},\u00a0{z}{where}")
    rest = [f"{len(ordered) - LISTED} more"] if len(ordered) > LISTED else []
    total = sum(len(c.voxels) for c in ordered) * mask.voxel_volume
    whole = f", {total:,.0f} mm³ in all" if len(ordered) > 1 else ""
    return f"{counted(len(ordered), 'cluster')}{whole}: {'; '.join(places + rest)}"


def _undecided(result: xr.Dataset, null: str) -> str:
    decision = decision_variables(result).get(null)
    n = 0 if decision is None else int((result[decision].values == "undecided").sum())
    return f"; {counted(n, 'cluster')} undecided after {result.attrs['iterations']:,} iterations" if n else ""


def _corrected(result: xr.Dataset, sign: int) -> str:
    """Return the volumes of one direction of a contrast that survive each correction, in words."""
    volumes = []
    for spec in corrected_map_specs(result):
        if spec.source == INPUTS[0]:
            clusters = [c for c in model_of(result).clusters(spec.read(result)) if c.sign == sign]
            volume = sum(len(c.voxels) for c in clusters) * model_of(result).mask.voxel_volume
            volumes.append(f"by {_CORRECTED[spec.level]} {f'{volume:,.0f} mm³' if clusters else 'nothing'}")
    return f". Corrected {listed(volumes)}" if volumes else ""
