"""Runs that go on by themselves: how they are started.

`submit` lays the study out in OUT and starts `ale-dask run OUT` where it outlives the terminal: as a process group of
this machine, as Slurm jobs, or as a task of a Dask scheduler that was there before.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ale_dask.analyses.study_plans import PreparedStudy
from ale_dask.config.study import Backend, Study
from ale_dask.errors import BackendError, UnfinishedError
from ale_dask.execution.backends import kubernetes, slurm
from ale_dask.execution.backends.connect import connect
from ale_dask.execution.backends.kubernetes_manifests import as_yaml, job_name, manifests, options_of
from ale_dask.execution.block_store import shares_storage
from ale_dask.execution.executors import Step
from ale_dask.storage.location import Place, create_once, place, remove_file, replace_file
from ale_dask.storage.ownership import claim
from ale_dask.workflows import run
from ale_dask.workflows.follow import Submission, alive, describe, follow, queued, submitted
from ale_dask.workflows.maintain import Standing
from ale_dask.workflows.prepare import prepare
from ale_dask.workflows.run_directory import create_run, folders_of, kept_study, run_token

if TYPE_CHECKING:
    from distributed import Client

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
    >>> submission = ale.submit(ale.load_study("study.toml"), "later")  # doctest: +SKIP
    >>> ale.follow("later", print)  # doctest: +SKIP
    """
    out = place(out)
    _refuse_second(out)
    backend, prepared = study.backend, prepare(study)
    claim(out, folders_of(prepared))
    with _alone(out):
        _refuse_second(out)
        return _started(study, prepared, out, backend, overwrite=overwrite, pictures=pictures)


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


def _started(
    study: Study, prepared: PreparedStudy, out: Place, backend: Backend, *, overwrite: bool, pictures: bool
) -> Submission:
    extra = [] if pictures else ["--no-pictures"]
    if backend.name in ("slurm-array", "slurm"):
        create_run(prepared, out, overwrite=overwrite, backend=backend)
        made = _to_slurm(backend, out, extra)
    elif backend.name == "kubernetes":
        made = _new("kubernetes")
        name = job_name(out, unique=made.id)
        documents = manifests(backend, out, name=name, arguments=extra)
        context = options_of(backend).context
        # What the cluster would refuse leaves nothing behind.
        kubernetes.create(documents, context=context, dry_run=True)
        create_run(prepared, out, overwrite=overwrite, backend=backend)
        namespace = kubernetes.create(documents, context=context)
        made = replace(made, jobs=(name,), namespace=namespace, context=context)
    elif (address := _scheduler(backend)) is not None:
        with connect(backend.model_copy(update={"name": address})) as client:
            assert client is not None
            create_run(prepared, out, overwrite=overwrite, backend=backend)
            made = _to_dask(client, out, pictures=pictures, address=address)
    else:
        create_run(prepared, out, overwrite=overwrite, backend=backend)
        made = _to_process(out, extra)
    replace_file(out / "logs" / "submitted.json", (json.dumps(asdict(made), indent=2) + "\n").encode())
    return made


def _scheduler(backend: Backend) -> str | None:
    """Return the name of a backend that was there before and stays, or None."""
    if backend.name == "auto":
        import dask

        return dask.config.get("scheduler-address", None)  # type: ignore[no-any-return]
    return backend.name if backend.name.startswith(("tcp://", "tls://")) or backend.name.endswith(".json") else None


def _new(how: str, **what: Any) -> Submission:
    return Submission(uuid.uuid4().hex, how, socket.gethostname(), time.time(), **what)


def _to_process(out: Place, extra: list[str]) -> Submission:
    import psutil

    now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    if isinstance(out, Path):
        log = out.resolve() / "logs" / f"run-{now}.log"
    else:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        log = Path(state) / "ale_dask" / f"{out.name}-{now}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    where = str(out.resolve() if isinstance(out, Path) else out)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "ale_dask.cli", "run", where, "-o", where, *extra],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            # A group of its own: closing the terminal does not reach it.
            start_new_session=True,
        )
    return _new("process", pid=process.pid, created=psutil.Process(process.pid).create_time(), log=str(log))


def job_scripts(study: Study, out: str | Place) -> str:
    """Return what `submit` would hand to Slurm or Kubernetes, or the script of one worker job of another queue.

    Raises
    ------
    BackendError
        for a backend that is none of them.
    """
    if study.backend.name == "slurm-array":
        return slurm.script(study.backend)
    if study.backend.name == "kubernetes":
        out = place(out)
        return as_yaml(manifests(study.backend, out, name=job_name(out, unique=uuid.uuid4().hex)))
    from ale_dask.execution.backends.queues import job_script

    return job_script(study.backend)


def start_array(backend: Backend, out: Place) -> str:
    """Return the id of a Slurm job array whose tasks compute the blocks that OUT lacks."""
    tasks = backend.most or slurm.ARRAY_TASKS
    options = [f"--array=0-{tasks - 1}" + (f"%{backend.least}" if backend.least != backend.most else "")]
    return slurm.submit(slurm.script(backend), [_absolute(out)], options=options, logs=_logs(out))


def _to_slurm(backend: Backend, out: Place, extra: list[str]) -> Submission:
    script, larger = slurm.script(backend), slurm.of_the_last(backend)
    if backend.name == "slurm":
        # The driver is a job too; its workers are jobs that it submits.
        job = slurm.submit(script, [_absolute(out), "-b", "slurm", *extra], options=larger, logs=_logs(out))
        return _new("slurm", jobs=(job,), log=str(_logs(out) or ""))
    array = start_array(backend, out)
    with _cancelled_on_error(array):
        after = [f"--dependency=afterany:{array}", *larger]
        last = slurm.submit(script, [_absolute(out), *extra], options=after, logs=_logs(out))
    return _new("slurm", jobs=(array, last), log=str(_logs(out) or ""))


@contextlib.contextmanager
def _cancelled_on_error(array: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(BackendError):
            slurm.cancel([array])
        raise


def _absolute(out: Place) -> str:
    return str(out.resolve() if isinstance(out, Path) else out)


def _logs(out: Place) -> Path | None:
    return out / "logs" if isinstance(out, Path) else None


def _to_dask(client: Client, out: Place, *, pictures: bool, address: str) -> Submission:
    blind = [worker for worker, seen in client.run(shares_storage, out, run_token(out)).items() if not seen]
    if blind:
        raise BackendError(
            f"{len(blind)} worker(s) do not see {out}, first {blind[0]}: put OUT on a file system or in object storage "
            "that all see, or use `run`, which stays here and writes for them"
        )
    made = _new("dask", scheduler=address)
    task = client.submit(_drive, out, made.id, pictures, key=f"ale-run-{made.id}")
    # Published, it goes on without this client, and any other can ask for its state.
    client.publish_dataset(task, name=task.key)
    return made


def _drive(out: Place, submission: str, pictures: bool) -> None:
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
    array = start_array(study.backend, out)
    with _cancelled_on_error(array):
        complete = follow(out, tell, going=lambda: queued([array]))
    if not complete:
        raise UnfinishedError(
            f"{out}: Slurm job {array} ended before it was done; `ale-dask logs {out}` says why, the same command "
            "resumes"
        )
