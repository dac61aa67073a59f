"""Show main effects: their maps and facts, and what tables, methods text and exports say of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.base_rate_result import nulls_of
from ale_dask.analyses.corrections import CORRECTION_OF, CORRECTIONS, Correction
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import MainEffectResult, model_of
from ale_dask.analyses.main_effect import KIND
from ale_dask.analyses.main_effect_result import decision_variables
from ale_dask.analyses.seed_reach import deciding_reach
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.base_rate import base_rate_facts
from ale_dask.reporting.common.base_rate_maps import BASE_RATE_MAP_SPECS, is_base_rate
from ale_dask.reporting.common.map_spec import MapSpec, of
from ale_dask.reporting.common.maps import find_map_spec, main_clusters
from ale_dask.reporting.common.null_rate import percent
from ale_dask.reporting.common.phrases import counted
from ale_dask.reporting.common.presentation import Presentation
from ale_dask.reporting.common.wording import controls, correction_of, level_words, mask_words, setting, subject_words
from ale_dask.reporting.export.files import main_effect_maps
from ale_dask.reporting.export.gingerale import main_effect_files
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.text.base_rate import base_rate_overlap_words
from ale_dask.reporting.text.inference import inference
from ale_dask.reporting.text.summary import cluster_words


def _labels(result: xr.Dataset) -> npt.NDArray[np.int16]:
    labels = np.zeros(result.sizes["voxel"], dtype=np.int16)
    for cluster in main_clusters(result, source=INPUTS[0]):
        labels[cluster.voxels] = cluster.number
    return labels


_FDR = "the expected share of false voxels among those shown at {cluster_p:g}, and nothing about clusters"
_FDR_NAMES = {"fdr-bh": "Benjamini-Hochberg", "fdr-by": "Benjamini-Yekutieli"}
_NOTHING = (
    "nothing over the whole mask: each voxel by itself is tested at p < {voxel_p:g}, in clusters of at least "
    "{min_volume:g} mm³"
)
_FORMING = ("voxel_p", "threshold_ale")


def _survives(variable: str, what: str, suffix: str, controls: str, level: str, *cuts: str) -> MapSpec:
    return MapSpec(suffix, of(variable), f"z where {what}", controls, level, cuts=cuts)


def _corrected(correction: Correction) -> MapSpec:
    uniform = correction.uniform
    forming = _FORMING if correction.of_clusters else ()
    optional = uniform.map if correction.only_if_asked else ""
    cuts = (*forming, "cluster_p", *uniform.attributes)
    made = _survives(uniform.map, uniform.meaning, uniform.suffix, uniform.controls, correction.word, *cuts)
    return replace(made, optional=optional)


_MAPS = (
    MapSpec("stat", of("ale"), "activation likelihood estimate (ALE)", units="probability"),
    MapSpec("z", of("z"), "z of the analytic voxel p"),
    MapSpec("logp", of("logp"), "-log10 of the analytic voxel p", units="-log10(p)"),
    *(_corrected(c) for c in CORRECTIONS if not c.only_if_asked),
    MapSpec(
        "stat_desc-tfce",
        of("tfce"),
        "threshold-free cluster enhancement, E = 1/2, H = 2",
        units="voxels^(1/2) z^3",
        optional="tfce",
    ),
    *(_corrected(c) for c in CORRECTIONS if c.only_if_asked),
    _survives(
        "z_fdr_bh",
        "the voxel survives Benjamini-Hochberg FDR",
        "z_corr-FDR_method-indep",
        _FDR,
        "fdr-bh",
        "cluster_p",
    ),
    _survives(
        "z_fdr_by",
        "the voxel survives Benjamini-Yekutieli FDR",
        "z_corr-FDR_method-negcorr",
        _FDR,
        "fdr-by",
        "cluster_p",
    ),
    _survives(
        "z_uncorrected",
        "the voxel is below the uncorrected p, in clusters of the minimum volume",
        "z_desc-uncorrected",
        _NOTHING,
        "uncorrected",
        *_FORMING,
        "min_volume",
    ),
    *BASE_RATE_MAP_SPECS,
    MapSpec(
        "label_tab-clust_corr-FWE",
        _labels,
        "numbers of the clusters that survive the primary correction, as in the cluster table",
        None,
        "label",
        units="cluster",
        cuts=(*_FORMING, "cluster_p", "correction"),
        dtype="int16",
    ),
)


def _label(result: xr.Dataset, spec: MapSpec) -> str:
    i = model_of(result).inference
    level = correction_of(spec)
    if level in CORRECTION_OF:
        null = ", against the base rate" if is_base_rate(spec) else ""
        forming = f", cluster-forming p < {i.voxel_p:g}" if CORRECTION_OF[level].of_clusters else ""
        return f"{CORRECTION_OF[level].label} {level_words(i)}{forming}{null}"
    if level in _FDR_NAMES:
        return f"{_FDR_NAMES[level]} FDR q ≤ {i.cluster_p:g}"
    return f"uncorrected p < {i.voxel_p:g}, at least {i.min_volume:g} mm³"


def _facts(result: xr.Dataset) -> list[tuple[str, str]]:
    attrs, i = result.attrs, model_of(result).inference
    scales = MainEffectResult(result).scales
    outside = int(attrs["foci_outside_mask"])
    return [
        ("Experiments", f"{attrs['n_experiments']}" + subject_words(attrs)),
        ("Foci", f"{attrs['n_foci']}" + (f" ({outside} outside the mask)" if outside else "")),
        ("Subjects", f"{attrs['n_subjects']}"),
        *_seed(result),
        ("Cluster-forming", f"p < {i.voxel_p:g}, ALE ≥ {attrs['threshold_ale']:.4g}"),
        *_null_rate(attrs),
        *(
            (c.uniform.title, _cut(result, c.uniform.cut, partial(c.uniform.words, scales=scales)))
            for c in CORRECTIONS
            if c.uniform.cut in attrs
        ),
        *base_rate_facts(result),
        ("Level, iterations", f"{level_words(i)}, {attrs['iterations']:,} iterations, seed {i.seed}"),
        ("Primary correction", CORRECTION_OF[i.correction].label),
        ("Mask", mask_words(result)),
    ]


def _seed(result: xr.Dataset) -> list[tuple[str, str]]:
    reach = deciding_reach(result)
    if reach is None:
        return []
    mm3 = int(reach.sum()) * model_of(result).mask.voxel_volume
    return [("Seed", f"{counted(result.attrs['seed_foci'], 'focus')}, which reach {mm3:,.0f} mm³ alone")]


def _null_rate(attrs: Mapping[str, Any]) -> list[tuple[str, str]]:
    rate = attrs.get("null_voxel_rate")
    return [] if rate is None else [("Voxels that reach it", f"{percent(rate)} of the uniform null")]


def _cut(result: xr.Dataset, name: str, words: Any) -> str:
    value = setting(result, name)
    if value is None:
        return "none: too few iterations"
    low, high = setting(result, f"{name}_interval")
    if high is None:
        return f"{words(value)} (95 % interval: at least {words(low)}; so few iterations give it no upper end)"
    return f"{words(value)} (95 % interval {words(low)} to {words(high)})"


def _summary(result: xr.Dataset, clusters: Sequence[Cluster]) -> list[tuple[str, str]]:
    deciding_null, *other_nulls = nulls_of(result)
    lines = [("", cluster_words(clusters, result) + _undecided(result, deciding_null))]
    if other_nulls:
        lines.append(("against the base rate", base_rate_overlap_words(result) + _undecided(result, "base-rate")))
    reach = deciding_reach(result)
    if reach is not None and clusters:
        beyond = sum(not reach[cluster.peak] for cluster in clusters)
        lines.append(("beyond the seed", f"{counted(beyond, 'cluster')} of {len(clusters)} with a peak that {_BEYOND}"))
    return lines


_BEYOND = "foci in the seed do not reach alone; the others converge there by the selection of their experiments"


def _undecided(result: xr.Dataset, null: str) -> str:
    decision = decision_variables(result).get(null)
    n = 0 if decision is None else int((result[decision].values == "undecided").sum())
    return f"; {counted(n, 'cluster')} undecided after {result.attrs['iterations']:,} iterations" if n else ""


def _table(result: xr.Dataset, spec: MapSpec) -> pd.DataFrame:
    if spec.level == "uncorrected":
        return cluster_table(result, source="uncorrected")
    return cluster_table(result, null="base-rate" if is_base_rate(spec) else "uniform")


def _listed(result: xr.Dataset) -> Iterator[tuple[str, MapSpec, pd.DataFrame]]:
    yield "", find_map_spec(result, level=model_of(result).correction.word), cluster_table(result)


def _note(result: xr.Dataset, spec: MapSpec) -> str:
    correction, iterations = model_of(result).correction, f"{result.attrs['iterations']:,} iterations"
    of_cluster = f"p is of the cluster's {correction.short}, family-wise, from {iterations}; "
    p = of_cluster if correction.of_clusters else ""
    return f"Main effects: {p}controlled is the {controls(result, spec)}."


PRESENTATION = Presentation(
    kind=KIND,
    maps=_MAPS,
    label=_label,
    facts=_facts,
    summary=_summary,
    levels=(),
    table=_table,
    listed=_listed,
    note=_note,
    heading="Inference",
    methods=inference,
    unthresholded={"z": "unthresholded z", "stat": "unthresholded ALE"},
    compared={"ALE": "ale", "z": "z", "z against the base rate": "z_base_rate"},
    nimare=main_effect_maps,
    gingerale=main_effect_files,
)
