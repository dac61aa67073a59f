"""Show conjunctions of contrasts: their maps and facts, and what tables, methods text and exports say of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
import xarray as xr

from ale_dask.analyses.contrast_conjunction import CONTROLS, KIND
from ale_dask.analyses.corrections import CLUSTER_SHORTS
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.map_spec import MapSpec, of
from ale_dask.reporting.common.maps import INPUT_ENDS, corrected_map_specs, find_map_spec, with_cluster_numbers
from ale_dask.reporting.common.phrases import decimal, inference_of_record, listed, of_kind, volume
from ale_dask.reporting.common.presentation import Presentation
from ale_dask.reporting.common.wording import controls, input_words, label, mask_words
from ale_dask.reporting.tables.comparisons import joint_table
from ale_dask.reporting.tables.study import by_direction
from ale_dask.reporting.text.both_directions import levels_fact
from ale_dask.reporting.text.inference import limited
from ale_dask.reporting.text.summary import cluster_words, surviving_words

_EACH = "each contrast controls its own error, in each direction by itself"
_FWE = "family-wise error of voxels at {contrast_p:g} in each contrast: a voxel shown survives in every one of them"
_CLUSTER = (
    "family-wise error of clusters at {cluster_p:g} in each contrast; the overlap of clusters does not show that any "
    "one voxel differs in all"
)
_JOINT = "desc-joint"


def _maps_at(source: str, short: str) -> Iterator[MapSpec]:
    what = "smallest z of all contrasts, signed, where each is shown by its uncorrected p, in clusters of the minimum"
    cuts = ("contrast_p", "gate", "min_volume")
    suffix = f"z_{_JOINT}_input-{short}"
    yield MapSpec(suffix, of("z_joint", source), f"{what} volume", None, "uncorrected", source, cuts=cuts)
    for level in ("voxel", *CLUSTER_SHORTS):
        own = level == "voxel"
        yield MapSpec(
            f"z_{_JOINT}{'' if own else level.title()}_level-{'voxel' if own else 'cluster'}_corr-FWE_input-{short}",
            of(f"z_joint_{level}_fwe", source),
            f"smallest z of all contrasts, signed, where each survives {'voxel' if own else f'cluster-{level}'} FWE",
            _FWE if own else _CLUSTER,
            f"{level}-fwe",
            source,
            cuts=("contrast_p",) if own else ("voxel_p", "cluster_p"),
            optional=f"z_joint_{level}_fwe",
        )


_MAPS = (
    MapSpec(
        f"stat_{_JOINT}",
        of("difference_min"),
        "smallest difference of ALE, first arms minus second; 0 where signs differ",
        units="probability",
    ),
    *(
        MapSpec(f"p_{_JOINT}{end}", of(f"p_max_{side}"), f"largest p, {words}; NaN: not tested", None, units="p")
        for end, side, words in (("", "greater", "first arms > second"), ("Less", "less", "second arms > first"))
    ),
    *(spec for source in INPUTS for spec in _maps_at(source, INPUT_ENDS[source])),
)


def _label(result: xr.Dataset, spec: MapSpec) -> str:
    i = model_of(result).inference
    level = {
        "uncorrected": f"uncorrected p < {i.contrast_p:g}",
        "voxel-fwe": f"voxel FWE p ≤ {i.contrast_p:g}",
    }.get(spec.level, f"cluster-{spec.level[:4]} FWE p ≤ {i.cluster_p:g}")
    if i.gate == "none":
        return f"{level} in every contrast, whole mask"
    # Corrected over the region that no relabelling changes, whichever gate the uncorrected maps have.
    region = "arms" if i.gate == "arms" and spec.level == "uncorrected" else "pooled experiments"
    return f"{level} in every contrast, {region} at {input_words(spec.source, correction=i.correction)}"


def _facts(result: xr.Dataset) -> list[tuple[str, str]]:
    i = model_of(result).inference
    return [
        ("Of", " AND ".join(result.attrs["of"])),
        ("Level, each contrast and direction", levels_fact(i)),
        ("p", "the largest of the contrasts'"),
        ("Gate of the contrasts", result.attrs["gate"]),
        ("Mask", mask_words(result)),
    ]


def _summary(result: xr.Dataset, clusters: Sequence[Cluster]) -> list[tuple[str, str]]:
    said = []
    for sign, direction in model_of(result).sides.items():
        volumes = [
            surviving_words(
                spec.level, [c for c in model_of(result).clusters(spec.read(result)) if c.sign == sign], result
            )
            for spec in corrected_map_specs(result)
            if spec.source == INPUTS[0]
        ]
        found = cluster_words([c for c in clusters if c.sign == sign], result)
        said.append((direction, f"{found}. Corrected: {listed(volumes)}" if volumes else found))
    return said


def _table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    return joint_table(result, source=spec.source, level=spec.level)


def _listed(result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    for level in ("voxel-fwe", "uncorrected"):
        yield from by_direction(result, find_map_spec(result, level=level, source=INPUTS[0]))


def _note(result: xr.Dataset, spec: MapSpec) -> str:
    corrected = "uncorrected" if spec.level == "uncorrected" else "family-wise"
    return (
        f"Conjunctions of contrasts, {label(result, spec)}: p is of the peak, the largest of the contrasts', "
        f"{corrected}. Shown is {controls(result, spec)}."
    )


def _methods(record: RunRecord) -> list[str]:
    entries, i = of_kind(record, KIND), inference_of_record(record)
    if not entries:
        return []
    names = listed(f"“{name}” of {listed(entry['of'])}" for name, entry in entries.items())
    return [
        f"Contrasts were joined ({names}): each direction by itself, z was the smallest and p the largest of the "
        "contrasts, which tests in each voxel the null that at least one of them has no difference there "
        f"[@nichols2005]. Uncorrected maps show voxels with p < {decimal(i.contrast_p)} in clusters of at least "
        f"{volume(i, record)}: {CONTROLS}. Corrected maps show what survives in every contrast: {_EACH}.",
        *(f"“{name}”:{limited(entry)}" for name, entry in entries.items() if limited(entry)),
    ]


PRESENTATION = Presentation(
    kind=KIND,
    maps=with_cluster_numbers(_MAPS),
    label=_label,
    facts=_facts,
    summary=_summary,
    table=_table,
    listed=_listed,
    note=_note,
    heading="Conjunctions of contrasts",
    methods=_methods,
    unthresholded={f"stat_{_JOINT}": "unthresholded smallest difference of ALE"},
    compared={"smallest difference of ALE": "difference_min"},
)
