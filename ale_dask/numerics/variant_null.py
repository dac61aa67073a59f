"""The null of several analyses of the same drawn foci in one pass: other cluster-forming values, experiments left out.

Leaving an experiment out changes nobody else's draws, so that in each iteration S without some experiments is
S - sum X_i. It can only reach a cluster-forming value where S does: the voxels at or above the least of these values
are collected once, a thousandth of the brain, and the X_i are worked out in these alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from ale_dask.numerics.focus_visits import draw_foci, list_foci, sweep_memory
from ale_dask.numerics.permutation_null import found_memory, largest, scan_plane
from ale_dask.numerics.planes import plane_of, stamp_planes

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


class Variants(NamedTuple):
    """Cluster-forming values (variant), and the experiments left out: member[begin[v] : begin[v + 1]], ascending."""

    threshold: I32
    begin: I64
    member: I64


class Near(NamedTuple):
    """Memory of one thread: where the collected voxels lie, the first of each plane, X of one experiment and their sum.

    place (3, cell), plane_begin (plane + 1), own (cell) and left (cell) in fixed-point units.
    """

    place: I32
    plane_begin: I64
    own: I32
    left: I32


@numba.njit(cache=True, nogil=True)
def near_memory(geometry):  # type: ignore[no-untyped-def]
    """Return the memory of one thread."""
    n = geometry.voxels
    return Near(
        np.empty((3, n), dtype=np.int32),
        np.empty(geometry.plane_begin.shape[0] + 1, dtype=np.int64),
        np.zeros(n, dtype=np.int32),
        np.zeros(n, dtype=np.int32),
    )


@numba.njit(cache=True, nogil=True)
def _collect(least, stamps, geometry, work, found):  # type: ignore[no-untyped-def]
    """Collect the voxels with S >= least, in order of their cells; returns their number."""
    n = 0
    best = np.int32(0)
    for x in range(1, geometry.plane_begin.shape[0] - 2, 2):
        stamp_planes(x, stamps, geometry, work)
        for side in range(2):
            n, best = scan_plane(x + side, geometry, least, n, best, plane_of(side, geometry, work), found)
    return n


@numba.njit(cache=True, nogil=True)
def locate(n, geometry, found, near) -> None:  # type: ignore[no-untyped-def]
    """Fill in where the n collected voxels lie and which is the first of each plane."""
    for t in range(n):
        x, rest = divmod(found.cell[t], geometry.stride_x)
        y, z = divmod(rest, geometry.stride_y)
        near.place[0, t], near.place[1, t], near.place[2, t] = x, y, z
    t = 0
    for x in range(near.plane_begin.shape[0]):
        while t < n and near.place[0, t] < x:
            t += 1
        near.plane_begin[x] = t


@numba.njit(cache=True, nogil=True)
def add_experiment(e, design, stamps, work, near) -> None:  # type: ignore[no-untyped-def]
    """Add X of one experiment at the collected voxels to `left`: the maximum over its foci, or their sum."""
    kernel = design.kernel[e]
    rx, ry, rz = stamps.radius[kernel, 0], stamps.radius[kernel, 1], stamps.radius[kernel, 2]
    last = near.plane_begin.shape[0] - 1
    own, left, place = near.own, near.left, near.place
    for clearing in range(2):
        # The second time round what `own` holds is added and taken back: it reaches few of the voxels.
        for f in range(design.focus_begin[e], design.focus_begin[e + 1]):
            x0, y0, z0 = work.position[0, f], work.position[1, f], work.position[2, f]
            for t in range(near.plane_begin[max(0, x0 - rx)], near.plane_begin[min(last, x0 + rx + 1)]):
                dx, dy, dz = abs(place[0, t] - x0), place[1, t] - y0, place[2, t] - z0
                if abs(dy) > ry or abs(dz) > rz:
                    continue
                if clearing:
                    left[t] += own[t]
                    own[t] = 0
                    continue
                k = stamps.table[stamps.entry[stamps.middle[stamps.slab_begin[kernel] + dx] + dy] + dz]
                own[t] = own[t] + k if design.additive else max(own[t], k)


@numba.njit(cache=True, nogil=True)
def variant_iterations(first, count, variants, design, stamps, geometry, out) -> None:  # type: ignore[no-untyped-def]
    """Fill out (iteration, variant, 3), int64, with the largest S, cluster size in voxels and cluster mass.

    As `permute.null_iterations` fills it for each variant's experiments alone, integer by integer.
    """
    work = sweep_memory(design, stamps, geometry)
    found, kept, near = found_memory(geometry), found_memory(geometry), near_memory(geometry)
    wanted = max(np.int32(1), variants.threshold.min())
    for b in range(count):
        draw_foci(first + b, design, geometry, work)
        list_foci(design, stamps, geometry, work)
        least = wanted
        whole = False
        while not whole:
            n = _collect(least, stamps, geometry, work, found)
            locate(n, geometry, found, near)
            whole = True
            for v in range(variants.threshold.shape[0]):
                near.left[:n] = 0
                for m in range(variants.begin[v], variants.begin[v + 1]):
                    add_experiment(variants.member[m], design, stamps, work, near)
                threshold = variants.threshold[v]
                best = np.int32(0)
                above = 0
                for t in range(n):
                    s = found.value[t] - near.left[t]
                    best = max(best, s)
                    if s >= threshold:
                        kept.cell[above] = found.cell[t]
                        kept.value[above] = s
                        above += 1
                if best < least - 1:
                    # A voxel that was not collected may hold the maximum.
                    whole = False
                    break
                out[b, v, 0] = best
                out[b, v, 1], out[b, v, 2] = largest(above, threshold, geometry, kept)
            least = max(np.int32(1), least // 2)
