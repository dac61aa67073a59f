"""Draw figures in a process that imports its libraries (2 s) while the run still computes, and in this one.

The figure worker reads its work from a pipe and ends when the pipe does: also when this process was killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
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


class FigureWorker:
    """A process that draws the figures of a study together with this one, an analysis at a time each."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def draw(self, results: Sequence[Work]) -> Iterator[list[Path]]:
        """Yield the paths of each analysis's figures, drawn by the worker or, while it is busy, in this process.

        Raises
        ------
        StoreError
            when a picture cannot be written.
        """
        left = list(results)
        busy = self._send_next(left)
        while busy:
            if left and not self._pipe.poll():
                yield _draw(left.pop(0))
                continue
            paths = self._received()
            busy = self._send_next(left)
            note_written(paths)
            yield paths

    def backdrop(self) -> Backdrop | None:
        """Return the brain behind the page's slices, packed by the worker."""
        self._pipe.send(None)
        backdrop = self._received()
        return backdrop if isinstance(backdrop, Backdrop) else None

    def _send_next(self, left: list[Work]) -> bool:
        """Send the worker the first analysis that is left, and return whether there was one."""
        if left:
            self._pipe.send(left.pop(0))
            return True
        return False

    def _received(self) -> Any:
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


class InProcessFigures:
    """Draw as a `FigureWorker` does, in this process: a new one would rerun a user's script without a main guard."""

    def draw(self, results: Sequence[Work]) -> Iterator[list[Path]]:
        """Yield the paths of each analysis's figures."""
        for work in results:
            yield _draw(work)

    def backdrop(self) -> Backdrop | None:
        """Return the brain behind the page's slices, or None without nilearn."""
        return template() if available(*PICTURES) else None


@contextlib.contextmanager
def figure_worker(*, wanted: bool) -> Iterator[FigureWorker | None]:
    """Yield a figure worker that is starting up, or None when no figures are wanted or can be drawn."""
    if not wanted or not available(*PICTURES):
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pipe, worker_end = context.Pipe()
    process = context.Process(target=_serve, args=(worker_end,), daemon=True)
    process.start()
    worker_end.close()
    try:
        yield FigureWorker(pipe)
    finally:
        pipe.close()
        process.join(1)
        process.terminate()
        process.join()
