"""Find the maps of a result by their levels; the module of its kind in `kinds` lists them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import PAIR, model_of
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.config.analysis import INPUTS
from ale_dask.errors import InputError
from ale_dask.reporting.common.base_rate_maps import AGAINST, UNIFORM
from ale_dask.reporting.common.map_spec import MapSpec as MapSpec
from ale_dask.reporting.common.presentation import presentation_of


def main_clusters(result: xr.Dataset, *, source: str) -> list[Cluster]:
    """Return the clusters of a main effect that survive the primary correction, or the "uncorrected" ones."""
    return model_of(result).clusters(thresholded(result, source).astype(np.int8), level=source)


LABELS = "label-"
"""Prefix of the level of a map that numbers the clusters of another map."""
INPUT_ENDS = {"cluster-fwe": "clusterFWE", "uncorrected": "uncorrected"}
"""What stands for an input in the file names of maps."""
_CLUSTERED = ("uncorrected", "voxel-fwe", "size-fwe", "mass-fwe", "thresholded", PAIR)


def with_cluster_numbers(maps: tuple[MapSpec, ...]) -> tuple[MapSpec, ...]:
    """Return maps of a contrast, a conjunction …, and behind them a map of cluster numbers of each thresholded one."""
    return *maps, *(_numbered(spec) for spec in maps if spec.level.removeprefix(AGAINST) in _CLUSTERED)


def _numbered(spec: MapSpec) -> MapSpec:
    """Return the map that numbers the clusters of a map."""

    def read(result: xr.Dataset) -> npt.NDArray[np.int16]:
        labels = np.zeros(result.sizes["voxel"], dtype=np.int16)
        for cluster in model_of(result).clusters(spec.read(result), level=spec.level):
            labels[cluster.voxels] = cluster.number
        return labels

    suffix, what = (
        f"label{spec.suffix.removeprefix('z').removeprefix('stat')}",
        "numbers of the clusters, as in their table, of the map: ",
    )
    level, units = f"{LABELS}{spec.level}", "cluster"
    return replace(spec, suffix=suffix, read=read, what=what + spec.what, level=level, units=units, dtype="int16")


def map_specs_of(result: xr.Dataset) -> list[MapSpec]:
    """Return the maps that a result has.

    If the base rate is the only null asked for, its maps have the level of their correction, and the same maps of the
    uniform null the level "uniform-…".
    """
    shown = presentation_of(result)
    specs = [v for v in (*shown.maps, *shown.further(result)) if not v.optional or v.optional in result]
    if model_of(result).inference.null != "base-rate":
        return specs
    against = {(v.level.removeprefix(AGAINST), v.source) for v in specs if v.level.startswith(AGAINST)}
    return [
        replace(v, level=f"{UNIFORM}{v.level}" if (v.level, v.source) in against else v.level.removeprefix(AGAINST))
        for v in specs
    ]


def directions_of(result: xr.Dataset, spec: MapSpec) -> tuple[str, ...]:
    """Return what values of a map above 0, and below, say in words: as the map has it, or as the result does."""
    return spec.directions or model_of(result).directions


def find_map_spec(result: xr.Dataset, *, level: str, source: str = "") -> MapSpec:
    """Return the map of a result at a level, and at an input if there are several.

    A contrast whose pooled map is empty has no family-wise levels: nothing was tested there.
    """
    specs = [spec for spec in map_specs_of(result) if source in ("", spec.source) or not spec.source]
    for spec in specs:
        if spec.level == level:
            return spec
    levels = dict.fromkeys(spec.level for spec in specs if spec.level)
    raise InputError(f"{result.attrs['name']} has no map at level {level!r}; its levels are {', '.join(levels)}")


def pictured_map_specs(result: xr.Dataset) -> list[MapSpec]:
    """Return the maps that have a figure: at the primary correction and uncorrected, or at both inputs."""
    primary, uncorrected = map(model_of(result).shown_level, INPUTS)
    levels = dict.fromkeys((primary, f"{AGAINST}{primary}", uncorrected))
    return [v for level in levels for v in map_specs_of(result) if v.level == level]


def corrected_map_specs(result: xr.Dataset) -> list[MapSpec]:
    """Return a contrast's or conjunction's maps corrected over voxels, and over clusters by the primary correction."""
    correction = model_of(result).correction
    clusters = correction.short if correction.of_clusters else "size"
    levels = ("voxel-fwe", f"{clusters}-fwe")
    return [v for v in map_specs_of(result) if v.level.removeprefix(AGAINST) in levels]


def stem(name: str) -> str:
    """Return a name as part of a file name, without characters that could lead out of a folder."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip(".") or "analysis"
