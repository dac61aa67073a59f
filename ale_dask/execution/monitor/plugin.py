"""The scheduler's side of the live view: a page, /metrics and JSON of every run that it works for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

from ale_dask.execution.monitor.driver import NAME, PAGE
from ale_dask.execution.monitor.state import TOPIC, Board

if TYPE_CHECKING:
    from distributed import Scheduler

JSON = f"{PAGE}/json"
_METRICS = {
    "iterations": ("Iterations of the null that are done", "gauge"),
    "iterations_wanted": ("Iterations of the null that were asked for", "gauge"),
    "blocks_done": ("Blocks computed since the run began", "counter"),
    "blocks_failed": ("Blocks set aside after three attempts", "counter"),
    "blocks_retried": ("Attempts at a block that failed and were made again", "counter"),
    "block_seconds": ("Time that the computed blocks took", "counter"),
    "threshold": ("Threshold of the primary correction so far, in its unit", "gauge"),
    "threshold_low": ("Lower end of the threshold's 95 % interval", "gauge"),
    "threshold_high": ("Upper end of the threshold's 95 % interval", "gauge"),
}
"""Without their prefix ale_dask_; labels are run, title, analysis, and of thresholds unit."""


class Monitor(SchedulerPlugin):  # type: ignore[misc]
    """Receives the messages of drivers and workers, and serves the state of their runs; one per scheduler."""

    name = NAME
    idempotent = True

    def __init__(self) -> None:
        self.board = Board()
        self.serves: list[str] = []
        """Those of "page", "json" and "metrics" that could be added."""

    async def start(self, scheduler: Scheduler) -> None:
        """Add the page, the metrics and JSON to the scheduler's web server, as far as it has them."""
        http = getattr(scheduler, "http_application", None)
        if http is None:
            return
        http.add_handlers(r".*", [(JSON, _handler(self.board))])
        self.serves.append("json")
        # Without prometheus_client, or bokeh as new as distributed wants it, there is no more than that.
        with contextlib.suppress(ImportError):
            _watch(self.board)
            self.serves.append("metrics")
        with contextlib.suppress(ImportError):
            from ale_dask.execution.monitor.page import add_page

            add_page(scheduler, self.board)
            self.serves.append("page")

    def log_event(self, topic: str, msg: Any) -> None:
        """Receive a message of a driver or a worker about a run."""
        if topic == TOPIC and isinstance(msg, Mapping):
            self.board.receive(msg)

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Note that a driver is gone: one that was killed sends no message."""
        self.board.client_left(client)

    async def close(self) -> None:
        """Withdraw the metrics: the process may go on without this scheduler."""
        if "metrics" in self.serves:
            _BOARDS.remove(self.board)


def serves(dask_scheduler: Scheduler) -> list[str]:
    """Return which of page, json and metrics the plugin of this scheduler serves; runs on the scheduler."""
    return list(dask_scheduler.plugins[NAME].serves)


_BOARDS: list[Board] = []
"""Boards of the schedulers in this process: prometheus_client has one registry per process."""


@lru_cache
def _register() -> None:
    import prometheus_client

    prometheus_client.REGISTRY.register(_Collector(_BOARDS))


def _watch(board: Board) -> None:
    _register()
    _BOARDS.append(board)


def _handler(board: Board) -> Any:
    from tornado.web import RequestHandler

    class Standings(RequestHandler):  # type: ignore[misc]
        def get(self) -> None:
            self.write({"runs": board.standings()})

    return Standings


class _Collector:
    """The metrics of all runs, as prometheus_client asks for them."""

    def __init__(self, boards: list[Board]) -> None:
        self.boards = boards

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        labels = ("run", "title", "analysis")
        families = {
            name: kinds[kind](f"ale_dask_{name}", says, labels=(*labels, "unit") if "threshold" in name else labels)
            for name, (says, kind) in _METRICS.items()
        }
        for run in (run for board in self.boards for run in board.standings()):
            for name, a in run["analyses"].items():
                at = [run["run"], run["title"], name]
                blocks = a["blocks"]
                values = {
                    "iterations": a["iterations"],
                    "iterations_wanted": a["wanted"],
                    "blocks_done": blocks,
                    "blocks_failed": a["failed"],
                    "blocks_retried": a["retried"],
                    "block_seconds": (a["seconds_per_block"] or 0.0) * blocks,
                }
                for metric, value in values.items():
                    families[metric].add_metric(at, value)
                if a["threshold"]:
                    for metric, end in (("threshold", "value"), ("threshold_low", "low"), ("threshold_high", "high")):
                        families[metric].add_metric([*at, a["unit"]], a["threshold"][end])
        yield from families.values()
