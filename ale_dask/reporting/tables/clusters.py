"""Tabulate the clusters of a main effect, nilearn's columns first, with the tests of each under either null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.numerics.density_levels import Z_UNIT
from ale_dask.reporting.common.base_rate_maps import AGAINST
from ale_dask.reporting.common.maps import main_clusters
from ale_dask.reporting.common.once import made_once
from ale_dask.reporting.tables.columns import BASE_RATE, MAIN, columns_of, variables_of
from ale_dask.reporting.tables.rows import columns_in, frame, networks_of, place_of, regions_at, seed_share
from ale_dask.schema import check


def cluster_table(result: xr.Dataset, *, source: str = "cluster-fwe", null: str | None = None) -> pd.DataFrame:
    """Return the clusters of a main effect that survive its primary correction, or its uncorrected clusters.

    Parameters
    ----------
    result
        A main effect.
    source
        "cluster-fwe", the primary correction whichever it is, or "uncorrected".
    null
        "uniform" or "base-rate"; by default the null that decides. Against the base rate clusters are formed of its z,
        and mass is the sum of z beyond the cluster-forming z.

    Returns
    -------
    DataFrame
        One row per cluster and one per sub-peak ("1a", at least 8 mm from the peak and each other), nilearn's columns
        first. Positions are mm MNI; peak stat is z; mass is the sum of S above its threshold; low and high are the 95 %
        interval of a Monte-Carlo p, bound is the most that p can be at any number of iterations. A decision
        ("significant", "not", "undecided") is about the cluster's family-wise p and holds at any number of iterations.
        Columns "Voxels …" count the cluster's voxels that survive a criterion.

    Examples
    --------
    >>> result = ale.main_effect(ale.read_foci("drug.txt"), mask="ball.nii.gz", iterations=60, seed=1)
    >>> ale.cluster_table(result, source="uncorrected").columns[:6].tolist()
    ['Cluster ID', 'X', 'Y', 'Z', 'Peak Stat', 'Cluster Size (mm3)']
    """
    check(result, "ale", "s", "z")
    base_rate = source != "uncorrected" and (null or model_of(result).inference.null) == "base-rate"
    return _main_effect_table(result, source, base_rate, base_rate and null is not None)


@made_once
def _main_effect_table(result: xr.Dataset, source: str, base_rate: bool, beside_uniform: bool) -> pd.DataFrame:
    """Return the table of clusters under one null; `beside_uniform` adds whether the uniform null has each cluster."""
    z, ale = (result[name].values for name in ("z_base_rate" if base_rate else "z", "ale"))
    mask = model_of(result).mask
    compared = thresholded(result, source) if beside_uniform else np.zeros(len(z), dtype=bool)
    voxel_of_focus = mask.voxel_at(result["focus_xyz"].values)
    experiment_of_focus = result["focus_experiment"].values
    values = {name: result[name].values for name in _read_by_clusters(result)}
    rows: list[dict[str, Any]] = []
    for cluster in base_rate_clusters(result) if base_rate else main_clusters(result, source=source):
        if base_rate:
            own = _base_rate_values(values, cluster, compared)
        else:
            own = _uniform_values(values, cluster, attrs=result.attrs)
        inside = np.isin(voxel_of_focus, cluster.voxels)
        foci = {"Foci": int(inside.sum()), "Experiments": len(np.unique(experiment_of_focus[inside]))}
        shares = seed_share(result, cluster, base_rate=base_rate) | networks_of(result, cluster)
        row = {**place_of(cluster, mask, ale), **foci, **own, **shares}
        rows.append({**row, "Peak Stat": float(z[cluster.peak]), "Peak ALE": float(ale[cluster.peak])})
        for letter, voxel in zip("abc", cluster.sub_peaks, strict=False):
            x, y, height = at = mask.to_mm(mask.voxel_ijk[voxel])
            sub = {"Cluster ID": f"{cluster.number}{letter}", "X": x, "Y": y, "Z": height, **regions_at(at)}
            rows.append({**sub, "Peak Stat": float(z[voxel]), "Peak ALE": float(ale[voxel])})
    return frame(rows, columns_in(BASE_RATE if base_rate else MAIN, result))


_Values = Mapping[str, npt.NDArray[Any]]
"""Variables of a main effect by their names: taking an array out of a Dataset takes longer than a cluster's value."""


def _read_by_clusters(result: xr.Dataset) -> list[str]:
    """Return the names of the variables that a table of clusters reads, of those that a main effect has."""
    columns = [*columns_of(MAIN), *columns_of(BASE_RATE)]
    tests = [*variables_of(MAIN).values(), *variables_of(BASE_RATE).values(), "base_rate_cluster_mass"]
    labels = ["cluster_of_voxel", "base_rate_cluster_of_voxel", "base_rate_tfce_p", "s"]
    names = [*tests, *labels, *(column.counted for column in columns if column.counted)]
    return [name for name in dict.fromkeys(names) if name in result]


def _tested(values: _Values, labels: str, cluster: Cluster, variables: Mapping[str, str]) -> dict[str, Any]:
    """Return the tests of the cluster-forming cluster around a cluster's peak; none if there is no such cluster."""
    around = int(values[labels][cluster.peak]) - 1
    return {column: values[v][around] for column, v in variables.items() if v in values} if around >= 0 else {}


def _uniform_values(values: _Values, cluster: Cluster, *, attrs: Mapping[str, Any]) -> dict[str, Any]:
    row = _tested(values, "cluster_of_voxel", cluster, variables_of(MAIN))
    row["Share base rate (%)"] = 100 * row.get("Share base rate (%)", np.nan)
    excess = values["s"][cluster.voxels] - int(attrs["threshold"])
    row["Cluster Mass"] = float(np.maximum(excess, 0).sum() * 2.0 ** -int(attrs["scale_bits"]))
    maps = {column.name: column.counted for column in columns_of(MAIN) if column.counted in values}
    return row | {name: int((values[v][cluster.voxels] != 0).sum()) for name, v in maps.items()}


def _base_rate_values(values: _Values, cluster: Cluster, compared: npt.NDArray[np.bool_]) -> dict[str, Any]:
    variables = {**variables_of(BASE_RATE), "Cluster Mass": "base_rate_cluster_mass"}
    row = _tested(values, "base_rate_cluster_of_voxel", cluster, variables)
    row["Cluster Mass"] = float(row.get("Cluster Mass", np.nan) / Z_UNIT)
    if "base_rate_tfce_p" in values:
        row["p TFCE FWE"] = float(values["base_rate_tfce_p"][cluster.voxels].min())
    return row | {"Uniform null": "found" if compared[cluster.voxels].any() else "not found"}


def base_rate_clusters(result: xr.Dataset) -> list[Cluster]:
    """Return the clusters of a main effect that survive the primary correction against the base rate."""
    correction = model_of(result).correction
    return model_of(result).clusters(result[correction.base_rate.map].values, level=f"{AGAINST}{correction.word}")
