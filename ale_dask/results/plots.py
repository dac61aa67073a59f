"""Plots of what lies behind a result, as SVG: its null and clusters, its threshold by iterations, its sample."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ale_dask.analyses.main_effect import inference_of
from ale_dask.data.foci import n_foci
from ale_dask.data.places import replace_file
from ale_dask.numerics.correct import UNREACHABLE, cut, cut_interval
from ale_dask.results.clusters import grid_of
from ale_dask.results.maps import SIMULATED
from ale_dask.results.views import stem

INK, ACCENT, BAND = "#1d2329", "#a33b00", "#f2c9a0"
"""One accent on grey: nothing depends on telling two hues apart."""
POINTS = 60
"""Counts of iterations at which a running threshold is drawn."""


@dataclass(frozen=True)
class Plot:
    """A plot of a main effect: the end of its file name, its title, and what it shows in words."""

    suffix: str
    title: str
    says: str


def plots_of(result: xr.Dataset) -> list[Plot]:
    """Return the plots that a result has: of main effects with a null."""
    if result.attrs["kind"] != "main-effect":
        return []
    null, alpha = result["null"].sel(statistic="max_size").values, inference_of(result).cluster_p
    volume = grid_of(result).voxel_volume
    size = result["cluster_size"].values
    beyond = int((size >= result.attrs["cut_size"]).sum())
    at = int(result.attrs["cut_size"])
    threshold = "no cluster size" if at >= UNREACHABLE else f"{at * volume:,.0f} mm³"
    n = result.sizes["experiment"]
    foci = n_foci(result)
    return [
        Plot(
            "null",
            "Null of the largest cluster",
            f"The largest cluster of each of {len(null):,} random studies: the share {alpha:g} of them has {threshold} "
            f"or more. {beyond} of {len(size)} clusters found reach it; the largest has "
            f"{size.max(initial=0) * volume:,.0f} mm³.",
        ),
        Plot(
            "threshold",
            "Threshold by iterations",
            f"The smallest cluster that is significant: after {len(null):,} iterations {threshold}. "
            "The band is its 95 % interval.",
        ),
        Plot(
            "design",
            "Subjects and foci",
            f"The sample: {n} experiments with {foci.min()} to {foci.max()} foci.",
        ),
    ]


def plot_path(result: xr.Dataset, plot: Plot, folder: Path) -> Path:
    """Return where a plot goes."""
    return folder / f"{stem(result.attrs['name'])}_{plot.suffix}.svg"


def write_plots(result: xr.Dataset, folder: Path, *, simulated: bool = False) -> list[Path]:
    """Write the plots of a result into a folder and return their paths. Needs matplotlib."""
    draw = {"null": _null, "threshold": _threshold, "design": _design}
    paths = []
    for plot in plots_of(result):
        path = plot_path(result, plot, folder)
        with _axes(result, plot, simulated=simulated) as (axes, svg):
            draw[plot.suffix](axes, result)
        replace_file(path, svg.getvalue().encode())
        paths.append(path)
    return paths


@contextmanager
def _axes(result: xr.Dataset, plot: Plot, *, simulated: bool) -> Iterator[tuple[Any, StringIO]]:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    svg = StringIO()
    # Text stays text, to be searched and restyled; a fixed salt keeps the file the same from run to run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ale_dask", "font.size": 10}):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        mark = f"{SIMULATED} · " if simulated else ""
        axes.set_title(f"{mark}{result.attrs['name']}: {plot.title[0].lower()}{plot.title[1:]}", size=11, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        yield axes, svg
        figure.savefig(svg, format="svg", metadata={"Date": None, "Description": plot.says})


def _null(axes: Any, result: xr.Dataset) -> None:
    volume = grid_of(result).voxel_volume
    null = result["null"].sel(statistic="max_size").values * volume
    found = result["cluster_size"].values * volume
    edges = np.histogram_bin_edges(null, bins=min(60, max(5, len(np.unique(null)))))
    axes.hist(null, bins=edges, color="#9aa6b1", label="random studies")
    top = axes.get_ylim()[1]
    if result.attrs["cut_size"] < UNREACHABLE:
        at = result.attrs["cut_size"] * volume
        axes.axvline(at, color=INK, linestyle="--", label=f"threshold, {at:,.0f} mm³")
    if len(found):
        axes.plot(found, np.full(len(found), top * 0.04), "v", color=ACCENT, clip_on=False, label="clusters found")
        axes.set_xscale("symlog", linthresh=max(float(np.median(null)), 1.0) * 2)
    axes.set_xlim(left=0)
    axes.set_xlabel("mm³")
    axes.set_ylabel("random studies")
    axes.legend(frameon=False)


def _threshold(axes: Any, result: xr.Dataset) -> None:
    volume, alpha = grid_of(result).voxel_volume, inference_of(result).cluster_p
    null = result["null"].sel(statistic="max_size").values
    counts = np.unique(np.geomspace(min(20, len(null)), len(null), POINTS).round().astype(int))
    cuts = np.array([cut(null[:n], alpha=alpha) for n in counts], dtype=np.float64)
    bounds = np.array([cut_interval(null[:n], alpha=alpha) for n in counts], dtype=np.float64)
    reached = cuts < UNREACHABLE
    axes.fill_between(counts[reached], *(bounds[reached].T * volume), color=BAND, label="95 % interval")
    axes.plot(counts[reached], cuts[reached] * volume, color=ACCENT, label="threshold")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("iterations")
    axes.set_ylabel("mm³")
    axes.legend(frameon=False)


def _design(axes: Any, result: xr.Dataset) -> None:
    subjects, foci = result["experiment_n_subjects"].values, n_foci(result)
    axes.plot(subjects, foci, "o", color=ACCENT, alpha=0.5, markeredgewidth=0)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("subjects")
    axes.set_ylabel("foci")
