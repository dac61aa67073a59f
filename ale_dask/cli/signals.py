"""Let SIGTERM and Ctrl-C end a command between two blocks, and no more once its results are written."""

from __future__ import annotations

import signal
from typing import Any


class Stopped(BaseException):
    """Raised when a signal stops this process; no Exception, so that no handler of failures swallows it."""


_stopped: list[Stopped] = []
"""What a signal raised in this process; numba turns it into an error of its own while it saves a compiled kernel."""


def stopped_by() -> Stopped | None:
    """Return what a signal raised in this process, if one did."""
    return _stopped[-1] if _stopped else None


def stop_on_signals() -> None:
    """Let SIGTERM and Ctrl-C end this process with exit code 75 between two blocks; a second SIGTERM is ignored."""
    _stopped.clear()

    def stopped(number: int, frame: Any) -> None:
        # Slurm signals a job's processes one by one; a second Ctrl-C is a person who does not want to wait.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        name = signal.Signals(number).name
        _stopped.append(Stopped(f"stopped by {name}; finished blocks are kept, the same command resumes"))
        raise _stopped[-1]

    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGINT, stopped)


def ignore_signals() -> None:
    """Ignore Ctrl-C and SIGTERM from now on: all results are written, and only lines about them are left to print."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
