"""A file of foci as every reader sees it: bytes, text and JSON value, each made once and only when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from ale_dask.coordinates.decisions import Tell, untold
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers import document
from ale_dask.coordinates.readers.packed import unpacked
from ale_dask.coordinates.readers.text import clean, decode


@dataclass(frozen=True, eq=False)
class FociFile:
    """A file of foci and what its user said about it.

    Parameters
    ----------
    data
        The bytes of the file, which may be gzipped.
    name
        The name of the file in messages and in the sources of experiments.
    space
        "MNI" or "TAL", for foci whose space the file does not state.
    columns
        The names that a table gives to study, contrast, n, space, x, y and z: {"n": "Anzahl"}.
    tell
        Is called with each decision of a reader about what could be read in two ways.
    """

    data: bytes
    name: str
    space: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    tell: Tell = untold

    @cached_property
    def content(self) -> bytes:
        """The bytes of the file, unpacked where they are gzipped."""
        return unpacked(self.data, name=self.name)

    @cached_property
    def lines(self) -> list[str]:
        """The content as lines of text."""
        return decode(self.content, name=self.name, tell=self.tell)

    @cached_property
    def first_line(self) -> tuple[int, str]:
        """The number, from 1, and the text of the first line that is not blank; (1, "") where all are blank."""
        return next(((i, text) for i, line in enumerate(self.lines, 1) if (text := clean(line))), (1, ""))

    @property
    def is_json(self) -> bool:
        """Whether the first character of the content is that of a JSON object or array."""
        return document.is_json(self.content)

    @cached_property
    def json(self) -> Any:
        """The content as a JSON value."""
        return document.load(self.content, name=self.name)


class Reader(Protocol):
    """A module that reads one format; `readers.formats` lists them."""

    def recognises(self, file: FociFile) -> bool:
        """Return whether the file is of the module's format."""

    def read(self, file: FociFile) -> tuple[Experiment, ...]:
        """Return the experiments of the file; n is None where it states no sample size.

        Raises
        ------
        InputError
            with file:line, or the path in a JSON file, for whatever cannot be read.
        """
