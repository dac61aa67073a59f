"""Show balanced contrasts: their maps and facts, and what tables, methods text and exports say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.balanced import CLUSTER_LEVELS, CONTROLS, KIND, LEVELS
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.inference import Inference
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.map_spec import SHARE, MapSpec, Read, of
from ale_dask.reporting.common.maps import find_map_spec, with_cluster_numbers
from ale_dask.reporting.common.phrases import counted, decimal, inference_of_record, of_kind, volume
from ale_dask.reporting.common.presentation import Presentation
from ale_dask.reporting.common.wording import controls, label, mask_words
from ale_dask.reporting.kinds.subsampled import leasts, percent
from ale_dask.reporting.tables.comparisons import share_table
from ale_dask.reporting.tables.study import by_direction
from ale_dask.reporting.text.inference import many
from ale_dask.reporting.text.summary import cluster_words

_DIFF = ("desc-group1MinusGroup2", "desc-group2MinusGroup1")
_WORDS = ("first > second", "second > first")
_ENDS = {"voxel-fwe": "_level-voxel_corr-FWE", "uncorrected": "_level-voxel"}
_ENDS |= dict.fromkeys(CLUSTER_LEVELS, "_level-cluster_corr-FWE")
_OTHERS = (
    "(Other programs average the differences over all pairs and hold them to the extremes of such averages from random "
    "foci: one null for all subsamples, of spatial randomness in both arms, not of exchangeable experiments.)"
)
_ALL = (*LEVELS, *CLUSTER_LEVELS)


def _share_of(end: str, level: int, direction: int) -> Read:
    def read(result: xr.Dataset) -> npt.NDArray[Any]:
        return np.asarray(result[f"balanced_share{end}"].values[level, direction])

    return read


def _clusters_of(level: int) -> Read:
    def read(result: xr.Dataset) -> npt.NDArray[Any]:
        return np.asarray(result["balanced_clusters"].values[level])

    return read


def _maps_at(number: int, level: str) -> Iterator[MapSpec]:
    clustered = level in CLUSTER_LEVELS
    how = (
        f"lies in a cluster that survives, cluster-{level.replace('-fwe', ' FWE')}"
        if clustered
        else f"survives, {level.replace('-fwe', ' FWE')}"
    )
    survives, measure = (
        f"share of the pairs of subsamples in which the voxel {how}",
        level[:4].title() if clustered else "",
    )
    optional = "pair_clusters" if clustered else ""
    for direction, (suffix, words) in enumerate(zip(_DIFF, _WORDS, strict=True)):
        for end, name, before in (("", "", ""), ("_low", "Low", "lower end of the 95 % interval of the ")):
            read = _share_of(end, number, direction)
            what = f"{before}{survives}, {words}"
            end_of_name = f"stat_{suffix}Share{measure}{name}{_ENDS[level]}"
            yield MapSpec(end_of_name, read, what, None, units=SHARE, optional=optional)
    yield MapSpec(
        f"stat_{_DIFF[0]}Clusters{measure}{_ENDS[level]}",
        _clusters_of(number),
        f"signed {survives}, where it is large enough, in clusters of the minimum volume",
        None,
        level,
        units=SHARE,
        cuts=(*(("voxel_p", "cluster_p") if clustered else ("contrast_p",)), "share", "min_volume"),
        optional=optional,
    )


_MAPS = (
    MapSpec(
        f"stat_{_DIFF[0]}",
        of("balanced_difference"),
        "mean over pairs of subsamples of ALE of the first arm minus the second; 0 where not compared",
        units="probability",
    ),
    *(spec for number, level in enumerate(_ALL) for spec in _maps_at(number, level)),
)


def _label(result: xr.Dataset, spec: MapSpec) -> str:
    attrs, i = result.attrs, model_of(result).inference
    survives = {
        "voxel-fwe": f"voxel FWE p ≤ {i.contrast_p:g}",
        "uncorrected": f"uncorrected p < {i.contrast_p:g}",
    }.get(spec.level, f"cluster-{spec.level[:4]} FWE p ≤ {i.cluster_p:g}, cluster-forming p < {i.voxel_p:g}")
    return f"in {percent(attrs['share'])} or more of {attrs['subsamples']:,} pairs of subsamples: {survives}"


def _facts(result: xr.Dataset) -> list[tuple[str, str]]:
    attrs, i = result.attrs, model_of(result).inference
    floor = i.contrast_floor
    where = f"where the uncorrected p of both arms together is below {floor:g}" if floor else "the whole mask"
    taken = "all that there are" if attrs["enumerated"] else "drawn at random"
    relabellings = "all relabellings" if attrs["relabellings_enumerated"] else "relabellings"
    of_all = " and ".join(f"{n:,}" for n in attrs["n_groups"])
    return [
        ("Arms", " against ".join(attrs["arms"])),
        ("Groups of subjects", f"{attrs['size']} of each arm in each pair, of {of_all}"),
        ("Pairs of subsamples", f"{attrs['subsamples']:,}, {taken}, seed {i.seed}"),
        *_found(result, LEVELS[0], "voxel FWE"),
        ("Level, each direction", f"voxel FWE p ≤ {i.contrast_p:g}; uncorrected p < {i.contrast_p:g}"),
        *_clusters(result),
        ("Compared", f"{attrs['candidates']:,} voxels: {where}"),
        ("Permutations", f"{attrs['iterations']:,} {relabellings} of each pair"),
        ("In tables and figures", f"voxels with a share of at least {percent(attrs['share'])}"),
        ("Mask", mask_words(result)),
    ]


def _found(result: xr.Dataset, level: str, words: str) -> list[tuple[str, str]]:
    """Return in how many pairs anything survives a correction, and the largest share, in each direction."""
    sides, at = model_of(result).sides.values(), result["level"].values.tolist().index(level)
    with_any, largest = (result.attrs[name][at] for name in ("with_any", "largest_share"))
    return [
        (
            f"Pairs in which anything survives {words}",
            "; ".join(f"{side}, {n:,}" for side, n in zip(sides, with_any, strict=True)),
        ),
        (
            f"Largest share, {words}",
            "; ".join(f"{side}, {percent(share)}" for side, share in zip(sides, largest, strict=True)),
        ),
    ]


def _clusters(result: xr.Dataset) -> list[tuple[str, str]]:
    if "pair_clusters" not in result:
        return []
    i, level = model_of(result).inference, _cluster_level(model_of(result).correction.short)
    formed = f"formed where p < {i.voxel_p:g} among the relabellings of the pair; FWE p ≤ {i.cluster_p:g}"
    n = result["pair_clusters"].values.sum(axis=0)
    return [
        *_found(result, level, f"cluster-{level.replace('-fwe', ' FWE')}"),
        ("Clusters tested in a pair", f"{n.min():,} to {n.max():,}, {formed}"),
    ]


def _cluster_level(measure: str) -> str:
    """Return the level of the clusters of the primary correction: by size, unless that is by mass."""
    return f"{measure}-fwe" if f"{measure}-fwe" in CLUSTER_LEVELS else CLUSTER_LEVELS[0]


def _summary(result: xr.Dataset, clusters: Sequence[Cluster]) -> list[tuple[str, str]]:
    largest = result.attrs["largest_share"][0]
    return [
        (
            direction,
            f"{cluster_words([c for c in clusters if c.sign == sign], result)}; the largest share is {percent(share)}",
        )
        for (sign, direction), share in zip(model_of(result).sides.items(), largest, strict=True)
    ]


def _table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    shown, number = spec.read(result), _ALL.index(spec.level)
    low, high = (
        np.where(shown < 0, *(result[f"balanced_share_{end}"].values[number, d] for d in (1, 0)))
        for end in ("low", "high")
    )
    return share_table(result, shown, low, high)


def _listed(result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    return by_direction(result, find_map_spec(result, level=LEVELS[0]))


def _note(result: xr.Dataset, spec: MapSpec) -> str:
    return (
        f"Balanced contrasts, {label(result, spec)}: Share is the share of pairs of subsamples in which the peak "
        f"survives; no p. Controlled is {controls(result, spec)}."
    )


def _methods(record: RunRecord) -> list[str]:
    entries, i = of_kind(record, KIND), inference_of_record(record)
    if not entries:
        return []
    floor = (
        f"where the experiments of both arms together, whom no relabelling changes, had an uncorrected p < "
        f"{decimal(i.contrast_floor)}"
        if i.contrast_floor
        else "over the whole mask"
    )
    return [
        "Main effects were also compared in pairs of subsamples of equally many groups of subjects. "
        + " ".join(_one(name, entry) for name, entry in entries.items()),
        "Each pair had a null of its own: its groups were relabelled, as those of a contrast are [@eickhoff2011], and "
        "the largest difference of ALE in each relabelling gave voxels with a corrected p ≤ "
        f"{decimal(i.contrast_p)}, each direction by itself, {floor}; voxels with an uncorrected p < "
        f"{decimal(i.contrast_p)} were mapped beside them. {_cluster_methods(entries, i)}{_OTHERS} The share of the "
        "pairs in which a voxel survives was mapped, with its exact (Clopper–Pearson) 95 % interval for the finite "
        f"number of pairs. Tables list voxels with {leasts(entries)} in clusters of at least {volume(i, record)}. A "
        f"share controls {CONTROLS}.",
    ]


def _cluster_methods(entries: Mapping[str, Any], i: Inference) -> str:
    """Return how the clusters of each pair were tested; "" where none were."""
    if not any(len(entry["with_any"]) > len(LEVELS) for entry in entries.values()):
        return ""
    return (
        f"Clusters of each pair were formed where p < {decimal(i.voxel_p)} among its own relabellings, and their size "
        "and mass compared with the largest of each relabelling, family-wise p ≤ "
        f"{decimal(i.cluster_p)}, each direction by itself. "
    )


def _one(name: str, entry: Mapping[str, Any]) -> str:
    (a, b), (of_a, of_b) = entry["arms"], entry["n_groups"]
    pairs = counted(entry["subsamples"], "pair")
    how = f"all {pairs}" if entry["enumerated"] else f"{pairs}, drawn at random from {many(entry['possible'])} possible"
    relabellings = "all " if entry["relabellings_enumerated"] else ""
    found = entry["with_any"][0]
    return (
        f"“{name}” took {how}, of {entry['size']} of the {of_a} groups of “{a}” and of the {of_b} of “{b}”, each with "
        f"{relabellings}{entry['iterations']:,} relabellings; {a} > {b} was found in {found[0]:,} and {b} > {a} in "
        f"{found[1]:,} of them."
    )


PRESENTATION = Presentation(
    kind=KIND,
    maps=with_cluster_numbers(_MAPS),
    label=_label,
    facts=_facts,
    summary=_summary,
    levels=_ALL,
    table=_table,
    listed=_listed,
    note=_note,
    heading="Balanced contrasts",
    methods=_methods,
    unthresholded={f"stat_{_DIFF[0]}": "unthresholded mean difference of ALE"},
    compared={"mean difference of ALE": "balanced_difference"},
)
