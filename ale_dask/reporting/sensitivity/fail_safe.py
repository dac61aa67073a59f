"""Write fail-safe N as a table, a figure of its curves, lines for a terminal, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.analyses.sensitivity.fail_safe import ALL
from ale_dask.analyses.sensitivity.noise_null import least_of
from ale_dask.reporting.common.extra import available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.palette import FAINT, HUES, INK, Hue
from ale_dask.reporting.text.follow_up_files import write_follow_up

MOST_ROWS = 12
"""Largest clusters that a figure shows; the table has them all."""
COLUMNS = (
    "analysis",
    "noise_in",
    "against",
    "cluster",
    "x",
    "y",
    "z",
    "volume_mm3",
    "experiments",
    "N",
    "N_low",
    "N_high",
    "least",
    "reached",
    "share_at_least",
    "added_at_most",
    "tested_every",
    "series",
    "iterations",
)


def fail_safe_table(result: xr.Dataset, curves: xr.Dataset) -> pd.DataFrame:
    """Return the fail-safe N of each cluster of a main effect or conjunction.

    Parameters
    ----------
    result
        The main effect or conjunction.
    curves
        What `fail_safe` returns of it.

    Returns
    -------
    DataFrame
        One row per cluster and way of adding noise. N is the median over series (the lower of two), N_low and N_high
        the smallest and largest; ">=72" where a cluster survives all 72 experiments that were added. `least` is 30 % of
        the experiments, `reached` whether N is that many, `share_at_least` the share of series in which N is.
        N is the largest tested number; `tested_every` is the largest step between two tested numbers, so that the
        largest number that a cluster withstands is less than that above N.

    Examples
    --------
    >>> result = ale.main_effect(ale.read_foci("drug.txt"), mask="ball.nii.gz", iterations=60, voxel_p=0.01, seed=3)
    >>> curves = ale.fail_safe(result, most=1, series=1, iterations=20)
    >>> ale.fail_safe_table(result, curves).columns[:3].tolist()
    ['analysis', 'noise_in', 'against']
    """
    rows = []
    for record in as_records(result, curves):
        cap = record["added_at_most"]
        counts = {c: f">={cap}" if record[c] >= cap else str(record[c]) for c in ("N", "N_low", "N_high")}
        rows.append({**record, **counts, "reached": "yes" if record["reached"] else "no"})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def as_records(result: xr.Dataset, curves: xr.Dataset) -> list[dict[str, Any]]:
    """Return the rows of the table as plain numbers; an N equal to `added_at_most` means that many or more."""
    volume = model_of(result).mask.voxel_volume
    records: list[dict[str, Any]] = []
    for noise in curves["noise"].values:
        curve = curves.sel(noise=noise)
        experiments, most = int(curve["n_experiments"]), int(curve["most"])
        least = least_of(experiments, share=curves.attrs["share"])
        every = int(np.diff(_tested(curve)).max())
        for cluster in clusters_in(result):
            n = np.sort(curve["fail_safe_n"].sel(cluster=cluster.number).values)
            x, y, z = (round(float(v), 2) + 0.0 for v in cluster.peak_mm)
            median = int(n[(len(n) - 1) // 2])
            records.append(
                {
                    "analysis": curves.attrs["name"],
                    "noise_in": str(noise),
                    "against": curves.attrs["null"],
                    "cluster": cluster.number,
                    "x": x,
                    "y": y,
                    "z": z,
                    "volume_mm3": len(cluster.voxels) * volume,
                    "experiments": experiments,
                    "N": median,
                    "N_low": int(n[0]),
                    "N_high": int(n[-1]),
                    "least": least,
                    "reached": median >= least,
                    "share_at_least": float((n >= least).mean()),
                    "added_at_most": most,
                    "tested_every": every,
                    "series": len(n),
                    "iterations": int(curves.attrs["iterations"]),
                }
            )
    return records


def _tested(curve: xr.Dataset) -> npt.NDArray[np.int64]:
    """Return the tested numbers of noise experiments (step) of one way of adding noise."""
    number = curve["n_added"].values
    return np.asarray(number[number >= 0])


def clusters_in(result: xr.Dataset) -> list[Cluster]:
    """Return the clusters whose fail-safe N is computed, in the order of the cluster table."""
    if model_of(result).kind == "conjunction":
        return model_of(result).clusters(result["z_min"].sel(input="cluster-fwe").values)
    return model_of(result).clusters(thresholded(result, "cluster-fwe").astype(np.int8))


def summary_lines(result: xr.Dataset, curves: xr.Dataset) -> list[str]:
    """Return the fail-safe N of each cluster and way of adding noise in lines for a terminal."""
    name, table = curves.attrs["name"], fail_safe_table(result, curves)
    null = ", against the base rate" if curves.attrs["null"] == "base-rate" else ""
    if table.empty:
        return [f"{name}{null}: no cluster"]
    lines = []
    for row in table.to_dict("records"):
        where = f"{row['volume_mm3']:,.0f} mm³ at {row['x']:.0f} {row['y']:.0f} {row['z']:.0f}"
        noise = "" if row["noise_in"] == name else f", noise in {row['noise_in']}"
        median, low, high = (str(row[c]).replace(">=", "at least ") for c in ("N", "N_low", "N_high"))
        series = f"in all {row['series']} series" if low == high else f"({low} to {high} in {row['series']} series)"
        reached = "reached" if row["reached"] == "yes" else "not reached"
        lines.append(
            f"{name} {row['cluster']}{null}, {where}{noise}: N {median} {series}; "
            f"30 % of {row['experiments']} is {row['least']}: {reached}{_steps(row['tested_every'])}"
        )
    return lines


def _steps(every: int) -> str:
    """Return what is said where not every number of noise experiments is tested."""
    return f"; tested in steps of up to {every} experiments" if every > 1 else ""


def write_fail_safe(
    result: xr.Dataset,
    curves: xr.Dataset,
    folder: Path,
    *,
    pictures: bool = True,
    hues: Mapping[str, Hue] = MappingProxyType({}),
    origin: Sequence[Any] = (),
) -> list[Path]:
    """Write NAME_fail-safe.tsv, .json and, with matplotlib, .svg into a folder and return their paths.

    Against the base rate the names are NAME_fail-safe-base-rate. By `origin` (see `origin_of`) the page later knows
    whether the result is still the one in its folder.

    Raises
    ------
    StoreError
        when a file cannot be written.
    """
    base = f"{stem(curves.attrs['name'])}_fail-safe{'-base-rate' if curves.attrs['null'] == 'base-rate' else ''}"
    drawn = pictures and curves.sizes["cluster"] and available("matplotlib")
    figure = fail_safe_svg(result, curves, hues=hues) if drawn else ""
    return write_follow_up(
        folder / base, fail_safe_table(result, curves), _about(result, curves, origin), figure=figure
    )


def _about(result: xr.Dataset, curves: xr.Dataset, origin: Sequence[Any]) -> dict[str, Any]:
    tested = {str(noise): _tested(curves.sel(noise=noise)) for noise in curves["noise"].values}
    shares = {
        noise: curves["survives"].sel(noise=noise).values[: len(numbers)].round(6).T.tolist()
        for noise, numbers in tested.items()
    }
    base_rate = curves.attrs["null"] == "base-rate"
    null = " against the base rate" if base_rate else ""
    where = "Their foci are where the literature reports them. " if base_rate else ""
    return {
        **{str(k): v for k, v in curves.attrs.items()},
        "title": f"Fail-safe N{null}: how many experiments without convergence each cluster withstands "
        "(Acar et al. 2018)",
        "says": f"{where}N: the median over series of such experiments, the lower one of two, N_low to N_high its "
        "range; least: 30 % of the experiments, reached: whether N is that many; survives: the share of series in "
        "which a cluster survives each tested number of noise experiments.",
        "of_results": list(origin),
        "clusters": as_records(result, curves),
        "tested": {noise: numbers.tolist() for noise, numbers in tested.items()},
        "survives": shares,
    }


def fail_safe_svg(
    result: xr.Dataset,
    curves: xr.Dataset,
    *,
    hues: Mapping[str, Hue] = MappingProxyType({}),
) -> str:
    """Return as SVG the share of series in which each cluster survives, against the noise experiments added.

    `hues` are the colours of main effects; the curve of noise in all of them is grey.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    clusters = clusters_in(result)
    shown = clusters[:MOST_ROWS]
    ways = [str(n) for n in curves["noise"].values]
    rows, columns = len(shown), len(ways)
    height = 0.62 * rows + 1.25
    svg = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ale_dask", "font.size": 10}):
        figure = Figure(figsize=(6.4 if columns == 1 else 1.7 + 3.0 * columns, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, columns, sharex="col", sharey=True, squeeze=False)
        for column, noise in enumerate(ways):
            colour = FAINT if noise == ALL else hues.get(noise, HUES[0]).flat
            for row, cluster in enumerate(shown):
                _curve(axes[row, column], curves.sel(noise=noise), cluster, colour)
            if columns > 1:
                words = "in all, in proportion" if noise == ALL else f"in {noise}"
                axes[0, column].set_title(f"noise {words}", size=10, loc="left")
            axes[-1, column].set_xlabel("noise experiments added")
        _name_rows(axes[:, 0], shown, model_of(result).mask.voxel_volume)
        mark = f"{SIMULATED} · " if model_of(result).simulated else ""
        figure.suptitle(
            f"{mark}{curves.attrs['name']}: share of {curves.attrs['series']} noise series in which a cluster "
            "survives\n",
            size=11,
            x=0.01,
            ha="left",
        )
        figure.text(0.01, 1 - 0.36 / height, _legend(len(clusters)), size=9, color=FAINT)
        figure.savefig(
            svg, format="svg", metadata={"Date": None, "Description": "\n".join(summary_lines(result, curves))}
        )
    return svg.getvalue()


def _name_rows(axes: Any, clusters: Sequence[Cluster], voxel_volume: float) -> None:
    for row, cluster in enumerate(clusters):
        x, y, z = (f"{v + 0.0:.0f}" for v in cluster.peak_mm)
        place = f"{cluster.number}: {len(cluster.voxels) * voxel_volume:,.0f} mm³\nat {x} {y} {z}"
        axes[row].set_ylabel(place.replace("-", "−"), rotation=0, ha="right", va="center", size=9)


def _legend(number: int) -> str:
    more = f" · the {MOST_ROWS} largest of {number} clusters" if number > MOST_ROWS else ""
    return f"dashed: 30 % of the experiments · triangle: median N, open if all that were added · bar: its range{more}"


def _curve(axes: Any, curve: xr.Dataset, cluster: Cluster, colour: str) -> None:
    most, experiments = int(curve["most"]), int(curve["n_experiments"])
    tested = _tested(curve)
    share: npt.NDArray[np.float64] = curve["survives"].sel(cluster=cluster.number).values[: len(tested)]
    n = np.sort(curve["fail_safe_n"].sel(cluster=cluster.number).values)
    median = int(n[(len(n) - 1) // 2])
    starts = np.flatnonzero(np.r_[True, np.diff(share) != 0])
    # A share holds up to the middle between its tested number and the next one.
    edges = np.r_[-0.5, (tested[1:] + tested[:-1]) / 2, most + 0.5][np.r_[starts, len(tested)]]
    axes.stairs(share[starts], edges, fill=True, color=colour, alpha=0.3, linewidth=0)
    axes.stairs(share[starts], edges, color=colour, linewidth=1.2, baseline=None)
    axes.axvline(curve.attrs["share"] * experiments, color=INK, linestyle=(0, (4, 3)), linewidth=0.9)
    axes.plot([n[0], n[-1]], [0, 0], color="#8a949e", linewidth=3.5, solid_capstyle="butt", clip_on=False, zorder=4)
    inside = "white" if median >= most else INK
    axes.plot([median], [0], "^", color=INK, markerfacecolor=inside, markersize=7.5, clip_on=False, zorder=5)
    axes.set_xlim(0, most)
    axes.set_ylim(0, 1.05)
    axes.set_yticks([0, 1], ["0", "1"], size=8)
    axes.spines[["top", "right"]].set_visible(False)
