"""Plans, segments and blocks on disk: the store is the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from ale_dask.data.store import (
    block_array,
    claim_analysis,
    create_once,
    open_store,
    present_chunks,
    read_rows,
    write_rows,
)
from ale_dask.distribution.executors import BlockArrays
from ale_dask.distribution.plan import BlockFunction, Plan, Segment, iteration_stamps
from ale_dask.words.errors import StoreError


def sees(out: Path, nonce: str) -> bool:
    """Return whether OUT, from this process, is the one whose nonce file holds this run's nonce."""
    try:
        return (out / "plans" / "nonce").read_text() == nonce
    except OSError:
        return False


@dataclass(frozen=True)
class StoreSink:
    """One segment's arrays in the store of a folder; small and picklable, so that workers write themselves."""

    out: Path
    nonce: str
    name: str
    segment: Segment
    widths: tuple[tuple[str, int], ...]
    """Name and number of int64 columns of each array, stamps included; "null" is written last."""

    def _array(self, kind: str, width: int) -> zarr.Array[Any]:
        group = open_store(self.out)[self.name]
        assert isinstance(group, zarr.Group)
        per_block = self.segment.block_size if kind == "null" else 1
        rows = self.segment.iterations if kind == "null" else self.segment.n_blocks
        return block_array(group, kind, self.segment.number, shape=(rows, width), rows_per_block=per_block)

    @cached_property
    def _arrays(self) -> dict[str, zarr.Array[Any]]:
        return {kind: self._array(kind, width) for kind, width in self.widths}

    def __getstate__(self) -> dict[str, Any]:
        # Open arrays stay in the process that opened them.
        return {k: v for k, v in self.__dict__.items() if k != "_arrays"}

    def visible(self) -> bool:
        """Return whether this process sees the same OUT."""
        return sees(self.out, self.nonce)

    def write(self, block: int, arrays: BlockArrays) -> None:
        """Write one chunk per array; the null's comes last and makes the block count as done."""
        for kind, array in self._arrays.items():
            write_rows(array, block * array.chunks[0], arrays[kind])

    def read(self, block: int) -> BlockArrays | None:
        """Return a block's arrays, or None if any is missing, damaged or stamped by another plan or place."""
        first, count = self.segment.range_of(block)
        stamps = iteration_stamps(self.segment.plan_id, first=first, count=count)
        found = {}
        for kind, array in self._arrays.items():
            rows = read_rows(array, block * array.chunks[0], count if kind == "null" else 1)
            if rows is None or not np.array_equal(rows[:, 0], stamps[: len(rows)]):
                return None
            found[kind] = rows
        return found

    def missing(self) -> Sequence[int]:
        """Return the blocks without a whole chunk of this plan's in every array."""
        present = set(present_chunks(self.out, self._arrays["null"]))
        return [b for b in range(self.segment.n_blocks) if b not in present or self.read(b) is None]

    def arrays(self) -> BlockArrays:
        """Return null (iteration, 1 + statistic) and counts (block, 1 + n) of all blocks."""
        blocks = [self.read(b) for b in range(self.segment.n_blocks)]
        lost = [b for b, found in enumerate(blocks) if found is None]
        if lost:
            raise StoreError(
                f"{self.name}: {len(lost)} block(s) missing or damaged, first {lost[0]}; run again to redo them"
            )
        whole = [b for b in blocks if b is not None]
        return {kind: np.concatenate([b[kind] for b in whole]) for kind, _ in self.widths}


def store_plan(out: Path, make: Callable[[], Plan], *, name: str, identity: str, conventions: dict[str, Any]) -> Plan:
    """Return the plan of this identity kept in OUT, made and kept if there is none.

    Raises
    ------
    StoreError
        when OUT holds the analysis with other settings, or its plan is damaged.
    """
    claim_analysis(open_store(out), name, identity=identity, settings=conventions)
    path = out / "plans" / name / "plan.npz"
    # The first plan stays: another CPU's last bits must not change a threshold half-way.
    plan = Plan.from_bytes(path.read_bytes() if path.is_file() else create_once(path, make().to_bytes()))
    if plan.identity != identity:
        raise StoreError(f"{path}: belongs to another configuration; give another -o, or --overwrite")
    return plan


def segments(out: Path, plan: Plan) -> list[Segment]:
    """Return the segments planned so far, in order."""
    found: list[Segment] = []
    while (path := out / "plans" / plan.name / f"{len(found)}.json").is_file():
        segment = Segment(**json.loads(path.read_text()))
        if segment.plan_id != plan.id:
            raise StoreError(f"{path}: belongs to another plan; run with --overwrite")
        found.append(segment)
    return found


def cover(out: Path, plan: Plan, *, iterations: int, block_size: int) -> list[Segment]:
    """Return segments that hold at least the first `iterations`, planning one more if they do not yet.

    Two drivers may plan at once: the file is created once, and whoever comes second uses the first's.
    """
    while True:
        have = segments(out, plan)
        done = sum(s.iterations for s in have)
        if done >= iterations:
            return have
        segment = Segment(len(have), plan.id, done, iterations - done, block_size)
        create_once(out / "plans" / plan.name / f"{segment.number}.json", json.dumps(asdict(segment)).encode())


def sink(out: Path, plan: Plan, segment: Segment, *, extra: dict[str, int], nonce: str) -> StoreSink:
    """Return where a segment's blocks go; `extra` names the counts besides the null and their number."""
    widths = (*((kind, n + 1) for kind, n in extra.items()), ("null", len(plan.statistics) + 1))
    return StoreSink(out, nonce, plan.name, segment, widths)


def gather(
    out: Path,
    plan: Plan,
    *,
    iterations: int,
    extra: dict[str, int],
    nonce: str,
    function: BlockFunction,
) -> tuple[npt.NDArray[np.int64], dict[str, npt.NDArray[np.int64]]]:
    """Return the null (iteration, statistic) and the summed counts of the first `iterations` of a stored run.

    A longer run answers a shorter one; counts are kept per block, so the block that the end falls into is
    counted again up to there.

    Raises
    ------
    StoreError
        when a block is missing or damaged.
    """
    nulls: list[npt.NDArray[np.int64]] = []
    counts = {kind: np.zeros(n, dtype=np.int64) for kind, n in extra.items()}
    for segment in segments(out, plan):
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
