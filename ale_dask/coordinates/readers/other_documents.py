"""Documents of other programs, which hold the text of foci among much else: recognised to be refused."""

from __future__ import annotations

from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.errors import InputError

_FIRST_BYTES = {
    rb"{\rtf": "an RTF document of a word processor",
    b"%pdf": "a PDF",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
}


def recognises(file: FociFile) -> bool:
    """Return whether a file begins as a document of a word processor, a PDF or a web page."""
    return _kind(file) is not None


def read(file: FociFile) -> tuple[Experiment, ...]:
    """Raise an InputError that says what the file is and how to save its foci."""
    raise InputError(f"{file.name}: {_kind(file)}, not a text file; save it as plain text (.txt, UTF-8)")


def _kind(file: FociFile) -> str | None:
    begin = file.content[:64].lstrip().lower()
    return next((kind for mark, kind in _FIRST_BYTES.items() if begin.startswith(mark)), None)
