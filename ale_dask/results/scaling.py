"""What a longer run would have said at every shorter one: thresholds and cluster p by number of iterations.

The first n iterations of a run are those of a run of n, so one run answers all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.main_effect import EPS, inference_of
from ale_dask.numerics import correct
from ale_dask.numerics.correct import UNREACHABLE
from ale_dask.results.clusters import grid_of
from ale_dask.results.views import main_clusters
from ale_dask.results.wording import ale_of
from ale_dask.words.errors import InputError

SCALING = ("Iterations", "What", "Value", "Low", "High", "Decision", "Decided After")
POINTS = 25


def scaling_table(result: xr.Dataset) -> pd.DataFrame:
    """Return the thresholds of a main effect and its clusters' p by number of iterations, with 95 % intervals.

    Rows of "size (mm3)", "mass" and "ALE" are the smallest that survive family-wise error, "inf" the high end of an
    interval that so few iterations leave open; those of "cluster K, p"
    belong to the clusters that survive the primary correction, by their size or else their mass, with the decision at
    that count and the count after which the confidence sequence first decided it. With `until_decided` a p is left
    out, and low and high are the ends of that sequence.

    Raises
    ------
    InputError
        for a result that is no main effect.
    """
    if result.attrs["kind"] != "main-effect":
        raise InputError(f"'{result.attrs['name']}' is no main effect: only these have thresholds by iterations")
    inference, volume = inference_of(result), grid_of(result).voxel_volume
    mass_unit = 2.0 ** -int(result.attrs["scale_bits"])
    null = {str(name): result["null"].sel(statistic=name).values for name in ("max_size", "max_mass", "max_s")}
    n = len(null["max_size"])
    units: dict[str, tuple[str, Any]] = {
        "max_size": ("size (mm3)", lambda k: k * volume),
        "max_mass": ("mass", lambda k: k * mass_unit),
        "max_s": ("ALE", lambda k: ale_of(result, k)),
    }
    word = "mass" if inference.correction == "cluster-mass" else "size"
    clusters = _clusters(result, word)
    eps = EPS / max(1, 2 * result.sizes["cluster"])
    after = correct.decided_at(null[f"max_{word}"], [o for _, o in clusters], alpha=inference.cluster_p, eps=eps)
    rows: list[dict[str, Any]] = []
    for count in np.unique(np.geomspace(min(20, n), n, POINTS).round().astype(int)).tolist():
        for name, (what, of) in units.items():
            part = null[name][:count]
            at = correct.cut(part, alpha=inference.cluster_p, rule=inference.cluster_cut)
            if at < UNREACHABLE:
                between = correct.cut_interval(part, alpha=inference.cluster_p)
                ends = (of(k) if k < UNREACHABLE else np.inf for k in between)
                rows.append(_row(count, what, of(at), *ends))
        for (number, observed), decided in zip(clusters, after.tolist(), strict=True):
            part = null[f"max_{word}"][:count]
            r = correct.exceedances(part, [observed])
            low, high = correct.clopper_pearson(r, count)
            p = correct.monte_carlo_p(part, [observed], rule=inference.cluster_cut)[0]
            if inference.until_decided is not None:
                (low, high), p = correct.confidence_sequence(r, count, eps=eps), np.nan
            said = correct.decisions(r, count, alpha=inference.cluster_p, eps=eps)[0]
            row = _row(count, f"cluster {number}, p by {word}", p, float(low[0]), float(high[0]))
            rows.append(row | {"Decision": said, "Decided After": decided or None})
    return pd.DataFrame(rows, columns=list(SCALING))


def _row(count: int, what: str, value: float, low: float, high: float) -> dict[str, Any]:
    return dict(zip(SCALING, (count, what, value, low, high, "", None), strict=True))


def _clusters(result: xr.Dataset, word: str) -> list[tuple[int, int]]:
    """Return the number of each surviving cluster, and its size in voxels or its mass, as the null has them."""
    labels: npt.NDArray[np.int64] = result["cluster_of_voxel"].values
    measure = result[f"cluster_{word}"].values
    found = []
    for cluster in main_clusters(result, source="cluster-fwe"):
        label = int(labels[cluster.peak])
        if label > 0:
            found.append((cluster.number, int(measure[label - 1])))
    return found
