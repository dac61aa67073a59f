"""Runs that go on by themselves: started, followed, cancelled. OUT remembers who runs it.

`submit` lays the study out in OUT and starts `ale-dask run OUT` where it outlives the terminal: as a process group of
this machine, as Slurm jobs, or as a task of a Dask scheduler that was there before.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ale_dask import runs
from ale_dask.data.places import Place, files, place, replace_file
from ale_dask.distribution import slurm
from ale_dask.distribution.backends import connect, noticing_loss
from ale_dask.distribution.executors import Step
from ale_dask.distribution.existing import at_address, from_file
from ale_dask.distribution.journal import events
from ale_dask.distribution.segments import sees
from ale_dask.study import prepare
from ale_dask.upkeep import Standing, Watch
from ale_dask.words.config import Backend, Study
from ale_dask.words.errors import BackendError, InputError, StoreError, UnfinishedError

if TYPE_CHECKING:
    from distributed import Client

_STOP_SECONDS = 2.0
_WATCH_SECONDS = 2.0
_TAIL = 20


@dataclass(frozen=True)
class Submission:
    """Who runs OUT: written there, so that any machine that sees it can follow and cancel."""

    id: str
    how: str
    """process, slurm or dask."""
    host: str
    time: float
    pid: int | None = None
    created: float | None = None
    """When the process was made (s since 1970): a number alone may be another's by now."""
    jobs: tuple[str, ...] = ()
    scheduler: str | None = None
    log: str | None = None


def submitted(out: str | Place) -> Submission | None:
    """Return the last submission of the run in OUT, or None if it was never submitted."""
    path = place(out) / "logs" / "submitted.json"
    if not path.is_file():
        return None
    kept = json.loads(path.read_text())
    return Submission(**{**kept, "jobs": tuple(kept["jobs"])})


def alive(submission: Submission, out: Place) -> bool | None:
    """Return whether a submission still waits or runs, or None when it cannot be told from this machine."""
    if submission.how == "slurm":
        return _queued(submission.jobs)
    if submission.how == "dask":
        said = [event for event in events(out) if event["time"] >= submission.time]
        return False if said and said[-1]["event"] in ("stopped", "finished") else _driven(submission)
    if submission.host != socket.gethostname() or submission.pid is None:
        return None
    import psutil

    try:
        process = psutil.Process(submission.pid)
        # A zombie has ended; nobody has asked for its exit code yet.
        return bool(process.create_time() == submission.created and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _driven(submission: Submission) -> bool | None:
    """Return whether the scheduler still has the task of a submission, or None when it does not answer."""
    from distributed import wait

    name = submission.scheduler or ""
    find = from_file if name.endswith(".json") else at_address
    try:
        with contextlib.ExitStack() as stack:
            client = find(Backend(name=name), stack, lambda text: None)
            with noticing_loss(client), client.as_current(), contextlib.suppress(TimeoutError):
                # The state of a published future comes a moment after it; no state in time is "pending".
                wait(client.get_dataset(f"ale-run-{submission.id}"), timeout=1)
                return False
            return True
    except KeyError:
        # Another scheduler at the same address.
        return False
    except (BackendError, UnfinishedError):
        return None


def _queued(jobs: Sequence[str]) -> bool | None:
    try:
        return bool(slurm.queued(jobs))
    except BackendError:
        # Also when the controller does not answer for a moment.
        return None


def submit(study: Study, out: str | Place, *, overwrite: bool = False, pictures: bool = True) -> Submission:
    """Return the submission of a study that now runs by itself into OUT; it ends with maps, tables and report.

    Raises
    ------
    UnfinishedError
        when an earlier submission of OUT still runs.
    BackendError
        when nothing can be started, or the workers do not see OUT.
    InputError, StoreError
        as `run`; nothing was started then.
    """
    out = place(out)
    before = submitted(out)
    if before is not None and alive(before, out):
        raise UnfinishedError(
            f"{out}: a run is under way ({describe(before)}); `ale-dask status {out} --watch` follows it, "
            f"`ale-dask cancel {out}` stops it"
        )
    backend, prepared = study.backend, prepare(study)
    extra = [] if pictures else ["--no-pictures"]
    if backend.name in ("slurm-array", "slurm"):
        runs.lay_out(prepared, out, overwrite=overwrite, backend=backend)
        made = _to_slurm(backend, out, extra)
    elif (address := _scheduler(backend)) is not None:
        with connect(backend.model_copy(update={"name": address})) as client:
            assert client is not None
            runs.lay_out(prepared, out, overwrite=overwrite, backend=backend)
            made = _to_dask(client, out, pictures=pictures, address=address)
    else:
        runs.lay_out(prepared, out, overwrite=overwrite, backend=backend)
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


def job_scripts(study: Study) -> str:
    """Return what `submit` would hand to Slurm for a study, or the script of one worker job of another queue.

    Raises
    ------
    BackendError
        for a backend that is not a queue.
    """
    if study.backend.name == "slurm-array":
        return slurm.script(study.backend)
    from ale_dask.distribution.queues import job_script

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
    blind = [worker for worker, seen in client.run(sees, out, runs.nonce_of(out)).items() if not seen]
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

    from ale_dask.results.painters import DrawsHere

    looked = time.monotonic()

    def stop(step: Step) -> None:
        nonlocal looked
        if time.monotonic() - looked > _STOP_SECONDS:
            looked = time.monotonic()
            if (out / "logs" / f"stop-{submission}").is_file():
                raise UnfinishedError("cancelled; finished blocks are kept, the same command resumes")

    study = runs.kept_study(out)
    with worker_client() as client:
        results, record = runs.run(study, out, quiet=True, client=client, also=stop)
    runs.write(results, record, out, study=study, drawn_by=DrawsHere() if pictures else None)


def cancel(out: str | Place) -> str:
    """Return in words what was stopped: the submission of OUT; finished blocks are kept.

    Raises
    ------
    InputError
        when OUT was not submitted, or its run has ended.
    BackendError
        when it runs on another machine.
    """
    out = place(out)
    found = submitted(out)
    if found is None:
        raise InputError(f"{out}: was not submitted; stop a `run` with Ctrl-C where it runs")
    state = alive(found, out)
    if state is False:
        raise InputError(
            f"{out}: nothing runs any more ({describe(found)}); `ale-dask status {out}` says how far it is"
        )
    if found.how == "slurm":
        slurm.cancel(found.jobs)
    elif found.how == "dask":
        replace_file(out / "logs" / f"stop-{found.id}", b"")
    elif state is None or found.pid is None:
        raise BackendError(f"{out}: runs on {found.host} ({describe(found)}); give the same command there")
    else:
        os.killpg(found.pid, signal.SIGTERM)
    return f"cancelled: {describe(found)}; finished blocks are kept, `ale-dask submit {out} -o {out}` goes on"


def describe(submission: Submission) -> str:
    """Return in words who runs: process, jobs or task."""
    if submission.how == "slurm":
        return f"Slurm job {' and '.join(submission.jobs)}"
    if submission.how == "dask":
        return f"task ale-run-{submission.id[:8]} at {submission.scheduler}"
    return f"process {submission.pid} on {submission.host}"


def follow(
    out: str | Place, tell: Callable[[list[Standing]], None], *, going: Callable[[], bool | None] | None = None
) -> bool:
    """Return whether OUT is complete, as soon as nobody runs it any more, telling how far it is every two seconds.

    What was submitted is complete with its results. Of a run that was not, nothing is known but its blocks: it is
    followed until they are there.
    """
    out = place(out)
    found = submitted(out)
    watch = Watch(out)
    while True:
        # Asked first: who has ended by then has written its last block.
        runs_on = going() if going else alive(found, out) if found else None
        standings = watch()
        tell(standings)
        complete = all(each.done >= each.iterations for each in standings)
        if runs_on is False or (complete and not runs_on):
            return complete and (going is not None or found is None or _written(out, since=found.time))
        time.sleep(_WATCH_SECONDS)


def _written(out: Place, *, since: float) -> bool:
    return any(event["event"] == "finished" and event["time"] >= since for event in events(out))


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
    runs.lay_out(prepare(study), out, overwrite=overwrite, backend=study.backend)
    array = start_array(study.backend, out)
    with _cancelled_on_error(array):
        complete = follow(out, tell, going=lambda: _queued([array]))
    if not complete:
        raise UnfinishedError(
            f"{out}: Slurm job {array} ended before it was done; `ale-dask logs {out}` says why, the same command "
            "resumes"
        )


def logs(out: str | Place) -> Iterator[str]:
    """Yield lines on what happened to a run: its submission, events with their tracebacks, ends of the jobs' logs.

    Raises
    ------
    StoreError
        when OUT holds no run.
    """
    out = place(out)
    names = files(out / "logs")
    if not names:
        raise StoreError(f"{out}: holds no run, or one that has said nothing yet")
    if (found := submitted(out)) is not None:
        yield f"{_clock(found.time)} submitted: {describe(found)}"
    for event in events(out):
        what = {k: v for k, v in event.items() if k not in ("time", "event", "driver", "error")}
        said = ", ".join(f"{key} {value}" for key, value in what.items())
        yield f"{_clock(event['time'])} {event['event']}: {said} ({event['driver']})"
        yield from (f"    {line}" for line in str(event.get("error", "")).rstrip().splitlines())
    texts = {name: (out / "logs" / name).read_text() for name in sorted(names) if name.endswith((".out", ".log"))}
    for name, text in texts.items():
        lines = text.rstrip().splitlines()
        yield f"--- {name}" + (f", last {_TAIL} of {len(lines)} lines" if len(lines) > _TAIL else "")
        yield from lines[-_TAIL:]


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
