"""The scheduler's side of the live view: a page, /metrics and JSON of every run that it works for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

from ale_dask.distribution.board import TOPIC, Board
from ale_dask.distribution.monitor import NAME, PAGE

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
    """Listens to drivers and workers, and shows what it hears; one per scheduler."""

    name = NAME
    idempotent = True

    def __init__(self) -> None:
        self.board = Board()
        self._collector: Any = None
        self._app: Any = None

    async def start(self, scheduler: Scheduler) -> None:
        """Add the page, the metrics and JSON to the scheduler's web server, as far as it has them."""
        http = getattr(scheduler, "http_application", None)
        if http is None:
            return
        http.add_handlers(r".*", [(JSON, _handler(self.board))])
        if importlib.util.find_spec("prometheus_client") is not None:
            import prometheus_client

            self._collector = _Collector(self.board)
            prometheus_client.REGISTRY.register(self._collector)
        # Without bokeh the scheduler serves health checks and metrics only.
        if importlib.util.find_spec("bokeh") is not None and "dashboard" in scheduler.services:
            from ale_dask.distribution.monitor_page import add_page

            self._app = add_page(scheduler, self.board)

    def log_event(self, topic: str, msg: Any) -> None:
        """Take in what a driver or a worker says of a run."""
        if topic == TOPIC and isinstance(msg, Mapping):
            self.board.tell(msg)

    async def close(self) -> None:
        """Take the metrics back: another scheduler of this process has its own."""
        if self._collector is not None:
            import prometheus_client

            prometheus_client.REGISTRY.unregister(self._collector)


def _handler(board: Board) -> Any:
    from tornado.web import RequestHandler

    class Standings(RequestHandler):  # type: ignore[misc]
        def get(self) -> None:
            self.write({"runs": board.standings()})

    return Standings


class _Collector:
    """The metrics of all runs, as prometheus_client asks for them."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        labels = ("run", "title", "analysis")
        families = {
            name: kinds[kind](f"ale_dask_{name}", says, labels=(*labels, "unit") if "threshold" in name else labels)
            for name, (says, kind) in _METRICS.items()
        }
        for run in self.board.standings():
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
