"""The command that downloads: fetch."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ale_dask.cli.options import N, Quiet, show_messages

_LOG_SECONDS = 15.0
_TERMINAL_SECONDS = 0.1


class Transfer:
    """Shows the bytes of a download: one line that moves on a terminal, a line now and then in a log."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.name = ""
        self.begin = 0
        self.open = False
        self.start = self.last = 0.0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Show how far a file is, if it is time to."""
        from ale_dask.execution.progress import clock

        now = time.monotonic()
        if name != self.name:
            self.name, self.begin, self.start, self.last = name, done, now, now
        ended = done == total
        if not ended and now - self.last < (_TERMINAL_SECONDS if self.terminal else _LOG_SECONDS):
            return
        self.last = now
        rate = (done - self.begin) / max(now - self.start, 1e-9)
        of = "" if total is None else f" of {total / 1e6:,.1f}"
        left = f", {clock((total - done) / rate)} left" if total is not None and rate and not ended else ""
        before = f", {self.begin / 1e6:,.1f} of them from before" if self.begin else ""
        text = f": {done / 1e6:,.1f}{of} MB{before}, {rate / 1e6:,.1f} MB/s{left}"
        # A line that wraps cannot be written over; the end of a name says more than its beginning.
        room = max(shutil.get_terminal_size().columns - 1 - len(text), 1) if self.terminal else len(name)
        line = name[-room:] + text
        self.open = self.terminal and not ended
        sys.stderr.write(f"\r\x1b[2K{line}" + "\n" * ended if self.terminal else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line that moves."""
        if self.open:
            sys.stderr.write("\n")


def fetch(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="children-language, ptsd, reward, neurosynth, neuroquery, or neurostore:ID of a studyset.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", dir_okay=False, help="Table of foci to write (.csv, .tsv); of neurostore, JSON."),
    ] = None,
    term: Annotated[
        list[str] | None, typer.Option("--term", help="Only studies indexed by this term; of several, by all.")
    ] = None,
    above: Annotated[float, typer.Option("--above", help="The tf-idf that indexes a study.")] = 0.001,
    n: N = None,
    quiet: Quiet = False,
) -> None:
    """Download published coordinates once: a data set by name, Neurosynth, NeuroQuery or a studyset of NeuroStore."""
    from ale_dask.datasets.fetch import fetch as of

    show_messages(quiet=quiet)
    transfer = Transfer()
    try:
        found = of(
            what,
            out=out,
            terms=term or (),
            above=above,
            n=n,
            progress=None if quiet else transfer,
        )
    finally:
        transfer.end()
    for path in found:
        print(path)
