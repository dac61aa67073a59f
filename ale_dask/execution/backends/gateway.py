"""A cluster that a Dask Gateway starts for us, on Kubernetes, a queue or wherever its administrators have put it.

Address and login are Dask's own configuration (`gateway.address`, `gateway.auth`). `options` are the arguments of
`dask_gateway.GatewayCluster`: address, proxy_address, public_address, auth (a type's name), and what this gateway's
users may choose, such as image. Client, scheduler and workers speak TLS with keys that the gateway makes.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from typing import TYPE_CHECKING, Any

from ale_dask.errors import BackendError
from ale_dask.execution.backends.base import Backend, wait_for_a_worker

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
_SAY_SECONDS = 30.0


class Gateway(Backend):
    """A new cluster of the gateway, which its end shuts down."""

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of a new cluster of the gateway."""
        least, most = self.workers_wanted()
        self.require("dask_gateway", extra="gateway")
        from dask_gateway import GatewayCluster, GatewayWarning
        from dask_gateway.auth import get_auth

        options = self._options()
        address = options.get("address") or _configured_address()
        log.info(f"gateway: asking {address} for a cluster")
        try:
            cluster = GatewayCluster(**{**options, "auth": get_auth(options.get("auth"))}, shutdown_on_close=True)
            stack.callback(_close, cluster)
            with warnings.catch_warnings(record=True) as limits:
                warnings.simplefilter("always", GatewayWarning)
                if least == most:
                    cluster.scale(most)
                else:
                    cluster.adapt(minimum=least, maximum=most)
            for limit in limits:
                log.info(f"gateway: {limit.message}")
            client: Client = stack.enter_context(cluster.get_client(set_as_default=False))
        except Exception as error:
            # dask-gateway's own errors, aiohttp's and Dask's have no common base but this.
            raise BackendError(
                f"gateway: no cluster from {address} ({type(error).__name__}: {error}); look at gateway.address and "
                "gateway.auth of Dask's configuration, and at [backend] options: address, proxy_address and what "
                "`dask_gateway.Gateway().cluster_options()` lists"
            ) from error
        _wait(cluster, client)
        return client

    def _options(self) -> dict[str, Any]:
        options = dict(self.settings.options or {})
        if not isinstance(options.get("auth", ""), str):
            raise BackendError(
                "gateway: options.auth is the name of a type; a password goes into Dask's configuration "
                "(gateway.auth.kwargs), as study.toml is copied into OUT"
            )
        return options


def _configured_address() -> str:
    import dask

    address = dask.config.get("gateway.address")
    if not address:
        raise BackendError(
            "gateway: no address; give options.address in [backend], gateway.address in Dask's configuration or "
            "DASK_GATEWAY__ADDRESS"
        )
    return str(address)


def _close(cluster: Any) -> None:
    cluster.close()
    # Collected later, dask-gateway 2026.3 closes it again and prints that its event loop has ended.
    with contextlib.suppress(AttributeError):
        del cluster.gateway._loop_runner


def _wait(cluster: Any, client: Client) -> None:
    log.info(f"gateway: cluster {cluster.name} is up, waiting for a worker")

    def waiting() -> str:
        status = cluster.gateway.get_cluster(cluster.name).status.name
        if status != "RUNNING":
            raise BackendError(f"gateway: cluster {cluster.name} is {status}; its administrators have the logs")
        return "still waiting for a worker; the gateway may have reached a limit"

    wait_for_a_worker(client, every=_SAY_SECONDS, waiting=waiting)
