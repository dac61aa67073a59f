"""Run a whole study, read its results from the store, and write its files."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.findings.certainty import Evidence
from ale_dask.analyses.findings.model import with_origin
from ale_dask.analyses.kept_ale import keep_ale, kept_ale
from ale_dask.analyses.kinds import iterations_of, results_of
from ale_dask.analyses.ma import ale_union, content_of_maps, store_ma, stored_ale, write_ma
from ale_dask.analyses.main_effect_result import undecided
from ale_dask.analyses.networks import with_networks
from ale_dask.analyses.sensitivity.power import with_power
from ale_dask.analyses.study_plans import Null, Nulls, PreparedStudy, collect_main_effect
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Study, are_many, main_effects_of
from ale_dask.errors import StoreError
from ale_dask.execution.backends.connect import threads_of
from ale_dask.execution.block_store import segments, shares_storage
from ale_dask.execution.executors import Report
from ale_dask.execution.journal import Journal
from ale_dask.execution.plan import Plan, digest
from ale_dask.numerics.warm import compile_beside
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.html.page import RunSource
from ale_dask.reporting.sensitivity.evidence import asked_evidence
from ale_dask.reporting.text.follow_up_files import follow_up_prefixes, with_follow_ups
from ale_dask.reporting.text.methods import as_bibtex, as_markdown, methods_of
from ale_dask.reporting.write import write_results
from ale_dask.storage.checksums import hash_of
from ale_dask.storage.location import Place, local_copy, place, replace_file
from ale_dask.storage.ownership import holds_run
from ale_dask.workflows.carry_out import carry_out, workers_of
from ale_dask.workflows.null_runs import write_statistics
from ale_dask.workflows.prepare import kernels_of, prepare
from ale_dask.workflows.run_directory import Run, create_run, jobs_of, run_token, stored_run
from ale_dask.workflows.run_record import run_record
from ale_dask.workflows.stored_results import read_when_used

if TYPE_CHECKING:
    from distributed import Client


log = logging.getLogger(__name__)


def run(
    study: Study,
    out: str | Place,
    *,
    overwrite: bool = False,
    quiet: bool = False,
    client: Client | None = None,
    on_step: Report = lambda step: None,
) -> tuple[dict[str, xr.Dataset], RunRecord]:
    """Run a study in a folder and return the results of its analyses; blocks that the folder holds are not repeated.

    Parameters
    ----------
    study
        Study, from `load_study`.
    out
        Folder of the run, or its address in object storage.
    overwrite
        Replace a run of another study or of other settings; it is an error otherwise.
    quiet
        Show no progress.
    client
        Dask client to compute on; by default the backend of the study is started.
    on_step
        Function that is called after every attempt at a block; an exception that it raises stops the run.

    Returns
    -------
    results : dict
        Result of every analysis by its name, and of the pooled arms of each contrast.
    record : dict
        Content of run.json: settings, versions, digests.

    Raises
    ------
    InputError, StoreError, BackendError, UnfinishedError
        The same call resumes after any of them.

    Notes
    -----
    With `until_decided` the number of iterations is doubled until every cluster is decided.

    Examples
    --------
    >>> results, record = ale.run(ale.load_study("study.toml"), "new", quiet=True)
    >>> list(results)
    ['drug', 'therapy', 'drug-vs-therapy', 'drug-and-therapy', 'drug-vs-therapy_pooled']
    """
    out = place(out)
    while True:
        started = time.time()
        prepared, plans, ale = _compute(study, out, overwrite=overwrite, quiet=quiet, client=client, on_step=on_step)
        results, digests = _collect(prepared, out, plans, ale)
        inference = study.inference
        limit = inference.until_decided or 0
        left = undecided(results.values()) if inference.iterations < limit else 0
        if not left:
            record = _record(study, out, plans, results, digests, seconds=time.time() - started)
            write_statistics(prepared, out, plans, results, record, client=client, quiet=quiet)
            return results, record
        more = min(2 * inference.iterations, limit)
        log.info(f"{left} cluster(s) undecided after {inference.iterations:,} iterations: on to {more:,}")
        study = study.model_copy(update={"inference": inference.model_copy(update={"iterations": more})})
        overwrite = False


def _compute(
    study: Study,
    out: Place,
    *,
    overwrite: bool,
    quiet: bool,
    client: Client | None,
    on_step: Report,
) -> tuple[PreparedStudy, dict[str, Plan], dict[str, Any]]:
    """Compute every block that OUT lacks, and return the prepared study, its plans and the ALE (voxel) by name."""
    started = time.time()
    prepared = prepare(study)
    with workers_of(study.backend, client=client) as connected:
        if (compiler := compile_beside(kernels_of(prepared))) is not None:
            log.info("compiling the kernels, once on this machine: about 15 s")
        plans = create_run(prepared, out, overwrite=overwrite)
        journal = Journal(out)
        try:
            ale = _observed_ale(prepared, out, plans, connected)
            if compiler is not None:
                compiler.wait()
            # Counted only now, because more workers of a queue may have started meanwhile.
            workers = threads_of(connected, study.backend)
            jobs = jobs_of(prepared, out, plans, workers=workers)
            carry_out(jobs, out, study=study, client=connected, journal=journal, quiet=quiet, on_step=on_step)
        except BaseException as error:
            journal("stopped", error=f"{type(error).__name__}: {error}")
            raise
        journal("computed", seconds=round(time.time() - started, 1))
    return prepared, plans, ale


def _record(
    study: Study,
    out: Place,
    plans: Mapping[str, Plan],
    results: Mapping[str, xr.Dataset],
    digests: Mapping[str, str],
    *,
    seconds: float,
) -> RunRecord:
    blocks = {name: [(s.iterations, s.block_size) for s in segments(out, plan)] for name, plan in plans.items()}
    return run_record(study, results, digests=digests, segments=blocks, seconds=seconds)


def _observed_ale(
    prepared: PreparedStudy, out: Place, plans: Mapping[str, Plan], client: Client | None
) -> dict[str, Any]:
    """Return the ALE (voxel) of every main effect and of all pooled arms by name, from the MA maps stored in OUT."""
    import dask.threaded

    # By its function: by its name, Dask would import distributed first, which takes a second.
    if client is None:
        scheduler: Any = dask.config.set(scheduler=dask.get)
    elif all(client.run(shares_storage, out, run_token(out)).values()):
        scheduler = client.as_current()
    else:
        # Some workers do not see OUT: this process writes the maps.
        scheduler = dask.config.set(scheduler=dask.threaded.get)
    with scheduler:
        if are_many(prepared.study):
            for name in main_effects_of(prepared.study):
                write_ma(out, name, prepared.samples[name], identity=plans[name].identity)
            return {}
        maps = {
            name: store_ma(out, name, prepared.samples[name], identity=plans[name].identity)
            for name in main_effects_of(prepared.study)
        }
        union = {name: ale_union(m) for name, m in maps.items()}
        made_of: dict[str, tuple[list[str], list[Any]]] = {name: ([name], []) for name in maps}
        for name, arms in prepared.arms.items():
            key = np.concatenate([s.key for s in arms])
            parts = [maps[arm] for arm in prepared.contrast(name).arms]
            disjoint = [np.isin(m["experiment_key"].values, key) for m in parts]
            # The sum of a whole arm is already in the Dask graph and is shared with its main effect.
            union[pooled_name(name)] = ale_union(
                *(m if d.all() else m.isel(experiment=d) for m, d in zip(parts, disjoint, strict=True))
            )
            made_of[pooled_name(name)] = (list(prepared.contrast(name).arms), key.tolist())
        if isinstance(out, Path):
            return _computed(union)
        content = {name: content_of_maps(out, name, identity=plans[name].identity) for name in maps}
        return _kept_or_computed(
            out,
            union,
            {name: hash_of({"maps": [content[arm] for arm in arms], "key": k}) for name, (arms, k) in made_of.items()},
        )


def _computed(union: Mapping[str, xr.DataArray]) -> dict[str, Any]:
    return {str(name): array.values for name, array in xr.Dataset(union).compute().items()}


def _kept_or_computed(out: Place, union: Mapping[str, xr.DataArray], of: Mapping[str, str]) -> dict[str, Any]:
    """Return the ALE (voxel) by name that OUT keeps of the same maps, and compute and keep what it lacks."""
    kept = {name: kept_ale(out, name, of=of[name]) for name in union}
    made = _computed({name: lazy for name, lazy in union.items() if kept[name] is None})
    for name, ale in made.items():
        keep_ale(out, name, ale, of=of[name])
    return kept | made


def _stored_ale(out: Place, plan: Plan) -> Any:
    """Return the ALE (voxel) of one main effect from its stored MA maps, or what object storage keeps of it."""
    if isinstance(out, Path):
        return stored_ale(out, plan.name)
    of = hash_of({"maps": [content_of_maps(out, plan.name, identity=plan.identity)], "key": []})
    ale = kept_ale(out, plan.name, of=of)
    if ale is None:
        ale = stored_ale(out, plan.name)
        keep_ale(out, plan.name, ale, of=of)
    return ale


def _collect(
    prepared: PreparedStudy, out: Place, plans: Mapping[str, Plan], ale: Mapping[str, Any]
) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    digests: dict[str, str] = {}
    blocks = Run.at(out)

    def read(name: str) -> Null:
        plan = plans[name]
        null, counts = blocks.gather(plan, iterations=iterations_of(plan, prepared.study.inference))
        digests[name] = digest(null, *counts.values())
        return null, counts

    if are_many(prepared.study):

        def main_effect(name: str) -> xr.Dataset:
            nulls = Nulls(plans, read, {name: _stored_ale(out, plans[name])}, {})
            return with_networks(collect_main_effect(prepared, name, nulls))

        collected = read_when_used(prepared.study.analysis, main_effect)
        return with_origin(collected, simulated=prepared.study.simulated), digests
    # Not part of `results_of`, which a sweep calls for hundreds of cells: the simulations of power take seconds.
    return with_power(results_of(prepared, plans, read=read, ale=ale), plans), digests


def write(
    results: Mapping[str, xr.Dataset],
    record: RunRecord,
    out: str | Place,
    *,
    study: Study,
    pictures: bool,
) -> dict[str, Evidence]:
    """Write maps, tables, pictures, the page, run.json and the methods text of a run to OUT, with their checksums.

    Cards of evidence are written again where OUT has some, and are returned by the names of their analyses.

    Raises
    ------
    StoreError
        when a file cannot be written, OUT was removed, or a file of a follow-up analysis is damaged.
    """
    out = place(out)
    if isinstance(out, Path) and not holds_run(out):
        raise StoreError(f"{out}: holds no run any more; was it removed or renamed? Nothing is written there")
    follow_ups = follow_up_prefixes(results)
    copy = local_copy(out, only=(*follow_ups, "plans/results.json"))
    methods = methods_of(with_follow_ups(record, copy))
    evidence = asked_evidence(results, record, copy)
    with writing_results(out, keeping=follow_ups) as folder:
        write_results(
            results,
            folder,
            title=study.title,
            pictures=pictures,
            source=RunSource(record, copy, evidence),
        )
        replace_file(folder / "logs" / "CITATION.md", as_markdown(methods).encode())
        replace_file(folder / "logs" / "CITATION.bib", as_bibtex(methods).encode())
        replace_file(folder / "run.json", (json.dumps(record, indent=2) + "\n").encode())
    Journal(out)("finished")
    return evidence


def collect(out: str | Place) -> tuple[Study, dict[str, xr.Dataset], RunRecord]:
    """Read the study, the results and the record of a finished run from its folder alone.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.

    Returns
    -------
    study : Study
        Study as it was run, with every setting.
    results : dict
        Result of every analysis by its name.
    record : dict
        Content of run.json.

    Raises
    ------
    StoreError
        When the folder holds no run, or one that is not finished.

    Examples
    --------
    >>> study, results, record = ale.collect("out")
    >>> results["drug"].sizes["iteration"]
    60
    """
    started = time.time()
    out = place(out)
    prepared, plans = stored_run(out)
    results, digests = _collect(prepared, out, plans, _observed_ale(prepared, out, plans, None))
    return (
        prepared.study,
        results,
        _record(prepared.study, out, plans, results, digests, seconds=time.time() - started),
    )
