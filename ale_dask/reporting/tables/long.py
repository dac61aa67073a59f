"""Tabulate the clusters of many runs in one long table, each row with the run's settings and thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.base_rate_result import nulls_of
from ale_dask.analyses.contrast import disjoint_arms
from ale_dask.analyses.corrections import CORRECTIONS, NullStatistic
from ale_dask.analyses.findings.model import MainEffectResult, model_of
from ale_dask.config.inference import Inference, image_name
from ale_dask.config.study import Study
from ale_dask.coordinates.foci import foci_alone, n_foci
from ale_dask.coordinates.spreadsheet_cells import escaped
from ale_dask.reporting.common.base_rate_maps import AGAINST
from ale_dask.reporting.common.maps import directions_of, find_map_spec
from ale_dask.reporting.common.wording import mask_name, setting
from ale_dask.reporting.tables.clusters import cluster_table
from ale_dask.reporting.tables.columns import LONG_NAMES, LONG_NAMES_BASE_RATE
from ale_dask.reporting.tables.study import directed_table, levels_of

Run = tuple[str, Study, Mapping[str, xr.Dataset], Mapping[str, Any]]
"""A name of a run, and the study, results and record that `collect` returns of it."""

_TEXT, _COUNT, _NUMBER = "string", "Int64", "Float64"
_SETTINGS = {
    name: {str: _TEXT, int: _COUNT}.get(type(field.default), _NUMBER) for name, field in Inference.model_fields.items()
}
_CUTS = tuple(column for c in CORRECTIONS for column in c.uniform.columns)
_BASE_RATE_CUTS = tuple(column for c in CORRECTIONS for column in c.base_rate.columns)
_COLUMNS = {
    **dict.fromkeys(("out", "title", "simulated", "analysis", "kind", "level", "input", "direction", "against"), _TEXT),
    **_SETTINGS,
    "mask_sha256": _TEXT,
    **dict.fromkeys(("search", "networks"), _TEXT),
    **dict.fromkeys(("experiments", "foci", "experiments_a", "foci_a", "experiments_b", "foci_b"), _COUNT),
    "threshold_ale": _NUMBER,
    **{f"{cut}{end}": _COUNT if "voxels" in cut else _NUMBER for cut in _CUTS for end in ("", "_low", "_high")},
    **{cut: _COUNT if "voxels" in cut else _NUMBER for cut in _BASE_RATE_CUTS},
    **dict.fromkeys(("cluster", "x", "y", "z", "peak_statistic", "peak_z"), _NUMBER),
    **dict.fromkeys(LONG_NAMES, _NUMBER),
    **dict.fromkeys(("cluster", "size_voxels", "cluster_experiments", "cluster_foci"), _COUNT),
    "share_base_rate": _NUMBER,
    **dict.fromkeys(("decision_size", "decision_mass", "survives", "survives_base_rate"), _TEXT),
    **dict.fromkeys(("digest", "digest_base_rate", "ale_dask_version"), _TEXT),
}


def long_table(runs: Iterable[Run]) -> pd.DataFrame:
    """Return the clusters of many runs, one row each, with analysis, settings, thresholds and intervals.

    An analysis, level, input and direction without a cluster has one row whose cluster columns are missing. Sub-peaks
    have no rows. Numbers are not rounded. Each run is released before the next is taken: a generator of runs holds one
    run in memory at a time.

    Parameters
    ----------
    runs
        For each run a name, and the study, results and record that `collect` returns of it.

    Returns
    -------
    DataFrame
        One row per cluster, with these columns.

        out, title, simulated
            Name of the run, title of its study, whether its data are simulated (yes, no).
        analysis, kind
            Name; main-effect, contrast or conjunction. "…_pooled" is the main effect of both arms of a contrast.
        level, input, direction
            Threshold of the map. Main effects: their correction, and "uncorrected" for all clusters of the minimum
            volume. Contrasts: "uncorrected" inside the gate, and "voxel-fwe", "size-fwe" and "mass-fwe" over the region
            that no relabelling changes, at the input "cluster-fwe" or "uncorrected", by direction ("drug > therapy").
            Conjunctions: "thresholded" at both inputs, and "voxel-fwe".
        voxel_p, cluster_p, iterations, seed, correction, mask, within, fwhm, support, min_volume, contrast_p …
            Settings of [inference]. Iterations are those used (all relabellings of a contrast if there are no more),
            fwhm is in mm and missing if it follows from sample sizes, support in sigma, min_volume in mm3.
        mask_sha256, search
            Hash of the mask's voxels and grid; region of inference (a small volume), missing for the whole mask.
        networks
            Label image of which the cluster tables give shares; missing without one.
        experiments, foci, experiments_a, foci_a, experiments_b, foci_b
            Numbers of a main effect, and of a contrast's first and second arm without excluded experiments.
        threshold_ale
            Cluster-forming ALE of a main effect.
        cut_size_voxels, cut_size_mm3, cut_mass, cut_ale, cut_tfce
            Smallest size, mass, ALE and TFCE that survive FWE in a main effect, with the 95 % interval of the cut,
            "…_low" and "…_high" (missing if open); missing if there are too few iterations for the level.
        cut_base_rate_size_voxels, cut_base_rate_size_mm3, cut_base_rate_mass, cut_base_rate_z, cut_base_rate_tfce
            The same of the base-rate null, without intervals; mass is the sum of z beyond the cluster-forming z.
        cluster, x, y, z
            Number in the cluster table; peak in mm MNI.
        peak_statistic, peak_z
            ALE, difference of ALE or minimum ALE at the peak, and z; of a contrast along its direction.
        size_voxels, size_mm3, mass
            Mass is the sum over voxels of -log(1 - ALE) above its threshold; in a contrast's clusters, of the first
            arm's above its largest value that is not yet below voxel_p, or below its smallest.
        center_x, center_y, center_z, cluster_experiments, cluster_foci
            Centre of mass in mm MNI; numbers of experiments and foci inside a main effect's cluster.
        p_peak
            p of a contrast's peak, uncorrected or at "voxel-fwe" family-wise; at "size-fwe" and "mass-fwe" p_size or
            p_mass of its cluster.
        p_size, p_mass
            Family-wise p of a cluster, with its 95 % interval "…_low" and "…_high", its upper bound at any number of
            iterations "…_bound", and decision_size, decision_mass (significant, not, undecided).
        p_size_base_rate, p_mass_base_rate, p_peak_base_rate, p_tfce_base_rate
            Family-wise p against the base rate: of a cluster of that null its own; of another cluster the smallest of
            the clusters of that null that it overlaps, 1 without any; by TFCE the smallest of its voxels.
        share_base_rate, survives_base_rate
            Share of the cluster's voxels that survive against the base rate; whether (yes, no) any does.
        survives
            Whether (yes, no) the cluster survives family-wise error by the correction of its main effect and the null
            that decides, or at a level "…-fwe"; missing at levels that control no such error.
        digest, digest_base_rate, ale_dask_version
            Hashes of the stored nulls; the version of ale_dask that read them.

    Examples
    --------
    >>> study = ale.load_study("study.toml")
    >>> results, record = ale.run(study, "out", quiet=True)
    >>> table = ale.long_table([("out", study, results, record)])
    >>> table["analysis"].unique().tolist()
    ['drug', 'therapy', 'drug-vs-therapy', 'drug-and-therapy', 'drug-vs-therapy_pooled']
    """
    return pd.DataFrame([row for run in runs for row in _rows(*run)], columns=list(_COLUMNS)).astype(_COLUMNS)


def long_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a long table as JSON has them, missing values as None."""
    rows = table.astype(object).to_dict("records")
    return [{str(k): None if pd.isna(v) else v for k, v in row.items()} for row in rows]


def long_tsv(table: pd.DataFrame) -> bytes:
    """Return a long table as tab-separated UTF-8 text: numbers to their last digit, missing values empty."""
    return str(escaped(table).to_csv(sep="\t", index=False, lineterminator="\n")).encode()


def _rows(
    out: str, study: Study, results: Mapping[str, xr.Dataset], record: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    run_columns = {
        "out": out,
        "title": study.title,
        "simulated": _yes(study.simulated),
        "ale_dask_version": record["program"]["version"],
    }
    for name, result in results.items():
        fixed = {
            **run_columns,
            "analysis": name,
            "kind": model_of(result).kind,
            "digest": record["analyses"][name]["digest"],
            "digest_base_rate": record["analyses"][name].get("digest_base_rate"),
            **_settings(result),
            **_numbers(result, results),
        }
        for level, source, directions, table in _tables(result):
            clusters = table[table["Cluster Size (mm3)"].notna()].to_dict("records")
            for direction in directions:
                null = _null(result, "uncorrected" if source == "uncorrected" else level)
                place = {**fixed, "level": level, "input": source, "direction": direction, "against": null}
                rows = [_cluster(row, result, level=level) for row in clusters if row.get("Direction") == direction]
                yield from ({**place, **row} for row in rows or [{}])


def _tables(result: xr.Dataset) -> Iterator[tuple[str, str | None, tuple[str | None, ...], pd.DataFrame]]:
    """Yield the level, input, directions and cluster table of every thresholded map of a result that has one."""
    if model_of(result).kind == "main-effect":
        inference = model_of(result).inference
        yield inference.correction, None, (None,), cluster_table(result)
        if nulls_of(result) == ("uniform", "base-rate"):
            yield f"{AGAINST}{inference.correction}", None, (None,), cluster_table(result, null="base-rate")
        yield "uncorrected", None, (None,), cluster_table(result, source="uncorrected")
    for level, source in levels_of(result):
        spec = find_map_spec(result, level=level, source=source)
        yield level, source, directions_of(result, spec), directed_table(result, spec)


def _null(result: xr.Dataset, level: str) -> str | None:
    """Return the null that clusters of a main effect or of subsamples are tested against; None for another kind."""
    if model_of(result).kind not in ("main-effect", "subsampled"):
        return None
    primary = level != "uncorrected" and model_of(result).inference.null == "base-rate"
    return "base-rate" if primary or level.startswith(AGAINST) else "uniform"


def _settings(result: xr.Dataset) -> dict[str, Any]:
    inference = model_of(result).inference.model_dump()
    # A conjunction has no iterations of its own but those of its main effects.
    used = result.attrs.get("iterations", inference["iterations"])
    return {name: inference[name] for name in _SETTINGS} | {
        "iterations": used,
        "mask": mask_name(result),
        "base_rate": image_name(inference["base_rate"]),
        "networks": result["network_of_voxel"].attrs["image"] if "network_of_voxel" in result else None,
        "mask_sha256": result.attrs["mask_sha256"],
        "search": result.attrs.get("search"),
    }


def _numbers(result: xr.Dataset, results: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """Return how many experiments and foci an analysis has, and the thresholds of a main effect."""
    attrs = result.attrs
    if model_of(result).kind == "contrast":
        foci = [foci_alone(results[arm]) for arm in attrs["arms"]]
        arms = disjoint_arms(*foci, shared=model_of(result).inference.shared, name=attrs["name"])
        numbers = {f"experiments_{side}": arm.sizes["experiment"] for side, arm in zip("ab", arms, strict=True)}
        return numbers | {f"foci_{side}": int(n_foci(arm).sum()) for side, arm in zip("ab", arms, strict=True)}
    if model_of(result).kind == "moderator":
        return {"experiments": attrs["n_experiments"], "foci": attrs["n_foci"]}
    if model_of(result).kind != "main-effect":
        return {}
    present = [n for c in CORRECTIONS for n in (c.uniform, c.base_rate) if n.cut in attrs]
    cuts = [_cut(result, statistic) for statistic in present]
    return {
        "experiments": attrs["n_experiments"],
        "foci": attrs["n_foci"],
        "threshold_ale": attrs["threshold_ale"],
        **{column: value for values in cuts for column, value in values.items()},
    }


def _cut(result: xr.Dataset, statistic: NullStatistic) -> dict[str, Any]:
    """Return the least value that survives, in its columns, with its interval where the null is the uniform one."""
    interval = f"{statistic.cut}_interval"
    ends = {"": setting(result, statistic.cut)}
    if ends[""] is None:
        return {}
    if interval in result.attrs:
        ends |= dict(zip(("_low", "_high"), setting(result, interval), strict=True))
    scales = MainEffectResult(result).scales
    # With few iterations the interval has no upper end.
    values = {end: (statistic.value(k, scales), k * scales.mm3) for end, k in ends.items() if k is not None}
    return {
        f"{column}{end}": value
        for end, both in values.items()
        for column, value in zip(statistic.columns, both, strict=False)
    }


_PEAK = ("Peak ALE", "Peak Difference", "Peak T", "Peak Share")
"""Columns of which the first that a cluster table has holds the statistic at the peak."""


def _cluster(row: Mapping[Any, Any], result: xr.Dataset, *, level: str) -> dict[str, Any]:
    z = row.get("Peak Stat", float("nan"))
    statistic = row[next(column for column in _PEAK if column in row)] * (-1 if z < 0 else 1)
    columns = {
        **{new: row[old] for new, old in LONG_NAMES.items() if old in row},
        "cluster": int(row["Cluster ID"]),
        "peak_statistic": statistic,
        "peak_z": abs(z),
    }
    if _null(result, level) == "base-rate":
        own = {new: row[old] for new, old in LONG_NAMES_BASE_RATE.items() if old in row}
        return {**columns, **own, "share_base_rate": 1.0, "survives_base_rate": "yes", "survives": "yes"}
    if "z_base_rate" in result:
        share = row["Share base rate (%)"] / 100
        columns |= {"share_base_rate": share, "survives_base_rate": _yes(share > 0)}
    if nulls_of(result) == ("base-rate",):
        return {**columns, "survives": columns["survives_base_rate"]}
    return {**columns, "survives": _survives(row, result, level=level)}


def _survives(row: Mapping[Any, Any], result: xr.Dataset, *, level: str) -> str | None:
    attrs = result.attrs
    if model_of(result).kind != "main-effect":
        return "yes" if level in ("voxel-fwe", "size-fwe", "mass-fwe") else None
    correction = model_of(result).correction
    if not correction.of_clusters:
        return _yes(row[correction.table_column] > 0)
    # Mass is a multiple of 2^-scale_bits, so that the product is exact.
    least = correction.uniform.value(attrs[correction.uniform.cut], MainEffectResult(result).scales)
    return _yes(row[correction.table_column] >= least)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
