"""Our plans of the samples: as the program makes them, and with the kernels of another program in their place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft

from ale_dask.analyses import contrast, main_effect
from ale_dask.analyses.sample import Sample, sample, study_bits
from ale_dask.analyses.sensitivity.jackknife import family, sets_of
from ale_dask.config.inference import Inference
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.coordinates.foci import concat as concat_foci
from ale_dask.execution.plan import Plan
from ale_dask.numerics.ale import scale_bits
from ale_dask.numerics.space import Mask
from benchmarks.samples import Foci

STEP = 1e-5


def dataset(foci: Foci, *, name: str) -> xr.Dataset:
    """Return the foci Dataset of a sample."""
    xyz = foci.xyz
    return build(
        [
            Experiment(f"{name} {i}", int(n), tuple(map(tuple, xyz[where].tolist())), "MNI", "scripts/bench")
            for i, (n, where) in enumerate(zip(foci.n, foci.of_experiment, strict=True))
        ]
    )


def usable(foci: Foci, *, name: str, **settings: Any) -> Sample:
    """Return the sample as our analyses want it."""
    inference = Inference(**settings)
    return sample(dataset(foci, name=name), mask=Mask(foci.volume, foci.affine), inference=inference)


def main_plan(foci: Foci, *, name: str, **settings: Any) -> main_effect.MainEffectPlan:
    """Return our own plan of a sample."""
    chosen = usable(foci, name=name, **settings)
    return main_effect.plan_main_effect(chosen, bits=study_bits([chosen]), name=name)


def left_out_plan(foci: Foci, *, name: str) -> Plan:
    """Return our plan of the nulls of a sample and of the sample without each of its experiments, in one pass."""
    chosen = usable(foci, name=name, null="uniform")
    whole = main_effect.plan_main_effect(chosen, bits=study_bits([chosen]), name=name)
    made = family(chosen, whole, left_out=sets_of([chosen], by="experiment"), name=name).plan
    assert made is not None
    return made


def contrast_plan(a: Foci, b: Foci, *, names: tuple[str, str], voxels: int | None) -> contrast.ContrastPlan:
    """Return our plan of the contrast a - b over the whole mask or, gated, over about so many voxels."""
    gate = "none" if voxels is None else "pooled"
    # "The whole mask" is all of it: the floor of gate none would leave a part.
    arms = [usable(f, name=n, gate=gate, contrast_floor=0.0) for f, n in zip((a, b), names, strict=True)]
    both = replace(arms[0], foci=concat_foci([arm.foci for arm in arms]))
    both = sample(both.foci, mask=both.mask, inference=both.inference)
    bits = study_bits([both])
    parents = [main_effect.plan_main_effect(s, bits=bits, name=str(i)) for i, s in enumerate((*arms, both))]
    if voxels is not None:
        # The gate is every voxel above its cluster-forming value in any of the three maps: all three are raised or
        # lowered alike until it holds the number asked for.
        height = np.max([p.s / p.threshold for p in parents], axis=0)
        factor = np.sort(height)[-voxels]
        parents = [replace(p, settings={**p.settings, "threshold": int(factor * p.threshold)}) for p in parents]
    return contrast.plan_contrast(*arms, plans=parents, name="-".join(names))


def critical(tables: Iterable[NDArray[np.float64]], *, p: float) -> float:
    """Return the S that the sum of independent experiments exceeds with probability p, from their S (voxel) each.

    Their histograms, each value split over two bins, are convolved by FFT over the mean and 40 standard deviations:
    beyond that, where a shorter transform would fold it back, there is nothing that p = .001 could notice.
    """
    histograms = []
    mean = variance = most = 0.0
    for table in tables:
        low = np.floor(table / STEP).astype(np.int64)
        upper = table / STEP - low
        bins = int(low.max()) + 2
        histograms.append((np.bincount(low, 1 - upper, bins) + np.bincount(low + 1, upper, bins)) / len(table))
        mean, variance, most = mean + table.mean(), variance + table.var(), most + table.max()
    length = min(most, mean + 40 * variance**0.5) / STEP + len(histograms)
    bins = fft.next_fast_len(max(int(length) + 2, *map(len, histograms)), real=True)
    spectrum = np.ones(bins // 2 + 1, dtype=np.complex128)
    for histogram in histograms:
        spectrum *= fft.rfft(histogram, bins)
    tail = np.cumsum(fft.irfft(spectrum, bins)[::-1])[::-1]
    return round(float((np.searchsorted(-tail, -p) - 0.5) * STEP), 9)


def experiment_map(kernel: NDArray[np.float64], ijk: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the MA (x, y, z) of foci (focus, axis) on voxel centres: the largest kernel value of any."""
    radius = kernel.shape[0] // 2
    padded = np.zeros(tuple(n + 2 * radius for n in shape))
    for x, y, z in ijk.tolist():
        box = padded[x : x + kernel.shape[0], y : y + kernel.shape[1], z : z + kernel.shape[2]]
        np.maximum(box, kernel, out=box)
    return padded[radius : radius + shape[0], radius : radius + shape[1], radius : radius + shape[2]]


def with_kernels(
    plan: main_effect.MainEffectPlan, foci: Foci, path: str | Path
) -> tuple[main_effect.MainEffectPlan, float]:
    """Return the plan with kernels of sample sizes, read from an .npz, in place of its own, and its threshold as S."""
    with np.load(path) as archive:
        by_size = {int(n): archive[n] for n in archive.files}
    sizes = np.unique(foci.n)
    peaks = np.array([by_size[int(n)].max() for n in foci.n])
    bits = scale_bits(peaks)
    boxes = [np.rint(-np.log1p(-by_size[int(n)]) * 2.0**bits).astype(np.int32) for n in sizes]
    # The plan's experiments are in the order of their keys: its own kernels, narrowest first, tell the sizes again.
    sizes_of_plan = sizes[::-1][plan.kernel]
    maps = (
        -np.log1p(-experiment_map(by_size[int(n)], foci.ijk[where], foci.volume.shape)[foci.volume])
        for n, where in zip(foci.n, foci.of_experiment, strict=True)
    )
    threshold = critical(maps, p=0.001)
    changed = replace(
        plan,
        settings={**plan.settings, "bits": bits, "threshold": int(np.ceil(threshold * 2.0**bits))},
        arrays={
            **plan.arrays,
            "kernel": np.searchsorted(sizes, sizes_of_plan),
            "box_shape": np.array([b.shape for b in boxes], dtype=np.int64),
            "boxes": np.concatenate([b.reshape(-1) for b in boxes]),
        },
    )
    return changed, threshold
