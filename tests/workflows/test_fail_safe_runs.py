"""Fail-safe N of a finished run: its files, and the same numbers from the command line, Python and after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.commands import ALE
from support.commands import ale as command
from support.slurm import wait_until
from support.studies import experiments, write_ball, write_sample

import ale_dask as ale
from ale_dask.analyses.sensitivity.noise_null import block
from ale_dask.config.study import load_study
from ale_dask.errors import StoreError
from ale_dask.reporting.sensitivity.fail_safe import as_records, clusters_in
from ale_dask.workflows import fail_safe

STUDY = """
title = "tiny"
simulated = true
[foci.one]
files = "one.txt"
[foci.two]
files = "two.txt"
[inference]
mask = "ball.nii.gz"
iterations = 60
voxel_p = 0.02
seed = 3
null = "uniform"
[backend]
name = "serial"
block_size = 1
[analysis.one]
kind = "main-effect"
foci = "one"
[analysis.two]
kind = "main-effect"
foci = "two"
[analysis.one-vs-two]
kind = "contrast"
arms = ["one", "two"]
[analysis.both]
kind = "conjunction"
of = ["one", "two"]
"""
OPTIONS = ("--max", 6, "--series", 3, "-i", 40)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the OUT of a study whose two samples converge in one place."""
    folder = tmp_path_factory.mktemp("fail-safe")
    write_ball(folder / "ball.nii.gz")
    for seed, name in ((1, "one"), (2, "two")):
        write_sample(folder / f"{name}.txt", experiments(seed, number=6, planted=(12, 4, 0), prefix=name))
    (folder / "study.toml").write_text(STUDY)
    ale.run(load_study(folder / "study.toml"), folder / "out", quiet=True)
    return folder / "out"


@pytest.fixture(scope="module")
def told(out: Path) -> list[dict]:
    """Return the JSON that the command prints."""
    return json.loads(command("fail-safe", out, *OPTIONS, "--json", "-q").stdout)["clusters"]


def test_table_figure_and_json_lie_beside_the_results(out: Path, told: list[dict]) -> None:
    assert {r["analysis"] for r in told} == {"one", "two", "both"}
    assert [r["noise_in"] for r in told if r["analysis"] == "both"][::1] == ["one", "two", "all"]
    for name in ("one", "two", "both"):
        rows = (out / name / f"{name}_fail-safe.tsv").read_text().splitlines()
        mine = [r for r in told if r["analysis"] == name]
        assert len(rows) == 1 + len(mine)
        content = json.loads((out / name / f"{name}_fail-safe.json").read_text())
        assert content["clusters"] == mine
        assert len(content["survives"][mine[0]["noise_in"]][0]) == mine[0]["added_at_most"] + 1
        svg = (out / name / f"{name}_fail-safe.svg").read_text()
        assert "SIMULATED" in svg
        assert "30 % of the experiments" in svg
    assert not (out / "one-vs-two" / "one-vs-two_fail-safe.tsv").exists()


def test_python_says_the_same(out: Path, told: list[dict]) -> None:
    _, results, _ = ale.collect(out)
    arms = [results["one"], results["two"]]
    for result, of in ((results["one"], ()), (results["both"], arms)):
        found = ale.fail_safe(result, of=of, most=6, series=3, iterations=40)
        assert as_records(result, found) == [r for r in told if r["analysis"] == result.attrs["name"]]
        labels = found["cluster_of_voxel"].values
        for cluster in clusters_in(result):
            assert (labels[cluster.voxels] == cluster.number).all()
        assert len(clusters_in(result)) == found.sizes["cluster"] == labels.max() > 0


def test_the_run_from_python_too(out: Path, told: list[dict]) -> None:
    found = ale.fail_safe_of_run(out, analysis="both", most=6, series=3, iterations=40, quiet=True)
    _, results, _ = ale.collect(out)
    table = ale.fail_safe_table(results["both"], found["both"])
    assert table["noise_in"].tolist() == ["one", "two", "all"]
    assert as_records(results["both"], found["both"]) == [r for r in told if r["analysis"] == "both"]


def test_any_blocks_and_backend_give_the_same_bits_and_a_longer_run_goes_on(out: Path, told: list[dict]) -> None:
    planned = fail_safe.plan_fail_safe(out, most=5, series=2, iterations=40)
    wanted = {name: block(e.plan, 0, 50)["null"] for name, e in planned.uniform.items()}
    backend = planned.study.backend.model_copy(update={"name": "threads", "workers": 2, "block_size": 7})
    first = fail_safe.compute_nulls(planned, backend=backend, quiet=True)
    longer = fail_safe.plan_fail_safe(out, most=5, series=2, iterations=50)
    before = {p: p.stat().st_mtime_ns for p in out.glob("store.zarr/*5x2/null/0/c/*/0")}
    more = fail_safe.compute_nulls(longer, backend=backend, quiet=True)
    assert len(before) == 12
    assert before == {p: p.stat().st_mtime_ns for p in before}
    for name, rows in wanted.items():
        np.testing.assert_array_equal(first[name], rows[:40])
        np.testing.assert_array_equal(more[name], rows)


def test_a_killed_command_goes_on_where_it_was(out: Path, told: list[dict]) -> None:
    call = ("fail-safe", out, "one", "--max", 7, "--series", 3, "-i", 500, "-q", "--json", "--no-pictures")
    process = subprocess.Popen([*ALE, *map(str, call)], start_new_session=True, stdout=subprocess.PIPE)
    pattern = "store.zarr/one_fail-safe-7x3/null/0/c/*/0"
    wait_until(lambda: len(list(out.glob(pattern))) > 10, seconds=1200, what="a command amid its blocks")
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = {p: p.stat().st_mtime_ns for p in out.glob(pattern)}
    assert 10 < len(done) < 500
    rows = json.loads(command(*call).stdout)["clusters"]
    assert all(p.stat().st_mtime_ns == changed for p, changed in done.items())
    _, results, _ = ale.collect(out)
    found = ale.fail_safe(results["one"], most=7, series=3, iterations=500)
    assert rows == as_records(results["one"], found)


def test_costs_are_told_before(out: Path) -> None:
    planned = fail_safe.plan_fail_safe(out, analysis="both", most=8, iterations=1000)
    lines = planned.lines(workers=2)
    assert lines[0].startswith("one: up to 8 noise experiments beside 6, 20 series, 1,000 iterations of ")
    assert lines[1].startswith("two: ")
    assert not list(out.glob("store.zarr/*-8x20/null"))


def test_a_contrast_and_a_folder_without_a_run_are_refused(out: Path, tmp_path: Path) -> None:
    assert "no main effect or conjunction" in command("fail-safe", out, "one-vs-two", code=65).stderr
    with pytest.raises(StoreError, match="holds no run"):
        fail_safe.plan_fail_safe(tmp_path)
