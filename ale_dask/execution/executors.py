"""Three ways through one list of blocks; the plain loop is the reference that the others must equal."""

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
"""A block that fails this often is set aside with its traceback, and the run goes on without it."""
_IN_FLIGHT = 4
"""Blocks in flight per worker thread: enough to hide the way to the scheduler, few enough to hold in memory."""
_LOOK_SECONDS = 2.0
"""Workers come and go; how many there are is asked this often."""
_FORGET_BLOCKS = 5_000
"""Dask remembers the prefixes of the last 100,000 keys, 18 MB in each process, of what is never asked again."""

BlockArrays = dict[str, npt.NDArray[np.int64]]


class Sink(Protocol):
    """Where the blocks of one segment end up; writing a block again replaces it."""

    def missing(self) -> Sequence[int]:
        """Return the blocks that are not there, or not whole, or not this plan's."""
        ...

    def read(self, block: int) -> BlockArrays | None:
        """Return a block's stamped arrays, or None if it is missing, damaged or another plan's."""
        ...

    def write(self, block: int, arrays: BlockArrays) -> None:
        """Keep a block's stamped arrays."""
        ...

    def visible(self) -> bool:
        """Return whether this process can write here itself."""
        ...

    def arrays(self) -> BlockArrays:
        """Return null (iteration, 1 + statistic) and counts (block, 1 + n) of all blocks."""
        ...


@dataclass(frozen=True)
class Job:
    """The blocks of one segment, how each is computed and where it goes."""

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
        """Keep a block's stamped arrays."""
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
    """What a display or a log is told after every attempt at a block."""

    name: str
    block: int
    iterations: int
    """Of the block, now dealt with; 0 when it will be tried again."""
    attempt: int = 1
    error: str | None = None
    """Traceback of an attempt that failed."""

    @property
    def failed(self) -> bool:
        """Whether the block was given up."""
        return self.error is not None and self.iterations > 0


Report = Callable[[Step], None]
Todo = Sequence[tuple[Job, int]]
"""Blocks to compute: job and number."""


def pending(jobs: Sequence[Job]) -> list[tuple[Job, int]]:
    """Return every block that is missing from where it should be, in order."""
    return [(job, block) for job in jobs for block in job.sink.missing()]


@dataclass(frozen=True)
class Watched:
    """What a live view calls the run, and of each plan, by name, the statistic whose largest values it is sent."""

    token: str
    statistics: Mapping[str, Statistic | None]


def _run_there(
    block: int,
    *,
    plan: Plan,
    segment: Segment,
    function: BlockFunction,
    sink: Sink | None,
    versions: dict[str, str],
    watched: tuple[str, Statistic | None] | None,
) -> BlockArrays | None:
    """On a worker: write the block if OUT is visible from here, otherwise send it back."""
    if (mine := worker_versions()) != versions:
        # A worker that came after the others were asked.
        raise BackendError(f"a worker has {mine}, the client {versions}; install the same version on both")
    started = time.perf_counter()
    arrays = compute_block(plan, segment, block, function=function)
    visible = sink is not None and sink.visible()
    if sink is not None and visible:
        sink.write(block, arrays)
    if watched is not None:
        _tell(plan, segment, block, arrays["null"], watched, time.perf_counter() - started)
    return None if visible else arrays


def _tell(
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


def _given(plan: Plan) -> Plan:
    return plan


def execute(
    todo: Todo,
    *,
    client: Client | None = None,
    report: Report = lambda step: None,
    watched: Watched | None = None,
) -> None:
    """Compute blocks, here in a loop or through a Dask client, and keep each as soon as it is done.

    Workers tell the scheduler's live view of their blocks where the run is `watched`.

    Raises
    ------
    UnfinishedError
        when blocks failed three times; all others are done and kept.
    """
    failures = _loop(todo, report) if client is None else _dask(todo, client, report, watched)
    if failures:
        (name, block), text = next(iter(failures.items()))
        raise UnfinishedError(
            f"{len(failures)} block(s) failed {ATTEMPTS} times, the first is block {block} of {name}:\n{text}\n"
            "all other blocks are kept; the same command tries these again"
        )


def _loop(todo: Todo, report: Report) -> Mapping[tuple[str, int], str]:
    failures = {}
    for job, block in todo:
        count = job.segment.range_of(block)[1]
        for attempt in range(1, ATTEMPTS + 1):
            try:
                job.sink.write(block, compute_block(job.plan, job.segment, block, function=job.function))
            except AleError:
                raise
            except Exception:
                text = traceback.format_exc()
                given_up = attempt == ATTEMPTS
                report(Step(job.plan.name, block, count if given_up else 0, attempt, text))
                if given_up:
                    failures[job.plan.name, block] = text
            else:
                report(Step(job.plan.name, block, count, attempt))
                break
    return failures


def _dask(todo: Todo, client: Client, report: Report, watched: Watched | None) -> Mapping[tuple[str, int], str]:
    import dask
    from dask.utils import key_split
    from distributed import as_completed

    plans: dict[str, Future] = {}
    failures: dict[tuple[str, int], str] = {}
    running: dict[Future, tuple[Job, int, int]] = {}
    queue = deque((job, block, 1) for job, block in todo)
    arriving = as_completed(loop=client.loop)
    versions = worker_versions()
    # Another driver of the same run may share the scheduler: its tasks are not ours to cancel.
    token = uuid.uuid4().hex[:8]
    looked, room, since = -_LOOK_SECONDS, 0, 0

    def plan_of(job: Job) -> Future:
        if job.plan.id not in plans:
            # A task, not scattered data: when the only worker that holds it dies, Dask makes it again.
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}):
                plans[job.plan.id] = client.submit(_given, job.plan, key=f"ale-plan-{job.plan.id[:12]}-{token}")
        return plans[job.plan.id]

    def submit(some: Sequence[tuple[Job, int, int]]) -> None:
        # One graph for all that there is room for: a graph costs the scheduler more than a task does.
        for _, group in itertools.groupby(some, key=lambda one: id(one[0])):
            same = list(group)
            job = same[0][0]
            futures = client.map(
                _run_there,
                [block for _, block, _ in same],
                key=[f"ale-{job.plan.name}-{job.segment.number}-{b}-{attempt}-{token}" for _, b, attempt in same],
                plan=plan_of(job),
                segment=job.segment,
                function=job.function,
                sink=None if isinstance(job.sink, MemorySink) else job.sink,
                versions=versions,
                watched=None if watched is None else (watched.token, watched.statistics.get(job.plan.name)),
            )
            running.update(zip(futures, same, strict=True))
            arriving.update(futures)

    try:
        while queue or running:
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked, room = time.monotonic(), _IN_FLIGHT * max(1, sum(client.nthreads().values()))
            submit([queue.popleft() for _ in range(min(len(queue), room - len(running)))])
            if since >= _FORGET_BLOCKS:
                since = 0
                key_split.cache_clear()
                client.run_on_scheduler(key_split.cache_clear)
            for future in arriving.next_batch():
                since += 1
                job, block, attempt = running.pop(future)
                count = job.segment.range_of(block)[1]
                if future.status == "lost":
                    # Its worker died with the result, before it was fetched: Dask computes the block again.
                    running[future] = (job, block, attempt)
                    arriving.add(future)
                elif future.status == "finished":
                    # What a worker has written itself is None, and not worth asking for.
                    arrays = None if future.type is type(None) else future.result()
                    if arrays is not None:
                        job.sink.write(block, arrays)
                    report(Step(job.plan.name, block, count, attempt))
                elif future.status == "error":
                    error = future.exception()
                    if isinstance(error, AleError):
                        raise error
                    text = "".join(traceback.format_exception(error))
                    if attempt < ATTEMPTS:
                        queue.appendleft((job, block, attempt + 1))
                        report(Step(job.plan.name, block, 0, attempt, text))
                    else:
                        failures[job.plan.name, block] = text
                        report(Step(job.plan.name, block, count, attempt, text))
                    if watched is not None:
                        what = "retried" if attempt < ATTEMPTS else "failed"
                        client.log_event(TOPIC, {"run": watched.token, "what": what, "analysis": job.plan.name})
                else:
                    raise UnfinishedError(
                        f"the scheduler was lost (a block is '{future.status}'); finished blocks are kept, "
                        "the same command resumes"
                    )
    finally:
        # The scheduler may be gone, and with it what there is to cancel.
        with contextlib.suppress(Exception):
            client.cancel([*running, *plans.values()], force=True)
    return failures
