"""Show conjunctions: their maps and facts, and what tables, methods text and exports say of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
import xarray as xr

from ale_dask.analyses.conjunction import KIND
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.analysis import INPUTS
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.map_spec import MapSpec, of
from ale_dask.reporting.common.maps import INPUT_ENDS, find_map_spec, with_cluster_numbers
from ale_dask.reporting.common.phrases import inference_of_record, listed, of_kind, volume
from ale_dask.reporting.common.presentation import Presentation
from ale_dask.reporting.common.wording import controlled, controls, detectable_facts, input_words, label, mask_words
from ale_dask.reporting.export.gingerale import conjunction_files
from ale_dask.reporting.tables.comparisons import conjunction_table
from ale_dask.reporting.text.inference import inputs, limited, power, specs_by_level
from ale_dask.reporting.text.summary import cluster_words

_FWE = "family-wise error of voxels at {cluster_p:g} in each map: a voxel shown survives in every one of them"


def _maps_at(source: str, short: str) -> tuple[MapSpec, MapSpec]:
    name = f"desc-conjunction_input-{short}"
    what = "minimum of the thresholded {} maps, in clusters of the minimum volume"
    cuts = ("min_volume",)
    return (
        MapSpec(
            f"stat_{name}",
            of("ale_min", source),
            what.format("ALE"),
            None,
            "stat",
            source,
            units="probability",
            cuts=cuts,
        ),
        MapSpec(f"z_{name}", of("z_min", source), what.format("z"), None, "thresholded", source, cuts=cuts),
    )


_MAPS = (
    *(spec for source in INPUTS for spec in _maps_at(source, INPUT_ENDS[source])),
    MapSpec(
        "z_desc-conjunction_level-voxel_corr-FWE",
        of("z_min_voxel_fwe"),
        "minimum of the voxel-FWE z maps",
        _FWE,
        "voxel-fwe",
        "voxel-fwe",
        cuts=("cluster_p",),
    ),
    MapSpec(
        "z_desc-conjunctionUnthresholded",
        of("z_min_unthresholded"),
        "minimum of the z maps before any threshold",
    ),
)


def _label(result: xr.Dataset, spec: MapSpec) -> str:
    return f"overlap of the maps at {input_words(spec.source, correction=model_of(result).inference.correction)}"


def _facts(result: xr.Dataset) -> list[tuple[str, str]]:
    return [
        ("Of", " AND ".join(result.attrs["of"])),
        ("Minimum volume", f"{model_of(result).inference.min_volume:g} mm³"),
        ("Largest minimum z before any threshold", f"{result.attrs['largest_minimum_z']:.3f}"),
        *detectable_facts(result.attrs),
        ("Mask", mask_words(result)),
    ]


def _summary(result: xr.Dataset, clusters: Sequence[Cluster]) -> list[tuple[str, str]]:
    largest = f"; the largest minimum z before any threshold is {result.attrs['largest_minimum_z']:.2f}"
    return [("", cluster_words(clusters, result) + ("" if clusters else largest))]


def _table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    return conjunction_table(result, source=spec.source)


def _listed(result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    single = model_of(result).correction.of_single_voxels
    inputs = {"thresholded": INPUTS[0]} | ({} if single else {"voxel-fwe": "voxel-fwe"})
    for level, used in inputs.items():
        spec = find_map_spec(result, level=level, source=used)
        yield model_of(result).directions[0], spec, conjunction_table(result, source=used)


def _note(result: xr.Dataset, spec: MapSpec) -> str:
    verb = "Controlled" if spec.level == "voxel-fwe" else "Shown"
    return f"Conjunctions, {label(result, spec)}: no p. {verb} is the {controls(result, spec)}."


def _methods(record: RunRecord) -> list[str]:
    entries, i = of_kind(record, KIND), inference_of_record(record)
    if not entries:
        return []
    spec = specs_by_level(KIND)["voxel-fwe"]
    names = listed(f"“{name}” of {listed(entry['of'])}" for name, entry in entries.items())
    shown = {entry["controls"] for entry in entries.values()}
    return [
        f"Conjunctions ({names}) were the voxelwise minimum of the thresholded maps [@nichols2005], at {inputs(i)}, "
        f"in clusters of at least {volume(i, record)}, with peaks by the minimum of "
        f"{'ALE' if i.conjunction_of == 'ale' else 'z'}. They show the {listed(shown)}.",
        *(f"“{name}”:{limited(entry)}" for name, entry in entries.items() if limited(entry)),
        f"Beside them, the minimum of the voxel-FWE maps controlled {controlled(spec, i)}.",
        *power(entries, i),
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
    heading="Conjunctions",
    methods=_methods,
    unthresholded={"z_desc-conjunctionUnthresholded": "unthresholded minimum z"},
    compared={"minimum z": "z_min_unthresholded"},
    gingerale=conjunction_files,
)
