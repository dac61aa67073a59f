"""Whether our fast kernels are right: the same foci in float64, kernels by their formula, scipy's clusters."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ale_dask.analyses import contrast, main_effect
from ale_dask.config.inference import Inference
from ale_dask.numerics.contrast import DIFFERENCE_BITS, relabellings
from benchmarks.nulls import our_draws
from benchmarks.plans import dataset, experiment_map
from benchmarks.samples import Foci, pooled

FACES = ndimage.generate_binary_structure(3, 1)


def kernel(n: int, *, voxel: float, support: float) -> NDArray[np.float64]:
    """Return K (x, y, z) of a focus on a voxel centre (Eickhoff 2009), 0 beyond `support` standard deviations."""
    to_fwhm = math.sqrt(8 * math.log(2)) / (2 * math.sqrt(2 / math.pi))
    sigma = math.hypot(5.7 * to_fwhm, 11.6 * to_fwhm / math.sqrt(n)) / math.sqrt(8 * math.log(2)) / voxel
    axis = np.arange(-math.floor(support * sigma), math.floor(support * sigma) + 1) / sigma
    squared = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis[None, None, :] ** 2
    density: NDArray[np.float64] = np.exp(-squared / 2) / ((2 * math.pi) ** 1.5 * sigma**3)
    return np.where(squared <= support**2, density, 0.0)


def s_maps(foci: Foci, ijk: NDArray[np.int64], *, support: float) -> list[NDArray[np.float64]]:
    """Return -log1p(-MA) (x, y, z) of each experiment, float64, of foci on these voxels (focus, axis)."""
    voxel = abs(float(foci.affine[0, 0]))
    made = {int(n): kernel(int(n), voxel=voxel, support=support) for n in np.unique(foci.n)}
    return [
        -np.log1p(-experiment_map(made[int(n)], ijk[where], foci.volume.shape))
        for n, where in zip(foci.n, foci.of_experiment, strict=True)
    ]


def wrong_iterations(null: NDArray[np.int64], plan: main_effect.MainEffectPlan, foci: Foci, *, name: str) -> list[str]:
    """Return what is wrong with our null (iteration, 3) of the first iterations, in words; nothing if all is right."""
    unit = 2.0**-plan.bits
    threshold = (plan.threshold - 0.5) * unit
    # Each experiment that reaches a voxel is rounded to half a unit.
    each = len(foci.n) * unit
    voxels = np.argwhere(foci.volume)
    problems = []
    for b, drawn in enumerate(our_draws(plan, foci, name=name, count=len(null))):
        s = np.where(foci.volume, sum(s_maps(foci, voxels[drawn], support=Inference().support)), 0.0)
        labels, n = ndimage.label(s >= threshold, FACES)
        size = int(np.bincount(labels.reshape(-1))[1:].max(initial=0))
        mass = float(np.max(ndimage.sum_labels(s - threshold, labels, np.arange(1, n + 1)), initial=0.0))
        top, ours_size, ours_mass = null[b, 0] * unit, int(null[b, 1]), null[b, 2] * unit
        # A voxel may lie within rounding of the threshold: then clusters may differ, and nothing can be said.
        tied = bool((np.abs(s[foci.volume] - threshold) <= each).any())
        if abs(top - s.max()) > each:
            problems.append(f"{name} {b}: largest S {top} is {s.max()}")
        if ours_size != size and not tied:
            problems.append(f"{name} {b}: largest size {ours_size} is {size}")
        if abs(ours_mass - mass) > each * max(size, 1) and not tied:
            problems.append(f"{name} {b}: largest mass {ours_mass} is {mass}")
    return problems


def wrong_relabellings(
    made: dict[str, NDArray[np.int64]], plan: contrast.ContrastPlan, arms: tuple[Foci, Foci]
) -> list[str]:
    """Return what is wrong with our first relabellings of a whole mask, in words; nothing if all is right."""
    both = pooled(arms)
    # Names as in the plan's two arms: an experiment's key is a hash over its name, n and foci.
    keys = np.concatenate(
        [dataset(arm, name=name)["experiment_key"].values for arm, name in zip(arms, plan.name.split("-"), strict=True)]
    )
    order = np.argsort(keys, kind="stable")
    s = np.array([m[both.volume] for m in s_maps(both, both.ijk, support=8.0)])
    count = len(made["null"])
    chosen = relabellings(plan.draw_key, size=len(arms[0].n), first=0, count=count, enumerate_all=False)
    total = s.sum(axis=0)
    first = np.zeros((count + 1, len(keys)))
    first[0, : len(arms[0].n)] = 1
    first[1:, order] = chosen
    in_first = first @ s
    difference = np.exp(in_first - total) - np.exp(-in_first)
    near = 1e-7
    problems = []
    for side, sign in enumerate((1, -1)):
        t = sign * difference
        high = (t[1:] >= t[0] - near).sum(axis=0)
        low = (t[1:] >= t[0] + near).sum(axis=0)
        counts = made["exceed"][side]
        outside = int(((counts > high) | (counts < low)).sum())
        if outside:
            problems.append(f"{plan.name}, side {side}: exceedance counts of {outside} voxels")
        far = np.abs(made["null"][:, side] * 2.0**-DIFFERENCE_BITS - t[1:].max(axis=1)).max()
        if far > near:
            problems.append(f"{plan.name}, side {side}: largest differences, by {far}")
    return problems


def problems_of(
    mains: dict[str, tuple[main_effect.MainEffectPlan, Foci]],
    pair: contrast.ContrastPlan,
    *,
    iterations: int,
    relabelled: int,
) -> list[str]:
    """Return everything that is wrong with a few iterations of these plans."""
    found = []
    for name, (plan, foci) in mains.items():
        found += wrong_iterations(main_effect.block(plan, 0, iterations)["null"], plan, foci, name=name)
    arms = tuple(foci for _, foci in mains.values())
    assert len(arms) == 2
    return found + wrong_relabellings(contrast.block(pair, 0, relabelled), pair, arms)
