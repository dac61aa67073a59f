"""Make the files of a collection of NeuroVault: unthresholded maps, and the fields that its API asks of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.findings.model import is_simulated, model_of
from ale_dask.reporting.common.map_files import SIMULATED, File, image_bytes
from ale_dask.reporting.common.map_spec import MapSpec
from ale_dask.reporting.common.maps import map_specs_of, stem
from ale_dask.version import __version__

_MAP_TYPES = {"z": "Z", "p": "P"}
"""NeuroVault's codes of kinds of maps by our units; all others are "Other"."""
_ALWAYS = {"modality": "Other", "analysis_level": "M", "target_template_image": "GenericMNI"}
"""Coordinates do not say how they were measured; "M" is a meta-analysis."""


def neurovault_files(results: Mapping[str, xr.Dataset]) -> list[File]:
    """Return the unthresholded maps of results, and the fields of the collection and of each image as JSON."""
    pooled = {pooled_name(name) for name in results}
    chosen = {name: result for name, result in results.items() if name not in pooled}
    files: list[File] = []
    fields = []
    for result in chosen.values():
        for spec in map_specs_of(result):
            if not spec.level:
                file = f"{stem(model_of(result).name)}_{spec.suffix}.nii.gz"
                files.append((file, partial(_image, result, spec)))
                fields.append({"file": file, **_fields(result, spec)})
    content = {"collection.json": _collection(chosen), "images.json": fields}
    return [*files, *((name, partial(_encoded, each)) for name, each in content.items())]


def _image(result: xr.Dataset, spec: MapSpec) -> bytes:
    model = model_of(result)
    # Not every program reads NaN, and a p of 1 says as much as "not tested".
    fill = 1 if spec.units == "p" else 0
    values = np.nan_to_num(spec.read(result).astype(np.float32), nan=fill)
    return image_bytes(values, mask=model.mask, fill=fill, simulated=model.simulated)


def _fields(result: xr.Dataset, spec: MapSpec) -> dict[str, Any]:
    """Return the fields of an image, under the names of NeuroVault's API."""
    model = model_of(result)
    what = f"{model.title}: {spec.what}"
    subjects = {"number_of_subjects": int(result.attrs["n_subjects"])} if result.attrs.get("n_subjects") else {}
    return {
        "name": f"{model.name}: {spec.what}",
        "description": f"{SIMULATED}. {what}" if model.simulated else what,
        "map_type": _MAP_TYPES.get(spec.units, "Other"),
        **_ALWAYS,
        **subjects,
    }


def _collection(results: Mapping[str, xr.Dataset]) -> dict[str, str]:
    what = f"Activation likelihood estimation: {', '.join(results)}. Computed with ale_dask {__version__}."
    description = f"{SIMULATED}. {what}" if is_simulated(*results.values()) else what
    return {"name": f"ALE of {', '.join(results)}"[:200], "description": description}


def _encoded(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
