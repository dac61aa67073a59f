"""The command that downloads: fetch."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from ale_dask.cli.messages import show_messages
from ale_dask.cli.options import N, Quiet

_LOG_SECONDS = 15.0
_TERMINAL_SECONDS = 0.1


class Transfer:
    """Prints the bytes of a download: in place on a terminal, every 15 s in a log."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()
        self.name = ""
        self.begin = 0
        self.open = False
        self.start = self.last = 0.0

    def __call__(self, name: str, done: int, total: int | None) -> None:
        """Print the bytes done of a file, unless they were printed a moment ago."""
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
        # A line that wraps cannot be overwritten, so the name loses its beginning, which says less than its end.
        room = max(shutil.get_terminal_size().columns - 1 - len(text), 1) if self.terminal else len(name)
        line = name[-room:] + text
        self.open = self.terminal and not ended
        sys.stderr.write(f"\r\x1b[2K{line}" + "\n" * ended if self.terminal else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """End the line that was printed in place."""
        if self.open:
            sys.stderr.write("\n")


def fetch(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="SET",
            help="children-language, ptsd, reward, neurosynth, neuroquery, neurostore:ID of a studyset, or an atlas: "
            "yeo7, yeo17, schaefer100 ….",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", dir_okay=False, help="Table of foci to write (.csv, .tsv), or JSON for neurostore."
        ),
    ] = None,
    term: Annotated[
        list[str] | None,
        typer.Option("--term", help="Only studies indexed by this term; if given repeatedly, by all of them."),
    ] = None,
    above: Annotated[float, typer.Option("--above", help="Smallest tf-idf at which a term indexes a study.")] = 0.001,
    n: N = None,
    quiet: Quiet = False,
) -> None:
    """Download published coordinates once: a data set by name, Neurosynth, NeuroQuery or a studyset of NeuroStore."""
    from ale_dask.datasets.fetch import fetch as of

    show_messages(quiet=quiet)
    transfer = Transfer()
    try:
        paths = of(
            dataset,
            out=out,
            terms=term or (),
            above=above,
            n=n,
            progress=None if quiet else transfer,
        )
    finally:
        transfer.end()
    for path in paths:
        print(path)
