"""Every analysis gives the same bits in one process, in two, and after a kill.

One study of two seeds (MACM) has them all: main effects, contrast, moderator, subsamples and a balanced contrast. What
is computed after a run is compared file by file. Kills in main effects and contrasts are in test_determinism.py, in a
look in tests/workflows/test_update.py, and in a statistic of a whole map in tests/workflows/test_null.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
from support.commands import ale as command
from support.faults import amid_blocks, ended, local_workers, start
from support.runs import digests_of, with_backend
from support.slurm import wait_until
from support.studies import experiments, write_ball, write_sample

import ale_dask as ale
from ale_dask.config.study import load_study

SETTINGS = """[inference]
mask = "ball.nii.gz"
iterations = 60
voxel_p = 0.03
null = "uniform"
shared = "exclude"
[backend]
name = "serial"
block_size = 1
"""
FURTHER = """[analysis.size]
kind = "moderator"
of = "right"
on = "n"
nuisance = ["foci"]
[analysis.subsamples]
kind = "subsampled"
of = "right"
size = 5
subsamples = 12
[analysis.pairs]
kind = "balanced-contrast"
arms = ["right", "left"]
subsamples = 12
"""
BLOCKS = {"size_clusters-60": 60, "subsamples": 60, "pairs-60": 12}
"""Stored passes with the number of their blocks of one iteration."""
REPLACE_KILLS = """import os, signal, sys
from ale_dask.cli import main
os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
sys.argv[0] = "ale-dask"
main()
"""
"""A process that is killed when its first file is complete but has no name yet."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study that `macm` made of two seeds in one database, with further analyses."""
    folder = tmp_path_factory.mktemp("every")
    write_ball(folder / "ball.nii.gz")
    planted = [
        *experiments(1, number=12, planted=(12, 4, 0), prefix="drug"),
        *experiments(2, number=12, planted=(-12, 0, 8), prefix="therapy"),
    ]
    write_sample(folder / "database.txt", planted)
    made = ale.macm("right=12,4,0,8", "left=-12,0,8,8", database=folder / "database.txt", mask=folder / "ball.nii.gz")
    made.write(folder / "two")
    shutil.copy(folder / "ball.nii.gz", folder / "two")
    toml = folder / "two" / "study.toml"
    text = toml.read_text()
    toml.write_text(text[: text.index("[inference]")] + SETTINGS + text[text.index("# Analyses.") :] + FURTHER)
    return folder


@pytest.fixture(scope="module")
def reference(folder: Path) -> dict[str, str]:
    """Return the digests of a plain loop with blocks of 16 iterations, which is in the folder "out"."""
    study = with_backend(load_study(folder / "two" / "study.toml"), block_size=16)
    _, record = ale.run(study, folder / "out", quiet=True)
    return digests_of(record)


def test_every_analysis_has_digests_of_its_own(reference: dict[str, str]) -> None:
    assert set(reference) >= {"right", "left", "right-vs-left", "right-vs-left_clusters"}
    assert set(reference) >= {"size", "size_clusters", "subsamples", "pairs", "pairs_clusters"}
    assert len(set(reference.values())) == len(reference)


@pytest.mark.slow
def test_a_killed_worker_of_two_changes_no_bit(folder: Path, reference: dict[str, str], tmp_path: Path) -> None:
    process = start("run", folder / "two" / "study.toml", "-o", tmp_path / "o", "-b", "processes", "-w", 2)
    amid_blocks(tmp_path / "o", process, more_than=100)
    worker = local_workers(process.pid)[0]
    worker.kill()
    text, _ = ended(process)
    assert digests_of(text) == reference


@pytest.mark.parametrize("during", [["subsamples"], pytest.param(list(BLOCKS), marks=pytest.mark.slow)], ids=len)
def test_a_run_that_is_killed_changes_no_bit(
    folder: Path, reference: dict[str, str], tmp_path: Path, during: list[str]
) -> None:
    """Kill a run in each of the passes named, one after the other."""
    out = tmp_path / "killed"

    def done(name: str) -> int:
        return len(list((out / "store.zarr" / name / "null").glob("*/c/*/0")))

    for name in during:
        process = start("run", folder / "two" / "study.toml", "-o", out)
        wait_until(
            lambda name=name, process=process: done(name) > 2 or process.poll() is not None,
            seconds=1200,
            what=f"blocks of {name}",
            every=0.01,
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert 2 < done(name) < BLOCKS[name], f"{name} was complete before the kill"
    text, _ = ended(start("run", folder / "two" / "study.toml", "-o", out))
    assert digests_of(text) == reference


DESIGN = ("--experiments", 5, "--foci", 3, "--n", 15, "--simulations", 8, "-i", 40, "--null", "uniform")


@pytest.mark.parametrize(
    ("what", "needs_run"),
    [
        (("clustering", "right", "--k", 2, "--subsamples", 10), True),
        pytest.param(("design", *DESIGN), False, marks=pytest.mark.slow),
    ],
    ids=["clustering", "design"],
)
def test_what_one_process_computes_has_the_same_bits_on_one_cpu_and_after_a_kill(
    folder: Path, reference: dict[str, str], tmp_path: Path, what: Sequence[object], needs_run: bool
) -> None:
    every = os.sched_getaffinity(0)

    def words(name: str) -> list[object]:
        out = tmp_path / name
        if needs_run and not out.exists():
            shutil.copytree(folder / "out", out)
        return [what[0], out, *what[1:]] if needs_run else [*what, "--mask", folder / "ball.nii.gz", "-o", out]

    def alone(name: str, *program: str, cpus: Collection[int], code: int) -> None:
        """Run the command in a process that may use some CPUs only."""
        done = subprocess.run(
            [sys.executable, *program, *map(str, words(name))],
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr

    def hashes(name: str) -> dict[str, str]:
        found = tmp_path / name / ("right" if needs_run else "")
        return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(found.glob("*"))}

    command(*words("here"))
    expected = hashes("here")
    assert expected
    alone("one", "-m", "ale_dask.cli", cpus={min(every)}, code=0)
    assert hashes("one") == expected
    alone("killed", "-c", REPLACE_KILLS, cpus=every, code=-signal.SIGKILL)
    assert not set(hashes("killed")) & set(expected)
    command(*words("killed"))
    assert {name: each for name, each in hashes("killed").items() if name in expected} == expected
