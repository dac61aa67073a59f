"""As `power`, when foci are drawn from a density and each voxel has its own threshold: of a place, that of its density.

Places, orders and displacements are those of `power`, so that a place is found or missed under either null.
"""

from __future__ import annotations

from functools import partial

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.base_rate_null import Drawn, draw_base_rate
from ale_dask.numerics.density_levels import NEVER, LevelTable
from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.power import Kernels, Rule, Space, Trial, detections, displaced, follow

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


def local_rule(
    threshold: I32, table: LevelTable, *, least_z: int, cut: int, by_mass: bool, edges: bool, space: Space
) -> Rule:
    """Return the rule of thresholds (voxel) on the grid of a simulation; nothing survives where it is not looked."""
    cell = np.flatnonzero(space.inside)
    voxel = space.number[cell]
    by_cell = np.full(len(space.number), NEVER, dtype=np.int32)
    position = np.zeros(len(space.number), dtype=np.int32)
    by_cell[cell], position[cell] = threshold[voxel], table.position[voxel]
    return Rule(by_cell, position, table.z, table.shift, least_z, cut, by_mass, True, edges)


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


@numba.njit(cache=True, nogil=True)
def _simulate(drawn, first, box, order, rule, trial, kernels, space, work, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (simulation, 1 + experiment), bool, as `power.simulate` does, with foci where the base rate has them."""
    mark = 0
    for b in range(out.shape[0]):
        centre = draw_from(first + b, drawn, trial, kernels, space, work)
        mark = follow(centre, mark, box, order[b], rule, trial, kernels, space, work, out[b])


def base_rate_detections(
    simulations: int, *, rule: Rule, drawn: Drawn, trial: Trial, kernels: Kernels, space: Space, threads: int
) -> npt.NDArray[np.bool_]:
    """Return whether the place is found, as `power.detections` does, with foci where the base rate has them."""
    simulate = partial(_simulate, drawn)
    return detections(
        simulations, rule=rule, trial=trial, kernels=kernels, space=space, threads=threads, simulate=simulate
    )
