"""Workers on machines reached by SSH, which need Python with ale_dask and Dask, but no shared file system.

The first of `hosts` runs the scheduler too. Dask starts remote processes by a command line that everybody on the
machine can read, so the key by which they know each other goes ahead, through SSH, into a file of the user's own.
`options` are those of `distributed.SSHCluster`: connect_options (asyncssh's), remote_python, worker_options and
scheduler_options, where `interface` or `host` say which network to listen on.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import uuid
from typing import TYPE_CHECKING, Any

from ale_dask.errors import BackendError
from ale_dask.execution.backends.base import Backend
from ale_dask.execution.backends.tls import dashboard_options, pem, security_arguments

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
_FOLDER = ".cache/ale_dask/tls"
"""Relative to the home directory, where SSH starts commands."""


class Ssh(Backend):
    """Workers on `hosts`: so many with one thread each, or one per host with all its CPUs."""

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of workers on the hosts."""
        hosts = self.settings.hosts
        if not hosts:
            raise BackendError('ssh: name the machines in study.toml: [backend] hosts = ["node1", "node2"]')
        self.require("asyncssh", extra="ssh")
        import asyncssh
        from distributed import Client

        options = dict(self.settings.options or {})
        connection = options.pop("connect_options", {})
        if not isinstance(connection, dict):
            raise BackendError("ssh: options.connect_options must be one table, for all hosts")
        try:
            cluster = self._cluster(hosts, connection, options, stack)
        except (OSError, asyncssh.Error, RuntimeError, TypeError, ValueError) as error:
            raise BackendError(
                f"ssh: {error}; try `ssh {hosts[0]}` by hand, and look whether ale_dask is installed for the "
                "Python there (options.remote_python names it, options.connect_options user, port and keys)"
            ) from error
        stack.callback(cluster.close)
        return stack.enter_context(Client(cluster, set_as_default=False))

    def _cluster(
        self, hosts: list[str], connection: dict[str, Any], options: dict[str, Any], stack: contextlib.ExitStack
    ) -> Any:
        """Return the started cluster; a file with its keys lies on every host until the stack's end."""
        from distributed import Security, SSHCluster

        security = Security.temporary()
        file = f"{_FOLDER}/{uuid.uuid4().hex}.pem"
        keys = {"security": security_arguments(file)}
        # One process per worker and connection, so that any number can be had; SSHCluster takes one number for all
        # hosts.
        count = self.settings.most or len(hosts)
        threads = {"nthreads": 1} if self.settings.most else {}
        workers = list(itertools.islice(itertools.cycle(hosts), count))
        log.info(f"ssh: starting {count} worker(s) on {len(hosts)} host(s)")
        stack.callback(_forget, hosts, connection, f"rm -f {file}")
        command = f"umask 077 && mkdir -p {_FOLDER} && cat > {file}"
        asyncio.run(_everywhere(hosts, connection, command, text=pem(security)))
        scheduler = {"protocol": "tls://", "port": 0, **dashboard_options(), **options.get("scheduler_options", {})}
        worker = {"dashboard": False, **threads, **options.get("worker_options", {})}
        own = {"worker_options": worker | keys, "scheduler_options": scheduler | keys}
        return SSHCluster([hosts[0], *workers], connect_options=connection, security=security, **{**options, **own})


async def _everywhere(hosts: list[str], connection: dict[str, Any], command: str, *, text: str = "") -> None:
    import asyncssh

    async def on(host: str) -> None:
        async with asyncssh.connect(host, **connection) as there:
            await there.run(command, input=text, check=True)

    await asyncio.gather(*(on(host) for host in dict.fromkeys(hosts)))


def _forget(hosts: list[str], connection: dict[str, Any], command: str) -> None:
    import asyncssh

    # A host that is gone by now keeps a key that opens nothing any more.
    with contextlib.suppress(OSError, asyncssh.Error):
        asyncio.run(_everywhere(hosts, connection, command))
