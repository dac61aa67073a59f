"""Tabulate the clusters of contrasts, conjunctions, moderators, and analyses of subsamples."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.numerics.moderator import UNIT_BITS
from ale_dask.reporting.common.maps import MapSpec, find_map_spec
from ale_dask.reporting.common.once import made_once
from ale_dask.reporting.tables.columns import CONJUNCTION, CONTRAST, JOINT, MODERATOR, SHARE, variables_of
from ale_dask.reporting.tables.rows import columns_in, frame, networks_of, place_of, seed_share
from ale_dask.schema import check


@made_once
def contrast_table(result: xr.Dataset, *, source: str, level: str = "uncorrected") -> pd.DataFrame:
    """Return the clusters of a contrast at an input, in both directions.

    `level` "uncorrected" is the map inside the gate, with the uncorrected p of the peak. Over the region that no
    relabelling changes, "voxel-fwe" is the map with the family-wise p of the peak, "size-fwe" and "mass-fwe" the
    clusters with their own family-wise p and decision; mass is there the sum of S beyond the arm's cluster-forming
    value. Peak stat is z of the uncorrected p, which corrected levels have as a column of its own. The peak is where z,
    then the difference, is largest; at "voxel-fwe" where the difference is.
    """
    check(result, "difference", "z_contrast", "z_contrast_voxel_fwe")
    mask = model_of(result).mask
    z = find_map_spec(result, level=level, source=source).read(result)
    difference = result["difference"].values
    rows = []
    for cluster in model_of(result).clusters(z, level=level):
        uncorrected = result["p_greater" if cluster.sign > 0 else "p_less"].values[cluster.peak]
        tests = _contrast_cluster(result, cluster, source=source) if level in ("size-fwe", "mass-fwe") else {}
        rows.append(
            {
                **place_of(cluster, mask, z),
                **seed_share(result, cluster),
                **networks_of(result, cluster),
                **tests,
                "Peak Stat": float(z[cluster.peak]),
                "Direction": model_of(result).directions[0 if cluster.sign > 0 else 1],
                "p": contrast_p(result, cluster, source=source, level=level),
                "p uncorrected": np.nan if level == "uncorrected" else float(uncorrected),
                "Peak Difference": float(difference[cluster.peak]),
            }
        )
    return frame(rows, columns_in(CONTRAST, result))


def contrast_p(result: xr.Dataset, cluster: Cluster, *, source: str, level: str) -> float:
    """Return the p of a contrast's cluster: its own at "size-fwe" and "mass-fwe", else the p of its peak."""
    if level in ("size-fwe", "mass-fwe"):
        return float(_contrast_cluster(result, cluster, source=source)[f"p {level[:4]} FWE"])
    side = "greater" if cluster.sign > 0 else "less"
    p = result[f"p_voxel_fwe_{side}"].sel(input=source) if level == "voxel-fwe" else result[f"p_{side}"]
    return float(p.values[cluster.peak])


def _contrast_cluster(result: xr.Dataset, cluster: Cluster, *, source: str) -> dict[str, Any]:
    label = result["contrast_cluster_of_voxel"].values[0 if cluster.sign > 0 else 1, cluster.peak]
    tested = result.sel(input=source).isel(contrast_cluster=int(label) - 1)
    unit = 2.0 ** -int(result.attrs["scale_bits"])
    mass = {"Cluster Mass": float(tested["contrast_cluster_mass"]) * unit}
    return mass | {column: tested[variable].item() for column, variable in variables_of(CONTRAST).items()}


@made_once
def moderator_table(result: xr.Dataset, *, level: str = "uncorrected") -> pd.DataFrame:
    """Return the clusters of a moderator in each direction.

    `level` "uncorrected" has the uncorrected p of the peak, "voxel-fwe" its family-wise p, "size-fwe" and "mass-fwe"
    the clusters' own; mass is the sum of T / sd beyond the cluster-forming value. Peak stat is z of the uncorrected p,
    the peak where T / sd is largest.
    """
    check(result, "t_moderator", "z_moderator", "z_moderator_voxel_fwe")
    mask = model_of(result).mask
    z = find_map_spec(result, level=level).read(result)
    rows = []
    for cluster in model_of(result).clusters(z, level=level):
        d, peak = (0 if cluster.sign > 0 else 1), cluster.peak
        side = ("greater", "less")[d]
        tests = _moderator_cluster(result, d, peak) if level in ("size-fwe", "mass-fwe") else {}
        own = result[f"p_voxel_fwe_{side}" if level == "voxel-fwe" else f"p_{side}"].values[peak]
        row = {
            **place_of(cluster, mask, z),
            **networks_of(result, cluster),
            **tests,
            "Peak Stat": float(z[peak]),
            "Direction": model_of(result).directions[d],
            "Pair": _pair_at(result, peak),
            "p": tests.get(f"p {level[:4]} FWE", float(own)),
            "p uncorrected": np.nan if level == "uncorrected" else float(result[f"p_{side}"].values[peak]),
            "Peak T": float(result["t_moderator"].values[peak]),
        }
        ends = {"Effect": "effect", "Effect low": "effect_low", "Effect high": "effect_high"}
        rows.append(row | {c: float(result[v].values[peak]) for c, v in ends.items() if v in result})
    return frame(rows, columns_in(MODERATOR, result))


def pair_table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    """Return the clusters of a pair of groups that a moderator compares, with the family-wise p of the peak.

    Peak stat and peak T are T / sd of the pair.
    """
    mask, t = model_of(result).mask, spec.read(result)
    p = result["p_pair_voxel_fwe"].sel(pair_of_groups=spec.source).values
    rows = []
    for cluster in model_of(result).clusters(t, level=spec.level):
        direction, peak = spec.directions[0 if cluster.sign > 0 else 1], cluster.peak
        found = {"Direction": direction, "Pair": direction, "p": float(p[peak]), "Peak T": float(t[peak])}
        rows.append(
            {**place_of(cluster, mask, t), **networks_of(result, cluster), "Peak Stat": float(t[peak]), **found}
        )
    return frame(rows, columns_in(MODERATOR, result))


def _moderator_cluster(result: xr.Dataset, direction: int, peak: int) -> dict[str, Any]:
    around = int(result["moderator_cluster_of_voxel"].values[direction, peak]) - 1
    tested = result.isel(moderator_cluster=around)
    mass = {"Cluster Mass": float(tested["moderator_cluster_mass"]) * 2.0**-UNIT_BITS}
    return mass | {column: tested[variable].item() for column, variable in variables_of(MODERATOR).items()}


def _pair_at(result: xr.Dataset, peak: int) -> str:
    if "pair" not in result:
        return ""
    number = int(result["pair"].values[peak])
    first, second = list(combinations(result.attrs["levels"], 2))[abs(number) - 1]
    # Scores are of the second level minus the first.
    return f"{second} > {first}" if number > 0 else f"{first} > {second}"


@made_once
def conjunction_table(result: xr.Dataset, *, source: str) -> pd.DataFrame:
    """Return the clusters of a conjunction at an input or "voxel-fwe", with minimum z and ALE at the peak."""
    check(result, "ale_min", "z_min", "z_min_voxel_fwe")
    if source == "voxel-fwe":
        return untested_table(result, result["z_min_voxel_fwe"].values)
    return untested_table(result, *(result[name].sel(input=source).values for name in ("z_min", "ale_min")))


def untested_table(result: xr.Dataset, z: npt.NDArray[Any], ale: npt.NDArray[Any] | None = None) -> pd.DataFrame:
    """Return the clusters of a thresholded map of z (voxel) that have no test of their own, with ALE at the peak."""
    mask = model_of(result).mask
    rows = []
    for cluster in model_of(result).clusters(z):
        row = {**place_of(cluster, mask, z if ale is None else ale), "Peak Stat": float(z[cluster.peak])}
        row["Peak ALE"] = np.nan if ale is None else float(ale[cluster.peak])
        rows.append(row | seed_share(result, cluster) | networks_of(result, cluster))
    return frame(rows, columns_in(CONJUNCTION, result))


@made_once
def joint_table(result: xr.Dataset, *, source: str, level: str) -> pd.DataFrame:
    """Return the clusters of a conjunction of contrasts at an input and a level, with the largest p at the peak."""
    model, z = model_of(result), find_map_spec(result, level=level, source=source).read(result)
    rows = []
    for cluster in model.clusters(z, level=level):
        side, peak = ("greater" if cluster.sign > 0 else "less"), cluster.peak
        uncorrected = float(result[f"p_max_{side}"].values[peak])
        corrected = result[f"p_max_voxel_fwe_{side}"].sel(input=source).values
        p = {"uncorrected": uncorrected, "voxel-fwe": float(corrected[peak])}
        row = {
            **place_of(cluster, model.mask, z),
            **seed_share(result, cluster),
            **networks_of(result, cluster),
            "Peak Stat": float(z[peak]),
            "Direction": model.directions[0 if cluster.sign > 0 else 1],
            # No p of clusters: how large their overlap would be by chance is not known.
            "p": p.get(level, np.nan),
            "p uncorrected": np.nan if level == "uncorrected" else uncorrected,
            "Peak Difference": float(result["difference_min"].values[peak]),
        }
        rows.append(row)
    return frame(rows, columns_in(JOINT, result))


def share_table(
    result: xr.Dataset, share: npt.NDArray[Any], low: npt.NDArray[Any], high: npt.NDArray[Any]
) -> pd.DataFrame:
    """Return the clusters of a thresholded map of shares of subsamples (voxel), with the interval at the peak.

    `share` has the sign of the direction; `low` and `high` (voxel) have none.
    """
    model = model_of(result)
    rows = []
    for cluster in model.clusters(share):
        at_peak = {
            "Peak Share": abs(share[cluster.peak]),
            "Share low": low[cluster.peak],
            "Share high": high[cluster.peak],
        }
        direction = model.directions[0 if cluster.sign > 0 else 1]
        row = {**place_of(cluster, model.mask, np.abs(share)), **at_peak, "Direction": direction}
        rows.append(row | networks_of(result, cluster))
    return frame(rows, columns_in(SHARE, result))
