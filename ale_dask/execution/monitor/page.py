"""The page on the scheduler's dashboard: iterations, rate, time left, and each threshold so far with its interval."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from ale_dask.execution.monitor.driver import PAGE
from ale_dask.execution.monitor.state import Board
from ale_dask.execution.progress import clock

if TYPE_CHECKING:
    from distributed import Scheduler

_REFRESH_MS = 1000
_MOST_ROWS, _MOST_PLOTS, _MOST_RUNS = 25, 8, 5
"""Rows and plots of a run, and runs: a sweep has thousands of analyses."""
_COLOURS = ("#d95f02", "#3494dd", "#00694a", "#cf6aa8", "#4f3fae")
_STYLE = """
<style>
.ale { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1d2329; margin: 0 8px 18px }
.ale h2 { font-size: 21px; font-weight: 600; margin: 10px 0 2px }
.ale .state { color: #5d6873 }
.ale .advice { border-left: 5px solid #b8860b; background: #fdf6e3; padding: 7px 12px; margin: 10px 0 12px }
.ale .advice.enough { border-color: #00694a; background: #e8f4ee }
.ale .advice.look, .ale .advice.ended { border-color: #a33b00; background: #fbe9e1 }
.ale table { border-collapse: collapse; width: 100% }
.ale th { text-align: left; color: #5d6873; font-weight: 500; font-size: 13px; padding: 4px 14px 4px 0 }
.ale td { padding: 6px 14px 6px 0; border-top: 1px solid #dfe4e9; font-variant-numeric: tabular-nums }
.ale .n { text-align: right; white-space: nowrap }
.ale .bar { background: #e6eaee; height: 9px; min-width: 110px; border-radius: 5px; overflow: hidden }
.ale .bar div { background: #3494dd; height: 9px }
.ale .bar .full { background: #00694a }
.ale.faint, .ale .faint { color: #5d6873 }
.ale .failed { color: #a33b00; font-weight: 600 }
.ale a { color: #1c5f9e }
</style>
"""
_CAPTION = (
    "<div class='ale faint'>Line: smallest that survives, so far; band: its 95 % interval; dashed: clusters that were "
    "found. By iterations, to the number asked for.</div>"
)


def add_page(scheduler: Scheduler, board: Board) -> None:
    """Add the page to a scheduler's web server.

    Raises
    ------
    ImportError
        when bokeh is not installed, or not one that distributed takes.
    """
    from distributed.dashboard.core import BokehApplication
    from tornado.ioloop import IOLoop

    app = BokehApplication({PAGE: lambda scheduler, extra, doc: _page(doc, board)}, scheduler, prefix="")
    scheduler.http_application.add_application(app)
    app.initialize(IOLoop.current())
    app.start()


def _page(doc: Any, board: Board) -> None:
    from bokeh.layouts import column, gridplot
    from bokeh.models import ColumnDataSource, Div

    first, caption, rest = (
        Div(text="", sizing_mode="stretch_width", stylesheets=[".bk-clearfix { width: 100% }"]) for _ in range(3)
    )
    drawn = column(sizing_mode="stretch_width")
    sources: dict[str, tuple[ColumnDataSource, ColumnDataSource]] = {}
    state: dict[str, Any] = {"drawn": None}

    def update() -> None:
        runs = board.standings()
        if not runs:
            first.text = f"{_STYLE}<div class='ale'><h2>ale_dask</h2>No run has begun yet.</div>"
            return
        run = next((r for r in runs if not r["ended"]), runs[0])
        first.text = _STYLE + _html(run)
        rest.text = _STYLE + "".join(_html(r) for r in [r for r in runs if r is not run][: _MOST_RUNS - 1])
        shown = dict([(name, a) for name, a in run["analyses"].items() if a["history"]][:_MOST_PLOTS])
        if state["drawn"] != (run["run"], tuple(shown)):
            state["drawn"] = (run["run"], tuple(shown))
            sources.clear()
            sources.update({name: (ColumnDataSource(), ColumnDataSource()) for name in shown})
            _fill(sources, shown)
            plots = [
                _plot(f"{name}, {a['unit']}", a["wanted"], *sources[name], colour=_COLOURS[i % len(_COLOURS)])
                for i, (name, a) in enumerate(shown.items())
            ]
            caption.text = _STYLE + (_CAPTION if plots else "")
            drawn.children = [
                gridplot(plots, ncols=min(2, len(plots)), sizing_mode="stretch_width", toolbar_location=None)
            ]
        else:
            _fill(sources, shown)

    update()
    doc.title = "ale_dask"
    doc.add_root(column(first, caption, drawn, rest, sizing_mode="stretch_width", max_width=1240))
    doc.add_periodic_callback(update, _REFRESH_MS)


def _fill(sources: dict[str, tuple[Any, Any]], shown: dict[str, dict[str, Any]]) -> None:
    for name, a in shown.items():
        line, clusters = sources[name]
        n, value, low, high = zip(*a["history"], strict=True)
        line.data = {"n": n, "value": value, "low": low, "high": high}
        clusters.data = {"y": a["observed"]}


def _plot(title: str, wanted: int, line: Any, clusters: Any, *, colour: str) -> Any:
    from bokeh.models import DataRange1d, NumeralTickFormatter
    from bokeh.plotting import figure

    made = figure(
        title=title,
        height=210,
        sizing_mode="stretch_width",
        x_range=(0, 1.02 * wanted),
        toolbar_location=None,
        tools="",
    )
    band = made.varea(x="n", y1="low", y2="high", source=line, fill_color=colour, fill_alpha=0.22)
    made.line(x="n", y="value", source=line, line_color=colour, line_width=2)
    made.hspan(y="y", source=clusters, line_color="#3f464d", line_dash="dashed", line_alpha=0.6)
    # A cluster of 600 voxels would flatten a threshold of 100.
    made.y_range = DataRange1d(renderers=[band], range_padding=0.2)
    made.title.text_font_size = "14px"
    made.xaxis.formatter = NumeralTickFormatter(format="0,0")
    made.outline_line_color = None
    made.grid.grid_line_color = "#e6eaee"
    return made


def _html(run: dict[str, Any]) -> str:
    left = run["seconds_left"]
    state = run["ended"] or (f"<b>{clock(left)} left</b>" if left is not None else "under way")
    rate = "" if run["ended"] else f" · {run['rate']:,.0f} iterations/s"
    what, _, why = run["advice"].partition(": ")
    kind = what.split()[0].strip(",")
    return (
        f"<div class='ale'><h2>{escape(run['title'])}</h2>"
        f"<div class='state'>{state} · {clock(run['seconds'])} so far{rate}</div>"
        f"<div class='advice {kind}'><b>{escape(what[:1].upper() + what[1:])}</b>: {escape(why)}</div>"
        "<table><tr><th>analysis</th><th></th><th class='n'>iterations</th><th class='n'>blocks</th>"
        "<th class='n'>s each</th><th class='n'>threshold</th><th>95 % interval</th><th>clusters</th>"
        f"<th class='n'>retried</th><th class='n'>failed</th></tr>{''.join(_rows(run['analyses']))}</table></div>"
    )


def _rows(analyses: dict[str, dict[str, Any]]) -> Iterable[str]:
    # First what goes on.
    ordered = sorted(analyses.items(), key=lambda one: one[1]["iterations"] >= one[1]["wanted"])
    if len(ordered) <= _MOST_ROWS:
        ordered = list(analyses.items())
    for name, a in ordered[:_MOST_ROWS]:
        yield _row(name, a)
    if len(ordered) > _MOST_ROWS:
        yield f"<tr><td colspan='10' class='faint'>and {len(ordered) - _MOST_ROWS:,} more</td></tr>"


def _row(name: str, a: dict[str, Any]) -> str:
    share = min(100 * a["iterations"] / max(1, a["wanted"]), 100)
    t, c = a["threshold"], a["clusters"]
    value = f"{t['value']:,.4g} {escape(a['unit'])}" if t else ""
    between = f"{t['low']:,.4g} to {t['high']:,.4g}" if t else ""
    clusters = ""
    if c:
        undecided = f", {c['undecided']} undecided" if c["undecided"] else ""
        clusters = f"{c['significant']} significant, {c['not']} not{undecided}"
    each = f"{a['seconds_per_block']:.2f}" if a["seconds_per_block"] is not None else ""
    failed = f"<span class='failed'>{a['failed']}</span>" if a["failed"] else "0"
    bar = f"<div class='{'full' if share >= 100 else ''}' style='width:{share:.1f}%'></div>"
    return (
        f"<tr><td>{escape(name)}</td><td><div class='bar'>{bar}</div></td>"
        f"<td class='n'>{a['iterations']:,} of {a['wanted']:,}</td><td class='n'>{a['blocks']:,}</td>"
        f"<td class='n'>{each}</td><td class='n'>{value}</td><td>{between}</td><td>{clusters}</td>"
        f"<td class='n'>{a['retried']}</td><td class='n'>{failed}</td></tr>"
    )
