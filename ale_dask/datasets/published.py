"""Published sets of coordinates that can be fetched by name, with their addresses, licences and files."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ale_dask.coordinates.readers.images import foci_texts
from ale_dask.datasets.download import File, Progress, cache, obtain
from ale_dask.errors import BackendError, InputError
from ale_dask.storage.location import replace_file


@dataclass(frozen=True)
class Header:
    """The foci in one part of a result image's header, kept as Sleuth text: `sha256` is that of the text."""

    name: str
    image: str
    part: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """A published set of coordinates: its title, citation, licence, repository, files and foci in image headers."""

    name: str
    title: str
    citation: str
    licence: str
    repository: str
    base: str
    """The address below which the files are."""
    files: tuple[File, ...]
    headers: tuple[Header, ...] = ()

    @property
    def attribution(self) -> str:
        """The title, citation, licence and source of the set in one line."""
        return f"{self.title}. {self.citation}. Licence: {self.licence}. Source: {self.repository}"


@lru_cache(maxsize=1)
def published() -> Mapping[str, Published]:
    """Return the published sets of coordinates by name.

    The environment variable ALE_DASK_NAME_URL, with the name in capitals and _ for -, is the address of another server
    with the files.

    Examples
    --------
    >>> sorted(published())
    ['children-language', 'ptsd', 'reward']
    """
    text = (resources.files("ale_dask.datasets") / "published.toml").read_text(encoding="utf-8")
    return MappingProxyType({name: _from_entry(name, entry) for name, entry in tomllib.loads(text).items()})


def fetch_published(
    what: str | Published, *, folder: Path | None = None, progress: Progress | None = None
) -> list[Path]:
    """Return the paths of the files of a published set, downloaded once into a folder of its name and checked.

    Parameters
    ----------
    what
        A name of `published()`, or a set of your own.
    folder
        Where downloads are kept: ALE_DASK_DATA, or ale-dask in the user's cache.
    progress
        Called with (file, bytes, bytes in all).

    Returns
    -------
    list of Path
        The files in the order of the registry; the foci in headers of images, as Sleuth text, come last.

    Raises
    ------
    BackendError
        If a server cannot be reached (with what to download by hand), or a file is not the published one.
    UnfinishedError
        If the connection breaks; the same call resumes.
    """
    if isinstance(what, str) and what not in published():
        raise InputError(f"'{what}' is none of {', '.join(published())}")
    known = what if isinstance(what, Published) else published()[what]
    where = (cache() if folder is None else folder) / known.name
    server = os.environ.get(f"ALE_DASK_{known.name.upper().replace('-', '_')}_URL") or known.base
    inside = {header.image for header in known.headers}
    files = [
        replace(file, url=f"{server.rstrip('/')}/{file.url}", checked_inside=file.name in inside)
        for file in known.files
    ]
    paths = obtain(files, folder=where, progress=progress)
    return [*paths, *(_from_header(header, where) for header in known.headers)]


def _from_header(header: Header, folder: Path) -> Path:
    """Return the path of the foci in an image's header as Sleuth text, written if it is not there yet."""
    path, image = folder / header.name, folder / header.image
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == header.sha256:
        return path
    wrong = f"{image}: does not hold the published foci; delete it and run the same command again"
    try:
        texts = foci_texts(image.read_bytes(), name=image.name)
    except InputError as error:
        raise BackendError(f"{wrong} ({error})") from error
    text = b"// Reference=MNI\n" + texts[header.part - 1] if header.part <= len(texts) else b""
    if hashlib.sha256(text).hexdigest() != header.sha256:
        raise BackendError(wrong)
    replace_file(path, text)
    return path


def _from_entry(name: str, entry: Mapping[str, Any]) -> Published:
    files = tuple(File(f["name"], f["path"], f.get("sha256")) for f in entry["files"])
    headers = tuple(Header(**header) for header in entry.get("headers", ()))
    words = {word: entry[word] for word in ("title", "citation", "licence", "repository", "base")}
    return Published(name=name, files=files, headers=headers, **words)
