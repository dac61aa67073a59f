"""As `power`, when foci are drawn from a density and each voxel has its own threshold: of a place, that of its density.

Places, orders and displacements are those of `power`, so that a place is found or missed under either null.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.base_rate_null import Drawn, draw_base_rate
from ale_dask.numerics.by_level import NEVER, LevelTable, z_of
from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.power import BOX, Kernels, Space, Trial, displaced, fill_sums, move, orders, work_of
from ale_dask.numerics.simd import BARE

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class Local(NamedTuple):
    """What survives: components of S >= threshold (cell) of at least `cut` voxels, or of that mass, sum of z - least_z.

    z is in steps, from the table z (level, bin) at the position (cell) between its levels. Components are of voxels
    that share a face, or with `edges` also an edge.
    """

    threshold: I32
    position: I32
    z: I32
    shift: int
    least_z: int
    cut: int
    by_mass: bool
    edges: bool


def local_rule(
    threshold: I32, table: LevelTable, *, least_z: int, cut: int, by_mass: bool, edges: bool, space: Space
) -> Local:
    """Return the rule of thresholds (voxel) on the grid of a simulation; nothing survives where it is not looked."""
    cell = np.flatnonzero(space.inside)
    voxel = space.number[cell]
    by_cell = np.full(len(space.number), NEVER, dtype=np.int32)
    position = np.zeros(len(space.number), dtype=np.int32)
    by_cell[cell], position[cell] = threshold[voxel], table.position[voxel]
    return Local(by_cell, position, table.z, table.shift, least_z, cut, by_mass, edges)


def place_voxels(simulations: int, *, trial: Trial, space: Space) -> I64:
    """Return the voxel of each simulation's place (simulation), int64."""
    at = np.empty(1, dtype=np.int64)
    found = np.empty(simulations, dtype=np.int64)
    for i in range(simulations):
        draw_voxels(trial.place_key, i, len(space.target), at, 0, 1)
        found[i] = space.target[at[0]]
    return found


@numba.njit(cache=True, nogil=True)
def draw_from(simulation, drawn, trial, kernels, space, work):  # type: ignore[no-untyped-def]
    """Fill `voxel` (focus), drawn as the base rate has it, and `moved` (experiment); returns the place's voxel."""
    i = np.uint64(simulation)
    # A word of its own stream, kept in a place that is written over.
    draw_voxels(trial.place_key, i, space.target.shape[0], work.moved, 0, 1)
    centre = space.target[work.moved[0]]
    draw_base_rate(i, drawn, trial, work.voxel)
    for e in range(trial.kernel.shape[0]):
        work.moved[e] = displaced(trial.moved_key[e], i, centre, trial.kernel[e], kernels, space)
    return centre


@numba.njit(**BARE)
def _found(mark, centre, rule, space, low, high, work):  # type: ignore[no-untyped-def]
    """Return 1 if a component near the centre survives, 0 if none does, -1 if one would have to leave the box."""
    y = space.shape[2]
    x = space.shape[1] * y
    if rule.edges:
        edges = (-x - y, y - x, x - y, x + y, -x - 1, 1 - x, x - 1, x + 1, -y - 1, 1 - y, y - 1, y + 1)
        return _found_by((-x, x, -y, y, -1, 1, *edges), mark, centre, rule, space, low, high, work)
    return _found_by((-x, x, -y, y, -1, 1), mark, centre, rule, space, low, high, work)


@numba.njit(**BARE)
def _found_by(steps, mark, centre, rule, space, low, high, work):  # type: ignore[no-untyped-def]
    threshold, shape, volume, seen, stack = rule.threshold, space.shape, work.volume, work.seen, work.stack
    stride_y = shape[2]
    stride_x = shape[1] * stride_y
    left = False
    for i in range(space.near.shape[0]):
        x = space.place[centre, 0] + space.near[i, 0]
        y = space.place[centre, 1] + space.near[i, 1]
        z = space.place[centre, 2] + space.near[i, 2]
        if not (low[0] <= x < high[0] and low[1] <= y < high[1] and low[2] <= z < high[2]):
            continue
        start = x * stride_x + y * stride_y + z
        if volume[start] < threshold[start] or seen[start] == mark:
            continue
        seen[start] = mark
        stack[0] = start
        depth, total = 1, np.int64(0)
        while depth > 0:
            depth -= 1
            cell = stack[depth]
            if rule.by_mass:
                total += z_of(volume[cell], rule.position[cell], rule.z, rule.shift) - rule.least_z
            else:
                total += 1
            if total >= rule.cut:
                return 1
            x, rest = cell // stride_x, cell % stride_x
            y, z = rest // stride_y, rest % stride_y
            inner = low[0] < x < high[0] - 1 and low[1] < y < high[1] - 1 and low[2] < z < high[2] - 1
            for step in steps:
                other = cell + step
                if threshold[other] != NEVER and seen[other] != mark:
                    if not inner:
                        ox, rest = other // stride_x, other % stride_x
                        oy, oz = rest // stride_y, rest % stride_y
                        if not (low[0] <= ox < high[0] and low[1] <= oy < high[1] and low[2] <= oz < high[2]):
                            left = True
                            continue
                    if volume[other] >= threshold[other]:
                        seen[other] = mark
                        stack[depth] = other
                        depth += 1
    return -1 if left else 0


@numba.njit(cache=True, nogil=True)
def simulate(first, box, order, rule, drawn, trial, kernels, space, work, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (simulation, 1 + experiment), bool, as `power.simulate` does, with foci drawn from a density."""
    low, high = np.empty(3, dtype=np.int64), np.empty(3, dtype=np.int64)
    mark = np.int32(0)
    for b in range(out.shape[0]):
        centre = draw_from(first + b, drawn, trial, kernels, space, work)
        reach = box
        m = 0
        while m < out.shape[1]:
            if m == 0:
                for axis in range(3):
                    low[axis] = max(0, space.place[centre, axis] - reach)
                    high[axis] = min(space.shape[axis], space.place[centre, axis] + reach + 1)
                fill_sums(trial, kernels, low, high, space, work)
            else:
                move(order[b, m - 1], trial, kernels, low, high, space, work)
            mark += 1
            found = _found(mark, centre, rule, space, low, high, work)
            out[b, m] = found == 1
            # From the beginning, and over the whole mask.
            m = m + 1 if found >= 0 else 0
            if found < 0:
                reach = space.shape[0] + space.shape[1] + space.shape[2]


def base_rate_detections(
    simulations: int, *, rule: Local, drawn: Drawn, trial: Trial, kernels: Kernels, space: Space, threads: int
) -> npt.NDArray[np.bool_]:
    """Return whether the place is found (simulation, 1 + experiment), bool, with 0, 1, … experiments that report it."""
    out = np.zeros((simulations, 1 + len(trial.kernel)), dtype=bool)
    step = max(1, -(-simulations // (4 * threads)))
    # The cells near the place are always in the box.
    box = max(BOX, int(np.abs(space.near).max()) + 1)

    def some(first: int) -> None:
        part = out[first : first + step]
        order = orders(first, len(part), trial=trial)
        simulate(first, box, order, rule, drawn, trial, kernels, space, work_of(trial, kernels, space), part)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(some, range(0, simulations, step)))
    return out
