"""Make the content of run.json: inputs, settings, versions, results and wall time of a run."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from itertools import count, takewhile
from pathlib import Path
from typing import Any, cast

import xarray as xr

from ale_dask.analyses.base_rate import base_rate_name
from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.contrast_clusters import clusters_name
from ale_dask.analyses.findings.atlas import ATLASES
from ale_dask.analyses.findings.model import SIMULATED, model_of
from ale_dask.analyses.networks import NETWORK
from ale_dask.analyses.sensitivity.base_rate_variants import pass_name
from ale_dask.config.analysis import Contrast, MainEffect, Moderator
from ale_dask.config.foci_source import FociSource
from ale_dask.config.inference import BUILT_IN
from ale_dask.config.protocol import deviations, protocol_of
from ale_dask.config.run_record import SCHEMA, FileRecord, RunRecord
from ale_dask.config.study import Study, with_expanded_files
from ale_dask.coordinates.decisions import ATTRIBUTE, decisions
from ale_dask.coordinates.readers.known_columns import described
from ale_dask.numerics import NUMERICS_VERSION
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.figures.flow import flow_table
from ale_dask.version import __version__

_SEARCH = ("search_sha256", "search_voxels", "search_mm3")
_LIBRARIES = ("dask", "distributed", "numba", "numpy", "scipy", "xarray", "zarr")
# Files and selection are recorded per sample, which several analyses may share, and SIMULATED once per run.
_LEFT_OUT = {"affine", ATTRIBUTE, "inference", "selection", "shape", SIMULATED, "sources"}
_COUNTED = ("experiments", "talairach", "without_n")


def run_record(
    study: Study,
    results: Mapping[str, xr.Dataset],
    *,
    digests: Mapping[str, str],
    segments: Mapping[str, Sequence[tuple[int, int]]],
    seconds: float,
) -> RunRecord:
    """Return the content of run.json.

    `digests` holds the digest of each null, `segments` the iterations and block size of each segment, both by the name
    of the plan; `seconds` is the wall time.
    """
    study = with_expanded_files(study)
    # One table may hold the experiments of thousands of samples, and is read once.
    hashes = cache(lambda file: hashlib.sha256(Path(file).read_bytes()).hexdigest())
    inputs = {name: _files(source, hashes) for name, source in study.foci.items()}
    read = {s["sha256"]: s for r in results.values() for s in json.loads(r.attrs.get("sources", "[]"))}
    record: RunRecord = {
        "schema": SCHEMA,
        "program": {"name": "ale_dask", "version": __version__, "numerics": NUMERICS_VERSION},
        "title": study.title,
        "simulated": study.simulated,
        "inputs": inputs,
        "samples": {
            name: _source_record(source, [read.get(file["sha256"], {}) for file in inputs[name][: len(source.files)]])
            for name, source in study.foci.items()
        },
        # The experiments that each step removes are listed in selection.tsv, not here.
        "selection": [
            {str(column): value for column, value in row.items()}
            for row in flow_table(results).drop(columns="removed").to_dict("records")
        ],
        "inference": _inference(study, next(iter(results.values()))),
        "backend": {"name": study.backend.kind, "workers": study.backend.workers},
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: version(name) for name in _LIBRARIES},
        },
        "atlases": list(ATLASES) if available(*LABELS) else [],
        "wall_seconds": round(seconds, 3),
        "analyses": {
            name: _attributes(result)
            | {"decisions": [asdict(decision) for decision in decisions(result)]}
            | _made_of(study, name, result)
            | {"mask": Path(result.attrs["mask"]).name}
            | _digests(name, digests)
            | {"segments": [{"iterations": n, "block_size": size} for n, size in segments.get(name, ())]}
            for name, result in results.items()
        },
    }
    return cast(RunRecord, record | _of_literature(study, results))


def _of_literature(study: Study, results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Return what is known of the literature, from columns of the files, [records] and a protocol; without the rest."""
    # The arms of a contrast, pooled, have no word of their own for an experiment whose file lacks a column.
    mains = [result for name, result in results.items() if isinstance(study.analysis.get(name), MainEffect)]
    known = {"columns": described(mains), "records": study.records.given, "protocol": _protocol(study)}
    if study.living is not None:
        known["living"] = study.living.model_dump(mode="json")
    return {key: value for key, value in known.items() if value}


def _protocol(study: Study) -> dict[str, Any]:
    """Return the protocol of a study and the deviations from it; empty without a protocol."""
    protocol = protocol_of(study)
    if protocol is None:
        return {}
    deviate = [deviation.words() for deviation in deviations(study, protocol)]
    return {"file": protocol.file, "sha256": protocol.sha256, "deviations": deviate}


def _files(source: FociSource, sha256_of: Callable[[str], str]) -> list[FileRecord]:
    """Return the name and sha256 of every file of a source, and of every image that selects its foci."""
    images = (step.inside for step in source.select if step.inside not in (None, *BUILT_IN))
    return [{"file": Path(file).name, "sha256": sha256_of(str(file))} for file in (*source.files, *images)]


def _inference(study: Study, result: xr.Dataset) -> dict[str, Any]:
    """Return every setting of the inference, with the size of the mask and of the searched region of a result."""
    return study.inference.model_dump(mode="json") | {
        "mask": Path(study.inference.mask).name,
        "base_rate": Path(study.inference.base_rate).name,
        "networks": None if study.inference.networks is None else Path(study.inference.networks).name,
        "mask_sha256": result.attrs["mask_sha256"],
        "mask_voxels": result.sizes["voxel"],
        "mask_voxel_mm": model_of(result).mask.voxel_size.tolist(),
        **_search(study, result),
        **_networks(result),
    }


def _attributes(result: xr.Dataset) -> dict[str, Any]:
    """Return the attributes of a result as plain values, without those that are recorded elsewhere."""
    attrs = json.loads(json.dumps(dict(result.attrs), default=_plain))
    return {key: value for key, value in attrs.items() if key not in _LEFT_OUT}


def _digests(name: str, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return the digests of the nulls of an analysis by their key in run.json."""
    further = {"digest_base_rate": base_rate_name(name), "digest_clusters": clusters_name(name)}
    # Subsamples have a pass over their base-rate nulls for every 32 of them.
    for number in takewhile(lambda number: pass_name(name, number) in digests, count(1)):
        further[f"digest_base_rate_{number + 1}"] = pass_name(name, number)
    return {"digest": digests.get(name)} | {key: digests[of] for key, of in further.items() if of in digests}


def _search(study: Study, result: xr.Dataset) -> dict[str, Any]:
    """Return the name and size of the searched region, or nothing where the whole mask is searched."""
    if study.inference.search is None:
        return {}
    sizes = {name: value for name, value in result.attrs.items() if name in _SEARCH}
    return {"search": Path(study.inference.search).name, **sizes}


def _networks(result: xr.Dataset) -> dict[str, Any]:
    """Return the name of the label image of networks and how it was read; no path, and nothing without one."""
    if NETWORK not in result:
        return {}
    about = result[NETWORK].attrs
    further = {f"networks_{key}": about[key] for key in ("sha256", "note", "citation") if about[key]}
    return {"networks": about["image"], **further}


def _source_record(source: FociSource, read: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of a source, and how many experiments of its files are in Talairach space or state no n."""
    select = [
        step.model_dump(exclude_none=True) | ({"inside": Path(step.inside).name} if step.inside else {})
        for step in source.select
    ]
    settings: dict[str, Any] = {
        "n": source.n,
        "space": source.space,
        "talairach_variant": source.talairach,
        "select": select,
        "groups": source.groups,
    }
    if source.columns:
        settings["columns"] = dict(source.columns)
    return settings | {key: sum(int(file.get(key, 0)) for file in read) for key in _COUNTED}


def _made_of(study: Study, name: str, result: xr.Dataset) -> dict[str, Any]:
    """Return the sources of a main effect, the number of tested clusters, or the contrast of pooled arms."""
    analysis = study.analysis.get(name)
    if isinstance(analysis, MainEffect):
        return {"foci": analysis.foci}
    if isinstance(analysis, Contrast):
        return {"clusters_tested": result.sizes.get("contrast_cluster")}
    if isinstance(analysis, Moderator):
        return {"clusters_tested": result.sizes.get("moderator_cluster")}
    contrast = name.removesuffix(pooled_name(""))
    pooled = contrast != name and isinstance(study.analysis.get(contrast), Contrast)
    return {"pooled_for": contrast} if pooled else {}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
