"""Workers that die, are killed for their memory, fail, are blind or of another version; the results stay the same.

A worker of `-b processes` that is killed by its own block is in tests/execution/test_executors.py.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.faults import (
    Cluster,
    ale,
    amid_blocks,
    cluster,
    disturb,
    ended,
    expected,
    local_workers,
    needs_root,
    rows,
    start,
    write_study,
)
from support.runs import chunks, digests, digests_of, with_backend
from support.slurm import wait_until

import ale_dask
from ale_dask.config.study import load_study
from ale_dask.errors import BackendError, UnfinishedError
from ale_dask.execution.executors import Step
from ale_dask.version import __version__
from ale_dask.workflows import follow, run, submit

MEMORY = "600MB"
"""Limit of a worker's: it takes 250 MB by itself, and its nanny kills it at 95 %."""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a scheduler with two workers whose nannies start them again."""
    with cluster(tmp_path_factory.mktemp("workers") / "cluster", options=("--memory-limit", MEMORY)) as made:
        yield made


def run_on(there: Cluster, study: Path, out: Path) -> dict[str, str]:
    """Return the digests of a run in this process on the workers there."""
    there.wait_for(2)
    with there.client() as client:
        _, record = run.run(load_study(study), out, quiet=True, client=client)
    return digests_of(record)


@pytest.mark.slow
def test_a_killed_worker_of_processes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("run", write_study(tmp_path / "tiny"), "-o", out, "-b", "processes", "-w", 2)
    amid_blocks(out, process)
    worker = local_workers(process.pid)[0]
    worker.kill()
    assert chunks(out) < 240
    wait_until(lambda: not worker.is_running(), seconds=1200, what="the end of the worker")
    text, _ = ended(process)
    assert digests_of(text) == expected()


def test_a_killed_worker_of_a_scheduler(there: Cluster, tmp_path: Path) -> None:
    out, before = tmp_path / "out", there.pids()
    process = start("run", write_study(tmp_path / "tiny"), "-o", out, "-b", there.address)
    amid_blocks(out, process)
    os.kill(before["a"], signal.SIGKILL)
    assert chunks(out) < 240
    text, _ = ended(process)
    assert digests_of(text) == expected()
    there.wait_for(2)
    assert there.pids()["a"] != before["a"]


def segfault(first: int, mark: Path) -> None:
    """Read address 0, once, in the block of iteration 20."""
    if first == 20 and not mark.exists():
        import ctypes

        mark.touch()
        ctypes.string_at(0)


def eat_memory(first: int, mark: Path) -> None:
    """Take memory until the nanny notices, once, in the block of iteration 20."""
    if first == 20 and not mark.exists():
        import time

        mark.touch()
        eaten = []
        for _ in range(80):
            eaten.append(bytearray(b"x") * 10_000_000)
            time.sleep(0.02)
        time.sleep(10)
        mark.with_suffix(".survived").touch()


@pytest.mark.parametrize(
    ("fault", "said"),
    [pytest.param(segfault, "signal 11", marks=pytest.mark.slow), (eat_memory, "memory budget")],
)
def test_a_block_that_takes_its_worker_down_once(
    there: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[int, Path], None], said: str
) -> None:
    there.wait_for(2)
    before, log = set(there.pids().values()), there.log()
    disturb(monkeypatch, fault, tmp_path / "marks")
    assert run_on(there, write_study(tmp_path / "tiny"), tmp_path / "out") == expected()
    # A mark for each of the three main effects and the contrast.
    assert len(list((tmp_path / "marks").iterdir())) == 4
    there.wait_for(2)
    assert not before <= set(there.pids().values())
    assert said in there.log().removeprefix(log)


def test_every_third_block_raises_once(there: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def catch_a_cold(first: int, mark: Path) -> None:
        if first % 3 == 0 and not mark.exists():
            mark.touch()
            raise RuntimeError("a node with a cold")

    disturb(monkeypatch, catch_a_cold, tmp_path / "marks")
    out = tmp_path / "out"
    assert run_on(there, write_study(tmp_path / "tiny"), out) == expected()
    assert len(list((tmp_path / "marks").iterdir())) == len(rows(out, "failed")) == 80
    assert not rows(out, "gave up")
    said = "\n".join(follow.logs(out))
    assert "failed: analysis drug, block 57, attempt 1" in said
    assert "RuntimeError: a node with a cold" in said


def test_blocks_that_always_raise_are_left_out_and_can_be_made_later(
    there: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_ill(first: int, mark: Path) -> None:
        if first in (3, 33):
            raise RuntimeError("bad memory")

    study, out = write_study(tmp_path / "tiny"), tmp_path / "out"
    with monkeypatch.context() as patched:
        disturb(patched, be_ill, tmp_path / "marks")
        with pytest.raises(UnfinishedError, match="8 block") as error:
            run_on(there, study, out)
    assert error.value.exit_code == 75
    assert chunks(out) == 240 - 8
    assert len(rows(out, "failed")) == 2 * 8
    said = "\n".join(follow.logs(out))
    assert "gave up: analysis therapy, block 33, attempt 3" in said
    assert "RuntimeError: bad memory" in said
    assert run_on(there, study, out) == expected()


@needs_root
def test_workers_that_do_not_see_the_store(tmp_path: Path) -> None:
    study, hidden = write_study(tmp_path / "tiny"), tmp_path / "hidden"
    hidden.mkdir()
    out = hidden / "out"
    unseen = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(hidden))
    with cluster(tmp_path / "cluster", workers=()) as there:
        there.start_worker("blind", under=unseen)
        there.wait_for(1)
        wanted = with_backend(load_study(study), name=there.address)
        assert digests(wanted, out) == expected()
        with there.client() as client:
            assert list(client.run(os.path.exists, str(out)).values()) == [False]
        with pytest.raises(BackendError, match=r"1 worker\(s\) do not see .* use `run`") as error:
            submit.submit(wanted, out)
    assert error.value.exit_code == 69
    assert follow.submitted(out) is None


@pytest.fixture
def older(tmp_path: Path) -> dict[str, str]:
    """Return the environment in which an older version of the package is imported."""
    package = Path(ale_dask.__file__).parent
    shutil.copytree(package, tmp_path / "older" / "ale_dask", ignore=shutil.ignore_patterns("__pycache__"))
    version = tmp_path / "older" / "ale_dask" / "version.py"
    version.write_text(version.read_text().replace(__version__, "0.0.9"))
    assert "0.0.9" in version.read_text()
    return {"PYTHONPATH": str(tmp_path / "older")}


def test_workers_with_an_older_version_are_refused(tmp_path: Path, older: dict[str, str]) -> None:
    study, out = write_study(tmp_path / "tiny"), tmp_path / "out"
    with cluster(tmp_path / "cluster", workers=()) as there:
        there.start_worker("old", environment=older)
        there.wait_for(1)
        _, errors = ale("run", study, "-o", out, "-b", there.address, code=69)
    assert "0.0.9" in errors
    assert __version__ in errors
    assert not out.exists()


@pytest.mark.slow
def test_a_worker_with_an_older_version_that_comes_later_is_refused(tmp_path: Path, older: dict[str, str]) -> None:
    study, out = load_study(write_study(tmp_path / "tiny")), tmp_path / "out"
    steps: list[Step] = []
    with cluster(tmp_path / "cluster", workers=("new",)) as there, there.client() as client:

        def join_at_ten(step: Step) -> None:
            steps.append(step)
            if len(steps) == 10:
                there.start_worker("old", environment=older)
                there.wait_for(2)

        with pytest.raises(BackendError, match=r"0\.0\.9.*install the same version") as error:
            run.run(study, out, quiet=True, client=client, on_step=join_at_ten)
    assert error.value.exit_code == 69
    assert 10 <= chunks(out) < 240
    assert len(rows(out, "stopped")) == 1
    assert digests(with_backend(study, name="serial"), out) == expected()
