"""Compute a list of blocks in a loop or through a Dask client; the loop is the reference that a client must equal."""

from __future__ import annotations

import contextlib
import itertools
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ale_dask.errors import AleError, BackendError, UnfinishedError
from ale_dask.execution.backends.connect import worker_versions
from ale_dask.execution.monitor.state import TOPIC, Statistic
from ale_dask.execution.plan import BlockFunction, Plan, Segment, compute_block

if TYPE_CHECKING:
    from distributed import Client, Future

ATTEMPTS = 3
"""Attempts after which a failing block is given up, with its traceback; the run goes on without it."""
_IN_FLIGHT = 4
"""Blocks in flight per worker thread: enough that none waits for the scheduler, few enough for its memory."""
_LOOK_SECONDS = 2.0
"""Seconds between questions to the scheduler how many workers there are: they come and go."""
_FORGET_BLOCKS = 5_000
"""Blocks after which Dask's cache of key prefixes is emptied: it holds 100,000, 18 MB, which nobody asks for again."""

BlockArrays = dict[str, npt.NDArray[np.int64]]


class Sink(Protocol):
    """The destination of the blocks of one segment; writing a block again replaces it."""

    def missing(self) -> Sequence[int]:
        """Return the numbers of the blocks that are missing, damaged or of another plan."""
        ...

    def read(self, block: int) -> BlockArrays | None:
        """Return the stamped arrays of a block, or None if it is missing, damaged or of another plan."""
        ...

    def write(self, block: int, arrays: BlockArrays) -> None:
        """Store the stamped arrays of a block."""
        ...

    def visible(self) -> bool:
        """Return whether this process can write here itself."""
        ...

    def arrays(self) -> BlockArrays:
        """Return null (iteration, 1 + statistic) and counts (block, 1 + n) of all blocks."""
        ...


@dataclass(frozen=True)
class Job:
    """A segment of a plan, the function that computes a block of it, and the destination of its blocks."""

    plan: Plan
    segment: Segment
    function: BlockFunction
    sink: Sink


@dataclass
class MemorySink:
    """Blocks kept in this process: for runs without a store."""

    segment: Segment
    blocks: dict[int, BlockArrays] = field(default_factory=dict)

    def missing(self) -> Sequence[int]:
        """Return the blocks not computed yet."""
        return [b for b in range(self.segment.n_blocks) if b not in self.blocks]

    def read(self, block: int) -> BlockArrays | None:
        """Return a block's arrays, or None if it is not computed yet."""
        return self.blocks.get(block)

    def write(self, block: int, arrays: BlockArrays) -> None:
        """Store the stamped arrays of a block."""
        self.blocks[block] = arrays

    def visible(self) -> bool:
        """Return False: memory is this process's own."""
        return False

    def arrays(self) -> BlockArrays:
        """Return all blocks joined in order."""
        ordered = [self.blocks[b] for b in range(self.segment.n_blocks)]
        return {name: np.concatenate([b[name] for b in ordered]) for name in ordered[0]}


@dataclass(frozen=True)
class Step:
    """The outcome of an attempt to compute a block, as displays and logs get it."""

    name: str
    block: int
    iterations: int
    """Iterations of the block; 0 when it will be tried again."""
    attempt: int = 1
    error: str | None = None
    """Traceback of an attempt that failed."""

    @property
    def failed(self) -> bool:
        """Whether the block was given up."""
        return self.error is not None and self.iterations > 0


@dataclass(frozen=True)
class _Attempt:
    """One of the attempts, numbered from 1, to compute a block."""

    job: Job
    block: int
    number: int

    def step(self, error: str | None = None) -> Step:
        """Return the step to report when the attempt has ended, by an error or not."""
        again = error is not None and self.number < ATTEMPTS
        iterations = 0 if again else self.job.segment.range_of(self.block)[1]
        return Step(self.job.plan.name, self.block, iterations, self.number, error)


Report = Callable[[Step], None]
Todo = Sequence[tuple[Job, int]]
"""Blocks to compute: the job of each and its number."""


def pending(jobs: Sequence[Job]) -> list[tuple[Job, int]]:
    """Return the blocks that the sinks of the jobs lack, in order."""
    return [(job, block) for job in jobs for block in job.sink.missing()]


@dataclass(frozen=True)
class Watched:
    """The token of a run in the live view, and by plan the statistic whose largest values workers send to it."""

    token: str
    statistics: Mapping[str, Statistic | None]


def _compute_on_worker(
    block: int,
    *,
    plan: Plan,
    segment: Segment,
    function: BlockFunction,
    sink: Sink | None,
    versions: dict[str, str],
    watched: tuple[str, Statistic | None] | None,
) -> BlockArrays | None:
    """Compute a block on a worker, and write it if OUT is visible from here; return it otherwise."""
    if (mine := worker_versions()) != versions:
        # This worker started after `connect` had compared the versions of the others.
        raise BackendError(f"a worker has {mine}, the client {versions}; install the same version on both")
    started = time.perf_counter()
    arrays = compute_block(plan, segment, block, function=function)
    visible = sink is not None and sink.visible()
    if sink is not None and visible:
        sink.write(block, arrays)
    if watched is not None:
        _log_block(plan, segment, block, arrays["null"], watched, time.perf_counter() - started)
    return None if visible else arrays


def _log_block(
    plan: Plan,
    segment: Segment,
    block: int,
    null: npt.NDArray[np.int64],
    watched: tuple[str, Statistic | None],
    seconds: float,
) -> None:
    from distributed import get_worker

    token, statistic = watched
    message = {
        "run": token,
        "what": "block",
        "analysis": plan.name,
        "block": f"{segment.number}-{block}",
        "iterations": len(null),
        "seconds": seconds,
        "top": b"" if statistic is None else statistic.largest(null[:, 1:]),
    }
    get_worker().log_event(TOPIC, message)


def _unchanged(plan: Plan) -> Plan:
    return plan


def execute(
    todo: Todo,
    *,
    client: Client | None = None,
    report: Report = lambda step: None,
    watched: Watched | None = None,
) -> None:
    """Compute blocks, in a loop of this process or through a Dask client, and store each as soon as it is done.

    Where the run is `watched`, workers report their blocks to the live view of the scheduler.

    Raises
    ------
    UnfinishedError
        when blocks failed three times; all others are done and kept.
    """
    failures = _loop(todo, report) if client is None else _Dispatch(todo, client, report, watched).run()
    if failures:
        (name, block), text = next(iter(failures.items()))
        raise UnfinishedError(
            f"{len(failures)} block(s) failed {ATTEMPTS} times, the first is block {block} of {name}:\n{text}\n"
            "all other blocks are kept; the same command tries these again"
        )


def _loop(todo: Todo, report: Report) -> Mapping[tuple[str, int], str]:
    failures = {}
    for job, block in todo:
        for number in range(1, ATTEMPTS + 1):
            attempt = _Attempt(job, block, number)
            try:
                job.sink.write(block, compute_block(job.plan, job.segment, block, function=job.function))
            except AleError:
                raise
            except Exception:
                text = traceback.format_exc()
                report(attempt.step(text))
                if number == ATTEMPTS:
                    failures[job.plan.name, block] = text
            else:
                report(attempt.step())
                break
    return failures


class _Dispatch:
    """The blocks that a Dask client computes: waiting, in flight and given up."""

    def __init__(self, todo: Todo, client: Client, report: Report, watched: Watched | None) -> None:
        from distributed import as_completed

        self.client, self.report, self.watched = client, report, watched
        self.waiting = deque(_Attempt(job, block, 1) for job, block in todo)
        self.in_flight: dict[Future, _Attempt] = {}
        self.plans: dict[str, Future] = {}
        self.failures: dict[tuple[str, int], str] = {}
        self.arriving = as_completed(loop=client.loop)
        self.versions = worker_versions()
        # Another driver of the same run may share the scheduler: its tasks are not ours to cancel.
        self.token = uuid.uuid4().hex[:8]

    def run(self) -> Mapping[tuple[str, int], str]:
        """Compute all blocks, and return the tracebacks of those given up by name and block."""
        asked, room, arrived = -_LOOK_SECONDS, 0, 0
        try:
            while self.waiting or self.in_flight:
                if time.monotonic() - asked > _LOOK_SECONDS:
                    asked, room = time.monotonic(), _IN_FLIGHT * max(1, sum(self.client.nthreads().values()))
                self._submit(min(len(self.waiting), room - len(self.in_flight)))
                if arrived >= _FORGET_BLOCKS:
                    arrived = 0
                    self._forget_keys()
                for future in self.arriving.next_batch():
                    arrived += 1
                    self._settle(future)
        finally:
            # The scheduler may be gone, and with it what there is to cancel.
            with contextlib.suppress(Exception):
                self.client.cancel([*self.in_flight, *self.plans.values()], force=True)
        return self.failures

    def _submit(self, number: int) -> None:
        # One graph for all that there is room for: a graph costs the scheduler more than a task does.
        attempts = [self.waiting.popleft() for _ in range(number)]
        for _, group in itertools.groupby(attempts, key=lambda attempt: id(attempt.job)):
            same = list(group)
            job, watched = same[0].job, self.watched
            futures = self.client.map(
                _compute_on_worker,
                [attempt.block for attempt in same],
                key=[f"ale-{job.plan.name}-{job.segment.number}-{a.block}-{a.number}-{self.token}" for a in same],
                plan=self._plan(job),
                segment=job.segment,
                function=job.function,
                sink=None if isinstance(job.sink, MemorySink) else job.sink,
                versions=self.versions,
                watched=None if watched is None else (watched.token, watched.statistics.get(job.plan.name)),
            )
            self.in_flight.update(zip(futures, same, strict=True))
            self.arriving.update(futures)

    def _plan(self, job: Job) -> Future:
        import dask

        if job.plan.id not in self.plans:
            # A task, not scattered data: when the only worker that holds it dies, Dask makes it again.
            key = f"ale-plan-{job.plan.id[:12]}-{self.token}"
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}):
                self.plans[job.plan.id] = self.client.submit(_unchanged, job.plan, key=key)
        return self.plans[job.plan.id]

    def _forget_keys(self) -> None:
        from dask.utils import key_split

        key_split.cache_clear()
        self.client.run_on_scheduler(key_split.cache_clear)

    def _settle(self, future: Future) -> None:
        attempt = self.in_flight.pop(future)
        if future.status == "lost":
            # Its worker died with the result, before it was fetched: Dask computes the block again.
            self.in_flight[future] = attempt
            self.arriving.add(future)
        elif future.status == "finished":
            # What a worker has written itself is None, and not worth asking for.
            arrays = None if future.type is type(None) else future.result()
            if arrays is not None:
                attempt.job.sink.write(attempt.block, arrays)
            self.report(attempt.step())
        elif future.status == "error":
            self._failed(attempt, future.exception())
        else:
            raise UnfinishedError(
                f"the scheduler was lost (a block is '{future.status}'); finished blocks are kept, "
                "the same command resumes"
            )

    def _failed(self, attempt: _Attempt, error: BaseException) -> None:
        if isinstance(error, AleError):
            raise error
        name, text = attempt.job.plan.name, "".join(traceback.format_exception(error))
        if attempt.number < ATTEMPTS:
            self.waiting.appendleft(_Attempt(attempt.job, attempt.block, attempt.number + 1))
        else:
            self.failures[name, attempt.block] = text
        self.report(attempt.step(text))
        if self.watched is not None:
            what = "retried" if attempt.number < ATTEMPTS else "failed"
            self.client.log_event(TOPIC, {"run": self.watched.token, "what": what, "analysis": name})
