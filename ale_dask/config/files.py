"""Reading of files that a user names, within a limit of size, and expansion of folders and patterns to files."""

from __future__ import annotations

import glob
import stat
from collections.abc import Iterable
from pathlib import Path

from ale_dask.errors import InputError

# All foci of Neurosynth take 30 MB.
_MAX_BYTES = 1 << 30
_PATTERN_CHARACTERS = frozenset("*?[")
_NOT_REGULAR = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe, which can be read only once",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def read_regular(path: Path, *, max_bytes: int = _MAX_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Raises
    ------
    InputError
        for a folder, a device or a pipe, a file of more than `max_bytes`, and a file that cannot be read.
    """
    try:
        status = path.stat()
        kind = next((words for is_kind, words in _NOT_REGULAR.items() if is_kind(status.st_mode)), None)
        data = b""
        if kind is None and status.st_size <= max_bytes:
            # Files of /proc state a size of 0, and a file may grow meanwhile: the limit holds while reading, too.
            with path.open("rb") as file:
                data = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot read the file ({reason}); check its path") from error
    if kind is not None:
        raise InputError(f"{path}: cannot read the file (it is {kind}); give a file, or a copy of its content in one")
    if status.st_size > max_bytes or len(data) > max_bytes:
        raise InputError(f"{path}: more than {max_bytes:,} bytes; this is no file of foci or settings, check its path")
    return data


def expand_files(paths: Iterable[str], *, folder: Path = Path()) -> list[str]:
    """Return the files that files, folders and patterns such as "foci/*.txt" stand for, relative to `folder`.

    A folder stands for the files directly in it. The files of a folder or pattern are sorted by name; hidden files
    and the lock files of open workbooks (~$) are left out.

    Raises
    ------
    InputError
        for a folder without files, and a pattern that no file fits.
    """
    return [file for path in paths for file in _expand(path, folder=folder)]


def _expand(name: str, *, folder: Path) -> list[str]:
    if not name.strip() or "\0" in name:
        raise InputError(f"{name!r} is no name of a file; name a file, a folder or a pattern")
    try:
        path = folder / name
        if path.is_dir():
            files = [str(Path(name) / file.name) for file in path.iterdir() if _is_input(file)]
            problem = "no files in the folder"
        elif _PATTERN_CHARACTERS & set(name) and not path.exists():
            # root_dir keeps characters such as [ in the folder's own name from being read as a pattern.
            files = [file for file in glob.glob(name, root_dir=folder) if _is_input(folder / file)]
            problem = "no file fits the pattern"
        else:
            return [name]
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be looked for ({error}); check its path") from error
    if not files:
        raise InputError(f"{path}: {problem}; files are looked for in one folder, not in those inside it")
    return sorted(files)


def _is_input(path: Path) -> bool:
    return path.is_file() and not path.name.startswith((".", "~$"))
