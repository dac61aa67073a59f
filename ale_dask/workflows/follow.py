"""Follow runs in the background: which process or job computes OUT, how far it is, how to stop it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from ale_dask.errors import InputError, StoreError
from ale_dask.execution.backends.base import Submission
from ale_dask.execution.backends.registry import follower_of
from ale_dask.execution.journal import events
from ale_dask.storage.location import Place, files, place
from ale_dask.workflows.status import AnalysisStatus, status_reader

_WATCH_SECONDS = 2.0
_TAIL = 20


def submitted(out: str | Place) -> Submission | None:
    """Return the last submission of the run in OUT, or None if it was never submitted."""
    path = place(out) / "logs" / "submitted.json"
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        return Submission(**{**content, "jobs": tuple(content["jobs"])})
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{path}: damaged ({error}), it does not say what computes {out}; make sure that nothing does, then delete "
            "this file"
        ) from error


def alive(submission: Submission, out: Place) -> bool | None:
    """Return whether a submission still waits or runs, or None if this machine cannot tell."""
    return follower_of(submission).alive(submission, out)


def describe(submission: Submission) -> str:
    """Return in words which process, jobs, task or DaskJob a submission started."""
    return follower_of(submission).describe(submission)


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
    submission = submitted(out)
    if submission is None:
        raise InputError(f"{out}: was not submitted; stop a `run` with Ctrl-C where it runs")
    if alive(submission, out) is False:
        raise InputError(
            f"{out}: nothing runs any more ({describe(submission)}); `ale-dask status {out}` says how far it is"
        )
    follower_of(submission).cancel(submission, out)
    return f"cancelled: {describe(submission)}; finished blocks are kept, `ale-dask submit {out} -o {out}` goes on"


def follow(
    out: str | Place, tell: Callable[[list[AnalysisStatus]], None], *, going: Callable[[], bool | None] | None = None
) -> bool:
    """Follow a run until nobody computes it any more, and return whether it is complete.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    tell
        Function that is called every two seconds with the `status` of the run.
    going
        Function that returns whether the run goes on, or None if that is unknown; by default its submission is asked.

    Returns
    -------
    bool
        Whether the run is complete: all blocks are done and, if it was submitted, its results are written.

    Examples
    --------
    >>> ale.follow("out", lambda statuses: None)
    True
    """
    out = place(out)
    submission = submitted(out)
    read_status = status_reader(out)
    while True:
        # Asked before the blocks are counted: a run that has ended by now has written its last block.
        runs_on = going() if going else alive(submission, out) if submission else None
        statuses = read_status()
        tell(statuses)
        complete = all(each.done >= each.iterations for each in statuses)
        if runs_on is False or (complete and not runs_on):
            return complete and (going is not None or submission is None or _written(out, since=submission.time))
        time.sleep(_WATCH_SECONDS)


def _written(out: Place, *, since: float) -> bool:
    """Return whether the results of a run were written after a time in seconds since the epoch."""
    return any(event["event"] == "finished" and event["time"] >= since for event in events(out))


def logs(out: str | Place) -> Iterator[str]:
    """Yield lines on the events of a run: its submission, failures with tracebacks, and the last lines of its jobs.

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
        raise StoreError(f"{out}: holds no run, or one that has logged nothing yet")
    if (submission := submitted(out)) is not None:
        yield f"{_clock(submission.time)} submitted: {describe(submission)}"
    for event in events(out):
        details = {k: v for k, v in event.items() if k not in ("time", "event", "driver", "error")}
        text = ", ".join(f"{key} {value}" for key, value in details.items())
        yield f"{_clock(event['time'])} {event['event']}{f': {text}' if text else ''} ({event['driver']})"
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
    if submission is not None:
        yield from follower_of(submission).logs(submission)


def _clock(seconds: float) -> str:
    """Return the local date and time of seconds since the epoch."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
