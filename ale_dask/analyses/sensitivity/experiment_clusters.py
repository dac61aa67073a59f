"""Group the experiments of a main effect by how alike their MA maps are, and say what goes with the groups."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.execute import sample_of
from ale_dask.analyses.findings.model import SIMULATED, kind_of, model_of
from ale_dask.analyses.findings.prevalence import experiments_alone
from ale_dask.coordinates.describe import fisher, is_identifier, mann_whitney
from ale_dask.coordinates.foci import table, word_of
from ale_dask.errors import InputError
from ale_dask.numerics import experiment_clusters as groups
from ale_dask.numerics.ale import ale_from_s
from ale_dask.schema import FOCI, Variable, check, describe

KIND = "experiment-clusters"
MOST, SUBSAMPLES, SHARE = 10, 100, 0.8
"""Largest number of groups, number of subsamples, and the share of the experiments that each holds."""
METHODS = tuple(groups.METHODS)
CRITERIA = {"silhouette": True, "variation": False, "stability": True}
"""The three criteria, and whether more of each is better."""
_OWN = (
    Variable("distance", ("experiment", "other"), "f", "", "1 - Spearman's rho of the MA maps of two experiments"),
    Variable(
        "experiment_cluster", ("grouping", "k", "experiment"), "i", "", "number of the experiment cluster, from 1"
    ),
    Variable("silhouette", ("grouping", "k"), "f", "", "mean over experiments; more is better"),
    Variable(
        "variation", ("grouping", "k"), "f", "bits", "variation of information between k and k + 1; less is better"
    ),
    Variable("stability", ("grouping", "k"), "f", "", "mean adjusted Rand index over subsamples; more is better"),
    Variable("stability_low", ("grouping", "k"), "f", "", "its 2.5 % quantile over subsamples"),
    Variable("stability_high", ("grouping", "k"), "f", "", "its 97.5 % quantile over subsamples"),
    Variable("smallest", ("grouping", "k"), "i", "experiments", "size of the smallest experiment cluster"),
    Variable("best_k", ("grouping", "criterion"), "i", "", "number of experiment clusters that a criterion speaks for"),
    Variable("leaf", ("experiment",), "i", "", "number of the experiment that stands there in the dendrogram"),
    Variable("join", ("step", "column"), "f", "", "average linkage, as scipy.cluster.hierarchy.linkage gives it"),
)
_NO_CATEGORY = ("id", "study", "name", "source", "pooled_from")


def clustering(
    result: xr.Dataset, *, k_max: int | None = None, subsamples: int = SUBSAMPLES, share: float = SHARE
) -> xr.Dataset:
    """Return groups of the experiments of a main effect with alike MA maps, for 2, 3 … k_max groups, and their merit.

    A group of experiments is called an experiment cluster; "cluster" alone is always one of the brain. Nothing chooses
    the number of groups: three criteria are given for each, and they need not agree.

    Parameters
    ----------
    result
        Main effect, from `main_effect`.
    k_max
        Largest number of experiment clusters, by default 10, or as many as the experiments allow.
    subsamples
        Number of subsamples in which the grouping is repeated.
    share
        Share of the experiments in each subsample.

    Returns
    -------
    xr.Dataset
        Groups: experiment_cluster (grouping, k, experiment), from 1 by size, by "average" (average linkage) and
        "medoids" (k-medoids); silhouette, variation (of information between k and k + 1, in bits), stability (mean
        adjusted Rand index of subsamples with the whole), each (grouping, k); best_k (grouping, criterion), what each
        criterion speaks for; distance (experiment, other).

    Raises
    ------
    InputError
        For a result that is no main effect, too few experiments, or an impossible number.

    Notes
    -----
    The distance of two experiments is 1 - Spearman's rho of their MA maps over the voxels that any experiment reaches,
    with average ranks for ties. Kernels are those of the null, cut off at `support` standard deviations. Distances are
    computed in integers, so that they are the same on any machine. The draws of a subsample depend on the seed and the
    keys of the experiments alone. The ALE of an experiment cluster converges by construction, since its experiments
    were chosen by their foci: its p do not hold.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=100, seed=1)
    >>> solutions = ale.clustering(result, k_max=4, subsamples=10)
    >>> solutions["experiment_cluster"].sel(grouping="medoids", k=2).values.max()
    np.int32(2)
    """
    k_max = _most(result, k_max=k_max, subsamples=subsamples, share=share)
    chosen = sample_of(result, inference=model_of(result).inference, mask=model_of(result).mask)
    distance = groups.spearman_distance(list(chosen.rows(int(result.attrs["scale_bits"]))))
    inside = groups.subsamples(chosen.key, seed=chosen.inference.seed, number=subsamples, share=share)
    parts = [_method(distance, method, most=k_max, inside=inside) for method in METHODS]
    found = xr.concat(parts, dim=pd.Index(METHODS, name="grouping"))
    joined = groups.tree(distance)
    found = found.assign(experiments_alone(result).data_vars).assign(
        distance=(("experiment", "other"), distance / 2.0**groups.UNIT_BITS),
        leaf=("experiment", groups.leaves(joined)),
        join=(("step", "column"), joined),
    )
    attrs = {
        **{key: result.attrs[key] for key in ("name", "identity", SIMULATED) if key in result.attrs},
        "kind": KIND,
        "subsamples": subsamples,
        "share": float(share),
        "seed": chosen.inference.seed,
    }
    return describe(found.assign_attrs(attrs), *_OWN)


def _most(result: xr.Dataset, *, k_max: int | None, subsamples: int, share: float) -> int:
    """Return the largest number of groups, after a check of what is asked for."""
    name = result.attrs.get("name")
    if kind_of(result) != "main-effect":
        raise InputError(f"'{name}' is no main effect: experiments are grouped within one sample")
    if subsamples < 1 or not 0 < share < 1:
        raise InputError(f"{subsamples} subsamples of a share of {share:g}; give one or more, and a share below 1")
    n = check(result, *FOCI).sizes["experiment"]
    # A subsample has to hold as many groups, and k groups are compared with k + 1.
    largest = min(n - 2, round(share * n) - 1)
    if largest < 2:
        raise InputError(f"{name}: {n} experiments are too few to be grouped")
    if k_max is None:
        return min(MOST, largest)
    if not 2 <= k_max <= largest:
        raise InputError(f"{name}: k_max = {k_max} for {n} experiments; give 2 to {largest}")
    return k_max


def _method(distance: groups.I64, method: str, *, most: int, inside: npt.NDArray[np.bool_]) -> xr.Dataset:
    """Return the groups of one method and the three criteria for each number of them, (k)."""
    solutions = groups.METHODS[method](distance, most + 1)
    kept = solutions[:-1]
    agreement = groups.agreement(kept, distance, method=method, chosen=inside)
    low, high = np.quantile(agreement, [0.025, 0.975], axis=0)
    criteria = {
        "silhouette": [float(groups.silhouette(labels, distance).mean()) for labels in kept],
        "variation": [groups.variation_of_information(a, b) for a, b in pairwise(solutions)],
        "stability": agreement.mean(axis=0).tolist(),
    }
    k = np.arange(2, most + 1)
    best = [k[int(np.argmax(v) if CRITERIA[c] else np.argmin(v))] for c, v in criteria.items()]
    return xr.Dataset(
        {
            "experiment_cluster": (("k", "experiment"), np.stack(kept).astype(np.int32)),
            **{name: ("k", np.asarray(values)) for name, values in criteria.items()},
            "stability_low": ("k", low),
            "stability_high": ("k", high),
            "smallest": ("k", np.array([np.bincount(labels)[1:].min() for labels in kept], dtype=np.int32)),
            "best_k": ("criterion", np.array(best, dtype=np.int32)),
        },
        coords={"k": k, "criterion": list(CRITERIA)},
    )


def labels_of(solutions: xr.Dataset, *, method: str, k: int) -> groups.I64:
    """Return the number of the experiment cluster of each experiment (experiment) in one solution.

    Raises
    ------
    InputError
        for a method or a number of groups that was not computed.
    """
    if method not in METHODS:
        raise InputError(f"method '{method}': give {' or '.join(METHODS)}")
    computed = solutions["k"].values
    if k not in computed:
        raise InputError(f"k = {k}: give {computed.min()} to {computed.max()}, or a larger k_max")
    return solutions["experiment_cluster"].sel(grouping=method, k=k).values.astype(np.int64)


def members(solutions: xr.Dataset, *, method: str, k: int) -> pd.DataFrame:
    """Return a row per experiment: its experiment cluster, its silhouette, and what the files say of it."""
    labels = labels_of(solutions, method=method, k=k)
    distance = np.rint(solutions["distance"].values * 2**groups.UNIT_BITS).astype(np.int64)
    columns = table(solutions)
    own = pd.DataFrame({"experiment_cluster": labels, "silhouette": groups.silhouette(labels, distance)})
    shown = columns.drop(columns=["name", "source"])
    return pd.concat([own, shown], axis=1).sort_values(["experiment_cluster", "silhouette"], ascending=[True, False])


def summary(result: xr.Dataset, solutions: xr.Dataset, *, method: str, k: int) -> pd.DataFrame:
    """Return a row per experiment cluster: its size, its medoid, and the largest ALE of its experiments alone."""
    labels = labels_of(solutions, method=method, k=k)
    distance = np.rint(solutions["distance"].values * 2**groups.UNIT_BITS).astype(np.int64)
    mask, bits = model_of(result).mask, int(result.attrs["scale_bits"])
    chosen = sample_of(result, inference=model_of(result).inference, mask=mask)
    sums = np.zeros((k, mask.n_voxels), dtype=np.int64)
    for label, (voxel, value) in zip(labels, chosen.rows(bits), strict=True):
        sums[label - 1, voxel] += value
    names = result["experiment_id"].values.astype(str)
    silhouette = groups.silhouette(labels, distance)
    rows = []
    for number, (medoid, s) in enumerate(zip(groups.medoids_of(labels, distance), sums, strict=True), 1):
        inside = labels == number
        peak = int(s.argmax())
        x, y, z = mask.to_mm(mask.voxel_ijk[peak].astype(np.float64)[None])[0]
        rows.append(
            {
                "experiment_cluster": number,
                "experiments": int(inside.sum()),
                "foci": int(chosen.n_foci[inside].sum()),
                "silhouette": float(silhouette[inside].mean()),
                "medoid": names[medoid],
                "x": x,
                "y": y,
                "z": z,
                "largest_ale": float(ale_from_s(s[peak : peak + 1], bits=bits)[0]),
            }
        )
    return pd.DataFrame(rows)


def associations(solutions: xr.Dataset, *, method: str, k: int) -> pd.DataFrame:
    """Return whether the columns of the files go with membership: a row per experiment cluster, column and value.

    A value of a column of words is tested by Fisher's exact test, inside the group against elsewhere, a column of
    numbers by the Mann-Whitney test; q is the Benjamini-Hochberg p over all rows. Experiments without a value are left
    out of its tests. The smallest p come first.
    """
    from scipy.stats import false_discovery_control

    labels = labels_of(solutions, method=method, k=k)
    columns = table(solutions)
    rows = [
        {"experiment_cluster": number, **row}
        for number in range(1, k + 1)
        for name in columns.columns
        if name not in _NO_CATEGORY
        for row in _association(columns[name], labels == number)
    ]
    found = pd.DataFrame(rows, columns=["experiment_cluster", "column", "value", "inside", "elsewhere", "p"])
    return found.assign(
        q=false_discovery_control(found["p"].to_numpy(np.float64)) if len(found) else found["p"]
    ).sort_values("p", kind="stable")


def _association(column: pd.Series[Any], inside: npt.NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    if column.dtype.kind in "iuf":
        # An n of 0 is one that the file does not state.
        known = column.notna().to_numpy() & ((column != 0).to_numpy() | (column.name != "n"))
        a, b = (column[known & side].to_numpy(np.float64) for side in (inside, ~inside))
        if len(a) and len(b) and len(np.unique(np.r_[a, b])) > 1:
            medians = [f"median {np.median(side):g} of {len(side)}" for side in (a, b)]
            row = {"column": column.name, "value": "", "inside": medians[0], "elsewhere": medians[1]}
            yield {**row, "p": mann_whitney(a, b)[1]}
        return
    words = pd.Series([word_of(value) for value in column])
    known = (words != "").to_numpy()
    values = sorted(set(words[known]))
    if is_identifier(words) or len(values) < 2:
        return
    sizes = [int((known & side).sum()) for side in (inside, ~inside)]
    # The second of two values says the same as the first.
    for value in values if len(values) > 2 else values[-1:]:
        counts = [int(((words == value).to_numpy() & side).sum()) for side in (inside, ~inside)]
        p = fisher(np.array([counts, [n - c for n, c in zip(sizes, counts, strict=True)]], dtype=np.int64))
        shares = [f"{c} of {n}" for c, n in zip(counts, sizes, strict=True)]
        yield {"column": column.name, "value": value, "inside": shares[0], "elsewhere": shares[1], "p": p}
