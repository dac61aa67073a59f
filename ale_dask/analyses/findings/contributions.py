"""How much each experiment contributes to clusters of the brain, from its own fixed-point values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.sample import sample
from ale_dask.coordinates.foci import foci_alone
from ale_dask.numerics.ale import add_row
from ale_dask.schema import FOCI, check, describe


def contributions(result: xr.Dataset, labels: npt.NDArray[np.integer], *, foci: xr.Dataset | None = None) -> xr.Dataset:
    """Return what the experiments of a main effect contribute to clusters (cluster, experiment), three ways.

    With r_i(v) = 1 - ALE_{-i}(v) / ALE(v), the part of a voxel's ALE that is gone without experiment i:
    `contribution`, percent, is the mean of r_i over a cluster's voxels, rescaled to 100 % over the experiments;
    `contribution_largest` is the largest r_i of its voxels; `contribution_foci` counts the experiment's foci in it, as
    GingerALE does. `labels` (voxel) number the clusters from 1, of this result or another on the same mask; 0 is in
    none. `foci` are those of the experiments that count, where a contrast leaves out some of a main effect; ALE is
    that of these experiments then. The kernels are those of the result's null.
    """
    check(result, *FOCI, "s")
    mask, unit = model_of(result).mask, 2.0 ** -int(result.attrs["scale_bits"])
    used = foci_alone(result) if foci is None else foci
    chosen = sample(used, mask=mask, inference=model_of(result).inference, name=str(result.attrs["name"]))
    n = int(labels.max(initial=0))
    shape = (n, len(chosen.key))
    mean, largest = np.zeros(shape), np.zeros(shape)
    bits = int(result.attrs["scale_bits"])
    sums = result["s"].values
    if used.sizes["experiment"] < result.sizes["experiment"]:
        sums = np.zeros(len(labels), dtype=np.int64)
        for voxel, value in chosen.rows(bits):
            add_row(voxel, value, sums)
    s = sums * unit
    ale = -np.expm1(-s)
    size = np.bincount(labels, minlength=n + 1)[1:]
    for i, (at, value) in chosen.rows_at(labels > 0, bits=bits) if n else ():
        x = value * unit
        cluster = labels[at] - 1
        # ALE - ALE_{-i} = exp(-S) (exp(x) - 1): without the difference of two numbers that are nearly the same.
        part = np.exp(-s[at]) * np.expm1(x) / ale[at]
        mean[:, i] = np.bincount(cluster, weights=part, minlength=n) / size
        np.maximum.at(largest[:, i], cluster, part)
    total = mean.sum(axis=1, keepdims=True)
    share = np.divide(100 * mean, total, out=np.zeros(shape), where=total > 0)
    at_focus = mask.voxel_at(chosen.foci["focus_xyz"].values)
    in_cluster = np.where(at_focus >= 0, labels[at_focus], 0)
    counts = np.zeros((n + 1, len(chosen.key)), dtype=np.int64)
    np.add.at(counts, (in_cluster, chosen.foci["focus_experiment"].values), 1)
    dims = ("cluster", "experiment")
    return describe(
        xr.Dataset(
            {
                "contribution": (dims, share),
                "contribution_largest": (dims, largest),
                "contribution_foci": (dims, counts[1:]),
                **{v: ("experiment", chosen.foci[v].values) for v in ("experiment_id", "experiment_n_subjects")},
            }
        )
    )
