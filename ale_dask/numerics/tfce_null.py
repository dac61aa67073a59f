"""The null of TFCE beside those of the cluster-level tests, from the same iterations."""

from __future__ import annotations

import numba
import numpy as np

from ale_dask.numerics.focus_visits import draw_foci, list_foci, sweep_memory
from ale_dask.numerics.permutation_null import found_memory, largest, scan_plane
from ale_dask.numerics.planes import plane_of, stamp_planes
from ale_dask.numerics.tfce import collect_plane, greatest, scratch


@numba.njit(cache=True, nogil=True)
def tfce_iterations(first, count, threshold, design, stamps, geometry, levels, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, 4), int64, as `null_iterations` does, and with the largest TFCE of each iteration.

    In units of 1 / (3 * 2^(3 bits)). A function of its own: who does not ask for TFCE has nothing more to compile.
    """
    work = sweep_memory(design, stamps, geometry)
    found = found_memory(geometry)
    memory = scratch(geometry)
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, stamps, geometry, work)
        n = 0
        high = 0
        best = np.int32(0)
        for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
            stamp_planes(x, stamps, geometry, work)
            for side in range(2):
                plane = plane_of(side, geometry, work)
                high = collect_plane(x + side, plane, (x + side) * geometry.stride_x, geometry, levels, high, memory)
                n, best = scan_plane(x + side, geometry, threshold, n, best, plane, found)
        out[b, 0] = best
        out[b, 1], out[b, 2] = largest(n, threshold, geometry, found)
        out[b, 3] = greatest(high, geometry, memory)
