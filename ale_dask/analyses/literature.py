"""Main effects of many sets of experiments of one database, such as those that each term of Neurosynth indexes.

All sets are one plan: its iterations are the sets, and a block is one set, from its foci to its clusters under both
nulls. What the sets have in common (experiments, mask, base rate) is in the plan once. A row of its store is what a
page shows of a set, in integers, so that a run resumes after any crash and equal rows have equal digests.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import base_rate, base_rate_result, main_effect, main_effect_result
from ale_dask.analyses.main_effect import identity_of
from ale_dask.analyses.main_effect_result import undecided
from ale_dask.analyses.sample import Sample, sample, study_bits
from ale_dask.config.inference import Inference
from ale_dask.coordinates.foci import subset
from ale_dask.datasets.base_rate import Counts
from ale_dask.datasets.base_rate.studies import BaseRate
from ale_dask.execution.plan import Plan, Setting, StoredArray, digest
from ale_dask.numerics import NUMERICS_VERSION
from ale_dask.numerics.space import Mask
from ale_dask.schema import FOCI

KIND = "literature"
CONTROL = "random "
"""The beginning of the names of sets of experiments that were picked at random."""
NULLS = ("uniform", "base-rate")
LISTED = 24
"""Clusters that a row lists per null, the largest first; all are counted."""
SIGNIFICANT, UNDECIDED = 2, 1
_COUNTS = ("found", "undecided", "voxels", "beyond", "digest")
_OF_CLUSTER = ("peak", "size", "decision", "own", "other")
_HEAD = ("experiments", "foci", "iterations", "both")
PLANES = ((1, 2), (0, 2), (0, 1))
"""Axes of the grid that each view of a glass brain shows: from the side, from behind, from above."""
COARSE = 2
"""Voxels along an edge that are one pixel of a view."""
_VERSION = 1


class Set(NamedTuple):
    """A set of experiments: its name, their positions, and the label of the region that chose them, 0 of none."""

    name: str
    experiments: npt.NDArray[np.int64]
    region: int = 0


class LiteraturePlan(Plan, kind=KIND):
    """Plan of the main effects of many sets of experiments."""

    names = Setting(tuple)
    """The names of the sets."""
    set_begin = StoredArray[np.int64]()
    set_experiment = StoredArray[np.int32]()
    set_region = StoredArray[np.int32]()
    label = StoredArray[np.int16]()
    """The region of each voxel (voxel) that may have chosen a set; empty where none did."""

    @property
    def inference(self) -> Inference:
        """The settings of every main effect."""
        return Inference.model_validate_json(self.settings["inference"])

    @cached_property
    def mask(self) -> Mask:
        """The mask of every main effect."""
        shape = tuple(self.arrays["shape"].tolist())
        volume = np.unpackbits(self.arrays["volume"], count=math.prod(shape)).reshape(shape).astype(bool)
        return Mask(volume, self.arrays["affine"], name=str(self.settings["mask"]))

    @cached_property
    def foci(self) -> xr.Dataset:
        """The experiments of all sets, with their draw keys."""
        return xr.Dataset({name: (_FOCI_DIMS[name], self.arrays[name]) for name in FOCI})

    @cached_property
    def base_rate(self) -> BaseRate:
        """Where the literature reports foci."""
        return BaseRate(Counts("literature", self.arrays["counts"], self.arrays["counts_affine"]))

    def members(self, number: int) -> npt.NDArray[np.int32]:
        """Return the positions of the experiments of a set (experiment)."""
        return self.set_experiment[self.set_begin[number] : self.set_begin[number + 1]]

    def sample(self, number: int) -> Sample:
        """Return the experiments of a set."""
        keep = np.zeros(self.foci.sizes["experiment"], dtype=bool)
        keep[self.members(number)] = True
        chosen = subset(self.foci, keep)
        return sample(chosen, mask=self.mask, inference=self.inference, name=self.names[number])


_FOCI_DIMS = {
    name: ("focus", "axis") if name == "focus_xyz" else ("focus",) if name == "focus_experiment" else ("experiment",)
    for name in FOCI
}


def plan_literature(
    foci: xr.Dataset,
    sets: Sequence[Set],
    *,
    mask: Mask,
    inference: Inference,
    drawn: BaseRate,
    label: npt.NDArray[np.int16] | None = None,
) -> LiteraturePlan:
    """Return the frozen plan of the main effects of some sets of the experiments of a foci Dataset.

    `label` (voxel) has the regions that chose sets; `drawn` is the base rate.
    """
    columns = layout(mask)
    used, position = np.unique(np.concatenate([each.experiments for each in sets]), return_inverse=True)
    keep = np.zeros(foci.sizes["experiment"], dtype=bool)
    keep[used] = True
    shared = subset(foci, keep)
    arrays: dict[str, npt.NDArray[Any]] = {
        name: shared[name].values.astype(str) if shared[name].dtype == object else shared[name].values for name in FOCI
    }
    # The same experiments from another file are the same plan.
    arrays["experiment_source"] = np.full(len(used), "", dtype="<U1")
    arrays |= {
        "set_begin": np.r_[0, np.cumsum([len(each.experiments) for each in sets])].astype(np.int64),
        "set_experiment": position.reshape(-1).astype(np.int32),
        "set_region": np.array([each.region for each in sets], dtype=np.int32),
        "label": np.zeros(0, dtype=np.int16) if label is None else label,
        "volume": np.packbits(mask.volume),
        "shape": np.array(mask.volume.shape, dtype=np.int64),
        "affine": mask.affine,
        "counts": drawn.counts.volume,
        "counts_affine": drawn.counts.affine,
    }
    names = [each.name for each in sets]
    # Without defaults, so that a setting which a later version adds leaves stored runs valid.
    settled = inference.model_dump_json(exclude_defaults=True)
    content = hashlib.sha256(json.dumps(names).encode())
    for name in sorted(arrays):
        content.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    conventions = {
        "content": content.hexdigest(),
        "inference": settled,
        "numerics": NUMERICS_VERSION,
        "version": _VERSION,
    }
    settings = {
        "conventions": conventions,
        "inference": settled,
        "names": names,
        "mask": mask.name,
    }
    return LiteraturePlan(KIND, KIND, identity_of(KIND, conventions), columns, settings, arrays)


def layout(mask: Mask) -> tuple[str, ...]:
    """Return the names of the columns of a row."""
    counts = [f"{null} {what}" for null in NULLS for what in _COUNTS]
    listed = [f"{null} {i} {what}" for null in NULLS for i in range(LISTED) for what in _OF_CLUSTER]
    words = -(-2 * sum(math.prod(shape) for shape in view_shapes(mask)) // 64)
    return (*_HEAD, *counts, *listed, *(f"view {i}" for i in range(words)))


def view_shapes(mask: Mask) -> list[tuple[int, int]]:
    """Return the pixels of the three views of a glass brain."""
    edges = [-(-n // COARSE) for n in mask.volume.shape]
    return [(edges[a], edges[b]) for a, b in PLANES]


def result_of(plan: LiteraturePlan, number: int) -> xr.Dataset:
    """Return the main effect of a set against both nulls; with `until_decided` until each of its clusters is decided.

    The numbers are those of `main_effect` on the same experiments and settings, but for ALE, which is left at 0.
    """
    chosen = plan.sample(number)
    inference = chosen.inference
    name = plan.names[number]
    main = main_effect.plan_main_effect(chosen, bits=study_bits([chosen]), name=name)
    stored = base_rate.base_rate_name(name)
    beside = base_rate.plan_base_rate(chosen, main=main, name=stored, base_rate=plan.base_rate)
    for each in (main_effect, base_rate):
        # No other set has these experiments: a worker would grow by 17 MB a set, to 1.1 GB.
        each.forget_samples()
    nothing, most = np.zeros(chosen.mask.n_voxels), inference.until_decided
    null, other = (np.zeros((0, len(each.statistics)), dtype=np.int64) for each in (main, beside))
    wanted = inference.iterations
    while True:
        more = wanted - len(null)
        null = np.concatenate([null, main_effect.block(main, len(null), more)["null"]])
        other = np.concatenate([other, base_rate.block(beside, len(other), more)["null"]])
        result = base_rate_result.with_base_rate(
            main_effect_result.collect(chosen, main, null, ale=nothing), chosen, beside, other
        )
        if most is None or wanted >= most or not undecided([result]):
            return result
        wanted = min(2 * wanted, most)


def block(plan: LiteraturePlan, first: int, count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return {"null": (set, column)} of some sets, int64."""
    rows = [_row(plan, number, result_of(plan, number)) for number in range(first, first + count)]
    return {"null": np.stack(rows)}


class _Found(NamedTuple):
    """The clusters of one null: their number at each voxel (voxel), decisions, peaks and whether they survive."""

    labels: npt.NDArray[np.int32]
    decision: npt.NDArray[np.int64]
    peak: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    survives: npt.NDArray[np.bool_]


def _found(result: xr.Dataset, inference: Inference, *, null: str) -> _Found:
    begin, height = ("", "s") if null == NULLS[0] else ("base_rate_", "z_base_rate")
    labels, heights = result[f"{begin}cluster_of_voxel"].values, result[height].values
    size = result[f"{begin}cluster_size"].values.astype(np.int64)
    if inference.until_decided is None:
        decision = np.where(result[f"{begin}cluster_size_p"].values <= inference.cluster_p, SIGNIFICANT, 0)
    else:
        said = result[f"{begin}cluster_size_decision"].values
        decision = np.select([said == "significant", said == "undecided"], [SIGNIFICANT, UNDECIDED], 0)
    # Of equal heights the first voxel: a stable sort by height, then the first of each cluster.
    order = np.argsort(-heights, kind="stable")
    ordered = labels[order]
    number, at = np.unique(ordered, return_index=True)
    peak = np.zeros(len(size), dtype=np.int64)
    peak[number[number > 0] - 1] = order[at[number > 0]]
    survives = np.r_[False, decision == SIGNIFICANT][labels]
    return _Found(labels, decision.astype(np.int64), peak, size, survives)


def _row(plan: LiteraturePlan, number: int, result: xr.Dataset) -> npt.NDArray[np.int64]:
    """Return what is kept of the result of a set (column), int64."""
    found = [_found(result, plan.inference, null=null) for null in NULLS]
    region = int(plan.set_region[number])
    own = plan.label == region if region else np.zeros(plan.mask.n_voxels, dtype=bool)
    both = found[0].survives & found[1].survives
    nulls = (result["null"].values, result["null_base_rate"].values)
    head = [result.attrs["n_experiments"], result.attrs["n_foci"], len(nulls[0]), int(both.sum())]
    counts: list[int] = []
    listed: list[npt.NDArray[np.int64]] = []
    for here, other, null in zip(found, reversed(found), nulls, strict=True):
        touches = np.bincount(here.labels[own], minlength=len(here.size) + 1)[1:]
        significant = here.decision == SIGNIFICANT
        beyond = int((significant & (touches == 0)).sum())
        # 8 of the 32 bytes: enough to tell one null from another.
        told = int.from_bytes(bytes.fromhex(digest(null))[:8], "little", signed=True)
        counts += [int(significant.sum()), int((here.decision == UNDECIDED).sum()), int(here.survives.sum()), beyond]
        counts.append(told)
        overlap = np.bincount(here.labels[other.survives], minlength=len(here.size) + 1)[1:]
        shown = np.flatnonzero(here.decision)
        shown = shown[np.lexsort((shown, -here.size[shown], -here.decision[shown]))][:LISTED]
        rows = np.zeros((LISTED, len(_OF_CLUSTER)), dtype=np.int64)
        columns = (here.peak, here.size, here.decision, touches, overlap)
        rows[: len(shown)] = np.column_stack([each[shown] for each in columns])
        listed.append(rows.reshape(-1))
    codes = found[0].survives * 1 + found[1].survives * 2
    return np.concatenate([np.array([*head, *counts], dtype=np.int64), *listed, _views(codes, plan.mask)])


def _views(codes: npt.NDArray[np.int64], mask: Mask) -> npt.NDArray[np.int64]:
    """Return three views of a glass brain as words of 64 bits, two bits a pixel: uniform null 1, base rate 2."""
    volume = np.zeros([COARSE * -(-n // COARSE) for n in mask.volume.shape], dtype=np.uint8)
    inside = tuple(mask.voxel_ijk.astype(np.int64).T)
    volume[inside] = codes
    bits = [np.bitwise_or.reduce(_pixels(volume, plane), axis=-1).reshape(-1) for plane in PLANES]
    flat = np.concatenate(bits)
    packed = np.packbits(np.stack([flat & 1, flat >> 1], axis=1).reshape(-1))
    padded = np.zeros(8 * -(-len(packed) // 8), dtype=np.uint8)
    padded[: len(packed)] = packed
    return padded.view("<i8").astype(np.int64)


def _pixels(volume: npt.NDArray[np.uint8], plane: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return the voxels (pixel, pixel, voxel) behind each pixel of a view."""
    a, b = plane
    (c,) = {0, 1, 2} - {a, b}
    turned = volume.transpose(a, b, c)
    shape = (turned.shape[0] // COARSE, COARSE, turned.shape[1] // COARSE, COARSE, turned.shape[2])
    apart = turned.reshape(shape).transpose(0, 2, 1, 3, 4)
    return apart.reshape(shape[0], shape[2], -1)


@dataclass(frozen=True, eq=False)
class Cluster:
    """A cluster as a row lists it: peak (axis) in mm, size and overlaps in voxels, and whether it is significant."""

    null: str
    peak: tuple[float, float, float]
    size: int
    significant: bool
    own: int
    """Voxels in the region that chose the set."""
    other: int
    """Voxels that survive the other null."""


@dataclass(frozen=True, eq=False)
class SetResult:
    """What a row says of a set."""

    name: str
    region: int
    numbers: dict[str, int]
    clusters: tuple[Cluster, ...]
    views: tuple[npt.NDArray[np.uint8], ...]
    """Three views of a glass brain (pixel, pixel): 1 survives the uniform null, 2 the base rate, 3 both."""

    def kind(self, *, what: str = "found") -> str:
        """Return which of the nulls has a significant cluster: "both", "uniform", "base-rate" or "none".

        With `what` "beyond" a cluster counts only if it has no voxel in the region that chose the set.
        """
        uniform, other = (self.numbers[f"{null} {what}"] > 0 for null in NULLS)
        return {(True, True): "both", (True, False): NULLS[0], (False, True): NULLS[1]}.get((uniform, other), "none")


def read_rows(plan: LiteraturePlan, rows: npt.NDArray[np.int64]) -> list[SetResult]:
    """Return what the rows (set, column) of a run say."""
    mm = _centres(plan)
    named = [*_HEAD, *(f"{null} {what}" for null in NULLS for what in _COUNTS)]
    per_null = LISTED * len(_OF_CLUSTER)
    found = []
    for number, row in enumerate(rows):
        clusters = []
        for i, null in enumerate(NULLS):
            begin = len(named) + i * per_null
            for peak, size, decision, own, other in row[begin : begin + per_null].reshape(LISTED, -1).tolist():
                if decision:
                    at = (float(mm[peak, 0]), float(mm[peak, 1]), float(mm[peak, 2]))
                    clusters.append(Cluster(null, at, size, decision == SIGNIFICANT, own, other))
        numbers = dict(zip(named, row[: len(named)].tolist(), strict=True))
        views = _unpacked(row[len(named) + 2 * per_null :], plan.mask)
        region = int(plan.set_region[number])
        found.append(SetResult(plan.names[number], region, numbers, tuple(clusters), views))
    return found


@lru_cache(maxsize=1)
def _centres(plan: LiteraturePlan) -> npt.NDArray[np.float64]:
    return np.asarray(plan.mask.to_mm(plan.mask.voxel_ijk))


def _unpacked(words: npt.NDArray[np.int64], mask: Mask) -> tuple[npt.NDArray[np.uint8], ...]:
    bits = np.unpackbits(words.astype("<i8").view(np.uint8)).reshape(-1, 2)
    codes = (bits[:, 0] + 2 * bits[:, 1]).astype(np.uint8)
    views, begin = [], 0
    for shape in view_shapes(mask):
        views.append(codes[begin : begin + math.prod(shape)].reshape(shape))
        begin += math.prod(shape)
    return tuple(views)
