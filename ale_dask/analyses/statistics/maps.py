"""Give the maps that a statistic is a function of: of the observed foci, and of every iteration of a null.

    iteration b of the stored null:   draws -> foci -> S (voxel) -> largest cluster, …      kept: four integers
    the same iteration again:         draws -> foci -> S (voxel) -> z, ALE -> a Dataset     kept: what is made of it

The foci are drawn from the keys of the stored null's plan, so that S is the same integers. z comes in steps of 1/4096
from a table of integers, for the observed foci too: ties are ties, and a sum of z is exact in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.base_rate import BaseRatePlan
from ale_dask.analyses.main_effect import MainEffectPlan
from ale_dask.analyses.null_draws import null_tables
from ale_dask.numerics.base_rate_null import draw_base_rate
from ale_dask.numerics.density_levels import Z_UNIT, LevelTable, z_map
from ale_dask.numerics.draws import draw_voxels
from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.kernels.planes import sum_of_foci
from ale_dask.numerics.null import NullTable, z_of_log_p
from ale_dask.numerics.space import Mask

I64 = npt.NDArray[np.int64]
OBSERVED = -1
"""The number of the iteration of the observed foci."""
_HALVINGS, _TERMS = 6, 10


@dataclass(frozen=True, eq=False)
class Places:
    """The searched voxels of a mask: positions in mm (voxel, axis), the mirror image of each, and an image on them.

    `mirror` (voxel) is the number of the voxel at -x, or -1 where that is not searched. `image` (voxel) has the labels
    of regions as whole numbers, or other values as float64; `labels` names the regions.
    """

    mask: Mask
    image: npt.NDArray[Any] | None = None
    labels: dict[int, str] | None = None

    @cached_property
    def constant(self) -> dict[str, Any]:
        """The variables that all maps share, read-only."""
        xyz = self.mask.to_mm(self.mask.voxel_ijk[self.mask.searched])
        number = np.where(self.mask.searched, np.cumsum(self.mask.searched) - 1, -1)
        at = self.mask.voxel_at(xyz * np.array([-1.0, 1.0, 1.0]))
        shared = {"xyz": xyz, "mirror": np.where(at >= 0, number[at], -1)}
        if self.image is not None:
            shared["image"] = self.image
        for array in shared.values():
            array.flags.writeable = False
        attrs = {"image": {"labels": self.labels or {}}}
        dims = {"xyz": ("voxel", "axis")}
        return {name: (dims.get(name, ("voxel",)), array, attrs.get(name, {})) for name, array in shared.items()}


class Replay:
    """The maps of one null of a main effect, uniform or base-rate, by the number of an iteration."""

    def __init__(self, plan: MainEffectPlan | BaseRatePlan, table: LevelTable, places: Places) -> None:
        self.plan, self.places = plan, places
        self.design, self.rows, self.space = null_tables(plan, in_mask=True)
        self.searched = np.flatnonzero(plan.searched)
        self.table = table._replace(position=table.position[self.searched])
        self.source = plan.source if isinstance(plan, BaseRatePlan) else None
        self.template = xr.Dataset(places.constant)

    def __call__(self, iteration: int) -> xr.Dataset:
        """Return the map of an iteration, from 0, or of the observed foci, OBSERVED."""
        plan = self.plan
        if iteration == OBSERVED:
            whole = plan.s.astype(np.int64)
        else:
            whole = sum_of_foci(self._drawn(iteration), design=self.design, rows=self.rows, geometry=self.space)
        # Outside of the searched voxels the sum is not worked out.
        s = whole[self.searched]
        steps = z_map(s, self.table)
        above, excess = self._beyond(s, steps, iteration)
        each = {
            "s": s,
            "ale": probability(s, bits=plan.bits),
            "z": np.maximum(steps, 0) / Z_UNIT,
            "above": above,
            "excess": excess,
        }
        maps = self.template.assign({name: ("voxel", values) for name, values in each.items()})
        return maps.assign_attrs(
            null=null_of(plan), iteration=iteration, scale_bits=plan.bits, voxel_mm3=self.places.mask.voxel_volume
        )

    def _beyond(self, s: I64, steps: I64, iteration: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Return whether each voxel passes (voxel), and how far it lies beyond its cluster-forming value (voxel)."""
        plan = self.plan
        if isinstance(plan, BaseRatePlan):
            above = s >= plan.threshold[self.searched]
            return above, np.where(above, steps - plan.least_z, 0) / Z_UNIT
        threshold = plan.threshold if iteration == OBSERVED else plan.null_threshold
        above = s >= threshold
        return above, np.where(above, s - threshold, 0) / 2.0**plan.bits

    def _drawn(self, iteration: int) -> I64:
        """Return the voxel (focus) of each focus of an iteration, in the order of experiments."""
        design: Design = self.design
        voxel = np.empty(int(design.focus_begin[-1]), dtype=np.int64)
        if self.source is not None:
            draw_base_rate(iteration, self.source, design, voxel)
            return voxel
        n_voxels = len(self.space.cell)
        ends = design.focus_begin.tolist()
        for key, begin, end in zip(design.key, ends[:-1], ends[1:], strict=True):
            draw_voxels(key, iteration, n_voxels, voxel, begin, end)
        return voxel


def null_of(plan: MainEffectPlan | BaseRatePlan) -> str:
    """Return the word of the null that a plan is of."""
    return "base-rate" if isinstance(plan, BaseRatePlan) else "uniform"


def z_table(null: NullTable, n_voxels: int) -> LevelTable:
    """Return the analytic null of a main effect as a table of z in steps, with one level of density twice."""
    shift = max(0, int(np.floor(np.log2(null.step * 2.0**null.bits))))
    bins = int((len(null.log_p) - 1) * null.step * 2.0**null.bits) >> shift
    z = z_of_log_p(null.log_p_of(np.arange(bins + 1, dtype=np.int64) << shift))
    steps = np.maximum.accumulate(np.rint(z * Z_UNIT)).astype(np.int32)
    return LevelTable(np.stack([steps, steps]), shift, np.zeros(n_voxels, dtype=np.int32))


def probability(s: I64, *, bits: int) -> npt.NDArray[np.float64]:
    """Return ALE = 1 - exp(-S) (voxel), float64, of fixed-point sums (voxel), from +, -, * and / alone.

    Taylor's series of 1 - exp(-y) at y = S / 64, whose error is below 1e-16 for S up to 8, then six times
    1 - exp(-2 y) = p (2 - p).
    """
    y = s / 2.0 ** (bits + _HALVINGS)
    p = np.ones_like(y)
    for n in range(_TERMS, 1, -1):
        p = 1.0 - y / n * p
    p = y * p
    for _ in range(_HALVINGS):
        p = p * (2.0 - p)
    return np.asarray(p)
