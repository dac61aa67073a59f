"""Write which clusters survive without some of the experiments, as a table and as a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import is_simulated
from ale_dask.config.study import INPUTS
from ale_dask.reporting.common.extra import available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.palette import INK
from ale_dask.reporting.figures.plots import figure_svg
from ale_dask.reporting.tables.clusters import tsv
from ale_dask.storage.location import replace_file

COLUMNS = (
    "Cluster ID",
    "Input",
    "Direction",
    "X",
    "Y",
    "Z",
    "Cluster Size (mm3)",
    "Sets",
    "Survives",
    "Least Retained (%)",
    "Weakest Without",
    "Lost Without",
)
BASE_RATE_INPUT = "base-rate"
_BASE_RATE_NOTE = (
    " At the input base-rate are the clusters that survive against the base rate, and so do those left of them."
)
_MOST_NAMED = 40
"""Most sets whose names fit below a figure."""


def jackknife_table(overlap: xr.Dataset) -> pd.DataFrame:
    """Return for each cluster how many sets of experiments can be left out before it is lost.

    A cluster survives leaving a set out if a significant cluster of the analysis without that set overlaps it. Its
    overlap fraction is the share of its voxels that are significant in that analysis, too.

    Parameters
    ----------
    overlap
        Dataset that `jackknife` or `jackknife_of_run` returns for one analysis.

    Returns
    -------
    DataFrame
        One row per cluster: the number of sets, the number of sets whose omission it survives, the smallest overlap
        fraction (%) and the set whose omission gives it, and the sets without which the cluster is lost.

    Examples
    --------
    >>> result = ale.main_effect(ale.read_foci("drug.txt"), mask="ball.nii.gz", null="uniform", iterations=60, seed=3)
    >>> (overlap,) = ale.jackknife([result]).values()
    >>> ale.jackknife_table(overlap).columns[:3].tolist()
    ['Cluster ID', 'Input', 'Direction']
    """
    fraction = overlap["overlap_fraction"].values
    labels = overlap["left_out"].values.astype(str)
    weakest = fraction.argmin(axis=1) if fraction.size else np.zeros(len(fraction), dtype=np.int64)
    rows = [
        {
            "Cluster ID": int(overlap["cluster_number"].values[i]),
            "Input": overlap["cluster_input"].values[i],
            "Direction": overlap["cluster_direction"].values[i],
            **dict(zip("XYZ", overlap["cluster_xyz"].values[i].tolist(), strict=True)),
            "Cluster Size (mm3)": overlap["cluster_voxels"].values[i] * overlap.attrs["voxel_volume"],
            "Sets": len(labels),
            "Survives": int((share > 0).sum()),
            "Least Retained (%)": 100 * share.min(),
            "Weakest Without": labels[weakest[i]] if share.min() < 1 else "",
            "Lost Without": "; ".join(labels[share == 0]),
        }
        for i, share in enumerate(fraction)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def jackknife_lines(by_analysis: Mapping[str, xr.Dataset]) -> list[str]:
    """Return a line for a terminal per cluster of the corrected map, and per cluster against the base rate."""
    lines = []
    for name, overlap in by_analysis.items():
        table = jackknife_table(overlap)
        rows = table[table["Input"].isin((INPUTS[0], BASE_RATE_INPUT))].to_dict("records")
        for row in rows:
            lost = f"; lost without {row['Lost Without']}" if row["Lost Without"] else ""
            least = f", at least {row['Least Retained (%)']:.0f} % of it" if row["Least Retained (%)"] else ""
            place = row["Direction"] or name
            null = ", against the base rate" if row["Input"] == BASE_RATE_INPUT else ""
            lines.append(
                f"{place}{null}, cluster {row['Cluster ID']} ({row['Cluster Size (mm3)']:.0f} mm³): "
                f"survives {row['Survives']} of {row['Sets']}{least}{lost}"
            )
        if not rows:
            lines.append(f"{name}: no cluster")
    return lines


def jackknife_svg(overlap: xr.Dataset) -> str:
    """Return as SVG the overlap fraction of each cluster without each set of experiments; needs matplotlib."""
    fraction = overlap["overlap_fraction"].values
    n, sets = fraction.shape
    mark = f"{SIMULATED} · " if is_simulated(overlap) else ""
    with figure_svg(
        f"{mark}{overlap.attrs['name']} · what is left of each cluster without {_unit(overlap.attrs['by'])}",
        alt=f"{(fraction > 0).all(axis=1).sum()} of {n} clusters survive whichever of {sets} is left out.",
        size=(min(14.0, max(7.0, 3.2 + 0.22 * sets)), 1.6 + 0.3 * n + (1.2 if sets <= _MOST_NAMED else 0)),
    ) as (axes, svg):
        names = [
            f"{d + ' ' if d else ''}{number} ({source})"
            for d, number, source in zip(
                overlap["cluster_direction"].values,
                overlap["cluster_number"].values,
                overlap["cluster_input"].values,
                strict=True,
            )
        ]
        draw_fractions(axes, fraction, names)
        if sets <= _MOST_NAMED:
            axes.set_xticks(range(sets), overlap["left_out"].values.tolist(), rotation=90, fontsize=7)
        else:
            axes.set_xlabel(f"{sets} sets of {_unit(overlap.attrs['by'])} left out")
    return svg.getvalue()


def _unit(by: str) -> str:
    """Return in words what each set holds, "group of subjects" instead of "group"."""
    return f"group of subjects{by.removeprefix('group')}" if by.split(" ")[0] == "group" else by


def draw_fractions(axes: Any, fraction: npt.NDArray[np.float64], names: Sequence[str]) -> None:
    """Draw overlap fractions (cluster, column) as colours, and a cross where no voxel of a cluster overlaps."""
    image = axes.imshow(100 * fraction, vmin=0, vmax=100, cmap="cividis", aspect="auto", interpolation="nearest")
    for y, x in np.argwhere(fraction == 0):
        axes.plot(x, y, "x", color="#ffffff", markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(colors=INK, length=0)
    axes.figure.colorbar(image, ax=axes, label="% of its voxels", shrink=0.8)


def write_jackknife(overlap: xr.Dataset, folder: Path, *, origin: Sequence[Any] = ()) -> list[Path]:
    """Write NAME_leave-out-BY.tsv, .json and, with matplotlib, .svg into an analysis's folder; return their paths.

    `origin`, from `origin_of`, names the result that was left out of; report.html shows the files only beside that one.
    """
    by = str(overlap.attrs["by"])
    base = f"{stem(overlap.attrs['name'])}_leave-out-{stem(by)}"
    unit = _unit(by)
    about = {
        "title": f"Without each {unit}",
        "says": f"The analysis again without each {unit}, with its own null. Survives: after leaving out how many of "
        "the sets a significant cluster overlaps; Least Retained: the smallest share of its voxels that then stays."
        + (_BASE_RATE_NOTE if BASE_RATE_INPUT in overlap["cluster_input"].values else ""),
        "of_results": list(origin),
    }
    content = {
        f"{base}.tsv": tsv(jackknife_table(overlap)),
        f"{base}.json": f"{json.dumps(about, indent=1, ensure_ascii=False)}\n".encode(),
    }
    if overlap["overlap_fraction"].size and available("matplotlib"):
        content[f"{base}.svg"] = jackknife_svg(overlap).encode()
    for name, data in content.items():
        replace_file(folder / name, data)
    return [folder / name for name in content]
