"""Tabulate the clusters of each analysis, nilearn's columns first, and the clusters of a study in one table."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import StringIO
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.base_rate_result import nulls_of
from ale_dask.analyses.findings.atlas import regions
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import thresholded
from ale_dask.analyses.networks import NETWORK, network_shares, share_words
from ale_dask.analyses.seed_reach import deciding_reach
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.spreadsheet_cells import escaped_cell
from ale_dask.numerics.density_levels import Z_UNIT
from ale_dask.numerics.moderator import UNIT_BITS
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.base_rate_maps import AGAINST, is_base_rate
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.common.maps import MapSpec, directions_of, find_map_spec, main_clusters, map_specs_of
from ale_dask.reporting.common.once import kept, made_once
from ale_dask.reporting.common.presentation import presentation_of
from ale_dask.reporting.common.wording import controls
from ale_dask.reporting.tables.columns import (
    BASE_RATE,
    CENTER,
    CONJUNCTION,
    CONTRAST,
    FORMATS,
    JOINT,
    MAIN,
    MODERATOR,
    NETWORKS,
    SEED_SHARE,
    SHARE,
    columns_of,
    variables_of,
)
from ale_dask.schema import check

_KEY = ("analysis", "kind", "input", "level", "direction", "cluster")
STUDY = (*_KEY, "Z", "ALE", "p", "x", "y", "z", "volume_mm3", "controls")
"""Columns of the table of a study; one with subsamples has the share behind them, one with networks these."""


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
        shares = _seed_share(result, cluster, base_rate=base_rate) | _networks(result, cluster)
        row = {**_place(cluster, mask, ale), **foci, **own, **shares}
        rows.append({**row, "Peak Stat": float(z[cluster.peak]), "Peak ALE": float(ale[cluster.peak])})
        for letter, voxel in zip("abc", cluster.sub_peaks, strict=False):
            x, y, height = at = mask.to_mm(mask.voxel_ijk[voxel])
            sub = {"Cluster ID": f"{cluster.number}{letter}", "X": x, "Y": y, "Z": height, **_regions(at)}
            rows.append({**sub, "Peak Stat": float(z[voxel]), "Peak ALE": float(ale[voxel])})
    return _frame(rows, _names_of(BASE_RATE if base_rate else MAIN, result))


def _names_of(table: str, result: xr.Dataset) -> list[str]:
    """Return the names of the columns of a table that a result has, in their order."""
    return [column.name for column in columns_of(table) if not column.needs or column.needs in result]


def _seed_share(result: xr.Dataset, cluster: Cluster, *, base_rate: bool | None = None) -> dict[str, float]:
    """Return the share of a cluster's voxels that foci in the seed reach alone; {} without a seed."""
    reach = deciding_reach(result, base_rate=base_rate)
    return {} if reach is None else {SEED_SHARE: 100 * float(reach[cluster.voxels].mean())}


def _networks(result: xr.Dataset, cluster: Cluster) -> dict[str, str]:
    """Return the shares of a cluster's voxels in the networks of a result; {} where its settings name none."""
    return {NETWORKS: share_words(network_shares(result, cluster.voxels))} if NETWORK in result else {}


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
                **_place(cluster, mask, z),
                **_seed_share(result, cluster),
                **_networks(result, cluster),
                **tests,
                "Peak Stat": float(z[cluster.peak]),
                "Direction": model_of(result).directions[0 if cluster.sign > 0 else 1],
                "p": contrast_p(result, cluster, source=source, level=level),
                "p uncorrected": np.nan if level == "uncorrected" else float(uncorrected),
                "Peak Difference": float(difference[cluster.peak]),
            }
        )
    return _frame(rows, _names_of(CONTRAST, result))


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
            **_place(cluster, mask, z),
            **_networks(result, cluster),
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
    return _frame(rows, _names_of(MODERATOR, result))


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
        rows.append({**_place(cluster, mask, t), **_networks(result, cluster), "Peak Stat": float(t[peak]), **found})
    return _frame(rows, _names_of(MODERATOR, result))


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
        row = {**_place(cluster, mask, z if ale is None else ale), "Peak Stat": float(z[cluster.peak])}
        row["Peak ALE"] = np.nan if ale is None else float(ale[cluster.peak])
        rows.append(row | _seed_share(result, cluster) | _networks(result, cluster))
    return _frame(rows, _names_of(CONJUNCTION, result))


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
            **_place(cluster, model.mask, z),
            **_seed_share(result, cluster),
            **_networks(result, cluster),
            "Peak Stat": float(z[peak]),
            "Direction": model.directions[0 if cluster.sign > 0 else 1],
            # No p of clusters: how large their overlap would be by chance is not known.
            "p": p.get(level, np.nan),
            "p uncorrected": np.nan if level == "uncorrected" else uncorrected,
            "Peak Difference": float(result["difference_min"].values[peak]),
        }
        rows.append(row)
    return _frame(rows, _names_of(JOINT, result))


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
        row = {**_place(cluster, model.mask, np.abs(share)), **at_peak, "Direction": direction}
        rows.append(row | _networks(result, cluster))
    return _frame(rows, _names_of(SHARE, result))


@made_once
def study_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Return every cluster of a study's analyses, one row each, at both inputs and each level.

    An analysis or a direction without a cluster has one row with cluster "none" and volume 0. Positions are mm MNI; the
    p of a main effect is that of the cluster by the primary correction.
    """
    rows: list[dict[str, Any]] = []
    for name, result in results.items():
        kind = model_of(result).kind
        if kind == "main-effect":
            rows += [{"analysis": name, **row} for row in rows_of_main_effect(result)]
            continue
        for level, source in levels_of(result):
            spec = find_map_spec(result, level=level, source=source)
            words, clusters = controls(result, spec), rows_of(directed_table(result, spec))
            fixed = {"analysis": name, "kind": kind, "input": source, "level": level, "controls": words}
            for direction in directions_of(result, spec):
                own = [
                    {**fixed, "direction": direction, **_study_row(r)} for r in clusters if r["Direction"] == direction
                ]
                rows += own or [{**fixed, "direction": direction, "cluster": "none", "volume_mm3": 0.0}]
    return _frame(rows, [*STUDY, *(key for key in _SOME_HAVE if any(key in row for row in rows))])


def table_of_map(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    """Return the cluster table that belongs to a thresholded map."""
    return presentation_of(result).table(result, spec)


def directed_table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    """Return the cluster table of a map of a contrast, conjunction …, with the direction of each cluster in words."""
    table = table_of_map(result, spec)
    return table if "Direction" in table else table.assign(Direction=model_of(result).directions[0])


def by_direction(result: xr.Dataset, spec: MapSpec) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    """Yield each direction of a result in words, the map, and the rows of its cluster table in that direction."""
    table = directed_table(result, spec)
    for direction in directions_of(result, spec):
        yield direction, spec, table[table["Direction"] == direction]


@kept
def rows_of_main_effect(result: xr.Dataset) -> list[dict[str, Any]]:
    """Return the rows of a main effect in the table of a study, without its name."""
    correction = model_of(result).correction
    p = f"p {correction.short} FWE" if correction.of_clusters else ""
    rows: list[dict[str, Any]] = []
    for source, level in zip(INPUTS, (correction.word, "uncorrected"), strict=True):
        words = controls(result, find_map_spec(result, level=level))
        fixed = {"kind": "main-effect", "input": source, "level": level, "controls": words}
        table = cluster_table(result, source=source)
        # Sub-peaks, which have no volume, are listed in the table of the analysis alone.
        clusters = rows_of(table[table["Cluster Size (mm3)"].notna()])
        rows += [{**fixed, **_study_row({**row, "p": row.get(p, np.nan)})} for row in clusters]
        if not clusters:
            rows.append({**fixed, "cluster": "none", "volume_mm3": 0.0})
    return rows


def levels_of(result: xr.Dataset) -> list[tuple[str, str]]:
    """Return the level and input of every thresholded map of a contrast, conjunction … that has a table."""
    levels = presentation_of(result).levels
    present = dict.fromkeys((v.level, v.source) for v in map_specs_of(result) if v.level in levels)
    return sorted(present, key=lambda pair: levels.index(pair[0]))


_STUDY_NAMES = {
    "cluster": "Cluster ID",
    "Z": "Peak Stat",
    "ALE": "Peak ALE",
    "p": "p",
    "x": "X",
    "y": "Y",
    "z": "Z",
    "volume_mm3": "Cluster Size (mm3)",
}


_SOME_HAVE = {"share": "Peak Share", "networks": NETWORKS}
"""Columns of the table of a study that only some studies have."""


def _study_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    values = {new: row.get(old, np.nan) for new, old in _STUDY_NAMES.items()}
    some = {new: row[old] for new, old in _SOME_HAVE.items() if old in row}
    # Z has no sign, since the direction is a column of its own.
    return {**values, "Z": abs(values["Z"]), **some}


def _place(cluster: Cluster, mask: Mask, weight: npt.NDArray[Any]) -> dict[str, Any]:
    peak = dict(zip("XYZ", cluster.peak_mm.tolist(), strict=True))
    center = dict(zip(CENTER, cluster.center(weight, mask=mask).tolist(), strict=True))
    n = len(cluster.voxels)
    size = {"Cluster Size (mm3)": n * mask.voxel_volume, "Cluster Size (voxels)": n}
    names = _regions(cluster.peak_mm, mask.to_mm(mask.voxel_ijk[cluster.voxels]))
    bounds = {"Bounds (mm)": cluster.bounds(mask=mask)}
    return {"Cluster ID": str(cluster.number), **peak, **size, **center, **bounds, **names}


def _regions(peak: npt.NDArray[Any], voxels: npt.NDArray[Any] | None = None) -> dict[str, str]:
    return regions(peak, voxels) if available(*LABELS) else {}


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    listed = {column: [row.get(column, np.nan) for row in rows] for column in columns}
    return pd.DataFrame({c: np.array(v, dtype=np.float64) if c in FORMATS else v for c, v in listed.items()})


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table; `to_dict("records")` takes several times as long where columns are many."""
    columns = [str(column) for column in table.columns]
    return [dict(zip(columns, row, strict=True)) for row in _values(table)]


def text_of(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns of a table as text: z to 3 decimals, p to 4 digits, mm to 1 decimal, missing values empty."""
    columns = [str(column) for column in table.columns]
    # "Z" is a coordinate in the table of an analysis and the statistic in the table of a study.
    formats = {**FORMATS, "Z": FORMATS["Peak Stat"]} if "analysis" in columns else FORMATS
    values = zip(*_values(table), strict=True) if len(table) else ((),) * len(columns)
    return {column: _texts(of, formats.get(column)) for column, of in zip(columns, values, strict=True)}


def _values(table: pd.DataFrame) -> list[list[Any]]:
    """Return the values of a table, row by row: all columns at once, which pandas is slow to give one by one."""
    return table.to_numpy(dtype=object).tolist()


def _texts(values: Iterable[Any], number: Callable[[float], str] | None) -> list[str]:
    if number is None:
        return ["" if v is None or v != v else str(v) for v in values]
    return ["" if v is None or v != v else number(float(v)) for v in values]


def formatted(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text, as `text_of` makes it."""
    return pd.DataFrame(text_of(table))


def tsv(table: pd.DataFrame) -> bytes:
    """Return a table as tab-separated UTF-8 text with rounded numbers and texts that are safe in a spreadsheet."""
    text = text_of(table)
    lines = StringIO()
    # DataFrame.to_csv, which writes the same bytes, takes more than twice as long for so few rows of so many columns.
    writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
    for row in (text.keys(), *zip(*text.values(), strict=True)):
        writer.writerow([escaped_cell(cell) for cell in row])
    return lines.getvalue().encode()


def cluster_tables(result: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Return the cluster tables of an analysis by the ends of their file names: "", "_uncorrected", "_level-voxel…"."""
    if model_of(result).kind == "main-effect":
        base_rate = {"_base-rate": cluster_table(result, null="base-rate")} if "z_base_rate" in result else {}
        return {ENDS[source]: cluster_table(result, source=source) for source in INPUTS} | base_rate
    specs = [find_map_spec(result, level=level, source=source) for level, source in levels_of(result)]
    return {_table_end(spec): table_of_map(result, spec) for spec in specs}


def _table_end(spec: MapSpec) -> str:
    return spec.table or f"{_LEVEL_ENDS[spec.level]}{ENDS.get(spec.source, '')}"


def table_end(result: xr.Dataset, spec: MapSpec) -> str | None:
    """Return the end of the name of the file with the cluster table of a map, as `cluster_tables` has it; else None."""
    if model_of(result).kind != "main-effect":
        return _table_end(spec)
    if spec.level == "uncorrected":
        return ENDS["uncorrected"]
    if is_base_rate(spec):
        return "_base-rate"
    return "" if nulls_of(result)[0] == "uniform" else None


ENDS = {"cluster-fwe": "", "uncorrected": "_uncorrected"}
_LEVEL_ENDS = {
    "uncorrected": "",
    "thresholded": "",
    "voxel-fwe": "_level-voxel",
    "size-fwe": "_desc-size_level-cluster",
    "mass-fwe": "_desc-mass_level-cluster",
    f"{AGAINST}thresholded": "_base-rate",
    f"{AGAINST}voxel-fwe": "_desc-baseRate_level-voxel",
}
