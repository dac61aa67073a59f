"""Show contrasts: their maps and facts, and what tables, methods text and exports say of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
import xarray as xr

from ale_dask.analyses.contrast import KIND
from ale_dask.analyses.corrections import CLUSTER_SHORTS
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.map_spec import MapSpec, of
from ale_dask.reporting.common.maps import INPUT_ENDS, corrected_map_specs, find_map_spec, with_cluster_numbers
from ale_dask.reporting.common.phrases import listed
from ale_dask.reporting.common.presentation import Presentation
from ale_dask.reporting.common.wording import detectable_facts, input_words, mask_words, shared_words
from ale_dask.reporting.export.files import contrast_maps
from ale_dask.reporting.export.gingerale import contrast_files
from ale_dask.reporting.tables.comparisons import contrast_table
from ale_dask.reporting.tables.study import by_direction
from ale_dask.reporting.text.both_directions import clusters_facts, levels_fact, permuted_note
from ale_dask.reporting.text.inference import contrasts
from ale_dask.reporting.text.summary import cluster_words, surviving_words

_FWE = (
    "family-wise error of voxels at {contrast_p:g}, each direction by itself, over a region that no "
    "relabelling changes: {region}"
)
_CLUSTER = (
    "family-wise error of clusters at {cluster_p:g}, each direction by itself, over a region that no relabelling "
    "changes: {region}; it does not say in which of its voxels the arms differ"
)
_DIFF = "desc-group1MinusGroup2"


def _maps_at(source: str, short: str) -> tuple[MapSpec, ...]:
    gate = "signed z inside the gate, uncorrected p, in clusters of the minimum volume"
    fwe = "signed z where the voxel survives FWE by the maximum difference"
    cuts = ("contrast_p", "gate", "min_volume")
    return (
        MapSpec(f"z_{_DIFF}_input-{short}", of("z_contrast", source), gate, None, "uncorrected", source, cuts=cuts),
        MapSpec(
            f"z_{_DIFF}_level-voxel_corr-FWE_input-{short}",
            of("z_contrast_voxel_fwe", source),
            fwe,
            _FWE,
            "voxel-fwe",
            source,
            cuts=("contrast_p",),
        ),
        *(
            MapSpec(
                f"z_{_DIFF}{what.title()}_level-cluster_corr-FWE_input-{short}",
                of(f"z_contrast_{what}_fwe", source),
                f"signed z in clusters that survive cluster-{what} FWE",
                _CLUSTER,
                f"{what}-fwe",
                source,
                cuts=("voxel_p", "cluster_p"),
                optional=f"z_contrast_{what}_fwe",
            )
            for what in CLUSTER_SHORTS
        ),
    )


_MAPS = (
    MapSpec(f"stat_{_DIFF}", of("difference"), "ALE of the first arm minus the second", units="probability"),
    MapSpec(f"p_{_DIFF}", of("p_greater"), "one-sided p, first > second; NaN: not tested", None, units="p"),
    MapSpec(
        "p_desc-group2MinusGroup1",
        of("p_less"),
        "one-sided p, second > first; NaN: not tested",
        None,
        units="p",
    ),
    *(spec for source in INPUTS for spec in _maps_at(source, INPUT_ENDS[source])),
)


def _label(result: xr.Dataset, spec: MapSpec) -> str:
    i = model_of(result).inference
    source = input_words(spec.source, correction=i.correction)
    region = "whole mask" if i.gate == "none" else f"pooled experiments at {source}"
    if spec.level in ("size-fwe", "mass-fwe"):
        forming = f"cluster-forming p < {i.voxel_p:g}"
        return f"cluster-{spec.level[:4]} FWE p ≤ {i.cluster_p:g}, {forming}, {region}"
    if spec.level == "voxel-fwe":
        # Corrected over the region that no relabelling changes, whichever gate the uncorrected map has.
        return f"voxel FWE p ≤ {i.contrast_p:g}, {region}"
    return f"uncorrected p < {i.contrast_p:g}, {f'arms at {source}' if i.gate == 'arms' else region}"


def _facts(result: xr.Dataset) -> list[tuple[str, str]]:
    attrs, i = result.attrs, model_of(result).inference
    relabellings = "all relabellings" if attrs["enumerated"] else "relabellings"
    ratio = "{:.3g} against {:.3g}".format
    return [
        ("Arms", " against ".join(attrs["arms"])),
        ("Experiments compared", " against ".join(f"{n:,}" for n in attrs["experiments_compared"])),
        ("Foci per experiment", ratio(*attrs["foci_per_experiment"])),
        ("Subjects per experiment", ratio(*attrs["subjects_per_experiment"])),
        ("Level, each direction", levels_fact(i)),
        ("Gate", attrs["gate"]),
        ("Shared subjects", shared_words(attrs["shared"], i)),
        *clusters_facts(result, dimension="contrast_cluster", permuted="relabellings"),
        *detectable_facts(attrs),
        ("Permutations", f"{attrs['iterations']:,} {relabellings}, seed {i.seed}"),
        ("Mask", mask_words(result)),
    ]


def _summary(result: xr.Dataset, clusters: Sequence[Cluster]) -> list[tuple[str, str]]:
    return [
        (direction, cluster_words([c for c in clusters if c.sign == sign], result) + _corrected(result, sign))
        for sign, direction in model_of(result).sides.items()
    ]


def _corrected(result: xr.Dataset, sign: int) -> str:
    """Return the volumes of one direction of a contrast that survive each correction, in words."""
    volumes = []
    for spec in corrected_map_specs(result):
        if spec.source == INPUTS[0]:
            clusters = [c for c in model_of(result).clusters(spec.read(result)) if c.sign == sign]
            volumes.append(surviving_words(spec.level, clusters, result))
    return f". Corrected: {listed(volumes)}" if volumes else ""


def _table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    return contrast_table(result, source=spec.source, level=spec.level)


def _listed(result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    """Yield what a paper lists: voxel FWE and, where clusters are tested, the primary correction; then uncorrected."""
    present = {spec.level: spec for spec in corrected_map_specs(result) if spec.source == INPUTS[0]}
    levels = ("voxel-fwe", f"{model_of(result).correction.short}-fwe")
    corrected = [present[level] for level in dict.fromkeys(levels) if level in present]
    for spec in (*corrected, find_map_spec(result, level="uncorrected", source=INPUTS[0])):
        yield from by_direction(result, spec)


def _note(result: xr.Dataset, spec: MapSpec) -> str:
    ties = "; of equal Z the peak is where the ALE maps differ most"
    return permuted_note(result, spec, heading="Contrasts", permuted="relabellings", ties=ties)


PRESENTATION = Presentation(
    kind=KIND,
    maps=with_cluster_numbers(_MAPS),
    label=_label,
    facts=_facts,
    summary=_summary,
    table=_table,
    listed=_listed,
    note=_note,
    heading="Contrasts",
    methods=contrasts,
    unthresholded={f"stat_{_DIFF}": "unthresholded difference of ALE"},
    compared={"difference of ALE": "difference"},
    nimare=contrast_maps,
    gingerale=contrast_files,
)
