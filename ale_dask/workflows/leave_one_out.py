"""Leaving experiments out of a finished run: the passes kept in its OUT, resumed there, on any backend."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.sensitivity import contrast_jackknife
from ale_dask.config.study import Backend, main_effects_of
from ale_dask.execution.backends.connect import threads_of
from ale_dask.execution.block_store import store_plan
from ale_dask.execution.plan import Plan
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.leave_one_out import write_survival
from ale_dask.reporting.text.follow_up_files import origin_of
from ale_dask.storage.location import Place, place
from ale_dask.workflows.jackknife import Arms, surviving, work
from ale_dask.workflows.run import carry_out, collect, workers_of
from ale_dask.workflows.run_directory import Run, Sizes, stored

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


def survival_of_run(
    out: str | Place,
    *,
    by: str = "group",
    k: int = 1,
    backend: Backend | None = None,
    client: Client | None = None,
    quiet: bool = False,
) -> dict[str, xr.Dataset]:
    """Compute `survival` for every analysis of a finished run, and write tables and figures.

    What the folder already holds is not repeated, so that the same call resumes.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    by
        Sets of experiments, as for `survival`.
    k
        Number of sets left out together.
    backend
        Backend to compute on; by default that of the run.
    client
        Dask client to compute on, instead of a backend.
    quiet
        Show no progress.

    Returns
    -------
    dict
        For each analysis by its name the Dataset of `survival`.

    Raises
    ------
    StoreError
        When the folder holds no finished run.
    InputError, BackendError, UnfinishedError
        As `run` and `survival`.

    Examples
    --------
    >>> sorted(ale.survival_of_run("out", by="experiment", quiet=True))
    ['drug', 'drug-and-therapy', 'drug-vs-therapy', 'therapy']
    """
    out = place(out)
    prepared, whole = stored(out)
    study, results, record = collect(out)
    made = work(
        results,
        samples={name: (prepared.samples[name], whole[name]) for name in main_effects_of(study)},
        arms={
            name: Arms(arms, (prepared.samples[pooled_name(name)], whole[pooled_name(name)]))
            for name, arms in prepared.arms.items()
        },
        by=by,
        k=k,
    )
    plans = {name: _kept(out, plan, f"{name}_{_way(by, k)}") for name, (plan, _, _) in made.plans.items()}
    backend = backend or study.backend
    with workers_of(backend, client=client) as connected:
        sizes, run = Sizes(backend, threads_of(connected, backend)), Run.at(out)
        jobs = [
            job
            for name, (_, iterations, size) in made.plans.items()
            for job in run.jobs(
                plans[name], iterations=iterations, size=partial(sizes.of, plans[name], iterations, size=size)
            )
        ]
        sets = f"{sum(map(len, made.sets.values()))} sets over {len(made.sets)} analyses"
        log.info(", ".join(filter(None, (f"leaving out: {sets}", sizes.takes))))
        carry_out(jobs, out, study=study, client=connected, quiet=quiet)

    def read(name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
        parts = [job.sink.arrays() for job in jobs if job.plan is plans[name]]
        null = np.concatenate([part["null"][:, 1:] for part in parts])[: made.plans[name][1]]
        counts = [part[contrast_jackknife.EXCEED][:, 1:] for part in parts if contrast_jackknife.EXCEED in part]
        return null, np.concatenate(counts) if counts else None

    found = dict(surviving(made, read))
    with writing_results(out) as folder:
        for name, one in found.items():
            origin = origin_of(results[name], record)
            write_survival(one, folder / stem(name), simulated=study.simulated, origin=origin)
    return found


def _way(by: str, k: int) -> str:
    return stem(f"without-{by}" if k == 1 else f"without-{k}-{by}")


def _kept(out: Place, plan: Plan, name: str) -> Plan:
    """Return a plan as OUT keeps it; one that holds its number of relabellings has it in its name."""
    if plan.kind == contrast_jackknife.KIND:
        name = f"{name}-{plan.settings['iterations']}"
    named = replace(plan, name=name)
    conventions = dict(plan.settings["conventions"])
    return store_plan(out, lambda: named, name=name, identity=plan.identity, conventions=conventions)
