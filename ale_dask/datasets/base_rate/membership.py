"""Recognition of experiments of the database from which the literature's base rate was counted.

The database, 448,000 foci, is not part of the package, but the four smallest hashes of 24 bits of each study are: those
of its foci in MNI space, rounded to whole mm. An experiment that shares two of them with a study is taken to be of that
study. Of 264 experiments taken from the database 263 are recognised, and 4 of 712 that were collected by hand on
reward.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import numpy as np
import numpy.typing as npt
import xarray as xr

I64 = npt.NDArray[np.int64]
PER_STUDY = 4
"""Number of hashes of each study."""
SHARED = 2
"""Number of hashes that an experiment has to share with a study."""
FILE = "literature_studies.bin"
_BYTES = 3
_NONE = 2 ** (8 * _BYTES) - 1


def focus_hashes(xyz: npt.NDArray[np.float64]) -> I64:
    """Return a hash of 24 bits of each focus (focus, axis), in mm MNI, rounded to whole mm (focus), int64.

    Two rounds of multiplying and shifting spread neighbouring coordinates over all hashes (the finalizer of Murmur3).
    """
    whole = np.clip(np.rint(xyz), -127, 127).astype(np.int64) + 128
    code = (whole @ np.array([1 << 16, 1 << 8, 1])).astype(np.uint64)
    for factor, shift in ((0xFF51AFD7ED558CCD, 33), (0xC4CEB9FE1A85EC53, 33)):
        code = code * np.uint64(factor)
        code ^= code >> np.uint64(shift)
    # The largest value stands for the missing hashes of studies with few foci.
    hashes: I64 = np.minimum((code >> np.uint64(40)).astype(np.int64), _NONE - 1)
    return hashes


def smallest_hashes(study: I64, xyz: npt.NDArray[np.float64]) -> I64:
    """Return the smallest different hashes of the foci of each study (study, 4), int64.

    Parameters
    ----------
    study
        The number of the study of each focus (focus), from 0.
    xyz
        Foci (focus, axis) in mm MNI.
    """
    pairs = np.unique(np.column_stack([study, focus_hashes(xyz)]), axis=0)
    first = np.searchsorted(pairs[:, 0], np.arange(study.max() + 1))
    rank = np.arange(len(pairs)) - first[pairs[:, 0]]
    smallest = rank < PER_STUDY
    out = np.full((len(first), PER_STUDY), _NONE)
    out[pairs[smallest, 0], rank[smallest]] = pairs[smallest, 1]
    return out


def packed(hashes: I64) -> bytes:
    """Return hashes (study, 4) as bytes, three for each, the highest first."""
    return np.ascontiguousarray(hashes.astype(">u4").reshape(-1, 1).view(np.uint8)[:, -_BYTES:]).tobytes()


@lru_cache(maxsize=1)
def database_hashes() -> I64:
    """Return the smallest hashes of each study of the database (study, 4), int64."""
    raw = np.frombuffer((resources.files("ale_dask.datasets.base_rate") / FILE).read_bytes(), dtype=np.uint8)
    hashes: I64 = raw.reshape(-1, PER_STUDY, _BYTES).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    return hashes


def in_database(foci: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Return for each experiment of a foci Dataset whether the database most likely holds its study (experiment)."""
    known = database_hashes()
    number = np.repeat(np.arange(len(known)), PER_STUDY)
    order = np.argsort(known, axis=None, kind="stable")
    values, number = known.reshape(-1)[order], number[order]
    pairs = np.unique(
        np.column_stack([foci["focus_experiment"].values, focus_hashes(foci["focus_xyz"].values)]), axis=0
    )
    recognised = np.zeros(foci.sizes["experiment"], dtype=bool)
    begin, end = (np.searchsorted(values, pairs[:, 1], side=side) for side in ("left", "right"))
    for experiment in np.unique(pairs[:, 0]):
        own = np.flatnonzero(pairs[:, 0] == experiment)
        studies = np.concatenate([number[begin[i] : end[i]] for i in own])
        recognised[experiment] = len(studies) > 0 and np.bincount(studies).max() >= SHARED
    return recognised
