"""What happens to files: cut, emptied, a bit flipped, removed, another in its place."""

from __future__ import annotations

import shutil
from pathlib import Path


def truncate(chunk: Path) -> None:
    chunk.write_bytes(chunk.read_bytes()[:-9])


def empty(chunk: Path) -> None:
    chunk.write_bytes(b"")


def flip(chunk: Path) -> None:
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 16
    chunk.write_bytes(bytes(data))


def delete(chunk: Path) -> None:
    chunk.unlink()


def copy_neighbour(chunk: Path) -> None:
    shutil.copy(chunk.parent.parent / "1" / "0", chunk)
