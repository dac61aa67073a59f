"""Subtract from a sum over foci what overlaps within experiments.

    max(k, m) - m  =  k - min(k, m)      m: maximum over the earlier foci of the experiment

A focus k adds max(k, m) - m to S, so that S is the sum of all kernels less min(k, m) of every focus that meets an
earlier one: only the rows in which both reach are touched. `whole_sum` has the sum of all kernels by a Fourier
transform. The plain version of the rows runs under ALE_DASK_PLAIN=1.
"""

from __future__ import annotations

import numba
import numpy as np

from ale_dask.numerics.kernels.focus_visits import BEGIN, END, KERNEL
from ale_dask.numerics.kernels.simd import INNER, WIDTH, larger8, lessen8, load, read8

_FAR = 2**30


@numba.njit(**INNER)
def subtract_overlaps(volume, grid, rows, work) -> None:  # type: ignore[no-untyped-def]
    """Subtract min(k, m) from volume (cell), int32, for the foci that `list_foci` has listed.

    `grid` says where a place lies in `volume`, a `whole_sum.Grid`; rows beyond it are left out, and cells that a row
    overhangs belong to no voxel.
    """
    foci = work.foci
    for t in range(foci.shape[0]):
        if foci[t, BEGIN] < foci[t, END]:
            radius = rows.radius[foci[t, KERNEL], 0]
            for x in range(max(foci[t, 0] - radius, 0), min(foci[t, 0] + radius, grid.planes - 1) + 1):
                n, low, high = _earlier_rows(x, t, rows, work)
                if n > 0:
                    low, high = max(low, 0), min(high, grid.rows - 1)
                    _subtract_rows(volume, x, low, high, t, n, grid, rows, work)


@numba.njit(**INNER)
def _earlier_rows(x, t, rows, work):  # type: ignore[no-untyped-def]
    """Fill work.earlier with where the kernels of the earlier foci that meet focus t at x stand in the table.

    Returned are their number and the first and the last row in which the focus and one of them reach.
    """
    overlap, met = work.overlap, work.earlier
    x0, y0, z0 = np.int64(work.foci[t, 0]), np.int64(work.foci[t, 1]), np.int64(work.foci[t, 2])
    kernel = work.foci[t, KERNEL]
    radius, first = rows.radius[kernel, 0], rows.slab_begin[kernel]
    middle = rows.middle[first]
    step = rows.middle[first + 1] - middle
    own = first + abs(x - x0)
    n, low, high = 0, _FAR, -_FAR
    for q in range(work.foci[t, BEGIN], work.foci[t, END]):
        distance = abs(x - overlap[q, 0])
        if distance <= radius:
            y = np.int64(overlap[q, 1])
            reach = rows.reach[first + distance]
            begin, end = max(y - reach, y0 - rows.reach[own]), min(y + reach, y0 + rows.reach[own])
            if begin <= end:
                met[n, 0] = middle + distance * step - y
                met[n, 1] = z0 - rows.half[own] - overlap[q, 2]
                n, low, high = n + 1, min(low, begin), max(high, end)
    return n, low, high


@numba.njit(**INNER)
def _subtract_rows(volume, x, low, high, t, n, grid, rows, work) -> None:  # type: ignore[no-untyped-def]
    """Subtract min(k, m) of focus t from rows low to high of the plane at x, m over the n kernels of work.earlier."""
    table, entries, met = rows.table, rows.entry, work.earlier
    x0, y0, z0 = np.int64(work.foci[t, 0]), np.int64(work.foci[t, 1]), np.int64(work.foci[t, 2])
    first = rows.slab_begin[work.foci[t, KERNEL]]
    distance = abs(x - x0)
    half = rows.half[first + distance]
    own = rows.middle[first] + distance * (rows.middle[first + 1] - rows.middle[first]) - y0
    pieces = (2 * half + WIDTH) // WIDTH
    at = grid.origin + x * grid.stride_x + low * grid.stride_y + z0 - half
    for y in range(low, high + 1):
        k = np.int64(load(entries, own + y)) - half
        for p in range(pieces):
            m = read8(table, load(entries, met[0, 0] + y) + met[0, 1] + p * WIDTH)
            for j in range(1, n):
                m = larger8(m, table, load(entries, met[j, 0] + y) + met[j, 1] + p * WIDTH)
            lessen8(volume, at + p * WIDTH, table, k + p * WIDTH, m)
        at += grid.stride_y
