"""The export to Neurosynth Compose: the fields of its published interface, and what it says is what was computed.

Names and types of fields are facts of neurostuff/neurostore-spec: neurosynth-compose-openapi.yml (schemas
specification, estimator, corrector, meta-analysis, studyset, annotation, result) and reference/nimads.yml (studyset,
study, analysis, point, annotation, noteCollection).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from support.samples import MASK, sample

import ale_dask
from ale_dask.analyses.api_main_effect import main_effect
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.coordinates.readers import read_foci
from ale_dask.errors import InputError
from ale_dask.reporting.export.files import export

NONE = type(None)
TEXT = (str, NONE)
Fields = dict[str, Any]
"""For each field its types, or the fields of an object, or for a list those of its items in brackets."""
ESTIMATOR: Fields = {"type": str, "args": dict}
SPECIFICATION: Fields = {
    "type": str,
    "estimator": ESTIMATOR,
    "corrector": {"type": str, "args": dict},
    "mask": TEXT,
    "contrast": TEXT,
    "transformer": TEXT,
    "filter": TEXT,
    "conditions": [(bool, str)],
    "weights": [float],
}
POINT: Fields = {"coordinates": [(int, float)], "space": TEXT, "kind": TEXT}
ANALYSIS: Fields = {"id": str, "name": TEXT, "weights": list, "conditions": list, "images": list, "points": [POINT]}
STUDY: Fields = {
    "id": str,
    "name": TEXT,
    "authors": TEXT,
    "publication": TEXT,
    "metadata": dict,
    "analyses": [ANALYSIS],
}
STUDYSET: Fields = {"id": str, "name": TEXT, "description": TEXT, "publication": TEXT, "studies": [STUDY]}
NOTE: Fields = {"analysis": str, "study": str, "note": dict}
ANNOTATION: Fields = {
    "id": str,
    "name": TEXT,
    "description": TEXT,
    "metadata": (dict, NONE),
    "note_keys": dict,
    "notes": [NOTE],
    "studyset": str,
}
META_ANALYSIS: Fields = {
    "name": TEXT,
    "description": TEXT,
    "specification": SPECIFICATION,
    "studyset": {"snapshot": STUDYSET},
    "annotation": {"snapshot": ANNOTATION},
    "provenance": (dict, NONE),
}
RESULT: Fields = {
    "studyset_snapshot": STUDYSET,
    "annotation_snapshot": ANNOTATION,
    "specification_snapshot": SPECIFICATION,
    "estimator": ESTIMATOR,
    "cli_version": TEXT,
    "cli_args": dict,
}
TYPES = {"boolean": bool, "number": (int, float), "string": str}


def check(value: Any, fields: Any, *, at: str) -> None:
    """Check that a document has the fields of a schema, each of its types."""
    if isinstance(fields, dict):
        assert isinstance(value, dict), at
        for name, wanted in fields.items():
            assert name in value, f"{at}.{name} is missing"
            check(value[name], wanted, at=f"{at}.{name}")
    elif isinstance(fields, list):
        assert isinstance(value, list), at
        for i, item in enumerate(value):
            check(item, fields[0], at=f"{at}[{i}]")
    else:
        assert isinstance(value, fields), f"{at}: {value!r}"


@pytest.fixture(scope="module")
def result() -> xr.Dataset:
    """Return a main effect of eight experiments with a tag, numbers and words."""
    rng = np.random.default_rng(1)
    made = [
        Experiment(
            f"S{i} 2001; faces",
            12 + i,
            tuple(map(tuple, rng.normal((-18, -18, 2), 4, (3, 3)).tolist())),
            "MNI",
            "f",
            {"patients": "yes" if i % 2 else "no", "age": "" if i == 3 else str(30.5 + i), "drug": "SSRI"},
        )
        for i in range(8)
    ]
    return main_effect(build(made), name="drug", mask=MASK, iterations=50, voxel_p=0.01, seed=2, null="uniform")


def test_every_document_has_the_fields_of_the_published_interface(result: xr.Dataset, tmp_path: Path) -> None:
    paths = export(result, tmp_path, to="compose", simulated=True)
    assert all(path.is_file() for path in paths)
    documents = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "drug").glob("*.json")}
    schemas = {
        "specification": SPECIFICATION,
        "studyset": STUDYSET,
        "annotation": ANNOTATION,
        "meta-analysis": META_ANALYSIS,
        "result": RESULT,
    }
    assert set(documents) == set(schemas)
    for name, fields in schemas.items():
        check(documents[name], fields, at=name)
    assert documents["result"]["studyset_snapshot"] == documents["studyset"]
    assert "SIMULATED" in documents["studyset"]["description"]


def test_the_annotation_selects_all_analyses_and_keeps_types(result: xr.Dataset, tmp_path: Path) -> None:
    export(result, tmp_path, to="compose")
    annotation = json.loads((tmp_path / "drug" / "annotation.json").read_text())
    studyset = json.loads((tmp_path / "drug" / "studyset.json").read_text())
    ids = {(a["id"], s["id"]) for s in studyset["studies"] for a in s["analyses"]}
    assert {(note["analysis"], note["study"]) for note in annotation["notes"]} == ids
    assert len(ids) == 8
    keys = annotation["note_keys"]
    assert keys == {"included": "boolean", "patients": "boolean", "age": "number", "drug": "string"}
    for note in annotation["notes"]:
        assert set(note["note"]) == set(keys)
        assert note["note"]["included"] is True
        for key, value in note["note"].items():
            assert value is None or isinstance(value, TYPES[keys[key]])
    assert sum(note["note"]["age"] is None for note in annotation["notes"]) == 1
    specification = json.loads((tmp_path / "drug" / "specification.json").read_text())
    assert keys[specification["filter"]] == "boolean"
    assert specification["conditions"] == [True]


def test_specification_maps_and_tables_are_of_what_was_computed(result: xr.Dataset, tmp_path: Path) -> None:
    export(result, tmp_path, to="compose")
    folder = tmp_path / "drug"
    specification = json.loads((folder / "specification.json").read_text())
    assert specification["estimator"]["type"] == "ALE"
    assert specification["corrector"]["args"] == {
        "method": "montecarlo",
        "n_iters": 50,
        "voxel_thresh": 0.01,
        "vfwe_only": False,
    }
    maps = {path.name for path in (folder / "statistical_maps").iterdir()}
    assert {"stat.nii.gz", "z.nii.gz", "z_desc-size_level-cluster_corr-FWE_method-montecarlo.nii.gz"} <= maps
    assert not any(name.startswith("label") for name in maps)
    ale = np.asarray(nib.load(folder / "statistical_maps" / "stat.nii.gz").dataobj)[MASK.volume]
    np.testing.assert_allclose(ale, result["ale"])
    (clusters,) = (folder / "cluster_tables").iterdir()
    assert clusters.name == "z_desc-size_level-cluster_corr-FWE_method-montecarlo_tab-clust.tsv"
    rows = clusters.read_text().splitlines()
    assert len(rows) - 1 == len(ale_dask.cluster_table(result)) > 0
    assert "50 iterations" in (folder / "method_description.txt").read_text()


def test_the_snapshots_are_read_back_as_the_same_experiments(result: xr.Dataset, tmp_path: Path) -> None:
    export(result, tmp_path, to="compose")
    parts = {what: json.loads((tmp_path / "drug" / f"{what}.json").read_text()) for what in ("studyset", "annotation")}
    (tmp_path / "both.json").write_text(json.dumps(parts))
    found = read_foci(tmp_path / "both.json")
    assert sorted(found["experiment_n_subjects"].values) == sorted(result["experiment_n_subjects"].values)
    np.testing.assert_allclose(
        np.sort(found["focus_xyz"].values, axis=None), np.sort(result["focus_xyz"].values, axis=None)
    )


def test_without_a_main_effect_nothing_is_written(result: xr.Dataset, tmp_path: Path) -> None:
    other = main_effect(sample("few", [], experiments=4), name="few", mask=MASK, iterations=50, null="uniform", seed=1)
    both = ale_dask.conjunction([result, other])
    with pytest.raises(InputError, match="writes main effects, of which there is none"):
        export(both, tmp_path, to="compose")
    assert not list(tmp_path.iterdir())
