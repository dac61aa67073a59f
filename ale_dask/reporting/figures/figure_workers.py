"""Pictures drawn in processes of their own, which import nilearn (4 s) while the run still computes.

A painter reads its work from a pipe and ends when the pipe does: also when this process was killed.
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
"""Painters: each takes 0.3 GB, and a study has about a dozen pictures of 0.8 s."""


Work = tuple[Path, xr.Dataset, StudyContext]
"""A folder, and the analysis that is drawn there with what its study adds."""


def _drawn(work: Work, simulated: bool) -> list[Path]:
    folder, result, company = work
    return write_figures(result, folder, simulated=simulated, company=company)


def _paint(pipe: Connection) -> None:
    # The run's own process decides what an interrupt means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    background()
    while True:
        try:
            asked = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(_drawn(*asked) if asked else template())
        except Exception as error:
            pipe.send(error)


class Painters:
    """Processes that draw; `draw` hands out the analyses of a study and waits for all pictures."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def draw(self, results: Sequence[Work], *, simulated: bool) -> Iterator[list[Path]]:
        """Yield the pictures of each analysis as painters finish them.

        Raises
        ------
        StoreError
            when a picture cannot be written.
        """
        work = iter(results)
        busy: set[Any] = set()
        for pipe in self._pipes:
            self._next(pipe, work, busy, simulated)
        while busy:
            for pipe in [p for p in self._pipes if p in multiprocessing.connection.wait(busy)]:
                busy.discard(pipe)
                drawn = pipe.recv()
                if isinstance(drawn, Exception):
                    raise drawn
                self._next(pipe, work, busy, simulated)
                note_written(drawn)
                yield drawn

    def backdrop(self) -> Backdrop | None:
        """Return the brain behind the page's slices; a painter has nilearn, this process need not."""
        self._pipes[0].send(None)
        made = self._pipes[0].recv()
        if isinstance(made, Exception):
            raise made
        return made if isinstance(made, Backdrop) else None

    @staticmethod
    def _next(pipe: Connection, work: Iterator[Work], busy: set[Any], simulated: bool) -> None:
        for each in work:
            pipe.send((each, simulated))
            busy.add(pipe)
            return


class DrawsHere:
    """As `Painters`, in this process: a new one would run a user's script again that has no main guard."""

    def draw(self, results: Sequence[Work], *, simulated: bool) -> Iterator[list[Path]]:
        """Yield the pictures of each analysis."""
        for work in results:
            yield _drawn(work, simulated)

    def backdrop(self) -> Backdrop | None:
        """Return the brain behind the page's slices, or None without nilearn."""
        return template() if available(*PICTURES) else None


@contextlib.contextmanager
def painters(*, wanted: bool) -> Iterator[Painters | None]:
    """Yield painters that are starting up, or None when no pictures are wanted or can be drawn."""
    if not wanted or not available(*PICTURES):
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(COUNT):
        ours, theirs = context.Pipe()
        process = context.Process(target=_paint, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        yield Painters(pipes)
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.close()
            process.join(1)
            process.terminate()
            process.join()
