"""Keep and compare checksums of the maps, tables, figures and pages of a run, in OUT/plans/results.json."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ale_dask.errors import StoreError
from ale_dask.storage.checksums import hashes_of, read_seal, write_seal
from ale_dask.storage.location import Place, beginning, files, recording, staged

_COLLECT = "`ale-dask collect {0}` writes it again"
_FOLLOW_UPS = {
    "_fail-safe.": "`ale-dask fail-safe {}` writes it again",
    "_fail-safe-base-rate.": "`ale-dask fail-safe {}` writes it again",
    "_leave-out-": "`ale-dask leave-one-out {}` writes it again",
    "_power.": "`ale-dask power {0}` writes it again",
    "_profiles.": "`ale-dask evidence {0} --compute` writes it again",
    "_evidence.": "`ale-dask evidence {0}` writes it again",
}


def rewrite_hint(out: Place, name: str) -> str:
    """Return in words which command writes a file of OUT again."""
    return next((hint for part, hint in _FOLLOW_UPS.items() if part in name), _COLLECT).format(out)


def _path(out: Place) -> Place:
    return out / "plans" / "results.json"


@contextlib.contextmanager
def writing_results(out: Place, *, keeping: Sequence[str] | None = None) -> Iterator[Path]:
    """Yield a folder whose files are moved below OUT, and their checksums stored, when the context ends.

    Stored checksums stay of files whose paths begin as one of `keeping` does; None keeps all of them.
    """
    with staged(out) as folder:
        with recording() as record:
            yield folder
        below = {p.relative_to(folder).as_posix() for p in record if p.is_relative_to(folder)}
        new = hashes_of(folder, below)
    kept = beginning(("",) if keeping is None else keeping)
    old = _sealed(out)
    if old is None and keeping:
        # An earlier version wrote no list, or it was lost: the files are taken as they are now.
        old = hashes_of(out, [name for name in files(out) if kept(name)])
    unchanged = {name: digest for name, digest in (old or {}).items() if kept(name)}
    write_seal(_path(out), unchanged | new)


def _sealed(out: Place) -> dict[str, str | None] | None:
    try:
        seal = read_seal(_path(out))
    except StoreError:
        return None
    return None if seal is None else dict(seal["files"])


def check_written(out: Place, name: str, data: bytes) -> None:
    """Check the content of a file of OUT against its stored checksum, if it has one.

    Raises
    ------
    StoreError
        when they differ.
    """
    digest = hashlib.sha256(data).hexdigest()
    if (_sealed(out) or {}).get(name, digest) != digest:
        raise StoreError(f"{out}/{name}: was damaged or changed after it was written; {rewrite_hint(out, name)}")


def differing_results(out: Place) -> list[str]:
    """Return a line for each map, table, figure or page of a run that is not as it was written.

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
    digests = hashes_of(out, sealed["files"])
    return [
        f"{name}: {'lost' if digests[name] is None else 'not as it was written'}; {rewrite_hint(out, name)}"
        for name, digest in sealed["files"].items()
        if digests[name] != digest
    ]
