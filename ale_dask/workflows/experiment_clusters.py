"""Group the experiments of the main effects of a finished run, and make a study of the groups."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.prevalence import experiments_alone
from ale_dask.analyses.sensitivity.experiment_clusters import MOST, SHARE, SUBSAMPLES, clustering, labels_of
from ale_dask.config.study import Study, study_from, to_toml
from ale_dask.coordinates.readers.writers import write_table
from ale_dask.errors import InputError
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.experiment_clusters import CIRCULAR, METHOD_WORDS, write_criteria, write_groups
from ale_dask.reporting.text.follow_up_files import origin_of
from ale_dask.storage.location import Place, fill_folder, place
from ale_dask.workflows.main_effects import collect_main_effects

log = logging.getLogger(__name__)
COLUMN = "experiment_cluster"


def clustering_of_run(
    out: str | Place,
    *,
    analysis: str | None = None,
    k: int | None = None,
    method: str = "medoids",
    k_max: int | None = None,
    subsamples: int = SUBSAMPLES,
    share: float = SHARE,
) -> Iterator[tuple[Study, xr.Dataset, xr.Dataset]]:
    """Yield the study, a main effect of a finished run, and what `clustering` returns of it, for one or all of them.

    The criteria are written to OUT/NAME/NAME_experiment-clusters-criteria, with a `k` the groups beside them.

    Raises
    ------
    StoreError
        when OUT holds no finished run.
    InputError
        when OUT has no main effect of that name, or as `clustering`.
    """
    study, mains, record = collect_main_effects(out, analysis=analysis)
    for name, result in mains.items():
        solutions = clustering(
            result, k_max=max(k_max or MOST, k) if k and k > MOST else k_max, subsamples=subsamples, share=share
        )
        if k is not None:
            labels_of(solutions, method=method, k=k)
        origin = origin_of(result, record)
        with writing_results(place(out)) as folder:
            write_criteria(solutions, folder / stem(name), origin=origin)
            if k is not None:
                write_groups(result, solutions, folder / stem(name), method=method, k=k, origin=origin)
        yield study, result, solutions


def write_study_of_groups(
    study: Study, result: xr.Dataset, solutions: xr.Dataset, *, method: str, k: int, folder: str | Path
) -> None:
    """Write a folder with study.toml and the foci of a main effect: a sample and a main effect per experiment cluster.

    Experiments are written as the main effect used them, after selection and pooling, with their columns and their
    experiment cluster. There are no contrasts: the groups differ by construction.

    Raises
    ------
    InputError
        when the folder holds other files of these names, or a group has fewer than two experiments.
    """
    labels = labels_of(solutions, method=method, k=k)
    sizes = pd.Series(labels).value_counts()
    names = {number: f"experiment-cluster-{number}" for number in range(1, k + 1) if sizes[number] > 1}
    if alone := k - len(names):
        log.info(f"{alone} experiment cluster(s) of a single experiment: no analysis")
    if not names:
        raise InputError(f"{result.attrs['name']}: no experiment cluster has two experiments")
    foci = experiments_alone(result).assign({f"moderator_{COLUMN}": ("experiment", labels.astype(float))})
    made = study_from(
        {
            "title": f"{study.title}: {k} experiment clusters of {result.attrs['name']} (descriptive)",
            "simulated": study.simulated,
            "foci": {
                name: {
                    "files": ["experiments.csv"],
                    "select": [{"where": f"`{COLUMN}` == {number}", "why": f"experiment cluster {number}"}],
                }
                for number, name in names.items()
            },
            "analysis": {name: {"kind": "main-effect", "foci": name} for name in names.values()},
            "inference": study.inference.model_dump(),
            "backend": study.backend.model_dump(),
        },
        source="experiment clusters",
    )
    note = f"# {k} experiment clusters of '{result.attrs['name']}' by {METHOD_WORDS[method]}.\n# {CIRCULAR}\n"
    content = {"study.toml": (note + to_toml(made)).encode(), "experiments.csv": write_table(foci).encode()}
    fill_folder(Path(folder), content, what="the study")
