"""Write which clusters survive without some of the experiments, as a table and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.atlas import regions
from ale_dask.analyses.findings.model import is_simulated
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.svg import WIDTH, lines_of, text, titled
from ale_dask.reporting.figures.matrix import Matrix, legend
from ale_dask.reporting.text.follow_up_files import write_follow_up

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
_MOST_SETS, _MOST_CLUSTERS = 30, 12
"""Most sets and clusters in a matrix of the figure; the table has all clusters."""


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
                f"{place}{null}, cluster {row['Cluster ID']} ({row['Cluster Size (mm3)']:,.0f} mm³): "
                f"survives {row['Survives']} of {row['Sets']}{least}{lost}"
            )
        if not rows:
            lines.append(f"{name}: no cluster")
    return lines


def jackknife_svg(overlap: xr.Dataset) -> str:
    """Return as SVG the overlap fraction of each cluster without each of the sets of experiments that matter most."""
    fraction = overlap["overlap_fraction"].values
    n, sets = fraction.shape
    mark = f"{SIMULATED} · " if is_simulated(overlap) else ""
    title = f"{mark}{overlap.attrs['name']}: what is left of each cluster without each {_unit(overlap.attrs['by'])}"
    lines = lines_of(title, width=WIDTH - 28, size=15)
    y = 42.0 + 18 * (len(lines) - 1)
    parts = legend(y, "of the cluster's voxels are still significant; × none of them")
    y += 14
    width = WIDTH
    sources, directions = (overlap[f"cluster_{what}"].values.astype(str) for what in ("input", "direction"))
    for source, direction in dict.fromkeys(zip(sources, directions, strict=True)):
        clusters = np.flatnonzero((sources == source) & (directions == direction))
        matrix, rest = _matrix(overlap, clusters)
        for line in lines_of(" · ".join(filter(None, (direction, _INPUTS[source]))), width=WIDTH - 28, size=12):
            y += 16
            parts.append(text(14, y, line, bold=True))
        parts += matrix.draw(y)
        y += matrix.height + 16
        for line in rest:
            parts.append(text(14, y, line, size=11))
            y += 15
        width = max(width, matrix.width)
    alt = f"{(fraction > 0).all(axis=1).sum()} of {n} clusters survive whichever of {sets} is left out."
    return titled(parts, lines=lines, height=round(y + 4), alt=alt, width=width)


_INPUTS = {
    INPUTS[0]: "clusters of the primary correction",
    INPUTS[1]: "uncorrected clusters",
    BASE_RATE_INPUT: "clusters against the base rate",
}


def _matrix(overlap: xr.Dataset, clusters: npt.NDArray[np.int64]) -> tuple[Matrix, list[str]]:
    """Return clusters as columns and sets as rows, from the one that takes most, and what else there is in words."""
    shown = clusters[:_MOST_CLUSTERS]
    fraction = overlap["overlap_fraction"].values[shown].T
    order = np.lexsort((fraction.mean(axis=1), fraction.min(axis=1)))
    # Sets without which every cluster stays whole are counted, not listed; one row is always there.
    listed = min(_MOST_SETS, max(1, int((fraction.min(axis=1) < 1).sum())))
    first, others = order[:listed], order[listed:]
    labels = overlap["left_out"].values.astype(str)
    matrix = Matrix(
        labels[first].tolist(),
        [_cluster_words(overlap, cluster) for cluster in shown],
        fraction[first],
        [[f"{100 * share:.0f}" if share else "×" for share in row] for row in fraction[first]],
    )
    rest = []
    if len(others):
        least = fraction[others].min()
        what = "each cluster stays whole" if least == 1 else f"at least {100 * least:.0f} % of each cluster stays"
        rest.append(f"Without {'the other one' if len(others) == 1 else f'any of the {len(others):,} others'} {what}.")
    if len(clusters) > len(shown):
        rest.append(f"{len(clusters) - len(shown)} smaller clusters are in the table.")
    return matrix, rest


def _cluster_words(overlap: xr.Dataset, cluster: int) -> str:
    """Return the number of a cluster, the region of its peak, and its place."""
    xyz = overlap["cluster_xyz"].values[cluster]
    region = regions(xyz)["AAL"] if available(*LABELS) else ""
    place = ", ".join(f"{v + 0.0:.0f}" for v in xyz).replace("-", "−")
    return f"{overlap['cluster_number'].values[cluster]} {region} ({place})".replace("  ", " ")


def _unit(by: str) -> str:
    """Return in words what each set holds, "group of subjects" instead of "group"."""
    return f"group of subjects{by.removeprefix('group')}" if by.split(" ")[0] == "group" else by


def write_jackknife(overlap: xr.Dataset, folder: Path, *, origin: Sequence[Any] = ()) -> list[Path]:
    """Write NAME_leave-out-BY.tsv, .json and .svg into an analysis's folder; return their paths.

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
    figure = jackknife_svg(overlap) if overlap["overlap_fraction"].size else ""
    return write_follow_up(folder / base, jackknife_table(overlap), about, figure=figure)
