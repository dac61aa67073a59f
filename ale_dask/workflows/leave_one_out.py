"""Compute the jackknife of a finished run on any backend; its blocks are stored in OUT, so that it can be resumed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.execute import seconds_of_first, seconds_per_iteration
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import MainEffectPlan
from ale_dask.analyses.sensitivity import contrast_jackknife
from ale_dask.analyses.sensitivity.jackknife import REPEATED
from ale_dask.config.backend import Backend
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Study, main_effects_of
from ale_dask.execution.backends.connect import threads_of
from ale_dask.execution.block_store import store_plan
from ale_dask.execution.executors import Job
from ale_dask.execution.plan import Plan, of_type
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.leave_one_out import write_jackknife
from ale_dask.reporting.text.follow_up_files import origin_of
from ale_dask.storage.location import Place, place
from ale_dask.workflows.carry_out import carry_out, workers_of
from ale_dask.workflows.jackknife import Arms, JackknifePlan, PassArrays, overlaps_of, plan_jackknife
from ale_dask.workflows.run import collect
from ale_dask.workflows.run_directory import Run, Sizes, stored_run

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


def jackknife_of_run(
    out: str | Place,
    *,
    by: str = "group",
    k: int = 1,
    backend: Backend | None = None,
    client: Client | None = None,
    quiet: bool = False,
) -> dict[str, xr.Dataset]:
    """Compute `jackknife` for every analysis of a finished run, and write tables and figures.

    Blocks that the folder already holds are not computed again, so that the same call resumes.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    by
        Sets of experiments, as for `jackknife`.
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
        For each analysis by its name the Dataset of `jackknife`.

    Raises
    ------
    StoreError
        When the folder holds no finished run.
    InputError, BackendError, UnfinishedError
        As `run` and `jackknife`.

    Examples
    --------
    >>> sorted(ale.jackknife_of_run("out", by="experiment", quiet=True))
    ['drug', 'drug-and-therapy', 'drug-vs-therapy', 'therapy']
    """
    out = place(out)
    study, every, record = collect(out)
    results = {name: result for name, result in every.items() if model_of(result).kind in REPEATED}
    if others := [name for name in every if name not in results]:
        log.info(
            "leave-one-out is not of moderators, whose largest leverage the report states, nor of subsamples, which "
            f"leave groups out themselves: {', '.join(others)}"
        )
    planned = plan_left_out(out, study=study, results=results, record=record, by=by, k=k)
    return compute_left_out(planned, backend=backend or study.backend, client=client, quiet=quiet)


@dataclass(frozen=True, eq=False)
class LeftOutRun:
    """The jackknife of some results of a finished run before it is computed."""

    out: Place
    study: Study
    results: Mapping[str, xr.Dataset]
    record: RunRecord
    planned: JackknifePlan

    @property
    def seconds(self) -> float:
        """Seconds of all passes on one CPU like this one; a set with its relabellings of a contrast is one block."""
        return sum(
            p.iterations
            * (seconds_of_first(p.plan) if p.block_size else seconds_per_iteration(p.plan, most=p.iterations))
            for p in self.planned.passes.values()
        )


def plan_left_out(
    out: Place,
    *,
    study: Study,
    results: Mapping[str, xr.Dataset],
    record: RunRecord,
    by: str = "group",
    k: int = 1,
) -> LeftOutRun:
    """Return the jackknife of some results of a finished run; contrasts and conjunctions need their main effects.

    Raises
    ------
    StoreError
        when OUT holds no run.
    InputError
        as `jackknife`.
    """
    return LeftOutRun(out, study, results, record, _planned(out, study, results, by=by, k=k))


def compute_left_out(
    left_out: LeftOutRun, *, backend: Backend, client: Client | None = None, quiet: bool = False
) -> dict[str, xr.Dataset]:
    """Compute the blocks that OUT lacks, write the tables and figures of every result, and return overlaps by name.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        after any of which the same call resumes.
    """
    planned, run = left_out.planned, Run.at(left_out.out)
    with workers_of(backend, client=client) as connected:
        sizes = Sizes(backend, threads_of(connected, backend))
        jobs = {
            name: run.jobs(p.plan, iterations=p.iterations, size=partial(sizes.of, p.plan, p.iterations, p.block_size))
            for name, p in planned.passes.items()
        }
        sets = f"{sum(map(len, planned.sets.values()))} sets of experiments over {len(planned.sets)} analyses"
        log.info(", ".join(filter(None, (f"leaving out {sets}", sizes.takes))))
        every = [job for each in jobs.values() for job in each]
        carry_out(every, left_out.out, study=left_out.study, client=connected, quiet=quiet)
    overlaps = dict(overlaps_of(planned, partial(_read, planned, jobs)))
    with writing_results(left_out.out) as folder:
        for name, overlap in overlaps.items():
            origin = origin_of(left_out.results[name], left_out.record)
            write_jackknife(overlap, folder / stem(name), origin=origin)
    return overlaps


def _planned(out: Place, study: Study, results: Mapping[str, xr.Dataset], *, by: str, k: int) -> JackknifePlan:
    """Return the passes needed to leave experiments out of a run, with the plans as stored in OUT."""
    prepared, plans = stored_run(out)
    mains = {name: of_type(MainEffectPlan, plans[name]) for name in prepared.samples}
    planned = plan_jackknife(
        results,
        samples={name: (prepared.samples[name], mains[name]) for name in main_effects_of(study)},
        arms={
            name: Arms(arms, (prepared.samples[pooled_name(name)], mains[pooled_name(name)]))
            for name, arms in prepared.arms.items()
            if name in results
        },
        by=by,
        k=k,
    )
    passes = {
        name: replace(p, plan=_stored_plan(out, p.plan, f"{name}_{_way(by, k)}")) for name, p in planned.passes.items()
    }
    return replace(planned, passes=passes)


def _read(planned: JackknifePlan, jobs: Mapping[str, Sequence[Job]], name: str) -> PassArrays:
    parts = [job.sink.arrays() for job in jobs[name]]
    null = np.concatenate([part["null"][:, 1:] for part in parts])[: planned.passes[name].iterations]
    counts = [part[contrast_jackknife.EXCEED][:, 1:] for part in parts if contrast_jackknife.EXCEED in part]
    return null, np.concatenate(counts) if counts else None


def _way(by: str, k: int) -> str:
    return stem(f"without-{by}" if k == 1 else f"without-{k}-{by}")


def _stored_plan(out: Place, plan: Plan, name: str) -> Plan:
    """Return a plan as stored in OUT; the name of a plan of relabellings ends with the number of relabellings."""
    if isinstance(plan, contrast_jackknife.ContrastLeftOutPlan):
        name = f"{name}-{plan.iterations}"
    named = replace(plan, name=name)
    return store_plan(out, lambda: named, name=name, identity=plan.identity, conventions=plan.conventions)
