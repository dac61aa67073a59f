"""Choose subsamples of groups of subjects, and count in how many of them each voxel survives.

Subsample s takes the k of K groups with the smallest words of their own random streams at counter s: it depends on the
seed, the groups and s, and on no other subsample. Where there are no more subsamples than asked for, all are taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.sample import Sample
from ale_dask.coordinates.subject_groups import group_keys, group_names
from ale_dask.errors import InputError
from ale_dask.numerics import clusters, correct
from ale_dask.numerics.ale import Row, add_row
from ale_dask.numerics.contrast import relabellings
from ale_dask.numerics.draws import draw_keys

Bools = npt.NDArray[np.bool_]
F64 = npt.NDArray[np.float64]
SUBSAMPLE = "subsample"
"""Stream of the draws by whose order subsamples are taken."""


@dataclass(frozen=True, eq=False)
class Subsamples:
    """Which groups of subjects each subsample has (subsample, group), and of how many possible ones these are."""

    chosen: Bools
    possible: int
    complete: bool
    """Whether these are all subsamples that there are."""

    def members(self, sample: Sample) -> Bools:
        """Return which experiments each subsample has (subsample, experiment)."""
        return np.asarray(self.chosen[:, sample.groups])


def n_groups(sample: Sample) -> int:
    """Return the number of groups of subjects of a sample."""
    return int(sample.groups.max()) + 1


def names_of_groups(sample: Sample) -> npt.NDArray[np.object_]:
    """Return the name of each group of subjects (group)."""
    names = np.empty(n_groups(sample), dtype=object)
    names[sample.groups] = group_names(sample.foci, sample.groups)
    return names


def n_subsamples(sample: Sample, *, size: int) -> int:
    """Return how many subsamples of some size there are."""
    return math.comb(n_groups(sample), size)


def subsamples_of(sample: Sample, *, size: int, number: int, complete: bool | None = None) -> Subsamples:
    """Return `number` subsamples of `size` groups each, or all where there are no more, or where `complete` says so."""
    possible = n_subsamples(sample, size=size)
    every = possible <= number if complete is None else complete
    key = draw_keys(group_keys(sample.foci, sample.groups), seed=sample.inference.seed, stream=SUBSAMPLE)
    chosen = relabellings(key, size=size, first=0, count=possible if every else number, enumerate_all=every)
    return Subsamples(chosen, possible, every)


def check_size(sample: Sample, *, size: int, name: str, of: str) -> None:
    """Raise an error unless subsamples of this size leave out at least one group of a main effect.

    Raises
    ------
    InputError
        for a size that is not below the number of groups.
    """
    n = n_groups(sample)
    if size >= n:
        raise InputError(
            f"analysis.{name}.size: {size} of the {n} groups of subjects of '{of}': a subsample leaves out at least "
            f"one; give a size from 2 to {n - 1}"
        )


def shares(counts: npt.NDArray[np.int64], n: int, *, complete: bool) -> tuple[F64, F64, F64]:
    """Return the share of n subsamples and the ends of its exact 95 % interval; all are the share where complete."""
    share = np.asarray(counts / n)
    if complete:
        return share, share, share
    # Voxels have few distinct counts, and the interval of each takes an inverse incomplete beta function.
    values, place = np.unique(counts, return_inverse=True)
    low, high = correct.clopper_pearson(values, n)
    place = place.reshape(counts.shape)
    return share, low[place], high[place]


def observed_sum(rows: Sequence[Row], members: Bools, n_voxels: int) -> npt.NDArray[np.int64]:
    """Return the sum S (voxel), int64, of the rows of the experiments that a subsample has (experiment)."""
    s = np.zeros(n_voxels, dtype=np.int64)
    for row, has in zip(rows, members, strict=True):
        if has:
            add_row(*row, s)
    return s


def ranked(share: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    """Return the rank (voxel) of each voxel by its share, and by a second value among voxels of one share."""
    order = np.lexsort((np.abs(second), np.abs(share)))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank


def large_enough(share: npt.NDArray[np.float32], least: float, sample: Sample) -> npt.NDArray[np.float32]:
    """Return a share (voxel) where it is at least `least`, in clusters of the minimum volume; 0 elsewhere."""
    inference, mask = sample.inference, sample.mask
    kept = clusters.at_least(
        share >= np.float32(least),
        volume=mask.volume,
        minimum=inference.min_voxels(mask.voxel_volume),
        connectivity=inference.connectivity,
    )
    return np.where(kept, share, 0).astype(np.float32)
