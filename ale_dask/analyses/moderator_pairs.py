"""Which groups differ from which, where a moderator compares several: a map of each pair beside the omnibus map.

The family-wise p of a pair is held against the omnibus null, the largest |T| / sd over voxels and pairs of each
permutation, so that all pairs and voxels share one correction.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.contrast_clusters import family_wise_p
from ale_dask.numerics import correct
from ale_dask.numerics import moderator as numbers
from ale_dask.numerics.moderator import UNIT_BITS, Design, Voxels
from ale_dask.schema import Variable

MOST_PAIRS = 45
"""Pairs, of ten groups, beyond which only the omnibus map is made: each pair has maps of its own."""
VARIABLES = (
    Variable("t_pair", ("pair_of_groups", "voxel"), "f", "sd", "T / sd, positive where the first group has more"),
    Variable("p_pair_voxel_fwe", ("pair_of_groups", "voxel"), "f", "p", "family-wise over voxels and pairs, two-sided"),
    Variable("z_pair_voxel_fwe", ("pair_of_groups", "voxel"), "f", "sd", "T / sd where the pair survives"),
)
F64 = npt.NDArray[np.float64]


def groups_of_pairs(levels: list[str]) -> list[tuple[str, str]]:
    """Return the two groups of each pair, in the order of the pairs."""
    return list(combinations(levels, 2))


def t_of_pairs(design: Design, voxels: Voxels) -> F64:
    """Return T / sd (pair, voxel), positive where the second group of the pair has more."""
    w = numbers.weights(design, design.label[None])[0]
    out = np.empty((len(w), len(voxels.begin) - 1))
    for part in numbers.parts(out.shape[1]):
        x = numbers.dense(voxels, part.start, part.stop, n_groups=w.shape[1])
        out[:, part] = (w @ x) * voxels.inverse[:, part]
    return out


def pair_at(t: F64) -> npt.NDArray[np.int16]:
    """Return the number, from 1, of the pair (voxel) that differs most, negative where its first group has more."""
    most = np.abs(t).argmax(axis=0)
    signed = (most + 1) * np.sign(t[most, np.arange(t.shape[1])])
    return np.asarray(signed, dtype=np.int16)


def pair_variables(
    t: F64,
    null: npt.NDArray[np.int64],
    *,
    complete: bool,
    level: float,
    candidate: npt.NDArray[np.int64],
    n_voxels: int,
) -> dict[str, tuple[Any, Any]]:
    """Return T / sd, the family-wise p and T / sd of what survives (pair, voxel), of `t_of_pairs` at the candidates.

    `null` (permutation) is the largest |T| / sd over voxels and pairs in units of 2^-UNIT_BITS, and `level` the largest
    p that survives.
    """
    if len(t) > MOST_PAIRS:
        return {}
    # Rounded down as the permuted ones are, so that ties are ties.
    units = np.floor(np.abs(t) * 2.0**UNIT_BITS).astype(np.int64)
    r = np.stack([correct.exceedances(null, own) for own in units])
    p = family_wise_p(r, len(null), complete=complete)
    # Scores are of the second group minus the first.
    first = -np.sign(t) * units / 2.0**UNIT_BITS
    values = {
        "t_pair": (first, 0.0),
        "p_pair_voxel_fwe": (p, np.nan),
        "z_pair_voxel_fwe": (np.where(p <= level, first, 0.0), 0.0),
    }
    out: dict[str, tuple[Any, Any]] = {}
    for name, (inside, outside) in values.items():
        spread = np.full((len(t), n_voxels), outside, dtype=np.float32)
        spread[:, candidate] = inside
        out[name] = (("pair_of_groups", "voxel"), spread)
    return out
