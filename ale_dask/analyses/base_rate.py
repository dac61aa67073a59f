"""Test the ALE of a sample against the base rate: is there more convergence than where foci are reported anyway?

The foci of this null are drawn from a density (`datasets.base_rate`), and p of each voxel is its p under this density.
The null is one more of a main effect: its plan has the experiments, kernels and draw keys of the main effect.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.corrections import BASE_RATE_STATISTICS, CORRECTION_OF, TFCE
from ale_dask.analyses.keyed import Keyed
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of
from ale_dask.analyses.null_draws import DrawnPlan, draws_of, null_tables
from ale_dask.analyses.sample import Sample
from ale_dask.config.inference import Inference
from ale_dask.datasets.base_rate import Counts, density
from ale_dask.datasets.base_rate.studies import BaseRate, Studies, load_base_rate
from ale_dask.execution.plan import Setting, StoredArray
from ale_dask.numerics.ball_mass import Field, Shells, shells
from ale_dask.numerics.base_rate_null import (
    Critical,
    FocusSource,
    critical,
    source_of_foci,
    source_of_studies,
)
from ale_dask.numerics.base_rate_tfce import (
    Heights,
    base_rate_tfce_iterations,
    height_shift,
    heights,
)
from ale_dask.numerics.density_levels import (
    NEVER,
    Experiments,
    LevelTable,
    critical_map,
    least_z,
    level_table,
)
from ale_dask.numerics.pruned_base_rate import PrunedBaseRate, pruned_base_rate, pruned_base_rate_iterations
from ale_dask.numerics.space import Mask
from ale_dask.numerics.weighted_draws import cumulative_words
from ale_dask.numerics.whole_studies import ENOUGH

KIND = "base-rate"
DRAWN_FROM = ("last_word", "study_begin", "study_voxel")
"""Arrays from which foci are drawn; a plan has the first one, or the other two if whole studies are drawn."""
_VERSION = 1
BUILDING = threading.Lock()
"""Held by the thread that builds the tables of a plan, so that other threads wait and do not build them, too."""


class BaseRateDraws(DrawnPlan):
    """Plan of a null whose foci are drawn from the base rate, one by one or as whole studies."""

    @property
    def draws_studies(self) -> bool:
        """Whether each experiment has the foci of a whole study of a database."""
        return "study_begin" in self.arrays

    @property
    def source(self) -> FocusSource:
        """The source from which the iterations draw foci."""
        if not self.draws_studies:
            return source_of_foci(self.arrays["last_word"])
        n_foci = np.diff(self.focus_begin)
        return source_of_studies(self.arrays["study_begin"], self.arrays["study_voxel"], n_foci)


class BaseRatePlan(BaseRateDraws, kind=KIND):
    """Plan of the base-rate null of a main effect."""

    s = StoredArray[np.int32]()
    """The observed sum S of every voxel (voxel)."""
    threshold = StoredArray[np.int32]()
    """The cluster-forming S of each voxel (voxel)."""
    least_z = Setting(int)
    """The cluster-forming z, in steps of z."""

    @property
    def table(self) -> LevelTable:
        """z by level of density and by S."""
        return LevelTable(self.arrays["z"], int(self.settings["shift"]), self.arrays["position"])

    def with_thresholds(self, found: BaseRateThresholds) -> BaseRatePlan:
        """Return the plan with these thresholds, table of z and cluster-forming z."""
        table = found.table
        arrays = {**self.arrays, "threshold": found.threshold, "z": table.z, "position": table.position}
        settings = {**self.settings, "shift": table.shift, "least_z": found.least_z}
        return replace(self, settings=settings, arrays=arrays)

    @property
    def tfce_shift(self) -> int:
        """Bits by which the heights of TFCE are shortened; 0 without TFCE."""
        return int(self.settings.get("tfce_shift", 0))

    @property
    def base_rate_sha256(self) -> str:
        """The checksum of the base rate."""
        return str(self.conventions["base_rate"])

    @property
    def studies(self) -> dict[str, int]:
        """Counts of the studies that are drawn, for the report; empty if single foci are drawn."""
        return dict(self.settings.get("studies", {}))


class BaseRateThresholds(NamedTuple):
    """Thresholds S (voxel) against the base rate, the table of z by level of density, and the cluster-forming z."""

    threshold: npt.NDArray[np.int32]
    table: LevelTable
    least_z: int


def base_rate_name(name: str) -> str:
    """Return the name under which the base-rate null of a main effect is stored."""
    return f"{name}_base-rate"


def wants_base_rate(inference: Inference) -> bool:
    """Return whether settings ask for the base-rate null, alone or with the uniform null."""
    return bool(inference.null != "uniform")


def conventions_of(sample: Sample, *, bits: int, base_rate: BaseRate | None = None) -> dict[str, Any]:
    """Return every setting that changes a number of the plan; the identity of the plan is a hash of them.

    Without `base_rate`, the one that the settings name is loaded.
    """
    found = base_rate or load_base_rate(sample.inference, mask=sample.mask)
    conventions = {**sample.conventions(bits), "base_rate": found.counts.sha256, "base_rate_version": _VERSION}
    # Only if whole studies are drawn: nulls computed before there was this choice stay valid.
    return conventions | ({} if found.studies is None else {"base_rate_studies": found.studies.sha256})


def plan_base_rate(
    sample: Sample, *, main: MainEffectPlan, name: str, base_rate: BaseRate | None = None
) -> BaseRatePlan:
    """Return the frozen plan of a base-rate null: the threshold of each voxel, z by density, the source of its foci.

    `main` is the plan of the main effect; without `base_rate`, the one that the settings name is loaded. One experiment
    alone must not form a cluster: where few foci are reported, the threshold is raised to just beyond the highest peak
    of a kernel.

    Raises
    ------
    InputError
        when the base rate cannot be read or does not reach the mask.
    """
    inference, mask, bits = sample.inference, sample.mask, main.bits
    base_rate = base_rate or load_base_rate(inference, mask=mask)
    weight = weight_of(mask, base_rate.counts)
    # S may come from a plan that another CPU stored, whose last bits differ.
    s = hashlib.sha256(main.s.tobytes()).digest()
    key = (sample.key_without("voxel_p", "seed", bits=bits), base_rate.counts.sha256, s)
    observed = Keyed(key, (sample, main.s, base_rate.counts))
    table = _level_table(observed, bits)
    conventions = conventions_of(sample, bits=bits, base_rate=base_rate)
    studies, enhanced = base_rate.studies, CORRECTION_OF[inference.correction].enhanced
    return BaseRatePlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=(*BASE_RATE_STATISTICS, TFCE) if enhanced else BASE_RATE_STATISTICS,
        settings={
            "conventions": conventions,
            "bits": bits,
            "additive": main.additive,
            "least_z": least_z(inference.voxel_p),
            "shift": table.shift,
            **({"tfce_shift": height_shift(table)} if enhanced else {}),
            **({} if studies is None else {"studies": _counts_of_studies(studies, sample)}),
        },
        arrays={
            **draws_of(main),
            "s": main.s,
            "threshold": _thresholds(observed, bits, inference.voxel_p),
            "z": table.z,
            "position": table.position,
            **drawn_arrays(weight, studies),
        },
    )


_Observed = Keyed[tuple[Sample, npt.NDArray[np.int32], Counts]]
"""A sample, its observed S (voxel) and the counts of its base rate, equal for all seeds and cluster-forming values."""
_OnMask = Keyed[tuple[Mask, Counts]]


def weight_of(mask: Mask, counts: Counts) -> npt.NDArray[np.float64]:
    """Return the density of foci (voxel) of a base rate on a mask."""
    return _weight(_on_mask(mask, counts))


def field_of(mask: Mask, counts: Counts, boxes: list[npt.NDArray[np.int32]]) -> tuple[Field, Shells]:
    """Return the density of foci on a mask, padded for kernels (x, y, z), and the shells of these kernels."""
    around = shells(boxes, voxel_size=mask.voxel_size)
    radius = np.abs(around.offset).max(axis=0)
    return _field(_on_mask(mask, counts), tuple(radius.tolist())), around


def _on_mask(mask: Mask, counts: Counts) -> _OnMask:
    return Keyed((mask.sha256, counts.sha256), (mask, counts))


@lru_cache(maxsize=4)
def _weight(on: _OnMask) -> npt.NDArray[np.float64]:
    return density(*on.value)


@lru_cache(maxsize=2)
def _field(on: _OnMask, radius: tuple[int, ...]) -> Field:
    return Field(_weight(on), on.value[0].volume, radius=np.array(radius))


@lru_cache(maxsize=32)
def _level_table(observed: _Observed, bits: int) -> LevelTable:
    sample, s, counts = observed.value
    field, around = field_of(sample.mask, counts, sample.boxes(bits))
    experiments = Experiments(sample.kernels[1], sample.n_foci, sample.additive)
    return level_table(field, around, experiments, voxel_ijk=sample.mask.voxel_ijk, s=s.astype(np.int64), bits=bits)


@lru_cache(maxsize=32)
def _thresholds(observed: _Observed, bits: int, voxel_p: float) -> npt.NDArray[np.int32]:
    peak = max(int(box.max()) for box in observed.value[0].boxes(bits))
    return critical_map(_level_table(observed, bits), p=voxel_p, above=peak)


def forget_samples() -> None:
    """Free the tables kept of up to 32 samples, which save no time where each sample is planned once."""
    _level_table.cache_clear()
    _thresholds.cache_clear()


def drawn_arrays(weight: npt.NDArray[np.float64], studies: Studies | None) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays from which a plan draws foci: a bound on random words for each voxel, or whole studies."""
    if studies is None:
        return {"last_word": cumulative_words(weight)}
    return {"study_begin": studies.begin, "study_voxel": studies.voxel}


def _counts_of_studies(studies: Studies, sample: Sample) -> dict[str, int]:
    """Return counts for the report of the studies of a database from which foci are drawn."""
    most = int(np.diff(studies.begin)[-ENOUGH])
    return {
        "studies": studies.number,
        "foci": len(studies.voxel),
        "left_out": studies.left_out,
        "several": int((sample.n_foci > most).sum()),
    }


@lru_cache(maxsize=8)
def _ready(keyed: Keyed[BaseRatePlan]) -> tuple[FocusSource, Critical, Heights | None]:
    plan = keyed.value
    _, _, space = null_tables(plan, in_mask=True)
    table, inside = plan.table, plan.searched
    threshold = np.where(inside, plan.threshold, NEVER).astype(plan.threshold.dtype)
    enhanced = None
    if TFCE in plan.statistics:
        enhanced = heights(table, inside, shift=plan.tfce_shift, geometry=space)
    return plan.source, critical(threshold, table, least_z=plan.least_z, geometry=space), enhanced


@lru_cache(maxsize=8)
def _of_any_seed(keyed: Keyed[BaseRatePlan]) -> PrunedBaseRate:
    plan = keyed.value
    design, rows, space = null_tables(plan, in_mask=True)
    source, thresholds, _ = _ready(keyed)
    return pruned_base_rate(plan.boxes, source, thresholds, design=design, rows=rows, geometry=space)


def block(plan: BaseRatePlan, first: int, count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return {"null": (iteration, statistic)} of some iterations, int64: the maxima of size, mass, z and TFCE."""
    out = np.empty((count, len(plan.statistics)), dtype=np.int64)
    with BUILDING:
        design, rows, space = null_tables(plan, in_mask=True)
        keyed = Keyed(plan.key_without_seed, plan)
        words, thresholds, enhanced = _ready(keyed)
        pruned = _of_any_seed(keyed) if enhanced is None else None
    if pruned is not None:
        pruned_base_rate_iterations(first, count, replace(pruned, null=replace(pruned.null, design=design)), out)
    else:
        assert enhanced is not None
        base_rate_tfce_iterations(first, count, words, thresholds, enhanced, design, rows, space, out)
    return {"null": out}
