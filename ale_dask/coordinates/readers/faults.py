"""The faults of all lines of a file, gathered into one error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, groupby

from ale_dask.errors import InputError

_MAX_MESSAGES = 20
_MESSAGE = re.compile(r"(.*?:)(\d+): (.*)", re.DOTALL)


class Faults:
    """The errors of a file's lines, gathered so that a user can correct all of them at once.

    Lines with the same fault are one message, which names them; the error has the first 20 messages, and the number of
    the lines of all others.
    """

    def __init__(self) -> None:
        self.lines: dict[tuple[str, str], list[int]] = {}
        """The numbers of the lines with a fault, by the file and the fault."""
        self.count = 0

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Gather the InputError of a line instead of letting it end the reading."""
        try:
            yield
        except InputError as error:
            self.add(str(error))

    def add(self, message: str) -> None:
        """Add a message that begins with file:line."""
        self.count += 1
        match = _MESSAGE.fullmatch(message)
        fault = (match[1], match[3]) if match else ("", message)
        if fault in self.lines or len(self.lines) < _MAX_MESSAGES:
            self.lines.setdefault(fault, []).append(int(match[2]) if match else 0)

    def refuse(self) -> None:
        """Raise an InputError with the messages gathered, if there are any."""
        if self.count:
            messages = [f"{file}{_listed(at)}: {what}" if file else what for (file, what), at in self.lines.items()]
            left = self.count - sum(map(len, self.lines.values()))
            more = [f"and {left:,} more lines"] if left else []
            total = [f"{self.count:,} lines in all cannot be read"] if self.count > 1 else []
            raise InputError("\n".join([*messages, *more, *total]))


def _listed(numbers: Sequence[int]) -> str:
    """Return numbers in ascending order as "3,7-9", the first five ranges of them."""
    position = count()
    runs = [list(run) for _, run in groupby(numbers, key=lambda number: number - next(position))]
    words = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs]
    return ",".join(words[:5]) + (f" and {len(words) - 5:,} more" if len(words) > 5 else "")
