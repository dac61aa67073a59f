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


def survival_table(survival: xr.Dataset) -> pd.DataFrame:
    """Return for each cluster how many sets of experiments can be left out before it is lost.

    A cluster survives leaving a set out if a significant cluster of the analysis without that set overlaps it; the
    retained share is the share of its voxels that are significant there, too.

    Parameters
    ----------
    survival
        What `survival` or `survival_of_run` returns of an analysis.

    Returns
    -------
    DataFrame
        One row per cluster: the number of sets, of how many it survives, the smallest retained share (%) and the set
        with which it occurs, and the sets without which the cluster is lost.

    Examples
    --------
    >>> result = ale.main_effect(ale.read_foci("drug.txt"), mask="ball.nii.gz", iterations=60, voxel_p=0.01, seed=3)
    >>> (survival,) = ale.survival([result]).values()
    >>> ale.survival_table(survival).columns[:3].tolist()
    ['Cluster ID', 'Input', 'Direction']
    """
    retained = survival["retained"].values
    labels = survival["left_out"].values.astype(str)
    weakest = retained.argmin(axis=1) if retained.size else np.zeros(len(retained), dtype=np.int64)
    rows = [
        {
            "Cluster ID": int(survival["cluster_number"].values[i]),
            "Input": survival["cluster_input"].values[i],
            "Direction": survival["cluster_direction"].values[i],
            **dict(zip("XYZ", survival["cluster_xyz"].values[i].tolist(), strict=True)),
            "Cluster Size (mm3)": survival["cluster_voxels"].values[i] * survival.attrs["voxel_volume"],
            "Sets": len(labels),
            "Survives": int((share > 0).sum()),
            "Least Retained (%)": 100 * share.min(),
            "Weakest Without": labels[weakest[i]] if share.min() < 1 else "",
            "Lost Without": "; ".join(labels[share == 0]),
        }
        for i, share in enumerate(retained)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def survival_lines(survivals: Mapping[str, xr.Dataset]) -> list[str]:
    """Return a line per cluster at the corrected input, and per cluster against the base rate, for a terminal."""
    lines = []
    for name, survival in survivals.items():
        table = survival_table(survival)
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


def survival_svg(survival: xr.Dataset, *, simulated: bool = False) -> str:
    """Return as SVG the share of each cluster that is retained without each set; needs matplotlib."""
    retained = survival["retained"].values
    n, sets = retained.shape
    mark = f"{SIMULATED} · " if simulated else ""
    with figure_svg(
        f"{mark}{survival.attrs['name']} · what is left of each cluster without {_unit(survival.attrs['by'])}",
        alt=f"{(retained > 0).all(axis=1).sum()} of {n} clusters survive whichever of {sets} is left out.",
        size=(min(14.0, max(7.0, 3.2 + 0.22 * sets)), 1.6 + 0.3 * n + (1.2 if sets <= _MOST_NAMED else 0)),
    ) as (axes, svg):
        names = [
            f"{d + ' ' if d else ''}{number} ({source})"
            for d, number, source in zip(
                survival["cluster_direction"].values,
                survival["cluster_number"].values,
                survival["cluster_input"].values,
                strict=True,
            )
        ]
        draw_retained(axes, retained, names)
        if sets <= _MOST_NAMED:
            axes.set_xticks(range(sets), survival["left_out"].values.tolist(), rotation=90, fontsize=7)
        else:
            axes.set_xlabel(f"{sets} sets of {_unit(survival.attrs['by'])} left out")
    return svg.getvalue()


def _unit(by: str) -> str:
    """Return in words what each set holds, "group of subjects" instead of "group"."""
    return f"group of subjects{by.removeprefix('group')}" if by.split(" ")[0] == "group" else by


def draw_retained(axes: Any, share: npt.NDArray[np.float64], names: Sequence[str]) -> None:
    """Draw retained shares (cluster, column) as colours, and a cross where nothing is retained."""
    image = axes.imshow(100 * share, vmin=0, vmax=100, cmap="cividis", aspect="auto", interpolation="nearest")
    for y, x in np.argwhere(share == 0):
        axes.plot(x, y, "x", color="#ffffff", markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(colors=INK, length=0)
    axes.figure.colorbar(image, ax=axes, label="% of its voxels", shrink=0.8)


def write_survival(
    survival: xr.Dataset, folder: Path, *, simulated: bool = False, origin: Sequence[Any] = ()
) -> list[Path]:
    """Write NAME_leave-out-BY.tsv, .json and, with matplotlib, .svg into an analysis's folder; return their paths.

    By `origin` (see `origin_of`) the page later knows whether the result is still the one in its folder.
    """
    by = str(survival.attrs["by"])
    base = f"{stem(survival.attrs['name'])}_leave-out-{stem(by)}"
    unit = _unit(by)
    about = {
        "title": f"Without each {unit}",
        "says": f"The analysis again without each {unit}, with its own null. Survives: after leaving out how many of "
        "the sets a significant cluster overlaps; Least Retained: the smallest share of its voxels that then stays."
        + (_BASE_RATE_NOTE if BASE_RATE_INPUT in survival["cluster_input"].values else ""),
        "of_results": list(origin),
    }
    content = {
        f"{base}.tsv": tsv(survival_table(survival)),
        f"{base}.json": f"{json.dumps(about, indent=1, ensure_ascii=False)}\n".encode(),
    }
    if survival["retained"].size and available("matplotlib"):
        content[f"{base}.svg"] = survival_svg(survival, simulated=simulated).encode()
    for name, data in content.items():
        replace_file(folder / name, data)
    return [folder / name for name in content]
