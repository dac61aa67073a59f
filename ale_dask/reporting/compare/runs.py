"""Compare two runs: the clusters they share, the agreement of their maps, and their settings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ale_dask.analyses.corrections import CORRECTION_OF, Correction
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.matching import CHANGES, both_voxels, dice, matched, members, shared_voxels, shift
from ale_dask.analyses.findings.model import Results, by_name, model_of
from ale_dask.config.run_record import RunRecord
from ale_dask.errors import InputError
from ale_dask.numerics.correct import monte_carlo_p
from ale_dask.reporting.common.base_rate_maps import AGAINST, UNIFORM, is_base_rate
from ale_dask.reporting.common.maps import LABELS, MapSpec, map_specs_of
from ale_dask.reporting.common.wording import mask_name
from ale_dask.reporting.compare.maps import MAP_COLUMNS, SETTING_COLUMNS, differing_maps, differing_settings
from ale_dask.reporting.tables.comparisons import contrast_p

_KEY = ("analysis", "kind", "level", "input", "direction")
_OF_CLUSTER = ("cluster", "voxels", "mm3", "x", "y", "z", "peak_z", "p", "p_base_rate", "share_base_rate")
_SIDES = tuple(f"{what}_{side}" for side in "12" for what in _OF_CLUSTER)
CLUSTER_COLUMNS = (*_KEY, "change", *_SIDES, "voxels_both", "dice", "shift_mm", "mm3_change", "p_change")
SUMMARY_COLUMNS = (
    *_KEY,
    "primary",
    "voxels_1",
    "voxels_2",
    "voxels_both",
    "dice",
    "clusters_1",
    "clusters_2",
    *CHANGES,
)
# Levels of maps that are not thresholded, or that another map repeats.
_SKIPPED = ("", "stat", "label")


@dataclass(frozen=True, eq=False)
class Pair:
    """A thresholded map of both runs; `level` names two levels where the primary corrections differ."""

    level: str
    first: MapSpec
    second: MapSpec
    primary: bool
    """Whether it is at the primary correction of both main effects."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The differences between two runs, in tables whose columns "…_1" are of the first and "…_2" of the second.

    clusters
        One row per pair of clusters that share a voxel, and per cluster without one. `change`: "stays" or, with its
        peak over 8 mm away, "moves"; "splits" (one into several), "merges" (several into one), "regroups" (several
        into several); "appears", "vanishes". Two clusters without a common voxel whose peaks lie at most 8 mm apart,
        each the other's nearest, move too. `dice` is that of the pair, shift_mm from peak to peak. `p_base_rate` and
        `share_base_rate` are of a cluster of the uniform null that was tested against the base rate, too
    summary
        One row per thresholded map and direction: voxels in each and in both, Dice of the maps (missing where both
        are empty), clusters (each of either run counted once) by change; of a split, merge or regrouping its groups
    maps
        Largest absolute difference of an unthresholded map, second minus first, where it is in mm MNI, and Pearson's
        correlation over the mask
    settings
        Settings, inputs and thresholds that differ; analysis is "" where one differs in all analyses
    """

    clusters: pd.DataFrame
    summary: pd.DataFrame
    maps: pd.DataFrame
    settings: pd.DataFrame
    pairs: dict[str, tuple[xr.Dataset, xr.Dataset]]


def compare(
    results_a: Results, results_b: Results, *, records: tuple[RunRecord, RunRecord] | None = None
) -> Comparison:
    """Return the differences between two runs, for every analysis that both have under one name and of one kind.

    Parameters
    ----------
    results_a, results_b
        A result, several, or results by name; two single results are compared whatever their names are.
    records
        The content of each run's run.json, for versions and whether data are simulated.

    Returns
    -------
    Comparison
        Tables of clusters, maps and settings.

    Raises
    ------
    InputError
        When they have no analysis in common, or two that lie on different masks.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> strict, lenient = (ale.main_effect(foci, mask="ball.nii.gz", iterations=60, voxel_p=p) for p in (0.01, 0.05))
    >>> ale.compare(strict, lenient).settings["setting"].tolist()[0]
    'voxel_p'
    """
    pairs, alone = _common(results_a, results_b)
    clusters: list[dict[str, Any]] = []
    summary: list[dict[str, Any]] = []
    maps: list[dict[str, Any]] = []
    for name, (a, b) in pairs.items():
        for pair in pairs_of(a, b):
            both_sides = (
                model_of(a).clusters(pair.first.read(a), level=pair.first.level),
                model_of(b).clusters(pair.second.read(b), level=pair.second.level),
            )
            words = ("",) if model_of(a).kind == "main-effect" else model_of(a).directions
            for direction, sign in zip(words, (1, -1), strict=False):
                key = (name, model_of(a).kind, pair.level, pair.first.source, direction)
                fixed = dict(zip(_KEY, key, strict=True))
                first, second = ([c for c in side if c.sign == sign] for side in both_sides)
                rows = [_row(change, i, j, pair, a, b) for change, i, j in matched(first, second)]
                clusters += [{**fixed, **row} for row in rows]
                primary = "" if model_of(a).kind != "main-effect" else "yes" if pair.primary else "no"
                summary.append({**fixed, "primary": primary, **_summary(first, second)})
        maps += [{"analysis": name, "kind": model_of(a).kind, **row} for row in differing_maps(a, b)]
    return Comparison(
        _counted(pd.DataFrame(clusters, columns=list(CLUSTER_COLUMNS))),
        _counted(pd.DataFrame(summary, columns=list(SUMMARY_COLUMNS))),
        pd.DataFrame(maps, columns=list(MAP_COLUMNS)),
        pd.DataFrame([*alone, *differing_settings(pairs, records)], columns=list(SETTING_COLUMNS)),
        pairs,
    )


def _common(
    results_a: Results, results_b: Results
) -> tuple[dict[str, tuple[xr.Dataset, xr.Dataset]], list[dict[str, str]]]:
    """Return the pairs of results by name, and a row for each analysis that only one side has."""
    first, second = by_name(results_a), by_name(results_b)
    if isinstance(results_a, xr.Dataset) and isinstance(results_b, xr.Dataset):
        (name_a,), (name_b,) = first, second
        name = name_a if name_a == name_b else f"{name_a} | {name_b}"
        first, second = {name: results_a}, {name: results_b}
    pairs = {
        name: (a, second[name])
        for name, a in first.items()
        if name in second and model_of(a).kind == model_of(second[name]).kind
    }
    if not pairs:
        sides = ("; ".join(f"{n} ({model_of(r).kind})" for n, r in s.items()) or "none" for s in (first, second))
        raise InputError(
            f"no analysis is in both runs: {' in the first, '.join(sides)} in the second; give them one name and kind"
        )
    for name, (a, b) in pairs.items():
        if a.attrs["mask_sha256"] != b.attrs["mask_sha256"]:
            raise InputError(
                f"{name}: the masks differ ({mask_name(a)} of {a.sizes['voxel']:,} voxels, {mask_name(b)} of "
                f"{b.sizes['voxel']:,}); run both with one mask ([inference] mask, or --mask)"
            )
        if model_of(a).kind == "contrast" and list(a.attrs["arms"]) == list(b.attrs["arms"])[::-1]:
            raise InputError(f"{name}: the two runs have its arms the other way round; put them in one order")
    alone = [
        {"analysis": name, "setting": "kind", "value_1": _kind(first.get(name)), "value_2": _kind(second.get(name))}
        for name in dict.fromkeys((*first, *second))
        if name not in pairs
    ]
    return pairs, alone


def _kind(result: xr.Dataset | None) -> str:
    return "not there" if result is None else str(model_of(result).kind)


def pairs_of(a: xr.Dataset, b: xr.Dataset) -> list[Pair]:
    """Return the thresholded maps that both of two results have, primary corrections first.

    A map against the base rate is paired with another such map, whichever null decides in either run. If the primary
    corrections or deciding nulls differ, the two primary maps are a pair as well.
    """
    main = model_of(a).kind == "main-effect"
    level_a, level_b = (_primary_level(r) if main else "" for r in (a, b))
    first, second = ({(_level(v), v.source): v for v in map_specs_of(r) if not _skipped(v)} for r in (a, b))
    pairs = [
        Pair(key[0], v, second[key], main and key[0] == level_a == level_b) for key, v in first.items() if key in second
    ]
    if level_a != level_b:
        pairs.append(Pair(f"{level_a} | {level_b}", first[level_a, ""], second[level_b, ""], True))
    return sorted(pairs, key=lambda pair: not pair.primary)


def _primary_level(result: xr.Dataset) -> str:
    inference = model_of(result).inference
    return f"{AGAINST if inference.null == 'base-rate' else ''}{inference.correction}"


def _level(spec: MapSpec) -> str:
    """Return the level of a map, with the prefix "base-rate-" if it is against the base rate."""
    level = spec.level.removeprefix(AGAINST).removeprefix(UNIFORM)
    return f"{AGAINST}{level}" if is_base_rate(spec) and spec.level else level


def _row(change: str, i: Cluster | None, j: Cluster | None, pair: Pair, a: xr.Dataset, b: xr.Dataset) -> dict[str, Any]:
    row: dict[str, Any] = {"change": change, **_side(i, a, pair.first, "1"), **_side(j, b, pair.second, "2")}
    if i is not None and j is not None:
        both = both_voxels(i, j)
        row |= {
            "voxels_both": both,
            "dice": dice(len(i.voxels), len(j.voxels), both),
            "shift_mm": shift(i, j),
            "mm3_change": row["mm3_2"] - row["mm3_1"],
            "p_change": row["p_2"] - row["p_1"],
        }
    return row


def _side(cluster: Cluster | None, result: xr.Dataset, spec: MapSpec, side: str) -> dict[str, Any]:
    if cluster is None:
        return {}
    n, (x, y, z) = len(cluster.voxels), cluster.peak_mm.tolist()
    values = {
        "cluster": cluster.number,
        "voxels": n,
        "mm3": n * model_of(result).mask.voxel_volume,
        "x": x,
        "y": y,
        "z": z,
        "peak_z": abs(float(spec.read(result)[cluster.peak])),
        "p": cluster_p(result, cluster, spec),
        **_base_rate_columns(result, cluster, spec),
    }
    return {f"{key}_{side}": value for key, value in values.items()}


def _base_rate_columns(result: xr.Dataset, cluster: Cluster, spec: MapSpec) -> dict[str, float]:
    """Return the p against the base rate of a cluster of the uniform null, and its share of surviving voxels."""
    level = spec.level.removeprefix(UNIFORM)
    correction = CORRECTION_OF.get(level)
    of_cluster = level == "uncorrected" if correction is None else not correction.enhanced
    if "z_base_rate" not in result or is_base_rate(spec) or not of_cluster:
        return {}
    measure = "size" if correction is None else correction.base_rate_short
    around = int(result["cluster_of_voxel"].values[cluster.peak]) - 1
    survives = result[model_of(result).correction.base_rate.map].values[cluster.voxels] != 0
    p = float(result[f"cluster_base_rate_{measure}_p"].values[around]) if around >= 0 else np.nan
    return {"p_base_rate": p, "share_base_rate": float(survives.mean())}


def _skipped(spec: MapSpec) -> bool:
    return spec.level in _SKIPPED or spec.level.startswith(LABELS)


def cluster_p(result: xr.Dataset, cluster: Cluster, spec: MapSpec) -> float:
    """Return the p of a cluster, nan where the map gives it none.

    A cluster of a main effect has the family-wise p of the cluster-forming cluster around its peak, by mass at
    "cluster-mass", else by size; at "voxel" the p of the peak's ALE, or against the base rate the p of that cluster's
    largest z; at "tfce" none, or against the base rate the smallest p of its voxels. A cluster of a contrast has the p
    of its table.
    """
    if model_of(result).kind == "contrast":
        return contrast_p(result, cluster, source=spec.source, level=spec.level)
    level = spec.level.removeprefix(AGAINST).removeprefix(UNIFORM)
    correction = CORRECTION_OF.get(level)
    if model_of(result).kind != "main-effect" or (correction is None and level != "uncorrected"):
        return np.nan
    if is_base_rate(spec):
        return _base_rate_p(result, cluster, correction)
    if correction is not None and correction.enhanced:
        return np.nan
    if correction is not None and correction.of_single_voxels:
        null = result["null"].sel(statistic="max_s").values
        return float(monte_carlo_p(null, result["s"].values[cluster.peak], rule=model_of(result).inference.cluster_cut))
    around = int(result["cluster_of_voxel"].values[cluster.peak]) - 1
    measure = "size" if correction is None else correction.short
    return float(result[f"cluster_{measure}_p"].values[around]) if around >= 0 else np.nan


def _base_rate_p(result: xr.Dataset, cluster: Cluster, correction: Correction | None) -> float:
    if correction is not None and correction.enhanced:
        return float(result["base_rate_tfce_p"].values[cluster.voxels].min())
    measure = "size" if correction is None else correction.base_rate_short
    around = int(result["base_rate_cluster_of_voxel"].values[cluster.peak]) - 1
    return float(result[f"base_rate_cluster_{measure}_p"].values[around])


def _summary(first: list[Cluster], second: list[Cluster]) -> dict[str, Any]:
    n, m = (sum(len(c.voxels) for c in side) for side in (first, second))
    both = sum(shared_voxels(first, second).values())
    rows = matched(first, second)
    # A split has a row for each of its parts, but counts once.
    numbers = {id(c): k for side in (first, second) for k, c in enumerate(side)}
    shared = [(numbers[id(i)], numbers[id(j)]) for _, i, j in rows if i is not None and j is not None]
    count = Counter(change for change, i, j in rows if i is None or j is None)
    groups = {(change, members(shared, numbers[id(i)])) for change, i, j in rows if i is not None and j is not None}
    count.update(change for change, _ in groups)
    return {
        "voxels_1": n,
        "voxels_2": m,
        "voxels_both": both,
        "dice": dice(n, m, both),
        "clusters_1": len(first),
        "clusters_2": len(second),
        **{change: count[change] for change in CHANGES},
    }


def _counted(table: pd.DataFrame) -> pd.DataFrame:
    counts = [c for c in table.columns if c.startswith(("voxels", "clusters_", "cluster_")) or c in CHANGES]
    return table.astype(dict.fromkeys(counts, "Int64") | {c: float for c in table.columns if c in _FLOATS})


_FLOATS = frozenset(
    {"dice", "shift_mm", "mm3_change", "p_change"} | {f"{what}_{side}" for side in "12" for what in _OF_CLUSTER[2:]}
)
