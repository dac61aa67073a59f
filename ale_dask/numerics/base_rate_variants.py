"""The base-rate nulls of several samples of the same drawn foci in one pass: other thresholds, experiments left out.

As `variant_null` for the uniform null: leaving an experiment out changes no other experiment's draws, and S without
some experiments is S - sum X_i, at most S. A voxel can only pass in a variant where S of all experiments reaches the
least of its thresholds: these voxels are collected once, and the X_i are worked out in these alone.
tests/numerics/test_base_rate.py holds each variant to `base_rate_null.base_rate_iterations` of its experiments alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.base_rate_null import draw_base_rate, least_of_steps
from ale_dask.numerics.density_levels import NEVER, LevelTable, z_of
from ale_dask.numerics.kernels.focus_visits import list_foci, workspace
from ale_dask.numerics.kernels.kernel_rows import Geometry
from ale_dask.numerics.kernels.planes import plane_of, sum_planes
from ale_dask.numerics.kernels.simd import INNER, SCAN, reaches32
from ale_dask.numerics.permutation_null import largest, passing_memory
from ale_dask.numerics.variant_null import add_experiment, locate, omitted_memory

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class CriticalVariants(NamedTuple):
    """The thresholds of each variant, and the experiments that it lacks.

    threshold and position (voxel, variant); z (step), the tables of z one after another, of `width` (variant) bins in
    each level, that of a variant from z_begin[variant] to z_begin[variant + 1] - 1; shift and least_z (variant).
    `begin`, `member` and `further` are of `LeftOut`. `least` (cell) and `low` (window), with `window_begin`, are the
    least thresholds of all variants, as `Critical` has those of a single sample; voxel (cell) is the number of each
    cell's voxel.
    """

    threshold: I32
    position: I32
    z: I32
    z_begin: I64
    width: I64
    shift: I64
    least_z: I64
    begin: I64
    member: I64
    further: npt.NDArray[np.bool_]
    least: I32
    low: I32
    window_begin: I64
    voxel: I32


class LeftOut(NamedTuple):
    """The experiments that each variant lacks: member[begin[v] : begin[v + 1]].

    Where `further` (variant) is true it lacks also those that the variant before it lacks.
    """

    begin: I64
    member: I64
    further: npt.NDArray[np.bool_]


def critical_variants(
    thresholds: list[I32], tables: list[LevelTable], *, least_z: list[int], left_out: LeftOut, geometry: Geometry
) -> CriticalVariants:
    """Return the thresholds (voxel) and the table of z of each variant, in the order in which planes are scanned.

    `least_z` (variant) is the z that forms clusters; foci of `geometry` are drawn from the searched voxels.
    """
    threshold = np.ascontiguousarray(np.stack(thresholds, axis=1))
    position = np.ascontiguousarray(np.stack([table.position for table in tables], axis=1))
    # A scan's last step looks beyond the last plane.
    least = np.full(geometry.size + SCAN, NEVER, dtype=np.int32)
    least[geometry.cell] = threshold.min(axis=1)
    voxel = np.zeros(geometry.size + SCAN, dtype=np.int32)
    voxel[geometry.cell] = np.arange(len(threshold), dtype=np.int32)
    low, window_begin = least_of_steps(least, geometry)
    return CriticalVariants(
        threshold,
        position,
        np.concatenate([table.z.reshape(-1) for table in tables]),
        np.r_[0, np.cumsum([table.z.size for table in tables])].astype(np.int64),
        np.array([table.z.shape[1] for table in tables], dtype=np.int64),
        np.array([table.shift for table in tables], dtype=np.int64),
        np.array(least_z, dtype=np.int64),
        left_out.begin,
        left_out.member,
        left_out.further,
        least,
        low,
        window_begin,
        voxel,
    )


@numba.njit(**INNER)
def _collect_plane(x, geometry, critical, n, plane, passing):  # type: ignore[no-untyped-def]
    """Append the voxels of a plane whose S reaches the least of their thresholds, with their S; return their number."""
    origin = np.uint64(x * geometry.stride_x)
    least = critical.least
    window = critical.window_begin[x]
    for at in range(geometry.row_low[x] * geometry.stride_y, (geometry.row_high[x] + 1) * geometry.stride_y, SCAN):
        if reaches32(plane, at, critical.low[window]):
            for j in range(np.uint64(at), np.uint64(at + SCAN)):
                if plane[j] >= least[origin + j]:
                    passing.cell[n] = origin + j
                    passing.value[n] = plane[j]
                    n += 1
        window += 1
    return n


@numba.njit(cache=True, nogil=True)
def _one_variant(v, n, critical, geometry, passing, omitted, remaining, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (3), int64, with the largest z, cluster size and mass of variant v, from n collected voxels."""
    width = critical.width[v]
    table = critical.z[critical.z_begin[v] : critical.z_begin[v + 1]].reshape((-1, width))
    shift, best, n_remaining = critical.shift[v], np.int64(0), 0
    for t in range(n):
        s = passing.value[t] - omitted.total[t]
        voxel = critical.voxel[passing.cell[t]]
        if s >= critical.threshold[voxel, v]:
            z = z_of(s, critical.position[voxel, v], table, shift)
            remaining.cell[n_remaining] = passing.cell[t]
            remaining.value[n_remaining] = z
            n_remaining += 1
            best = max(best, z)
    out[0] = best
    out[1], out[2] = largest(n_remaining, critical.least_z[v], geometry, remaining)


@numba.njit(cache=True, nogil=True)
def fill_base_rate_variants(n, critical, design, rows, geometry, drawn, passing, remaining, omitted, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (variant, 3), int64, from the n voxels of one iteration whose S reaches the least of their thresholds.

    `drawn` has the places of the foci, `position` (axis, focus), and `passing` the voxels.
    """
    locate(n, geometry, passing, omitted)
    for v in range(critical.begin.shape[0] - 1):
        if not critical.further[v]:
            omitted.total[:n] = 0
        for m in range(critical.begin[v], critical.begin[v + 1]):
            add_experiment(critical.member[m], design, rows, drawn, omitted)
        _one_variant(v, n, critical, geometry, passing, omitted, remaining, out[v])


@numba.njit(cache=True, nogil=True)
def base_rate_variant_iterations(first, count, source, critical, design, rows, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, variant, 3), int64, with the largest z, cluster size in voxels and cluster mass.

    The integers are those of `base_rate_null.base_rate_iterations` for the experiments of each variant alone.
    """
    work = workspace(design, geometry)
    passing, remaining, omitted = passing_memory(geometry), passing_memory(geometry), omitted_memory(geometry)
    for b in range(count):
        draw_base_rate(first + b, source, design, work.voxel)
        list_foci(design, rows, geometry, work)
        n = np.int64(0)
        for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
            sum_planes(x, rows, geometry, work)
            for side in range(2):
                n = _collect_plane(x + side, geometry, critical, n, plane_of(side, geometry, work), passing)
        fill_base_rate_variants(n, critical, design, rows, geometry, work, passing, remaining, omitted, out[b])
