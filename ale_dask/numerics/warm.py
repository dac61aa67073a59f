"""Compile the slow kernels ahead of their first use, into the cache that all processes of a user share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ale_dask.numerics import CACHE_DIRECTORY, CACHE_IS_KEPT

if TYPE_CHECKING:
    from ale_dask.numerics.kernels.focus_visits import Design
    from ale_dask.numerics.kernels.kernel_rows import Geometry, KernelRows


KERNELS = {
    "few": "candidate_strips.stamped_strips",
    "many": "convolved_strips.convolved_strips",
    "base-rate": "pruned_base_rate.base_rate_statistics",
    "contrast": "contrast_clusters.largest_clusters",
}
"""What a run may need, and the kernel that is compiled last for it.

Uniform nulls of fewer foci than `pruned_null.MANY`, of more foci, base-rate nulls, and contrasts. Of 42 s of CPU time
on a slow machine, these take 17, 9, 7 and 10 s.
"""


def cold(kernel: str) -> bool:
    """Return whether a kernel has not been compiled yet for this version, numba and CPU."""
    return next(CACHE_DIRECTORY.rglob(f"{kernel}-*.nbi"), None) is None


def compile_beside(needed: Iterable[str]) -> subprocess.Popen[bytes] | None:
    """Return a process that compiles what is needed, of KERNELS, while this one plans.

    None when all of it is compiled or the cache is not kept. numba holds one lock for all compilation in a process, and
    its work holds the interpreter: a thread would gain nothing. The process ends by itself after about 10 s.
    """
    lacking = [part for part in KERNELS if part in set(needed) and cold(KERNELS[part])]
    if not CACHE_IS_KEPT or not lacking:
        return None
    call = f"compile_kernels({lacking})"
    return subprocess.Popen([sys.executable, "-c", f"from ale_dask.numerics.warm import compile_kernels; {call}"])


def compile_kernels(needed: Iterable[str] = tuple(KERNELS)) -> None:
    """Compile kernels, of KERNELS, by calling each with one iteration or none.

    The iterations that sum all of S, 15 s to compile, are left to the samples whose bound lets too much through.
    """
    from ale_dask.numerics.kernels import focus_visits, kernel_rows

    needed = set(needed)
    nowhere = np.zeros((1, 3), dtype=np.int64)
    space = kernel_rows.geometry(nowhere.astype(np.int16), radius=nowhere + 1)
    boxes = [np.einsum("x,y,z->xyz", *[np.array([1, 2, 1], dtype=np.int32)] * 3)]
    rows = kernel_rows.rows_of_kernels(boxes)
    none = np.zeros(1, dtype=np.int64)
    design = focus_visits.Design(np.arange(2), none, none.astype(np.uint64), False)
    if needed & {"few", "many"}:
        _compile_uniform(boxes, design, rows, space, needed)
    if "base-rate" in needed:
        _compile_base_rate(boxes, design, rows, space)
    if "contrast" in needed:
        _compile_contrast()


def _compile_uniform(
    boxes: list[npt.NDArray[np.int32]], design: Design, rows: KernelRows, space: Geometry, needed: Collection[str]
) -> None:
    from ale_dask.numerics import pruned_null

    # With one focus, "many" from one focus on is a convolution.
    for part, many in (("few", 2), ("many", 1)):
        if part in needed:
            null = pruned_null.pruned_null(boxes, threshold=1, design=design, rows=rows, geometry=space, many=many)
            pruned_null.pruned_iterations(0, 1, 1, null, np.empty((1, 3), dtype=np.int64))


def _compile_contrast() -> None:
    from ale_dask.numerics import contrast, contrast_clusters

    none = np.zeros(1, dtype=np.int64)
    entries = none[:0].astype(np.int32)
    candidates = contrast.Candidates(none, entries, entries, none[:0], none[:0], none[:0])
    edge = np.empty((2, 0), dtype=np.int32)
    region = contrast_clusters.Region(none, entries, entries, edge, none[:0], np.empty((3, 0), dtype=np.int32))
    chosen, greatest = np.zeros((0, 1), dtype=bool), np.zeros((0, 2, 1), dtype=np.int64)
    contrast.count_exceedances(chosen, candidates, np.ones((4, 1)), 1, np.zeros((2, 0), dtype=np.int64), greatest)
    contrast_clusters.keep_extremes(chosen, none, entries, entries, np.empty((2, 0, 1), dtype=np.int32))
    contrast_clusters.largest_clusters(chosen, region, np.empty((0, 2, 2, 1), dtype=np.int64))


def _compile_base_rate(boxes: list[npt.NDArray[np.int32]], design: Design, rows: KernelRows, space: Geometry) -> None:
    from ale_dask.numerics import base_rate_null, density_levels, pruned_base_rate, weighted_draws

    none = np.zeros(space.voxels, dtype=np.int32)
    table = density_levels.LevelTable(np.zeros((2, 2), dtype=np.int32), 0, none)
    critical = base_rate_null.critical(none + 1, table, least_z=1, geometry=space)
    drawn = base_rate_null.source_of_foci(weighted_draws.cumulative_words(np.ones(space.voxels)))
    null = pruned_base_rate.pruned_base_rate(boxes, drawn, critical, design=design, rows=rows, geometry=space)
    pruned_base_rate.pruned_base_rate_iterations(0, 1, null, np.empty((1, 3), dtype=np.int64))
