"""The base-rate null, S worked out only where an upper bound reaches the threshold of the voxel.

As `pruned_null` for the uniform null: foci are drawn from a density or as whole studies, each voxel that the bound lets
through is compared with its own threshold, and what passes is measured in z. The integers are those of
`base_rate_null.base_rate_iterations`, which stays for what has no bound and for iterations with too many voxels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.base_rate_null import Critical, FocusSource, base_rate_iterations, draw_base_rate
from ale_dask.numerics.convolved_bound import levels_of_voxels
from ale_dask.numerics.density_levels import NEVER, z_of
from ale_dask.numerics.kernels.candidate_strips import Limits
from ale_dask.numerics.kernels.convolved_strips import Convolution, Levels
from ale_dask.numerics.kernels.exact_sums import most_found
from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.kernels.kernel_rows import Geometry, KernelRows
from ale_dask.numerics.permutation_null import PassingVoxels, largest, passing_room
from ale_dask.numerics.pruned_null import (
    MANY,
    Bound,
    PrunedNull,
    find_sums,
    in_batches,
    iterations_at_once,
    memory_of,
    pruned_null,
    put_foci,
    room_for_foci,
)
from ale_dask.numerics.upper_bound import limits_of_voxels

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PrunedBaseRate:
    """A base-rate null, where its foci come from and the thresholds of its voxels."""

    null: PrunedNull
    source: FocusSource
    critical: Critical


def pruned_base_rate(
    boxes: Sequence[I32],
    source: FocusSource,
    critical: Critical,
    *,
    design: Design,
    rows: KernelRows,
    geometry: Geometry,
    many: int = MANY,
) -> PrunedBaseRate:
    """Return the base-rate null of experiments with kernels (x, y, z), and its bound where one is proven.

    From `many` foci on the bound is a convolution.
    """
    null = by_voxel(boxes, critical.threshold, design=design, rows=rows, geometry=geometry, many=many)
    return PrunedBaseRate(null, source, critical)


def by_voxel(
    boxes: Sequence[I32], threshold: I32, *, design: Design, rows: KernelRows, geometry: Geometry, many: int = MANY
) -> PrunedNull:
    """Return a null whose bound is held against a threshold of each voxel (cell), NEVER where none is enough."""
    own = threshold[geometry.cell]
    cell, own = geometry.cell[own < NEVER], own[own < NEVER]
    # The bound is finest at the largest threshold: smaller ones have as many steps as they are large.
    highest = int(own.max(initial=0))
    null = pruned_null(boxes, threshold=highest, design=design, rows=rows, geometry=geometry, many=many)
    if null.bound is None:
        return null
    return replace(null, bound=replace(null.bound, limits=_limits(null.bound, own, geometry, cell=cell)))


def _limits(bound: Bound, threshold: I32, geometry: Geometry, *, cell: I64) -> Limits | Levels:
    if isinstance(bound.limits, Levels):
        assert isinstance(bound.tables, Convolution)
        return levels_of_voxels(bound.limits, bound.tables, threshold, geometry, bound.grid, cell=cell)
    return limits_of_voxels(bound.limits, threshold, geometry, bound.grid, cell=cell)


@numba.njit(cache=True, nogil=True)
def draw_base_rate_iterations(first, source, design, geometry, foci) -> None:  # type: ignore[no-untyped-def]
    """Fill foci (iteration, axis, focus), int16, with the places in the grid of iterations from `first`, int64, on."""
    voxels = np.empty(design.focus_begin[-1], dtype=np.int64)
    for b in range(foci.shape[0]):
        draw_base_rate(first + b, source, design, voxels)
        put_foci(voxels, geometry, foci[b])


@numba.njit(cache=True, nogil=True)
def base_rate_statistics(done, critical, geometry, found, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 3), int64, with the largest z, cluster size and mass of the first `done` iterations.

    `found` holds their voxels with S at or above their thresholds, which `critical` has.
    """
    room = passing_room(most_found(done, found))
    z = room.value
    for b in range(done):
        begin, end = found.begin[b], found.begin[b + 1]
        best = np.int64(0)
        for i in range(end - begin):
            cell, s = found.cell[begin + i], found.value[begin + i]
            z[i] = z_of(s, critical.position[cell], critical.z, critical.shift)
            best = max(best, np.int64(z[i]))
        passing = PassingVoxels(found.cell[begin:end], z, room.parent, room.size, room.mass)
        out[b, 0] = best
        out[b, 1], out[b, 2] = largest(end - begin, critical.least_z, geometry, passing)


def pruned_base_rate_iterations(first: int, count: int, pruned: PrunedBaseRate, out: I64) -> None:
    """Fill out (iteration, 3), int64, as `base_rate_null.base_rate_iterations` does."""
    null, source, critical = pruned.null, pruned.source, pruned.critical

    def all_of_s(begin: int, n: int) -> None:
        tables = (null.design, null.rows, null.geometry)
        base_rate_iterations(first + begin, n, source, critical, *tables, out[begin : begin + n])

    if null.bound is None:
        all_of_s(0, count)
        return
    memory = memory_of(null, iterations_at_once(count, null))

    def fill(begin: int, n: int) -> tuple[int, list[int]]:
        foci = room_for_foci(n, null.design)
        draw_base_rate_iterations(first + begin, source, null.design, null.geometry, foci)
        # The thresholds are those of the voxels.
        n = find_sums(foci, np.ones(n, dtype=np.int64), critical.threshold, null, memory)
        base_rate_statistics(n, critical, null.geometry, memory.found, out[begin:])
        return n, np.flatnonzero(memory.strips.dense[:n]).tolist()

    in_batches(count, null, fill, all_of_s)
