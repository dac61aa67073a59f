"""The simulations of `power` when foci are drawn from a density and each voxel has its own threshold.

Places, orders and displacements are those of `power`, so that the same places are found or missed under both nulls.
"""

from __future__ import annotations

from functools import partial

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.base_rate_null import FocusSource, draw_base_rate
from ale_dask.numerics.density_levels import NEVER, LevelTable
from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.power import (
    Kernels,
    Rule,
    Space,
    Trial,
    detections,
    displaced,
    follow_simulation,
    neighbour_steps,
)

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


def local_rule(
    threshold: I32, table: LevelTable, *, least_z: int, cut: int, by_mass: bool, edges: bool, space: Space
) -> Rule:
    """Return the rule of thresholds (voxel), int32, and of the table of z, on the grid of a simulation."""
    cell = np.flatnonzero(space.inside)
    voxel = space.number[cell]
    by_cell = np.full(len(space.number), NEVER, dtype=np.int32)
    position = np.zeros(len(space.number), dtype=np.int32)
    by_cell[cell], position[cell] = threshold[voxel], table.position[voxel]
    return Rule(
        by_cell, position, table.z, table.shift, least_z, cut, by_mass, True, neighbour_steps(space, edges=edges)
    )


def place_voxels(simulations: int, *, trial: Trial, space: Space) -> I64:
    """Return the voxel of each simulation's place (simulation), int64."""
    number = np.empty(1, dtype=np.int64)
    voxels = np.empty(simulations, dtype=np.int64)
    for i in range(simulations):
        draw_voxels(trial.place_key, i, len(space.target), number, 0, 1)
        voxels[i] = space.target[number[0]]
    return voxels


@numba.njit(cache=True, nogil=True)
def draw_from(simulation, source, trial, kernels, space, work):  # type: ignore[no-untyped-def]
    """Fill work.voxel (focus) from a `FocusSource`, and work.moved (experiment); return the voxel of the place."""
    i = np.uint64(simulation)
    # `moved` holds the number of the place for a moment.
    draw_voxels(trial.place_key, i, space.target.shape[0], work.moved, 0, 1)
    centre = space.target[work.moved[0]]
    draw_base_rate(i, source, trial, work.voxel)
    for e in range(trial.kernel.shape[0]):
        work.moved[e] = displaced(trial.moved_key[e], i, centre, trial.kernel[e], kernels, space)
    return centre


@numba.njit(cache=True, nogil=True)
def _simulate(source, first, box, order, rule, trial, kernels, space, work, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (simulation, 1 + experiment), bool, as `power.simulate` does, with foci from a `FocusSource`."""
    mark = 0
    for b in range(out.shape[0]):
        centre = draw_from(first + b, source, trial, kernels, space, work)
        mark = follow_simulation(centre, mark, box, order[b], rule, trial, kernels, space, work, out[b])


def base_rate_detections(
    simulations: int, *, rule: Rule, source: FocusSource, trial: Trial, kernels: Kernels, space: Space, threads: int
) -> npt.NDArray[np.bool_]:
    """Return whether the place is found, as `power.detections` does, with foci from a `FocusSource`."""
    simulate = partial(_simulate, source)
    return detections(
        simulations, rule=rule, trial=trial, kernels=kernels, space=space, threads=threads, simulate=simulate
    )
