"""A cluster that a Dask Gateway starts for us, on Kubernetes, a queue or wherever its administrators have put it.

Address and login are Dask's own configuration (`gateway.address`, `gateway.auth`). `options` are the arguments of
`dask_gateway.GatewayCluster`: address, proxy_address, public_address, auth (a type's name), and what this gateway's
users may choose, such as image. Client, scheduler and workers speak TLS with keys that the gateway makes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import time
import warnings
from typing import TYPE_CHECKING, Any

from ale_dask.config.study import Backend
from ale_dask.errors import BackendError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
_SAY_SECONDS = 30.0


def start_by_gateway(backend: Backend, stack: contextlib.ExitStack) -> Client:
    """Return a client of a new cluster of the gateway; the stack's end shuts it down.

    Raises
    ------
    BackendError
        when dask-gateway is not installed, the gateway does not answer or let us in, or its cluster does not start.
    """
    if backend.least is None or backend.most is None:
        raise BackendError("gateway: say how many workers: `-w 16`, or `-w 4:64` to follow the work")
    if importlib.util.find_spec("dask_gateway") is None:
        raise BackendError('gateway: dask-gateway is not installed: pip install "ale-dask[gateway]"')
    import dask
    from dask_gateway import GatewayCluster, GatewayWarning
    from dask_gateway.auth import get_auth

    options = dict(backend.options or {})
    if not isinstance(options.get("auth", ""), str):
        raise BackendError(
            "gateway: options.auth is the name of a type; a password goes into Dask's configuration "
            "(gateway.auth.kwargs), as study.toml is copied into OUT"
        )
    where = options.get("address") or dask.config.get("gateway.address")
    if not where:
        raise BackendError(
            "gateway: no address; give options.address in [backend], gateway.address in Dask's configuration or "
            "DASK_GATEWAY__ADDRESS"
        )
    log.info(f"gateway: asking {where} for a cluster")
    try:
        cluster = GatewayCluster(**{**options, "auth": get_auth(options.get("auth"))}, shutdown_on_close=True)
        stack.callback(_close, cluster)
        with warnings.catch_warnings(record=True) as limits:
            warnings.simplefilter("always", GatewayWarning)
            if backend.least == backend.most:
                cluster.scale(backend.most)
            else:
                cluster.adapt(minimum=backend.least, maximum=backend.most)
        for limit in limits:
            log.info(f"gateway: {limit.message}")
        client: Client = stack.enter_context(cluster.get_client(set_as_default=False))
    except Exception as error:
        # dask-gateway's own errors, aiohttp's and Dask's have no common base but this.
        raise BackendError(
            f"gateway: no cluster from {where} ({type(error).__name__}: {error}); look at gateway.address and "
            "gateway.auth of Dask's configuration, and at [backend] options: address, proxy_address and what "
            "`dask_gateway.Gateway().cluster_options()` lists"
        ) from error
    _wait_for_a_worker(cluster, client)
    return client


def _close(cluster: Any) -> None:
    cluster.close()
    # Collected later, dask-gateway 2026.3 closes it again and prints that its event loop has ended.
    with contextlib.suppress(AttributeError):
        del cluster.gateway._loop_runner


def _wait_for_a_worker(cluster: Any, client: Client) -> None:
    said = time.monotonic()
    log.info(f"gateway: cluster {cluster.name} is up, waiting for a worker")
    while not client.scheduler_info(n_workers=1)["workers"]:
        time.sleep(0.5)
        if time.monotonic() - said < _SAY_SECONDS:
            continue
        said = time.monotonic()
        found = cluster.gateway.get_cluster(cluster.name).status.name
        if found != "RUNNING":
            raise BackendError(f"gateway: cluster {cluster.name} is {found}; its administrators have the logs")
        log.info("still waiting for a worker; the gateway may have reached a limit")
