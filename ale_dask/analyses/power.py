"""How many of its experiments must report a place before a main effect finds it: what a design can see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.main_effect import UNIFORM_ALONE, inference_of, mask_of
from ale_dask.analyses.sample import Sample, sample
from ale_dask.data.foci import foci_alone
from ale_dask.distribution.backends import cpu_count
from ale_dask.numerics import correct
from ale_dask.numerics.correct import UNREACHABLE
from ale_dask.numerics.power import Rule, detections, kernels_of, offsets_within, space_of, trial_of
from ale_dask.words.config import INPUTS
from ale_dask.words.errors import InputError
from ale_dask.words.variables import FOCI, check, describe

KIND = "power"
SIMULATIONS = 300
"""The 95 % interval of a power of .80 is then .75 to .84."""
WITHIN_MM = 5.0
"""About half the width of a kernel at half its height."""
TARGET = 0.8
PER_ARM = ("power_needed", "power_experiments", "power_found")
"""What a contrast or conjunction keeps of each main effect behind it."""
_SETTINGS = ("power_simulations", "power_within_mm", "power_target")
_CUTS = {"cluster-size": "cut_size", "cluster-mass": "cut_mass", "voxel": "cut_s", "tfce": "cut_tfce"}


def power(
    result: xr.Dataset,
    *,
    simulations: int = SIMULATIONS,
    within_mm: float = WITHIN_MM,
    target: float = TARGET,
    threads: int | None = None,
) -> xr.Dataset:
    """Return the power (reporting) of a main effect's design for a place that 0, 1, … K of its experiments report.

    In each simulation a place is drawn from the voxels of the mask, or of the region that is searched, edges included,
    and an order of the experiments. All foci lie at random over the mask, as in the null, but the first m experiments
    of the order report the place: one focus of each lies there, displaced along each axis by k voxels with a
    probability proportional to exp(-k^2 / 2 sigma^2), sigma being that of the experiment's own kernel, and drawn again
    if it ends outside the mask. The place
    is found if what survives the result's own correction, at its cut and cluster-forming value, comes within
    `within_mm` of it. Places, orders and foci are the same for every m, so that power hardly ever falls from one m to
    the next (for TFCE: is taken not to); they depend on the seed and the experiments' keys alone.

    The attribute power_needed is the smallest m from which on the power is at least `target`, 0 if it is not even with
    all K; power_found of power_simulations found the place there. `prevalence`, m / K, is one of reports under this
    model, at one place by itself; it is none of activation among subjects, and no effect size. An effect that covers
    more than a point, or reports elsewhere that converge too, make it easier to find; displacements wider than the
    kernel's, harder.

    Parameters
    ----------
    simulations
        each gives one find or miss for every m; `power_low` and `power_high` are the exact 95 % interval
    within_mm
        from the place to the nearest voxel that survives
    target
        the power that is asked for
    threads
        number of threads; the result is the same for any

    Raises
    ------
    InputError
        for what is no main effect, a main effect that the base rate alone decides, or a number that cannot be used.
    """
    if result.attrs.get("kind") != main_effects.KIND:
        raise InputError(f"'{result.attrs.get('name')}' is no main effect: power is that of one sample's design")
    if simulations < 1 or within_mm < 0 or not 0 < target < 1:
        raise InputError(
            f"power: {simulations} simulations within {within_mm:g} mm for a power of {target:g}; give one simulation "
            "or more, 0 mm or more, and a power between 0 and 1"
        )
    check(result, *FOCI)
    inference = inference_of(result)
    if inference.null == "base-rate":
        raise InputError(f"'{result.attrs['name']}': {UNIFORM_ALONE.format('power')}")
    chosen = sample(foci_alone(result), mask=mask_of(result), inference=inference, name=result.attrs["name"])
    found = _found(chosen, result, simulations=simulations, within_mm=within_mm, threads=threads or cpu_count())
    counts = found.sum(axis=0)
    low, high = correct.clopper_pearson(counts, simulations)
    n = len(chosen.key)
    short = np.flatnonzero(counts < target * simulations)
    needed = int(short[-1]) + 1 if short.size else 0
    reached = needed <= n
    at = needed if reached else n
    curve = xr.Dataset(
        {
            "power": ("reporting", counts / simulations),
            "power_low": ("reporting", low),
            "power_high": ("reporting", high),
        },
        coords={"reporting": np.arange(n + 1), "prevalence": ("reporting", np.arange(n + 1) / n)},
        attrs={
            "name": result.attrs["name"],
            "kind": KIND,
            "identity": result.attrs["identity"],
            "correction": inference.correction,
            "power_needed": needed if reached else 0,
            "power_experiments": n,
            "power_found": int(counts[at]),
            "power_simulations": simulations,
            "power_within_mm": float(within_mm),
            "power_target": float(target),
        },
    )
    return describe(curve)


def _found(
    chosen: Sample, result: xr.Dataset, *, simulations: int, within_mm: float, threads: int
) -> npt.NDArray[np.bool_]:
    """Return whether each simulation's place is found (simulation, 1 + experiment), bool."""
    inference, mask = chosen.inference, chosen.mask
    cut, bits = int(result.attrs[_CUTS[inference.correction]]), int(result.attrs["scale_bits"])
    if cut >= UNREACHABLE:
        return np.zeros((simulations, 1 + len(chosen.key)), dtype=bool)
    distinct, kernel = chosen.kernels
    tables: dict[str, Any] = {
        "kernels": kernels_of(chosen.boxes(bits), sigma=distinct),
        "space": space_of(mask.voxel_ijk, near=offsets_within(within_mm, affine=mask.affine), searched=mask.search),
        "trial": trial_of(
            np.r_[0, np.cumsum(chosen.n_foci)].astype(np.int64),
            kernel=kernel,
            experiment_key=chosen.key,
            seed=inference.seed,
            additive=chosen.additive,
        ),
        "threads": threads,
    }
    if inference.correction == "tfce":
        from ale_dask.numerics.power_tfce import tfce_detections

        plan = main_effects.plan_main_effect(chosen, bits=bits, name=result.attrs["name"])
        heights = main_effects.levels_of(plan)
        return tfce_detections(simulations, cut=cut, levels=heights, volume=mask.searched_volume, **tables)
    threshold = int(result.attrs["threshold"])
    rule = {
        "cluster-size": Rule(threshold, cut, False, inference.connectivity == 18),
        "cluster-mass": Rule(threshold, cut, True, inference.connectivity == 18),
        # One voxel by itself is enough.
        "voxel": Rule(cut, 1, False),
    }[inference.correction]
    return detections(simulations, rule=rule, **tables)


def without_cluster(result: xr.Dataset) -> list[int]:
    """Return the directions (1, -1) in which a contrast or conjunction has no cluster at the corrected input."""
    name = {"contrast": "z_contrast", "conjunction": "z_min"}.get(result.attrs["kind"])
    if name is None:
        return []
    z = result[name].sel(input=INPUTS[0]).values
    return [sign for sign in ((1, -1) if name == "z_contrast" else (1,)) if not (sign * z > 0).any()]


def with_power(results: Mapping[str, xr.Dataset], *, threads: int | None = None) -> dict[str, xr.Dataset]:
    """Return results by name, the main effects behind a contrast or conjunction without a cluster with their power.

    Such a contrast or conjunction has them as attributes: power_of, and each of PER_ARM as a list in that order. One
    whose main effects are not among the results has none.
    """
    found = dict(results)
    for name, result in results.items():
        if not without_cluster(result):
            continue
        behind = list(result.attrs["arms" if result.attrs["kind"] == "contrast" else "of"])
        if not set(behind) <= set(found) or inference_of(result).null == "base-rate":
            continue
        for arm in behind:
            if "power" not in found[arm]:
                curve = power(found[arm], threads=threads)
                told = {key: curve.attrs[key] for key in (*PER_ARM, *_SETTINGS)}
                found[arm] = found[arm].assign(curve.variables).assign_attrs(told)
        lists = {key: [found[arm].attrs[key] for arm in behind] for key in PER_ARM}
        settings = {key: found[behind[0]].attrs[key] for key in _SETTINGS}
        found[name] = result.assign_attrs(power_of=behind, **lists, **settings)
    return found
