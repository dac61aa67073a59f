"""The events of a run, such as failed blocks: one file of JSON lines per driver in OUT/logs, merged when read."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ale_dask.errors import StoreError
from ale_dask.execution.executors import Step
from ale_dask.storage.location import Place, files, replace_file

_MOST_LINES = 10_000
_NUMBER = itertools.count()


class Journal:
    """The events of one driver; every event writes the whole file anew, so there must be few of them."""

    def __init__(self, out: Place) -> None:
        now = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        # A second journal of this process, begun in the same second, must not replace the first one's file.
        self.out = out
        self.path = out / "logs" / f"events-{now}.{next(_NUMBER)}-{socket.gethostname()}-{os.getpid()}.jsonl"
        self.lines: list[str] = []

    def __call__(self, event: str, **what: Any) -> None:
        """Write an event with the time (s since 1970)."""
        self.lines.append(json.dumps({"time": round(time.time(), 3), "event": event, **what}))
        # A folder OUT that was removed during the run must not be made again for this file alone.
        gone = isinstance(self.out, Path) and not self.out.is_dir()
        if len(self.lines) <= _MOST_LINES and not gone:
            # On a full disk, a failure to write this file must not hide the error that tells of it.
            with contextlib.suppress(StoreError):
                replace_file(self.path, "".join(f"{line}\n" for line in self.lines).encode())

    def step(self, step: Step) -> None:
        """Write an event about an attempt that failed."""
        if step.error is not None:
            self(
                "gave up" if step.failed else "failed",
                analysis=step.name,
                block=step.block,
                attempt=step.attempt,
                error=step.error,
            )


def events(out: Place) -> Iterator[dict[str, Any]]:
    """Yield the events of all drivers of a run in the order of their time, with the driver's host and process."""
    merged = []
    for name in files(out / "logs"):
        if name.startswith("events-") and name.endswith(".jsonl"):
            driver = name.removeprefix("events-").removesuffix(".jsonl").partition("-")[2]
            for line in (out / "logs" / name).read_bytes().decode(errors="replace").splitlines():
                if (event := _event(line)) is not None:
                    merged.append(event | {"driver": driver})
    yield from sorted(merged, key=lambda event: float(event["time"]))


def _event(line: str) -> dict[str, Any] | None:
    """Return the event of a line, or None for one that is damaged: nothing is computed from events."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    known = isinstance(event, dict) and isinstance(event.get("event"), str)
    return event if known and isinstance(event.get("time"), int | float) else None
