"""Workers on this machine: a loop of this process, its threads, or processes started here."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from ale_dask.execution.backends.base import Backend
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.backends.forked import start_method
from ale_dask.execution.backends.pages import add_dask_pages
from ale_dask.execution.backends.tls import LOOPBACK

if TYPE_CHECKING:
    from distributed import Client, LocalCluster


class Serial(Backend):
    """A plain loop over the blocks, the reference that all other backends must equal."""

    uses_dask = False

    def start(self, stack: contextlib.ExitStack) -> None:
        """Return no client."""


class Threads(Backend):
    """Threads of this process, so many or one per CPU."""

    other_processes = False

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of threads of this process; nothing listens on a port but the dashboard."""
        from distributed import LocalCluster, Worker

        threads = self.settings.most or cpu_count()
        cluster = LocalCluster(
            processes=False, n_workers=1, threads_per_worker=threads, protocol="inproc://", **_options(Worker)
        )
        return _client(cluster, stack)


class Processes(Backend):
    """Processes with one thread each, so many or one per CPU."""

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of processes of this machine."""
        import dask
        from distributed import LocalCluster, Nanny, Security

        stack.enter_context(dask.config.set({"distributed.worker.multiprocessing-method": start_method()}))
        # TLS even on loopback: a login node is shared, and a Dask scheduler runs what it is sent.
        cluster = LocalCluster(
            processes=True,
            n_workers=self.settings.most or cpu_count(),
            threads_per_worker=1,
            host="127.0.0.1",
            protocol="tls://",
            security=Security.temporary(),
            # A forked process has the environment of an earlier moment.
            env=dict(os.environ),
            **_options(Nanny),
        )
        return _client(cluster, stack)


def _client(cluster: LocalCluster, stack: contextlib.ExitStack) -> Client:
    """Return a client of a cluster of this machine; its scheduler serves Dask's dashboard where bokeh is there."""
    from distributed import Client

    stack.enter_context(cluster)
    with contextlib.suppress(ImportError):
        add_dask_pages(cluster.scheduler)
    return stack.enter_context(Client(cluster))


def _options(worker: type[Any]) -> dict[str, Any]:
    """Return the options of a cluster of such workers: pages of its scheduler alone, all on loopback."""
    return {
        "worker_class": lambda *address, **options: worker(*address, **options | {"dashboard": False}),
        "dashboard_address": LOOPBACK,
        "worker_dashboard_address": LOOPBACK,
        "scheduler_kwargs": {"dashboard": False},
        "silence_logs": 50,
    }
