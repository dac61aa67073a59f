"""The run's store: one zarr v3 group per analysis; a chunk that is present, whole and stamped is done.

    OUT/store.zarr/<analysis>/null/<segment>     int64 (iteration, statistic), one chunk per block
    OUT/store.zarr/<analysis>/<count>/<segment>  int64 (block, 1 + n), what a block counts besides
    OUT/store.zarr/<analysis>/maps               the modelled activation maps, an xarray dataset
    OUT/store.zarr/<analysis>/leave_one_out      ALE maps (experiment, voxel) without each experiment, the same
    OUT/plans/<analysis>/plan.npz, <segment>.json   created once, never changed

zarr writes a chunk to a temporary file and renames it, and object storage puts it whole: a killed process leaves a
chunk or none. crc32c finds one that was damaged later, and the stamps one that belongs to another plan or place.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from ale_dask.data.places import Place, files, storage_errors, zarr_store
from ale_dask.words.errors import AleError, StoreError

SCHEMA = 1


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Turn what a full or read-only disk raises inside the context into a StoreError that names what was written."""
    try:
        yield
    except AleError:
        raise
    except storage_errors() as error:
        raise StoreError(
            f"{what}: cannot be written ({error}); free space or give another -o, then run again"
        ) from error


def open_store(out: Place) -> zarr.Group:
    """Return the run's root group, made if absent.

    Raises
    ------
    StoreError
        for a folder that is no store of ours, or one of another schema.
    """
    path = out / "store.zarr"
    try:
        # Two drivers may come at once: what is made is whole as soon as it is there, and the same from both.
        try:
            group = zarr.open_group(zarr_store(path), mode="a", zarr_format=3, attributes={"ale_dask_schema": SCHEMA})
        except zarr.errors.ContainsGroupError:
            # The other made it between the look and the making.
            group = zarr.open_group(zarr_store(path), mode="r+", zarr_format=3)
    except Exception as error:
        raise StoreError(
            f"{path}: cannot be opened as a store ({error}); give another -o, or repair the disk"
        ) from error
    found = group.attrs.get("ale_dask_schema")
    if found is None:
        if list(group.keys()):
            raise StoreError(f"{path}: a zarr store that ale_dask did not make; give another -o")
        with writing(path):
            group.attrs["ale_dask_schema"] = SCHEMA
    elif found != SCHEMA:
        raise StoreError(f"{path}: has schema {found}, this version reads {SCHEMA}; use the version that made it")
    return group


def claim_analysis(root: zarr.Group, name: str, *, identity: str, settings: dict[str, Any]) -> zarr.Group:
    """Return the analysis's group, made if absent.

    Raises
    ------
    StoreError
        when the group was made with other settings; the message says which differ.
    """
    claim = {"identity": identity, "settings": json.loads(json.dumps(settings))}
    with writing(name):
        if name not in root:
            with contextlib.suppress(zarr.errors.ContainsGroupError):
                return root.create_group(name, attributes=claim)
        group = root.require_group(name)
        found = group.attrs.get("identity")
        if found is None:
            group.attrs.update(claim)
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
    try:
        with writing(f"{group.path}/{name}"):
            return group.create_array(
                name,
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
    with writing(array.path):
        array[first : first + len(rows)] = rows


def read_rows(array: zarr.Array[Any], first: int, count: int) -> npt.NDArray[np.int64] | None:
    """Return the rows (row, column), int64, or None when the chunk is missing or cannot be decoded."""
    try:
        return np.asarray(array[first : first + count], dtype=np.int64)
    except (OSError, ValueError, RuntimeError, TypeError):
        # A truncated or flipped chunk: zstd, crc32c or the reshape says so, each in its own way.
        return None
    except storage_errors() as error:
        raise StoreError(f"{array.path}: cannot be read ({error}); run the same command again") from error


def present_chunks(out: Place, array: zarr.Array[Any]) -> dict[int, float]:
    """Return the first-axis index of each chunk that is there, with the time of its last change (s since 1970)."""
    found = {}
    for name, changed in files(out / "store.zarr" / array.path / "c").items():
        index, _, rest = name.partition("/")
        if index.isdigit() and rest == "0":
            found[int(index)] = changed
    return found
