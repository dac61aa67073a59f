"""Make noise experiments: with the sample sizes and numbers of foci of a sample, but random foci (Acar 2018).

The foci are anywhere in the mask or, against the base rate, where the literature reports them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.sample import Sample
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.datasets.base_rate import density
from ale_dask.datasets.base_rate.studies import BaseRate
from ale_dask.numerics.base_rate_null import FocusSource, draw_base_rate, source_of_foci, source_of_studies
from ale_dask.numerics.draws import draw_keys, draw_voxels, permutation_keys
from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.weighted_draws import cumulative_words

NOISE, ORDER = "noise", "noise-order"
"""Streams of random numbers for the observed foci of noise experiments and for their order.

Their foci in the iterations of a null come from the stream of the null.
"""


@dataclass(frozen=True, eq=False)
class Noise:
    """Noise experiments made for a sample: which experiment each one (noise) is like, and its key for draws (noise)."""

    sample: Sample
    like: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]
    base_rate: BaseRate | None = None
    """The base rate that their foci are drawn from; None if they are anywhere in the mask."""

    @property
    def n_foci(self) -> npt.NDArray[np.int64]:
        """Number of foci (noise)."""
        return np.asarray(self.sample.n_foci[self.like], dtype=np.int64)

    @property
    def focus_begin(self) -> npt.NDArray[np.int64]:
        """Number of the first focus of each noise experiment (noise + 1)."""
        return np.asarray(np.r_[0, np.cumsum(self.n_foci)], dtype=np.int64)

    @property
    def place_key(self) -> npt.NDArray[np.uint64]:
        """Keys (noise) of the draws of observed foci, in which the number of the series is the iteration."""
        return draw_keys(self.key, seed=self.sample.inference.seed, stream=NOISE)

    @cached_property
    def _drawn(self) -> FocusSource:
        assert self.base_rate is not None
        studies = self.base_rate.studies
        if studies is not None:
            return source_of_studies(studies.begin, studies.voxel, self.n_foci)
        return source_of_foci(cumulative_words(density(self.sample.mask, self.base_rate.counts)))

    def voxels(self, series: int) -> npt.NDArray[np.int64]:
        """Return the voxel (focus), int64, of each focus of a series; foci are at voxel centres."""
        begin = self.focus_begin
        out = np.empty(begin[-1], dtype=np.int64)
        if self.base_rate is not None:
            design = Design(begin, self.sample.kernels[1][self.like], self.place_key, self.sample.additive)
            draw_base_rate(series, self._drawn, design, out)
            return out
        for e, key in enumerate(self.place_key):
            draw_voxels(key, series, self.sample.mask.n_voxels, out, begin[e], begin[e + 1])
        return out


def noise_of(sample: Sample, *, number: int, base_rate: BaseRate | None = None) -> Noise:
    """Return `number` noise experiments, each with the sample size and the number of foci of an experiment of a sample.

    All experiments of the sample are gone through in random order, then again in another one, until there are enough
    noise experiments. The foci of these are drawn anywhere in the mask, or from a base rate.

    Order, sample sizes and numbers of foci are the same in all series, which therefore share their nulls. A larger
    number of noise experiments begins with those of a smaller number.
    """
    own = draw_keys(sample.key, seed=sample.inference.seed, stream=ORDER)
    words = np.empty((-(-number // len(own)), len(own)), dtype=np.uint64)
    permutation_keys(own, 0, words)
    like = np.argsort(words, axis=1, kind="stable").reshape(-1)[:number]
    # The keys depend on the whole sample, so that two main effects of a conjunction get different noise.
    prefix = hashlib.sha256(sample.key.astype("<u8").tobytes()).hexdigest()
    digests = (hashlib.sha256(f"{prefix}:noise:{i}".encode()).digest()[:8] for i in range(number))
    key = np.array([int.from_bytes(d, "little") for d in digests], dtype=np.uint64)
    assert len(np.union1d(key, sample.key)) == number + len(own), "two experiments have one key"
    return Noise(sample, like.astype(np.int64), key, base_rate)


def noise_foci(noise: Noise, *, series: int) -> xr.Dataset:
    """Return the foci Dataset of the noise experiments of a series, to be added to the foci of the sample.

    Both together give the null that the fail-safe N uses.

    Foci lie on voxel centres, in mm MNI; experiments are named noise 1, noise 2 …
    """
    sample = noise.sample
    mm = np.split(sample.mask.to_mm(sample.mask.voxel_ijk[noise.voxels(series)]), noise.focus_begin[1:-1])
    sizes = sample.foci["experiment_n_subjects"].values[noise.like]
    ids = sample.foci["experiment_id"].values[noise.like]
    experiments = [
        Experiment(
            name=f"noise {i}",
            n=int(n) or None,
            xyz=tuple((float(x), float(y), float(z)) for x, y, z in xyz),
            space="MNI",
            source=f"noise like {like}",
        )
        for i, (n, xyz, like) in enumerate(zip(sizes, mm, ids, strict=True), start=1)
    ]
    return build(experiments).assign(experiment_key=("experiment", noise.key))
