"""The location of OUT, a folder or a prefix in object storage, in which every file is written whole or not at all.

A folder is a `pathlib.Path`. A URL (s3://, gs://, az://) is a `Remote`, which has the few methods of a Path that
OUT needs. Addresses and credentials are never stored or sent: every process takes them from its own environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ale_dask.errors import InputError, StoreError
from ale_dask.storage.object_store import Remote, changing, opened, reaching

SCHEMES = ("s3", "gs", "az")
_STALE_SECONDS = 300.0
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
"""Names of files that are being written; zarr's own end in .partial."""


Place = Path | Remote


def place(where: str | Path | Remote) -> Place:
    """Return a path, or a URL of object storage, as the place that it names.

    Raises
    ------
    InputError
        for a URL of another kind, one with credentials in it, or an empty text.
    """
    if isinstance(where, Remote):
        return where
    text = str(where)
    if not text.strip():
        raise InputError("-o '': no place for a run; give a folder or a URL")
    if isinstance(where, Path) or "://" not in text:
        return Path(where)
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise InputError(f"{text.partition('://')[0]}://…: not a URL ({error})") from error
    if url.scheme not in SCHEMES or not url.netloc:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InputError(f"{url.scheme}://…: not a place for a run; give a folder or a URL with {known}")
    if "@" in url.netloc or url.query or url.fragment:
        # Credentials in it would be printed, logged and written into run.json.
        raise InputError(
            f"{url.scheme}://…: a URL may hold no credentials and no query; set them in the environment "
            "(AWS_ACCESS_KEY_ID …) of every process"
        )
    parts = [url.netloc, *(part for part in url.path.split("/") if part)]
    if not {".", ".."}.isdisjoint(parts):
        raise InputError(f"{text}: '.' and '..' mean nothing in object storage")
    return Remote(f"{url.scheme}://{'/'.join(parts)}")


def storage_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that reading and writing raise when a disk or object storage fails."""
    if sys.modules.get("obstore") is None:
        return (OSError,)
    from obstore.exceptions import BaseError

    return (OSError, BaseError)


def zarr_store(where: Place) -> Any:
    """Return the store of a place for zarr and xarray: a path, or an object store that is pickled as its URL."""
    if isinstance(where, Path):
        return str(where)
    from zarr.storage import ObjectStore

    class Reopened(ObjectStore):  # type: ignore[type-arg]
        # Pickled as it is, an object store carries its credentials through the scheduler.
        def __reduce__(self) -> Any:
            return zarr_store, (where,)

    return Reopened(opened(str(where)))


def create_once(path: Place, data: bytes) -> bytes:
    """Create a file whole, unless it exists, and return its content: `data`, or that of whoever was first.

    The content is complete before the name exists: a link, or a put on condition, fails when the name is taken.
    """
    if isinstance(path, Remote):
        try:
            with changing(path) as store:
                store.put(path.key, data, mode="create")
        except FileExistsError:
            return path.read_bytes()
        return data
    with _written_beside(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return path.read_bytes()
    return data


_RECORDS: list[set[Path]] = []


@contextlib.contextmanager
def recording() -> Iterator[set[Path]]:
    """Yield a set to which the path of every local file that is written inside the context is added."""
    record: set[Path] = set()
    _RECORDS.append(record)
    try:
        yield record
    finally:
        _RECORDS[:] = [other for other in _RECORDS if other is not record]


def replace_file(path: Place, data: bytes) -> None:
    """Write a file whole or not at all."""
    if isinstance(path, Remote):
        with changing(path) as store:
            store.put(path.key, data)
        return
    with _written_beside(path, data) as temporary:
        os.replace(temporary, path)
    for record in list(_RECORDS):
        record.add(path)


def fill_folder(folder: Path, content: Mapping[str, bytes], *, what: str) -> None:
    """Write files of these names and bytes into a folder, which is created if necessary.

    Raises
    ------
    InputError
        when the folder cannot be written, or holds another file of one of these names: then nothing is written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            path = folder / name
            if path.exists() and path.read_bytes() != data:
                raise InputError(f"{path}: is there already with other content; give an empty folder")
        for name, data in content.items():
            replace_file(folder / name, data)
    except (OSError, StoreError) as error:
        raise InputError(f"{folder}: {what} cannot be written there ({error}); give another folder") from error


@contextlib.contextmanager
def _written_beside(path: Path, data: bytes) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error}); free space or give another -o, then run again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def files(where: Place) -> dict[str, float]:
    """Return every file below a place, by its path from there, with the time of its last change (s since 1970).

    Temporary files of writers that were killed are deleted, not listed.
    """
    if isinstance(where, Remote):
        return {name: each["last_modified"].timestamp() for name, each in _objects(where)}
    found: dict[str, float] = {}
    for folder, _, names in os.walk(where):
        for name in names:
            path = Path(folder, name)
            # A writer may rename its temporary file between the listing and here.
            with contextlib.suppress(FileNotFoundError):
                changed = path.stat().st_mtime
                if not (name.endswith(".partial") or _TEMPORARY.fullmatch(name)):
                    found[path.relative_to(where).as_posix()] = changed
                elif time.time() - changed > _STALE_SECONDS:
                    # A younger one may be about to be renamed by another driver. On a read-only disk it stays.
                    with contextlib.suppress(OSError):
                        path.unlink()
    return found


def _objects(where: Remote) -> Iterator[tuple[str, Any]]:
    below = f"{where.key}/" if where.key else ""
    with reaching(where) as store:
        for batch in store.list(where.key or None):
            for each in batch:
                # Web consoles mark a folder by an object of its name, which is then not below it.
                if each["path"].startswith(below) and each["path"]:
                    yield each["path"].removeprefix(below), each


def tags(where: Place) -> dict[str, str | None]:
    """Return every file below a place, with the ETag that object storage changes whenever it writes; None in folders.

    A listing tells the tags of 1,000 objects, so that their content need not be read to know that it has not changed.
    """
    if isinstance(where, Remote):
        return {name: each["e_tag"] for name, each in _objects(where)}
    return dict.fromkeys(files(where))


def tidy(out: Path) -> None:
    """Delete temporary files of killed writers in OUT; those in its store are deleted when its chunks are listed."""
    with contextlib.suppress(OSError):
        for path in out.iterdir():
            if path.is_dir() and not path.is_symlink() and path.name != "store.zarr":
                files(path)
            elif _TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime > _STALE_SECONDS:
                path.unlink()


def remove(where: Place) -> None:
    """Delete all files below a place."""
    if isinstance(where, Path):
        shutil.rmtree(where, ignore_errors=True)
        return
    names = [(where / name).key for name in files(where)]
    with changing(where) as store:
        for start in range(0, len(names), 1000):
            store.delete(names[start : start + 1000])


def remove_file(path: Place) -> None:
    """Delete one file, if it is there."""
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
        return
    # Deleting an object that is not there is no error everywhere.
    with contextlib.suppress(FileNotFoundError), reaching(path) as store:
        store.delete(path.key)


@lru_cache(maxsize=1)
def _copies() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ale-dask-")


def beginning(prefixes: Iterable[str]) -> Callable[[str], bool]:
    """Return the function that says whether a path begins as one of thousands of prefixes does, in their folder."""
    by_folder: dict[str, list[str]] = {}
    for prefix in prefixes:
        by_folder.setdefault(prefix.partition("/")[0] if "/" in prefix else "", []).append(prefix)
    tried = {folder: tuple(each) for folder, each in by_folder.items()}
    return lambda path: path.startswith((*tried.get("", ()), *tried.get(path.partition("/")[0], ())))


def local_copy(where: Place, *, only: tuple[str, ...]) -> Path:
    """Return a local folder with the files of a place: the place itself, or copies that last as long as this process.

    From object storage only the files whose path begins with one of `only` are copied.
    """
    if isinstance(where, Path):
        return where
    folder = Path(_copies().name, uuid.uuid4().hex)
    wanted = beginning(only)
    for name in files(where):
        if wanted(name):
            target = folder / name
            # An object's name may hold "..", which here would lead out of the folder.
            if not target.resolve().is_relative_to(folder.resolve()):
                raise StoreError(f"{where}/{name}: such a name is not one of ours; give another -o")
            # An object that marks a folder is listed without its last slash, under which it cannot be read.
            with contextlib.suppress(FileNotFoundError):
                replace_file(target, (where / name).read_bytes())
    return folder


@contextlib.contextmanager
def staged(where: Place) -> Iterator[Path]:
    """Yield a local folder whose files are at the place when the context ends: the place itself, or one sent there."""
    if isinstance(where, Path):
        yield where
        return
    with tempfile.TemporaryDirectory(prefix="ale-dask-") as name:
        folder = Path(name)
        yield folder

        def send(relative: str) -> None:
            replace_file(where / relative, (folder / relative).read_bytes())

        # Sending small files is nearly all waiting.
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, files(folder)))
