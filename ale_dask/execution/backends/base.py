"""The interface of a backend: it starts workers, and takes a run that goes on when the terminal is closed."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ale_dask.config.backend import Backend as Settings
from ale_dask.errors import BackendError
from ale_dask.execution.backends.registry import QUEUES
from ale_dask.storage.location import Place

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submission:
    """Who runs OUT: written there, so that any machine that sees it can follow and cancel."""

    id: str
    how: str
    """process, slurm, dask or kubernetes."""
    host: str
    time: float
    pid: int | None = None
    created: float | None = None
    """When the process was made (s since 1970): a number alone may be another's by now."""
    jobs: tuple[str, ...] = ()
    scheduler: str | None = None
    log: str | None = None
    namespace: str | None = None
    context: str | None = None
    """Of the kubeconfig that it was submitted with."""


def new_submission(how: str, **what: Any) -> Submission:
    """Return a submission made on this machine now, with an id of its own."""
    return Submission(uuid.uuid4().hex, how, socket.gethostname(), time.time(), **what)


@dataclass(frozen=True)
class DetachedRun:
    """A run that is handed over to a backend."""

    out: Place
    create: Callable[[], str]
    """Writes the plans into OUT, once the backend would take the run, and returns the token that proves to a worker
    that it sees OUT."""
    drive: Callable[[str], None]
    """Runs OUT to its end inside a Dask task of the submission with this id."""
    options: Sequence[str] = ()
    """Further arguments of `ale-dask run`."""


@dataclass(frozen=True)
class Backend(ABC):
    """A way to get workers, with the settings of [backend]; a submitted run is a process group of this machine."""

    settings: Settings
    uses_dask: ClassVar[bool] = True
    """False where blocks are computed in a loop of this process, without a client."""
    other_processes: ClassVar[bool] = True
    """False where workers are threads of this process, which cannot have another version of this package."""
    array_first: ClassVar[bool] = False
    """Whether `run` lets `start_array` compute the blocks, and then only writes the results."""

    @property
    def name(self) -> str:
        """Return the name that the user gave, as messages show it."""
        return self.settings.name

    def resolved(self) -> Backend:
        """Return the backend that this one stands for: itself, except for "auto"."""
        return self

    @abstractmethod
    def start(self, stack: contextlib.ExitStack) -> Client | None:
        """Start workers if need be, and return a Dask client of them; the end of `stack` stops what was started.

        Raises
        ------
        BackendError
            when a setting or a package is missing, or no worker can be had.
        """

    def start_array(self, out: Place) -> Submission:
        """Return the job array that computes the blocks which OUT lacks."""
        raise NotImplementedError

    def script(self, out: Place) -> str:
        """Return the job script or manifests that the backend would hand over; nothing is submitted.

        Raises
        ------
        BackendError
            for a backend without them, or settings that do not fit.
        """
        raise BackendError(f"'{self.name}' has no job scripts; these have: {', '.join(QUEUES)}")

    def check(self, out: Place, *, unique: str) -> bool:
        """Log whether a run would be taken and return True, or return False where only `start` can tell."""
        return False

    def submit(self, run: DetachedRun) -> Submission:
        """Return the submission of a run that goes on by itself; it ends with maps, tables and report.

        Raises
        ------
        BackendError
            when nothing can be started, or the workers do not see OUT.
        """
        run.create()
        return _as_process(run)

    def alive(self, submission: Submission, out: Place) -> bool | None:
        """Return whether a submission still waits or runs, or None when it cannot be told from this machine."""
        if submission.host != socket.gethostname() or submission.pid is None:
            return None
        import psutil

        try:
            process = psutil.Process(submission.pid)
            # A zombie has ended; nobody has asked for its exit code yet.
            return bool(process.create_time() == submission.created and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def describe(self, submission: Submission) -> str:
        """Return in words who runs: process, jobs, task or DaskJob."""
        return f"process {submission.pid} on {submission.host}"

    def cancel(self, submission: Submission, out: Place) -> None:
        """Stop a submission that waits or runs; finished blocks are kept.

        Raises
        ------
        BackendError
            when it runs on another machine, or who runs it does not answer.
        """
        if submission.pid is None or self.alive(submission, out) is None:
            raise BackendError(
                f"{out}: runs on {submission.host} ({self.describe(submission)}); give the same command there"
            )
        os.killpg(submission.pid, signal.SIGTERM)

    def logs(self, submission: Submission) -> Iterator[str]:
        """Yield lines about a submission that are not in OUT/logs."""
        yield from ()

    def workers_wanted(self, noun: str = "workers") -> tuple[int, int]:
        """Return the least and the most workers.

        Raises
        ------
        BackendError
            when no number is given.
        """
        if self.settings.least is None or self.settings.most is None:
            raise BackendError(f"{self.name}: say how many {noun}: `-w 16`, or `-w 4:64` to follow the work")
        return self.settings.least, self.settings.most

    def require(self, module: str, *, extra: str) -> None:
        """Check that an optional package is installed.

        Raises
        ------
        BackendError
            when it is not, naming the extra that installs it.
        """
        if importlib.util.find_spec(module) is None:
            package = module.replace("_", "-")
            raise BackendError(f'{self.name}: {package} is not installed: pip install "ale-dask[{extra}]"')


def absolute(out: Place) -> str:
    """Return OUT as other processes of this user find it."""
    return str(out.resolve() if isinstance(out, Path) else out)


def log_folder(out: Place) -> Path | None:
    """Return the folder of OUT for the logs of jobs, or None where OUT is object storage."""
    return out / "logs" if isinstance(out, Path) else None


@contextlib.contextmanager
def cancelled_on_error(backend: Backend, submission: Submission, out: Place) -> Iterator[None]:
    """Cancel a submission when the context ends by an error."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(BackendError):
            backend.cancel(submission, out)
        raise


def wait_for_a_worker(client: Client, *, every: float, waiting: Callable[[], str]) -> None:
    """Return once the scheduler has a worker; the message of `waiting` is logged every so many seconds until then."""
    said = time.monotonic()
    while not client.scheduler_info(n_workers=1)["workers"]:
        time.sleep(0.5)
        if time.monotonic() - said >= every:
            said = time.monotonic()
            log.info(waiting())


def _as_process(run: DetachedRun) -> Submission:
    """Return the submission of `ale-dask run OUT` as a process group of this machine."""
    import psutil

    now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    if isinstance(run.out, Path):
        path = run.out.resolve() / "logs" / f"run-{now}.log"
    else:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        path = Path(state) / "ale_dask" / f"{run.out.name}-{now}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    where = absolute(run.out)
    with path.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "ale_dask.cli", "run", where, "-o", where, *run.options],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            # A group of its own: closing the terminal does not reach it.
            start_new_session=True,
        )
    # Whoever submits from a session that goes on must not keep a zombie of the run.
    threading.Thread(target=process.wait, daemon=True).start()
    return new_submission("process", pid=process.pid, created=psutil.Process(process.pid).create_time(), log=str(path))
