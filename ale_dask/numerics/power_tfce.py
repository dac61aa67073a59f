"""As `power.detections`, for threshold-free cluster enhancement, whose value at a place depends on the whole map."""

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
    """Return whether the place is found (simulation, 1 + experiment), bool: some voxel near it survives.

    A whole map costs so much that the first number of experiments with which it is found is looked for by bisection:
    what is found with some experiments is taken to be found with more.

    Parameters
    ----------
    draw
        fills foci and displaced foci of a simulation, and returns the voxel of the place
    survives
        gives from S of the grid (cell) which voxels of the mask (voxel) survive
    """
    n = len(trial.kernel)
    low, high = np.zeros(3, dtype=np.int64), space.shape

    def first_found(simulation: int) -> int:
        work = work_of(trial, kernels, space)
        place = space.place[draw(simulation, work)]
        drawn, moved = work.voxel.copy(), work.moved.copy()
        order = orders(simulation, 1, trial=trial)[0]
        near = _near(place, space)

        def found(m: int) -> bool:
            work.voxel[:] = drawn
            work.voxel[trial.focus_begin[order[:m]]] = moved[order[:m]]
            fill_sums(trial, kernels, low, high, space, work)
            return bool(survives(work.volume)[near].any())

        least, most = 0, n + 1
        while least < most:
            middle = (least + most) // 2
            if middle == n + 1 or found(middle):
                most = middle
            else:
                least = middle + 1
        return least

    with ThreadPoolExecutor(threads) as pool:
        first = np.array(list(pool.map(first_found, range(simulations))))
    return np.asarray(np.arange(n + 1) >= first[:, None])


def _near(place: I64, space: Space) -> I64:
    at = place + space.near
    at = at[((at >= 0) & (at < space.shape)).all(axis=1)]
    voxels = space.number.reshape(tuple(space.shape))[tuple(at.T)]
    return np.asarray(voxels[voxels >= 0], dtype=np.int64)
