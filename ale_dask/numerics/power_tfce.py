"""The simulations of `power` for threshold-free cluster enhancement, whose value at a place needs the whole map."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.power import I32, I64, Kernels, Space, Trial, Work, fill_sums, orders, work_of


def tfce_detections(
    simulations: int,
    *,
    draw: Callable[[int, Work], int],
    survives: Callable[[I32], npt.NDArray[np.bool_]],
    trial: Trial,
    kernels: Kernels,
    space: Space,
    threads: int,
) -> npt.NDArray[np.bool_]:
    """Return whether the place is found (simulation, 1 + experiment), bool: whether some voxel near it survives.

    A whole map takes so long that the least number of experiments with which the place is found is sought by bisection:
    a place that is found with some experiments is taken to be found with more.

    Parameters
    ----------
    draw
        fills foci and displaced foci of a simulation, and returns the voxel of the place
    survives
        returns which voxels of the mask (voxel) survive, given S of the grid (cell)
    """
    n = len(trial.kernel)
    low, high = np.zeros(3, dtype=np.int64), space.shape

    def first_found(simulation: int) -> int:
        work = work_of(trial, kernels, space)
        place = space.place[draw(simulation, work)]
        drawn, moved = work.voxel.copy(), work.moved.copy()
        order = orders(simulation, 1, trial=trial)[0]
        near = _near(place, space)

        def is_found(m: int) -> bool:
            work.voxel[:] = drawn
            work.voxel[trial.focus_begin[order[:m]]] = moved[order[:m]]
            fill_sums(trial, kernels, low, high, space, work)
            return bool(survives(work.volume)[near].any())

        low_m, high_m = 0, n + 1
        while low_m < high_m:
            middle = (low_m + high_m) // 2
            if middle == n + 1 or is_found(middle):
                high_m = middle
            else:
                low_m = middle + 1
        return low_m

    with ThreadPoolExecutor(threads) as pool:
        first = np.array(list(pool.map(first_found, range(simulations))))
    return np.asarray(np.arange(n + 1) >= first[:, None])


def _near(place: I64, space: Space) -> I64:
    at = place + space.near
    at = at[((at >= 0) & (at < space.shape)).all(axis=1)]
    voxels = space.number.reshape(tuple(space.shape))[tuple(at.T)]
    return np.asarray(voxels[voxels >= 0], dtype=np.int64)
