"""Runs that go on by themselves: how they are started.

`submit` lays the study out in OUT and starts `ale-dask run OUT` where it outlives the terminal: as a process group of
this machine, as Slurm jobs, or as a task of a Dask scheduler that was there before.
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

from ale_dask.config.study import Study
from ale_dask.errors import UnfinishedError
from ale_dask.execution.backends.base import DetachedRun, Submission, cancelled_on_error
from ale_dask.execution.backends.registry import backend_of
from ale_dask.execution.executors import Step
from ale_dask.storage.location import Place, create_once, place, remove_file, replace_file
from ale_dask.storage.ownership import claim
from ale_dask.workflows import run
from ale_dask.workflows.follow import alive, describe, follow, submitted
from ale_dask.workflows.maintain import Standing
from ale_dask.workflows.prepare import prepare
from ale_dask.workflows.run_directory import create_run, folders_of, kept_study, run_token

_STOP_SECONDS = 2.0
_SUBMIT_SECONDS = 300.0


def submit(study: Study, out: str | Place, *, overwrite: bool = False, pictures: bool = True) -> Submission:
    """Submit a study: start a run that goes on by itself and ends with maps, tables and report.

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

    Returns
    -------
    Submission
        Way in which it was started, and where; kept in the folder for `follow` and `cancel`.

    Raises
    ------
    UnfinishedError
        When an earlier submission of the folder still runs.
    BackendError
        When nothing can be started, or the workers do not see the folder.
    InputError, StoreError
        As `run`; nothing was started then.

    Examples
    --------
    >>> submission = ale.submit(ale.load_study("study.toml"), "later", pictures=False)
    >>> ale.follow("later", lambda standings: None)
    True
    """
    out = place(out)
    _refuse_second(out)
    prepared = prepare(study)
    claim(out, folders_of(prepared))
    with _alone(out):
        _refuse_second(out)

        def create() -> str:
            create_run(prepared, out, overwrite=overwrite, backend=study.backend)
            return run_token(out)

        options = () if pictures else ("--no-pictures",)
        run = DetachedRun(out, create, partial(_drive, out=out, pictures=pictures), options)
        made = backend_of(study.backend).submit(run)
        replace_file(out / "logs" / "submitted.json", (json.dumps(asdict(made), indent=2) + "\n").encode())
        return made


def _refuse_second(out: Place) -> None:
    before = submitted(out)
    if before is not None and alive(before, out):
        raise UnfinishedError(
            f"{out}: a run is under way ({describe(before)}); `ale-dask status {out} --watch` follows it, "
            f"`ale-dask cancel {out}` stops it"
        )


@contextlib.contextmanager
def _alone(out: Place) -> Iterator[None]:
    """Let nobody else submit OUT inside the context.

    Raises
    ------
    UnfinishedError
        when somebody else is about to.
    """
    path, mine = out / "logs" / "submitting", f"{uuid.uuid4().hex} {time.time():.0f}".encode()
    held = create_once(path, mine)
    if held != mine:
        since = held.decode(errors="replace").partition(" ")[2]
        # One that was killed on its way is forgotten.
        if since.isdecimal() and time.time() - float(since) < _SUBMIT_SECONDS:
            raise UnfinishedError(
                f"{out}: another submit of it is under way, and nothing more was started; "
                f"`ale-dask status {out} --watch` follows it"
            )
        replace_file(path, mine)
    try:
        yield
    finally:
        remove_file(path)
        if isinstance(out, Path):
            # What was refused leaves nothing behind.
            with contextlib.suppress(OSError):
                (out / "logs").rmdir()
                out.rmdir()


def job_scripts(study: Study, out: str | Place) -> str:
    """Return what `submit` would hand to Slurm or Kubernetes, or the script of one worker job of another queue.

    Raises
    ------
    BackendError
        for a backend that is none of them.
    """
    return backend_of(study.backend).script(place(out))


def _drive(submission: str, *, out: Place, pictures: bool) -> None:
    """On a worker: run OUT to its end; when this worker dies, Dask starts it again on another."""
    from distributed import worker_client

    from ale_dask.reporting.figures.figure_workers import InProcessFigures

    looked = time.monotonic()

    def stop(step: Step) -> None:
        nonlocal looked
        if time.monotonic() - looked > _STOP_SECONDS:
            looked = time.monotonic()
            if (out / "logs" / f"stop-{submission}").is_file():
                raise UnfinishedError("cancelled; finished blocks are kept, the same command resumes")

    study = kept_study(out)
    with worker_client() as client:
        results, record = run.run(study, out, quiet=True, client=client, also=stop)
    run.write(results, record, out, study=study, drawn_by=InProcessFigures() if pictures else None)


def run_array(
    study: Study, out: str | Place, *, overwrite: bool = False, tell: Callable[[list[Standing]], None]
) -> None:
    """Lay a study out, have a Slurm job array compute its blocks, and wait for the array's end.

    Raises
    ------
    UnfinishedError
        when the array ended before all blocks were there.
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
            "command "
            "resumes"
        )
