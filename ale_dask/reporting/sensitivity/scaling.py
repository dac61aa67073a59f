"""Tabulate thresholds and cluster p by number of iterations, up to the number that a run has.

The first n iterations of a run are those of a run of n, so one run answers all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.base_rate_result import MEASURES, nulls_of
from ale_dask.analyses.corrections import CORRECTIONS, NullStatistic
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import MainEffectResult, model_of
from ale_dask.analyses.main_effect import eps_of
from ale_dask.config.inference import Inference
from ale_dask.errors import InputError
from ale_dask.numerics import correct
from ale_dask.numerics.correct import UNREACHABLE
from ale_dask.reporting.common.maps import main_clusters
from ale_dask.reporting.tables.clusters import base_rate_clusters

COLUMNS = ("Iterations", "What", "Value", "Low", "High", "Decision", "Decided After")
POINTS = 25
"""Numbers of iterations in the table."""


@dataclass(frozen=True, eq=False)
class _Null:
    """One null of a result, evaluated at each number of iterations.

    `thresholds` are (name, null (iteration), function from integer to unit), `clusters` (name, size or mass as an
    integer); `null` (iteration) is what clusters are tested against, and `eps` the error of each confidence sequence.
    """

    thresholds: list[tuple[str, npt.NDArray[np.int64], Callable[[float], float]]]
    clusters: list[tuple[str, int]]
    null: npt.NDArray[np.int64]
    eps: float


def scaling_table(result: xr.Dataset) -> pd.DataFrame:
    """Return the thresholds of a main effect and its clusters' p by number of iterations, with 95 % intervals.

    Parameters
    ----------
    result
        A main effect.

    Returns
    -------
    DataFrame
        Rows "size (mm3)", "mass", "ALE" and "TFCE" are the smallest values that survive family-wise error; "inf" is the
        high end of an interval that so few iterations leave open. Rows "cluster K, p" are of the clusters that survive
        the primary correction, by their size or else their mass, with the decision at that number of iterations and
        the number after which the confidence sequence first decided. With `until_decided` there is no p, and low and
        high are the ends of that sequence. Rows of the base-rate null end in "against the base rate": mass is there the
        sum of z beyond the cluster-forming z, and voxels have the largest z instead of ALE.

    Raises
    ------
    InputError
        For a result that is no main effect.

    Examples
    --------
    >>> result = ale.main_effect(ale.read_foci("drug.txt"), mask="ball.nii.gz", iterations=60, seed=1)
    >>> ale.scaling_table(result).columns[:5].tolist()
    ['Iterations', 'What', 'Value', 'Low', 'High']
    """
    if model_of(result).kind != "main-effect":
        raise InputError(f"'{result.attrs['name']}' is no main effect: only these have thresholds by iterations")
    inference = model_of(result).inference
    correction = model_of(result).correction
    word = correction.short if correction.of_clusters else "size"
    nulls = [_NULLS[null](result, word) for null in nulls_of(result)]
    n = result.sizes["iteration"]
    rows: list[dict[str, Any]] = []
    counts = np.unique(np.geomspace(min(20, n), n, POINTS).round().astype(int)).tolist()
    for null in nulls:
        observed = [size for _, size in null.clusters]
        after = correct.decided_at(null.null, observed, alpha=inference.cluster_p, eps=null.eps).tolist()
        for count in counts:
            rows += _thresholds(null, count, inference)
            for (name, size), decided in zip(null.clusters, after, strict=True):
                row = _tested(null, count, name=f"{name}, p by {word}", size=size, inference=inference)
                rows.append(row | {"Decided After": decided or None})
    rows.sort(key=lambda row: int(row["Iterations"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _thresholds(null: _Null, count: int, inference: Inference) -> Iterator[dict[str, Any]]:
    """Yield a row for each threshold that the first `count` iterations reach."""
    for name, values, to_unit in null.thresholds:
        part = values[:count]
        cut = correct.cut(part, alpha=inference.cluster_p, rule=inference.cluster_cut)
        if cut < UNREACHABLE:
            interval = correct.cut_interval(part, alpha=inference.cluster_p)
            yield _row(count, name, to_unit(cut), *(to_unit(k) if k < UNREACHABLE else np.inf for k in interval))


def _tested(null: _Null, count: int, *, name: str, size: int, inference: Inference) -> dict[str, Any]:
    """Return the row of a cluster after the first `count` iterations."""
    part = null.null[:count]
    r = correct.exceedances(part, [size])
    low, high = correct.clopper_pearson(r, count)
    p = correct.monte_carlo_p(part, [size], rule=inference.cluster_cut)[0]
    if inference.until_decided is not None:
        (low, high), p = correct.confidence_sequence(r, count, eps=null.eps), np.nan
    decision = correct.decisions(r, count, alpha=inference.cluster_p, eps=null.eps)[0]
    return _row(count, name, p, float(low[0]), float(high[0])) | {"Decision": decision}


def _units(result: xr.Dataset, statistics: Sequence[NullStatistic]) -> dict[str, tuple[str, Callable[[float], float]]]:
    """Return the row and the unit of each statistic of a null, by its column."""
    scales = MainEffectResult(result).scales

    def row(statistic: NullStatistic) -> tuple[str, Callable[[float], float]]:
        if statistic.unit == "voxels":
            return "size (mm3)", lambda k: k * scales.mm3
        label = "mass (summed z)" if statistic.unit == "summed z" else statistic.unit
        return label, partial(statistic.value, scales=scales)

    return {statistic.statistic: row(statistic) for statistic in statistics}


def _uniform(result: xr.Dataset, word: str) -> _Null:
    null = result["null"]
    units = _units(result, [c.uniform for c in CORRECTIONS])
    clusters = [
        (f"cluster {number}", size)
        for number, size in _measured(main_clusters(result, source="cluster-fwe"), result, "cluster", word)
    ]
    eps = eps_of(result.sizes["cluster"])
    columns = {str(name): null.sel(statistic=name).values for name in null["statistic"].values}
    thresholds = [(label, columns[name], to_unit) for name, (label, to_unit) in units.items() if name in columns]
    return _Null(thresholds, clusters, columns[f"max_{word}"], eps)


def _base_rate(result: xr.Dataset, word: str) -> _Null:
    null = result["null_base_rate"]
    units = _units(result, [c.base_rate for c in CORRECTIONS])
    clusters = [
        (f"cluster {number} {_AGAINST}", size)
        for number, size in _measured(base_rate_clusters(result), result, "base_rate_cluster", word)
    ]
    eps = eps_of(result.sizes["base_rate_cluster"], statistics=len(MEASURES))
    columns = {str(name): null.sel(base_rate_statistic=name).values for name in null["base_rate_statistic"].values}
    thresholds = [
        (f"{label} {_AGAINST}", columns[name], to_unit) for name, (label, to_unit) in units.items() if name in columns
    ]
    return _Null(thresholds, clusters, columns[f"max_{word}"], eps)


_AGAINST = "against the base rate"
_NULLS: dict[str, Callable[[xr.Dataset, str], _Null]] = {"uniform": _uniform, "base-rate": _base_rate}


def _row(count: int, name: str, value: float, low: float, high: float) -> dict[str, Any]:
    return dict(zip(COLUMNS, (count, name, value, low, high, "", None), strict=True))


def _measured(clusters: Iterable[Cluster], result: xr.Dataset, prefix: str, word: str) -> list[tuple[int, int]]:
    """Return the number of each of these clusters, and its size or mass as an integer in the units of the null."""
    labels: npt.NDArray[np.int64] = result[f"{prefix}_of_voxel"].values
    measure = result[f"{prefix}_{word}"].values
    measured = []
    for cluster in clusters:
        label = int(labels[cluster.peak])
        if label > 0:
            measured.append((cluster.number, int(measure[label - 1])))
    return measured
