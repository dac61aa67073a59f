"""Connect to the workers of a backend, and ask a Dask client about them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ale_dask.config.backend import Backend as Settings
from ale_dask.errors import AleError, BackendError, UnfinishedError
from ale_dask.execution.backends.registry import backend_of

if TYPE_CHECKING:
    from distributed import Client

_SETTINGS = {
    # Blocks hold no Python lock, but a laptop may sleep: five minutes of silence is not death.
    "distributed.scheduler.worker-ttl": "5 minutes",
    # Dask measures its own load 2 to 100 times a second, which costs 6 % of a core with threads and 15 % with two idle
    # processes. With these intervals it costs 1 % and 2 %, and still notices a change within a block.
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.memory.monitor-interval": "500ms",
    "distributed.worker.profile.interval": "1s",
    # Messages that are kept of each connection, 3 kB for each block: with Dask's 1,000, the scheduler of 200 workers
    # grew by 300 MB over 90,000 blocks.
    "distributed.admin.low-level-log-length": 100,
}

_USED: list[bool] = []
_FORKED: list[bool] = []


def _after_fork() -> None:
    module = sys.modules.get("distributed.client")
    if _USED or (module is not None and len(module.Client._instances)):
        _FORKED.append(True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def worker_versions() -> dict[str, str]:
    """Return the versions that must be the same on client and workers."""
    from ale_dask.numerics import NUMERICS_VERSION
    from ale_dask.version import __version__

    return {"ale_dask": __version__, "numerics": str(NUMERICS_VERSION)}


def cpu_count() -> int:
    """Return the CPUs that this process may use, by its affinity and cgroup."""
    from dask.system import CPU_COUNT

    return int(CPU_COUNT)


@contextlib.contextmanager
def connect(settings: Settings) -> Iterator[Client | None]:
    """Yield a client of a backend, or None for "serial"; workers started for it are stopped at the end.

    Raises
    ------
    BackendError
        for an unknown name, a backend that cannot be reached or started, or workers with another version.
    """
    backend = backend_of(settings)
    if not backend.uses_dask:
        yield None
        return
    if _FORKED:
        # A forked process has none of Dask's threads: waiting for them would never end.
        raise BackendError(
            "this process was forked from one that had used Dask, whose threads did not come along; use the backend "
            '"serial" here, or start processes with multiprocessing.get_context("spawn")'
        )
    _USED.append(True)
    import dask

    # Imported here, its defaults outlast the context of `dask.config.set` below.
    import distributed  # noqa: F401

    backend = backend.resolved()
    with contextlib.ExitStack() as stack:
        stack.callback(_forget_lost_client)
        stack.enter_context(dask.config.set(_SETTINGS))
        client = backend.start(stack)
        if client is not None and backend.other_processes:
            _check_workers(client, backend.name)
        yield client


def usable(client: Client) -> Client:
    """Return a client that the caller has given, if it is synchronous.

    Raises
    ------
    BackendError
        when it is asynchronous.
    """
    if client.asynchronous:
        raise BackendError(
            "the client that was given is asynchronous; give one that is not, such as Client(address) outside the "
            "event loop, or none: this call waits for its results"
        )
    return client


def threads_of(client: Client | None, settings: Settings) -> int:
    """Return the number of threads that compute at once, of the workers there are or, if more, of those to come."""
    return max(1 if client is None else sum(client.nthreads().values()), settings.most or 1)


def _forget_lost_client() -> None:
    """Let Dask compute in this process again once no client is left.

    Of two clients in threads of one process, each restores at its end the scheduler that was set before it. So the
    last to close sets that of the first, which is closed, and no Dask graph could be computed any more.
    """
    import dask
    from distributed import default_client

    try:
        default_client()
    except ValueError:
        if dask.config.get("scheduler", None) == "dask.distributed":
            dask.config.config.pop("scheduler")


@contextlib.contextmanager
def noticing_loss(client: Client | None) -> Iterator[None]:
    """Turn the many errors of Dask for a lost scheduler, or a worker that dies too often, into UnfinishedError.

    Raises
    ------
    UnfinishedError
        when that happens inside the context.
    """
    try:
        yield
    except AleError:
        raise
    except Exception as error:
        if client is None:
            raise
        from concurrent.futures import CancelledError

        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker, NoValidWorkerError

        lost = (CommClosedError, CancelledError, TimeoutError, KilledWorker, NoValidWorkerError)
        if isinstance(error, lost) or client.status != "running":
            raise UnfinishedError(
                f"the scheduler or its workers were lost ({type(error).__name__}: {error}); finished blocks are kept, "
                "the same command resumes"
            ) from error
        raise


def active_client() -> Client | None:
    """Return the client that this process made last and has not closed, or None."""
    if "distributed" not in sys.modules or _FORKED:
        return None
    from distributed import Client

    try:
        client = Client.current()
    except ValueError:
        return None
    return None if client.asynchronous else client


def dashboard(client: Client) -> str | None:
    """Return the dashboard's address, or None where there is none; ours listen on loopback only."""
    services = client.scheduler_info(n_workers=0).get("services", {})
    if "dashboard" not in services:
        return None
    if hasattr(client.cluster, "gateway"):
        return str(client.cluster.dashboard_link)
    if client.cluster is not None:
        if importlib.util.find_spec("bokeh") is None:
            return None
        return f"http://127.0.0.1:{services['dashboard']}/status"
    return str(client.dashboard_link)


def _check_workers(client: Client, name: str) -> None:
    try:
        found = client.run(worker_versions)
    except Exception as error:
        raise BackendError(
            f"the workers of {name} cannot import ale_dask ({error}); install the same version there"
        ) from error
    if not found:
        raise BackendError(f"the scheduler at {name} has no workers; start some, then run the same command")
    mine = worker_versions()
    for address, theirs in found.items():
        if theirs != mine:
            raise BackendError(f"worker {address} has {theirs}, this client {mine}; install the same version on both")
