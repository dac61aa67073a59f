"""Compute the missing blocks of jobs on the workers of a backend, and tell how far they are."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np

from ale_dask.analyses.kinds import PLANS
from ale_dask.config.backend import Backend
from ale_dask.config.inference import Inference
from ale_dask.config.study import Study
from ale_dask.coordinates.masks import load_space
from ale_dask.execution.backends.connect import connect, noticing_loss, usable
from ale_dask.execution.backends.registry import backend_of
from ale_dask.execution.executors import Job, Report, Step, Todo, Watched, execute, pending
from ale_dask.execution.journal import Journal
from ale_dask.execution.monitor.driver import announce, check_report, monitored, performance_of
from ale_dask.execution.monitor.state import Analysis
from ale_dask.execution.progress import Progress
from ale_dask.storage.location import Place
from ale_dask.version import __version__

if TYPE_CHECKING:
    from distributed import Client


log = logging.getLogger(__name__)
_READ_AGAIN = 500
"""Largest number of stored blocks that are read again for the threshold that the live view shows."""
_WITH_CLUSTERS = 50
"""Largest number of analyses whose clusters are labelled for the live view."""


@contextmanager
def workers_of(backend: Backend, *, client: Client | None) -> Iterator[Client | None]:
    """Yield a client of the backend, or the given one; a lost scheduler raises one BackendError inside the context."""
    check_report(wanted=backend.dask_report and backend_of(backend).uses_dask)
    connecting = connect(backend) if client is None else nullcontext(usable(client))
    with connecting as connected, noticing_loss(connected):
        if connected is not None:
            announce(connected)
        yield connected


def carry_out(
    jobs: Sequence[Job],
    out: Place,
    *,
    study: Study,
    client: Client | None,
    journal: Journal | None = None,
    quiet: bool = False,
    on_step: Report = lambda step: None,
) -> None:
    """Compute the missing blocks of jobs; progress goes to the terminal, the journal of OUT and the live view.

    Raises
    ------
    UnfinishedError
        when blocks failed three times; the others are done.
    """
    journal = journal or Journal(out)
    todo = pending(jobs)
    total = sum(job.segment.iterations for job in jobs)
    missing = sum(job.segment.range_of(block)[1] for job, block in todo)
    journal("started", backend=study.backend.name, blocks=len(todo), version=__version__)
    progress = Progress(total, done=total - missing, quiet=quiet)

    def report(step: Step) -> None:
        progress(step)
        journal.step(step)
        on_step(step)

    analyses = {} if client is None else _monitor_states(jobs, todo, study.inference)
    if analyses and "mask" not in study.sweep:
        voxel = load_space(study.inference).voxel_volume
        for each in analyses.values():
            each.mm3 = voxel
    with (
        performance_of(client, out, wanted=study.backend.dask_report),
        monitored(client, token=uuid.uuid4().hex[:12], title=study.title, analyses=analyses) as token,
    ):
        statistics = {name: a.statistic for name, a in analyses.items()}
        try:
            execute(todo, client=client, report=report, watched=None if token is None else Watched(token, statistics))
        finally:
            progress.end()


def _monitor_states(jobs: Sequence[Job], todo: Todo, inference: Inference) -> dict[str, Analysis]:
    """Return the state of each analysis by name with which the live view begins."""
    missing = {(id(job), block) for job, block in todo}
    analyses: dict[str, Analysis] = {}
    read = 0
    for job in jobs:
        statistic = PLANS[job.plan.kind].statistic(job.plan, inference)
        if job.plan.name not in analyses:
            # Labelling the clusters takes 12 ms per analysis, and a sweep may have thousands.
            labelled = len(analyses) < _WITH_CLUSTERS
            observed, eps = (labelled and PLANS[job.plan.kind].observed(job.plan, inference)) or (None, 0.0)
            analyses[job.plan.name] = Analysis(statistic=statistic, observed=observed, eps=eps)
        a = analyses[job.plan.name]
        a.wanted += job.segment.iterations
        for block in range(job.segment.n_blocks):
            if (id(job), block) in missing:
                continue
            a.earlier += job.segment.range_of(block)[1]
            # A long run that is resumed may have many blocks; some are enough for the live view.
            if statistic is not None and read < _READ_AGAIN and (arrays := job.sink.read(block)) is not None:
                read += 1
                a.seen += len(arrays["null"])
                a.top.append(np.frombuffer(statistic.largest(arrays["null"][:, 1:]), dtype="<i8").astype(np.int64))
    return analyses
