"""Show moderators: their maps and facts, and what tables, methods text and exports say of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
import xarray as xr

from ale_dask.analyses.corrections import CLUSTER_SHORTS
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import PAIR, model_of
from ale_dask.analyses.moderator import KIND
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.map_spec import MapSpec, of
from ale_dask.reporting.common.maps import corrected_map_specs, find_map_spec, map_specs_of, with_cluster_numbers
from ale_dask.reporting.common.pair_maps import pair_facts, pair_maps
from ale_dask.reporting.common.phrases import listed
from ale_dask.reporting.common.presentation import Presentation
from ale_dask.reporting.common.wording import mask_words
from ale_dask.reporting.tables.comparisons import moderator_table, pair_table
from ale_dask.reporting.tables.study import by_direction
from ale_dask.reporting.text.both_directions import clusters_facts, levels_fact, permuted_note
from ale_dask.reporting.text.moderators import left_out_words, leverage_words, moderators, range_words
from ale_dask.reporting.text.summary import cluster_words, surviving_words

_REGION = "over the tested voxels, a region that no permutation changes"
_FWE = f"family-wise error of voxels at {{contrast_p:g}}, each direction by itself, {_REGION}"
_CLUSTER = (
    f"family-wise error of clusters at {{cluster_p:g}}, each direction by itself, {_REGION}; it does not say in which "
    "of its voxels foci follow the moderator"
)
_ONE_SIDED = "one-sided p, {}; NaN: not tested"
_OWN = "{} of the MA-weighted mean of the moderator minus its mean, in its own unit"
_MAPS = (
    MapSpec(
        f"stat_desc-{KIND}",
        of("t_moderator"),
        "sum over groups of the centred moderator times -ln(1 - MA), over its permutation standard deviation; 0: not "
        "tested",
        units="sd",
    ),
    MapSpec(f"p_desc-{KIND}", of("p_greater"), _ONE_SIDED.format("first direction"), None, units="p"),
    MapSpec(
        f"p_desc-{KIND}Reversed",
        of("p_less"),
        _ONE_SIDED.format("second direction"),
        None,
        units="p",
        optional="p_less",
    ),
    MapSpec(
        f"stat_desc-{KIND}Effect",
        of("effect"),
        "MA-weighted mean of the moderator minus its mean, in its own unit",
        units="moderator",
        optional="effect",
    ),
    *(
        MapSpec(
            f"stat_desc-{KIND}Effect{end.title()}",
            of(f"effect_{end}"),
            _OWN.format(f"{word} end of the 95 % jackknife interval"),
            units="moderator",
            optional=f"effect_{end}",
        )
        for end, word in (("low", "lower"), ("high", "upper"))
    ),
    *(
        MapSpec(
            f"z_desc-{KIND}{what.title()}_level-cluster_corr-FWE",
            of(f"z_moderator_{what}_fwe"),
            f"signed z in clusters that survive cluster-{what} FWE",
            _CLUSTER,
            f"{what}-fwe",
            INPUTS[0],
            cuts=("voxel_p", "cluster_p"),
            optional=f"z_moderator_{what}_fwe",
        )
        for what in CLUSTER_SHORTS
    ),
    MapSpec(
        f"z_desc-{KIND}_level-voxel_corr-FWE",
        of("z_moderator_voxel_fwe"),
        "signed z where the voxel survives FWE by the largest statistic",
        _FWE,
        "voxel-fwe",
        INPUTS[0],
        cuts=("contrast_p",),
    ),
    MapSpec(
        f"z_desc-{KIND}",
        of("z_moderator"),
        "signed z of the uncorrected p, in clusters of the minimum volume",
        None,
        "uncorrected",
        INPUTS[1],
        cuts=("contrast_p", "min_volume"),
    ),
)


def _label(result: xr.Dataset, spec: MapSpec) -> str:
    i = model_of(result).inference
    if spec.level == PAIR:
        return f"{spec.source}: FWE over voxels and pairs p ≤ {i.contrast_p:g}"
    if spec.level in ("size-fwe", "mass-fwe"):
        return f"cluster-{spec.level[:4]} FWE p ≤ {i.cluster_p:g}, cluster-forming p < {i.voxel_p:g}"
    if spec.level == "voxel-fwe":
        return f"voxel FWE p ≤ {i.contrast_p:g}"
    return f"uncorrected p < {i.contrast_p:g}"


def _facts(result: xr.Dataset) -> list[tuple[str, str]]:
    attrs, i = result.attrs, model_of(result).inference
    permutations = "all permutations" if attrs["enumerated"] else "permutations"
    further = {
        "Nuisance": listed(attrs["nuisance"]) if attrs["nuisance"] else "",
        "Permuted within": attrs["strata"],
        "Left out": left_out_words(attrs),
        "Correlation with the number of foci": f"{attrs['foci_r']:.2f}" if "foci_r" in attrs else "",
        "Largest leverage": leverage_words(attrs),
        "Variance that nuisance leaves": f"{100 * attrs['nuisance_left']:.0f} %" if attrs["nuisance"] else "",
    }
    return [
        ("Moderator", f"{attrs['moderator']} ({attrs['moderator_kind']}) of “{attrs['of']}”"),
        ("Groups of subjects", f"{attrs['groups']:,}: {range_words(attrs)}"),
        *((name, words) for name, words in further.items() if words),
        ("Level, each direction", levels_fact(i)),
        *clusters_facts(result, dimension="moderator_cluster", permuted="permutations"),
        *pair_facts(result),
        ("Tested voxels", f"{attrs['candidates']:,}"),
        ("Permutations", f"{attrs['iterations']:,} {permutations}, seed {i.seed}"),
        ("Mask", mask_words(result)),
    ]


def _summary(result: xr.Dataset, clusters: Sequence[Cluster]) -> list[tuple[str, str]]:
    return [
        (direction, cluster_words([c for c in clusters if c.sign == sign], result) + _others(result, sign))
        for sign, direction in model_of(result).sides.items()
    ]


def _others(result: xr.Dataset, sign: int) -> str:
    """Return the volume of one direction that survives the other corrections, in words."""
    model, words = model_of(result), []
    for spec in corrected_map_specs(result):
        if spec.level != model.shown_level(INPUTS[0]):
            clusters = [c for c in model.clusters(spec.read(result), level=spec.level) if c.sign == sign]
            words.append(surviving_words(spec.level, clusters, result))
    if not words:
        return ""
    said = listed(words)
    return f". {said[:1].upper()}{said[1:]}"


def _table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    if spec.level == PAIR:
        return pair_table(result, spec)
    return moderator_table(result, level=spec.level)


def _listed(result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    """Yield what a paper lists: the primary correction, voxel FWE, uncorrected, then each pair of several groups."""
    shown = model_of(result).shown_level
    for level in dict.fromkeys((shown(INPUTS[0]), "voxel-fwe", "uncorrected")):
        yield from by_direction(result, find_map_spec(result, level=level))
    for spec in map_specs_of(result):
        if spec.level == PAIR:
            yield from by_direction(result, spec)


def _note(result: xr.Dataset, spec: MapSpec) -> str:
    return permuted_note(result, spec, heading="Moderators", permuted="permutations")


PRESENTATION = Presentation(
    kind=KIND,
    maps=with_cluster_numbers(_MAPS),
    further=pair_maps,
    label=_label,
    facts=_facts,
    summary=_summary,
    table=_table,
    listed=_listed,
    note=_note,
    heading="Moderators",
    methods=moderators,
    unthresholded={f"stat_desc-{KIND}": "unthresholded T / sd of the moderator"},
    compared={"T / sd of the moderator": "t_moderator"},
)
