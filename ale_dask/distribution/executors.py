"""Three ways through one list of blocks; the plain loop is the reference that the others must equal."""

from __future__ import annotations

import contextlib
import itertools
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ale_dask.distribution.plan import BlockFunction, Plan, Segment, compute_block
from ale_dask.words.errors import AleError, UnfinishedError

if TYPE_CHECKING:
    from distributed import Client, Future

ATTEMPTS = 3
"""A block that fails this often is set aside with its traceback, and the run goes on without it."""
_IN_FLIGHT = 4
"""Blocks in flight per worker thread: enough to hide the way to the scheduler, few enough to hold in memory."""

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
    """What a progress display is told after every block."""

    name: str
    iterations: int
    failed: bool = False


Report = Callable[[Step], None]


def _run_here(job: Job, block: int) -> None:
    job.sink.write(block, compute_block(job.plan, job.segment, block, function=job.function))


def _run_there(
    plan: Plan, segment: Segment, block: int, function: BlockFunction, sink: Sink | None
) -> BlockArrays | None:
    """On a worker: write the block if OUT is visible from here, otherwise send it back."""
    arrays = compute_block(plan, segment, block, function=function)
    if sink is not None and sink.visible():
        sink.write(block, arrays)
        return None
    return arrays


def execute(jobs: Sequence[Job], *, client: Client | None = None, report: Report = lambda step: None) -> None:
    """Compute every missing block of every job, here in a loop or through a Dask client.

    Raises
    ------
    UnfinishedError
        when blocks failed three times; all others are done and kept.
    """
    todo = [(job, block) for job in jobs for block in job.sink.missing()]
    failures = _loop(todo, report) if client is None else _dask(todo, client, report)
    if failures:
        (name, block), text = next(iter(failures.items()))
        raise UnfinishedError(
            f"{len(failures)} block(s) failed {ATTEMPTS} times, the first is block {block} of {name}:\n{text}\n"
            "all other blocks are kept; the same command tries these again"
        )


def _loop(todo: Sequence[tuple[Job, int]], report: Report) -> Mapping[tuple[str, int], str]:
    failures = {}
    for job, block in todo:
        failed = False
        for attempt in range(ATTEMPTS):
            try:
                _run_here(job, block)
                break
            except AleError:
                raise
            except Exception:
                if attempt + 1 == ATTEMPTS:
                    failures[job.plan.name, block] = traceback.format_exc()
                    failed = True
        report(Step(job.plan.name, job.segment.range_of(block)[1], failed))
    return failures


def _dask(todo: Sequence[tuple[Job, int]], client: Client, report: Report) -> Mapping[tuple[str, int], str]:
    from distributed import as_completed

    threads = sum(w["nthreads"] for w in client.scheduler_info(n_workers=-1)["workers"].values())
    plans: dict[str, Any] = {}
    failures: dict[tuple[str, int], str] = {}
    running: dict[Future, tuple[Job, int, int]] = {}
    queue: Iterator[tuple[Job, int, int]] = ((job, block, 1) for job, block in todo)

    def submit(job: Job, block: int, attempt: int) -> Future:
        if job.plan.id not in plans:
            plans[job.plan.id] = client.scatter(job.plan, hash=False)
        sink = None if isinstance(job.sink, MemorySink) else job.sink
        key = f"ale-{job.plan.name}-{job.segment.number}-{block}-{attempt}-{job.plan.id[:12]}"
        future = client.submit(
            _run_there, plans[job.plan.id], job.segment, block, job.function, sink, key=key, pure=False
        )
        running[future] = (job, block, attempt)
        return future

    first = [submit(*next_) for next_ in itertools.islice(queue, max(1, _IN_FLIGHT * threads))]
    pending = as_completed(first, loop=client.loop)
    try:
        for future in pending:
            job, block, attempt = running.pop(future)
            if future.status == "finished":
                arrays = future.result()
                if arrays is not None:
                    job.sink.write(block, arrays)
                report(Step(job.plan.name, job.segment.range_of(block)[1]))
                following = next(queue, None)
            elif future.status == "error":
                error = future.exception()
                if isinstance(error, AleError):
                    raise error
                if attempt < ATTEMPTS:
                    following = (job, block, attempt + 1)
                else:
                    text = "".join(traceback.format_exception(error))
                    failures[job.plan.name, block] = text
                    report(Step(job.plan.name, job.segment.range_of(block)[1], failed=True))
                    following = next(queue, None)
            else:
                raise UnfinishedError(
                    f"the scheduler was lost (a block is '{future.status}'); finished blocks are kept, "
                    "the same command resumes"
                )
            if following is not None:
                pending.add(submit(*following))
    finally:
        # The scheduler may be gone, and with it what there is to cancel.
        with contextlib.suppress(Exception):
            client.cancel(list(running), force=True)
    return failures
