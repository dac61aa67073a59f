"""Progress: one line that moves on a terminal, a bar in a notebook, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any, TextIO

from ale_dask.execution.executors import Step

_LOG_SECONDS = 15.0
_TERMINAL_SECONDS = 0.1
_NOTEBOOK_SECONDS = 0.5
"""Seconds between two states of a notebook's bar, and before the first: what takes less needs no bar."""


def clock(seconds: float) -> str:
    """Return a duration as 0:07 or 1:02:03."""
    total = int(seconds + 0.5)
    hours, rest = divmod(total, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def per_second(rate: float) -> str:
    """Return a rate as 1,234/s or .07/s: an iteration may take a minute."""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s".removeprefix("0")


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class _Bar:
    """A bar below the running cell of a notebook, which changes in its place."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, line: str, share: float) -> None:
        """Show a line and the share that is done, from 0 to 1."""
        from IPython.display import display

        bar = f'<progress value="{share:.4f}" style="width: 20em; vertical-align: middle"></progress>'
        content = {"text/plain": line, "text/html": f"<div>{bar} {escape(line)}</div>"}
        if self.handle is None:
            self.handle = display(content, raw=True, display_id=True)
        else:
            self.handle.update(content, raw=True)


class Progress:
    """Counts iterations of all analyses, or what `unit` says instead; call it with every step."""

    def __init__(
        self,
        total: int,
        *,
        done: int = 0,
        stream: TextIO | None = None,
        quiet: bool = False,
        unit: str = "iterations",
    ) -> None:
        self.total, self.done, self.before, self.failed, self.unit = total, done, done, 0, unit
        self.bar = _Bar() if stream is None and in_notebook() else None
        self.stream = stream or sys.stderr
        self.quiet = quiet
        self.terminal = self.stream.isatty()
        self.start = time.monotonic()
        self.last = 0.0 if self.terminal else self.start

    def __call__(self, step: Step) -> None:
        """Count the iterations of a block, and show them if the last line is old enough."""
        self.done += step.iterations
        self.failed += step.failed
        now = time.monotonic()
        wait = _NOTEBOOK_SECONDS if self.bar else _TERMINAL_SECONDS if self.terminal else _LOG_SECONDS
        if now - self.last >= wait:
            self.last = now
            self._show(step.name, now)

    def _show(self, name: str, now: float) -> None:
        if self.quiet:
            return
        rate = (self.done - self.before) / max(now - self.start, 1e-9)
        left = clock((self.total - self.done) / rate) if rate > 0 else "?"
        failed = f", {self.failed} block(s) failed" if self.failed else ""
        self._write(f"{self.done:,}/{self.total:,} {self.unit}, {per_second(rate)}, {left} left ({name}){failed}")

    def _write(self, line: str, *, end: str = "") -> None:
        if self.bar is not None:
            self.bar.show(line, self.done / max(self.total, 1))
            return
        self.stream.write(f"\r\x1b[2K{line}{end}" if self.terminal else f"{line}\n")
        self.stream.flush()

    def end(self) -> None:
        """Show the last line; a notebook shows none where all was done before its bar appeared."""
        if self.quiet or self.done == self.before or (self.bar is not None and self.bar.handle is None):
            return
        self._write(f"{self.done - self.before:,} {self.unit} in {clock(time.monotonic() - self.start)}", end="\n")
