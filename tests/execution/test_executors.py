"""The plain loop, and Dask against it: failing blocks, dying workers, bounded memory."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ale_dask.config.backend import Backend
from ale_dask.errors import InputError, UnfinishedError
from ale_dask.execution import executors
from ale_dask.execution.backends.connect import connect
from ale_dask.execution.executors import Job, MemorySink, Step, execute, pending
from ale_dask.execution.plan import (
    MOST_BLOCKS,
    SCHEDULER_SHARE,
    TASK_SECONDS,
    Plan,
    Segment,
    block_size,
    compute_block,
    iteration_stamps,
)

PLAN = Plan("test", "main-effect", "00", ("square",), {}, {"a": np.arange(4)})


def squares(plan: Plan, first: int, count: int) -> dict[str, Any]:
    return {"null": (np.arange(first, first + count, dtype=np.int64) ** 2)[:, None]}


def job(function: Any, *, iterations: int = 50, size: int = 4) -> Job:
    segment = Segment(0, PLAN.id, 0, iterations, size)
    return Job(PLAN, segment, function, MemorySink(segment))


def result(done: Job) -> list[int]:
    return [int(v) for v in done.sink.arrays()["null"][:, 1]]


EXPECTED = [i * i for i in range(50)]


@pytest.fixture(params=["serial", "threads"])
def client(request: pytest.FixtureRequest) -> Any:
    with connect(Backend(name=request.param, workers=2)) as connected:
        yield connected


def test_all_blocks_are_computed_and_reported(client: Any) -> None:
    steps: list[Step] = []
    squared = job(squares)
    execute(pending([squared]), client=client, report=steps.append)
    assert result(squared) == EXPECTED
    assert sum(s.iterations for s in steps) == 50


# Dask copies a function and what it holds even to threads of this process: state has to live in files.
def test_a_block_that_fails_sometimes_is_tried_again(client: Any, tmp_path: Path) -> None:
    def every_third_fails_once(plan: Plan, first: int, count: int) -> dict[str, Any]:
        mark = tmp_path / str(first)
        if first % 12 == 0 and not mark.exists():
            mark.touch()
            raise RuntimeError("a node with a cold")
        return squares(plan, first, count)

    squared = job(every_third_fails_once)
    execute(pending([squared]), client=client)
    assert len(list(tmp_path.iterdir())) == 5
    assert result(squared) == EXPECTED


def test_a_block_that_always_fails_is_set_aside_and_the_rest_goes_on(client: Any, tmp_path: Path) -> None:
    mended = tmp_path / "mended"

    def one_is_broken(plan: Plan, first: int, count: int) -> dict[str, Any]:
        if first == 8 and not mended.exists():
            raise ValueError("bad memory")
        return squares(plan, first, count)

    squared = job(one_is_broken)
    with pytest.raises(UnfinishedError, match=r"(?s)block 2 of test.*bad memory"):
        execute(pending([squared]), client=client)
    assert squared.sink.missing() == [2]
    mended.touch()
    execute(pending([squared]), client=client)
    assert result(squared) == EXPECTED


def test_our_own_errors_are_not_tried_again(client: Any, tmp_path: Path) -> None:
    calls = tmp_path / "calls"

    def refuses(plan: Plan, first: int, count: int) -> dict[str, Any]:
        with calls.open("a") as file:
            file.write(f"{first}\n")
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        execute(pending([job(refuses, iterations=4)]), client=client)
    assert calls.read_text() == "0\n"


def test_a_killed_worker_process_costs_nothing_but_time(tmp_path: Path) -> None:
    mark = str(tmp_path / "killed")

    def dies_once(plan: Plan, first: int, count: int) -> dict[str, Any]:
        if first == 20:
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        # Written out: a worker process cannot import this file.
        return {"null": (np.arange(first, first + count, dtype=np.int64) ** 2)[:, None]}

    squared = job(dies_once)
    with connect(Backend(name="processes", workers=2)) as connected:
        execute(pending([squared]), client=connected)
    assert Path(mark).exists()
    assert result(squared) == EXPECTED


def test_blocks_in_flight_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    with connect(Backend(name="threads", workers=2)) as connected:
        assert connected is not None
        sent = connected.map
        running: set[Any] = set()

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal most
            futures = sent(*args, **kwargs)
            running.update(futures)
            most = max(most, sum(f.status == "pending" for f in running))
            return futures

        monkeypatch.setattr(connected, "map", counted)
        squared = job(squares, size=1)
        execute(pending([squared]), client=connected)
    assert result(squared) == EXPECTED
    assert 0 < most <= executors._IN_FLIGHT * 2


def test_stamps_belong_to_plan_and_iteration() -> None:
    stamps = iteration_stamps(PLAN.id, first=5, count=10)
    np.testing.assert_array_equal(stamps[3:], iteration_stamps(PLAN.id, first=8, count=7))
    assert len(set(stamps.tolist())) == 10
    assert not set(stamps.tolist()) & set(iteration_stamps("00" * 32, first=5, count=10).tolist())
    block = compute_block(PLAN, Segment(0, PLAN.id, 0, 50, 4), 12, function=squares)
    np.testing.assert_array_equal(block["null"][:, 0], iteration_stamps(PLAN.id, first=48, count=2))


def test_block_size_fills_the_workers_and_bounds_the_number_of_blocks() -> None:
    size = {"block_seconds": 1.0, "workers": 2}
    assert block_size(iterations=10_000, seconds_per_iteration=0.01, **size) == 100  # type: ignore[arg-type]
    assert block_size(iterations=1000, seconds_per_iteration=0.001, **size) == 125  # type: ignore[arg-type]
    assert block_size(iterations=100, seconds_per_iteration=0.001, **size) == 50  # type: ignore[arg-type]
    assert block_size(iterations=3, seconds_per_iteration=9.0, **size) == 1  # type: ignore[arg-type]
    huge = block_size(iterations=10_000_000, seconds_per_iteration=1.0, **size)  # type: ignore[arg-type]
    assert -(-10_000_000 // huge) <= MOST_BLOCKS


@pytest.mark.parametrize("workers", [1, 16, 1000, 30_000])
def test_block_size_leaves_the_scheduler_idle(workers: int) -> None:
    size = block_size(iterations=10**9, seconds_per_iteration=0.01, block_seconds=1.0, workers=workers)
    assert workers * TASK_SECONDS / (size * 0.01) <= SCHEDULER_SHARE * 1.001
