"""run.json: what was run, on what, with what, and how long it took."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

from ale_dask.analyses.contrast_clusters import clusters_name
from ale_dask.numerics import NUMERICS_VERSION
from ale_dask.words.config import BUILT_IN, Study
from ale_dask.words.version import __version__

_LIBRARIES = ("dask", "distributed", "numba", "numpy", "scipy", "xarray", "zarr")
# The selection has a file of its own.
_LEFT_OUT = {"affine", "inference", "selection", "shape"}


def run_record(
    study: Study,
    results: Mapping[str, xr.Dataset],
    *,
    digests: Mapping[str, str],
    segments: Mapping[str, Sequence[tuple[int, int]]],
    seconds: float,
) -> dict[str, Any]:
    """Return the record of a run: inputs' hashes, settings, versions, digests, blocks and wall time in s."""
    inputs = {
        name: [
            {"file": Path(file).name, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}
            for file in (*source.files, *(s.inside for s in source.select if s.inside not in (None, *BUILT_IN)))
        ]
        for name, source in study.foci.items()
    }
    return {
        "program": {"name": "ale_dask", "version": __version__, "numerics": NUMERICS_VERSION},
        "title": study.title,
        "simulated": study.simulated,
        "inputs": inputs,
        "inference": study.inference.model_dump(mode="json")
        | {"mask": Path(study.inference.mask).name, "mask_sha256": next(iter(results.values())).attrs["mask_sha256"]},
        "backend": {"name": study.backend.kind, "workers": study.backend.workers},
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{name: version(name) for name in _LIBRARIES},
        },
        "wall_seconds": round(seconds, 3),
        "analyses": {
            name: {
                k: v
                for k, v in json.loads(json.dumps(dict(result.attrs), default=_plain)).items()
                if k not in _LEFT_OUT
            }
            | {"mask": Path(result.attrs["mask"]).name, "digest": digests.get(name)}
            | ({"digest_clusters": digests[again]} if (again := clusters_name(name)) in digests else {})
            | {"segments": [{"iterations": n, "block_size": size} for n, size in segments.get(name, ())]}
            for name, result in results.items()
        },
    }


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
