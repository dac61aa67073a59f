"""Text files that begin with their own checksum and those of other files, so that damage to a copy is noticed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from ale_dask.errors import StoreError

_FIRST_LINE = "# Kept by ale-dask. To change this file by hand, delete this line. sha256 of all that follows: "
_SEAL = re.compile(r"# .*sha256 of all that follows: ([0-9a-f]{64})")
_LISTED_FILE = re.compile(r"# sha256 ([0-9a-f]{64}) (.+)")


def sealed(text: str, files: Mapping[str, str]) -> str:
    """Return a text below a comment with its sha256 and comments with the sha256 of other `files` by name."""
    body = "".join(f"# sha256 {digest} {name}\n" for name, digest in files.items()) + text
    return f"{_FIRST_LINE}{hashlib.sha256(body.encode()).hexdigest()}\n{body}"


def is_sealed(text: str) -> bool:
    """Return whether a text begins with the sha256 of what follows."""
    return _SEAL.fullmatch(text.partition("\n")[0]) is not None


def check_sealed(path: Path, text: str) -> None:
    """Raise an error unless a sealed text and the files that it lists, in the folder of `path`, are unchanged.

    A text without a seal is not checked.

    Raises
    ------
    StoreError
        when the text, or one of the files, was changed, damaged or lost.
    """
    first, _, body = text.partition("\n")
    seal = _SEAL.fullmatch(first)
    if seal is None:
        return
    if hashlib.sha256(body.encode()).hexdigest() != seal[1]:
        raise StoreError(
            f"{path}: was damaged or changed after a run had written it; run the original study again with the same "
            "-o, or, if it was you who changed it, delete its first line"
        )
    for line in body.splitlines():
        if (listed := _LISTED_FILE.fullmatch(line)) is None:
            return
        digest, name = listed[1], listed[2]
        file = path.parent / name
        try:
            same = hashlib.sha256(file.read_bytes()).hexdigest() == digest
        except OSError as error:
            raise StoreError(f"{file}: {_COPY} cannot be read ({error}); {_AGAIN}") from error
        if not same:
            raise StoreError(f"{file}: {_COPY} was damaged or changed; {_AGAIN}")


_COPY = "this copy of an input of the run"
_AGAIN = "run the original study again with the same -o, or put the original file there"
