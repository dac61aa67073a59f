"""From a backend's name to a Dask client; "serial" is the plain loop, without one."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ale_dask.words.errors import BackendError

if TYPE_CHECKING:
    from distributed import Client

NAMES = ("threads", "processes", "serial", "tcp://HOST:PORT", "tls://HOST:PORT")


def worker_versions() -> dict[str, str]:
    """Return what must be the same on client and workers."""
    from ale_dask.numerics import NUMERICS_VERSION
    from ale_dask.words.version import __version__

    return {"ale_dask": __version__, "numerics": str(NUMERICS_VERSION)}


def cpu_count() -> int:
    """Return the CPUs that this process may use, by its affinity and cgroup."""
    from dask.system import CPU_COUNT

    return int(CPU_COUNT)


@contextlib.contextmanager
def connect(name: str, *, workers: int | None = None) -> Iterator[Client | None]:
    """Yield a client of the backend, or None for "serial"; what was started here is stopped here.

    Raises
    ------
    BackendError
        for an unknown name, a scheduler that does not answer, or workers with another version.
    """
    if name == "serial":
        yield None
        return
    import dask
    from distributed import Client, LocalCluster
    from distributed.security import Security

    count = workers or cpu_count()
    dashboard = "127.0.0.1:0" if importlib.util.find_spec("bokeh") else None
    local: dict[str, Any] = {"dashboard_address": dashboard, "silence_logs": 50}
    with contextlib.ExitStack() as stack:
        # Blocks hold no Python lock, but a laptop may sleep: five minutes of silence is not death.
        stack.enter_context(dask.config.set({"distributed.scheduler.worker-ttl": "5 minutes"}))
        if name == "threads":
            cluster = stack.enter_context(
                LocalCluster(processes=False, n_workers=1, threads_per_worker=count, protocol="inproc://", **local)
            )
            client = stack.enter_context(Client(cluster))
        elif name == "processes":
            # TLS even on loopback: a login node is shared, and a Dask scheduler runs what it is sent.
            cluster = stack.enter_context(
                LocalCluster(
                    processes=True,
                    n_workers=count,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    protocol="tls://",
                    security=Security.temporary(),
                    **local,
                )
            )
            client = stack.enter_context(Client(cluster))
        elif name.startswith(("tcp://", "tls://")):
            try:
                client = stack.enter_context(Client(name, timeout=10, set_as_default=False))
            except (OSError, TimeoutError, TypeError, ValueError) as error:
                raise BackendError(
                    f"no Dask scheduler answers at {name} ({error}); check the address and, for tls://, that "
                    "distributed.comm.tls names this cluster's certificates"
                ) from error
            _check_workers(client, name)
        else:
            raise BackendError(f"unknown backend '{name}'; use one of: {', '.join(NAMES)}")
        yield client


def dashboard(client: Client) -> str | None:
    """Return the dashboard's address, or None where there is none; ours listen on loopback only."""
    services = client.scheduler_info(n_workers=0).get("services", {})
    if "dashboard" not in services:
        return None
    if client.cluster is not None:
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
