"""Workers on machines reached by SSH, which need Python with ale_dask and Dask, but no shared file system.

The first of `hosts` runs the scheduler too. Dask starts remote processes by a command line that everybody on the
machine can read, so the key by which they know each other goes ahead, through SSH, into a file of the user's own.
`options` are those of `distributed.SSHCluster`: connect_options (asyncssh's), remote_python, worker_options and
scheduler_options, where `interface` or `host` say which network to listen on.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import logging
import uuid
from typing import TYPE_CHECKING, Any

from ale_dask.config.study import Backend
from ale_dask.errors import BackendError
from ale_dask.execution.backends.tls import dashboard_options, pem, written_as

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
_FOLDER = ".cache/ale_dask/tls"
"""Relative to the home directory, where SSH starts commands."""


def start_by_ssh(backend: Backend, stack: contextlib.ExitStack) -> Client:
    """Return a client of workers on `hosts`: so many single-threaded ones, or one with all CPUs on each.

    Raises
    ------
    BackendError
        when asyncssh is not installed, a host does not let us in, or Python does not start there.
    """
    if not backend.hosts:
        raise BackendError('ssh: name the machines in study.toml: [backend] hosts = ["node1", "node2"]')
    if importlib.util.find_spec("asyncssh") is None:
        raise BackendError('ssh: asyncssh is not installed: pip install "ale-dask[ssh]"')
    import asyncssh
    from distributed import Client, Security, SSHCluster

    options = dict(backend.options or {})
    connection = options.pop("connect_options", {})
    if not isinstance(connection, dict):
        raise BackendError("ssh: options.connect_options must be one table, for all hosts")
    security = Security.temporary()
    file = f"{_FOLDER}/{uuid.uuid4().hex}.pem"
    keys = {"security": written_as(file)}
    # One process per worker and connection, so that any number can be had; SSHCluster takes one number for all hosts.
    count = backend.most or len(backend.hosts)
    threads = {"nthreads": 1} if backend.most else {}
    workers = list(itertools.islice(itertools.cycle(backend.hosts), count))
    log.info(f"ssh: starting {count} worker(s) on {len(backend.hosts)} host(s)")
    try:
        stack.callback(_forget, backend.hosts, connection, f"rm -f {file}")
        command = f"umask 077 && mkdir -p {_FOLDER} && cat > {file}"
        asyncio.run(_everywhere(backend.hosts, connection, command, text=pem(security)))
        cluster = SSHCluster(
            [backend.hosts[0], *workers],
            connect_options=connection,
            security=security,
            **{
                **options,
                "worker_options": {"dashboard": False, **threads, **options.get("worker_options", {}), **keys},
                "scheduler_options": {
                    "protocol": "tls://",
                    "port": 0,
                    **dashboard_options(),
                    **options.get("scheduler_options", {}),
                    **keys,
                },
            },
        )
    except (OSError, asyncssh.Error, RuntimeError, TypeError, ValueError) as error:
        raise BackendError(
            f"ssh: {error}; try `ssh {backend.hosts[0]}` by hand, and look whether ale_dask is installed for the "
            "Python there (options.remote_python names it, options.connect_options user, port and keys)"
        ) from error
    stack.callback(cluster.close)
    return stack.enter_context(Client(cluster, set_as_default=False))


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
