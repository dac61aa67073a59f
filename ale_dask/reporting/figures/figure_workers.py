"""Draw figures in processes of their own, which import nilearn (4 s) while the run still computes.

A figure worker reads its work from a pipe and ends when the pipe does: also when this process was killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import xarray as xr

from ale_dask.reporting.common.extra import PICTURES, available
from ale_dask.reporting.figures.maps import write_figures
from ale_dask.reporting.figures.slices import background
from ale_dask.reporting.figures.study_context import StudyContext
from ale_dask.reporting.figures.viewer_layers import Backdrop, template
from ale_dask.storage.location import note_written

COUNT = 2
"""Figure workers: each takes 0.3 GB, and a study has about a dozen pictures of 0.8 s."""


Work = tuple[Path, xr.Dataset, StudyContext]
"""The folder of an analysis, its result, and the study context that its figures are drawn with."""


def _draw(work: Work) -> list[Path]:
    folder, result, context = work
    return write_figures(result, folder, context=context)


def _serve(pipe: Connection) -> None:
    # The run's own process decides what an interrupt means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    background()
    while True:
        try:
            request = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(_draw(request) if request else template())
        except Exception as error:
            pipe.send(error)


class FigureWorkers:
    """Processes that draw the figures of a study, one analysis at a time each."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def draw(self, results: Sequence[Work]) -> Iterator[list[Path]]:
        """Yield the paths of each analysis's figures as workers finish them.

        Raises
        ------
        StoreError
            when a picture cannot be written.
        """
        work = iter(results)
        busy: set[Any] = set()
        for pipe in self._pipes:
            self._send_next(pipe, work, busy)
        while busy:
            for pipe in [p for p in self._pipes if p in multiprocessing.connection.wait(busy)]:
                busy.discard(pipe)
                paths = pipe.recv()
                if isinstance(paths, Exception):
                    raise paths
                self._send_next(pipe, work, busy)
                note_written(paths)
                yield paths

    def backdrop(self) -> Backdrop | None:
        """Return the brain behind the page's slices; a figure worker has nilearn, this process need not."""
        self._pipes[0].send(None)
        backdrop = self._pipes[0].recv()
        if isinstance(backdrop, Exception):
            raise backdrop
        return backdrop if isinstance(backdrop, Backdrop) else None

    @staticmethod
    def _send_next(pipe: Connection, work: Iterator[Work], busy: set[Any]) -> None:
        if (analysis := next(work, None)) is not None:
            pipe.send(analysis)
            busy.add(pipe)


class InProcessFigures:
    """Draw as `FigureWorkers` do, in this process: a new one would rerun a user's script without a main guard."""

    def draw(self, results: Sequence[Work]) -> Iterator[list[Path]]:
        """Yield the paths of each analysis's figures."""
        for work in results:
            yield _draw(work)

    def backdrop(self) -> Backdrop | None:
        """Return the brain behind the page's slices, or None without nilearn."""
        return template() if available(*PICTURES) else None


@contextlib.contextmanager
def figure_workers(*, wanted: bool) -> Iterator[FigureWorkers | None]:
    """Yield figure workers that are starting up, or None when no figures are wanted or can be drawn."""
    if not wanted or not available(*PICTURES):
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(COUNT):
        own_end, worker_end = context.Pipe()
        process = context.Process(target=_serve, args=(worker_end,), daemon=True)
        process.start()
        worker_end.close()
        pipes.append(own_end)
        processes.append(process)
    try:
        yield FigureWorkers(pipes)
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.close()
            process.join(1)
            process.terminate()
            process.join()
