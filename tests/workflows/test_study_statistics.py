"""Statistics that a study asks for: computed with the run, the same as by the command, resumed, shown and kept."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from support.commands import ale as command
from support.studies import write_tiny

import ale_dask as ale
from ale_dask.config.study import load_study
from ale_dask.errors import InputError
from ale_dask.workflows.prepare import prepare
from ale_dask.workflows.run_directory import create_run

STATISTICS = """
[[statistic]]
of = "drug"
name = "networks"
image = "halves.nii.gz"
[[statistic]]
of = "drug"
name = "dice"
image = "therapy"
null = "uniform"
[[statistic]]
of = "therapy"
name = "laterality"
tail = "upper"
"""


KILLED = """
import os, signal, sys
import ale_dask as ale
seen = []
def step(done):
    seen.append("_null-" in done.name)
    if sum(seen) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
ale.run(ale.load_study(sys.argv[1]), sys.argv[2], quiet=True, on_step=step)
"""
"""A run that ends itself, as SIGKILL ends it, amid the blocks of its statistics."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a study of both nulls that asks for three statistics, and its finished run "out"."""
    folder = write_tiny(tmp_path_factory.mktemp("statistics") / "tiny")
    ball = nib.load(folder / "ball.nii.gz")
    halves = 1 + (np.indices(ball.shape)[0] > (ball.shape[0] - 1) / 2)
    nib.save(nib.Nifti1Image(halves.astype(np.int16), ball.affine), folder / "halves.nii.gz")
    (folder / "halves.txt").write_text("left\nright\n")
    text = (folder / "study.toml").read_text().replace('null = "uniform"', 'null = "both"')
    backend = '\n[backend]\nname = "serial"\nblock_size = 7\n'
    (folder / "plain.toml").write_text(text + backend)
    (folder / "study.toml").write_text(text + backend + STATISTICS)
    command("run", folder / "study.toml", "-o", folder / "out", "-q", "--no-pictures")
    (folder / "found.json").write_text(json.dumps(numbers(folder / "out")))
    return folder


def numbers(out: Path) -> dict[str, list[dict[str, object]]]:
    """Return the numbers of each statistic of whole maps in the files of a run."""
    return {path.stem: json.loads(path.read_text())["numbers"] for path in sorted(out.glob("*/*_null-*.json"))}


def test_a_run_gives_what_the_command_gives(folder: Path, tmp_path: Path) -> None:
    found = json.loads((folder / "found.json").read_text())
    assert set(found) == {"drug_null-networks-halves", "drug_null-dice-therapy", "therapy_null-laterality"}
    out = tmp_path / "plain"
    command("run", folder / "plain.toml", "-o", out, "-q", "--no-pictures")
    asked = ("null", out, "drug", "--statistic")
    command(*asked, "networks", "--image", folder / "halves.nii.gz", "-q")
    command(*asked, "dice", "--image", "therapy", "--null", "uniform", "-q", "-b", "processes", "-w", 2)
    command("null", out, "therapy", "--statistic", "laterality", "--tail", "upper", "-q")
    assert numbers(out) == found
    stored = [{p.name for p in (each / "plans").glob("*_null-*")} for each in (folder / "out", out)]
    assert stored[0] == stored[1]


def test_report_text_plan_and_status_know_them(folder: Path) -> None:
    out = folder / "out"
    page, text = (out / "report.html").read_text(), command("cite", out).stdout
    for words in ("Statistic “networks” of “halves”", "Statistic “dice” of “therapy”", "Statistic “laterality”"):
        assert f"{words} against the null" in page
    assert "the mean z of each network of “halves”" in text
    known = {s.analysis: (s.done, s.iterations) for s in ale.status(out)}
    for name in ("drug_null-networks-halves", "drug_base-rate_null-networks-halves", "therapy_null-laterality"):
        assert known[name] == (60, 60)
    assert sum("networks" in name for name in known) == 2
    planned = json.loads(command("plan", folder / "study.toml", "--json").stdout)["analyses"]
    names = [row["name"] for row in planned if "_null-" in row["name"]]
    assert names == [
        "drug_null-networks-halves",
        "drug_base-rate_null-networks-halves",
        "therapy_null-laterality",
        "therapy_base-rate_null-laterality",
        "drug_null-dice-therapy",
    ]
    assert ale.verify(out, blocks=3) == []
    # The run does not need the images any more, and a changed image is a changed study.
    shutil.move(folder / "halves.nii.gz", folder / "away.nii.gz")
    try:
        assert {s.analysis: (s.done, s.iterations) for s in ale.status(out)} == known
        command("extend", out, "-i", 70, "-q", "--no-pictures")
    finally:
        shutil.move(folder / "away.nii.gz", folder / "halves.nii.gz")
    assert {json.loads(p.read_text())["iterations"] for p in out.glob("*/*_null-*.json")} == {70}


@pytest.mark.slow
def test_a_killed_run_goes_on_amid_a_statistic(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder / "study.toml"), str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    done = {p: p.stat().st_mtime_ns for p in out.glob("store.zarr/*_null-*/null/0/c/*/0")}
    assert 3 <= len(done) < 12
    assert not (out / "run.json").exists()
    command("run", folder / "study.toml", "-o", out, "-q", "--no-pictures")
    assert all(p.stat().st_mtime_ns == changed for p, changed in done.items())
    assert numbers(out) == json.loads((folder / "found.json").read_text())


def test_shares_of_a_job_array_compute_its_blocks(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    create_run(prepare(load_study(folder / "study.toml")), out)
    for share in range(2):
        ale.run_share(out, index=share, shares=2)
    for name in ("drug_null-networks*", "drug_base-rate_null-networks*", "therapy_null-laterality*"):
        assert len(list(out.glob(f"store.zarr/{name}/null/0/c/*/0"))) == 9


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('of = "drog"\nname = "laterality"', r"statistic\[1\].of: no main effect named 'drog'; did you mean 'drug'"),
        ('of = "drug"\nname = "network"', "statistic"),
        ('of = "drug"\nname = "networks"', r"statistic\[1\]: statistic 'networks': needs an image"),
        ('of = "drug"\nname = "networks"\nimage = "therapy"', "is a main effect, which"),
        ('of = "drug"\nname = "dice"\nimage = "none.nii.gz"', "no such file"),
        ('of = "drug"\nname = "laterality"\nnull = "base-rate"', r"has the uniform null alone"),
        ('of = "drug"\nname = "laterality"\ntial = "upper"', r"unknown key.*did you mean 'tail'"),
        ('of = "drug"\nname = "laterality"\n[[statistic]]\nof = "drug"\nname = "laterality"', "is there twice"),
    ],
)
def test_what_cannot_be_asked_is_said_before_anything_runs(tiny: Path, table: str, said: str) -> None:
    path = tiny / "asks.toml"
    path.write_text(f"{(tiny / 'study.toml').read_text()}\n[[statistic]]\n{table}\n")
    with pytest.raises(InputError, match=said):
        prepare(load_study(path))
