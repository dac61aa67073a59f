"""Plans, segments and blocks on disk: the store is the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import zarr

from ale_dask.errors import StoreError
from ale_dask.execution.executors import BlockArrays
from ale_dask.execution.plan import BlockFunction, P, Plan, Segment, iteration_stamps
from ale_dask.storage.checksums import KEY, whole, with_hash
from ale_dask.storage.location import Place, create_once, files
from ale_dask.storage.zarr_store import (
    block_array,
    claim_analysis,
    mend_claim,
    open_store,
    present_chunks,
    read_rows,
    stored_sizes,
    write_rows,
)


def shares_storage(out: Place, nonce: str) -> bool:
    """Return whether OUT, from this process, is the one whose nonce file holds this run's nonce."""
    try:
        return (out / "plans" / "nonce").read_bytes() == nonce.encode()
    except OSError:
        return False


@dataclass(frozen=True)
class StoreSink:
    """The arrays of one segment in the store of OUT; small and picklable, so that workers write blocks themselves."""

    out: Place
    nonce: str
    name: str
    segment: Segment
    widths: tuple[tuple[str, int], ...]
    """Name and number of int64 columns of each array, stamps included; "null" is written last."""

    def visible(self) -> bool:
        """Return whether this process sees the OUT of the run, and not another folder of the same path."""
        return _sees(self.out, self.nonce)

    def write(self, block: int, arrays: BlockArrays) -> None:
        """Write one chunk per array; the null's comes last and makes the block count as done.

        Raises
        ------
        StoreError
            when OUT was removed or renamed since the run began: it must not come back with half of its content.
        """
        if isinstance(self.out, Path) and not (self.out / "plans" / "nonce").is_file():
            raise StoreError(f"{self.out}: was removed or renamed while a run wrote into it; nothing more is written")
        for kind, array in _arrays(self).items():
            write_rows(array, block * array.chunks[0], arrays[kind])

    def read(self, block: int) -> BlockArrays | None:
        """Return the arrays of a block, or None if any is missing, damaged or stamped by another plan or block."""
        first, count = self.segment.range_of(block)
        stamps = iteration_stamps(self.segment.plan_id, first=first, count=count)
        found = {}
        for kind, array in _arrays(self).items():
            rows = read_rows(array, block * array.chunks[0], count if kind == "null" else 1)
            if rows is None or not np.array_equal(rows[:, 0], stamps[: len(rows)]):
                return None
            found[kind] = rows
        return found

    def missing(self) -> Sequence[int]:
        """Return the numbers of the blocks that lack a readable chunk, stamped by this plan, in any array."""
        done = {block for block, arrays in self.read_all(sorted(self.present())) if arrays is not None}
        return [block for block in range(self.segment.n_blocks) if block not in done]

    def present(self) -> dict[int, float]:
        """Return the numbers of the stored blocks, readable or not, with the time of writing (s since 1970)."""
        return present_chunks(self.out, _arrays(self)["null"])

    def read_all(self, blocks: Sequence[int]) -> Iterator[tuple[int, BlockArrays | None]]:
        """Yield the numbers of some blocks with their arrays, None for one that `read` would return None for."""
        # In object storage a read is all waiting.
        with ThreadPoolExecutor(1 if isinstance(self.out, Path) else 16) as pool:
            yield from zip(blocks, pool.map(self.read, blocks), strict=True)

    def arrays(self) -> BlockArrays:
        """Return null (iteration, 1 + statistic) and counts (block, 1 + n) of all blocks; column 0 holds stamps."""
        blocks = [arrays for _, arrays in self.read_all(range(self.segment.n_blocks))]
        lost = [b for b, found in enumerate(blocks) if found is None]
        if lost:
            raise StoreError(
                f"{self.name}: {len(lost)} block(s) missing or damaged, first {lost[0]}; run again to redo them"
            )
        whole = [b for b in blocks if b is not None]
        return {kind: np.concatenate([b[kind] for b in whole]) for kind, _ in self.widths}


# Every block arrives with its own copy of the sink, so opened arrays are cached per process, not per sink.
_sees = lru_cache(maxsize=64)(shares_storage)


@lru_cache(maxsize=128)
def _arrays(sink: StoreSink) -> dict[str, zarr.Array[Any]]:
    segment = sink.segment
    open_store(sink.out)
    return {
        kind: block_array(
            sink.out,
            sink.name,
            kind,
            segment.number,
            shape=(segment.iterations if kind == "null" else segment.n_blocks, width),
            rows_per_block=segment.block_size if kind == "null" else 1,
        )
        for kind, width in sink.widths
    }


def store_plan(out: Place, make: Callable[[], P], *, name: str, identity: str, conventions: dict[str, Any]) -> P:
    """Return the plan of this identity from OUT, where it is made and stored if there is none.

    The identity is a hash over the kind too, so that a stored plan has the type of the one that would be made.

    Raises
    ------
    StoreError
        when OUT holds the analysis with other settings, or its plan is damaged.
    """
    root = open_store(out)
    path = out / "plans" / name / "plan.npz"
    stored = _plan_of(path, path.read_bytes()) if path.is_file() else None
    if stored is not None and stored.identity == identity and stored.name == name:
        mend_claim(out, name, identity=identity, settings=conventions)
        return cast(P, stored)
    claim_analysis(root, name, identity=identity, settings=conventions)
    # The first plan stays: another CPU rounds the last bits otherwise, which could move a threshold during a run.
    plan = stored or _first(path, make())
    if plan.identity != identity or plan.name != name:
        raise StoreError(f"{path}: belongs to another configuration; give another -o, or --overwrite")
    return cast(P, plan)


class _ReadArrays(Mapping[str, npt.NDArray[Any]]):
    """The arrays of a stored plan, read again when they are asked for: memory holds those of a few plans."""

    def __init__(self, path: Place, plan: Plan) -> None:
        self._path, self._id, self._names = path, plan.id, tuple(plan.arrays)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return _arrays_at(self._path, self._id)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker may not see OUT.
        return dict, (dict(self),)


def with_read_arrays(out: Place, plan: P) -> P:
    """Return a plan that OUT holds without its arrays, 0.2 to 5 MB, which are read when they are asked for."""
    let_go = replace(plan, arrays=_ReadArrays(out / "plans" / plan.name / "plan.npz", plan))
    # The id is a hash over the arrays, and verified.
    let_go.__dict__["id"] = plan.id
    return let_go


@lru_cache(maxsize=16)
def _arrays_at(path: Place, plan_id: str) -> Mapping[str, npt.NDArray[Any]]:
    plan = _plan_of(path, path.read_bytes())
    if plan.id != plan_id:
        raise StoreError(f"{path}: was replaced while a run read it; run the same command again")
    return plan.arrays


def _first(path: Place, plan: Plan) -> Plan:
    """Store a plan, and return it, or the plan that another driver stored first."""
    data = plan.to_bytes()
    first = create_once(path, data)
    return plan if first == data else _plan_of(path, first)


def _plan_of(path: Place, data: bytes) -> Plan:
    try:
        return Plan.from_bytes(data)
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error


def stored_plan(out: Place, name: str) -> Plan:
    """Return the plan that OUT holds under a name.

    Raises
    ------
    StoreError
        when it is damaged.
    """
    path = out / "plans" / name / "plan.npz"
    return _plan_of(path, path.read_bytes())


def stored_plans(out: Place, kind: str) -> dict[str, Plan]:
    """Return the plans of a kind that OUT holds by name.

    Raises
    ------
    StoreError
        for a plan that is damaged.
    """
    names = (name.removesuffix("/plan.npz") for name in sorted(files(out / "plans")) if name.endswith("/plan.npz"))
    return {name: plan for name in names if (plan := stored_plan(out, name)).kind == kind}


def segments(out: Place, plan: Plan) -> list[Segment]:
    """Return the segments planned so far, in order.

    Raises
    ------
    StoreError
        for one that is damaged, was changed, or belongs to another plan.
    """
    found: list[Segment] = []
    while (path := out / "plans" / plan.name / f"{len(found)}.json").is_file():
        segment = _segment_of(path)
        if segment.plan_id != plan.id:
            raise StoreError(f"{path}: belongs to another plan; run with --overwrite")
        if (segment.number, segment.first) != (len(found), sum(s.iterations for s in found)):
            raise StoreError(f"{path}: does not go on where the segment before it ends; {_AGAIN}")
        found.append(segment)
    return found


def _segment_of(path: Place) -> Segment:
    try:
        values = json.loads(path.read_bytes())
        # Segments written by version 0.1 have no checksum.
        if KEY in values and not whole(values):
            raise ValueError("its content does not match its checksum")
        segment = Segment(**{key: value for key, value in values.items() if key != KEY})
        numbers = (segment.number, segment.first, segment.iterations, segment.block_size)
        if not all(type(n) is int for n in numbers) or min(segment.iterations, segment.block_size) < 1:
            raise ValueError("it holds no numbers of a segment")
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path}: damaged ({error}); {_AGAIN}") from error
    return segment


_AGAIN = "delete it and run the same command again: the blocks that are stored are used again"


def cover(out: Place, plan: Plan, *, iterations: int, block_size: int) -> list[Segment]:
    """Return the segments that hold at least the first `iterations`, after planning one more where they do not.

    Two drivers may plan at once: a segment's file is created only once, and the second driver uses that file.
    """
    while True:
        have = segments(out, plan)
        done = sum(s.iterations for s in have)
        if done >= iterations:
            return have
        number = len(have)
        # Where the segment's file was lost, its blocks may still be stored, and tell its sizes.
        size = stored_sizes(out, plan.name, number) or (iterations - done, block_size)
        segment = with_hash(asdict(Segment(number, plan.id, done, *size)))
        create_once(out / "plans" / plan.name / f"{number}.json", json.dumps(segment).encode())


def sink(out: Place, plan: Plan, segment: Segment, *, extra: dict[str, int], nonce: str) -> StoreSink:
    """Return the sink of a segment; `extra` maps the name of each count beside the null to its number of values."""
    widths = (*((kind, n + 1) for kind, n in extra.items()), ("null", len(plan.statistics) + 1))
    return StoreSink(out, nonce, plan.name, segment, widths)


def gather(
    out: Place,
    plan: Plan,
    *,
    iterations: int,
    extra: dict[str, int],
    nonce: str,
    function: BlockFunction,
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64]]]:
    """Return the null (iteration, statistic) and the summed counts of the first `iterations` of a stored run.

    A longer run holds every shorter one. Counts are stored per block, so the block in which the last iteration lies is
    computed once more, up to that iteration.

    Raises
    ------
    StoreError
        when a block is missing or damaged.
    """
    nulls: list[npt.NDArray[np.int64]] = []
    counts = {kind: np.zeros(n, dtype=np.int64) for kind, n in extra.items()}
    for segment in segments(out, plan):
        if segment.first >= iterations:
            # Another driver extends the run further, and may not have computed this segment yet.
            break
        arrays = sink(out, plan, segment, extra=extra, nonce=nonce).arrays()
        nulls.append(arrays["null"][:, 1:])
        for block in range(segment.n_blocks):
            first, count = segment.range_of(block)
            if first + count <= iterations:
                for kind in extra:
                    counts[kind] += arrays[kind][block, 1:]
            elif first < iterations and extra:
                partial = function(plan, first, iterations - first)
                for kind in extra:
                    counts[kind] += partial[kind].reshape(-1)
    null = np.concatenate(nulls) if nulls else np.empty((0, len(plan.statistics)), dtype=np.int64)
    if len(null) < iterations:
        raise StoreError(f"{plan.name}: {len(null)} of {iterations} iterations are planned; run it first")
    return null[:iterations], counts
