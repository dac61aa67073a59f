"""Show subsamples of main effects: their maps and facts, and what tables, methods text and exports say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.subsampled import CONTROLS, KIND
from ale_dask.analyses.subsamples import shares
from ale_dask.config.analysis import INPUTS
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.base_rate_maps import AGAINST, is_base_rate
from ale_dask.reporting.common.map_spec import SHARE, MapSpec, of
from ale_dask.reporting.common.maps import INPUT_ENDS, find_map_spec, map_specs_of, with_cluster_numbers
from ale_dask.reporting.common.phrases import counted, inference_of_record, of_kind, volume
from ale_dask.reporting.common.presentation import Presentation
from ale_dask.reporting.common.wording import controls, input_words, label, level_words, mask_words
from ale_dask.reporting.tables.comparisons import share_table
from ale_dask.reporting.text.inference import many
from ale_dask.reporting.text.summary import cluster_words

_VOXEL = "voxel-fwe"
_CUTS = ("share", "min_volume")


_AGAINST_CUTS = (*_CUTS, "base_rate", "base_rate_sha256")
_WHAT = "share of the subsamples in which the voxel survives"
_ENDS = {
    "Share": ("", ""),
    "ShareLow": ("_low", "lower end of the 95 % interval of the "),
    "ShareHigh": ("_high", "upper end of the 95 % interval of the "),
}
_BASE_RATE = "subsample_base_rate_share"
"""The variable that a result has which was tested against the base rate."""


def _maps_at(source: str, short: str) -> tuple[MapSpec, ...]:
    name, what = f"input-{short}", _WHAT
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
            for word, (end, before) in _ENDS.items()
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


def _maps_against(end: str, name: str, what: str, source: str, level: str) -> tuple[MapSpec, ...]:
    """Return the maps of the share of subsamples in which a voxel survives the base rate."""
    words = f"{_WHAT} {what}"
    share = MapSpec(
        f"stat_desc-subsampleBaseRateShare{name}",
        of(f"{_BASE_RATE}{end}"),
        words,
        None,
        source=source,
        units=SHARE,
        optional=_BASE_RATE,
    )
    return share, replace(
        share,
        suffix=f"stat_desc-subsampleBaseRateClusters{name}",
        read=of(f"subsample_base_rate_clusters{end}"),
        what=f"{words}, where it is large enough, in clusters of the minimum volume",
        level=f"{AGAINST}{level}",
        cuts=_AGAINST_CUTS,
    )


_MAPS = (
    MapSpec("stat_desc-subsampleMean", of("subsample_ale"), "mean ALE of the subsamples", units="probability"),
    *_maps_at(INPUTS[0], INPUT_ENDS[INPUTS[0]]),
    *_maps_against("", "", "against the base rate", INPUTS[0], "thresholded"),
    *(
        MapSpec(
            f"stat_desc-subsampleBaseRate{word}",
            of(f"{_BASE_RATE}{end}"),
            f"{before}{_WHAT} against the base rate",
            None,
            source=INPUTS[0],
            units=SHARE,
            optional=_BASE_RATE,
        )
        for word, (end, before) in _ENDS.items()
        if end
    ),
    *_maps_at(INPUTS[1], INPUT_ENDS[INPUTS[1]]),
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
    *_maps_against("_voxel_fwe", "_level-voxel_corr-FWE", "voxel FWE against the base rate", _VOXEL, _VOXEL),
)


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.4g} %"


def _label(result: xr.Dataset, spec: MapSpec) -> str:
    attrs, i = result.attrs, model_of(result).inference
    level = "" if spec.source == "uncorrected" else f" {level_words(i)}"
    survives = f"{input_words(spec.source, correction=i.correction)}{level or f' < {i.voxel_p:g}'}"
    null = ", against the base rate" if is_base_rate(spec) else ""
    return f"in {percent(attrs['share'])} or more of {attrs['subsamples']:,} subsamples: {survives}{null}"


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
        *_against_facts(attrs),
        (
            "Cluster-forming",
            f"p < {i.voxel_p:g}, ALE ≥ {cuts.min():.4g} to {cuts.max():.4g}, by each subsample's own null",
        ),
        ("Level, iterations", f"{level_words(i)}, {attrs['iterations']:,} iterations for each subsample"),
        ("In tables and figures", f"voxels with a share of at least {percent(attrs['share'])}"),
        ("Mask", mask_words(result)),
    ]


def _against_facts(attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    if "base_rate_with_any" not in attrs:
        return []
    found, share = attrs["base_rate_with_any"], attrs["base_rate_largest_share"]
    return [
        ("The same against the base rate", f"{found[0]:,} of {attrs['subsamples']:,}; voxel FWE {found[1]:,}"),
        ("Largest share against the base rate", f"{percent(share[0])}; voxel FWE {percent(share[1])}"),
    ]


def _summary(result: xr.Dataset, clusters: Sequence[Cluster]) -> list[tuple[str, str]]:
    null, model = model_of(result).inference.null, model_of(result)

    def line(found: Sequence[Cluster], largest: str) -> str:
        return f"{cluster_words(found, result)}; the largest share is {percent(result.attrs[largest][0])}"

    uniform, against = "largest_share", "base_rate_largest_share"
    lines = [("", line(clusters, against if null == "base-rate" else uniform))]
    if null == "both":
        spec = find_map_spec(result, level=f"{AGAINST}thresholded")
        lines.append(("against the base rate", line(model.clusters(spec.read(result)), against)))
    return lines


def _table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    shown = spec.read(result)
    if spec.source == _VOXEL:
        # The ends of its interval are not kept: they follow from the share.
        n, complete = int(result.attrs["subsamples"]), bool(result.attrs["enumerated"])
        _, low, high = shares((shown * n).round().astype(int), n, complete=complete)
        return share_table(result, shown, low, high)
    ends = ("low", "high")
    if is_base_rate(spec):
        return share_table(result, shown, *(result[f"{_BASE_RATE}_{end}"].values for end in ends))
    return share_table(result, shown, *(result[f"subsample_share_{end}"].sel(input=spec.source).values for end in ends))


def _listed(result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    levels = ("thresholded", f"{AGAINST}thresholded")
    for spec in map_specs_of(result):
        if spec.level in levels and spec.source == INPUTS[0]:
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
    drawn = _STUDIES if i.base_rate_draw == "studies" else ""
    against = "" if i.null == "uniform" else f"{_AGAINST}{drawn} "
    return [
        "How far a main effect hangs on which groups of subjects there happen to be was examined in subsamples of them "
        "[@eickhoff2016]. " + " ".join(_one(name, entry) for name, entry in entries.items()),
        "Each subsample was analysed as a main effect of its own, with its own analytic null, its own cluster-forming "
        "value and its own null of clusters against foci spread evenly: the iterations of the sample's null, without "
        "the foci of the groups that the subsample leaves out. (Other programs hold all subsamples to one cut, from "
        "random foci of random subsamples, whatever groups a subsample has.) "
        f"{against}The share of the subsamples in which a voxel survives was mapped, with its exact (Clopper–Pearson) "
        "95 % interval for the finite number of subsamples. Tables list voxels with "
        f"{leasts(entries)} in clusters of at least {volume(i, record)}. A share "
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
    against = ""
    if "base_rate_with_any" in entry:
        against = (
            f"; against the base rate in {entry['base_rate_with_any'][0]:,}, with a largest share of "
            f"{percent(entry['base_rate_largest_share'][0])}"
        )
    return (
        f"“{name}” took {how} of {entry['size']} of the {entry['n_groups']} groups of “{entry['of'][0]}”{drawn} and "
        f"anything survived in {found:,} of them, with a largest share of "
        f"{percent(entry['largest_share'][0])}{against}."
    )


_AGAINST = (
    "Against the base rate each subsample had, in the same way, the p of each voxel under its own experiments, its own "
    "cluster-forming ALE of each voxel and its own null."
)
_STUDIES = " An experiment kept the study that was drawn for it when others were left out."


PRESENTATION = Presentation(
    kind=KIND,
    maps=with_cluster_numbers(_MAPS),
    label=_label,
    facts=_facts,
    summary=_summary,
    levels=("thresholded", _VOXEL, f"{AGAINST}thresholded", f"{AGAINST}{_VOXEL}"),
    table=_table,
    listed=_listed,
    note=_note,
    heading="Subsamples",
    methods=_methods,
    unthresholded={f"stat_desc-subsampleShare_input-{INPUT_ENDS[INPUTS[0]]}": "share of subsamples"},
    compared={"mean ALE of subsamples": "subsample_ale"},
)
