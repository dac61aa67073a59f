"""Plain versions of the steps of the pruned null, and the pruned null of a `Case`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ale_dask.numerics.kernels.candidate_strips import search_memory, stamped_strips, strips_memory
from ale_dask.numerics.kernels.convolved_strips import Convolution, convolved_strips, passes_memory
from ale_dask.numerics.kernels.exact_sums import exact_sums, found_memory, kinds_of_foci, sum_memory
from ale_dask.numerics.pruned_null import pruned_iterations, pruned_null, put_foci, room_for_foci

EVERYTHING = 100_000
"""More strips than any mask of the tests has: no iteration is then left to the other kernel."""


def null_of(case, threshold, *, most=EVERYTHING, convolved=False):
    """Return the pruned null of a `Case` with its bound at a threshold, working out so many strips at most.

    The bound is by stamps or, `convolved`, by passes where these can be proven.
    """
    null = pruned_null(
        case.boxes,
        threshold=threshold,
        design=case.design,
        rows=case.kernel_rows,
        geometry=case.space,
        many=0 if convolved else 10**9,
    )
    return null if null.bound is None else replace(null, bound=replace(null.bound, most=most))


def pruned_rows(null, first, count, threshold):
    """Return the largest S, cluster size and mass (iteration, 3) of the pruned null."""
    out = np.full((count, 3), -1, dtype=np.int64)
    pruned_iterations(first, count, threshold, null, out)
    return out


def candidate_voxels(case, voxels, null, threshold):
    """Return which voxels (voxel) may reach a threshold by the stamps' sums, with plain loops over foci and points."""
    shape = tuple(2 * ((n + 5) // 2) + 2 for n in case.volume.shape)
    lattice = np.zeros(shape, dtype=np.int64)
    stamps = null.bound.tables
    table = stamps.table.reshape(len(case.boxes), 2, 2, stamps.reach + 1, stamps.height, stamps.width)
    place = case.ijk + 1 - case.ijk.min(axis=0)
    begin = case.design.focus_begin
    for e, kernel in enumerate(case.design.kernel):
        for x, y, z in place[voxels[begin[e] : begin[e + 1]]].tolist():
            for px in range(0, shape[0], 2):
                if abs(px - x) > stamps.reach:
                    continue
                for j in range(stamps.height):
                    for i in range(stamps.width):
                        py, pz = 2 * (y // 2 - stamps.half + j), 2 * (z // 2 - stamps.half + i)
                        if 0 <= py < shape[1] and 0 <= pz < shape[2]:
                            lattice[px, py, pz] += table[kernel, z % 2, y % 2, abs(px - x), j, i]
    lattice = np.minimum(lattice, 65535)
    found = []
    for x, y, z in place.tolist():
        sides = [(n,) if n % 2 == 0 else (n - 1, n + 1) for n in (x, y, z)]
        corners = np.array([[[lattice[a, b, c] for c in sides[2]] for b in sides[1]] for a in sides[0]])
        for axis in (2, 1, 0):
            corners = (corners.sum(axis=axis, keepdims=True) + corners.shape[axis] - 1) // corners.shape[axis]
        odd = [len(s) - 1 for s in sides]
        limits = null.bound.limits
        limit = -(-int(limits.least[4 * odd[0] + 2 * odd[1] + odd[2]]) * threshold // limits.threshold)
        found.append(int(corners.item()) >= min(limit, 65535 >> sum(odd)))
    return np.array(found)


def compiled_candidates(case, voxels, null, threshold):
    """Return which voxels (voxel) may reach a threshold, S (voxel) in those, -1 elsewhere, and the number of strips."""
    bound = null.bound
    tables = (case.design, bound.grid, bound.tables, bound.limits)
    foci = room_for_foci(1, case.design)
    put_foci(np.asarray(voxels, dtype=np.int64), case.space, foci[0])
    strips = strips_memory(1, most=bound.most, grid=bound.grid)
    if isinstance(bound.tables, Convolution):
        passes = passes_memory(len(voxels), grid=bound.grid, tables=bound.tables, geometry=case.space)
        done = convolved_strips(foci, np.array([threshold]), bound.most, *tables, passes, strips)
    else:
        done = stamped_strips(foci, np.array([threshold]), bound.most, *tables, search_memory(bound.grid), strips)
    assert done == 1
    found = found_memory(strips)
    sums = sum_memory(kinds_of_foci(case.design, reach=bound.reach), most=bound.most, geometry=case.space)
    none = np.zeros(1, dtype=np.int32)
    exact_sums(foci, 1, none, case.design.additive, case.kernel_rows, case.space, strips, sums, found)
    n = found.begin[1]
    assert (np.diff(found.cell[:n]) > 0).all()
    number = np.searchsorted(case.space.cell, found.cell[:n])
    assert np.array_equal(case.space.cell[number], found.cell[:n])
    s = np.full(len(case.ijk), -1, dtype=np.int64)
    s[number] = found.value[:n]
    assert found.best[0] == max(int(s.max()), 0)
    return s >= 0, s, int(strips.begin[1])
