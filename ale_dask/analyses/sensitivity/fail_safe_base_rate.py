"""Plan and collect the fail-safe N against the base rate, with noise experiments that report foci where others do.

Each enlarged sample has its own thresholds and its own null, of foci drawn from the base rate. Neither depends on the
observed foci of noise experiments, so that all series share them. One pass over the draws of the largest sample serves
32 tested numbers of noise experiments: the smaller samples leave out its last experiments.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.base_rate import KIND as BASE_RATE_KIND
from ale_dask.analyses.base_rate import (
    BaseRatePlan,
    BaseRateThresholds,
    conventions_of,
    drawn_arrays,
    field_of,
    weight_of,
)
from ale_dask.analyses.base_rate_result import cut_of, survivors
from ale_dask.analyses.corrections import BASE_RATE_STATISTICS
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of, plan_main_effect
from ale_dask.analyses.sample import Sample
from ale_dask.analyses.sensitivity import base_rate_variants
from ale_dask.analyses.sensitivity.noise_experiments import Noise, noise_of
from ale_dask.analyses.sensitivity.noise_null import conventions_of as noise_conventions
from ale_dask.config.inference import Inference
from ale_dask.datasets.base_rate.studies import BaseRate, load_base_rate
from ale_dask.execution.progress import clock
from ale_dask.numerics.ale import add_row, cell_index, fixed_point_rows
from ale_dask.numerics.density_levels import Experiments, critical_map, least_z, level_table
from ale_dask.numerics.draws import NULL, draw_keys

I64 = npt.NDArray[np.int64]


OF_BOTH = (
    "with both nulls a conjunction is made of the maps against the uniform null; its fail-safe N against the base rate "
    "needs a run with null base-rate"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Steps:
    """A sample with tested (step) noise experiments in some series, and a fixed point that holds them all."""

    sample: Sample
    main: MainEffectPlan
    noise: Noise
    tested: I64
    series: int
    bits: int
    base_rate: BaseRate
    identity: dict[str, Any]

    @property
    def most(self) -> int:
        """Number of noise experiments."""
        return len(self.noise.like)

    @property
    def chunks(self) -> list[list[int]]:
        """The numbers of noise experiments of each pass."""
        size, numbers = base_rate_variants.MOST, self.tested.tolist()
        return [numbers[i : i + size] for i in range(0, len(numbers), size)]

    def step_identity(self, step: int) -> str:
        """Return the identity of the base-rate null with `step` noise experiments."""
        return identity_of(BASE_RATE_KIND, {**self.identity, "step": step})

    def conventions(self, chunk: Sequence[int]) -> dict[str, Any]:
        """Return the settings whose hash is the identity of a pass."""
        return base_rate_variants.conventions_of(
            [self.step_identity(m) for m in reversed(chunk)], self._left_out(chunk)
        )

    def _left_out(self, chunk: Sequence[int]) -> list[list[int]]:
        first = len(self.sample.key)
        return [list(range(first + m, first + chunk[-1])) for m in reversed(chunk)]

    def rows(self, series: int) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Return the nonzero voxels and fixed-point values of each noise experiment of a series."""
        sample, noise = self.sample, self.noise
        places = sample.mask.voxel_ijk[noise.voxels(series)].astype(np.float64)
        return list(
            fixed_point_rows(
                np.split(places, noise.focus_begin[1:-1]),
                sigma=sample.sigma[noise.like],
                support=np.full(len(noise.like), sample.inference.support),
                voxel_of_cell=cell_index(sample.mask.volume),
                bits=self.bits,
                additive=sample.additive,
                kernel=sample.inference.kernel,
            )
        )

    def sums(self, series: int) -> Iterator[I64]:
        """Yield S (voxel), int64, with the noise experiments of a series at each step, always as the same array."""
        s, rows = self.main.s.astype(np.int64), self.rows(series)
        for first, last in itertools.pairwise(np.r_[0, self.tested].tolist()):
            for voxel, value in rows[first:last]:
                add_row(voxel, value, s)
            yield s

    @cached_property
    def _largest(self) -> list[I64]:
        """The largest S (voxel) of all series at the end of each pass, which the tables of z must cover."""
        ends = [chunk[-1] for chunk in self.chunks]
        out = [np.zeros(self.sample.mask.n_voxels, dtype=np.int64) for _ in ends]
        for j in range(self.series):
            for m, s in zip(self.tested.tolist(), self.sums(j), strict=True):
                if m in ends:
                    np.maximum(out[ends.index(m)], s, out=out[ends.index(m)])
        return out

    def plan(self, number: int, *, name: str, threads: int = 1) -> base_rate_variants.BaseRateVariantsPlan:
        """Return the frozen plan of one pass; the time that its thresholds take is logged."""
        chunk = self.chunks[number]
        sample, noise = self.sample, self.noise
        mask, (_, kernel) = sample.mask, sample.kernels
        boxes = sample.boxes(self.bits)
        counts, studies = self.base_rate.counts, self.base_rate.studies
        field, around = field_of(mask, counts, boxes)
        drawn = drawn_arrays(weight_of(mask, counts), studies)
        above = max(int(box.max()) for box in boxes)

        def step(m: int) -> BaseRatePlan:
            table = level_table(
                field,
                around,
                Experiments(
                    np.r_[kernel, kernel[noise.like[:m]]],
                    np.r_[sample.n_foci, noise.n_foci[:m]],
                    sample.additive,
                ),
                voxel_ijk=mask.voxel_ijk,
                s=self._largest[number],
                bits=self.bits,
            )
            p = sample.inference.voxel_p
            settings = {"bits": self.bits, "least_z": least_z(p), "shift": table.shift}
            arrays = {"threshold": critical_map(table, p=p, above=above), "z": table.z, "position": table.position}
            return BaseRatePlan(
                name, BASE_RATE_KIND, self.step_identity(m), BASE_RATE_STATISTICS, settings, {**arrays, **drawn}
            )

        stay = "" if studies is None else base_rate_variants.STUDIES_STAY
        started = time.perf_counter()
        first = step(chunk[-1])
        seconds = (time.perf_counter() - started) * (len(chunk) - 1) / threads
        log.info(
            f"{name}: thresholds against the base rate with {chunk[0]} to {chunk[-1]} noise experiments, "
            f"about {clock(seconds)}{stay}"
        )
        whole = replace(self.main, arrays={**self.main.arrays, **self._enlarged(chunk[-1])})
        with ThreadPoolExecutor(threads) as pool:
            made = pool.map(lambda m: first if m == chunk[-1] else step(m), reversed(chunk))
            return base_rate_variants.plan_base_rate_variants(whole, made, left_out=self._left_out(chunk), name=name)

    def _enlarged(self, number: int) -> dict[str, npt.NDArray[Any]]:
        sample, noise = self.sample, self.noise
        keys = draw_keys(noise.key[:number], seed=sample.inference.seed, stream=NULL)
        n_foci = np.r_[sample.n_foci, noise.n_foci[:number]]
        return {
            "focus_begin": np.r_[0, np.cumsum(n_foci)].astype(np.int64),
            "kernel": np.r_[sample.kernels[1], sample.kernels[1][noise.like[:number]]],
            "draw_key": np.r_[self.main.draw_key, keys],
        }


def steps_of(sample: Sample, main: MainEffectPlan, *, tested: I64, series: int, name: str) -> Steps:
    """Return the steps of the fail-safe N of a main effect against the base rate; `main` is its plan.

    Raises
    ------
    InputError
        for TFCE, or numbers below 1.
    """
    conventions = noise_conventions(sample, main, tested=tested, series=series, name=name)
    bits = int(conventions["scale_bits"])
    if bits != main.bits:
        main = plan_main_effect(sample, bits=bits, name=name)
    base_rate = load_base_rate(sample.inference, mask=sample.mask)
    identity = {**conventions, **conventions_of(sample, bits=bits, base_rate=base_rate)}
    noise = noise_of(sample, number=int(tested[-1]), base_rate=base_rate)
    return Steps(sample, main, noise, tested, series, bits, base_rate, identity)


@dataclass(frozen=True, eq=False)
class AddedBaseRate:
    """A sample with noise experiments: the passes and their nulls (iteration, variant x statistic).

    It has the attributes of `fail_safe.Added`.
    """

    steps: Steps
    plans: Sequence[base_rate_variants.BaseRateVariantsPlan]
    nulls: Sequence[I64]

    @property
    def plan(self) -> base_rate_variants.BaseRateVariantsPlan:
        """The first pass."""
        return self.plans[0]

    @property
    def most(self) -> int:
        """Number of noise experiments."""
        return self.steps.most

    @property
    def tested(self) -> I64:
        """The number of noise experiments at each step (step)."""
        return self.steps.tested

    @property
    def n_experiments(self) -> int:
        """Number of experiments without noise."""
        return len(self.steps.sample.key)

    @property
    def series(self) -> int:
        """Number of series."""
        return self.steps.series

    @property
    def correction(self) -> str:
        """The correction by which clusters survive."""
        return str(self._inference.correction)

    @property
    def threshold(self) -> I64:
        """Cluster-forming values (step, series), all -1, because they differ between voxels."""
        return np.full((len(self.tested), self.series), -1, dtype=np.int64)

    @property
    def _inference(self) -> Inference:
        return self.steps.sample.inference

    @cached_property
    def cut(self) -> I64:
        """Smallest number of voxels, mass or z in steps of 1/4096 that survives (step, series), int64."""
        found = [cut_of(self._null(step), self._inference) for step in range(len(self.tested))]
        return np.repeat(np.array(found, dtype=np.int64)[:, None], self.series, axis=1)

    def _where(self, step: int) -> tuple[int, int]:
        number, place = divmod(step, base_rate_variants.MOST)
        return number, len(self.steps.chunks[number]) - 1 - place

    def _null(self, step: int) -> I64:
        number, variant = self._where(step)
        return base_rate_variants.null_of(self.nulls[number], variant)

    def thresholds_of(self, step: int) -> BaseRateThresholds:
        """Return the thresholds and the table of z at a step."""
        number, variant = self._where(step)
        return base_rate_variants.thresholds_of(self.plans[number], variant)

    def surviving(self, series: int) -> list[I64]:
        """Return the voxels, int64, of the surviving clusters of one series at each step."""
        mask, inference = self.steps.sample.mask, self._inference
        found = []
        for step, s in enumerate(self.steps.sums(series)):
            kept = survivors(s, self._null(step), self.thresholds_of(step), mask=mask, inference=inference)
            found.append(np.flatnonzero(kept).astype(np.int64))
        return found
