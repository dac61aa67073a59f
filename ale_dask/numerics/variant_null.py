"""The null of several analyses of the same drawn foci in one pass: other cluster-forming values, experiments left out.

    voxel that passes at the least value:   S  4.1  3.9  5.2  …     collected once, a thousandth of the brain
    X of experiment 3 there:                   0.0  0.8  0.0  …
    variant without experiment 3:              4.1  3.1  5.2  …     compared with its own cluster-forming value

Leaving an experiment out changes no other experiment's draws, so that in each iteration S without some experiments is
S - sum X_i. It can only reach a cluster-forming value where S does: the voxels at or above the least of these values
are collected once, and the X_i are worked out in these alone. tests/numerics/test_variants.py holds each variant to
`permutation_null.null_iterations` of its experiments alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.draws import draw_foci
from ale_dask.numerics.kernels.focus_visits import list_foci, workspace
from ale_dask.numerics.kernels.planes import plane_of, sum_planes
from ale_dask.numerics.permutation_null import largest, passing_memory, scan_plane

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class Variants(NamedTuple):
    """Cluster-forming values (variant), and the experiments left out: member[begin[v] : begin[v + 1]], ascending."""

    threshold: I32
    begin: I64
    member: I64


class OmittedSums(NamedTuple):
    """Memory of one thread: where the collected voxels lie, and the sum of X of the experiments that a variant omits.

    place (axis, voxel) in the grid and plane_begin (plane + 1), the first voxel of each plane; `experiment` (voxel) is
    X of one experiment and `total` (voxel) the sum over those omitted, in fixed point.
    """

    place: I32
    plane_begin: I64
    experiment: I32
    total: I32


@numba.njit(cache=True, nogil=True)
def omitted_memory(geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread for all voxels in which clusters are sought."""
    return omitted_room(geometry.voxels, geometry)


@numba.njit(cache=True, nogil=True)
def omitted_room(n, geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread for n collected voxels."""
    return OmittedSums(
        np.empty((3, n), dtype=np.int32),
        np.empty(geometry.plane_begin.shape[0] + 1, dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        np.zeros(n, dtype=np.int32),
    )


@numba.njit(cache=True, nogil=True)
def _collect(least, rows, geometry, work, passing):  # type: ignore[no-untyped-def]
    """Collect the voxels with S >= least, int32, in the order of their cells, and return their number."""
    n = np.int64(0)
    best = np.int32(0)
    for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
        sum_planes(x, rows, geometry, work)
        for side in range(2):
            n, best = scan_plane(x + side, geometry, least, n, best, plane_of(side, geometry, work), passing)
    return n


@numba.njit(cache=True, nogil=True)
def locate(n, geometry, passing, omitted) -> None:  # type: ignore[no-untyped-def]
    """Fill `place` and `plane_begin` for the n collected voxels."""
    for t in range(n):
        x, rest = divmod(passing.cell[t], geometry.stride_x)
        y, z = divmod(rest, geometry.stride_y)
        omitted.place[0, t], omitted.place[1, t], omitted.place[2, t] = x, y, z
    t = 0
    for x in range(omitted.plane_begin.shape[0]):
        while t < n and omitted.place[0, t] < x:
            t += 1
        omitted.plane_begin[x] = t


@numba.njit(cache=True, nogil=True)
def add_experiment(e, design, rows, drawn, omitted) -> None:  # type: ignore[no-untyped-def]
    """Add X of experiment e at the collected voxels to `total`: the maximum over its foci, or their sum."""
    kernel = design.kernel[e]
    rx, ry, rz = rows.radius[kernel, 0], rows.radius[kernel, 1], rows.radius[kernel, 2]
    last = omitted.plane_begin.shape[0] - 1
    own, total, place = omitted.experiment, omitted.total, omitted.place
    for clearing in range(2):
        # The second pass over the foci adds X and sets it back to 0: it reaches few of the voxels.
        for f in range(design.focus_begin[e], design.focus_begin[e + 1]):
            x0, y0, z0 = drawn.position[0, f], drawn.position[1, f], drawn.position[2, f]
            for t in range(omitted.plane_begin[max(0, x0 - rx)], omitted.plane_begin[min(last, x0 + rx + 1)]):
                dx, dy, dz = abs(place[0, t] - x0), place[1, t] - y0, place[2, t] - z0
                if abs(dy) > ry or abs(dz) > rz:
                    continue
                if clearing:
                    total[t] += own[t]
                    own[t] = 0
                    continue
                k = rows.table[rows.entry[rows.middle[rows.slab_begin[kernel] + dx] + dy] + dz]
                own[t] = own[t] + k if design.additive else max(own[t], k)


@numba.njit(cache=True, nogil=True)
def fill_variants(n, least, variants, design, rows, geometry, drawn, passing, remaining, omitted, out):  # type: ignore[no-untyped-def]
    """Fill out (variant, 3), int64, from the n voxels with S >= least, int32, of one iteration, all in `passing`.

    `drawn` has the places of the foci, `position` (axis, focus). Returns whether these voxels are enough: not if the
    largest S of a variant may lie elsewhere.
    """
    locate(n, geometry, passing, omitted)
    for v in range(variants.threshold.shape[0]):
        omitted.total[:n] = 0
        for m in range(variants.begin[v], variants.begin[v + 1]):
            add_experiment(variants.member[m], design, rows, drawn, omitted)
        threshold = variants.threshold[v]
        best = np.int32(0)
        n_remaining = np.int64(0)
        for t in range(n):
            s = passing.value[t] - omitted.total[t]
            best = max(best, s)
            if s >= threshold:
                remaining.cell[n_remaining] = passing.cell[t]
                remaining.value[n_remaining] = s
                n_remaining += 1
        if best < least - 1:
            # A voxel that was not collected may have the largest S.
            return False
        out[v, 0] = best
        out[v, 1], out[v, 2] = largest(n_remaining, np.int64(threshold), geometry, remaining)
    return True


@numba.njit(cache=True, nogil=True)
def variant_iterations(first, count, variants, design, rows, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, variant, 3), int64, with the largest S, cluster size in voxels and cluster mass.

    The integers are those of `permutation_null.null_iterations` for the experiments of each variant alone.
    """
    work = workspace(design, geometry)
    passing, remaining, omitted = passing_memory(geometry), passing_memory(geometry), omitted_memory(geometry)
    lowest = max(np.int32(1), variants.threshold.min())
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, rows, geometry, work)
        least = lowest
        complete = False
        while not complete:
            n = _collect(least, rows, geometry, work, passing)
            complete = fill_variants(
                n, least, variants, design, rows, geometry, work, passing, remaining, omitted, out[b]
            )
            least = max(np.int32(1), least // 2)
