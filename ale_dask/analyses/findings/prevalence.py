"""How many experiments of a main effect report a place, and whether that depends on a column of theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.sample import sample
from ale_dask.coordinates.describe import fisher
from ale_dask.coordinates.foci import table, word_of
from ale_dask.numerics import correct
from ale_dask.numerics.gaussian import FWHM_PER_SIGMA

MOST_TABLES = 1_000_000
"""Largest number of tables, whatever their margins, with which a column is tested."""


@dataclass(frozen=True, eq=False)
class Prevalence:
    """The experiments with a focus within reach of a cluster, and how many would have one by chance.

    A focus is within reach if a voxel of the cluster lies no farther from it than half the full width at half maximum
    of its experiment's kernel, where the kernel has half of its height.
    """

    reached: npt.NDArray[np.bool_]
    """Whether an experiment (experiment), in the order of the result, has a focus within reach."""
    by_chance: float
    """The expected share of experiments with a focus within reach, were all foci spread evenly over the mask."""

    @property
    def number(self) -> int:
        """Number of experiments with a focus within reach."""
        return int(self.reached.sum())

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the share of experiments (Clopper and Pearson)."""
        low, high = correct.clopper_pearson(self.number, len(self.reached))
        return float(low), float(high)


@dataclass(frozen=True)
class ByColumn:
    """The experiments within reach of a cluster by the value of a column."""

    column: str
    counts: dict[str, tuple[int, int]]
    """Number of experiments within reach, and number of experiments, by value."""
    not_stated: int
    """Number of experiments without a value, which are not tested."""
    p: float | None
    """Two-sided p of Fisher's exact test; None with fewer than two values, or too many."""


def prevalences(result: xr.Dataset, clusters: Sequence[Cluster]) -> list[Prevalence]:
    """Return for each cluster which experiments of a main effect have a focus within reach of it."""
    from scipy.spatial import cKDTree

    mask = model_of(result).mask
    chosen = sample(
        experiments_alone(result), mask=mask, inference=model_of(result).inference, name=model_of(result).name
    )
    reach = chosen.sigma[:, 0] * mask.voxel_size[0] * FWHM_PER_SIGMA / 2
    owner = np.repeat(np.arange(len(reach)), chosen.n_foci)
    foci, voxels = mask.to_mm(np.concatenate(chosen.points)), mask.to_mm(mask.voxel_ijk)
    distinct, kernel = np.unique(reach, return_inverse=True)
    found = []
    for cluster in clusters:
        tree = cKDTree(voxels[cluster.voxels])
        away, _ = tree.query(foci)
        near, _ = tree.query(voxels, distance_upper_bound=float(distinct[-1]) + 1e-9)
        share = np.array([(near <= r).mean() for r in distinct])[kernel]
        reached = np.zeros(len(reach), dtype=bool)
        np.logical_or.at(reached, owner, away <= reach[owner])
        found.append(Prevalence(reached, float((1 - (1 - share) ** chosen.n_foci).mean())))
    return found


def by_column(result: xr.Dataset, prevalence: Prevalence, column: str) -> ByColumn | None:
    """Return the experiments within reach by the value of a column or tag; None where the files have no such column.

    Upper and lower case of the column's name are the same.
    """
    columns = table(experiments_alone(result))
    name = next((str(c) for c in columns if str(c).lower() == column.lower()), None)
    if name is None:
        return None
    values = [word_of(value) for value in columns[name]]
    total = Counter(value for value in values if value)
    within = Counter(value for value, reached in zip(values, prevalence.reached, strict=True) if value and reached)
    counts = {value: (within[value], total[value]) for value in sorted(total)}
    return ByColumn(name, counts, values.count(""), fisher_p(list(counts.values())))


def fisher_p(counts: Sequence[tuple[int, int]]) -> float | None:
    """Return the two-sided p of Fisher's exact test of (number within reach, number) per value.

    The test is that of `describe`. None with fewer than two values, or with more than 1,000,000 tables.
    """
    if len(counts) < 2 or prod(n + 1 for _, n in counts) > MOST_TABLES:
        return None
    return fisher(np.array([[within for within, _ in counts], [n - within for within, n in counts]], dtype=np.int64))


def experiments_alone(result: xr.Dataset) -> xr.Dataset:
    """Return the experiments of a result with their columns and tags, without its maps."""
    return result[[name for name in result.data_vars if str(name).startswith(("experiment_", "focus_", "moderator_"))]]
