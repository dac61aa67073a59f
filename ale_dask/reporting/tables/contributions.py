"""Tabulate the experiments that a cluster comes from; of a contrast and a conjunction, arm by arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.contrast import compared
from ale_dask.analyses.findings.certainty import LARGEST_SHARE
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.contributions import contributions
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.coordinates.foci import foci_alone
from ale_dask.errors import InputError
from ale_dask.reporting.common.maps import find_map_spec, main_clusters
from ale_dask.reporting.common.once import made_once

CONTRIBUTING = ("Cluster ID", "Arm", "Experiment", "Subjects", "Share (%)", "Largest Share (%)", "Foci", "Note")


@made_once
def contribution_table(
    result: xr.Dataset, results: Mapping[str, xr.Dataset] | None = None, *, source: str = "cluster-fwe"
) -> pd.DataFrame:
    """Return the share of each experiment in the clusters of a result.

    Parameters
    ----------
    result
        A main effect, contrast or conjunction.
    results
        The main effects that a contrast or conjunction is made of, by name.
    source
        "cluster-fwe", the primary correction whichever it is, or "uncorrected".

    Returns
    -------
    DataFrame
        One row per cluster, arm and experiment, largest share first: the share (%), the largest share in one voxel, and
        the foci inside the cluster, as GingerALE counts. An experiment without a part in a cluster has no row, nor has
        an experiment that a contrast excludes because both arms may share its subjects.

    Raises
    ------
    InputError
        When a main effect of a contrast or conjunction is missing.

    Notes
    -----
    The share of experiment i is the mean over a cluster's voxels of `1 - ALE(-i) / ALE`, where `ALE(-i)` leaves i out,
    rescaled so that all experiments of the arm have 100 %.

    Examples
    --------
    >>> result = ale.main_effect(ale.read_foci("drug.txt"), mask="ball.nii.gz", iterations=60, seed=1)
    >>> ale.contribution_table(result, source="uncorrected").columns[:5].tolist()
    ['Cluster ID', 'Arm', 'Experiment', 'Subjects', 'Share (%)']
    """
    clusters, arms = surviving_clusters(result, source), model_of(result).parts
    rows: list[dict[str, object]] = []
    if not clusters:
        return pd.DataFrame(rows, columns=list(CONTRIBUTING))
    labels = np.zeros(result.sizes["voxel"], dtype=np.int64)
    for number, cluster in enumerate(clusters, 1):
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
            clusters,
            parts["contribution"].values,
            parts["contribution_largest"].values,
            parts["contribution_foci"].values,
            strict=True,
        ):
            for i in np.lexsort((names.astype(str), -share)):
                if share[i] > 0 or foci[i]:
                    note = "more than half" if share[i] > LARGEST_SHARE else ""
                    values = (str(cluster.number), arm, names[i], sizes[i], share[i], 100 * most[i], foci[i], note)
                    rows.append(dict(zip(CONTRIBUTING, values, strict=True)))
    table = pd.DataFrame(rows, columns=list(CONTRIBUTING))
    order = table["Cluster ID"].astype(int) if len(rows) else table.index
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def foci_used(result: xr.Dataset, results: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return the foci of each main effect that a result is made of, by name, without those a contrast excludes."""
    mains = [results[name] for name in model_of(result).parts]
    # Both directions of a moderator are of one main effect, and several contrasts exclude different experiments.
    arms = model_of(result).two_sided and len(mains) == 2
    used = compared(*mains) if arms else [foci_alone(main) for main in mains]
    return dict(zip(model_of(result).parts, used, strict=True))


def surviving_clusters(result: xr.Dataset, source: str) -> list[Cluster]:
    """Return the clusters of an analysis at an input; of a contrast inside the gate, in both directions."""
    if model_of(result).kind == "main-effect":
        return main_clusters(result, source=source)
    return model_of(result).clusters(surviving_map(result, source))


def surviving_map(result: xr.Dataset, source: str) -> npt.NDArray[Any]:
    """Return the thresholded map (voxel) of an analysis at an input; of a contrast inside the gate, with signs."""
    if model_of(result).kind == "main-effect":
        return thresholded(result, source).astype(np.int8)
    return find_map_spec(result, level=model_of(result).shown_level(source), source=source).read(result)
