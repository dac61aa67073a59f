"""Progress: one line that moves on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from ale_dask.execution.executors import Step

_LOG_SECONDS = 15.0
_TERMINAL_SECONDS = 0.1


def clock(seconds: float) -> str:
    """Return a duration as 0:07 or 1:02:03."""
    total = int(seconds + 0.5)
    hours, rest = divmod(total, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class Progress:
    """Counts iterations of all analyses; call it with every step."""

    def __init__(self, total: int, *, done: int = 0, stream: TextIO | None = None, quiet: bool = False) -> None:
        self.total, self.done, self.before, self.failed = total, done, done, 0
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
        if now - self.last >= (_TERMINAL_SECONDS if self.terminal else _LOG_SECONDS):
            self.last = now
            self._show(step.name, now)

    def _show(self, name: str, now: float) -> None:
        if self.quiet:
            return
        rate = (self.done - self.before) / max(now - self.start, 1e-9)
        left = clock((self.total - self.done) / rate) if rate > 0 else "?"
        failed = f", {self.failed} block(s) failed" if self.failed else ""
        line = f"{self.done:,}/{self.total:,} iterations, {rate:,.0f}/s, {left} left ({name}){failed}"
        self.stream.write(f"\r\x1b[2K{line}" if self.terminal else f"{line}\n")
        self.stream.flush()

    def end(self) -> None:
        """Show the last line."""
        if self.quiet or self.done == self.before:
            return
        seconds = time.monotonic() - self.start
        line = f"{self.done - self.before:,} iterations in {clock(seconds)}"
        self.stream.write(f"\r\x1b[2K{line}\n" if self.terminal else f"{line}\n")
        self.stream.flush()
