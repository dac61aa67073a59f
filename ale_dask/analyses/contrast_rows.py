"""Both arms of a contrast side by side: their experiments by voxel, and the groups of subjects that are relabelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.sample import Sample
from ale_dask.coordinates.subject_groups import group_keys
from ale_dask.numerics.ale import add_row
from ale_dask.numerics.contrast import by_voxel
from ale_dask.numerics.draws import RELABEL, draw_keys


@dataclass(frozen=True, eq=False)
class Rows:
    """Both arms' experiments in the order of their keys, their fixed-point rows by candidate, and the arms' sums.

    key, first_arm and group (experiment), begin (candidate + 1), experiment and value (entry), s_a and s_b (voxel);
    group_key and group_first (group) are of the subject groups in the order of their keys, which relabellings move.
    """

    key: npt.NDArray[np.uint64]
    first_arm: npt.NDArray[np.bool_]
    begin: npt.NDArray[np.int64]
    experiment: npt.NDArray[np.int32]
    value: npt.NDArray[np.int32]
    s_a: npt.NDArray[np.int64]
    s_b: npt.NDArray[np.int64]
    group: npt.NDArray[np.int32]
    group_key: npt.NDArray[np.uint64]
    group_first: npt.NDArray[np.bool_]

    @property
    def group_arrays(self) -> dict[str, npt.NDArray[np.int32]]:
        """The group of each experiment as an array of a plan, where any group has several."""
        return {"group": self.group} if len(self.group_key) < len(self.key) else {}

    def plan_arrays(self, candidate: npt.NDArray[np.intp], *, seed: int) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of a plan that relabels the groups at some voxels (candidate)."""
        return {
            "draw_key": draw_keys(self.group_key, seed=seed, stream=RELABEL),
            **self.group_arrays,
            "candidate": candidate.astype(np.int64),
            "begin": self.begin,
            "experiment": self.experiment,
            "value": self.value,
        }


def rows_by_candidate(a: Sample, b: Sample, *, candidate: npt.NDArray[np.intp], bits: int) -> Rows:
    """Return the experiments of both arms at some voxels (candidate)."""
    n_voxels = a.mask.n_voxels
    # Whole kernels: nothing here is compared with relocated foci, and cut at 4 sigma one voxel in a thousand of a
    # real contrast moved from p = .055 to .076.
    wanted = np.zeros(n_voxels, dtype=bool)
    wanted[candidate] = True
    s_a, s_b = np.zeros((2, n_voxels), dtype=np.int64)
    rows = []
    for arm, total in ((a, s_a), (b, s_b)):
        for all_voxels, all_values in arm.rows(bits, exact=True):
            add_row(all_voxels, all_values, total)
            rows.append((all_voxels[wanted[all_voxels]], all_values[wanted[all_voxels]]))
    begin = np.r_[0, np.cumsum([len(v) for v, _ in rows])].astype(np.int64)
    voxel, value = (np.concatenate(part) for part in zip(*rows, strict=True))
    # The order of experiments and groups is that of their keys, and what is drawn are the groups of the arm that holds
    # the smallest key, so that naming the arms the other way round or sorting files changes no relabelling.
    key = np.concatenate([a.key, b.key])
    order = np.argsort(key, kind="stable")
    rank = np.empty(len(key), dtype=np.int32)
    rank[order] = np.arange(len(key))
    v_begin, v_experiment, v_value = by_voxel(begin, voxel, value, candidate=candidate, n_voxels=n_voxels)
    by_group = _groups(a, b)
    return Rows(
        key[order],
        order < len(a.key),
        v_begin,
        rank[v_experiment].astype(np.int32),
        v_value,
        s_a,
        s_b,
        by_group[0][order],
        *by_group[1:],
    )


def _groups(a: Sample, b: Sample) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Return the group of each experiment of a, then b, and each group's key and whether it is of a, by their keys.

    Groups of the two arms are two, whatever their subjects: both arms may have some in common only where the settings
    say that they are different ones.
    """
    keys = [group_keys(s.foci, s.groups) for s in (a, b)]
    key = np.concatenate(keys)
    order = np.argsort(key, kind="stable")
    rank = np.empty(len(key), dtype=np.int32)
    rank[order] = np.arange(len(key))
    return rank[np.concatenate([a.groups, b.groups + len(keys[0])])], key[order], order < len(keys[0])
