"""Cluster tables, nilearn's columns first, and the study's contrasts and conjunctions in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.atlas import ATLASES, regions
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import BASE_RATE, thresholded
from ale_dask.config.study import INPUTS
from ale_dask.coordinates.spreadsheet_cells import escaped
from ale_dask.numerics.density_levels import Z_UNIT
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.base_rate import BESIDE, MASS_OF_BASE_RATE, OF_BASE_RATE, SIZE_OF_BASE_RATE
from ale_dask.reporting.common.base_rate_maps import AGAINST
from ale_dask.reporting.common.extra import LABELS, available
from ale_dask.reporting.common.maps import find_map_spec, main_clusters, map_specs_of
from ale_dask.reporting.common.wording import controls
from ale_dask.schema import check

NILEARN = ("Cluster ID", "X", "Y", "Z", "Peak Stat", "Cluster Size (mm3)")
PLACE = ("Center X", "Center Y", "Center Z", "Bounds (mm)")
REGIONS = tuple(name for atlas in ATLASES for name in (atlas, f"{atlas} shares"))
"""At the peak, and of the cluster's voxels; empty where no atlas is installed."""
MAIN = (
    *NILEARN,
    "Peak ALE",
    "Cluster Size (voxels)",
    "p size FWE",
    "p size low",
    "p size high",
    "p size bound",
    "decision",
    "Cluster Mass",
    "p mass FWE",
    "p mass low",
    "p mass high",
    "p mass bound",
    "decision mass",
    *BESIDE,
    "Voxels FWE",
    "Voxels FDR BH",
    "Voxels FDR BY",
    "Voxels TFCE",
    *PLACE,
    *REGIONS,
    "Experiments",
    "Foci",
)
_OF_CLUSTER = tuple(c for c in MAIN if c.startswith(("p ", "decision")) and c not in BESIDE)
_CLUSTER_P = tuple(column for column in _OF_CLUSTER if column.startswith("p "))
CONTRAST = (
    *NILEARN,
    "Direction",
    "p",
    "p uncorrected",
    "Peak Difference",
    "Cluster Size (voxels)",
    "Cluster Mass",
    *_OF_CLUSTER,
    *PLACE,
    *REGIONS,
)
CONJUNCTION = (*NILEARN, "Peak ALE", "Cluster Size (voxels)", *PLACE, *REGIONS)
_WHICH = ("analysis", "kind", "input", "level", "direction", "cluster")
STUDY = (*_WHICH, "Z", "ALE", "p", "x", "y", "z", "volume_mm3", "controls")
_CRITERIA = {
    "Voxels FWE": "z_voxel_fwe",
    "Voxels FDR BH": "z_fdr_bh",
    "Voxels FDR BY": "z_fdr_by",
    "Voxels TFCE": "z_tfce_fwe",
}
_PER_CLUSTER = {
    "p size FWE": "cluster_size_p",
    "p size low": "cluster_size_p_low",
    "p size high": "cluster_size_p_high",
    "p size bound": "cluster_size_p_bound",
    "decision": "cluster_size_decision",
    "p mass FWE": "cluster_mass_p",
    "p mass low": "cluster_mass_p_low",
    "p mass high": "cluster_mass_p_high",
    "p mass bound": "cluster_mass_p_bound",
    "decision mass": "cluster_mass_decision",
    **BESIDE,
}
_TFCE_P = "p TFCE FWE"
"""Of a cluster against the base rate: the smallest of its voxels, where TFCE is the correction."""
_AGAINST_COLUMNS = (
    *NILEARN,
    "Peak ALE",
    "Cluster Size (voxels)",
    *SIZE_OF_BASE_RATE,
    "Cluster Mass",
    *MASS_OF_BASE_RATE,
    "p peak FWE",
    _TFCE_P,
    "Uniform null",
    *PLACE,
    *REGIONS,
    "Experiments",
    "Foci",
)


def cluster_table(result: xr.Dataset, *, source: str = "cluster-fwe", null: str | None = None) -> pd.DataFrame:
    """Return the clusters of a main effect that survive its primary correction, or those of "uncorrected".

    One row per cluster and one per sub-peak ("1a", at least 8 mm from the peak and each other); peak stat is
    z, mm are MNI, mass sums S above its threshold, low and high are the 95 % interval of a Monte-Carlo p, bound is
    the most it can be however often one has looked and gone on. The decision, "significant", "not" or "undecided",
    is about the cluster's family-wise p and holds at any number of iterations; sub-peaks have none. Voxel columns
    count the cluster's voxels that survive that criterion.

    With `null` "base-rate" they are the clusters that survive against the base rate, with its z and p, and mass is the
    sum of z beyond the cluster-forming one; whether the uniform null found something there is a column.
    """
    check(result, "ale", "s", "z")
    mask = model_of(result).mask
    against = source != "uncorrected" and (null or model_of(result).inference.null) == "base-rate"
    s, z, ale = (result[n].values for n in ("s", "z_base_rate" if against else "z", "ale"))
    unit = 2.0 ** -int(result.attrs["scale_bits"])
    at_focus = mask.voxel_at(result["focus_xyz"].values)
    rows: list[dict[str, Any]] = []
    other = thresholded(result, source) if against and null else np.zeros(len(s), dtype=bool)
    for cluster in base_rate_clusters(result) if against else main_clusters(result, source=source):
        row = _place(cluster, mask, ale)
        row |= {"Peak Stat": float(z[cluster.peak]), "Peak ALE": float(ale[cluster.peak])}
        # A voxel-FWE cluster is tested as the cluster-forming one around it.
        label = "base_rate_cluster_of_voxel" if against else "cluster_of_voxel"
        around = int(result[label].values[cluster.peak]) - 1
        if around >= 0:
            per_cluster = OF_BASE_RATE if against else {c: v for c, v in _PER_CLUSTER.items() if v in result}
            row |= {c: result[v].values[around] for c, v in per_cluster.items()}
        row["Share base rate (%)"] = 100 * row.get("Share base rate (%)", np.nan)
        excess = s[cluster.voxels] - int(result.attrs["threshold"])
        row["Cluster Mass"] = float(np.maximum(excess, 0).sum() * unit)
        if against:
            mass = result["base_rate_cluster_mass"].values[around] / Z_UNIT if around >= 0 else np.nan
            row["Cluster Mass"] = float(mass)
            if "base_rate_tfce_p" in result:
                row[_TFCE_P] = float(result["base_rate_tfce_p"].values[cluster.voxels].min())
            row["Uniform null"] = "found" if other[cluster.voxels].any() else "not found"
        row |= {c: int((result[v].values[cluster.voxels] != 0).sum()) for c, v in _CRITERIA.items() if v in result}
        inside = np.isin(at_focus, cluster.voxels)
        row["Foci"] = int(inside.sum())
        row["Experiments"] = len(np.unique(result["focus_experiment"].values[inside]))
        rows.append(row)
        for letter, voxel in zip("abc", cluster.sub_peaks, strict=False):
            x, y, height = at = mask.to_mm(mask.voxel_ijk[voxel])
            sub = {"Cluster ID": f"{cluster.number}{letter}", "X": x, "Y": y, "Z": height, **_regions(at)}
            rows.append({**sub, "Peak Stat": float(z[voxel]), "Peak ALE": float(ale[voxel])})
    return _frame(rows, _columns(result, against=against))


def _columns(result: xr.Dataset, *, against: bool) -> tuple[str, ...]:
    """Return the columns of a main effect's table, those left out that its nulls have no word on."""
    if against:
        return tuple(c for c in _AGAINST_COLUMNS if c != _TFCE_P or "base_rate_tfce_p" in result)
    return tuple(c for c in MAIN if c not in BESIDE or BESIDE[c] in result)


def base_rate_clusters(result: xr.Dataset) -> list[Cluster]:
    """Return the clusters of a main effect that survive the primary correction against the base rate."""
    correction = model_of(result).inference.correction
    return model_of(result).clusters(result[BASE_RATE[correction]].values, level=f"{AGAINST}{correction}")


def contrast_table(result: xr.Dataset, *, source: str, level: str = "uncorrected") -> pd.DataFrame:
    """Return the clusters of a contrast at an input, both directions: peak z, p at the peak, xyz and mm3.

    `level` "uncorrected" is the map inside the gate with its uncorrected p; "voxel-fwe" the map over the
    label-invariant region with its family-wise p, "size-fwe" and "mass-fwe" the clusters there, whose p is that of
    the cluster, with its decision, and whose mass sums how far the arm's S lies beyond its cluster-forming value. Peak
    stat is z of the uncorrected p at the peak, which corrected levels have as a column of its own. Of equal z the
    larger difference is the peak; at "voxel-fwe" the largest difference is, with the smallest family-wise p of the
    cluster. The other two levels have no decision.
    """
    check(result, "difference", "z_contrast", "z_contrast_voxel_fwe")
    mask = model_of(result).mask
    z = find_map_spec(result, level=level, source=source).read(result)
    difference = result["difference"].values
    rows = []
    for cluster in model_of(result).clusters(z, level=level):
        uncorrected = result["p_greater" if cluster.sign > 0 else "p_less"].values[cluster.peak]
        of_cluster = _contrast_cluster(result, cluster, source=source) if level in ("size-fwe", "mass-fwe") else {}
        rows.append(
            {
                **_place(cluster, mask, z),
                **of_cluster,
                "Peak Stat": float(z[cluster.peak]),
                "Direction": model_of(result).directions[0 if cluster.sign > 0 else 1],
                "p": contrast_p(result, cluster, source=source, level=level),
                "p uncorrected": np.nan if level == "uncorrected" else float(uncorrected),
                "Peak Difference": float(difference[cluster.peak]),
            }
        )
    return _frame(rows, CONTRAST)


def contrast_p(result: xr.Dataset, cluster: Cluster, *, source: str, level: str) -> float:
    """Return the p of a contrast's cluster: of its peak, uncorrected or family-wise, or at "…-fwe" of the cluster."""
    if level in ("size-fwe", "mass-fwe"):
        return float(_contrast_cluster(result, cluster, source=source)[f"p {level[:4]} FWE"])
    side = "greater" if cluster.sign > 0 else "less"
    of_voxel = result[f"p_voxel_fwe_{side}"].sel(input=source) if level == "voxel-fwe" else result[f"p_{side}"]
    return float(of_voxel.values[cluster.peak])


def _contrast_cluster(result: xr.Dataset, cluster: Cluster, *, source: str) -> dict[str, Any]:
    label = result["contrast_cluster_of_voxel"].values[0 if cluster.sign > 0 else 1, cluster.peak]
    mine = result.sel(input=source).isel(contrast_cluster=int(label) - 1)
    unit = 2.0 ** -int(result.attrs["scale_bits"])
    tested = {column: mine[f"contrast_{_PER_CLUSTER[column]}"].item() for column in _OF_CLUSTER}
    return {"Cluster Mass": float(mine["contrast_cluster_mass"]) * unit, **tested}


def conjunction_table(result: xr.Dataset, *, source: str) -> pd.DataFrame:
    """Return the clusters of a conjunction at an input or "voxel-fwe": minimum z and ALE at the peak, mm3."""
    check(result, "ale_min", "z_min", "z_min_voxel_fwe")
    mask = model_of(result).mask
    if source == "voxel-fwe":
        z, ale = result["z_min_voxel_fwe"].values, None
    else:
        z, ale = (result[n].sel(input=source).values for n in ("z_min", "ale_min"))
    rows = []
    for cluster in model_of(result).clusters(z):
        row = {**_place(cluster, mask, z if ale is None else ale), "Peak Stat": float(z[cluster.peak])}
        row["Peak ALE"] = np.nan if ale is None else float(ale[cluster.peak])
        rows.append(row)
    return _frame(rows, CONJUNCTION)


def study_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Return every cluster of a study's analyses, one row each, at both inputs and each level.

    An analysis or a direction without any has one row with cluster "none" and volume 0, so that every analysis is
    there. Positions are mm MNI; p of a main effect is that of the cluster at the primary correction.
    """
    rows: list[dict[str, Any]] = []
    for name, result in results.items():
        kind = model_of(result).kind
        if kind == "main-effect":
            rows += _main_effect_rows(name, result)
            continue
        for level, source in levels_of(result):
            words = controls(result, find_map_spec(result, level=level, source=source))
            fixed = {"analysis": name, "kind": kind, "input": source, "level": level, "controls": words}
            if kind == "contrast":
                table = contrast_table(result, source=source, level=level)
            else:
                table = conjunction_table(result, source=source).assign(Direction=model_of(result).directions[0])
            for direction in model_of(result).directions:
                found = table[table["Direction"] == direction]
                rows += [{**fixed, "direction": direction, **_study_row(r)} for r in found.to_dict("records")]
                if found.empty:
                    rows.append({**fixed, "direction": direction, "cluster": "none", "volume_mm3": 0.0})
    return _frame(rows, STUDY)


def _main_effect_rows(name: str, result: xr.Dataset) -> list[dict[str, Any]]:
    correction = model_of(result).inference.correction
    p = {"cluster-size": "p size FWE", "cluster-mass": "p mass FWE"}.get(correction, "")
    rows: list[dict[str, Any]] = []
    for source, level in zip(INPUTS, (correction, "uncorrected"), strict=True):
        words = controls(result, find_map_spec(result, level=level))
        fixed = {"analysis": name, "kind": "main-effect", "input": source, "level": level, "controls": words}
        table = cluster_table(result, source=source)
        # Sub-peaks have no volume; the analysis's own table lists them.
        found = table[table["Cluster Size (mm3)"].notna()].to_dict("records")
        rows += [{**fixed, **_study_row({**row, "p": row.get(p, np.nan)})} for row in found]
        if not found:
            rows.append({**fixed, "cluster": "none", "volume_mm3": 0.0})
    return rows


def levels_of(result: xr.Dataset) -> list[tuple[str, str]]:
    """Return the level and input of every thresholded map of a contrast or conjunction that has a table."""
    have = {(v.level, v.source) for v in map_specs_of(result)}
    return [pair for pair in _LEVELS.get(model_of(result).kind, ()) if pair in have]


_LEVELS: dict[str, tuple[tuple[str, str], ...]] = {
    "contrast": tuple(
        (level, source) for level in ("uncorrected", "voxel-fwe", "size-fwe", "mass-fwe") for source in INPUTS
    ),
    "conjunction": (*(("thresholded", source) for source in INPUTS), ("voxel-fwe", "voxel-fwe")),
}
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


def _study_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    values = {new: row.get(old, np.nan) for new, old in _STUDY_NAMES.items()}
    # The direction is a column of its own: Z is as papers print it.
    return {**values, "Z": abs(values["Z"])}


def _place(cluster: Cluster, mask: Mask, weight: npt.NDArray[Any]) -> dict[str, Any]:
    where = dict(zip(("X", "Y", "Z"), cluster.peak_mm.tolist(), strict=True))
    center = dict(zip(PLACE[:3], cluster.center(weight, mask=mask).tolist(), strict=True))
    n = len(cluster.voxels)
    size = {"Cluster Size (mm3)": n * mask.voxel_volume, "Cluster Size (voxels)": n}
    named = _regions(cluster.peak_mm, mask.to_mm(mask.voxel_ijk[cluster.voxels]))
    return {"Cluster ID": str(cluster.number), **where, **size, **center, PLACE[3]: cluster.bounds(mask=mask), **named}


def _regions(peak: npt.NDArray[Any], voxels: npt.NDArray[Any] | None = None) -> dict[str, str]:
    return regions(peak, voxels) if available(*LABELS) else {}


def _frame(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(columns))
    for column in table.columns:
        if column in _FORMAT:
            table[column] = pd.to_numeric(table[column]).astype(np.float64)
    return table


def _mm(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"


def _volume(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


_BOTH = tuple(f"{axis}_{side}" for side in "12" for axis in "xyz")
_MM = ("X", "Y", "Z", *PLACE[:3], "x", "y", "z", "nearest_mm", *_BOTH)
_P = ("p", "p uncorrected", _TFCE_P, *_CLUSTER_P, *(c for c in (*OF_BASE_RATE, *BESIDE) if c.startswith("p ")))
_SHARES = ("Share (%)", "Share base rate (%)", "Largest Share (%)", "Least Retained (%)", "Mean Retained (%)", "By (%)")
_VOLUMES = ("Cluster Size (mm3)", "volume_mm3", "mm3_1", "mm3_2", "mm3_both")
_COUNTS = (*_VOLUMES, "Cluster Size (voxels)", "Experiments", "Foci", *_CRITERIA)
_FORMAT: dict[str, Callable[[float], str]] = {
    **dict.fromkeys(_MM, _mm),
    **dict.fromkeys((*_P, "ALE", "Peak ALE", "Peak Difference", "Cluster Mass"), "{:.4g}".format),
    **dict.fromkeys(_COUNTS, _volume),
    **dict.fromkeys(_SHARES, "{:.1f}".format),
    **dict.fromkeys(("Peak Stat", "dice"), "{:.3f}".format),
}


def formatted(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text: z to 3 decimals, p to 4 digits, mm to 1 decimal, what is missing empty."""
    # "Z" is a coordinate in nilearn's columns and the statistic in a paper's.
    formats = {**_FORMAT, "Z": _FORMAT["Peak Stat"]} if "analysis" in table.columns else _FORMAT

    def text(column: str, value: Any) -> str:
        if value is None or value != value:
            return ""
        return formats[column](float(value)) if column in formats else str(value)

    return pd.DataFrame({c: [text(str(c), v) for v in table[c]] for c in table.columns})


def tsv(table: pd.DataFrame) -> bytes:
    """Return a table as tab-separated UTF-8 text with rounded numbers, its texts safe in a spreadsheet."""
    return str(escaped(formatted(table)).to_csv(sep="\t", index=False, lineterminator="\n")).encode()


def cluster_tables(result: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Return an analysis's tables by what their file names end in: "", "_uncorrected", "_level-voxel…"."""
    kind = model_of(result).kind
    if kind == "main-effect":
        of_null = {_BESIDE: cluster_table(result, null="base-rate")} if "z_base_rate" in result else {}
        return {ENDS[source]: cluster_table(result, source=source) for source in INPUTS} | of_null
    if kind == "conjunction":
        by_source = {ENDS[source]: conjunction_table(result, source=source) for source in INPUTS}
        return {**by_source, "_level-voxel": conjunction_table(result, source="voxel-fwe")}
    return {
        f"{_LEVEL_ENDS[level]}{ENDS[source]}": contrast_table(result, source=source, level=level)
        for level, source in levels_of(result)
    }


ENDS = {"cluster-fwe": "", "uncorrected": "_uncorrected"}
_BESIDE = "_base-rate"
_LEVEL_ENDS = {
    "uncorrected": "",
    "voxel-fwe": "_level-voxel",
    "size-fwe": "_desc-size_level-cluster",
    "mass-fwe": "_desc-mass_level-cluster",
}
