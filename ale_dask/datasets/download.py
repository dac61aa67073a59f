"""Downloads into a folder that several programs share: resumed after a break, checked by sha256, and never partial."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ale_dask.errors import AleError, BackendError, InputError, StoreError, UnfinishedError
from ale_dask.storage.location import replace_file
from ale_dask.version import __version__

Progress = Callable[[str, int, int | None], None]
"""A function of a file's name, its bytes downloaded so far and its bytes in all, None where they are not known."""

log = logging.getLogger(__name__)
_CHUNK = 1 << 16
# Seconds to wait for a connection, and between two pieces of an answer.
_TIMEOUTS = (10.0, 60.0)


@dataclass(frozen=True)
class File:
    """A file on a server, with its local name; without a `sha256`, that of the first download is recorded beside it."""

    name: str
    url: str
    sha256: str | None = None
    missing: str = ""
    """The message for a file that a user named and the server does not have."""
    checked_inside: bool = False
    """Whether the part that is used is checked when it is read, so that nothing need be said of the whole file."""


class _NoAnswerError(Exception):
    """The server did not give the file; the message says why."""


def cache() -> Path:
    """Return the folder of downloads: ALE_DASK_DATA, or ale-dask in the user's cache."""
    import pooch

    return Path(os.environ.get("ALE_DASK_DATA") or pooch.os_cache("ale-dask")).expanduser()


def obtain(files: Sequence[File], *, folder: Path, progress: Progress | None = None) -> list[Path]:
    """Return the paths of the files in the folder, after downloading those that are not there with their sha256.

    What a broken download leaves is kept as NAME.partial and continued by the next one, unless the server's file
    has changed since. Other processes that download into the folder at the same time are waited for.

    Raises
    ------
    BackendError
        if a server cannot be reached, with what to download by hand, or sends a file with another sha256.
    UnfinishedError
        if the connection breaks; the same call resumes.
    StoreError
        if the folder cannot be written.
    """
    paths = [folder / file.name for file in files]
    try:
        # A folder that others have filled may be read-only: no lock where there is nothing to download.
        if False not in [_whole(file, path) for file, path in zip(files, paths, strict=True)]:
            return paths
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder) as alone:
            for file, path in zip(files, paths, strict=True):
                if not _whole(file, path, logged=False):
                    _download(file, path, alone=alone, progress=progress or (lambda name, done, total: None))
                    _whole(file, path)
    except _NoAnswerError as error:
        missing = [(f, p) for f, p in zip(files, paths, strict=True) if not _whole(f, p, logged=False)]
        by_hand = "".join(
            f"\n  {file.url}\n    as {path}{' (the file there has another sha256)' if path.exists() else ''}"
            for file, path in missing
        )
        raise BackendError(f"{error}; run the same command later, or download by hand:{by_hand}") from error
    except AleError:
        raise
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be used ({error.strerror or error}); set ALE_DASK_DATA to a folder with free space"
        ) from error
    return paths


def _whole(file: File, path: Path, *, logged: bool = True) -> bool:
    """Return whether the file is there with its sha256, which is recorded beside the file if it was not known."""
    say = log.info if logged else log.debug
    if not path.is_file():
        return False
    expected, actual = file.sha256 or _recorded(path), _sha256(path)
    if expected is None:
        if not _looks_right(path, name=file.name):
            say(f"{path}: is not what its name says; it is downloaded anew")
            return False
        with suppress(StoreError):
            replace_file(_beside(path, "sha256"), f"{actual}  {path.name}\n".encode())
            note = log.debug if file.checked_inside else say
            note(f"{file.name}: no sha256 is published for it; that of this copy is kept beside it to tell damage")
        return True
    if actual != expected:
        say(f"{path}: has the sha256 {actual[:12]}…, not {expected[:12]}…; it is downloaded anew")
    return actual == expected


def _download(file: File, path: Path, *, alone: bool, progress: Progress) -> None:
    import pooch

    # Without a lock two processes could append to the same partial file: each then has its own, which is not resumed.
    partial = path.with_name(f"{path.name}.partial" if alone else f"{path.name}.{uuid.uuid4().hex}.partial")

    def downloader(url: str, output: str, _: Any) -> None:
        # A killed process would leave the empty file that pooch has made.
        os.unlink(output)
        _continue(file, partial, progress=progress)
        right = _looks_right(partial, name=file.name)
        _beside(partial, "version").unlink(missing_ok=True)
        if not right:
            partial.unlink()
            raise _NoAnswerError(f"{_host(url)} sent something else than {file.name} (a login page of the network?)")
        os.replace(partial, output)

    pooch_log = pooch.get_logger()
    level, known = pooch_log.level, file.sha256 or _recorded(path)
    pooch_log.setLevel(logging.WARNING)
    try:
        pooch.retrieve(file.url, known_hash=known, fname=path.name, path=path.parent, downloader=downloader)
    except AleError:
        raise
    except ValueError as error:
        recorded = "" if file.sha256 else f", or delete {_beside(path, 'sha256')} to accept the file that is there now"
        raise BackendError(
            f"{file.url}: its sha256 is not {known}, so it was not kept; run the same command again{recorded}"
        ) from error
    finally:
        pooch_log.setLevel(level)
        if not alone:
            partial.unlink(missing_ok=True)
            _beside(partial, "version").unlink(missing_ok=True)


def _continue(file: File, partial: Path, *, progress: Progress) -> None:
    """Download what the partial file does not hold yet, or all of it where the server's file is not the same."""
    import requests

    begin, mark = _partial_bytes(partial)
    answer = _ask(file, begin=begin, mark=mark)
    if begin and answer.headers.get("Content-Range") == f"bytes */{begin}" and not mark.startswith("W/"):
        # Killed between the last byte and the new name.
        answer.close()
        return
    if begin and not _continues(answer, begin=begin, mark=mark):
        if answer.status_code != 200:
            answer.close()
            answer = _ask(file, begin=0, mark="")
        begin = 0
    with answer:
        if answer.status_code != (206 if begin else 200):
            if answer.status_code == 404 and file.missing:
                raise InputError(file.missing)
            raise _NoAnswerError(f"{_host(file.url)} answered {answer.status_code} {answer.reason}".rstrip())
        if not begin:
            partial.unlink(missing_ok=True)
            # Before the first byte, so that no partial file has the mark of another version.
            _beside(partial, "version").write_text(_mark_of(answer))
        encoded = "Content-Encoding" in answer.headers
        length = answer.headers.get("Content-Length", "")
        total = begin + int(length) if length.isdigit() and not encoded else None
        done = begin
        progress(file.name, done, total)
        with open(partial, "ab") as written:
            try:
                for piece in answer.iter_content(_CHUNK):
                    written.write(piece)
                    done += len(piece)
                    progress(file.name, done, total)
                reason = ""
                if total is None:
                    progress(file.name, done, done)
            except requests.RequestException as error:
                reason = f" ({_why(error)})"
            written.flush()
            os.fsync(written.fileno())
    if reason or (total is not None and done != total):
        of = "" if total is None else f" of {total:,}"
        raise UnfinishedError(
            f"{file.url}: the connection broke after {done:,}{of} bytes{reason}; the same command resumes"
        )


def _ask(file: File, *, begin: int, mark: str) -> Any:
    import requests

    headers = {"Accept-Encoding": "identity", "User-Agent": f"ale-dask/{__version__}"}
    if begin:
        headers |= {"Range": f"bytes={begin}-"}
        # RFC 9110, 13.1.5: a weak entity tag is none for If-Range; the answer's own is compared then.
        headers |= {} if mark.startswith("W/") else {"If-Range": mark}
    try:
        return requests.get(file.url, headers=headers, stream=True, timeout=_TIMEOUTS)
    except requests.RequestException as error:
        raise _NoAnswerError(f"{_host(file.url)} cannot be reached ({_why(error)})") from error


def _continues(answer: Any, *, begin: int, mark: str) -> bool:
    starts = answer.headers.get("Content-Range", "").startswith(f"bytes {begin}-")
    return answer.status_code == 206 and starts and _mark_of(answer) in ("", mark)


def _mark_of(answer: Any) -> str:
    """Return the entity tag or date of this version of the file, "" if it has none that a download can resume with."""
    if "Content-Encoding" in answer.headers:
        # Ranges count encoded bytes, but the bytes of the partial file are decoded.
        return ""
    mark: str = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    return mark


def _partial_bytes(partial: Path) -> tuple[int, str]:
    """Return the size of a partial file and the mark of its version; (0, "") for a file that cannot be continued."""
    try:
        begin, mark = partial.stat().st_size, _beside(partial, "version").read_text()
    except OSError:
        return 0, ""
    return (begin, mark) if mark else (0, "")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _recorded(path: Path) -> str | None:
    try:
        sha256 = re.match(r"[0-9a-f]{64}\b", _beside(path, "sha256").read_text())
    except (OSError, UnicodeDecodeError):
        return None
    return sha256[0] if sha256 else None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _looks_right(path: Path, *, name: str) -> bool:
    """Return whether the content begins as files with the name's ending do, which is checked without a sha256."""
    if name.endswith(".json"):
        with suppress(ValueError):
            json.loads(path.read_bytes())
            return True
        return False
    with open(path, "rb") as file:
        start = file.read(4)
    wanted = {".gz": b"\x1f\x8b", ".npz": b"PK"}.get(Path(name).suffix, b"")
    return start.startswith(wanted) and start.lower() not in (b"<!do", b"<htm")


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Hold the lock of the folder, which ends with the process; yield False where the file system has no locks."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with open(folder / ".lock", "ab") as file:
        held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info(f"another process downloads into {folder}; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            held = False
        yield held


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or url


def _why(error: Exception) -> str:
    """Return the cause of an error of requests, without the chain of exceptions around it."""
    text = str(error)
    cause = re.search(r"\[Errno -?\d+\] ([^'\")]+)", text)
    if cause:
        return cause[1]
    return "timed out" if "timed out" in text.lower() else type(error).__name__
