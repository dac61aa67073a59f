"""Checksums of the files in OUT, so that a file that was lost, damaged or changed is noticed before it is used.

A seal is a JSON file with the sha256 of other files and of its own content. Files without a seal are checked otherwise:
a plan hashes to its id, and a block has a crc32c and the stamps of its plan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ale_dask.errors import StoreError
from ale_dask.storage.location import Place, replace_file, tags

KEY = "sha256"
_PIECE = 1 << 20


def sha256_of(path: Place) -> str:
    """Return the sha256 of a file's bytes, in hexadecimal digits."""
    if not isinstance(path, Path):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def hashes_of(where: Place, names: Iterable[str]) -> dict[str, str | None]:
    """Return the sha256 of files below a place by their path from there, None for one that cannot be read."""

    def hash_or_none(name: str) -> str | None:
        try:
            return sha256_of(where / name)
        except OSError:
            return None

    chosen = sorted(names)
    # Reading from object storage is nearly all waiting.
    with ThreadPoolExecutor(2 if isinstance(where, Path) else 16) as pool:
        return dict(zip(chosen, pool.map(hash_or_none, chosen), strict=True))


def with_hash(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with a sha256 over them, under the key "sha256"."""
    return {**values, KEY: hash_of(values)}


def whole(values: Any) -> bool:
    """Return whether values are a dictionary that hashes to the sha256 in it."""
    if not isinstance(values, dict):
        return False
    rest = dict(values)
    return bool(rest.pop(KEY, None) == hash_of(rest))


def hash_of(values: Mapping[str, Any]) -> str:
    """Return the sha256 of values as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def write_seal(path: Place, hashes: Mapping[str, str | None], **about: Any) -> None:
    """Write a seal with the hashes of files by name; `about` is further content."""
    text = json.dumps(with_hash({**about, "files": dict(hashes)}), indent=1, sort_keys=True)
    replace_file(path, f"{text}\n".encode())


def read_seal(path: Place) -> dict[str, Any] | None:
    """Return the content of a seal, with the hashes under "files", or None where the seal does not exist.

    Raises
    ------
    StoreError
        when it is damaged.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not whole(found) or not isinstance(found.get("files"), dict):
        raise StoreError(f"{path}: damaged; delete it and run again, what it vouches for is written again then")
    return dict(found)


def seal_below(where: Place, path: Place, **about: Any) -> None:
    """Write a seal of all files below a place as they are now, with their tags in object storage."""
    # Listed before they are read: of a file that changes in between, the tag is the older one, and proves nothing.
    there = tags(where)
    known = {name: tag for name, tag in there.items() if tag}
    write_seal(path, hashes_of(where, there), **about, **({"tags": known} if known else {}))


def broken_below(where: Place, seal: Mapping[str, Any], *, every_byte: bool = True) -> Iterator[str]:
    """Yield the files below a place that differ from their hash in a seal, are missing, or are not in the seal.

    Without `every_byte`, an object that still has the tag of the seal is not read.
    """
    sealed = seal["files"]
    there = tags(where)
    yield from (name for name in sorted(sealed.keys() ^ there.keys()))
    known = {} if every_byte else seal.get("tags", {})
    unsure = [name for name in sealed.keys() & there.keys() if not there[name] or there[name] != known.get(name)]
    found = hashes_of(where, unsure)
    yield from (name for name, digest in found.items() if digest != sealed[name])
