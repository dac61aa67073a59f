"""The run's store: one zarr v3 group per analysis; a chunk that is present, whole and stamped is done.

    OUT/store.zarr/<analysis>/null/<segment>     int64 (iteration, statistic), one chunk per block
    OUT/store.zarr/<analysis>/<count>/<segment>  int64 (block, 1 + n), what a block counts besides
    OUT/store.zarr/<analysis>/maps               the modelled activation maps, an xarray dataset
    OUT/plans/<analysis>/plan.npz, <segment>.json   created once, never changed

zarr writes a chunk to a temporary file and renames it, so a killed process leaves a chunk or none; crc32c
finds one that was damaged later, and the stamps one that belongs to another plan or place.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from ale_dask.words.errors import StoreError

SCHEMA = 1
_STALE_SECONDS = 300.0


def open_store(out: Path) -> zarr.Group:
    """Return the run's root group, made if absent.

    Raises
    ------
    StoreError
        for a folder that is no store of ours, or one of another schema.
    """
    path = out / "store.zarr"
    try:
        group = zarr.open_group(path, mode="a", zarr_format=3)
    except Exception as error:
        raise StoreError(
            f"{path}: cannot be opened as a store ({error}); give another -o, or repair the disk"
        ) from error
    found = group.attrs.get("ale_dask_schema")
    if found is None:
        if list(group.keys()):
            raise StoreError(f"{path}: a zarr store that ale_dask did not make; give another -o")
        group.attrs["ale_dask_schema"] = SCHEMA
    elif found != SCHEMA:
        raise StoreError(f"{path}: has schema {found}, this version reads {SCHEMA}; use the version that made it")
    return group


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path}: cannot be written ({error}); free space or give another -o, then run again")


def create_once(path: Path, data: bytes) -> bytes:
    """Return what the file holds: `data`, unless somebody had made it before; it is never half-written.

    The content is complete before the name exists: a link fails when the name is taken.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return path.read_bytes()
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return data


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def claim_analysis(root: zarr.Group, name: str, *, identity: str, settings: dict[str, Any]) -> zarr.Group:
    """Return the analysis's group, made if absent.

    Raises
    ------
    StoreError
        when the group was made with other settings; the message says which differ.
    """
    group = root.require_group(name)
    found = group.attrs.get("identity")
    if found is None:
        group.attrs.update({"identity": identity, "settings": json.loads(json.dumps(settings))})
        return group
    if found != identity:
        old: dict[str, Any] = dict(group.attrs.get("settings", {}))  # type: ignore[arg-type]
        new = json.loads(json.dumps(settings))
        changed = [k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k)]
        said = (
            "; ".join(f"{k}: stored {old.get(k)!r}, now {new.get(k)!r}" for k in changed)
            or "another version of the numerics"
        )
        raise StoreError(
            f"{name}: the store holds this analysis with other settings ({said}); "
            "give another -o, or --overwrite to discard the stored one"
        )
    return group


def block_array(
    group: zarr.Group, kind: str, segment: int, *, shape: tuple[int, int], rows_per_block: int
) -> zarr.Array[Any]:
    """Return the array of a segment, made if absent: int64, one chunk per block, zstd + crc32c, never resized."""
    name = f"{kind}/{segment}"
    if name in group:
        array = group[name]
        if not isinstance(array, zarr.Array) or array.shape != shape or array.chunks[0] != rows_per_block:
            raise StoreError(f"{group.path}/{name}: has another shape than its segment says; run with --overwrite")
        return array
    parent = group.require_group(kind)
    try:
        return parent.create_array(
            str(segment),
            shape=shape,
            chunks=(rows_per_block, shape[1]),
            dtype="int64",
            fill_value=0,
            serializer=BytesCodec(),
            compressors=[ZstdCodec(level=1), Crc32cCodec()],
            config={"write_empty_chunks": True},
        )
    except zarr.errors.ContainsArrayError:
        return block_array(group, kind, segment, shape=shape, rows_per_block=rows_per_block)


def write_rows(array: zarr.Array[Any], first: int, rows: npt.NDArray[np.int64]) -> None:
    """Write the whole chunk that begins at row `first`."""
    size = array.chunks[0]
    if first % size or len(rows) != min(size, array.shape[0] - first):
        raise ValueError(f"rows {first}…{first + len(rows)} are not one chunk of {array.path}")
    try:
        array[first : first + len(rows)] = rows
    except OSError as error:
        raise StoreError(
            f"{array.path}: cannot be written ({error}); free space, then run the same command again"
        ) from error


def read_rows(array: zarr.Array[Any], first: int, count: int) -> npt.NDArray[np.int64] | None:
    """Return the rows (row, column), int64, or None when the chunk is missing or cannot be decoded."""
    try:
        return np.asarray(array[first : first + count], dtype=np.int64)
    except (OSError, ValueError, RuntimeError, TypeError):
        # A truncated or flipped chunk: zstd, crc32c or the reshape says so, each in its own way.
        return None


def present_chunks(out: Path, array: zarr.Array[Any]) -> Iterator[int]:
    """Yield the first-axis index of each chunk that has a file, and delete what killed writers left."""
    folder = out / "store.zarr" / array.path / "c"
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir(), key=lambda p: p.name):
        for stale in entry.glob("*.partial"):
            # A younger one may be another driver's, about to be renamed.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - stale.stat().st_mtime > _STALE_SECONDS:
                    stale.unlink()
        if entry.name.isdigit() and (entry / "0").is_file():
            yield int(entry.name)
