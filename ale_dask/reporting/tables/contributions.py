"""Which experiments a cluster comes from, as a table; of a contrast and a conjunction, arm by arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.contrast import compared
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.contributions import contributions
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import thresholded
from ale_dask.coordinates.foci import foci_alone
from ale_dask.errors import InputError
from ale_dask.reporting.common.maps import find_map_spec, main_clusters

CONTRIBUTING = ("Cluster ID", "Arm", "Experiment", "Subjects", "Share (%)", "Largest Share (%)", "Foci", "Note")
DOMINANT = 50.0
"""Percent: a cluster in which one experiment holds more is marked."""


def contribution_table(
    result: xr.Dataset, results: Mapping[str, xr.Dataset] | None = None, *, source: str = "cluster-fwe"
) -> pd.DataFrame:
    """Return the experiments that a result's clusters come from (row: cluster, arm, experiment), largest share first.

    Share is the mean over a cluster's voxels of 1 - ALE_-i / ALE, rescaled to 100 % of the arm's experiments; largest
    share that of its voxel with the most; foci those inside, as GingerALE counts. An experiment without any part in a
    cluster is left out, and so is one that a contrast excludes, since subjects of it may be in both arms. `results`
    holds the main effects that a contrast or conjunction is made of, by name.

    Raises
    ------
    InputError
        when one of these is not among the results.
    """
    found, arms = surviving_clusters(result, source), model_of(result).parts
    rows: list[dict[str, object]] = []
    if not found:
        return pd.DataFrame(rows, columns=list(CONTRIBUTING))
    labels = np.zeros(result.sizes["voxel"], dtype=np.int64)
    for number, cluster in enumerate(found, 1):
        labels[cluster.voxels] = number
    mains = {name: r for name, r in {**(results or {}), str(result.attrs["name"]): result}.items() if name in arms}
    for arm in arms:
        if arm not in mains:
            raise InputError(f"contributions to '{result.attrs['name']}' need the main effect '{arm}'; it is not there")
    used = foci_used(result, mains)
    for arm in arms:
        parts = contributions(mains[arm], labels, foci=used[arm])
        names, sizes = parts["experiment_id"].values, parts["experiment_n_subjects"].values
        for cluster, share, most, foci in zip(
            found,
            parts["contribution"].values,
            parts["contribution_largest"].values,
            parts["contribution_foci"].values,
            strict=True,
        ):
            for i in np.lexsort((names.astype(str), -share)):
                if share[i] > 0 or foci[i]:
                    note = "more than half" if share[i] > DOMINANT else ""
                    values = (str(cluster.number), arm, names[i], sizes[i], share[i], 100 * most[i], foci[i], note)
                    rows.append(dict(zip(CONTRIBUTING, values, strict=True)))
    table = pd.DataFrame(rows, columns=list(CONTRIBUTING))
    order = table["Cluster ID"].astype(int) if len(rows) else table.index
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def foci_used(result: xr.Dataset, results: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return the foci of each main effect that a result is made of, by name, without those a contrast excludes."""
    mains = [results[name] for name in model_of(result).parts]
    used = compared(*mains) if model_of(result).kind == "contrast" else [foci_alone(main) for main in mains]
    return dict(zip(model_of(result).parts, used, strict=True))


def surviving_clusters(result: xr.Dataset, source: str) -> list[Cluster]:
    """Return the clusters of an analysis at an input: of a contrast inside the gate, both directions."""
    if model_of(result).kind == "main-effect":
        return main_clusters(result, source=source)
    return model_of(result).clusters(surviving_map(result, source))


def surviving_map(result: xr.Dataset, source: str) -> npt.NDArray[Any]:
    """Return the thresholded map (voxel) of an analysis at an input: of a contrast inside the gate, signed."""
    if model_of(result).kind == "main-effect":
        return thresholded(result, source).astype(np.int8)
    level = {"contrast": "uncorrected", "conjunction": "thresholded"}[model_of(result).kind]
    return find_map_spec(result, level=level, source=source).read(result)
