"""Say in a few sentences what a run of subgroups found: which of them have clusters, and where they differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import reduce

import numpy as np
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.lint import ENOUGH_EXPERIMENTS
from ale_dask.reporting.common.maps import corrected_map_specs
from ale_dask.reporting.common.palette import pooled_names
from ale_dask.reporting.common.phrases import counted, listed
from ale_dask.reporting.tables.contributions import surviving_clusters

GROUP = "subgroup: "
"""With this the reason for the last step of selection of a subgroup begins, in study.toml, too."""
_NAMED = 4
"""Most groups or directions that a sentence names."""


def subgroup_sentences(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return three to five sentences on the subgroups of a study; none where it has no subgroups."""
    pooled = pooled_names(results)
    groups = {name: result for name, result in results.items() if name not in pooled and _is_group(result)}
    if len(groups) < 2:
        return []
    experiments = [f"{name} ({counted(int(r.attrs['n_experiments']), 'experiment')})" for name, r in groups.items()]
    few = sum(int(r.attrs["n_experiments"]) < ENOUGH_EXPERIMENTS for r in groups.values())
    power = (
        f" {few} of them {'has' if few == 1 else 'have'} fewer than {ENOUGH_EXPERIMENTS} experiments." if few else ""
    )
    return [
        f"{len(groups)} subgroups stand beside each other: {_some(experiments)}; nothing corrects for the number of "
        f"{len(results):,} analyses, so that this is descriptive.{power}",
        _clusters(groups),
        *_common(groups),
        *_differences(results),
    ]


def _is_group(result: xr.Dataset) -> bool:
    if model_of(result).kind != "main-effect":
        return False
    steps = json.loads(result.attrs.get("selection", "[]"))
    return bool(steps) and str(steps[-1]["why"]).startswith(GROUP)


def _some(words: list[str]) -> str:
    more = [f"{len(words) - _NAMED} more"] if len(words) > _NAMED else []
    return listed([*words[:_NAMED], *more])


def _clusters(groups: Mapping[str, xr.Dataset]) -> str:
    """Return which subgroups have clusters at the primary correction, and of which volume."""
    volumes = {}
    for name, result in groups.items():
        clusters = surviving_clusters(result, INPUTS[0])
        if clusters:
            mm3 = sum(len(c.voxels) for c in clusters) * model_of(result).mask.voxel_volume
            volumes[name] = f"{name} ({counted(len(clusters), 'cluster')}, {mm3:,.0f} mm³)"
    if not volumes:
        return "None of them has a cluster at its primary correction."
    have = "has" if len(volumes) == 1 else "have"
    return f"{len(volumes)} of them {have} a cluster at the primary correction: {_some(list(volumes.values()))}."


def _common(groups: Mapping[str, xr.Dataset]) -> list[str]:
    """Return the volume that survives in every subgroup; nothing where their masks differ."""
    if len({result.attrs["mask_sha256"] for result in groups.values()}) > 1:
        return []
    surviving = []
    for result in groups.values():
        clusters = surviving_clusters(result, INPUTS[0])
        surviving.append(np.concatenate([np.empty(0, dtype=np.int64), *(c.voxels for c in clusters)]))
    both = len(reduce(np.intersect1d, surviving))
    mm3 = both * model_of(next(iter(groups.values()))).mask.voxel_volume
    return [f"{f'{mm3:,.0f} mm³' if both else 'No voxel'} of this {'are' if both else 'is'} common to all of them."]


def _differences(results: Mapping[str, xr.Dataset]) -> list[str]:
    """Return the directions of contrasts that differ at any correction."""
    contrasts = {name: result for name, result in results.items() if model_of(result).kind == "contrast"}
    differ = []
    for result in contrasts.values():
        specs = [spec for spec in corrected_map_specs(result) if spec.source == INPUTS[0]]
        for sign, direction in model_of(result).sides.items():
            most = max((int((sign * spec.read(result) > 0).sum()) for spec in specs), default=0)
            if most:
                differ.append(f"{direction} ({most * model_of(result).mask.voxel_volume:,.0f} mm³)")
    if not contrasts:
        return []
    if not differ:
        return [f"No difference survives a correction in {'any of ' if len(contrasts) > 1 else ''}the contrasts."]
    return [f"Differences that survive a correction: {_some(differ)}."]
