"""The same command given again: shown from what is kept only while nothing that the answer follows from has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.commands import ale

from ale_dask.config.study import load_study
from ale_dask.workflows.unchanged import keep_answer, kept_answer, request_hash

SHOWN = "nothing has changed since this run was written"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Return a folder with a study and its run in out/, and what the run printed, as lines and as JSON."""
    from support.studies import write_tiny

    folder = write_tiny(tmp_path_factory.mktemp("unchanged") / "tiny")
    text = (folder / "study.toml").read_text()
    (folder / "study.toml").write_text(text.replace("iterations = 60", "iterations = 20"))
    lines = run(folder).stdout
    return folder, lines, run(folder, "--json").stdout


def run(folder: Path, *options: str):
    return ale("run", folder / "study.toml", "-o", folder / "out", "--no-pictures", *options)


@pytest.fixture
def copy(finished: tuple[Path, str, str], tmp_path: Path) -> Path:
    """Return a copy of the folder, with the times of its files, at another place."""
    return Path(shutil.copytree(finished[0], tmp_path / "tiny"))


def test_the_same_lines_and_values_are_printed(finished: tuple[Path, str, str]) -> None:
    folder, lines, values = finished
    again = run(folder)
    assert SHOWN in again.stderr
    assert again.stdout == lines
    assert "drug: 8 experiments" in again.stderr
    assert json.loads(run(folder, "--json").stdout) == json.loads(values)
    assert SHOWN not in run(folder, "--quiet").stderr


def test_a_run_is_told_anew_in_full_on_request(copy: Path) -> None:
    assert SHOWN in run(copy).stderr
    assert SHOWN not in run(copy, "--verbose").stderr


def edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new))

    return change


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda folder: next(folder.glob(pattern)).unlink()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (remove("out/drug/*_z.nii.gz"), 0),
        (remove("out/report.html"), 0),
        (remove("out/store.zarr/drug/null/*/c/*/0"), 0),
        (edit("out/study_results.tsv", "drug", "drag"), 0),
        (edit("out/plans/answer.json", "drug", "drag"), 0),
        (edit("study.toml", "voxel_p = 0.01", "voxel_p = 0.02"), 74),
        (edit("drug.txt", "Subjects=1", "Subjects=2"), 74),
    ],
    ids=["map", "page", "block", "table", "answer", "setting", "foci"],
)
def test_a_change_is_met_by_the_run_itself(copy: Path, change: Callable[[Path], None], code: int) -> None:
    assert SHOWN in run(copy).stderr
    change(copy)
    done = ale("run", copy / "study.toml", "-o", copy / "out", "--no-pictures", code=code)
    assert SHOWN not in done.stderr
    if code == 0:
        assert "drag" not in (copy / "out" / "study_results.tsv").read_text()
        assert SHOWN in run(copy).stderr


def test_a_file_that_changes_while_the_run_computes_is_not_taken_for_what_it_read(copy: Path) -> None:
    study, out = load_study(copy / "study.toml"), copy / "out"
    before = request_hash(study, pictures=False)
    answer = kept_answer(before, out)
    assert answer is not None
    edit("drug.txt", "Subjects=1", "Subjects=2")(copy)
    keep_answer(answer, before, out)
    assert kept_answer(request_hash(study, pictures=False), out) is None
    edit("drug.txt", "Subjects=2", "Subjects=1")(copy)
    (copy / "therapy.txt").unlink()
    assert request_hash(study, pictures=False) == ""
    assert kept_answer("", out) is None


def test_pictures_asked_for_later_are_drawn(copy: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("nilearn")
    assert not list(copy.glob("out/*/*.png"))
    ale("run", copy / "study.toml", "-o", copy / "out")
    assert list(copy.glob("out/*/*.png"))
