"""The live view of runs on a scheduler's dashboard (page, /metrics and JSON), from the driver's side.

A plugin is sent to the scheduler; where that fails, because it has another version of this package, the run goes on.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ale_dask.errors import BackendError
from ale_dask.execution.backends.connect import dashboard
from ale_dask.execution.monitor.state import TOPIC, Analysis, begin
from ale_dask.storage.location import Place, replace_file

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
NAME = "ale-dask-monitor"
PAGE = "/ale-dask"


@contextmanager
def monitored(
    client: Client | None, *, token: str, title: str, analyses: Mapping[str, Analysis]
) -> Iterator[str | None]:
    """Yield the token of a run whose begin and end are reported to its scheduler, or None without a live view."""
    if client is None or served(client) is None:
        yield None
        return
    client.log_event(TOPIC, begin(token, title, analyses, client=client.id))
    words = "stopped"
    try:
        yield token
        words = "finished"
    finally:
        # A scheduler that is gone shows nothing any more.
        if client.status == "running":
            client.log_event(TOPIC, {"run": token, "what": "end", "words": words})


def served(client: Client) -> list[str] | None:
    """Return which of page, json and metrics the scheduler serves, or None where it does not take the plugin.

    Raises
    ------
    BackendError
        when the scheduler has no ale_dask at all: it reads the graphs of our tasks.
    """
    from ale_dask.execution.monitor.plugin import Monitor, serves

    try:
        client.register_plugin(Monitor(), name=NAME)
        return list(client.run_on_scheduler(serves))
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "ale_dask":
            raise BackendError(
                f"the scheduler cannot import ale_dask ({error}); install the same version there as on the workers"
            ) from error
        # A scheduler with another version of this package: blocks are computed all the same.
        return None


def announce(client: Client) -> None:
    """Log where the scheduler shows how far runs are, or why there is no more than Dask's own dashboard."""
    address = dashboard(client)
    parts = served(client)
    if parts is None:
        log.info("no page of ours: the scheduler has another ale_dask, or takes no plugin; the run goes on without")
    if address and "page" in (parts or ()):
        log.info(f"dashboard {page_of(address)}")
    elif address:
        log.info(f"dashboard {address}")


def check_report(*, wanted: bool) -> None:
    """Check, before anything is computed, that Dask's performance report can be drawn if it is wanted.

    Raises
    ------
    BackendError
        when bokeh, which draws it, is not installed.
    """
    if wanted and importlib.util.find_spec("bokeh") is None:
        raise BackendError('backend.dask_report needs bokeh: pip install "ale-dask[dashboard]"')


@contextmanager
def performance_of(client: Client | None, out: Place, *, wanted: bool) -> Iterator[None]:
    """Write Dask's performance report about the work done inside the context into OUT/logs, as one page.

    Raises
    ------
    BackendError
        when bokeh, which draws it, is not installed.
    """
    if client is None or not wanted:
        yield
        return
    check_report(wanted=wanted)
    from distributed import performance_report

    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "dask-report.html"
        with client.as_current(), performance_report(filename=str(page), mode="inline"):
            yield
        replace_file(out / "logs" / page.name, page.read_bytes())


def page_of(dashboard: str) -> str:
    """Return the address of the live view on a dashboard, from the address of its status page."""
    return dashboard.removesuffix("/status") + PAGE
