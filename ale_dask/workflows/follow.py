"""Runs that go on by themselves: who runs OUT, how far it is, how it is stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ale_dask.config.study import Backend
from ale_dask.errors import BackendError, InputError, StoreError, UnfinishedError
from ale_dask.execution.backends import kubernetes, slurm
from ale_dask.execution.backends.connect import noticing_loss
from ale_dask.execution.backends.existing import at_address, from_file
from ale_dask.execution.journal import events
from ale_dask.storage.location import Place, files, place, replace_file
from ale_dask.workflows.maintain import Standing, Watch

_WATCH_SECONDS = 2.0
_TAIL = 20


@dataclass(frozen=True)
class Submission:
    """Who runs OUT: written there, so that any machine that sees it can follow and cancel."""

    id: str
    how: str
    """process, slurm, dask or kubernetes."""
    host: str
    time: float
    pid: int | None = None
    created: float | None = None
    """When the process was made (s since 1970): a number alone may be another's by now."""
    jobs: tuple[str, ...] = ()
    scheduler: str | None = None
    log: str | None = None
    namespace: str | None = None
    context: str | None = None
    """Of the kubeconfig that it was submitted with."""


def submitted(out: str | Place) -> Submission | None:
    """Return the last submission of the run in OUT, or None if it was never submitted."""
    path = place(out) / "logs" / "submitted.json"
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_bytes())
        return Submission(**{**kept, "jobs": tuple(kept["jobs"])})
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path}: damaged ({error}), who runs {out} is not known; make sure that nobody does and delete this file"
        ) from error


def alive(submission: Submission, out: Place) -> bool | None:
    """Return whether a submission still waits or runs, or None when it cannot be told from this machine."""
    if submission.how == "slurm":
        return queued(submission.jobs)
    if submission.how == "kubernetes":
        return kubernetes.running(**_job(submission))
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


def _job(submission: Submission) -> dict[str, Any]:
    where = {"namespace": submission.namespace or "default", "context": submission.context}
    return {"name": submission.jobs[0], **where}


def _driven(submission: Submission) -> bool | None:
    """Return whether the scheduler still has the task of a submission, or None when it does not answer."""
    from distributed import wait

    name = submission.scheduler or ""
    find = from_file if name.endswith(".json") else at_address
    try:
        with contextlib.ExitStack() as stack:
            client = find(Backend(name=name), stack)
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


def queued(jobs: Sequence[str]) -> bool | None:
    """Return whether any of these Slurm jobs waits or runs, or None when Slurm does not say."""
    try:
        return bool(slurm.queued(jobs))
    except BackendError:
        # Also when the controller does not answer for a moment.
        return None


def describe(submission: Submission) -> str:
    """Return in words who runs: process, jobs, task or DaskJob."""
    if submission.how == "slurm":
        return f"Slurm job {' and '.join(submission.jobs)}"
    if submission.how == "kubernetes":
        return f"DaskJob {submission.jobs[0]} in namespace {submission.namespace}"
    if submission.how == "dask":
        return f"task ale-run-{submission.id[:8]} at {submission.scheduler}"
    return f"process {submission.pid} on {submission.host}"


def cancel(out: str | Place) -> str:
    """Cancel the submitted run of a folder; finished blocks are kept.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.

    Returns
    -------
    str
        Sentence that says what was stopped.

    Raises
    ------
    InputError
        When the folder was not submitted, or its run has ended.
    BackendError
        When the run is on another machine.

    Examples
    --------
    >>> try:
    ...     ale.cancel("out")
    ... except ale.InputError:
    ...     print("it was never submitted")
    it was never submitted
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
    elif found.how == "kubernetes":
        kubernetes.delete(**_job(found))
    elif found.how == "dask":
        replace_file(out / "logs" / f"stop-{found.id}", b"")
    elif state is None or found.pid is None:
        raise BackendError(f"{out}: runs on {found.host} ({describe(found)}); give the same command there")
    else:
        os.killpg(found.pid, signal.SIGTERM)
    return f"cancelled: {describe(found)}; finished blocks are kept, `ale-dask submit {out} -o {out}` goes on"


def follow(
    out: str | Place, tell: Callable[[list[Standing]], None], *, going: Callable[[], bool | None] | None = None
) -> bool:
    """Follow a run until nobody computes it any more, and return whether it is complete.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    tell
        Called every two seconds with the `status` of the run.
    going
        Says whether the run goes on, None if that cannot be told; by default its submission is asked.

    Returns
    -------
    bool
        Whether the run is complete: with its results if it was submitted, otherwise with all its blocks.

    Examples
    --------
    >>> ale.follow("out", lambda standings: None)
    True
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


def logs(out: str | Place) -> Iterator[str]:
    """Yield lines on what happened to a run: its submission, failures with tracebacks, the ends of the jobs' logs.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.

    Yields
    ------
    str
        One line.

    Raises
    ------
    StoreError
        When the folder holds no run.

    Examples
    --------
    >>> lines = list(ale.logs("out"))
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
    texts = {
        name: (out / "logs" / name).read_bytes().decode(errors="replace")
        for name in sorted(names)
        if name.endswith((".out", ".log"))
    }
    for name, text in texts.items():
        lines = text.rstrip().splitlines()
        yield f"--- {name}" + (f", last {_TAIL} of {len(lines)} lines" if len(lines) > _TAIL else "")
        yield from lines[-_TAIL:]
    if found is not None and found.how == "kubernetes":
        yield from kubernetes.said(**_job(found))


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
