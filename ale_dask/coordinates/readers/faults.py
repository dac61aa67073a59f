"""The faults of all lines of a file, gathered into one error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ale_dask.errors import InputError

_MAX_MESSAGES = 20


class Faults:
    """The errors of a file's lines, gathered so that a user can correct all of them at once.

    The error has the messages of the first 20, and the number of the others.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.count = 0

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Gather the InputError of a line instead of letting it end the reading."""
        try:
            yield
        except InputError as error:
            self.add(str(error))

    def add(self, message: str) -> None:
        self.count += 1
        if len(self.messages) < _MAX_MESSAGES:
            self.messages.append(message)

    def refuse(self) -> None:
        """Raise an InputError with the messages gathered, if there are any."""
        if self.count:
            more = [f"and {self.count - _MAX_MESSAGES:,} more lines"] if self.count > _MAX_MESSAGES else []
            total = [f"{self.count:,} lines in all cannot be read"] if self.count > 1 else []
            raise InputError("\n".join([*self.messages, *more, *total]))
