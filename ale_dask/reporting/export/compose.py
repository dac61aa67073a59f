"""Write main effects as Neurosynth Compose keeps a meta-analysis: specification, snapshots, result, maps and tables.

Field names and types are those of its published interface (neurostuff/neurostore-spec, neurosynth-compose-openapi.yml,
schemas specification, estimator, corrector, studyset, annotation, meta-analysis and result; NIMADS in
reference/nimads.yml), and those by which its runner reads and uploads (neurostuff/compose-runner, run.py): maps and
tables have the names that NiMARE gives them, and `type` and `args` name the class of NiMARE that does the same.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.findings.model import is_simulated, model_of
from ale_dask.config.inference import Inference
from ale_dask.coordinates.foci import OF_READER, foci_alone, table
from ale_dask.coordinates.readers.writers import write_nimads
from ale_dask.coordinates.spreadsheet_cells import escaped
from ale_dask.errors import InputError
from ale_dask.reporting.common.map_files import SIMULATED, File
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.phrases import listed
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.tables.contributions import contribution_table
from ale_dask.version import __version__

log = logging.getLogger(__name__)
INCLUDED = "included"
"""The column of the annotation by which Compose selects the analyses of the meta-analysis."""
_LEVEL = {
    "voxel": "level-voxel",
    "cluster-size": "desc-size_level-cluster",
    "cluster-mass": "desc-mass_level-cluster",
}


def compose_files(results: Mapping[str, xr.Dataset], maps: Mapping[str, list[File]]) -> list[File]:
    """Return the files of an export to Neurosynth Compose, a folder per main effect; `maps` has its images by name.

    Raises
    ------
    InputError
        where there is no main effect.
    """
    mains = {name: result for name, result in results.items() if model_of(result).kind == "main-effect"}
    if not mains:
        raise InputError("export to compose: writes main effects, of which there is none")
    if others := [name for name in results if name not in mains]:
        log.info(f"left out: {listed(others)}; Compose's runner computes contrasts and conjunctions in another way")
    files: list[File] = []
    for name, result in mains.items():
        base = stem(name)
        documents = _documents(name, result)
        files += [(f"{base}/{what}.json", partial(_encoded, content)) for what, content in documents.items()]
        files += [(f"{base}/statistical_maps/{file}", make) for file, make in maps[name]]
        level = _LEVEL.get(model_of(result).inference.correction, "level-voxel")
        table_name = f"z_{level}_corr-FWE_method-montecarlo"
        clusters = partial(cluster_table, result)
        files.append((f"{base}/cluster_tables/{table_name}_tab-clust.tsv", partial(_tsv, clusters)))
        shares = partial(contribution_table, result)
        files.append((f"{base}/diagnostic_tables/{table_name}_diag-contributions.tsv", partial(_tsv, shares)))
        files.append((f"{base}/method_description.txt", partial(_text, description(result))))
    return files


def _encoded(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _text(content: str) -> bytes:
    return f"{content}\n".encode()


def _tsv(make: Any) -> bytes:
    made: pd.DataFrame = make()
    return str(escaped(made).to_csv(sep="\t", index=False, lineterminator="\n")).encode()


def _documents(name: str, result: xr.Dataset) -> dict[str, Any]:
    """Return the JSON documents of a main effect by the names of their files."""
    studyset, annotation = snapshots(name, result)
    spec = specification(result)
    program = {"name": "ale_dask", "version": __version__}
    settings = json.loads(model_of(result).inference.model_dump_json(exclude_defaults=True))
    return {
        "specification": spec,
        "studyset": studyset,
        "annotation": annotation,
        "meta-analysis": {
            "name": name,
            "description": description(result),
            "specification": spec,
            "studyset": {"snapshot": studyset},
            "annotation": {"snapshot": annotation},
            "provenance": {"program": program, "settings": settings, "plan": result.attrs["plan"]},
        },
        "result": {
            "studyset_snapshot": studyset,
            "annotation_snapshot": annotation,
            "specification_snapshot": spec,
            "estimator": spec["estimator"],
            "cli_version": f"ale_dask {__version__}",
            "cli_args": settings,
        },
    }


def specification(result: xr.Dataset) -> dict[str, Any]:
    """Return what Compose needs to compute a main effect: NiMARE's estimator and corrector, and which analyses."""
    inference = model_of(result).inference
    return {
        "type": "CBMA",
        "estimator": {"type": "ALE", "args": _estimator(inference)},
        "corrector": {"type": "FWECorrector", "args": _corrector(inference, iterations=result.attrs["iterations"])},
        "mask": None,
        "contrast": None,
        "transformer": None,
        "filter": INCLUDED,
        "conditions": [True],
        "weights": [1.0],
        "database_studyset": None,
    }


def _estimator(inference: Inference) -> dict[str, Any]:
    fixed = {} if inference.fwhm is None else {"kernel__fwhm": inference.fwhm}
    return {"null_method": "approximate", **fixed}


def _corrector(inference: Inference, *, iterations: int) -> dict[str, Any]:
    return {
        "method": "montecarlo",
        "n_iters": int(iterations),
        "voxel_thresh": inference.voxel_p,
        "vfwe_only": not CORRECTION_OF[inference.correction].of_clusters,
    }


def snapshots(name: str, result: xr.Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the experiments of a main effect as a NIMADS study set, and its annotation with a note per experiment.

    Every tag and moderator is a key of the notes: boolean, number or string; null where it is not stated.
    """
    foci = foci_alone(result)
    extra = [v for v in result.data_vars if str(v).startswith("moderator_") or v == "experiment_tag"]
    foci = foci.assign({v: result[v] for v in extra})
    studyset = json.loads(write_nimads(foci))
    studyset.pop("annotations")
    studyset |= {"name": name, "description": SIMULATED if is_simulated(result) else "", "publication": None}
    rows = table(foci)
    own = [column for column in rows.columns if column not in OF_READER and column != INCLUDED]
    kinds = {column: _kind(rows[column]) for column in own}
    notes = []
    study_of = {analysis["id"]: study["id"] for study in studyset["studies"] for analysis in study["analyses"]}
    for id_, (_, row) in zip(rows["id"].astype(str), rows.iterrows(), strict=True):
        note = {INCLUDED: True, **{column: _value(row[column], kinds[column]) for column in own}}
        notes.append({"analysis": id_, "study": study_of[id_], "note": note})
    annotation = {
        "id": f"{studyset['id']}-annotation",
        "name": f"{name}: columns of the experiments",
        "description": "",
        "metadata": None,
        "studyset": studyset["id"],
        "note_keys": {INCLUDED: "boolean", **kinds},
        "notes": notes,
    }
    return studyset, annotation


def _kind(column: pd.Series[Any]) -> str:
    return {"b": "boolean", "f": "number", "i": "number", "u": "number"}.get(column.to_numpy().dtype.kind, "string")


def _value(value: Any, kind: str) -> bool | float | str | None:
    if kind == "boolean":
        return bool(value)
    if kind == "number":
        return None if pd.isna(value) else float(value)
    return str(value) or None


def description(result: xr.Dataset) -> str:
    """Return in words what was computed, and in what that differs from the estimator of the specification."""
    i, told = model_of(result).inference, result.attrs
    mark = f"{SIMULATED} " if is_simulated(result) else ""
    null = {"uniform": "spread evenly over the mask", "base-rate": "drawn from where the literature reports them"}
    against = null.get(i.null, "spread evenly over the mask and, in a second test, as the literature reports them")
    return (
        f"{mark}Activation likelihood estimation of {told['n_experiments']} experiments with {told['n_foci']} foci by "
        f"ale_dask {__version__}, mask '{told['mask']}'. Cluster-forming p < {i.voxel_p:g}, corrected by "
        f"{i.correction} at p < {i.cluster_p:g} with {told['iterations']:,} iterations of foci {against}. Maps and "
        "tables are those of ale_dask: foci are not rounded to voxels and the null is exact, so that NiMARE's ALE, "
        "which the specification names, gives slightly other values."
    )
