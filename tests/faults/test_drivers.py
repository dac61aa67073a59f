"""Schedulers, clients and drivers that die, and two drivers at once on one store.

SIGKILL of a run without a scheduler is in tests/execution/test_determinism.py, SIGTERM in tests/cli/test_cli.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.faults import (
    Cluster,
    ale,
    amid_blocks,
    cluster,
    ended,
    expected,
    kill_group,
    recorded,
    rows,
    start,
    write_study,
)
from support.runs import chunks, digests, digests_of, with_backend, with_inference
from support.slurm import wait_until

from ale_dask.config.study import load_study
from ale_dask.errors import UnfinishedError
from ale_dask.workflows import follow, submit

PATIENCE = 60.0
"""Seconds in which a loss has to be noticed."""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a scheduler with two workers that stay."""
    with cluster(tmp_path_factory.mktemp("drivers") / "cluster") as made:
        yield made


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Cluster]:
    """Return a scheduler with two workers for one test."""
    with cluster(tmp_path / "cluster") as made:
        yield made


def laid_out(out: Path) -> None:
    """Wait until a run has begun to write its plans."""
    wait_until(lambda: (out / "plans" / "nonce").is_file(), seconds=1200, what="a run that lays itself out")


@pytest.mark.parametrize("moment", [pytest.param(laid_out, marks=pytest.mark.slow), amid_blocks])
def test_a_scheduler_that_dies_ends_the_run_with_75(
    doomed: Cluster, tmp_path: Path, moment: Callable[[Path], object]
) -> None:
    study, out = write_study(tmp_path / "tiny"), tmp_path / "out"
    process = start("run", study, "-o", out, "-b", doomed.address)
    moment(out)
    assert doomed.scheduler is not None
    kill_group(doomed.scheduler)
    assert process.poll() is None
    _, errors = ended(process, code=75, seconds=PATIENCE)
    assert "lost" in errors
    assert "the same command resumes" in errors
    assert chunks(out) < 240
    if moment is laid_out:
        assert digests(with_backend(load_study(study), name="serial"), out) == expected()
        return
    doomed.close()
    old = doomed.address
    doomed.start_scheduler()
    assert doomed.address != old
    doomed.start_worker("a")
    text, _ = ale("run", study, "-o", out, "-b", doomed.address)
    assert digests_of(text) == expected()


@pytest.mark.slow
def test_a_run_resumes_after_its_client_died(there: Cluster, tmp_path: Path) -> None:
    command = ("run", write_study(tmp_path / "tiny"), "-o", tmp_path / "out", "-b", there.address)
    process = start(*command)
    amid_blocks(tmp_path / "out", process)
    kill_group(process)
    assert chunks(tmp_path / "out") < 240
    assert digests_of(ale(*command)[0]) == expected()


def submitted(there: Cluster, study: Path, out: Path, *, iterations: int = 60) -> follow.Submission:
    """Return a submission to the scheduler there; the client that submitted is closed."""
    wanted = with_backend(with_inference(load_study(study), iterations=iterations), name=there.address)
    made = submit.submit(wanted, out, pictures=False)
    assert made.how == "dask"
    assert made.scheduler == there.address
    return made


def followed(out: Path) -> bool:
    """Return whether a submitted run is complete when nobody runs it any more."""
    return follow.follow(out, lambda statuses: None)


def test_a_submitted_run_goes_on_when_its_driver_dies(doomed: Cluster, tmp_path: Path) -> None:
    study, out = write_study(tmp_path / "tiny"), tmp_path / "out"
    text, _ = ale("submit", study, "-o", out, "-b", doomed.address, "--no-pictures")
    assert f"at {doomed.address}" in text
    made = follow.submitted(out)
    assert made is not None
    amid_blocks(out)
    kill_group(doomed.workers[doomed.driver(made.id)])
    assert chunks(out) < 240
    with pytest.raises(UnfinishedError, match="a run is under way"):
        submit.submit(load_study(study), out)
    ale("status", out, "--watch")
    assert len(rows(out, "started")) == 2
    assert len({row["driver"] for row in rows(out, "started")}) == 2
    assert recorded(out) == expected()


@pytest.mark.slow
def test_a_submitted_run_is_cancelled_and_submitted_again(there: Cluster, tmp_path: Path) -> None:
    study, out, iterations = write_study(tmp_path / "tiny"), tmp_path / "out", 400
    submitted(there, study, out, iterations=iterations)
    amid_blocks(out)
    assert follow.cancel(out).startswith("cancelled: task ale-run-")
    wait_until(lambda: bool(rows(out, "stopped")), seconds=1200, what="a cancelled run that stops")
    assert chunks(out) < 4 * iterations
    _, errors = ale("status", out, "--watch", code=75)
    assert "ended before it was done" in errors
    submitted(there, study, out, iterations=iterations)
    assert followed(out)
    assert recorded(out) == expected(iterations)


@pytest.mark.slow
def test_a_submitted_run_whose_scheduler_dies_can_be_submitted_again(doomed: Cluster, tmp_path: Path) -> None:
    study, out = write_study(tmp_path / "tiny"), tmp_path / "out"
    first = submitted(doomed, study, out, iterations=400)
    amid_blocks(out)
    assert follow.alive(first, out) is True
    doomed.close()
    assert chunks(out) < 4 * 400
    doomed.start_scheduler(port=int(doomed.address.rpartition(":")[2]))
    doomed.start_worker("a")
    doomed.wait_for(1)
    assert doomed.address == first.scheduler
    assert follow.alive(first, out) is False
    submitted(doomed, study, out, iterations=400)
    assert followed(out)
    assert recorded(out) == expected(400)


def together(out: Path, first: tuple[object, ...], second: tuple[object, ...]) -> list[dict[str, str]]:
    """Return the digests of two commands on one OUT that compute its blocks at the same time.

    The first one stands still amid its blocks until the second has started.
    """
    begun, before = time.time(), chunks(out)
    processes = [start(*first)]  # type: ignore[arg-type]
    try:
        amid_blocks(out, processes[0], more_than=before + 10)
        os.killpg(processes[0].pid, signal.SIGSTOP)
        processes.append(start(*second))  # type: ignore[arg-type]
        wait_until(partial(started_since, out, begun, number=2), seconds=1200, what="a second driver")
        os.killpg(processes[0].pid, signal.SIGCONT)
        return [digests_of(ended(process)[0]) for process in processes]
    finally:
        for process in processes:
            kill_group(process)


def started_since(out: Path, begun: float, *, number: int) -> bool:
    """Return whether so many drivers of OUT have started since a time."""
    return len([row for row in rows(out, "started") if row["time"] > begun]) == number


def test_two_drivers_of_one_store_give_the_digests_of_one(tmp_path: Path) -> None:
    command = ("run", write_study(tmp_path / "tiny"), "-o", tmp_path / "out", "-b", "serial", "-i", 120)
    assert together(tmp_path / "out", command, command) == [expected(120)] * 2


@pytest.mark.slow
def test_two_extensions_at_once_give_the_digests_of_one(tmp_path: Path) -> None:
    study, out = load_study(write_study(tmp_path / "tiny")), tmp_path / "out"
    assert digests(with_backend(study, name="serial"), out) == expected()
    found = together(out, *(("extend", out, "-i", i, "-b", "serial") for i in (400, 500)))
    assert found == [expected(400), expected(500)]
