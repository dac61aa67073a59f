"""A whole study: prepare, plan, run, status, collect. The folder OUT is all that a run leaves, and all it needs.

OUT/study.toml   resolved: every default written out, foci files copied beside it
OUT/foci/        the input files as they were
OUT/plans/       frozen plans and segments, created once
OUT/store.zarr/  MA maps and nulls: the checkpoint
OUT/logs/        what went wrong, and what submitted jobs say
OUT/run.json     what was run, with what, how long
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.ma import ale_union, store_ma
from ale_dask.data.masks import BUILT_IN
from ale_dask.data.places import Place, create_once, local_copy, place, remove, replace_file, staged
from ale_dask.distribution.backends import connect, dashboard, noticing_loss
from ale_dask.distribution.executors import Job, Report, Step, execute, pending
from ale_dask.distribution.journal import Journal
from ale_dask.distribution.plan import Plan, digest
from ale_dask.distribution.progress import Progress
from ale_dask.distribution.segments import cover, gather, sees, segments, sink
from ale_dask.numerics.warm import compile_beside
from ale_dask.results.painters import DrawsHere, Painters
from ale_dask.results.provenance import run_record
from ale_dask.results.write import write_results
from ale_dask.study import BLOCKS, Prepared, cost, counts_of, iterations_of, plans, pooled_name, prepare
from ale_dask.words.config import Backend, Conjunction, Contrast, Study, load_study, parse_study, to_toml
from ale_dask.words.config import main_effects as main_effects_of
from ale_dask.words.errors import InputError, StoreError
from ale_dask.words.version import __version__

if TYPE_CHECKING:
    from distributed import Client


def save_inputs(study: Study, out: Place, *, backend: Backend) -> None:
    """Write copies of a study's files into OUT, and study.toml that names these copies and a backend."""
    foci = {}
    for name, source in study.foci.items():
        kept = []
        for i, file in enumerate(source.files):
            # Only the last part of the user's path: nothing may be written outside OUT.
            last = Path(file).name
            kept.append(f"foci/{name}/{last if last.startswith(f'{i + 1}_') else f'{i + 1}_{last}'}")
            replace_file(out / kept[-1], Path(file).read_bytes())
        foci[name] = source.model_copy(update={"files": kept})
    inference = study.inference
    if inference.mask not in BUILT_IN:
        mask = f"mask{''.join(Path(inference.mask).suffixes[-2:])}"
        replace_file(out / mask, Path(inference.mask).read_bytes())
        inference = inference.model_copy(update={"mask": mask})
    resolved = study.model_copy(update={"foci": foci, "inference": inference, "backend": backend})
    replace_file(out / "study.toml", to_toml(resolved).encode())


def kept_study(out: Place) -> Study:
    """Return the study that OUT holds, its files on this machine.

    Raises
    ------
    StoreError
        when it holds no run.
    """
    if not (out / "study.toml").is_file() or not (out / "plans" / "nonce").is_file():
        raise StoreError(f"{out}: holds no run; `ale-dask run STUDY -o {out}` makes one")
    return load_study(local_copy(out, only=("study.toml", "foci/", "mask")) / "study.toml")


def nonce_of(out: Place) -> str:
    """Return the word that tells a worker, by reading it, that it sees this OUT; made once per run."""
    path = out / "plans" / "nonce"
    # Where it is, nothing is written: a run on a read-only disk can be looked at.
    return path.read_text() if path.is_file() else create_once(path, uuid.uuid4().hex.encode()).decode()


def lay_out(
    prepared: Prepared, out: Place, *, overwrite: bool = False, backend: Backend | None = None
) -> dict[str, Plan]:
    """Return the frozen plans of a study, writing it and them to OUT: any worker can compute blocks then.

    `backend` is what OUT shall name for later runs; without one, what it names already, or else the study's.

    Raises
    ------
    StoreError
        when OUT holds an analysis with other settings; nothing of it is changed.
    """
    if overwrite:
        # Not foci/: the study that is about to run may be OUT's own, and read from there.
        remove(out / "store.zarr")
        remove(out / "plans")
    if isinstance(out, Path):
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out}: cannot be made ({error}); give another -o") from error
    nonce_of(out)
    made = plans(prepared, out=out)
    # Only now: a configuration that the store refuses must not replace the one it was made with.
    kept = out / "study.toml"
    if backend is None and kept.is_file():
        # The job that only finishes an array's work is not where the next run should go.
        backend = parse_study(kept.read_text(), source=str(kept)).backend
    save_inputs(prepared.study, out, backend=backend or prepared.study.backend)
    return made


def jobs_of(prepared: Prepared, out: Place, made: Mapping[str, Plan], *, workers: int) -> list[Job]:
    """Return the blocks of every plan in OUT, one job per segment, planning the segments that are lacking."""
    nonce = nonce_of(out)
    jobs = []
    for name, plan in made.items():
        wanted = iterations_of(plan, prepared.study.inference)
        found = segments(out, plan)
        if sum(s.iterations for s in found) < wanted:
            size = cost(prepared, plan, name=name, workers=workers).block_size
            found = cover(out, plan, iterations=wanted, block_size=size)
        for segment in found:
            kept = sink(out, plan, segment, extra=counts_of(plan), nonce=nonce)
            jobs.append(Job(plan, segment, BLOCKS[plan.kind], kept))
    return jobs


def run(
    study: Study,
    out: str | Place,
    *,
    overwrite: bool = False,
    quiet: bool = False,
    client: Client | None = None,
    say: Callable[[str], None] = lambda text: None,
    also: Report = lambda step: None,
) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """Return the results of every analysis by name, and the record of the run, computing what OUT lacks.

    `also` is told of every attempt at a block; what it raises stops the run.

    Raises
    ------
    InputError, StoreError, BackendError, UnfinishedError
        the same call resumes after any of them.
    """
    started = time.time()
    out = place(out)
    prepared = prepare(study)
    backend = connect(study.backend, say=say) if client is None else nullcontext(client)
    with backend as connected, noticing_loss(connected):
        if connected is not None and (address := dashboard(connected)):
            say(f"dashboard {address}")
        if (compiler := compile_beside()) is not None:
            say("compiling the kernels, once on this machine: about 20 s")
        made = lay_out(prepared, out, overwrite=overwrite)
        journal = Journal(out)
        try:
            ale = _ale(prepared, out, made, connected)
            if compiler is not None:
                compiler.wait()
            # Of a queue's workers only the first may be here yet.
            workers = max(1 if connected is None else sum(connected.nthreads().values()), study.backend.most or 1)
            jobs = jobs_of(prepared, out, made, workers=workers)
            todo = pending(jobs)
            total = sum(job.segment.iterations for job in jobs)
            missing = sum(job.segment.range_of(block)[1] for job, block in todo)
            journal("started", backend=study.backend.name, blocks=len(todo), version=__version__)
            progress = Progress(total, done=total - missing, quiet=quiet)

            def report(step: Step) -> None:
                progress(step)
                journal.step(step)
                also(step)

            try:
                execute(todo, client=connected, report=report)
            finally:
                progress.end()
        except BaseException as error:
            journal("stopped", error=f"{type(error).__name__}: {error}")
            raise
        journal("computed", seconds=round(time.time() - started, 1))
    results, digests = _collect(prepared, out, made, ale)
    return results, _record(study, out, made, results, digests, seconds=time.time() - started)


def _record(
    study: Study,
    out: Place,
    made: Mapping[str, Plan],
    results: Mapping[str, xr.Dataset],
    digests: Mapping[str, str],
    *,
    seconds: float,
) -> dict[str, Any]:
    blocks = {name: [(s.iterations, s.block_size) for s in segments(out, plan)] for name, plan in made.items()}
    return run_record(study, results, digests=digests, segments=blocks, seconds=seconds)


def _ale(prepared: Prepared, out: Place, made: Mapping[str, Plan], client: Client | None) -> dict[str, Any]:
    """Return the ALE (voxel) of every main effect from the stored MA maps."""
    import dask

    if client is None:
        scheduler: Any = dask.config.set(scheduler="synchronous")
    elif all(client.run(sees, out, nonce_of(out)).values()):
        scheduler = client.as_current()
    else:
        # These workers do not see OUT: the driver writes the maps itself.
        scheduler = dask.config.set(scheduler="threads")
    with scheduler:
        maps = {
            name: store_ma(out, name, prepared.samples[name], identity=made[name].identity)
            for name in main_effects_of(prepared.study)
        }
        union = {name: ale_union(m) for name, m in maps.items()}
        for name, arms in prepared.arms.items():
            key = np.concatenate([s.key for s in arms])
            parts = [maps[arm] for arm in prepared.contrast(name).arms]
            union[pooled_name(name)] = ale_union(
                *(m.isel(experiment=np.isin(m["experiment_key"].values, key)) for m in parts)
            )
        return {name: array.values for name, array in xr.Dataset(union).compute().items()}  # type: ignore[misc]


def _collect(
    prepared: Prepared, out: Place, made: Mapping[str, Plan], ale: Mapping[str, Any]
) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    inference = prepared.study.inference
    results: dict[str, xr.Dataset] = {}
    digests: dict[str, str] = {}

    def read(name: str) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64]]]:
        plan = made[name]
        null, counts = gather(
            out,
            plan,
            iterations=iterations_of(plan, inference),
            extra=counts_of(plan),
            nonce=nonce_of(out),
            function=BLOCKS[plan.kind],
        )
        digests[name] = digest(null, *counts.values())
        return null, counts

    for name, chosen in prepared.samples.items():
        results[name] = main_effects.collect(chosen, made[name], read(name)[0], ale=ale[name])
    for name, analysis in prepared.study.analysis.items():
        if isinstance(analysis, Contrast):
            null, counts = read(name)
            a, b = (results[arm] for arm in analysis.arms)
            results[name] = contrasts.collect(
                made[name],
                null,
                counts["exceed"].reshape(2, -1),
                arms=(a, b),
                pooled=results[pooled_name(name)],
                inference=inference,
            ).assign_attrs(name=name)
        elif isinstance(analysis, Conjunction):
            results[name] = conjunctions.collect([results[n] for n in analysis.of], name=name, inference=inference)
    order = list(prepared.study.analysis) + [n for n in results if n not in prepared.study.analysis]
    return {name: results[name] for name in order}, digests


def write(
    results: Mapping[str, xr.Dataset],
    record: Mapping[str, Any],
    out: str | Place,
    *,
    study: Study,
    drawn_by: Painters | DrawsHere | None,
) -> None:
    """Write maps, tables, pictures, the page and run.json of a run into OUT.

    Raises
    ------
    StoreError
        when a file cannot be written.
    """
    out = place(out)
    with staged(out) as folder:
        write_results(results, folder, title=study.title, simulated=study.simulated, drawn_by=drawn_by)
        replace_file(folder / "run.json", (json.dumps(record, indent=2) + "\n").encode())
    Journal(out)("finished")


def collect(out: str | Place) -> tuple[Study, dict[str, xr.Dataset], dict[str, Any]]:
    """Return the study, results and record of a finished run, read from OUT alone.

    Raises
    ------
    StoreError
        when OUT holds no run, or one that is not finished.
    """
    started = time.time()
    out = place(out)
    prepared, made = stored(out)
    results, digests = _collect(prepared, out, made, _ale(prepared, out, made, None))
    return (
        prepared.study,
        results,
        _record(prepared.study, out, made, results, digests, seconds=time.time() - started),
    )


def stored(out: Place) -> tuple[Prepared, dict[str, Plan]]:
    """Return the study and plans that OUT holds.

    Raises
    ------
    StoreError
        when it holds no run.
    """
    prepared = prepare(kept_study(out))
    return prepared, plans(prepared, out=out)
