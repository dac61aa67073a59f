"""Further plans computed in the OUT of a run: blocks in its store, on its backend, resumed by the same command."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.functions import seconds_per_iteration
from ale_dask.data.places import Place
from ale_dask.distribution.backends import connect, noticing_loss
from ale_dask.distribution.executors import Job, Step, execute, pending
from ale_dask.distribution.journal import Journal
from ale_dask.distribution.plan import BlockFunction, Plan, block_size
from ale_dask.distribution.progress import Progress
from ale_dask.distribution.segments import cover, gather, segments, sink
from ale_dask.layout import nonce_of
from ale_dask.words.config import Backend


@dataclass(frozen=True)
class Extra:
    """A plan beside those of the study: its block function, iterations, and seconds of one of them here."""

    plan: Plan
    function: BlockFunction
    iterations: int
    seconds_per_iteration: float

    @property
    def core_seconds(self) -> float:
        """Time of all iterations on one core like this one."""
        return self.iterations * self.seconds_per_iteration


def timed(plan: Plan, function: BlockFunction, *, iterations: int) -> Extra:
    """Return a plan with what it takes, timed here; compiles its kernel if need be."""
    return Extra(plan, function, iterations, seconds_per_iteration(plan, function, most=iterations))


def compute(
    out: Place,
    extras: Sequence[Extra],
    *,
    backend: Backend,
    quiet: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Mapping[str, npt.NDArray[np.int64]]:
    """Return the null (iteration, statistic) of each plan by its name, computing the blocks that OUT lacks.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        the same call resumes after any of them.
    """
    nonce, started = nonce_of(out), time.time()
    with connect(backend, say=say) as client, noticing_loss(client):
        workers = max(1 if client is None else sum(client.nthreads().values()), backend.most or 1)
        jobs = [job for extra in extras for job in _jobs(out, extra, backend=backend, workers=workers, nonce=nonce)]
        todo = pending(jobs)
        total = sum(job.segment.iterations for job in jobs)
        missing = sum(job.segment.range_of(block)[1] for job, block in todo)
        journal, progress = Journal(out), Progress(total, done=total - missing, quiet=quiet)
        names = [extra.plan.name for extra in extras]
        journal("started", backend=backend.name, blocks=len(todo), extra=names)

        def report(step: Step) -> None:
            progress(step)
            journal.step(step)

        try:
            execute(todo, client=client, report=report)
        except BaseException as error:
            journal("stopped", error=f"{type(error).__name__}: {error}")
            raise
        finally:
            progress.end()
        journal("computed", seconds=round(time.time() - started, 1), extra=names)
    return {
        e.plan.name: gather(out, e.plan, iterations=e.iterations, extra={}, nonce=nonce, function=e.function)[0]
        for e in extras
    }


def _jobs(out: Place, extra: Extra, *, backend: Backend, workers: int, nonce: str) -> list[Job]:
    plan = extra.plan
    found = segments(out, plan)
    if sum(s.iterations for s in found) < extra.iterations:
        size = backend.block_size or block_size(
            iterations=extra.iterations,
            seconds_per_iteration=extra.seconds_per_iteration,
            block_seconds=backend.block_seconds,
            workers=workers,
        )
        found = cover(out, plan, iterations=extra.iterations, block_size=size)
    return [Job(plan, s, extra.function, sink(out, plan, s, extra={}, nonce=nonce)) for s in found]
