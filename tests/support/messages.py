"""What the package logs, as a list of lines or as they come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def messages(hear: Callable[[str], None] | None = None) -> Iterator[list[str]]:
    """Yield the list that fills with the messages logged inside; `hear` is called with each as it is logged."""
    said: list[str] = []
    package, handler = logging.getLogger("ale_dask"), logging.Handler()

    def emit(record: logging.LogRecord) -> None:
        said.append(record.getMessage())
        if hear is not None:
            hear(record.getMessage())

    handler.emit = emit  # type: ignore[method-assign]
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield said
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
