"""The null of TFCE beside those of the cluster-level tests, from the same iterations.

The loop of `permutation_null.null_iterations` with one more thing done with each plane: the voxels with z > 0, a sixth
of the brain, are collected for the component tree of `tfce`. tests/analyses/test_tfce.py has the plain
version.
"""

from __future__ import annotations

import numba
import numpy as np

from ale_dask.numerics.draws import draw_foci
from ale_dask.numerics.kernels.focus_visits import list_foci, workspace
from ale_dask.numerics.kernels.planes import plane_of, sum_planes
from ale_dask.numerics.permutation_null import largest, passing_memory, scan_plane
from ale_dask.numerics.tfce import collect_plane, largest_tfce, tfce_memory


@numba.njit(cache=True, nogil=True)
def tfce_iterations(first, count, threshold, design, rows, geometry, levels, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 4), int64, as `null_iterations` does, and with the largest TFCE of each iteration.

    TFCE is in units of 1 / (3 * 2^(3 bits)), `levels` are the `Levels` of S. A function of its own, so that a run
    without TFCE has nothing more to compile.
    """
    work = workspace(design, geometry)
    passing = passing_memory(geometry)
    memory = tfce_memory(geometry)
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, rows, geometry, work)
        n = np.int64(0)
        n_positive = np.int64(0)
        best = np.int32(0)
        for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
            sum_planes(x, rows, geometry, work)
            for side in range(2):
                plane, origin = plane_of(side, geometry, work), (x + side) * geometry.stride_x
                n_positive = collect_plane(x + side, plane, origin, geometry, levels, n_positive, memory)
                n, best = scan_plane(x + side, geometry, threshold, n, best, plane, passing)
        out[b, 0] = best
        out[b, 1], out[b, 2] = largest(n, np.int64(threshold), geometry, passing)
        out[b, 3] = largest_tfce(n_positive, geometry, memory)
