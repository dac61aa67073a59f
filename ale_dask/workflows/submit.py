"""Start runs in the background.

`submit` writes the plans of a study to OUT and starts `ale-dask run OUT` where it outlives the terminal: as a process
group of this machine, as Slurm jobs, or as a task of a Dask scheduler that is already running.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ale_dask.config.backend import Backend
from ale_dask.config.study import Study
from ale_dask.errors import InputError, UnfinishedError
from ale_dask.execution.backends.base import DetachedRun, Submission, cancelled_on_error
from ale_dask.execution.backends.registry import backend_of
from ale_dask.execution.executors import Step
from ale_dask.storage.location import Place, create_once, place, remove_file, replace_file
from ale_dask.storage.ownership import claim, holds_atlas, holds_sweep
from ale_dask.workflows import run
from ale_dask.workflows.follow import alive, describe, follow, submitted
from ale_dask.workflows.literature_runs import keep_about, run_literature, stored_literature
from ale_dask.workflows.prepare import prepare
from ale_dask.workflows.run_directory import create_run, folders_of, run_token, stored_study
from ale_dask.workflows.status import AnalysisStatus
from ale_dask.workflows.sweep import create_sweep, plan_sweep, run_planned
from ale_dask.workflows.sweep_cells import Axes

_STOP_SECONDS = 2.0
_SUBMIT_SECONDS = 300.0


def submit(
    study: Study,
    out: str | Place,
    *,
    overwrite: bool = False,
    pictures: bool = True,
    axes: Axes | None = None,
) -> Submission:
    """Submit a study: start a run in the background that ends with maps, tables and report, or a sweep of it.

    Parameters
    ----------
    study
        Study, from `load_study`; its backend decides where it runs.
    out
        Folder of the run, or its address in object storage.
    overwrite
        Replace a run of another study or of other settings; it is an error otherwise.
    pictures
        Draw the figures of the report.
    axes
        Values of each setting of a sweep by its name; `{}` takes `[sweep]` of the study. By default it is a run.

    Returns
    -------
    Submission
        Process, jobs or task that was started; the folder keeps it for `follow` and `cancel`.

    Raises
    ------
    UnfinishedError
        When an earlier submission of the folder still runs.
    BackendError
        When nothing can be started, or the workers do not see the folder.
    InputError, StoreError
        As `run`; nothing has been started then.

    Examples
    --------
    >>> submission = ale.submit(ale.load_study("study.toml"), "later", pictures=False)
    >>> ale.follow("later", lambda statuses: None)
    True
    """
    out = place(out)
    _refuse_second(out)
    write = _run_writer(study, out, overwrite=overwrite) if axes is None else _sweep_writer(study, out, axes)
    return _submitted(out, write, backend=study.backend, pictures=pictures)


def submit_literature(out: str | Place, *, backend: Backend | None = None) -> Submission:
    """Submit the sets of a database that OUT holds, to a backend or to the one that OUT names.

    Raises
    ------
    UnfinishedError, BackendError, StoreError
        as `submit`.
    """
    out = place(out)
    _, about, kept = stored_literature(out)
    backend = backend or kept
    return _submitted(out, partial(keep_about, out, about, backend=backend), backend=backend, pictures=True)


def _submitted(out: Place, write: Callable[[], Any], *, backend: Backend, pictures: bool) -> Submission:
    """Return the submission of OUT to a backend; `write` writes what it needs to OUT."""
    with _submission_lock(out):
        _refuse_second(out)

        def create() -> str:
            write()
            return run_token(out)

        options = () if pictures else ("--no-pictures",)
        run = DetachedRun(out, create, partial(_run_on_worker, out=out, pictures=pictures), options)
        submission = backend_of(backend).submit(run)
        replace_file(out / "logs" / "submitted.json", (json.dumps(asdict(submission), indent=2) + "\n").encode())
        return submission


def _run_writer(study: Study, out: Place, *, overwrite: bool) -> Callable[[], Any]:
    """Return the function that writes the plans of a run to OUT; the study has been read by then."""
    prepared = prepare(study)
    claim(out, folders_of(prepared))
    return partial(create_run, prepared, out, overwrite=overwrite, backend=study.backend)


def _sweep_writer(study: Study, out: Place, axes: Axes) -> Callable[[], Any]:
    """Return the function that writes the plans of a sweep to OUT; all combinations have been checked by then."""
    if backend_of(study.backend).array_first:
        raise InputError(
            f"[backend] {study.backend.kind}: its jobs compute the blocks of runs; give a sweep another backend"
        )
    planned = plan_sweep(study, axes or None)
    claim(out, ())
    return partial(create_sweep, planned, out)


def _refuse_second(out: Place) -> None:
    """Raise UnfinishedError if an earlier submission of OUT still runs."""
    before = submitted(out)
    if before is not None and alive(before, out):
        raise UnfinishedError(
            f"{out}: a run is under way ({describe(before)}); `ale-dask status {out} --watch` follows it, "
            f"`ale-dask cancel {out}` stops it"
        )


@contextlib.contextmanager
def _submission_lock(out: Place) -> Iterator[None]:
    """Hold a file in OUT that keeps other processes from submitting it.

    Raises
    ------
    UnfinishedError
        when another process is submitting it.
    """
    path, own = out / "logs" / "submitting", f"{uuid.uuid4().hex} {time.time():.0f}".encode()
    holder = create_once(path, own)
    if holder != own:
        since = holder.decode(errors="replace").partition(" ")[2]
        # A process that was killed while it held the file does not hold it forever.
        if since.isdecimal() and time.time() - float(since) < _SUBMIT_SECONDS:
            raise UnfinishedError(
                f"{out}: another submit of it is under way, and nothing more was started; "
                f"`ale-dask status {out} --watch` follows it"
            )
        replace_file(path, own)
    try:
        yield
    finally:
        remove_file(path)
        if isinstance(out, Path):
            # A refused submission leaves no empty folder behind.
            with contextlib.suppress(OSError):
                (out / "logs").rmdir()
                out.rmdir()


def job_scripts(backend: Backend, out: str | Place) -> str:
    """Return the job script or manifests that `submit` would send, or the script of one worker job of another queue.

    Raises
    ------
    BackendError
        for a backend that has no script.
    """
    return backend_of(backend).script(place(out))


def _run_on_worker(submission: str, *, out: Place, pictures: bool) -> None:
    """Run OUT to its end inside a Dask task; if the worker dies, Dask starts the task again on another one."""
    from distributed import worker_client

    last_look = time.monotonic()

    def stop(step: Step) -> None:
        nonlocal last_look
        if time.monotonic() - last_look > _STOP_SECONDS:
            last_look = time.monotonic()
            if (out / "logs" / f"stop-{submission}").is_file():
                raise UnfinishedError("cancelled; finished blocks are kept, the same command resumes")

    with worker_client() as client:
        if holds_atlas(out):
            run_literature(out, quiet=True, client=client, on_step=stop)
            return
        study = stored_study(out)
        if holds_sweep(out):
            run_planned(plan_sweep(study, keep_going=True), out, quiet=True, client=client, on_step=stop)
            return
        results, record = run.run(study, out, quiet=True, client=client, on_step=stop)
    run.write(results, record, out, study=study, pictures=pictures)


def run_array(
    study: Study, out: str | Place, *, overwrite: bool = False, tell: Callable[[list[AnalysisStatus]], None]
) -> None:
    """Write the plans of a study to OUT, let a Slurm job array compute their blocks, and wait until it has ended.

    Raises
    ------
    UnfinishedError
        when the array ended before all blocks were done.
    BackendError, InputError, StoreError
        as `submit`.
    """
    out = place(out)
    create_run(prepare(study), out, overwrite=overwrite, backend=study.backend)
    backend = backend_of(study.backend)
    array = backend.start_array(out)
    with cancelled_on_error(backend, array, out):
        complete = follow(out, tell, going=lambda: backend.alive(array, out))
    if not complete:
        raise UnfinishedError(
            f"{out}: {backend.describe(array)} ended before it was done; `ale-dask logs {out}` says why, the same "
            "command resumes"
        )
