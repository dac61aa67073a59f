"""A real Dask Gateway on this machine, whose clusters are processes; in a folder that is gone afterwards."""

from __future__ import annotations

import http.client
import importlib.util
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from support.slurm import free_ports, wait_until

CONFIGURATION = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"
c.SimpleAuthenticator.password = "{password}"
c.DaskGateway.address = "127.0.0.1:{private}"
c.Proxy.address = "127.0.0.1:{web}"
c.Proxy.tcp_address = "127.0.0.1:{tcp}"
c.LocalBackend.clusters_directory = "{folder}/clusters"
# A lost worker is heard of by the next heartbeat.
c.LocalBackend.cluster_heartbeat_period = 2
# By itself twice that, and a scheduler takes some seconds to load what the first graph needs.
c.LocalBackend.cluster_heartbeat_timeout = 60
c.UnsafeLocalBackend.backoff_base_delay = 0.1
# Distributed has no programs dask-scheduler and dask-worker any more.
c.ClusterConfig.scheduler_cmd = ["{python}", "-m", "dask", "scheduler"]
c.ClusterConfig.worker_cmd = ["{python}", "-m", "dask", "worker"]
c.ClusterConfig.worker_cores = 1
c.ClusterConfig.worker_memory = "1 G"
c.ClusterConfig.cluster_max_workers = 3
"""


def lacking() -> str | None:
    """Return why no gateway can be started here, or None."""
    needed = ("dask_gateway", "dask_gateway_server", "sqlalchemy")
    absent = ", ".join(name for name in needed if importlib.util.find_spec(name) is None)
    return f"no Dask Gateway here: {absent} not installed (dask-gateway-server[local])" if absent else None


@contextmanager
def gateway(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the Dask configuration of somebody whom the gateway knows, as environment."""
    folder.mkdir()
    private, web, tcp = free_ports(3)
    password = secrets.token_hex(16)
    file = folder / "config.py"
    file.write_text(
        CONFIGURATION.format(password=password, private=private, web=web, tcp=tcp, folder=folder, python=sys.executable)
    )
    server = [sys.executable, "-m", "dask_gateway_server", "--config", str(file)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(server, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", web, timeout=5)) as connection:
                connection.request("GET", "/api/health")
                return connection.getresponse().status == 200
        except OSError:
            return False

    try:
        wait_until(answers, seconds=1200, what="a gateway that answers")
        yield {
            "DASK_GATEWAY__ADDRESS": f"http://127.0.0.1:{web}",
            "DASK_GATEWAY__PROXY_ADDRESS": f"tls://127.0.0.1:{tcp}",
            "DASK_GATEWAY__AUTH__TYPE": "basic",
            "DASK_GATEWAY__AUTH__KWARGS__USERNAME": "somebody",
            "DASK_GATEWAY__AUTH__KWARGS__PASSWORD": password,
        }
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
