"""The command line called in this process: what it prints, and the exit code that a shell would see.

A start of the interpreter takes 3 s for its imports. Tests of signals, of killed processes and of what is imported
start a process of their own.
"""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from ale_dask.cli import main

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def ale(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command of ale-dask, hold its exit code to `code`, and return what it printed."""
    words = [str(argument) for argument in arguments]
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    out, err = io.StringIO(), io.StringIO()
    try:
        # A warning is no error outside of pytest either.
        with (
            patch.object(sys, "argv", ["ale-dask", *words]),
            redirect_stdout(out),
            redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("default")
            try:
                main()
                ended: object = 0
            except SystemExit as stop:
                ended = stop.code or 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ended == code, f"exit {ended}\n{out.getvalue()}\n{err.getvalue()}"
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


ALE = [sys.executable, "-m", "ale_dask.cli"]


def quietly(command: str, *arguments: object, code: int = 0) -> tuple[str, str]:
    """Run a command without pictures, and return what it printed on standard output and on standard error."""
    common = ["-q", "--no-pictures", "--json"] if command in ("run", "extend") else []
    done = ale(command, *arguments, *common, code=code)
    return done.stdout, done.stderr
