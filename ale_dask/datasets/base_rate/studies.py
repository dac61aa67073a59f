"""The studies of a database by the voxels of their foci, from which a null of whole studies draws."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ale_dask.config.inference import DATABASES, Inference, is_database
from ale_dask.coordinates.readers import read_foci
from ale_dask.datasets.base_rate import Counts, load_counts
from ale_dask.datasets.base_rate.counting import placed_in_studies
from ale_dask.datasets.fetch import fetched
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask
from ale_dask.numerics.whole_studies import ENOUGH


@dataclass(frozen=True, eq=False)
class Studies:
    """Studies in ascending order of their numbers of foci: begin (study + 1), int64, and voxel (focus), int32.

    The foci of a study are the mask's voxels voxel[begin[study]:begin[study + 1]]. `left_out` is how many foci of the
    database do not count.
    """

    begin: npt.NDArray[np.int64]
    voxel: npt.NDArray[np.int32]
    left_out: int = 0

    @property
    def number(self) -> int:
        """Return the number of studies."""
        return len(self.begin) - 1

    @cached_property
    def sha256(self) -> str:
        """The hash of the studies."""
        digest = hashlib.sha256(np.ascontiguousarray(self.begin, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(self.voxel, dtype="<i4").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class BaseRate:
    """A base rate: counts per voxel, which make its density, and the studies that are drawn, if whole ones are."""

    counts: Counts
    studies: Studies | None = None


def load_base_rate(inference: Inference, *, mask: Mask) -> BaseRate:
    """Return the base rate that settings name, on a mask.

    Raises
    ------
    InputError
        when its file cannot be read, a database has not been fetched, has no focus in the mask, or has too few studies
        for whole ones to be drawn.
    """
    name = inference.base_rate
    if not is_database(name):
        return BaseRate(load_counts(name))
    path = fetched(name, called=f"base_rate '{name}'") if name in DATABASES else Path(name)
    if not path.exists():
        raise InputError(f"base_rate '{name}': no such file")
    stat = path.stat()
    whole, halves = _read(str(path), stat.st_mtime_ns, stat.st_size, _OnGrid(mask), name)
    if inference.base_rate_draw == "foci":
        return whole
    if halves is None:
        raise InputError(
            f"base_rate '{name}': has fewer than {2 * ENOUGH} studies with a focus in the mask, and whole studies are "
            "drawn from half of them: give a larger database, or base_rate_draw foci"
        )
    return halves


@dataclass(frozen=True, eq=False)
class _OnGrid:
    """A mask that is equal to other masks with the same voxels, as the key of a cache."""

    mask: Mask

    def __hash__(self) -> int:
        return hash(self.mask.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _OnGrid) and self.mask.sha256 == other.mask.sha256


@lru_cache(maxsize=4)
def _read(path: str, changed: int, size: int, on: _OnGrid, name: str) -> tuple[BaseRate, BaseRate | None]:
    """Return the base rate of a database for draws of foci, and that for draws of studies if there are enough."""
    # An eighth of Neurosynth's studies state no known space; most of the others are in MNI space.
    foci = read_foci(path, space="MNI", require_n=False)
    study, voxel, _ = placed_in_studies(foci, mask=on.mask)
    studies = in_order(study, voxel, left_out=foci.sizes["focus"] - len(voxel))
    whole = BaseRate(counts_of(studies, mask=on.mask, name=name))
    return whole, halved(studies, mask=on.mask, name=name) if studies.number >= 2 * ENOUGH else None


def counts_of(studies: Studies, *, mask: Mask, name: str) -> Counts:
    """Return the foci of studies in each voxel of a mask."""
    volume = np.zeros(mask.volume.shape)
    volume[mask.volume] = np.bincount(studies.voxel, minlength=mask.n_voxels)
    return Counts(name, volume, mask.affine)


def halved(studies: Studies, *, mask: Mask, name: str) -> BaseRate:
    """Return a base rate whose density is of every other study, and whose drawn studies are those between.

    A density fits the studies that it is made of better than any other study, and so these would converge less against
    it than studies do that are new to it, as those of a sample are.
    """
    of_density, drawn = (_every_other(studies, first) for first in (0, 1))
    return BaseRate(counts_of(of_density, mask=mask, name=name), drawn)


def _every_other(studies: Studies, first: int) -> Studies:
    parts = np.split(studies.voxel, studies.begin[1:-1])[first::2]
    return Studies(np.cumsum([0, *map(len, parts)]).astype(np.int64), np.concatenate(parts), studies.left_out)


def in_order(study: npt.NDArray[np.int64], voxel: npt.NDArray[np.int64], *, left_out: int = 0) -> Studies:
    """Return the studies of foci with this study (focus) and voxel (focus), in an order that does not depend on files.

    By number of foci, and then by their voxels, which ascend within a study.
    """
    order = np.lexsort([voxel, study])
    _, number = np.unique(study, return_counts=True)
    parts = [part.astype(np.int32) for part in np.split(voxel[order], np.cumsum(number)[:-1])]
    parts.sort(key=lambda part: (len(part), part.tolist()))
    begin = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return Studies(begin, np.concatenate(parts), left_out)
