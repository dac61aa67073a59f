"""The page on the scheduler's dashboard: iterations, rate, time left, and each threshold so far with its interval."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from ale_dask.distribution.board import Board
from ale_dask.distribution.monitor import PAGE
from ale_dask.distribution.progress import clock

if TYPE_CHECKING:
    from distributed import Scheduler

_REFRESH_MS = 1000
_COLOURS = ("#d95f02", "#3494dd", "#00694a", "#cf6aa8", "#4f3fae")
_STYLE = """
<style>
.ale { font: 15px/1.45 system-ui, sans-serif; color: #1d2329; max-width: 1100px }
.ale h2 { font-size: 19px; margin: 6px 0 }
.ale .advice { border-left: 4px solid #d95f02; padding: 2px 10px; margin: 8px 0 }
.ale table { border-collapse: collapse; width: 100% }
.ale th { text-align: left; color: #5d6873; font-weight: 500; padding: 4px 12px 4px 0 }
.ale td { padding: 5px 12px 5px 0; border-top: 1px solid #d5dbe1; font-variant-numeric: tabular-nums }
.ale .bar { background: #e6eaee; height: 9px; width: 160px; border-radius: 5px; overflow: hidden }
.ale .bar div { background: #3494dd; height: 9px }
.ale .failed { color: #a33b00; font-weight: 600 }
</style>
"""


def add_page(scheduler: Scheduler, board: Board) -> Any:
    """Add the page to a scheduler's web server and return its application."""
    from distributed.dashboard.core import BokehApplication
    from tornado.ioloop import IOLoop

    app = BokehApplication({PAGE: lambda scheduler, extra, doc: _page(doc, board)}, scheduler, prefix="")
    scheduler.http_application.add_application(app)
    app.initialize(IOLoop.current())
    app.start()
    return app


def _page(doc: Any, board: Board) -> None:
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource, Div
    from bokeh.plotting import figure

    table = Div(text="", sizing_mode="stretch_width")
    drawn = column(sizing_mode="stretch_width")
    sources: dict[str, ColumnDataSource] = {}
    state: dict[str, Any] = {"run": None}

    def plot(name: str, unit: str, colour: str) -> Any:
        source = ColumnDataSource({"n": [], "value": [], "low": [], "high": []})
        sources[name] = source
        made = figure(
            title=f"{name}: smallest that survives, {unit}, with its 95 % interval",
            height=230,
            sizing_mode="stretch_width",
            max_width=1100,
            x_axis_type="log",
            x_axis_label="iterations",
            toolbar_location=None,
            tools="",
        )
        made.varea(x="n", y1="low", y2="high", source=source, fill_color=colour, fill_alpha=0.25)
        made.line(x="n", y="value", source=source, line_color=colour, line_width=2)
        made.scatter(x="n", y="value", source=source, color=colour, size=4)
        return made

    def update() -> None:
        runs = board.standings()
        if not runs:
            table.text = f"{_STYLE}<div class='ale'>No run yet.</div>"
            return
        run = next((r for r in runs if not r["ended"]), runs[0])
        table.text = _STYLE + "".join(_html(r) for r in [run, *(r for r in runs if r is not run)][:5])
        shown = {name: a for name, a in run["analyses"].items() if a["history"]}
        if state["run"] != (run["run"], tuple(shown)):
            state["run"] = (run["run"], tuple(shown))
            sources.clear()
            drawn.children = [
                plot(name, a["unit"], _COLOURS[i % len(_COLOURS)]) for i, (name, a) in enumerate(shown.items())
            ]
        for name, a in shown.items():
            n, value, low, high = zip(*a["history"], strict=True)
            sources[name].data = {"n": n, "value": value, "low": low, "high": high}

    update()
    doc.title = "ale_dask"
    doc.add_root(column(table, drawn, sizing_mode="stretch_width"))
    doc.add_periodic_callback(update, _REFRESH_MS)


def _html(run: dict[str, Any]) -> str:
    left = run["seconds_left"]
    state = run["ended"] or (f"{clock(left)} left" if left is not None else "under way")
    rows = "".join(_row(name, a) for name, a in run["analyses"].items())
    return (
        f"<div class='ale'><h2>{escape(run['title'])}</h2>"
        f"<div>{state}, {clock(run['seconds'])} so far, {run['rate']:,.0f} iterations/s</div>"
        f"<div class='advice'>{escape(run['advice'])}</div>"
        "<table><tr><th>analysis</th><th></th><th>iterations</th><th>blocks</th><th>s each</th>"
        f"<th>threshold</th><th>95 % interval</th><th>retried</th><th>failed</th></tr>{rows}</table></div>"
    )


def _row(name: str, a: dict[str, Any]) -> str:
    share = 100 * a["iterations"] / max(1, a["wanted"])
    t = a["threshold"]
    value = f"{t['value']:.4g} {escape(a['unit'])}" if t else ""
    between = f"{t['low']:.4g} to {t['high']:.4g}" if t else ""
    each = f"{a['seconds_per_block']:.2f}" if a["seconds_per_block"] is not None else ""
    failed = f"<span class='failed'>{a['failed']}</span>" if a["failed"] else "0"
    return (
        f"<tr><td>{escape(name)}</td><td><div class='bar'><div style='width:{min(share, 100):.1f}%'></div></div></td>"
        f"<td>{a['iterations']:,} of {a['wanted']:,}</td><td>{a['blocks']:,}</td><td>{each}</td>"
        f"<td>{value}</td><td>{between}</td><td>{a['retried']}</td><td>{failed}</td></tr>"
    )
