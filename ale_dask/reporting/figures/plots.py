"""Draw the plots behind a result: foci, contributions, null, threshold by iterations, sample and power."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.sensitivity.power import BESIDE
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.foci import n_foci
from ale_dask.numerics.correct import UNREACHABLE, cut, cut_interval
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.palette import HUES, INK, Hue
from ale_dask.reporting.common.wording import input_words
from ale_dask.reporting.figures.contribution_bars import bars_alt, bars_svg
from ale_dask.reporting.figures.foci_glass import foci_alt, foci_svg
from ale_dask.reporting.figures.overlays import overlay_alt, overlay_png
from ale_dask.reporting.figures.study_context import StudyContext, study_contexts
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.storage.location import replace_file

_MARGINS = {"left": 0.125, "right": 0.975, "bottom": 0.145, "top": 0.92}
"""Edges of the axes that leave room for six digits on the left; finding them takes five times as long."""
POINTS = 60
"""Numbers of iterations at which a threshold is drawn."""


@dataclass(frozen=True)
class Plot:
    """A plot of an analysis: the end of its file name, its title, its content in words, and its kind of file."""

    suffix: str
    title: str
    alt: str
    ending: str = "svg"
    diagnostic: bool = False
    """Whether it shows how the result was computed rather than the result."""


def plots_of(result: xr.Dataset, context: StudyContext | None = None) -> list[Plot]:
    """Return the plots that a result has; plots that show the arms only with the `context` of its study."""
    name = str(result.attrs["name"])
    context = study_contexts({name: result})[name] if context is None else context
    null_plots = _null_plots(result) if model_of(result).kind == "main-effect" else []
    overlay, foci, bars = _PLOTS_OF_PARTS
    clusters = surviving_clusters(result, INPUTS[0])
    plots = []
    if model_of(result).kind == "conjunction":
        if any(len(part.voxels) for part in context.parts.values()):
            level = input_words(INPUTS[0], correction=model_of(result).inference.correction)
            title = f"Maps at {level} over each other"
            plots.append(replace(overlay, title=title, alt=overlay_alt(result, context)))
    elif context.parts:
        plots.append(replace(foci, alt=foci_alt(context.parts)))
    if context.shares is not None and clusters:
        plots.append(replace(bars, alt=bars_alt(clusters, context.shares)))
    return [*plots, *null_plots, *_power_plots(result)]


_PLOTS_OF_PARTS = (
    Plot("overlay", "Maps over each other", "", "png"),
    Plot("foci", "Foci on the glass brain", ""),
    Plot("contributions", "Contributions to each cluster", ""),
)


def _power_plots(result: xr.Dataset) -> list[Plot]:
    if "power" not in result:
        return []
    attrs = result.attrs
    needed, n = int(attrs["power_needed"]), int(attrs["power_experiments"])
    reached = f"{needed} of {n} experiments must report a place" if needed else f"not even all {n} experiments suffice"
    alt = (
        f"How often a place is found that so many experiments report: for {100 * attrs['power_target']:.0f} % power "
        f"{reached}. The band is the 95 % interval of {attrs['power_simulations']:,} simulations."
    )
    if attrs.get("power_null") == "base-rate":
        alt += " All of it is against the base rate."
    elif f"power{BESIDE}" in result:
        needed_base_rate = int(attrs[f"power_needed{BESIDE}"])
        words = f"{needed_base_rate} of {n}" if needed_base_rate else f"not even all {n} suffice"
        alt += f" Dotted: against the base rate ({words})."
    return [Plot("power", "Power by prevalence", alt, diagnostic=True)]


def _null_plots(result: xr.Dataset) -> list[Plot]:
    (null, size, cut_size), alpha = _sizes(result), model_of(result).inference.cluster_p
    volume = model_of(result).mask.voxel_volume
    beyond = int((size >= cut_size).sum())
    if cut_size >= UNREACHABLE:
        threshold, share = "no cluster size", "They are too few for a threshold. "
    else:
        threshold = f"{cut_size * volume:,.0f} mm³"
        percent = 100 * float((null >= cut_size).mean())
        share = f"{percent:.3g} % of them have {threshold} or more (level {100 * alpha:g} %). "
    _, high = cut_interval(null, alpha=alpha)
    band = "" if high < UNREACHABLE else ", which has no upper end after so few"
    n = result.sizes["experiment"]
    foci = n_foci(result)
    return [
        Plot(
            "null",
            "Null of the largest cluster",
            f"The largest cluster of each of {len(null):,} random studies{_against(result)}. {share}{beyond} of "
            f"{len(size)} clusters found reach it; the largest has {size.max(initial=0) * volume:,.0f} mm³.",
            diagnostic=True,
        ),
        Plot(
            "threshold",
            "Threshold by iterations",
            f"The smallest cluster that survives cluster-size FWE{_against(result)}: after {len(null):,} iterations "
            f"{threshold}. The band is its 95 % interval{band}.",
            diagnostic=True,
        ),
        Plot(
            "design",
            "Subjects and foci",
            f"The sample: {n} experiments with {foci.min()} to {foci.max()} foci.",
            diagnostic=True,
        ),
    ]


def _sizes(result: xr.Dataset) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    """Return sizes in voxels: the largest cluster of each iteration, the observed clusters, and the cut.

    All of the null that decides: the base-rate null if no other was asked for, else the uniform one.
    """
    if model_of(result).inference.null == "base-rate":
        null = result["null_base_rate"].sel(base_rate_statistic="max_size").values
        return null, result["base_rate_cluster_size"].values, int(result.attrs["base_rate_cut_size"])
    null = result["null"].sel(statistic="max_size").values
    return null, result["cluster_size"].values, int(result.attrs["cut_size"])


def _against(result: xr.Dataset) -> str:
    return " against the base rate" if model_of(result).inference.null == "base-rate" else ""


def plot_path(result: xr.Dataset, plot: Plot, folder: Path) -> Path:
    """Return the path of a plot."""
    return folder / f"{stem(result.attrs['name'])}_{plot.suffix}.{plot.ending}"


def write_plots(result: xr.Dataset, folder: Path, *, context: StudyContext | None = None) -> list[Path]:
    """Write the plots of a result into a folder and return their paths. Needs matplotlib and nilearn."""
    name = str(result.attrs["name"])
    context = study_contexts({name: result})[name] if context is None else context
    hue = next((part.hue for part in context.parts.values()), HUES[0])
    plots = plots_of(result, context)
    for plot in plots:
        replace_file(plot_path(result, plot, folder), _content(result, plot, context, hue))
    for plot in _PLOTS_OF_PARTS:
        if plot.suffix not in [p.suffix for p in plots]:
            # The plot of an earlier run would show clusters that are gone.
            plot_path(result, plot, folder).unlink(missing_ok=True)
    return [plot_path(result, plot, folder) for plot in plots]


def _content(result: xr.Dataset, plot: Plot, context: StudyContext, hue: Hue) -> bytes:
    title = _title(result, plot)
    if plot.suffix == "overlay":
        return overlay_png(result, context, title=title)
    if plot.suffix == "foci":
        return foci_svg(context.parts, title=title, alt=plot.alt).encode()
    if plot.suffix == "contributions":
        clusters = surviving_clusters(result, INPUTS[0])
        assert context.shares is not None
        bars = bars_svg(clusters, context.shares, context.parts, mask=model_of(result).mask, title=title, alt=plot.alt)
        return bars.encode()
    draw = {"null": _null, "threshold": _threshold, "design": _design, "power": _power}[plot.suffix]
    with _figure_svg(title, alt=plot.alt) as (axes, svg):
        draw(axes, result, hue)
    return svg.getvalue().encode()


def _title(result: xr.Dataset, plot: Plot) -> str:
    mark = f"{SIMULATED} · " if model_of(result).simulated else ""
    return f"{mark}{result.attrs['name']}: {plot.title[0].lower()}{plot.title[1:]}"


@contextmanager
def _figure_svg(title: str, *, alt: str) -> Iterator[tuple[Any, StringIO]]:
    """Yield axes, and a buffer that holds their SVG when the context ends; `alt` is for the blind."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    svg = StringIO()
    # Text stays text, to be searched and restyled; a fixed salt keeps the file the same from run to run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ale_dask", "font.size": 10}):
        figure = Figure(figsize=(6.4, 3.6))
        FigureCanvasSVG(figure)
        axes = figure.subplots(gridspec_kw=_MARGINS)
        axes.set_title(title, size=11, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        yield axes, svg
        figure.savefig(svg, format="svg", metadata={"Date": None, "Description": alt})


def _null(axes: Any, result: xr.Dataset, hue: Hue) -> None:
    volume = model_of(result).mask.voxel_volume
    null_sizes, observed_sizes, cut_size = _sizes(result)
    null, observed = null_sizes * volume, observed_sizes * volume
    edges = np.histogram_bin_edges(null, bins=min(60, max(5, len(np.unique(null)))))
    axes.hist(null, bins=edges, color="#9aa6b1", label="random studies")
    top = axes.get_ylim()[1]
    if cut_size < UNREACHABLE:
        at = cut_size * volume
        axes.axvline(at, color=INK, linestyle="--", label=f"threshold, {at:,.0f} mm³")
    if len(observed):
        axes.plot(
            observed, np.full(len(observed), top * 0.04), "v", color=hue.flat, clip_on=False, label="clusters found"
        )
        axes.set_xscale("symlog", linthresh=max(float(np.median(null)), 1.0) * 2)
        axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(left=0)
    axes.set_xlabel("mm³")
    axes.set_ylabel("random studies")
    axes.legend(frameon=False, loc="upper right", borderaxespad=0)


def _threshold(axes: Any, result: xr.Dataset, hue: Hue) -> None:
    inference, volume = model_of(result).inference, model_of(result).mask.voxel_volume
    alpha, rule = inference.cluster_p, inference.cluster_cut
    null, _, _ = _sizes(result)
    counts = np.unique(np.geomspace(min(20, len(null)), len(null), POINTS).round().astype(int))
    cuts = np.array([cut(null[:n], alpha=alpha, rule=rule) for n in counts], dtype=np.float64)
    bounds = np.array([cut_interval(null[:n], alpha=alpha) for n in counts], dtype=np.float64)
    reached = cuts < UNREACHABLE
    known = [cuts[reached], bounds[bounds < UNREACHABLE]]
    top = 1.1 * volume * max((float(part.max()) for part in known if part.size), default=1.0)
    low, high = bounds[reached].T * volume
    # With few iterations the interval has no upper end: it reaches beyond the top of the plot.
    axes.fill_between(
        counts[reached], low, np.minimum(high, 2 * top), color=hue.flat, alpha=0.3, linewidth=0, label="95 % interval"
    )
    if reached.any():
        axes.set_ylim(0, top)
    axes.plot(counts[reached], cuts[reached] * volume, color=hue.flat, label="threshold")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("iterations")
    axes.set_ylabel("mm³")
    axes.legend(frameon=False)


def _design(axes: Any, result: xr.Dataset, hue: Hue) -> None:
    subjects, foci = result["experiment_n_subjects"].values, n_foci(result)
    axes.plot(subjects, foci, "o", color=hue.flat, alpha=0.5, markeredgewidth=0)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("subjects")
    axes.set_ylabel("foci")


def _power(axes: Any, result: xr.Dataset, hue: Hue) -> None:
    share = 100 * result["prevalence"].values
    axes.fill_between(
        share,
        100 * result["power_low"].values,
        100 * result["power_high"].values,
        color=hue.flat,
        alpha=0.3,
        linewidth=0,
    )
    axes.plot(share, 100 * result["power"].values, color=hue.flat)
    if f"power{BESIDE}" in result:
        axes.plot(share, 100 * result[f"power{BESIDE}"].values, color=hue.flat, linestyle=":")
    axes.axhline(100 * result.attrs["power_target"], color=INK, linestyle="--")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_xlabel("% of the experiments that report the place")
    axes.set_ylabel("% found")
