"""Workers on this machine: a loop of this process, its threads, or processes started here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ale_dask.execution.backends.base import Backend
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.backends.tls import LOOPBACK, dashboard_options

if TYPE_CHECKING:
    from distributed import Client


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
        from distributed import Client, LocalCluster

        threads = self.settings.most or cpu_count()
        cluster = LocalCluster(
            processes=False, n_workers=1, threads_per_worker=threads, protocol="inproc://", **_options()
        )
        return stack.enter_context(Client(stack.enter_context(cluster)))


class Processes(Backend):
    """Processes with one thread each, so many or one per CPU."""

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of processes of this machine."""
        from distributed import Client, LocalCluster, Security

        # TLS even on loopback: a login node is shared, and a Dask scheduler runs what it is sent.
        cluster = LocalCluster(
            processes=True,
            n_workers=self.settings.most or cpu_count(),
            threads_per_worker=1,
            host="127.0.0.1",
            protocol="tls://",
            security=Security.temporary(),
            **_options(),
        )
        return stack.enter_context(Client(stack.enter_context(cluster)))


def _options() -> dict[str, Any]:
    options = dashboard_options()
    return {
        "dashboard_address": options.pop("dashboard_address"),
        "worker_dashboard_address": LOOPBACK,
        "scheduler_kwargs": options,
        "silence_logs": 50,
    }
