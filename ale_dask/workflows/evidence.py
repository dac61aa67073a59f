"""Make the cards of evidence of a finished run from what it holds, and compute what they lack."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import xarray as xr

from ale_dask.analyses.base_rate_result import nulls_of
from ale_dask.analyses.findings.certainty import Evidence
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.sensitivity.noise_null import least_of
from ale_dask.analyses.sensitivity.power import SIMULATIONS
from ale_dask.config.analysis import INPUTS
from ale_dask.config.backend import Backend
from ale_dask.config.inference import ENHANCED
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Study
from ale_dask.errors import InputError, did_you_mean
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.progress import clock
from ale_dask.numerics.warm import cold
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.evidence import COLUMNS, analyses_with_cards, evidence_of_result
from ale_dask.reporting.sensitivity.evidence_files import evidence_table, write_evidence
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.reporting.text.follow_up_files import follow_up_prefixes, follow_up_tables
from ale_dask.storage.location import Place, local_copy, place
from ale_dask.workflows.fail_safe import FailSafeRun, fail_safe, plan_fail_safe
from ale_dask.workflows.leave_one_out import compute_left_out, plan_left_out
from ale_dask.workflows.power import power_of_run
from ale_dask.workflows.profiles import compute_profiles, plan_profiles
from ale_dask.workflows.run import collect

log = logging.getLogger(__name__)
_MAIN = ("main-effect",)
_NOISY = (*_MAIN, "conjunction")
"""The kinds of analyses that have a fail-safe N."""
_ALL = (*_NOISY, "contrast")
_CARDS = (*_ALL, "moderator")
_SETS = ("leave-out-group", "leave-out-experiment", "leave-out-study")
_POWER_SECONDS = 5e-9
"""Seconds per voxel of one simulation of power, for each number of experiments that report the place."""


@dataclass(frozen=True, eq=False)
class Missing:
    """One kind of evidence that a run lacks: its name, its seconds on one CPU, and what computes it."""

    what: str
    seconds: float
    compute: Callable[[Backend, bool], object]
    """(backend, quiet) -> anything; it writes its files to OUT."""


@dataclass(frozen=True, eq=False)
class Held:
    """A finished run: its folder, a copy of its follow-ups, its study, its record and its results."""

    out: Place
    copy: Path
    study: Study
    record: RunRecord
    results: Mapping[str, xr.Dataset]
    """The results whose clusters get cards."""
    every: Mapping[str, xr.Dataset]
    """All results of the run."""

    @classmethod
    def at(cls, out: Place, *, analysis: str | None) -> Held:
        """Return the finished run in OUT, with one or all of its analyses.

        Raises
        ------
        StoreError
            when OUT holds no finished run.
        InputError
            when OUT has no analysis of that name.
        """
        study, results, record = collect(out)
        names = analyses_with_cards(results)
        if analysis is not None and analysis not in names:
            hint = did_you_mean(analysis, names)
            raise InputError(f"{analysis}: no analysis of {out}, which has {', '.join(names)}{hint}")
        shares = [
            name for name, result in results.items() if model_of(result).kind in ("subsampled", "balanced-contrast")
        ]
        if shares and analysis is None:
            log.info(f"no cards for shares of subsamples, which are no p: {', '.join(shares)}")
        chosen = {name: results[name] for name in ([analysis] if analysis else names)}
        return cls(out, local_copy(out, only=_copied(results)), study, record, chosen, results)

    @property
    def enhanced(self) -> bool:
        """Whether voxels survive by TFCE, for which there is no leave-one-out and no fail-safe N."""
        return self.study.inference.correction in ENHANCED

    def lacking(self, *names: str, kinds: Sequence[str]) -> list[str]:
        """Return the analyses of some kinds with a cluster that have none of some follow-ups."""
        return [
            name
            for name, result in self.results.items()
            if model_of(result).kind in kinds
            and surviving_clusters(result, INPUTS[0])
            and not set(names) & set(follow_up_tables(result, self.copy, self.record))
        ]


def _copied(names: Mapping[str, xr.Dataset]) -> tuple[str, ...]:
    return (*follow_up_prefixes(names), "plans/results.json")


def evidence(
    out: str | Path | Place,
    *,
    analysis: str | None = None,
    by: Sequence[str] = COLUMNS,
    compute: bool = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Return the evidence on each cluster of a finished run, with its level of certainty.

    The same is written to OUT/NAME/NAME_evidence.tsv and, with the rules and all numbers, NAME_evidence.json.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    analysis
        Name of an analysis; by default all of them.
    by
        Columns of the files by which it is tested whether reports of a cluster depend on them.
    compute
        Compute first what is lacking: leave-one-out, fail-safe N, power, and the conventions of other programs.
    quiet
        Show no progress and no cost.

    Returns
    -------
    DataFrame
        A row per cluster and line of evidence: the cluster's certainty ("high", "moderate", "low", "very low"), the
        question, what was found, and whether that "favours" the cluster, is "against" it, or is "unknown"; the file
        that holds it, or the command that computes it.

    Raises
    ------
    StoreError
        When the folder holds no finished run, or a file of a follow-up is damaged.
    InputError
        When the run has no analysis of that name.

    Notes
    -----
    Six rules make the level of certainty, see `analyses/findings/certainty.py` and the JSON file; there is no sum of
    points. An experiment reports a cluster if it has a focus within half the full width at half maximum of its kernel
    of one of the cluster's voxels. The exact 95 % interval of the share of such experiments is that of Clopper and
    Pearson; whether it depends on a column is tested by Fisher's exact test.

    Examples
    --------
    >>> table = ale.evidence("out", analysis="drug")
    >>> table.columns[6:10].tolist()
    ['Certainty', 'Question', 'Finding', 'Verdict']
    """
    made = make_evidence(out, analysis=analysis, by=by, compute=compute, quiet=quiet)
    return evidence_table([card for each in made for card in each.cards])


def make_evidence(
    out: str | Path | Place,
    *,
    analysis: str | None = None,
    by: Sequence[str] = COLUMNS,
    compute: bool = False,
    backend: Backend | None = None,
    quiet: bool = False,
) -> list[Evidence]:
    """Write the cards of evidence of a finished run, as `evidence` does, and return them by analysis."""
    held = Held.at(place(out), analysis=analysis)
    if compute:
        compute_missing(held, backend=backend or held.study.backend, quiet=quiet)
        held = replace(held, copy=local_copy(held.out, only=_copied(held.every)))
    made = [
        evidence_of_result(r, held.copy, held.record, columns=by, results=held.every) for r in held.results.values()
    ]
    with writing_results(held.out) as folder:
        for each in made:
            write_evidence(each, folder / stem(each.analysis))
    return made


def compute_missing(held: Held, *, backend: Backend, quiet: bool = False) -> None:
    """Compute what the cards of a run lack; the cost is told first, in a line.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        after any of which the same call resumes.
    """
    if not quiet and held.lacking("fail-safe", "fail-safe-base-rate", kinds=_NOISY) and cold("noise.noise_iterations"):
        log.info("compiling the kernels for noise experiments, once on this machine: about 20 s")
    lacking = [part for make in (_left_out, _fail_safe, _power, _profiles) for part in make(held)]
    if not lacking:
        return
    workers = backend.most or cpu_count()
    parts = ", ".join(f"{part.what} {clock(part.seconds / workers)}" for part in lacking)
    if not quiet:
        log.info(f"evidence: {parts}; about {clock(sum(p.seconds for p in lacking) / workers)} on {workers} worker(s)")
    for part in lacking:
        part.compute(backend, quiet)


def _left_out(held: Held) -> Iterator[Missing]:
    """Yield the leave-one-out analyses that the cards lack."""
    names = [] if held.enhanced else held.lacking(*_SETS, kinds=_ALL)
    if names:
        needed = dict.fromkeys(part for name in names for part in (*model_of(held.results[name]).parts, name))
        results = {name: held.every[name] for name in needed}
        planned = plan_left_out(held.out, study=held.study, results=results, record=held.record)
        yield Missing(
            "leave-one-out",
            planned.seconds,
            lambda backend, quiet: compute_left_out(planned, backend=backend, quiet=quiet),
        )


def _fail_safe(held: Held) -> Iterator[Missing]:
    """Yield the fail-safe N that the cards lack, up to the mark of 30 % of the experiments."""
    for name in [] if held.enhanced else held.lacking("fail-safe", "fail-safe-base-rate", kinds=_NOISY):
        result = held.results[name]
        mark = least_of(sum(int(held.every[part].attrs["n_experiments"]) for part in model_of(result).parts))
        planned = plan_fail_safe(held.out, analysis=name, most=mark, null=nulls_of(result)[0])
        seconds = sum(timed.seconds for timed in planned.plans.values())
        yield Missing(
            f"fail-safe N of {name}",
            seconds,
            partial(_compute_fail_safe, planned),
        )


def _compute_fail_safe(planned: FailSafeRun, backend: Backend, quiet: bool) -> None:
    fail_safe(planned, backend=backend, quiet=quiet, pictures=False)


def _simulate_power(out: Place, name: str, backend: Backend, quiet: bool) -> None:
    power_of_run(out, analysis=name)


def _power(held: Held) -> Iterator[Missing]:
    """Yield the simulations of power that the cards lack."""
    for name in held.lacking("power", kinds=_MAIN):
        result = held.results[name]
        simulated = SIMULATIONS * (1 + int(result.attrs["n_experiments"])) * len(nulls_of(result))
        yield Missing(
            f"power of {name}",
            simulated * result.sizes["voxel"] * _POWER_SECONDS,
            partial(_simulate_power, held.out, name),
        )


def _profiles(held: Held) -> Iterator[Missing]:
    """Yield the analyses under the other profiles that the cards lack."""
    names = held.lacking("profiles", kinds=_CARDS)
    if names:
        results = {name: held.results[name] for name in names}
        planned = plan_profiles(held.out, study=held.study, results=results, record=held.record)
        yield Missing(
            f"{len(planned.planned.prepared)} other profiles",
            planned.seconds,
            lambda backend, quiet: compute_profiles(planned, backend=backend, quiet=quiet),
        )
