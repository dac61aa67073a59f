"""The checksums of maps, tables, pictures and pages that a run wrote, kept in OUT/plans/results.json."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ale_dask.errors import StoreError
from ale_dask.storage.checksums import hashes_of, read_seal, write_seal
from ale_dask.storage.location import Place, files, recording, staged

_COLLECT = "`ale-dask collect {}` writes it again"
_LATER = {
    "_fail-safe.": "`ale-dask fail-safe {}` writes it again",
    "_fail-safe-base-rate.": "`ale-dask fail-safe {}` writes it again",
    "_leave-out-": "`ale-dask leave-one-out {}` writes it again",
    "_power.": "`ale-dask power {}` writes it again",
}


def again(out: Place, name: str) -> str:
    """Return which command writes a file of OUT again."""
    told = next((command for part, command in _LATER.items() if part in name), _COLLECT)
    return told.format(out)


def _path(out: Place) -> Place:
    return out / "plans" / "results.json"


@contextlib.contextmanager
def writing_results(out: Place, *, keeping: Sequence[str] | None = None) -> Iterator[Path]:
    """Yield a folder whose files are below OUT when the context ends, and seal what was written into it.

    `keeping` says how the paths begin of files whose checksums stay as they are; None keeps all of them.
    """
    with staged(out) as folder:
        with recording() as record:
            yield folder
        below = {p.relative_to(folder).as_posix() for p in record if p.is_relative_to(folder)}
        new = hashes_of(folder, below)
    begin = ("",) if keeping is None else tuple(keeping)
    old = _sealed(out)
    if old is None and keeping:
        # An earlier version's, or the list was lost: what is there now is what can be vouched for.
        old = hashes_of(out, [name for name in files(out) if name.startswith(begin)])
    kept = {name: digest for name, digest in (old or {}).items() if name.startswith(begin)}
    write_seal(_path(out), kept | new)


def _sealed(out: Place) -> dict[str, str | None] | None:
    try:
        found = read_seal(_path(out))
    except StoreError:
        return None
    return None if found is None else dict(found["files"])


def check_written(out: Place, name: str, data: bytes) -> None:
    """Return nothing where the content of a file of OUT is what was written there, or is not known to be another.

    Raises
    ------
    StoreError
        when it is not.
    """
    digest = hashlib.sha256(data).hexdigest()
    if (_sealed(out) or {}).get(name, digest) != digest:
        raise StoreError(f"{out}/{name}: was damaged or changed after it was written; {again(out, name)}")


def differing_results(out: Place) -> list[str]:
    """Return a line for each map, table, picture or page of a run that is not as it was written.

    Raises
    ------
    StoreError
        when the list of their checksums is damaged.
    """
    sealed = read_seal(_path(out))
    if sealed is None:
        if not (out / "run.json").is_file():
            return []
        return [f"{_path(out)}: lost, or of an earlier version; {_COLLECT.format(out)} with all results"]
    found = hashes_of(out, sealed["files"])
    return [
        f"{name}: {'lost' if found[name] is None else 'not as it was written'}; {again(out, name)}"
        for name, digest in sealed["files"].items()
        if found[name] != digest
    ]
