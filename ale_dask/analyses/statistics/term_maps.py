"""Correlate a map with the map of each term of a database: where the studies report foci that the term indexes.

The map of a term is the sum of a Gaussian G around every focus of its studies, m = G c with c the numbers of foci by
voxel. G is symmetric: the sum over voxels of a map z and m is that of G z over the foci. One smoothing of z gives the
correlations with all terms, and no map of a term is kept.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage

from ale_dask.analyses.keyed import Keyed
from ale_dask.analyses.statistics.functions import Statistic
from ale_dask.datasets.terms import Terms, load_terms
from ale_dask.numerics.gaussian import sigma_mm
from ale_dask.numerics.space import Mask

F64 = npt.NDArray[np.float64]
LEAST = 100
"""Smallest number of studies of a term: the map of fewer is mostly chance."""
SUBJECTS = 20
"""The Gaussian is the kernel of an experiment of so many subjects, 9.2 mm wide."""
_ENDS_AT = 4.0
"""Standard deviations at which the Gaussian ends."""


@dataclass(frozen=True, eq=False)
class TermMaps:
    """The maps of some terms on the searched voxels of a mask, as a statistic of a map Dataset.

    `indexes` (term, study) is sparse, 1 where a term indexes a study; `size` (term) is the square root of the summed
    squared deviations of a term's map from its mean.
    """

    words: tuple[str, ...]
    studies: npt.NDArray[np.int64]
    indexes: Any
    study: npt.NDArray[np.int64]
    voxel: npt.NDArray[np.int64]
    inside: npt.NDArray[np.bool_]
    searched: npt.NDArray[np.bool_]
    sigma: F64
    size: F64

    def __call__(self, maps: xr.Dataset) -> dict[str, dict[str, float]]:
        """Return Pearson's correlation of ALE with the map of each term, by the term."""
        r = self.correlations(maps["ale"].values)
        return {"correlation": dict(zip(self.words, r.tolist(), strict=True))}

    def correlations(self, values: F64) -> F64:
        """Return the correlation of values (searched voxel) with the map of each term (term); 0 of a flat map."""
        deviation = values - values.sum() / len(values)
        size = np.sqrt((deviation * deviation).sum())
        both = self.indexes @ self._at_foci(deviation)
        return np.asarray(both / np.where(self.size * size > 0, self.size * size, np.inf))

    def _at_foci(self, values: F64) -> F64:
        """Return the sum of smoothed values (searched voxel) at the foci of each study (study)."""
        volume = np.zeros(self.inside.shape)
        volume[self.inside] = _placed(values, self.searched)
        at_focus = self.smoothed(volume)[self.voxel]
        return np.bincount(self.study, at_focus, minlength=self.indexes.shape[1]).astype(np.float64)

    def smoothed(self, volume: F64) -> F64:
        """Return a volume (x, y, z), 0 around it, smoothed, in the mask (voxel)."""
        smooth = ndimage.gaussian_filter(volume, self.sigma, mode="constant", truncate=_ENDS_AT)
        return np.asarray(smooth[self.inside])


def _placed(values: F64, searched: npt.NDArray[np.bool_]) -> F64:
    whole = np.zeros(len(searched))
    whole[searched] = values
    return whole


def term_maps(database: str, *, mask: Mask, above: float, least: int = LEAST) -> Statistic:
    """Return the correlation with the maps of a fetched database's terms as a statistic of a map.

    Its hash is that of the terms, the foci and this module, so that blocks of another database are never taken for its
    own.

    Raises
    ------
    InputError
        as `load_terms`.
    """
    terms = load_terms(database, mask=mask, above=above)
    maps = _maps(Keyed((id(terms.indexes), mask.sha256, mask.searched.tobytes(), above, least), (terms, mask, least)))
    digest = hashlib.sha256(Path(str(sys.modules[__name__].__file__)).read_bytes())
    arrays = (maps.indexes.indices, maps.indexes.indptr, maps.study, maps.voxel, maps.searched, maps.sigma)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    digest.update("\n".join(maps.words).encode())
    return Statistic(f"terms-{database}", maps, digest.hexdigest())


@lru_cache(maxsize=1)
def _maps(of: Keyed[tuple[Terms, Mask, int]]) -> TermMaps:
    terms, mask, least = of.value
    total = np.asarray(terms.indexes.sum(axis=0)).ravel().astype(np.int64)
    used = np.flatnonzero(total >= least)
    indexes = terms.indexes[:, used].T.tocsr().astype(np.float64)
    words = tuple(terms.words[t] for t in used)
    sigma = float(sigma_mm(SUBJECTS)) / mask.voxel_size
    first = TermMaps(
        words, total[used], indexes, terms.study, terms.voxel, mask.volume, mask.searched, sigma, np.zeros(len(used))
    )
    size = np.array([_size_of(first, indexes.indices[a:b]) for a, b in pairwise(indexes.indptr)])
    return TermMaps(words, total[used], indexes, terms.study, terms.voxel, mask.volume, mask.searched, sigma, size)


def _size_of(maps: TermMaps, studies: npt.NDArray[np.integer[Any]]) -> float:
    """Return the size of the map of a term that indexes some studies."""
    among = np.zeros(maps.indexes.shape[1], dtype=bool)
    among[studies] = True
    volume = np.zeros(maps.inside.shape)
    volume[maps.inside] = np.bincount(maps.voxel[among[maps.study]], minlength=len(maps.searched))
    smooth = maps.smoothed(volume)[maps.searched]
    deviation = smooth - smooth.sum() / len(smooth)
    return float(np.sqrt((deviation * deviation).sum()))
