"""The plans whose iterations draw the foci of experiments anew, and the compiled tables that they draw by."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.keyed import Keyed, key_of
from ale_dask.execution.plan import Plan, Setting, StoredArray
from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.kernels.kernel_rows import Geometry, KernelRows, geometry, rows_of_kernels

SHARED = ("volume", "shape", "focus_begin", "kernel", "draw_key", "box_shape", "boxes")
"""The arrays that the draws of a plan come from, in the order in which plans hold them."""


class DrawnPlan(Plan):
    """Plan of a null whose iterations place the foci of each experiment anew in the mask."""

    additive = Setting(bool)
    """Whether the foci of an experiment add up; otherwise their maximum counts."""
    shape = StoredArray[np.int64]()
    """Of the grid (axis)."""
    focus_begin = StoredArray[np.int64]()
    """The first focus of each experiment, and the number of foci (experiment + 1)."""
    kernel = StoredArray[np.int64]()
    """The number of each experiment's kernel (experiment)."""
    draw_key = StoredArray[np.uint64]()
    """The key of each experiment's draws (experiment)."""
    box_shape = StoredArray[np.int64]()
    """The extent of each kernel in voxels (kernel, axis)."""

    @cached_property
    def key_without_seed(self) -> str:
        """Hash over everything that decides an iteration but the keys of the draws: equal in plans of other seeds."""
        settings = {name: value for name, value in self.settings.items() if name != "conventions"}
        digest = hashlib.sha256(json.dumps([self.kind, self.statistics, settings], sort_keys=True).encode())
        for name in sorted(set(self.arrays) - {"draw_key"}):
            array = np.ascontiguousarray(self.arrays[name])
            digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()

    @property
    def volume(self) -> npt.NDArray[np.bool_]:
        """The mask (x, y, z), bool."""
        shape = tuple(int(n) for n in self.shape)
        return np.unpackbits(self.arrays["volume"], count=math.prod(shape)).reshape(shape).astype(bool)

    @property
    def searched(self) -> npt.NDArray[np.bool_]:
        """In which voxels of the mask (voxel), bool, inference is made."""
        n_voxels = int(np.count_nonzero(self.volume))
        if "search" not in self.arrays:
            return np.ones(n_voxels, dtype=bool)
        return np.unpackbits(self.arrays["search"], count=n_voxels).astype(bool)

    @property
    def edges(self) -> bool:
        """Whether clusters join by edges."""
        return bool(self._space[0])

    @property
    def grid(self) -> bool:
        """Whether the null is looked at beyond the mask, on the whole grid."""
        return bool(self._space[1])

    @property
    def _space(self) -> npt.NDArray[np.int64]:
        # Plans made before there was this choice lack the array.
        return self.arrays.get("space", np.zeros(2, dtype=np.int64))

    @property
    def boxes(self) -> list[npt.NDArray[np.int32]]:
        """Each kernel as an array (x, y, z), in fixed point."""
        ends, flat = np.cumsum(self.box_shape.prod(axis=1)), self.arrays["boxes"]
        return [
            flat[end - math.prod(shape) : end].reshape(tuple(shape))
            for shape, end in zip(self.box_shape.tolist(), ends, strict=True)
        ]


def draws_of(plan: DrawnPlan, names: Sequence[str] = SHARED) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of these names that the draws of a plan come from, and where they are looked at."""
    return {name: plan.arrays[name] for name in (*names, "space", "search") if name in plan.arrays}


def null_tables(plan: DrawnPlan, *, in_mask: bool = False) -> tuple[Design, KernelRows, Geometry]:
    """Return the experiments, kernel rows and grid of a plan as the compiled null takes them, built once per process.

    With `in_mask` the grid has the voxels of the mask even where the null looks beyond it.
    """
    design = Design(plan.focus_begin, plan.kernel, plan.draw_key, plan.additive)
    rows = _rows(Keyed(key_of(plan.box_shape, plan.arrays["boxes"]), plan))
    space = [plan.arrays[name] for name in ("volume", "shape", "box_shape", "search", "space") if name in plan.arrays]
    return design, rows, _grid(Keyed(key_of(*space), plan), plan.grid and not in_mask)


@lru_cache(maxsize=8)
def _rows(plan: Keyed[DrawnPlan]) -> KernelRows:
    return rows_of_kernels(plan.value.boxes)


@lru_cache(maxsize=8)
def _grid(keyed: Keyed[DrawnPlan], beyond: bool) -> Geometry:
    plan = keyed.value
    volume = plan.volume
    inside = np.argwhere(volume).astype(np.int16)
    looked_at = np.argwhere(np.ones_like(volume)).astype(np.int16) if beyond else inside[plan.searched]
    return geometry(looked_at, radius=plan.box_shape // 2, edges=plan.edges, drawn=inside)


def forget_tables() -> None:
    """Forget kernel rows and grids, so that the next plan builds its own: for measurements of a first use."""
    _rows.cache_clear()
    _grid.cache_clear()
