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
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from ale_dask.errors import AleError, StoreError
from ale_dask.storage.location import Place, files, replace_file, storage_errors, zarr_store

SCHEMA = 1
_GROUP = json.dumps({"attributes": {}, "zarr_format": 3, "node_type": "group"}, indent=2).encode()


@contextlib.contextmanager
def writing(what: object) -> Iterator[None]:
    """Turn errors of a full or read-only disk inside the context into StoreError; `what` names the thing written."""
    try:
        yield
    except AleError:
        raise
    except storage_errors() as error:
        raise StoreError(
            f"{what}: cannot be written ({error}); free space or give another -o, then run again"
        ) from error


def open_store(out: Place) -> zarr.Group:
    """Return the root group of the store of OUT, created if absent.

    Raises
    ------
    StoreError
        for a store that another program made, or one of another schema.
    """
    path = out / "store.zarr"
    try:
        # Two drivers may create it at once: it is complete as soon as it exists, and the same from both.
        try:
            group = zarr.open_group(zarr_store(path), mode="a", zarr_format=3, attributes={"ale_dask_schema": SCHEMA})
        except zarr.errors.ContainsGroupError:
            # The other driver created it after this one had not found it.
            group = zarr.open_group(zarr_store(path), mode="r+", zarr_format=3)
    except Exception as error:
        raise StoreError(
            f"{path}: cannot be opened as a store ({error}); if only {path}/zarr.json is damaged, delete that file and "
            "run again: nothing else of the store is lost; else give another -o, or repair the disk"
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
    """Return the group of an analysis, created if absent.

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


def mend_claim(out: Place, name: str, *, identity: str, settings: dict[str, Any]) -> None:
    """Rewrite the zarr.json of the group of an analysis where it differs from the plan, which its id has verified."""
    path = out / "store.zarr" / name / "zarr.json"
    claim = {"identity": identity, "settings": json.loads(json.dumps(settings))}
    wanted = {"attributes": claim, "zarr_format": 3, "node_type": "group"}
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        found = None
    if not isinstance(found, dict) or any(found.get(key) != value for key, value in wanted.items()):
        replace_file(path, json.dumps(wanted, indent=2).encode())


def block_array(
    out: Place, analysis: str, kind: str, segment: int, *, shape: tuple[int, int], rows_per_block: int
) -> zarr.Array[Any]:
    """Return the array of a segment, created if absent: int64, one chunk per block, zstd + crc32c, never resized.

    A zarr.json that is damaged, or differs from the segment, is written again: the blocks have checksums and stamps of
    their own.
    """
    name = f"{analysis}/{kind}/{segment}"
    path = out / "store.zarr" / name / "zarr.json"
    text, wanted = _description(shape, rows_per_block, kind=kind, segment=segment)
    with writing(f"{out}/store.zarr/{name}"):
        try:
            written = path.read_bytes()
        except FileNotFoundError:
            # The folder of the segments is a group, so that other programs see it as a part of the tree.
            replace_file(out / "store.zarr" / analysis / kind / "zarr.json", _GROUP)
            replace_file(path, text)
            written = text
        store = zarr_store(out / "store.zarr")
        try:
            array = zarr.open_array(store, path=name, mode="r+", zarr_format=3)
            if _describes(written, text) and _layout_of(array) == wanted:
                return array
        except (PermissionError, ConnectionError):
            raise
        except Exception:
            pass
        replace_file(path, text)
        return zarr.open_array(store, path=name, mode="r+", zarr_format=3)


def stored_sizes(out: Place, analysis: str, segment: int) -> tuple[int, int] | None:
    """Return the iterations and block size of a segment whose null is in the store, or None where there is none."""
    try:
        array = zarr.open_array(zarr_store(out / "store.zarr"), path=f"{analysis}/null/{segment}", mode="r")
        rows, per_block = array.shape[0], array.chunks[0]
    except Exception:
        # Whatever is wrong with the array, the segment can be planned without it.
        return None
    return (rows, per_block) if rows > 0 and per_block > 0 else None


@lru_cache(maxsize=128)
def _description(
    shape: tuple[int, int], rows_per_block: int, *, kind: str, segment: int
) -> tuple[bytes, dict[str, Any]]:
    """Return the zarr.json of an array of blocks, as zarr writes it, and the entries by which chunks are read."""
    # Segments differ in length, and a dimension has one length in a group.
    rows, columns = ("iteration", "statistic") if kind == "null" else ("block", "count")
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(
        store,
        shape=shape,
        chunks=(rows_per_block, shape[1]),
        dtype="int64",
        fill_value=0,
        dimension_names=(f"{rows}_{segment}", columns),
        serializer=BytesCodec(),
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
    )
    return json.dumps(array.metadata.to_dict(), indent=2).encode(), _layout_of(array)


def _layout_of(array: zarr.Array[Any]) -> dict[str, Any]:
    deciding = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "codecs")
    metadata = array.metadata.to_dict()
    return {key: metadata.get(key) for key in deciding}


def _describes(written: bytes, wanted: bytes) -> bool:
    """Return whether a zarr.json is the wanted one, or has its keys but the names of dimensions, as in version 0.1."""
    found, described = json.loads(written), json.loads(wanted)
    return bool(found == described or found.keys() == described.keys() - {"dimension_names"})


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
        # A truncated or changed chunk makes zstd, crc32c or the reshape raise, each another error.
        return None
    except storage_errors() as error:
        raise StoreError(f"{array.path}: cannot be read ({error}); run the same command again") from error


def present_chunks(out: Place, array: zarr.Array[Any]) -> dict[int, float]:
    """Return the index on the first axis of each stored chunk, with the time of its last change (s since 1970)."""
    found = {}
    for name, changed in files(out / "store.zarr" / array.path / "c").items():
        index, _, rest = name.partition("/")
        if index.isdigit() and rest == "0":
            found[int(index)] = changed
    return found
