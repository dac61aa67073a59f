"""Run a command of the user's once a run has ended, well or badly."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ale_dask.cli.options import AFTER_VARIABLE
from ale_dask.cli.signals import Stopped
from ale_dask.errors import AleError, UnfinishedError

log = logging.getLogger(__name__)
_STATES = {0: "finished", UnfinishedError.exit_code: "unfinished"}


@contextmanager
def run_afterwards(command: str | None, out: str) -> Iterator[None]:
    """Run a shell command of the user's after the code inside the context, whether that succeeded or failed.

    The command learns how it ended from ALE_DASK_OUT, ALE_DASK_STATE (finished, unfinished or failed),
    ALE_DASK_EXIT_CODE and ALE_DASK_MESSAGE in its environment. If the command itself fails, that is printed in one
    line and changes nothing of the run.
    """
    try:
        yield
    except BaseException as error:
        _run(command, out, code=_exit_code(error), message=str(error))
        raise
    _run(command, out, code=0, message="")


def _exit_code(error: BaseException) -> int:
    """Return the exit code with which this process will end for an exception, usage errors of typer included."""
    if isinstance(error, Stopped):
        return UnfinishedError.exit_code
    return int(getattr(error, "exit_code", AleError.exit_code))


def _run(command: str | None, out: str, *, code: int, message: str) -> None:
    if not command:
        return
    told = {
        "ALE_DASK_OUT": out,
        "ALE_DASK_STATE": _STATES.get(code, "failed"),
        "ALE_DASK_EXIT_CODE": str(code),
        "ALE_DASK_MESSAGE": message,
    }
    # A run that the command starts must not start the command again.
    env = {name: value for name, value in os.environ.items() if name != AFTER_VARIABLE} | told
    for number in (signal.SIGINT, signal.SIGTERM):
        # The command would inherit that a signal is ignored, but not a handler: Ctrl-C ends it, and it alone.
        signal.signal(number, lambda number, frame: None)
    sys.stdout.flush()
    try:
        # Its standard output becomes our standard error: ours may be read as JSON.
        ended = subprocess.run(command, shell=True, env=env, stdin=subprocess.DEVNULL, stdout=2).returncode
    except (OSError, ValueError) as error:
        log.warning(f"--after: '{command}' could not be started ({error}); the run is not affected")
        return
    if ended:
        log.warning(f"--after: '{command}' ended with {ended}; the run is not affected")
