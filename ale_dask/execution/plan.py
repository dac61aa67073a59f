"""Plans, segments and blocks: the work of a run, frozen before anything is computed.

A plan holds every number that decides a result: foci, mask, integer kernels, thresholds. Workers add and
compare integers; they never evaluate a transcendental function. A segment is a range of iterations cut into
blocks; an extension is one more segment. Blocks are idempotent and know nothing of each other.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from ale_dask.errors import StoreError

MOST_BLOCKS = 10_000
"""Blocks per segment: a file system and a Dask scheduler both stay quick with this many."""
TASK_SECONDS = 0.005
"""Seconds of the Dask scheduler that one block costs (`scripts/overhead memory` measures them)."""
SCHEDULER_SHARE = 0.2
"""Part of its time that a scheduler may be busy before workers have to wait for it."""
LEAST_SECONDS = 0.05
"""Least duration of a block: writing its chunks takes some milliseconds."""

_PARSING = threading.Lock()
"""Held while numpy reads the headers of arrays, which it parses as Python: where two threads do so at once, CPython
3.11 may raise "AST constructor recursion depth mismatch" (github.com/python/cpython/issues/106905)."""

Arrays = Mapping[str, npt.NDArray[Any]]
BlockFunction = Callable[["Plan", int, int], dict[str, npt.NDArray[np.int64]]]
"""(plan, first iteration, number of iterations) -> "null" (iteration, statistic) and the counts of the plan's kind."""


_TYPES: dict[str, type[Plan]] = {}
"""The type of the plans of each kind; of a kind that has none, a plan is a `Plan`."""
T = TypeVar("T")
S = TypeVar("S", bound=np.generic)
P = TypeVar("P", bound="Plan")


@dataclass(frozen=True, eq=False)
class Plan:
    """All that a worker needs to compute any block of one analysis.

    A kind of plan is a subclass, `class ContrastPlan(Plan, kind="contrast")`, which names the settings and arrays of
    its plans; a plan that is read from bytes has the type of its kind.
    """

    name: str
    kind: str
    identity: str
    statistics: tuple[str, ...]
    settings: Mapping[str, Any]
    arrays: Arrays = field(repr=False)

    def __init_subclass__(cls, *, kind: str = "") -> None:
        """Make a class the type of the plans of a kind; of none, where other classes share what it names."""
        if kind:
            _TYPES[kind] = cls

    @property
    def conventions(self) -> dict[str, Any]:
        """Every setting that the identity is a hash over."""
        return dict(self.settings["conventions"])

    @property
    def bits(self) -> int:
        """Bits after the point of the fixed-point sums."""
        return int(self.settings["bits"])

    @cached_property
    def id(self) -> str:
        """Hash over every setting and array of the plan; the name is not part of it."""
        digest = hashlib.sha256(self._header().encode())
        for name in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def _header(self) -> str:
        content = [self.kind, self.identity, list(self.statistics), dict(self.settings)]
        return json.dumps(content, sort_keys=True)

    def to_bytes(self) -> bytes:
        """Return the plan as an .npz file that holds no pickled object."""
        out = io.BytesIO()
        header = np.frombuffer(json.dumps([self.name, self._header(), self.id]).encode(), dtype=np.uint8)
        # Level 1 takes a half to a quarter of the time of NumPy's 6 and 5 % more bytes.
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in {**self.arrays, "__header__": header}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
        return out.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Plan:
        """Return the plan of an .npz file, of the type of its kind.

        Raises
        ------
        StoreError
            when the file is damaged: its content does not hash to the id written in it.
        """
        try:
            with _PARSING, np.load(io.BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            name, header, plan_id = json.loads(arrays.pop("__header__").tobytes())
            kind, identity, statistics, settings = json.loads(header)
        except Exception as error:
            raise StoreError(f"the plan cannot be read ({error}); delete this file and run again") from error
        plan = _TYPES.get(kind, Plan)(name, kind, identity, tuple(statistics), settings, arrays)
        if plan.id != plan_id:
            raise StoreError(
                f"the plan of '{name}' is damaged: its content does not match its id; delete this file and run again"
            )
        return plan


class StoredArray(Generic[S]):
    """An array of a plan, under the name of the attribute: `candidate = StoredArray[np.int64]()`."""

    def __set_name__(self, owner: type[Plan], name: str) -> None:
        self._name = name

    def __get__(self, plan: Plan, owner: type[Plan]) -> npt.NDArray[S]:
        return plan.arrays[self._name]


class Setting(Generic[T]):
    """A setting of a plan as a number or text: `size = Setting(int)`; `name` where it is not that of the attribute."""

    def __init__(self, read: Callable[[Any], T], *, name: str = "") -> None:
        self._read, self._name = read, name

    def __set_name__(self, owner: type[Plan], name: str) -> None:
        self._name = self._name or name

    def __get__(self, plan: Plan, owner: type[Plan]) -> T:
        return self._read(plan.settings[self._name])


def of_type(kind: type[P], plan: Plan) -> P:
    """Return a plan that is known to be of a type, as one of it."""
    assert isinstance(plan, kind)
    return plan


@dataclass(frozen=True)
class Segment:
    """Iterations first … first + iterations - 1 of a plan, in blocks of one size."""

    number: int
    plan_id: str
    first: int
    iterations: int
    block_size: int

    @property
    def n_blocks(self) -> int:
        """Number of blocks."""
        return -(-self.iterations // self.block_size)

    def range_of(self, block: int) -> tuple[int, int]:
        """Return the first iteration of a block and its number of iterations."""
        start = block * self.block_size
        return self.first + start, min(self.block_size, self.iterations - start)


def iteration_stamps(plan_id: str, *, first: int, count: int) -> npt.NDArray[np.int64]:
    """Return a hash of plan and iteration (iteration), int64, which proves that a row of a null is of this plan."""
    prefix = bytes.fromhex(plan_id)
    digests = b"".join(
        hashlib.sha256(prefix + i.to_bytes(8, "little")).digest()[:8] for i in range(first, first + count)
    )
    return np.frombuffer(digests, dtype="<i8").astype(np.int64)


def compute_block(
    plan: Plan, segment: Segment, block: int, *, function: BlockFunction
) -> dict[str, npt.NDArray[np.int64]]:
    """Return the stamped arrays of one block; pure: no file is read or written."""
    first, count = segment.range_of(block)
    stamps = iteration_stamps(plan.id, first=first, count=count)
    arrays = function(plan, first, count)
    null = np.concatenate([stamps[:, None], arrays.pop("null")], axis=1)
    extra = {name: np.concatenate([stamps[:1], a.reshape(-1)])[None, :] for name, a in arrays.items()}
    return {**extra, "null": null}


def block_size(*, iterations: int, seconds_per_iteration: float, block_seconds: float, workers: int) -> int:
    """Return the iterations of a block that takes about `block_seconds`, or less to leave each worker four blocks.

    Fewer than four per worker leave some idle at the end; but a scheduler that gives blocks of d s to W workers is
    busy for W * TASK_SECONDS / d of its time, so d >= W * TASK_SECONDS / SCHEDULER_SHARE takes precedence.
    """
    least = max(LEAST_SECONDS, workers * TASK_SECONDS / SCHEDULER_SHARE) / max(seconds_per_iteration, 1e-9)
    most = max(1.0, block_seconds / max(seconds_per_iteration, 1e-9))
    size = max(math.ceil(least), min(int(most), -(-iterations // (4 * workers))))
    return max(min(size, iterations), -(-iterations // MOST_BLOCKS), 1)


def digest(null: npt.NDArray[np.int64], *extra: npt.NDArray[np.int64]) -> str:
    """Return sha256 over a null (iteration, statistic), stamps left out, and over summed counts."""
    out = hashlib.sha256(np.ascontiguousarray(null, dtype="<i8").tobytes())
    for array in extra:
        out.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    return out.hexdigest()
