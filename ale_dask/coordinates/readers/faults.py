"""All that is wrong with a file, told in one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ale_dask.errors import InputError

MOST = 20
"""Faults of a file that are told word for word; of the others, their number."""


class Faults:
    """The errors of a file's lines, gathered so that a user corrects them in one go."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.count = 0

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keep the InputError of one line instead of letting it end the reading."""
        try:
            yield
        except InputError as error:
            self.add(str(error))

    def add(self, message: str) -> None:
        """Keep one error's message."""
        self.count += 1
        if len(self.messages) < MOST:
            self.messages.append(message)

    def refuse(self) -> None:
        """Raise one InputError with all that was gathered, if anything was."""
        if self.count:
            more = [f"and {self.count - MOST:,} more lines"] if self.count > MOST else []
            total = [f"{self.count:,} lines in all cannot be read"] if self.count > 1 else []
            raise InputError("\n".join([*self.messages, *more, *total]))
