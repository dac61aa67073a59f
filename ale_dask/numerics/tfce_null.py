"""The null of TFCE: the same iterations as the cluster-level tests, and the largest value of each."""

from __future__ import annotations

import numba
import numpy as np

from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.permute import _stamp_all, _workspace
from ale_dask.numerics.tfce import max_tfce, scratch


@numba.njit(cache=True, nogil=True)
def tfce_iterations(first, count, design, stamps, geometry, levels, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration), int64, with the largest TFCE of each iteration, in units of 1 / (3 * 2^(3 bits)).

    The foci are those of `null_iterations`, drawn and stamped again: that is a tenth of the time here, and who does
    not ask for TFCE has nothing more to compile.
    """
    n_voxels = geometry.cell.shape[0]
    cells = np.empty(design.focus_begin[-1], dtype=np.int64)
    position = np.empty((cells.shape[0], 3), dtype=np.int64)
    work, memory = _workspace(design, stamps, geometry), scratch(geometry)
    for b in range(count):
        for e in range(design.kernel.shape[0]):
            draw_voxels(design.key[e], first + b, n_voxels, cells, design.focus_begin[e], design.focus_begin[e + 1])
        for f in range(cells.shape[0]):
            cells[f] = geometry.cell[cells[f]]
        volume = np.zeros(geometry.size, dtype=np.int32)
        _stamp_all(cells, position, design, stamps, geometry, volume, work)
        out[b] = max_tfce(volume, geometry, levels, memory)
