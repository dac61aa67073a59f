"""A finished run as an RO-Crate, read back by the library of that format."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from rocrate.rocrate import ROCrate
from support.commands import ale
from support.runs import finished_run

from ale_dask.config.study import Study
from ale_dask.version import __version__

LICENCE = "https://creativecommons.org/licenses/by/4.0/"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"


@pytest.fixture
def out(tiny: Path, tiny_study: Study, tmp_path: Path) -> Path:
    finished_run(tiny_study, tmp_path / "out", folder=tiny, write=True)
    return tmp_path / "out"


def test_a_run_is_a_process_run_crate(out: Path) -> None:
    said = ale("export", out, "--to", "ro-crate", "--license", LICENCE).stdout
    crate = ROCrate(str(out))
    root: Any = crate.root_dataset
    # What RO-Crate requires of the root, and Process Run Crate besides.
    assert (crate.name, root["license"]) == ("tiny", LICENCE)
    assert str(root["description"]).startswith("SIMULATED DATA. ")
    assert root["conformsTo"].id == PROFILE
    (action,) = [entity for entity in crate.contextual_entities if entity.type == "CreateAction"]
    assert root["mentions"] in (action, [action])
    assert action["startTime"] <= action["endTime"] == root["datePublished"]
    tool = action["instrument"]
    assert (tool.type, tool["name"], tool["softwareVersion"]) == ("SoftwareApplication", "ale_dask", __version__)
    read, made = ({entity.id for entity in action[what]} for what in ("object", "result"))
    assert {"study.toml", "foci/drug/1_drug.txt", "foci/therapy/1_therapy.txt"} <= read
    assert {"run.json", "report.html", "logs/CITATION.md", "store.zarr/", "drug/drug_z.nii.gz"} <= made
    described = {entity.id: entity for entity in crate.data_entities}
    assert said == f"{out}/ro-crate-metadata.json: describes {len(described)} files and folders\n"
    assert read | made == set(described)
    for name, entity in described.items():
        assert (out / name).exists()
        if not name.endswith("/"):
            assert entity["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    whole = ("store.zarr/", "plans/", "logs/events-", "ro-crate-metadata.json")
    assert {name for name in there if not name.startswith(whole)} == {n for n in described if not n.endswith("/")}


def test_the_same_run_gives_the_same_crate_and_still_verifies(out: Path) -> None:
    ale("export", out, "--to", "ro-crate")
    first = (out / "ro-crate-metadata.json").read_bytes()
    said = json.loads(ale("export", out, "--to", "ro-crate", "--json").stdout)
    assert (said["folder"], said["files"]) == (str(out), ["ro-crate-metadata.json"])
    assert "run.json" in said["describes"]
    assert (out / "ro-crate-metadata.json").read_bytes() == first
    assert "No licence is stated" in first.decode()
    assert str(out.parent).encode() not in first
    ale("verify", out, "--blocks", 1)


def test_what_cannot_be_asked_of_a_crate_is_said(out: Path, tmp_path: Path) -> None:
    ale("export", out, "--to", "ro-crate", "-o", tmp_path / "elsewhere", code=2)
    ale("export", out, "--to", "csv", "--license", LICENCE, code=2)
    said = ale("export", out, "--to", "zip", code=65)
    assert "ro-crate" in said.stderr
    (out / "run.json").unlink()
    ale("export", out, "--to", "ro-crate", code=74)
    assert json.loads((out / "plans" / "results.json").read_text())
    assert not (out / "ro-crate-metadata.json").exists()
