"""Show subsamples of main effects: their maps and facts, and what tables, methods text and exports say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.subsampled import CONTROLS, KIND
from ale_dask.analyses.subsamples import shares
from ale_dask.config.analysis import INPUTS
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.map_spec import SHARE, MapSpec, of
from ale_dask.reporting.common.maps import INPUT_ENDS, find_map_spec, with_cluster_numbers
from ale_dask.reporting.common.phrases import counted, inference_of_record, of_kind, volume
from ale_dask.reporting.common.presentation import Presentation
from ale_dask.reporting.common.wording import controls, input_words, label, level_words, mask_words
from ale_dask.reporting.tables.clusters import share_table
from ale_dask.reporting.text.inference import many
from ale_dask.reporting.text.summary import cluster_words

_VOXEL = "voxel-fwe"
_CUTS = ("share", "min_volume")


def _maps_at(source: str, short: str) -> tuple[MapSpec, ...]:
    name = f"input-{short}"
    what = "share of the subsamples in which the voxel survives"
    ends = {
        "Share": ("", ""),
        "ShareLow": ("_low", "lower end of the 95 % interval of the "),
        "ShareHigh": ("_high", "upper end of the 95 % interval of the "),
    }
    return (
        *(
            MapSpec(
                f"stat_desc-subsample{word}_{name}",
                of(f"subsample_share{end}", source),
                before + what,
                None,
                source=source,
                units=SHARE,
            )
            for word, (end, before) in ends.items()
        ),
        MapSpec(
            f"stat_desc-subsampleClusters_{name}",
            of("subsample_clusters", source),
            f"{what}, where it is large enough, in clusters of the minimum volume",
            None,
            "thresholded",
            source,
            units=SHARE,
            cuts=_CUTS,
        ),
    )


_MAPS = (
    MapSpec("stat_desc-subsampleMean", of("subsample_ale"), "mean ALE of the subsamples", units="probability"),
    *(spec for source in INPUTS for spec in _maps_at(source, INPUT_ENDS[source])),
    MapSpec(
        "stat_desc-subsampleShare_level-voxel_corr-FWE",
        of("subsample_share_voxel_fwe"),
        "share of the subsamples in which the voxel survives voxel FWE",
        None,
        units=SHARE,
    ),
    MapSpec(
        "stat_desc-subsampleClusters_level-voxel_corr-FWE",
        of("subsample_clusters_voxel_fwe"),
        "share of the subsamples in which the voxel survives voxel FWE, where it is large enough, in clusters of the "
        "minimum volume",
        None,
        _VOXEL,
        _VOXEL,
        units=SHARE,
        cuts=_CUTS,
    ),
)


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.4g} %"


def _label(result: xr.Dataset, spec: MapSpec) -> str:
    attrs, i = result.attrs, model_of(result).inference
    level = "" if spec.source == "uncorrected" else f" {level_words(i)}"
    survives = f"{input_words(spec.source, correction=i.correction)}{level or f' < {i.voxel_p:g}'}"
    return f"in {percent(attrs['share'])} or more of {attrs['subsamples']:,} subsamples: {survives}"


def taken(attrs: Mapping[str, Any]) -> str:
    """Return in words how many subsamples were taken, of how many."""
    if attrs["enumerated"]:
        return f"all {attrs['subsamples']:,} that there are"
    repeated = attrs["subsamples"] - attrs["distinct"]
    again = f", {repeated:,} of them more than once" if repeated else ""
    return f"{attrs['subsamples']:,} drawn at random{again}"


def _facts(result: xr.Dataset) -> list[tuple[str, str]]:
    attrs, i = result.attrs, model_of(result).inference
    n = attrs["subsamples"]
    found = attrs["with_any"]
    cuts = result["subsample_threshold_ale"].values
    return [
        ("Subsamples of", str(attrs["of"][0])),
        ("Groups of subjects", f"{attrs['size']} of {attrs['n_groups']} in each subsample"),
        ("Subsamples", f"{taken(attrs)}, seed {i.seed}"),
        (
            "Subsamples in which anything survives",
            f"{found[0]:,} of {n:,}; uncorrected {found[1]:,}; voxel FWE {found[2]:,}",
        ),
        ("Largest share", f"{percent(attrs['largest_share'][0])}; uncorrected {percent(attrs['largest_share'][1])}"),
        (
            "Cluster-forming",
            f"p < {i.voxel_p:g}, ALE ≥ {cuts.min():.4g} to {cuts.max():.4g}, by each subsample's own null",
        ),
        ("Level, iterations", f"{level_words(i)}, {attrs['iterations']:,} iterations for each subsample"),
        ("In tables and figures", f"voxels with a share of at least {percent(attrs['share'])}"),
        ("Mask", mask_words(result)),
    ]


def _summary(result: xr.Dataset, clusters: Sequence[Cluster]) -> list[tuple[str, str]]:
    largest = f"; the largest share is {percent(result.attrs['largest_share'][0])}"
    return [("", cluster_words(clusters, result) + largest)]


def _table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    shown = spec.read(result)
    if spec.source == _VOXEL:
        # The ends of its interval are not kept: they follow from the share.
        n, complete = int(result.attrs["subsamples"]), bool(result.attrs["enumerated"])
        _, low, high = shares((shown * n).round().astype(int), n, complete=complete)
        return share_table(result, shown, low, high)
    low, high = (result[f"subsample_share_{end}"].sel(input=spec.source).values for end in ("low", "high"))
    return share_table(result, shown, low, high)


def _listed(result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    spec = find_map_spec(result, level="thresholded", source=INPUTS[0])
    yield model_of(result).directions[0], spec, _table(result, spec)


def _note(result: xr.Dataset, spec: MapSpec) -> str:
    return (
        f"Subsamples, {label(result, spec)}: Share is the share of subsamples in which the peak survives; no p. "
        f"Controlled is {controls(result, spec)}."
    )


def _methods(record: RunRecord) -> list[str]:
    entries, i = of_kind(record, KIND), inference_of_record(record)
    if not entries:
        return []
    return [
        "How far a main effect hangs on which groups of subjects there happen to be was examined in subsamples of them "
        "[@eickhoff2016]. " + " ".join(_one(name, entry) for name, entry in entries.items()),
        "Each subsample was analysed as a main effect of its own, with its own analytic null, its own cluster-forming "
        "value and its own null of clusters against foci spread evenly: the iterations of the sample's null, without "
        "the foci of the groups that the subsample leaves out. (Other programs hold all subsamples to one cut, from "
        "random foci of random subsamples, whatever groups a subsample has.) The share of the subsamples in which a "
        "voxel survives was mapped, with its exact (Clopper–Pearson) 95 % interval for the finite number of "
        f"subsamples. Tables list voxels with {leasts(entries)} in clusters of at least {volume(i, record)}. A share "
        f"controls {CONTROLS}.",
    ]


def leasts(entries: Mapping[str, Any]) -> str:
    """Return the least shares of the analyses in a record in words."""
    each = sorted({entry["share"] for entry in entries.values()})
    return "a share of at least " + " or ".join(percent(share) for share in each)


def _one(name: str, entry: Mapping[str, Any]) -> str:
    number = counted(entry["subsamples"], "subsample")
    how = f"all {number}" if entry["enumerated"] else number
    drawn = "" if entry["enumerated"] else f", drawn at random from {many(entry['possible'])} possible ones,"
    found = entry["with_any"][0]
    return (
        f"“{name}” took {how} of {entry['size']} of the {entry['n_groups']} groups of “{entry['of'][0]}”{drawn} and "
        f"anything survived in {found:,} of them, with a largest share of {percent(entry['largest_share'][0])}."
    )


PRESENTATION = Presentation(
    kind=KIND,
    maps=with_cluster_numbers(_MAPS),
    label=_label,
    facts=_facts,
    summary=_summary,
    table=_table,
    listed=_listed,
    note=_note,
    heading="Subsamples",
    methods=_methods,
    unthresholded={f"stat_desc-subsampleShare_input-{INPUT_ENDS[INPUTS[0]]}": "share of subsamples"},
    compared={"mean ALE of subsamples": "subsample_ale"},
)
