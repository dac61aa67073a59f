"""The page on the scheduler's dashboard: iterations, rate, time left, and each threshold so far with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from ale_dask.execution.backends.pages import add_later
from ale_dask.execution.monitor.driver import PAGE
from ale_dask.execution.monitor.state import Board
from ale_dask.execution.progress import clock

if TYPE_CHECKING:
    from distributed import Scheduler

_REFRESH_MS = 1000
_MOST_ROWS, _MOST_PLOTS, _MOST_RUNS = 25, 8, 5
"""Rows and plots of a run, and runs: a sweep has thousands of analyses."""
_COLOURS = ("#d95f02", "#3494dd", "#12a578", "#cf6aa8", "#7f6fe0")
_BODY = """
body { margin: 0; background: #fff; }
@media (prefers-color-scheme: dark) { body { background: #14181c; } }
"""
_STYLE = """
<style>
.ale {
  --ink: #1d2329; --faint: #5d6873; --line: #dfe4e9; --bar: #e6eaee;
  --wait: #fdf6e3; --enough: #e8f4ee; --look: #fbe9e1; --link: #1c5f9e; --failed: #a33b00;
}
@media (prefers-color-scheme: dark) {
  .ale {
    --ink: #e3e8ec; --faint: #9aa6b1; --line: #353d45; --bar: #2a3138;
    --wait: #332c17; --enough: #16302a; --look: #3d2316; --link: #7fb8ff; --failed: #f2a65a;
  }
}
.ale { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); margin: 0 8px 18px }
.ale { overflow-wrap: anywhere }
.ale h2 { font-size: 21px; font-weight: 600; margin: 10px 0 2px }
.ale .state { color: var(--faint) }
.ale .advice { border-left: 5px solid #b8860b; background: var(--wait); padding: 7px 12px; margin: 10px 0 12px }
.ale .advice.enough { border-color: #00694a; background: var(--enough) }
.ale .advice.look, .ale .advice.ended { border-color: #a33b00; background: var(--look) }
.ale table { border-collapse: collapse; width: 100% }
.ale th { text-align: left; color: var(--faint); font-weight: 500; font-size: 13px; padding: 4px 14px 4px 0 }
.ale td { padding: 6px 14px 6px 0; border-top: 1px solid var(--line); font-variant-numeric: tabular-nums }
.ale .n { text-align: right; white-space: nowrap }
.ale .bar { background: var(--bar); height: 9px; min-width: 110px; border-radius: 5px; overflow: hidden }
.ale .bar div { background: #3494dd; height: 9px }
.ale .bar .full { background: #00694a }
.ale.faint, .ale .faint { color: var(--faint) }
.ale .failed { color: var(--failed); font-weight: 600 }
.ale a { color: var(--link) }
@media (max-width: 60rem) {
  .ale table, .ale tbody { display: block }
  .ale tr:has(th) { display: none }
  .ale tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 2px 12px }
  .ale tr { border-top: 1px solid var(--line); padding: 6px 0 }
  .ale td { display: block; border: 0; padding: 0 }
  .ale td:empty { display: none }
  .ale .n { text-align: left }
  .ale td[data-label]::before { content: attr(data-label); display: block; color: var(--faint); font-size: 12px }
}
</style>
"""
_AXES = "#7c8791"
"""The colour of axes and dashed lines, which is seen on white and on the dark background."""
_FAR = 2.0
"""Clusters larger than so many times the threshold would flatten it: their number stands above the plot."""
_COLUMNS = (
    "analysis", "", "iterations", "blocks", "s each", "threshold", "95 % interval", "clusters", "retried", "failed"
)  # fmt: skip
_RIGHT = ("iterations", "blocks", "s each", "threshold", "retried", "failed")
_CAPTION = (
    "<div class='ale faint'>Line: smallest that survives, so far; band: its 95 % interval; dashed: clusters that were "
    f"found, those over {_FAR:g} times the threshold only counted. By iterations, to the number asked for.</div>"
)


def add_page(scheduler: Scheduler, board: Board) -> None:
    """Add the page to a scheduler's web server, at the first request for it.

    Raises
    ------
    ImportError
        when bokeh is not installed, or not one that distributed takes.
    """

    def add() -> None:
        from distributed.dashboard.core import BokehApplication
        from tornado.ioloop import IOLoop

        app = BokehApplication({PAGE: lambda scheduler, extra, doc: _page(doc, board)}, scheduler, prefix="")
        scheduler.http_application.add_application(app)
        app.initialize(IOLoop.current())
        app.start()

    add_later(scheduler, add)


def _page(doc: Any, board: Board) -> None:
    from bokeh.layouts import column
    from bokeh.models import ColumnDataSource, Div, GlobalInlineStyleSheet, Row

    body = GlobalInlineStyleSheet(css=_BODY)
    first, caption, rest = (
        Div(text="", sizing_mode="stretch_width", stylesheets=[body, ".bk-clearfix { width: 100% }"]) for _ in range(3)
    )
    drawn = column(sizing_mode="stretch_width")
    sources: dict[str, tuple[ColumnDataSource, ColumnDataSource]] = {}
    plots: dict[str, Any] = {}
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
        new = state["drawn"] != (run["run"], tuple(shown))
        if new:
            state["drawn"] = (run["run"], tuple(shown))
            sources.clear()
            sources.update({name: (ColumnDataSource(), ColumnDataSource()) for name in shown})
        # Before they are drawn: a browser complains of a plot whose columns are not there.
        _fill(sources, shown)
        if new:
            plots.clear()
            plots.update(
                {
                    name: _plot(_unit(a), a["wanted"], *sources[name], colour=_COLOURS[i % len(_COLOURS)])
                    for i, (name, a) in enumerate(shown.items())
                }
            )
            caption.text = _STYLE + (_CAPTION if plots else "")
            # Beside each other where there is room for two.
            drawn.children = [
                Row(children=list(plots.values()), styles={"flex-wrap": "wrap"}, sizing_mode="stretch_width")
            ]
        for name, plot in plots.items():
            _frame(plot, name, shown[name])

    update()
    doc.title = "ale_dask"
    doc.add_root(column(first, caption, drawn, rest, sizing_mode="stretch_width", max_width=1840))
    doc.add_periodic_callback(update, _REFRESH_MS)


def _unit(a: dict[str, Any]) -> str:
    """Return the unit in which a threshold is shown: mm³ for voxels."""
    return "mm³" if a["unit"] == "voxels" and a["mm3"] else str(a["unit"])


def _scale(a: dict[str, Any]) -> float:
    return float(a["mm3"]) if _unit(a) == "mm³" else 1.0


def _near(a: dict[str, Any]) -> list[float]:
    """Return the observed clusters that are drawn beside the threshold, in its unit."""
    return [_scale(a) * value for value in a["observed"] if value <= _FAR * a["history"][-1][1]]


def _fill(sources: dict[str, tuple[Any, Any]], shown: dict[str, dict[str, Any]]) -> None:
    for name, a in shown.items():
        line, clusters = sources[name]
        n, *values = zip(*a["history"], strict=True)
        value, low, high = ([_scale(a) * v for v in each] for each in values)
        line.data = {"n": n, "value": value, "low": low, "high": high}
        clusters.data = {"y": _near(a)}


def _frame(plot: Any, name: str, a: dict[str, Any]) -> None:
    """Fit a plot to its threshold and the clusters beside it, and count those far above in its title."""
    near = _near(a)
    far = len(a["observed"]) - len(near)
    plot.title.text = name + (f": {far} cluster{'' if far == 1 else 's'} far above" if far else "")
    low = min(*(_scale(a) * h[2] for h in a["history"]), *near, math.inf)
    high = max(*(_scale(a) * h[3] for h in a["history"]), *near, -math.inf)
    margin = 0.1 * (high - low) or 0.1 * abs(high)
    plot.y_range.start, plot.y_range.end = low - margin, high + margin


def _plot(unit: str, wanted: int, line: Any, clusters: Any, *, colour: str) -> Any:
    from bokeh.models import NumeralTickFormatter, Range1d
    from bokeh.plotting import figure

    made = figure(
        title="",
        height=230,
        min_width=300,
        sizing_mode="stretch_width",
        x_range=(0, 1.02 * wanted),
        y_range=Range1d(0, 1),
        toolbar_location=None,
        tools="",
        min_border_right=24,
        styles={"flex": "1 1 300px"},
    )
    made.varea(x="n", y1="low", y2="high", source=line, fill_color=colour, fill_alpha=0.22)
    made.line(x="n", y="value", source=line, line_color=colour, line_width=2)
    made.hspan(y="y", source=clusters, line_color=_AXES, line_dash="dashed")
    made.title.text_font_size = "14px"
    made.title.text_color = _AXES
    made.xaxis.formatter = NumeralTickFormatter(format="0,0")
    made.xaxis.axis_label, made.yaxis.axis_label = "iterations", unit
    for axis in (made.xaxis, made.yaxis):
        axis.axis_label_text_color = axis.major_label_text_color = _AXES
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = _AXES
        axis.axis_label_text_font_style = "normal"
    # The page's own background, light or dark, shows through.
    made.background_fill_color = made.border_fill_color = None
    made.outline_line_color = None
    made.grid.grid_line_color, made.grid.grid_line_alpha = _AXES, 0.2
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
        f"<table><tr>{''.join(f'<th{_aligned(each)}>{each}</th>' for each in _COLUMNS)}</tr>"
        f"{''.join(_rows(run['analyses']))}</table></div>"
    )


def _aligned(column: str) -> str:
    return " class='n'" if column in _RIGHT else ""


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
    scaled = {end: f"{_scale(a) * t[end]:,.4g}" for end in ("value", "low", "high")} if t else {}
    clusters = ""
    if c:
        undecided = f", {c['undecided']} undecided" if c["undecided"] else ""
        clusters = f"{c['significant']} significant, {c['not']} not{undecided}"
    bar = f"<div class='{'full' if share >= 100 else ''}' style='width:{share:.1f}%'></div>"
    cells = (
        escape(name),
        f"<div class='bar'>{bar}</div>",
        f"{a['iterations']:,} of {a['wanted']:,}",
        f"{a['blocks']:,}",
        f"{a['seconds_per_block']:.2f}" if a["seconds_per_block"] is not None else "",
        f"{scaled['value']} {escape(_unit(a))}" if t else "",
        f"{scaled['low']} to {scaled['high']}" if t else "",
        clusters,
        str(a["retried"]),
        f"<span class='failed'>{a['failed']}</span>" if a["failed"] else "0",
    )
    labelled = (
        f"<td{_aligned(column)}{f' data-label={column!r}' if column else ''}>{cell}</td>"
        for column, cell in zip(_COLUMNS, cells, strict=True)
    )
    return f"<tr>{''.join(labelled)}</tr>"
