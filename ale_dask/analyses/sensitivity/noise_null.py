"""Compute the nulls of a sample with more and more noise experiments, and each cluster-forming value (Acar 2018).

Each enlarged sample has a cluster-forming value from its own analytic null, which differs a little between series, and
its own Monte-Carlo null, from the same draws for all series.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of, plan_main_effect
from ale_dask.analyses.null_draws import DrawnPlan, draws_of, null_tables
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.sensitivity.noise_experiments import Noise, noise_of
from ale_dask.config.inference import ClusterCut
from ale_dask.errors import InputError
from ale_dask.execution.plan import Setting, StoredArray
from ale_dask.numerics.added_null import critical_values
from ale_dask.numerics.ale import cell_index, fixed_point_rows, scale_bits
from ale_dask.numerics.draws import NULL, draw_keys
from ale_dask.numerics.kernels.focus_visits import Design
from ale_dask.numerics.noise import MASS, SIZE, VOXEL, noise_iterations, values_of
from ale_dask.numerics.null import histogram

I64 = npt.NDArray[np.int64]
KIND = "fail-safe"
TIMES = 3
"""Default largest number of noise experiments per experiment of the sample: ten times what N should be."""
SHARE = 0.3
"""Smallest share of the number of experiments that N should reach (Acar 2018)."""
MOST_TESTED = 72
"""Most numbers of noise experiments tested by default: all three times 24. Each takes as long whatever the sample is,
and N of a large sample then is known to one part in 72 of the largest number, less than N differs between series."""
_SHARED = ("volume", "shape", "s", "focus_begin", "kernel", "draw_key", "box_shape", "boxes")


class FailSafePlan(DrawnPlan, kind=KIND):
    """Plan of the nulls of a sample with more and more noise experiments, and of its noise series."""

    statistic = Setting(str)
    """The correction by which clusters survive."""
    alpha = Setting(float)
    """The family-wise error of each null."""
    s = StoredArray[np.int32]()
    """The observed sum S of every voxel (voxel), without noise."""
    noise_place_key = StoredArray[np.uint64]()
    """The key of the places of each noise experiment's foci (noise)."""
    threshold = StoredArray[np.int32]()
    """The cluster-forming S (series, step)."""

    @property
    def tested(self) -> I64:
        """The number of noise experiments at each step (step), from 0."""
        # Plans that test every number do not store it, as those made before numbers could be left out.
        return self.arrays.get("tested", np.arange(self.threshold.shape[1]))

    @property
    def of_voxels(self) -> bool:
        """Whether single voxels survive, and not clusters: the nulls are then the same for all series."""
        return CORRECTION_OF[self.statistic].of_single_voxels

    @property
    def kept_statistic(self) -> int:
        """Which statistic is kept of each iteration: VOXEL, SIZE or MASS of `numerics.noise`."""
        correction = CORRECTION_OF[self.statistic]
        return VOXEL if self.of_voxels else MASS if correction.by_mass else SIZE

    @property
    def rule(self) -> ClusterCut:
        """The rule by which the cut of a null is taken."""
        # Plans made before there was this choice lack the setting.
        rule: ClusterCut = self.settings.get("rule", "plus-one")
        return rule

    @property
    def n_experiments(self) -> int:
        """Number of experiments without noise."""
        return len(self.kernel)

    @property
    def most(self) -> int:
        """Number of noise experiments."""
        return int(self.tested[-1])

    @property
    def series(self) -> int:
        """Number of noise series."""
        return len(self.threshold)

    def noise(self, key: npt.NDArray[np.uint64]) -> Design:
        """Return the noise experiments with these keys for their random draws."""
        return Design(self.arrays["noise_begin"], self.arrays["noise_kernel"], key, self.additive)

    @property
    def noise_draws(self) -> Design:
        """The noise experiments as a null draws their foci."""
        return self.noise(self.arrays["noise_draw_key"])


def least_of(experiments: int, *, share: float = SHARE) -> int:
    """Return the smallest whole N that is at least a share of the experiments."""
    return math.ceil(share * experiments - 1e-9)


def numbers_tested(experiments: int, *, most: int | Sequence[int] | None = None, every: int | None = None) -> I64:
    """Return the numbers of noise experiments (step), int64, after which the clusters of a sample are tested.

    They are 0, `every`, twice `every` and so on, 30 % of the `experiments`, and `most`, by default three times the
    `experiments`. By default `every` is 1 up to 72 noise experiments, and beyond that the least number with which there
    are no more than 72 tests. Where `most` is a list of numbers, these are tested, and 0.

    Raises
    ------
    InputError
        for numbers below 1.
    """
    if isinstance(most, Sequence | np.ndarray):
        if every is not None or not len(most) or min(most) < 0 or max(most) < 1:
            raise InputError(
                f"{list(most)}: give numbers of noise experiments from 0, one of them above 0, and no step"
            )
        return np.unique(np.r_[0, np.array(most, dtype=np.int64)])
    most = TIMES * experiments if most is None else most
    if most < 1 or (every is not None and every < 1):
        what = f"{most} noise experiments" if most < 1 else f"every {every} noise experiments"
        raise InputError(f"{what}; the number must be 1 or more")
    regular = np.arange(0, most, every or -(-most // MOST_TESTED))
    return np.unique(np.r_[regular, min(least_of(experiments), most), most])


def plan_fail_safe(
    sample: Sample, main: MainEffectPlan, *, tested: I64, series: int, name: str, threads: int = 1
) -> FailSafePlan:
    """Return the frozen plan of the nulls of a sample with each number of noise experiments in some series.

    `tested` are the numbers, from `numbers_tested`. `main` is the plan of the sample. Its fixed-point scale is used if
    all experiments together fit into it.

    Raises
    ------
    InputError
        for TFCE, whose null needs every voxel of each map.
    """
    conventions = conventions_of(sample, main, tested=tested, series=series, name=name)
    most = int(tested[-1])
    bits, noise = int(conventions["scale_bits"]), noise_of(sample, number=most)
    if bits != main.bits:
        main = plan_main_effect(sample, bits=bits, name=name)
    threshold = cluster_forming(noise, tested=tested, series=series, bits=bits, threads=threads)
    statistic = sample.inference.correction
    columns = 1 if CORRECTION_OF[statistic].of_single_voxels else series
    return FailSafePlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=tuple(f"{m}:{j}" for m in tested for j in range(columns)),
        settings={
            "conventions": conventions,
            "bits": bits,
            "additive": sample.additive,
            "statistic": statistic,
            "alpha": sample.inference.cluster_p,
            "rule": sample.inference.cluster_cut,
        },
        arrays={
            **draws_of(main, _SHARED),
            "noise_begin": noise.focus_begin,
            "noise_kernel": sample.kernels[1][noise.like],
            "noise_draw_key": draw_keys(noise.key, seed=sample.inference.seed, stream=NULL),
            "noise_place_key": noise.place_key,
            "threshold": threshold,
            **({} if len(tested) == most + 1 else {"tested": tested}),
        },
    )


def conventions_of(sample: Sample, main: MainEffectPlan, *, tested: I64, series: int, name: str) -> dict[str, Any]:
    """Return every setting that changes a number of the plan; the identity of the plan is a hash of them.

    Raises
    ------
    InputError
        for TFCE, or numbers below 1.
    """
    correction = CORRECTION_OF[sample.inference.correction]
    if correction.only_if_asked:
        what = correction.label.removesuffix(" FWE")
        raise InputError(f"{name}: no fail-safe N with {what}; run with correction cluster-size, cluster-mass or voxel")
    if sample.inference.null_cut == "own":
        raise InputError(f"{name}: no fail-safe N with null_cut own; run with null_cut observed")
    if series < 1:
        raise InputError(f"{name}: noise experiments in {series} series; the number must be 1 or more")
    most = int(tested[-1])
    peaks = sample.peaks()
    begin = np.r_[0, np.cumsum(sample.n_foci if sample.additive else np.ones(len(sample.key), dtype=np.int64))]
    like = noise_of(sample, number=most).like
    added = [peaks[begin[e] : begin[e + 1]] for e in like]
    bits = min(main.bits, scale_bits(np.concatenate([peaks, *added])))
    own = sample.conventions(bits)
    left_out = {} if len(tested) == most + 1 else {"tested": tested.tolist()}
    return {**own, "statistic": correction.word, "noise": most, "series": series, **left_out}


def cluster_forming(noise: Noise, *, tested: I64, series: int, bits: int, threads: int = 1) -> npt.NDArray[np.int32]:
    """Return the cluster-forming values (series, step), int32, of a sample with tested (step) noise experiments.

    They equal those of main effects of the enlarged samples.
    """
    sample = noise.sample
    n_voxels, index = sample.mask.n_voxels, cell_index(sample.mask.volume)
    laws = [histogram(value, n_voxels=n_voxels, bits=bits) for _, value in sample.rows(bits)]
    support = np.full(len(noise.like), sample.inference.support)

    def values(number: int) -> I64:
        points = np.split(sample.mask.voxel_ijk[noise.voxels(number)].astype(np.float64), noise.focus_begin[1:-1])
        rows = fixed_point_rows(
            points,
            sigma=sample.sigma[noise.like],
            support=support,
            voxel_of_cell=index,
            bits=bits,
            additive=sample.additive,
            kernel=sample.inference.kernel,
        )
        added = [histogram(value, n_voxels=n_voxels, bits=bits) for _, value in rows]
        return critical_values(laws, added, number=tested, p=sample.inference.voxel_p, bits=bits)

    with ThreadPoolExecutor(threads) as pool:
        return np.stack(list(pool.map(values, range(series)))).astype(np.int32)


def block(plan: FailSafePlan, first: int, count: int) -> dict[str, I64]:
    """Return {"null": (iteration, noise x series)} of some iterations, int64: the nulls of all enlarged samples."""
    design, rows, space = null_tables(plan)
    threshold = plan.threshold
    if plan.of_voxels:
        threshold = threshold.min(axis=0, keepdims=True)
    out = np.empty((count, threshold.shape[1], threshold.shape[0]), dtype=np.int64)
    values = values_of(threshold, number=plan.tested)
    noise_iterations(first, count, plan.kept_statistic, values, design, plan.noise_draws, rows, space, out)
    return {"null": out.reshape(count, -1)}
