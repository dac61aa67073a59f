"""Files that a user names: read within bounds, and the files of folders and patterns."""

from __future__ import annotations

import glob
import stat
from collections.abc import Iterable
from pathlib import Path

from ale_dask.errors import InputError

MOST_BYTES = 1 << 30
"""Of a file that is read as a whole. All of Neurosynth's foci take 30 MB."""
_PATTERN = frozenset("*?[")
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe, which can be read only once",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def read_regular(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a file, and of nothing that never ends or holds more than `most` bytes.

    Raises
    ------
    InputError
        for a folder, a device or a pipe, a file that is too large, and one that cannot be read.
    """
    try:
        found = path.stat()
        kind = next((words for is_kind, words in _KINDS.items() if is_kind(found.st_mode)), None)
        data = b""
        if kind is None and found.st_size <= most:
            # The size of a file of /proc is a lie, and others grow: never more than can be read is read.
            with path.open("rb") as file:
                data = file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot read the file ({reason}); check its path") from error
    if kind is not None:
        raise InputError(f"{path}: cannot read the file (it is {kind}); give a file, or a copy of its content in one")
    if found.st_size > most or len(data) > most:
        raise InputError(f"{path}: more than {most:,} bytes; this is no file of foci or settings, check its path")
    return data


def expanded(files: Iterable[str], *, folder: Path = Path()) -> list[str]:
    """Return the files that a list of files, folders and patterns such as "foci/*.txt" names, relative to `folder`.

    A folder stands for the files in it, not for those in its folders. Both are sorted by name. What begins with a dot,
    and the locks of open workbooks (~$), is left out.

    Raises
    ------
    InputError
        for a folder without files, and a pattern that no file fits.
    """
    return [one for file in files for one in _expanded(file, folder=folder)]


def _expanded(file: str, *, folder: Path) -> list[str]:
    if not file.strip() or "\0" in file:
        raise InputError(f"{file!r} is no name of a file; name a file, a folder or a pattern")
    try:
        path = folder / file
        if path.is_dir():
            found = [str(Path(file) / p.name) for p in path.iterdir() if _is_input(p)]
            what = "no files in the folder"
        elif _PATTERN & set(file) and not path.exists():
            # What was put before the pattern is no part of it, whatever its name.
            found = [p for p in glob.glob(file, root_dir=folder) if _is_input(folder / p)]
            what = "no file fits the pattern"
        else:
            return [file]
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be looked for ({error}); check its path") from error
    if not found:
        raise InputError(f"{path}: {what}; files are looked for in one folder, not in those inside it")
    return sorted(found)


def _is_input(path: Path) -> bool:
    return path.is_file() and not path.name.startswith((".", "~$"))
