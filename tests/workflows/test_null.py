"""A statistic of a whole map in the folder of a run: the same numbers on any backend and after a kill; its files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.commands import ALE
from support.commands import ale as command
from support.runs import finished_run, with_backend, with_inference
from support.slurm import wait_until
from support.studies import write_tiny

import ale_dask as ale
from ale_dask.config.backend import Backend
from ale_dask.config.study import load_study
from ale_dask.errors import InputError
from ale_dask.execution.plan import digest

OWN = """
import numpy as np

def front(maps, beyond=0):
    return float(maps["z"].values[maps["xyz"].values[:, 1] > beyond].mean())

def slow(maps):
    import time
    time.sleep(0.02)
    return [float(maps["z"].values.max()), int(maps["s"].values.max())]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the finished run "out" of both nulls, an image of two halves, and own.py."""
    folder = write_tiny(tmp_path_factory.mktemp("null") / "tiny")
    study = with_backend(with_inference(load_study(folder / "study.toml"), null="both"), name="serial", block_size=7)
    finished_run(study, folder / "out", folder=folder, write=True)
    ball = nib.load(folder / "ball.nii.gz")
    halves = 1 + (np.indices(ball.shape)[0] > (ball.shape[0] - 1) / 2)
    nib.save(nib.Nifti1Image(halves.astype(np.int16), ball.affine), folder / "halves.nii.gz")
    (folder / "halves.txt").write_text("left\nright\n")
    (folder / "own.py").write_text(OWN)
    return folder


def test_same_numbers_serial_on_threads_processes_and_in_memory(folder: Path) -> None:
    out, own = folder / "out", f"{folder / 'own.py'}:front"
    asked = {"analysis": "drug", "arguments": {"beyond": 4}, "iterations": 20, "quiet": True}
    found = {}
    for name in ("serial", "threads", "processes"):
        copy = folder / f"out-{name}"
        subprocess.run(["cp", "-r", out, copy], check=True)
        backend = Backend(name=name, workers=2, block_size=3)
        found[name] = ale.null(str(copy), own, **asked, backend=backend)
    _, results, _ = ale.collect(out)
    found["memory"] = ale.null(results["drug"], own, arguments={"beyond": 4}, iterations=20)
    assert found["serial"]["null"].shape == (2, 20, 1)
    assert len({digest(np.ascontiguousarray(f["null"].values).view(np.int64)) for f in found.values()}) == 1


def test_a_killed_command_goes_on_where_it_was(folder: Path) -> None:
    out = folder / "out"
    call = ("null", out, "drug", "--statistic", f"{folder / 'own.py'}:slow", "-i", 150, "--null", "uniform", "--json")
    process = subprocess.Popen([*ALE, *map(str, call), "-q"], start_new_session=True, stdout=subprocess.PIPE)
    pattern = "store.zarr/drug_null-slow-*/null/0/c/*/0"
    wait_until(lambda: len(list(out.glob(pattern))) > 3, seconds=240, what="a command amid its blocks")
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = {p: p.stat().st_mtime_ns for p in out.glob(pattern)}
    assert 3 < len(done) < 22
    halfway = [s for s in ale.status(out) if s.analysis.startswith("drug_null-slow")]
    assert [(s.done, s.iterations) for s in halfway] == [(7 * len(done), 150)]
    rows = json.loads(command(*call, "-q").stdout)["numbers"]
    assert all(p.stat().st_mtime_ns == changed for p, changed in done.items())
    _, results, _ = ale.collect(out)
    whole = ale.null(results["drug"], f"{folder / 'own.py'}:slow", iterations=150, null="uniform")
    assert rows == json.loads(ale.tables(whole)["null"].to_json(orient="records"))
    assert [row["Of"] for row in rows] == ["slow 1", "slow 2"]


def test_shares_of_a_queue_compute_all_blocks(folder: Path) -> None:
    call = ("null", folder / "out", "therapy", "--statistic", "laterality", "--null", "both", "-q")
    said = [command(*call, "--share", k, "--of", 3).stdout for k in range(3)]
    # 60 iterations of two nulls in blocks of 7.
    assert sorted(said) == ["6 blocks computed\n"] * 3
    done = {p: p.stat().st_mtime_ns for p in folder.glob("out/store.zarr/*null-laterality*/null/0/c/*/0")}
    assert len(done) == 18
    rows = json.loads(command(*call, "--json").stdout)["numbers"]
    assert {p: p.stat().st_mtime_ns for p in done} == done
    assert [(r["Against"], r["Measure"]) for r in rows[:2]] == [
        ("uniform", "difference of z"),
        ("uniform", "index of mass"),
    ]
    assert "share 3: there are shares 0 to 2" in command(*call, "--share", 3, "--of", 3, code=65).stderr


def test_another_function_argument_or_image_is_another_plan(folder: Path) -> None:
    out, own = str(folder / "out"), folder / "again.py"
    asked = {"analysis": "drug", "iterations": 3, "null": "uniform", "quiet": True}

    def plans() -> set[str]:
        return {p.name for p in (folder / "out" / "plans").glob("drug_null-*")}

    before = plans()
    own.write_text("def g(maps, k=1):\n    return int(maps['s'].values.max()) + k\n")
    first = ale.null(out, f"{own}:g", **asked)
    ale.null(out, f"{own}:g", **asked)
    assert len(plans() - before) == 1
    ale.null(out, f"{own}:g", arguments={"k": 2}, **asked)
    assert len(plans() - before) == 2
    own.write_text("def g(maps, k=1):\n    return int(maps['s'].values.max()) + 10 * k\n")
    third = ale.null(out, f"{own}:g", **asked)
    assert len(plans() - before) == 3
    np.testing.assert_array_equal(third["null"], first["null"] + 9)
    ale.null(out, "regions", image=folder / "halves.nii.gz", **asked)
    image = nib.load(folder / "halves.nii.gz")
    nib.save(nib.Nifti1Image(3 - np.asarray(image.dataobj), image.affine), folder / "swapped.nii.gz")
    ale.null(out, "regions", image=folder / "swapped.nii.gz", **asked)
    assert len(plans() - before) == 5


def test_a_function_with_values_from_around_it_is_refused(folder: Path) -> None:
    threshold = 3.0

    def beyond(maps):
        return float(maps["z"].max() > threshold)

    with pytest.raises(InputError, match="give them as arguments"):
        ale.null(str(folder / "out"), beyond, analysis="drug")


def test_report_methods_tables_and_status_know_it(folder: Path) -> None:
    out, image = folder / "out", folder / "halves.nii.gz"
    before = command("cite", out).stdout
    command("null", out, "drug", "--statistic", "networks", "--image", image, "--null", "both", "-q")
    command("null", out, "drug", "--statistic", "dice", "--image", "therapy", "-q")
    for end in ("tsv", "json", "svg"):
        assert (out / "drug" / f"drug_null-networks-halves.{end}").is_file()
        assert (out / "drug" / f"drug_null-dice-therapy.{end}").is_file()
    about = json.loads((out / "drug" / "drug_null-networks-halves.json").read_text())
    assert about["iterations"] == 60
    assert len(about["numbers"]) == 8
    header, *rows = (out / "drug" / "drug_null-networks-halves.tsv").read_text().splitlines()
    assert header.split("\t")[:5] == ["Against", "Measure", "Of", "Observed", "p"]
    assert {tuple(row.split("\t")[:3]) for row in rows} >= {("base-rate", "share of mass", "left")}
    after = command("cite", out).stdout
    assert "the mean z of each network of “halves”" in after
    assert "the mean z of each network" not in before
    assert "60 maps of foci drawn uniformly from the mask and foci drawn from the base rate" in after
    assert "statistics of the whole map" in command("cite", out, "--short").stdout
    command("collect", out, "--no-pictures", "-q")
    page = (out / "report.html").read_text()
    assert "Statistic “networks” of “halves” against the null" in page
    assert (out / "drug" / "drug_null-networks-halves.svg").is_file()
    assert any(s.analysis.startswith("drug_null-networks-halves") for s in ale.status(out))
    # A run is complete without it, and what is stored of it does not hinder the run.
    assert ale.verify(out, blocks=1) == []


def test_what_cannot_be_asked_of_a_run_is_said(folder: Path, tmp_path: Path) -> None:
    out = folder / "out"
    assert "name a main effect" in command("null", out, "--statistic", "laterality", code=65).stderr
    assert "did you mean 'drug'" in command("null", out, "drog", "--statistic", "laterality", code=65).stderr
    assert "needs an image" in command("null", out, "drug", code=65).stderr
    assert "belong together" in command("null", out, "drug", "--share", 1, code=2).stderr
    assert "not NAME=VALUE" in command("null", out, "drug", "--argument", "k", code=2).stderr
    bad = tmp_path / "bad.py"
    bad.write_text("def f(maps):\n    return 1 / (maps.attrs['iteration'] - 5)\n")
    done = command("null", out, "drug", "--statistic", f"{bad}:f", "--null", "uniform", "-q", code=65)
    assert "iteration 5 of the uniform null: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
