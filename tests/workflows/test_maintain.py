"""Extend, verify, share and status of a run, from Python and from the command line."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.commands import ALE, ale
from support.runs import digests, digests_of, with_backend, with_inference

from ale_dask.config.study import Study
from ale_dask.errors import InputError, StoreError
from ale_dask.execution.block_store import cover
from ale_dask.storage.zarr_store import open_store
from ale_dask.workflows import maintain, run, run_directory


@pytest.fixture
def small(tiny_study: Study) -> Study:
    """Return the tiny study in the plain loop with blocks of ten."""
    return with_backend(tiny_study, name="serial", block_size=10)


def test_extending_repeats_nothing_and_gives_the_longer_run(small: Study, tmp_path: Path) -> None:
    direct = digests(with_inference(small, iterations=100), tmp_path / "direct")
    digests(small, tmp_path / "o")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "o/store.zarr").glob("*/null/*/c/*/0")}
    _, record = maintain.extend(tmp_path / "o", iterations=100, quiet=True)
    assert digests_of(record) == direct
    assert before == {p: p.stat().st_mtime_ns for p in before}
    with pytest.raises(InputError, match="has 100 iterations already, and 80 are the number in all"):
        maintain.extend(tmp_path / "o", iterations=80, quiet=True)


def test_results_of_fewer_iterations_than_there_are_say_so(
    small: Study, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for iterations in (20, 20, 10):
        run_directory.create_run(run_directory.prepare(with_inference(small, iterations=iterations)), tmp_path)
    assert [r.message for r in caplog.records if "iterations" in r.message] == [
        f"{tmp_path}: holds 20 iterations, and these results are those of the first 10; "
        "-i 20 shows the results of all of them again"
    ]


def test_shares_without_a_scheduler_are_the_run(small: Study, tmp_path: Path) -> None:
    expected = digests(small, tmp_path / "direct")
    out = tmp_path / "o"
    prepared = run_directory.prepare(small)
    made = run_directory.create_run(prepared, out)
    jobs = run_directory.jobs_of(prepared, out, made, workers=1)
    number = sum(job.segment.n_blocks for job in jobs)
    computed = [maintain.run_share(out, index=k, shares=3) for k in (2, 0)]
    assert maintain.run_share(out, index=1) == 1
    assert maintain.run_share(out, index=1) == 0
    computed.append(maintain.run_share(out, index=1, shares=3))
    assert sum(computed) == number - 1
    assert digests(small, out) == expected


def test_a_share_that_does_not_exist_is_refused(small: Study, tmp_path: Path) -> None:
    digests(small, tmp_path)
    with pytest.raises(InputError, match="shares 0 to 2"):
        maintain.run_share(tmp_path, index=3, shares=3)
    with pytest.raises(InputError, match="blocks 0 to"):
        maintain.run_share(tmp_path, index=10_000)


def test_a_longer_run_that_somebody_has_only_planned_does_not_disturb(small: Study, tmp_path: Path) -> None:
    expected = digests(small, tmp_path)
    _, plans = run_directory.stored_run(tmp_path)
    for plan in plans.values():
        assert len(cover(tmp_path, plan, iterations=1000, block_size=10)) == 2
    assert digests_of(run.collect(tmp_path)[2]) == expected


def test_verify_finds_values_that_are_whole_but_wrong(small: Study, tmp_path: Path) -> None:
    digests(small, tmp_path)
    assert maintain.verify(tmp_path, blocks=1000) == []
    array = open_store(tmp_path)["drug/null/0"]
    rows = np.asarray(array[20:30])
    rows[4, 2] += 1
    array[20:30] = rows
    assert maintain.verify(tmp_path, blocks=1000) == ["drug: iterations 20 to 29 differ from the stored ones"]
    assert "iterations 20 to 29" in ale("verify", tmp_path, "--blocks", 1000, code=74).stderr


def test_verify_before_anything_is_done(small: Study, tmp_path: Path) -> None:
    run_directory.create_run(run_directory.prepare(small), tmp_path)
    with pytest.raises(StoreError, match="no block is done"):
        maintain.verify(tmp_path)


def test_plan_block_run_extend_verify_from_the_command_line(tiny: Path) -> None:
    out = tiny / "out"
    assert "blocks planned" in ale("plan", tiny / "study.toml", "-o", out).stderr
    environment = {**os.environ, "SLURM_ARRAY_TASK_MIN": "4", "SLURM_ARRAY_TASK_COUNT": "2"}
    for task in ("4", "5"):
        done = subprocess.run(
            [*ALE, "block", str(out), "--array"],
            env={**environment, "SLURM_ARRAY_TASK_ID": task},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "blocks computed" in done.stdout
    rows = json.loads(ale("status", out, "--json").stdout)
    assert all(r["done"] == r["iterations"] == 60 for r in rows)
    ale("collect", out, "--no-pictures", "-q")
    ale("extend", out, "-i", 80, "-b", "serial", "--no-pictures", "-q")
    assert all(r["done"] == 80 for r in json.loads(ale("status", out, "--json").stdout))
    assert "has 80 iterations already" in ale("extend", out, "-i", 20, code=65).stderr
    assert "have the stored bits" in ale("verify", out, "--blocks", 3).stdout
    assert "not inside a Slurm job array" in ale("block", out, "--array", code=65).stderr
    assert "give INDEX" in ale("block", out, code=65).stderr


def test_upkeep_of_nothing_exits_74(tmp_path: Path) -> None:
    for command in (["extend", tmp_path, "-i", 5], ["verify", tmp_path], ["block", tmp_path, 0]):
        assert "holds no run" in ale(*command, code=74).stderr
