"""The nulls of several analyses of the same drawn foci in one pass, S worked out only where a bound reaches some value.

As `variant_null` and `base_rate_variants`, whose integers these are: a variant that lacks experiments can only reach
its threshold where S of all experiments does. The voxels that `pruned_null` finds at the least of all thresholds are
hence all that any variant needs, and the experiments that it lacks are worked out in these alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.base_rate_null import FocusSource
from ale_dask.numerics.base_rate_variants import (
    CriticalVariants,
    base_rate_variant_iterations,
    fill_base_rate_variants,
)
from ale_dask.numerics.kernels.exact_sums import most_found
from ale_dask.numerics.permutation_null import PassingVoxels, passing_room
from ale_dask.numerics.pruned_base_rate import draw_base_rate_iterations
from ale_dask.numerics.pruned_null import (
    PrunedNull,
    draw_iterations,
    find_sums,
    in_batches,
    iterations_at_once,
    memory_of,
    room_for_foci,
)
from ale_dask.numerics.variant_null import Variants, fill_variants, omitted_room, variant_iterations

I16 = npt.NDArray[np.int16]
I64 = npt.NDArray[np.int64]


class DrawnFoci(NamedTuple):
    """The places of the foci of one iteration in the grid (axis, focus), int16."""

    position: I16


@numba.njit(cache=True, nogil=True)
def variant_statistics(done, least, variants, foci, design, rows, geometry, found, complete, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, variant, 3), int64, of the first `done` iterations, and complete (iteration), bool.

    `found` holds their voxels with S >= least, int32, of foci (iteration, axis, focus), int16. An iteration is not
    complete, and its rows mean nothing, if the largest S of a variant may lie elsewhere.
    """
    most = most_found(done, found)
    room, remaining, omitted = passing_room(most), passing_room(most), omitted_room(most, geometry)
    for b in range(done):
        begin, end = found.begin[b], found.begin[b + 1]
        passing = PassingVoxels(found.cell[begin:end], found.value[begin:end], room.parent, room.size, room.mass)
        drawn = DrawnFoci(foci[b])
        complete[b] = fill_variants(
            end - begin, least, variants, design, rows, geometry, drawn, passing, remaining, omitted, out[b]
        )


@numba.njit(cache=True, nogil=True)
def base_rate_variant_statistics(done, critical, foci, design, rows, geometry, found, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, variant, 3), int64, of the first `done` iterations.

    `found` holds their voxels whose S reaches the least of their thresholds, of foci (iteration, axis, focus), int16.
    """
    most = most_found(done, found)
    room, remaining, omitted = passing_room(most), passing_room(most), omitted_room(most, geometry)
    for b in range(done):
        begin, end = found.begin[b], found.begin[b + 1]
        passing = PassingVoxels(found.cell[begin:end], found.value[begin:end], room.parent, room.size, room.mass)
        drawn = DrawnFoci(foci[b])
        fill_base_rate_variants(
            end - begin, critical, design, rows, geometry, drawn, passing, remaining, omitted, out[b]
        )


def pruned_variant_iterations(first: int, count: int, variants: Variants, null: PrunedNull, out: I64) -> None:
    """Fill out (iteration, variant, 3), int64, as `variant_null.variant_iterations` does."""
    tables = (null.design, null.rows, null.geometry)

    def all_of_s(begin: int, n: int) -> None:
        variant_iterations(first + begin, n, variants, *tables, out[begin : begin + n])

    if null.bound is None:
        all_of_s(0, count)
        return
    memory = memory_of(null, iterations_at_once(count, null))

    def some(foci: I16, least: int, rows: I64) -> tuple[int, list[int], list[int]]:
        """Fill the first rows (iteration, variant, 3); return their number, the dense ones and those not complete."""
        threshold = np.array([least], dtype=np.int32)
        n = find_sums(foci, np.full(len(foci), least), threshold, null, memory)
        complete = np.zeros(n, dtype=np.bool_)
        variant_statistics(n, threshold[0], variants, foci, *tables, memory.found, complete, rows)
        dense = memory.strips.dense[:n]
        return n, np.flatnonzero(dense).tolist(), np.flatnonzero(~complete & ~dense).tolist()

    def fill(begin: int, n: int) -> tuple[int, list[int]]:
        foci, least = room_for_foci(n, null.design), max(1, int(variants.threshold.min()))
        draw_iterations(first + begin, null.design, null.geometry, foci)
        n, dense, left = some(foci, least, out[begin : begin + n])
        while left:
            least = max(1, least // 2)
            again, rows = left, np.empty((len(left), *out.shape[1:]), dtype=np.int64)
            done, full, open_ = some(foci[again], least, rows)
            out[[begin + b for b in again[:done]]] = rows[:done]
            dense += [again[i] for i in full]
            left = [again[i] for i in open_] + again[done:]
        return n, dense

    in_batches(count, null, fill, all_of_s)


def pruned_base_rate_variant_iterations(
    first: int, count: int, source: FocusSource, critical: CriticalVariants, null: PrunedNull, out: I64
) -> None:
    """Fill out (iteration, variant, 3), int64, as `base_rate_variants.base_rate_variant_iterations` does.

    The bound of the null is held against the least threshold of each voxel.
    """
    tables = (null.design, null.rows, null.geometry)

    def all_of_s(begin: int, n: int) -> None:
        base_rate_variant_iterations(first + begin, n, source, critical, *tables, out[begin : begin + n])

    if null.bound is None:
        all_of_s(0, count)
        return
    memory = memory_of(null, iterations_at_once(count, null))

    def fill(begin: int, n: int) -> tuple[int, list[int]]:
        foci = room_for_foci(n, null.design)
        draw_base_rate_iterations(first + begin, source, null.design, null.geometry, foci)
        n = find_sums(foci, np.ones(n, dtype=np.int64), critical.least, null, memory)
        base_rate_variant_statistics(n, critical, foci, *tables, memory.found, out[begin : begin + n])
        return n, np.flatnonzero(memory.strips.dense[:n]).tolist()

    in_batches(count, null, fill, all_of_s)
