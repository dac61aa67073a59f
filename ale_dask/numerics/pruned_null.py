"""The null of the cluster-level tests, S worked out only where an upper bound reaches the cluster-forming value.

    draw the foci of some iterations                                        (`draw_iterations`)
    voxels whose upper bound reaches the threshold, in strips of eight      (`kernels.candidate_strips`)
    S in these strips                                                       (`kernels.exact_sums`)
    join the voxels that pass to clusters                                   (`cluster_statistics`)

About one voxel in a thousand passes, and these alone decide the size and the mass of clusters and nearly always the
largest S. The integers are those of `permutation_null.null_iterations`, which stays for everything else: kernels for
which no bound is proven, and iterations in which the bound lets so many voxels through that all of S takes less time.
Each step is compiled by itself, and a null compiles the steps that it uses. An iteration in which nothing passes is
looked through again with a lower threshold, until the largest S that was found is not below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.convolved_bound import bound_by_convolution
from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.kernels.candidate_strips import (
    Lattice,
    Limits,
    Search,
    Stamps,
    Strips,
    search_memory,
    stamped_strips,
    strips_memory,
)
from ale_dask.numerics.kernels.convolved_strips import Convolution, Levels, Passes, convolved_strips, passes_memory
from ale_dask.numerics.kernels.exact_sums import (
    Found,
    SumMemory,
    exact_sums,
    found_memory,
    kinds_of_foci,
    most_found,
    sum_memory,
)
from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.kernels.kernel_rows import Geometry, KernelRows
from ale_dask.numerics.kernels.lattice_lanes import FARTHEST, FOCI
from ale_dask.numerics.permutation_null import PassingVoxels, largest, null_iterations, passing_room, passing_voxels
from ale_dask.numerics.upper_bound import bound_by_stamps
from ale_dask.numerics.whole_sum import FROM, WholeSum, whole_sum, whole_sum_iterations

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
_AT_ONCE = 128
"""Iterations of a step: the next step finds what this one wrote in the second cache."""
_FOCI_AT_ONCE = 2**17
MANY = 3_000
"""Foci from which on the passes of a convolution take less time than stamps."""
_TRIAL = 8
"""Iterations after which the rest is left to the other kernel if more than half of these had too many voxels."""
NEVER = 2**31 - 1
"""A threshold that no S reaches."""
_LARGEST_GRID = 8_000
"""Places are int16, and so are their distances."""


@dataclass(frozen=True, eq=False)
class Bound:
    """A proven upper bound of S: `reach` (kernel), squared, and the most strips that are worth being worked out.

    Its tables are those of `candidate_strips` or, for many foci, of `convolved_strips`.
    """

    grid: Lattice
    tables: Stamps | Convolution
    limits: Limits | Levels
    reach: I16
    most: int


@dataclass(frozen=True, eq=False)
class PrunedNull:
    """A sample's null with its bound, or without where none is proven."""

    design: Design
    rows: KernelRows
    geometry: Geometry
    bound: Bound | None
    whole: WholeSum | None = None
    """What sums all of S faster than row by row, for very many foci of one kernel."""
    dense: list[int] = field(default_factory=list)
    """Thresholds at which a block found too many voxels for its bound: the next blocks do not try again."""


@dataclass(frozen=True, eq=False)
class Memory:
    """Memory of one thread for the search of strips, the strips, their sums and the voxels that pass."""

    search: Search | Passes
    strips: Strips
    sums: SumMemory
    found: Found


def pruned_null(
    boxes: Sequence[I32], *, threshold: int, design: Design, rows: KernelRows, geometry: Geometry, many: int = MANY
) -> PrunedNull:
    """Return the null of experiments with kernels (x, y, z), whose bound is finest at `threshold`, S in fixed point.

    From `many` foci on the bound is a convolution.
    """
    bound = bound_of(boxes, threshold=threshold, design=design, geometry=geometry, many=many)
    return PrunedNull(design, rows, geometry, bound, whole_sum_of(boxes, design, geometry))


def whole_sum_of(boxes: Sequence[I32], design: Design, geometry: Geometry) -> WholeSum | None:
    """Return the transform that sums all of S, for very many foci of one of the kernels (x, y, z); otherwise None."""
    kernels = np.unique(design.kernel)
    if len(kernels) != 1 or design.focus_begin[-1] < FROM:
        return None
    return whole_sum(boxes[int(kernels[0])], geometry)


def bound_of(
    boxes: Sequence[I32], *, threshold: int, design: Design, geometry: Geometry, many: int = MANY
) -> Bound | None:
    """Return the upper bound of S of experiments with kernels (x, y, z), finest at `threshold`; None if none is proven.

    It does not depend on the keys of the draws.
    """
    squared = np.array([_squared_reach(box) for box in boxes])
    shape = np.array([geometry.size // geometry.stride_x, geometry.stride_x // geometry.stride_y, geometry.stride_y])
    if design.focus_begin[-1] == 0 or squared.max() >= FARTHEST**2 or shape.max() > _LARGEST_GRID or threshold < 1:
        return None
    foci = np.bincount(np.repeat(design.kernel, np.diff(design.focus_begin)), minlength=len(boxes))
    tables: tuple[Lattice, Stamps | Convolution, Limits | Levels] | None = None
    if foci.sum() >= many:
        tables = bound_by_convolution(boxes, geometry, threshold=threshold, foci=foci)
    if tables is None:
        tables = bound_by_stamps(boxes, geometry, threshold=threshold)
    if tables is None:
        return None
    return Bound(*tables, squared.astype(np.int16), _most_strips(boxes, design, geometry))


def _squared_reach(box: I32) -> int:
    filled = np.argwhere(box) - np.array(box.shape) // 2
    return int((filled**2).sum(axis=1).max(initial=0))


def _most_strips(boxes: Sequence[I32], design: Design, geometry: Geometry) -> int:
    """Return the number of strips in an iteration beyond which summing all of S takes less time.

    Adding a row of a kernel to a plane takes about 2.5 ns, a strip 10 ns and 0.6 more for each focus near it; the
    choice decides nothing but time.
    """
    foci = np.bincount(np.repeat(design.kernel, np.diff(design.focus_begin)), minlength=len(boxes))
    rows = np.array([np.count_nonzero(box.any(axis=2)) for box in boxes])
    around = np.array([np.prod(np.array(box.shape) + 8) for box in boxes])
    near = float((foci * around).sum()) / len(geometry.cell)
    return max(64, int(0.7 * 2.5 * float((foci * rows).sum()) / (10 + 0.6 * near)))


@numba.njit(cache=True, nogil=True)
def draw_iterations(first, design, geometry, foci) -> None:  # type: ignore[no-untyped-def]
    """Fill foci (iteration, axis, focus), int16, with the places in the grid of iterations from `first`, int64, on."""
    n = design.focus_begin[-1]
    voxels = np.empty(n, dtype=np.int64)
    for b in range(foci.shape[0]):
        for e in range(design.kernel.shape[0]):
            begin, end = design.focus_begin[e], design.focus_begin[e + 1]
            draw_voxels(design.key[e], first + b, geometry.cell.shape[0], voxels, begin, end)
        put_foci(voxels, geometry, foci[b])


@numba.njit(cache=True, nogil=True)
def put_foci(voxels, geometry, foci) -> None:  # type: ignore[no-untyped-def]
    """Fill foci (axis, focus), int16, with the places in the grid of voxels (focus), int64."""
    for f in range(np.uint64(voxels.shape[0])):
        v = np.uint64(voxels[f])
        foci[0, f], foci[1, f], foci[2, f] = geometry.place[v, 0], geometry.place[v, 1], geometry.place[v, 2]


@numba.njit(cache=True, nogil=True)
def cluster_statistics(done, threshold, geometry, found, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 3), int64, with the largest S, cluster size and mass of the first `done` iterations.

    `found` holds their voxels with S >= threshold, int64.
    """
    room = passing_room(most_found(done, found))
    for b in range(done):
        begin, end = found.begin[b], found.begin[b + 1]
        passing = PassingVoxels(found.cell[begin:end], found.value[begin:end], room.parent, room.size, room.mass)
        out[b, 0] = found.best[b]
        out[b, 1], out[b, 2] = largest(end - begin, threshold, geometry, passing)


def room_for_foci(iterations: int, design: Design) -> I16:
    """Return room (iteration, axis, focus), int16, for the foci of iterations and what is read behind them."""
    return np.zeros((iterations, 3, int(design.focus_begin[-1]) + FOCI), dtype=np.int16)


def memory_of(null: PrunedNull, iterations: int) -> Memory:
    """Return the memory of one thread for a null with a bound and so many iterations at once."""
    bound, n_foci = null.bound, int(null.design.focus_begin[-1])
    assert bound is not None
    strips = strips_memory(iterations, most=bound.most, grid=bound.grid)
    sums = sum_memory(kinds_of_foci(null.design, reach=bound.reach), most=bound.most, geometry=null.geometry)
    search: Search | Passes
    if isinstance(bound.tables, Convolution):
        search = passes_memory(n_foci, grid=bound.grid, tables=bound.tables, geometry=null.geometry)
    else:
        search = search_memory(bound.grid)
    return Memory(search, strips, sums, found_memory(strips))


def find_sums(foci: I16, least: I64, threshold: I32, null: PrunedNull, memory: Memory) -> int:
    """Find the voxels that pass in the first iterations, in memory.found, and return the number of these iterations.

    Looked at are the voxels of foci (iteration, axis, focus) whose S may reach least (iteration), or the threshold of
    each voxel where the bound has one. Those pass whose S reaches `threshold`, one for all or one of each cell.
    """
    bound = null.bound
    assert bound is not None
    find = convolved_strips if isinstance(bound.tables, Convolution) else stamped_strips
    tables = (null.design, bound.grid, bound.tables, bound.limits)
    n = find(foci, least, bound.most, *tables, memory.search, memory.strips)
    grids = (null.design.additive, null.rows, null.geometry)
    exact_sums(foci, n, threshold, *grids, memory.strips, memory.sums, memory.found)
    return int(n)


def in_batches(
    count: int,
    null: PrunedNull,
    fill: Callable[[int, int], tuple[int, list[int]]],
    all_of_s: Callable[[int, int], None],
) -> None:
    """Fill the rows of `count` iterations, as many at once as `iterations_at_once` says.

    `fill` fills rows from a number on, at most so many, and returns how many it did and the dense ones, which it did
    not; `all_of_s` fills rows from a number on, so many, with S summed everywhere.
    """
    at_once, done = iterations_at_once(count, null), 0
    while done < count:
        n, dense = fill(done, min(at_once if done else _TRIAL, at_once, count - done))
        if not done and 2 * len(dense) > n:
            all_of_s(0, count)
            return
        for b in dense:
            all_of_s(done + b, 1)
        done += n


def iterations_at_once(count: int, null: PrunedNull) -> int:
    """Return how many of `count` iterations are worked out in one step."""
    return min(count, _AT_ONCE, max(1, _FOCI_AT_ONCE // int(null.design.focus_begin[-1])))


def pruned_iterations(first: int, count: int, threshold: int, null: PrunedNull, out: I64) -> None:
    """Fill out (iteration, 3), int64, as `permutation_null.null_iterations` does, for any threshold of at least 1."""

    def all_of_s(begin: int, n: int) -> None:
        if n == count and threshold not in null.dense:
            null.dense.append(threshold)
        rows, tables = out[begin : begin + n], (null.design, null.rows, null.geometry)
        if null.whole is None:
            null_iterations(first + begin, n, np.int32(threshold), *tables, rows)
        else:
            whole_sum_iterations(first + begin, n, threshold, tables, null.whole, rows)

    if null.bound is None or threshold in null.dense:
        all_of_s(0, count)
        return
    block = _Block(null, threshold, memory_of(null, iterations_at_once(count, null)))
    in_batches(count, null, lambda begin, n: block.fill(first + begin, n, out[begin:]), all_of_s)


def share_looked_at(null: PrunedNull, threshold: int, count: int) -> float:
    """Return the share of the searched voxels whose S the first iterations work out, 1 where they sum all of S."""
    if null.bound is None:
        return 1.0
    block = _Block(null, threshold, memory_of(null, 1))
    shares = []
    for b in range(count):
        foci = room_for_foci(1, null.design)
        draw_iterations(b, null.design, null.geometry, foci)
        block.sums(foci, np.array([threshold]), NEVER)
        strips = block.memory.strips
        bits = int(np.bitwise_count(strips.bits[: strips.begin[1]]).sum())
        shares.append(1.0 if strips.dense[0] else bits / null.geometry.voxels)
    return float(np.mean(shares))


def passing_share(null: PrunedNull, threshold: int, count: int) -> float:
    """Return the share of the searched voxels with S >= threshold in the first iterations."""
    if null.bound is not None:
        block = _Block(null, threshold, memory_of(null, count))
        foci = room_for_foci(count, null.design)
        draw_iterations(0, null.design, null.geometry, foci)
        n = block.sums(foci, np.full(count, threshold), threshold)
        if n == count and not block.memory.strips.dense[:count].any():
            return float(block.memory.found.begin[count] / (count * null.geometry.voxels))
    # All of S is summed where most of it is needed anyway.
    tables = (null.design, null.rows, null.geometry)
    return float(passing_voxels(0, count, np.int32(threshold), *tables) / (count * null.geometry.voxels))


@dataclass(frozen=True, eq=False)
class _Block:
    """Iterations at one threshold, with their memory."""

    null: PrunedNull
    threshold: int
    memory: Memory

    def fill(self, first: int, count: int, out: I64) -> tuple[int, list[int]]:
        """Fill the first rows of `out` but those of dense iterations; return their number and the dense ones."""
        null, found = self.null, self.memory.found
        foci = room_for_foci(count, null.design)
        draw_iterations(first, null.design, null.geometry, foci)
        n = self.sums(foci, np.full(count, self.threshold), self.threshold)
        cluster_statistics(n, self.threshold, null.geometry, found, out)
        dense = self.memory.strips.dense[:n].copy()
        low = np.flatnonzero((found.best[:n] < self.threshold) & ~dense)
        if len(low):
            out[low, 0], dense[low] = self.largest_below(foci[low], found.best[low].astype(np.int64))
        return n, np.flatnonzero(dense).tolist()

    def sums(self, foci: I16, least: I64, threshold: int) -> int:
        """Find the voxels with S >= threshold of those that may reach least (iteration); return how many iterations."""
        return find_sums(foci, least, np.array([threshold], dtype=np.int32), self.null, self.memory)

    def largest_below(self, foci: I16, best: I64) -> tuple[I64, npt.NDArray[np.bool_]]:
        """Return the largest S (iteration) where none reaches the threshold, and where all of S is needed (iteration).

        `best` is the largest that is known. Every voxel with that S or more passes a bound at it: one more look is
        enough where one is known, and otherwise as many as it takes to halve the threshold down to the largest S.
        """
        best, dense = best.copy(), np.zeros(len(best), dtype=np.bool_)
        least = np.full(len(best), self.threshold, dtype=np.int64)
        left = np.flatnonzero(least > 1)
        while len(left):
            lower = np.maximum(best[left], np.maximum(least[left] // 2, 1))
            now = left[: self.sums(foci[left], lower, NEVER)]
            least[now] = lower[: len(now)]
            dense[now] = self.memory.strips.dense[: len(now)]
            best[now] = np.where(dense[now], best[now], self.memory.found.best[: len(now)])
            settled = dense | (best >= least) | (least == 1)
            left = np.concatenate([now[~settled[now]], left[len(now) :]])
        return best, dense
