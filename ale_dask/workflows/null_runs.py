"""Compute statistics of whole maps on the null of a run, in its folder, and write their tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import xarray as xr

from ale_dask.analyses.base_rate_result import nulls_of
from ale_dask.analyses.execute import seconds_per_iteration
from ale_dask.analyses.main_effect import identity_of
from ale_dask.analyses.statistics import null as null_statistic
from ale_dask.analyses.statistics.given import Tail
from ale_dask.analyses.statistics.null import Asked, NullStatisticPlan
from ale_dask.analyses.study_plans import KeepPlan, PreparedStudy
from ale_dask.analyses.study_statistics import asked_from, label_of, needs_result, plans_asked
from ale_dask.config.backend import Backend
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Study
from ale_dask.errors import InputError, did_you_mean
from ale_dask.execution.backends.connect import threads_of
from ale_dask.execution.block_store import segments, store_plan
from ale_dask.execution.executors import Job, execute, pending
from ale_dask.execution.journal import Journal
from ale_dask.execution.plan import P, Plan, block_size
from ale_dask.execution.progress import clock
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.null_statistic import null_lines, write_null
from ale_dask.reporting.text.follow_up_files import origin_of
from ale_dask.storage.location import Place
from ale_dask.workflows.carry_out import carry_out, workers_of
from ale_dask.workflows.run_directory import Run

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What `null` is asked for besides the statistic; each has a default."""

    analysis: str | None = None
    """Name of the main effect in the folder of a run."""
    null: str | None = None
    """"uniform", "base-rate" or "both"; by default that of the result."""
    iterations: int | None = None
    """By default as many as the result has."""
    tail: Tail | None = None
    """By default that of the statistic, "upper" of a user's own."""
    backend: Backend | None = None
    """By default that of the run."""
    quiet: bool = False
    """Show no progress."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Options:
        """Return the options of keyword values; errors name the one that is wrong."""
        if unknown := set(values) - set(cls.__dataclass_fields__):
            wrong = sorted(unknown)[0]
            known = ", ".join(["image", "arguments", "client", *cls.__dataclass_fields__])
            raise InputError(f"null: unknown option '{wrong}'{did_you_mean(wrong, cls.__dataclass_fields__)}; {known}")
        options = cls(**values)
        if options.null not in (None, "uniform", "base-rate", "both"):
            raise InputError(f"null '{options.null}': give uniform, base-rate or both")
        if options.tail not in (None, *null_statistic.TAILS):
            raise InputError(f"tail '{options.tail}': give {', '.join(null_statistic.TAILS)}")
        if options.iterations is not None and options.iterations < 1:
            raise InputError(f"iterations {options.iterations}: give 1 or more")
        return options

    def words(self, result: xr.Dataset) -> tuple[str, ...]:
        """Return the words of the nulls that are asked for of a result."""
        return {"both": ("uniform", "base-rate"), None: nulls_of(result)}.get(self.null, (str(self.null),))


@dataclass(frozen=True, eq=False)
class NullRun:
    """A statistic of a main effect of a finished run before it is computed: the plans stored in OUT for it."""

    out: Place
    study: Study
    record: RunRecord
    result: xr.Dataset
    asked: Asked
    plans: Mapping[str, NullStatisticPlan]
    """The plan for each null, by its word."""
    iterations: int
    label: str
    """The end of the names of its files, such as "networks-yeo7"."""
    options: Options

    def lines(self, *, workers: int) -> list[str]:
        """Return a line per null with its iterations and the time that they take."""
        return [
            f"{plan.name}: {len(plan.statistics)} number(s), {self.iterations:,} iterations of "
            f"{1e3 * (each := seconds_per_iteration(plan, most=min(4, self.iterations))):.3g} ms, "
            f"about {clock(self.iterations * each / workers)}"
            for plan in self.plans.values()
        ]

    @property
    def is_computed(self) -> bool:
        """Whether OUT has every block."""
        there = (sum(s.iterations for s in segments(self.out, plan)) for plan in self.plans.values())
        return all(number >= self.iterations for number in there) and not pending(self.jobs(workers=1))

    def jobs(self, *, workers: int) -> list[Job]:
        """Return a job per segment of each plan in OUT."""
        run, backend = Run.at(self.out), self.options.backend or self.study.backend

        def size(plan: Plan) -> int:
            return backend.block_size or block_size(
                iterations=self.iterations,
                seconds_per_iteration=seconds_per_iteration(plan, most=min(4, self.iterations)),
                block_seconds=backend.block_seconds,
                workers=workers,
            )

        return [
            job
            for plan in self.plans.values()
            for job in run.jobs(plan, iterations=self.iterations, size=partial(size, plan))
        ]


def compute_null(planned: NullRun, *, client: Client | None = None) -> xr.Dataset:
    """Compute the blocks that OUT lacks, write the files of the test beside its result, and return it.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        after any of which the same call resumes.
    """
    test = computed(planned, client=client)
    name = stem(str(planned.result.attrs["name"]))
    with writing_results(planned.out) as folder:
        base = folder / name / f"{name}_null-{planned.label}"
        write_null(test, base, origin=origin_of(planned.result, planned.record))
    return test


def computed(planned: NullRun, *, client: Client | None = None) -> xr.Dataset:
    """Return the test of a statistic, after the blocks that OUT lacks have been computed."""
    backend = planned.options.backend or planned.study.backend
    if not planned.is_computed:
        with workers_of(backend, client=client) as connected:
            jobs = planned.jobs(workers=threads_of(connected, backend))
            carry_out(jobs, planned.out, study=planned.study, client=connected, quiet=planned.options.quiet)
    run = Run.at(planned.out)
    nulls = {word: (p, run.gather(p, iterations=planned.iterations)[0]) for word, p in planned.plans.items()}
    return null_statistic.collect(planned.result, planned.asked, nulls, tail=planned.options.tail)


def null_share(planned: NullRun, *, index: int, shares: int) -> int:
    """Compute one share of the missing blocks in this process, without a scheduler, and return how many were computed.

    A share has blocks `index`, `index + shares` and so on, so that the tasks of a job array can work side by side.

    Raises
    ------
    InputError
        when there is no such share.
    """
    if not 0 <= index < shares:
        raise InputError(f"share {index}: there are shares 0 to {shares - 1}")
    jobs = planned.jobs(workers=shares)
    blocks = [(job, block) for job in jobs for block in range(job.segment.n_blocks)]
    missing = [(job, block) for job, block in blocks[index::shares] if job.sink.read(block) is None]
    execute(missing, report=Journal(planned.out).step)
    return len(missing)


def keep_in(out: Place) -> KeepPlan:
    """Return the function that stores a plan in OUT, or reads the one that is there."""

    def keep(name: str, kind: str, conventions: dict[str, Any], make: Callable[[], P]) -> P:
        return store_plan(out, make, name=name, identity=identity_of(kind, conventions), conventions=conventions)

    return keep


def write_statistics(
    prepared: PreparedStudy,
    out: Place,
    plans: Mapping[str, Plan],
    results: Mapping[str, xr.Dataset],
    record: RunRecord,
    *,
    client: Client | None,
    quiet: bool,
) -> None:
    """Write the tests of the statistics that a study asks for beside its results; what OUT lacks is computed."""
    study = prepared.study
    for each in study.statistic:
        image = results[str(each.image)] if needs_result(each, study) else None
        asked = asked_from(each, prepared, image=image)
        own = plans_asked(each, asked, prepared, plans, keep_in(out))
        options = Options(tail=each.tail, quiet=quiet)
        iterations = study.inference.iterations
        planned = NullRun(out, study, record, results[each.of], asked, own, iterations, label_of(asked), options)
        for line in null_lines(compute_null(planned, client=client)):
            log.info(line)
