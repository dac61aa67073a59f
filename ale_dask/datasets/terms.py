"""The studies of a fetched database with the terms that index them and the voxels that their foci lie in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.config.inference import DATABASES
from ale_dask.coordinates.readers import read_foci
from ale_dask.datasets.base_rate.counting import placed_in_studies
from ale_dask.datasets.fetch import fetched, indexed
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask


@dataclass(frozen=True, eq=False)
class Terms:
    """Which terms index each study (study, term), a sparse matrix of bool, and where its foci lie.

    study (focus) is the number of a focus's study, and voxel (focus) the voxel of a mask that it lies in. Studies
    without a focus in the mask are left out.
    """

    words: tuple[str, ...]
    indexes: Any
    study: npt.NDArray[np.int64]
    voxel: npt.NDArray[np.int64]

    @property
    def number(self) -> int:
        """Number of studies."""
        return int(self.indexes.shape[0])

    def reporting(self, inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return whether a study (study) has a focus among some voxels (voxel)."""
        found = np.zeros(self.number, dtype=bool)
        found[self.study[inside[self.voxel]]] = True
        return found


def load_terms(what: str, *, mask: Mask, above: float) -> Terms:
    """Return the terms of a fetched database: those whose tf-idf in a study is `above` or more index it.

    Foci are those that count for a base rate: each once in a study, and no numbered rows or marks.

    Raises
    ------
    InputError
        for an unknown database, one that has not been fetched, or a tf-idf of 0 or less.
    """
    if what not in DATABASES:
        raise InputError(f"database '{what}': give {' or '.join(DATABASES)}")
    if not above > 0:
        raise InputError(f"above is {above}; give a tf-idf above 0, such as 0.001")
    path = fetched(what)
    foci, words, weights = _read(what, str(path), path.stat().st_mtime_ns)
    study, voxel, _ = placed_in_studies(foci, mask=mask)
    used, number = np.unique(study, return_inverse=True)
    return Terms(words, (weights[used] >= above).tocsr(), number.reshape(-1).astype(np.int64), voxel)


@lru_cache(maxsize=2)
def _read(what: str, path: str, changed: int) -> tuple[xr.Dataset, tuple[str, ...], Any]:
    """Return the foci of a database, its terms, and their tf-idf (study, term), studies as these foci number them."""
    ids, words, weights = indexed(what)
    # As for the base rate: most studies that state no space are in MNI space.
    foci = read_foci(path, space="MNI", require_n=False)
    # `placed_in_studies` numbers studies in the order of their names.
    names = np.unique(foci["experiment_study"].values[foci["focus_experiment"].values]).astype(str)
    row = {name: i for i, name in enumerate(ids)}
    missing = [name for name in names if name not in row]
    if missing:
        raise InputError(f"database '{what}': its study {missing[0]} has no terms; fetch it again")
    return foci, tuple(words), weights.tocsr()[[row[name] for name in names]]
