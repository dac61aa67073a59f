"""run.json: what was run, on what, with what, and how long it took."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from ale_dask.analyses.base_rate import base_rate_name
from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.contrast_clusters import clusters_name
from ale_dask.analyses.findings.atlas import ATLASES
from ale_dask.analyses.findings.clusters import grid_of
from ale_dask.config.inference import BUILT_IN
from ale_dask.config.study import Contrast, FociSource, MainEffect, Study, with_expanded_files
from ale_dask.coordinates.decisions import ATTRIBUTE, decisions
from ale_dask.numerics import NUMERICS_VERSION
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.figures.flow import flow_table
from ale_dask.version import __version__

_LIBRARIES = ("dask", "distributed", "numba", "numpy", "scipy", "xarray", "zarr")
# Files and selection belong to samples, which several analyses may share.
_LEFT_OUT = {"affine", ATTRIBUTE, "inference", "selection", "shape", "sources"}
_COUNTED = ("experiments", "talairach", "without_n")


def run_record(
    study: Study,
    results: Mapping[str, xr.Dataset],
    *,
    digests: Mapping[str, str],
    segments: Mapping[str, Sequence[tuple[int, int]]],
    seconds: float,
) -> dict[str, Any]:
    """Return the record of a run: inputs' hashes, settings, versions, digests, blocks and wall time in s."""
    study = with_expanded_files(study)
    inputs = {
        name: [
            {"file": Path(file).name, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
            for file in (*source.files, *(s.inside for s in source.select if s.inside not in (None, *BUILT_IN)))
        ]
        for name, source in study.foci.items()
    }
    read = {s["sha256"]: s for r in results.values() for s in json.loads(r.attrs.get("sources", "[]"))}
    one = next(iter(results.values()))
    return {
        "program": {"name": "ale_dask", "version": __version__, "numerics": NUMERICS_VERSION},
        "title": study.title,
        "simulated": study.simulated,
        "inputs": inputs,
        "samples": {
            name: _sample(source, [read.get(file["sha256"], {}) for file in inputs[name][: len(source.files)]])
            for name, source in study.foci.items()
        },
        # What was removed has a file of its own.
        "selection": flow_table(results).drop(columns="removed").to_dict("records"),
        "inference": study.inference.model_dump(mode="json")
        | {
            "mask": Path(study.inference.mask).name,
            "base_rate": Path(study.inference.base_rate).name,
            "mask_sha256": one.attrs["mask_sha256"],
            "mask_voxels": one.sizes["voxel"],
            "mask_voxel_mm": grid_of(one).voxel_size.tolist(),
            **_search(study, one),
        },
        "backend": {"name": study.backend.kind, "workers": study.backend.workers},
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: version(name) for name in _LIBRARIES},
        },
        # Whether clusters have names of regions in the tables that are written with this record.
        "atlases": list(ATLASES) if available(*LABELS) else [],
        "wall_seconds": round(seconds, 3),
        "analyses": {
            name: {
                k: v
                for k, v in json.loads(json.dumps(dict(result.attrs), default=_plain)).items()
                if k not in _LEFT_OUT
            }
            | {"decisions": [asdict(one) for one in decisions(result)]}
            | _made_of(study, name, result)
            | {"mask": Path(result.attrs["mask"]).name, "digest": digests.get(name)}
            | ({"digest_base_rate": digests[beside]} if (beside := base_rate_name(name)) in digests else {})
            | ({"digest_clusters": digests[again]} if (again := clusters_name(name)) in digests else {})
            | {"segments": [{"iterations": n, "block_size": size} for n, size in segments.get(name, ())]}
            for name, result in results.items()
        },
    }


def _search(study: Study, one: xr.Dataset) -> dict[str, Any]:
    """Return the region that inference was made in, and its size unless it is the whole mask."""
    if study.inference.search is None:
        return {}
    sizes = {name: one.attrs[name] for name in ("search_sha256", "search_voxels", "search_mm3") if name in one.attrs}
    return {"search": Path(study.inference.search).name, **sizes}


def _sample(source: FociSource, read: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a sample's settings, and how many of its files' experiments are in Talairach space or state no n."""
    select = [
        step.model_dump(exclude_none=True) | ({"inside": Path(step.inside).name} if step.inside else {})
        for step in source.select
    ]
    settings: dict[str, Any] = {
        "n": source.n,
        "space": source.space,
        "talairach_variant": source.talairach,
        "select": select,
    }
    settings["groups"] = source.groups
    if source.columns:
        settings["columns"] = dict(source.columns)
    return settings | {key: sum(int(file.get(key, 0)) for file in read) for key in _COUNTED}


def _made_of(study: Study, name: str, result: xr.Dataset) -> dict[str, Any]:
    """Return what an analysis was made of that its result does not say."""
    analysis = study.analysis.get(name)
    if isinstance(analysis, MainEffect):
        return {"foci": analysis.foci}
    if isinstance(analysis, Contrast):
        n = result.sizes.get("contrast_cluster")
        return {"clusters_tested": n}
    of = [other for other, a in study.analysis.items() if isinstance(a, Contrast) and pooled_name(other) == name]
    return {"pooled_for": of[0]} if of else {}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
