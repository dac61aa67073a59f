"""Runs that go on by themselves: who runs OUT, how far it is, how it is stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

from ale_dask.errors import InputError, StoreError
from ale_dask.execution.backends.base import Submission
from ale_dask.execution.backends.registry import follower_of
from ale_dask.execution.journal import events
from ale_dask.storage.location import Place, files, place
from ale_dask.workflows.maintain import Standing, Watch

_WATCH_SECONDS = 2.0
_TAIL = 20


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
    return follower_of(submission).alive(submission, out)


def describe(submission: Submission) -> str:
    """Return in words who runs: process, jobs, task or DaskJob."""
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
    found = submitted(out)
    if found is None:
        raise InputError(f"{out}: was not submitted; stop a `run` with Ctrl-C where it runs")
    if alive(found, out) is False:
        raise InputError(
            f"{out}: nothing runs any more ({describe(found)}); `ale-dask status {out}` says how far it is"
        )
    follower_of(found).cancel(found, out)
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
    if found is not None:
        yield from follower_of(found).logs(found)


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
