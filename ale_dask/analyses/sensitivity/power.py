"""Estimate by simulation how many experiments must report a place before a main effect finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.base_rate_result import nulls_of
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.sample import sample
from ale_dask.analyses.sensitivity.power_nulls import Found, base_rate_found, uniform_found
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates.foci import foci_alone
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.plan import Plan
from ale_dask.numerics import correct
from ale_dask.schema import FOCI, check, describe

KIND = "power"
SIMULATIONS = 300
"""With this number the 95 % interval of a power of .80 is .75 to .84."""
WITHIN_MM = 5.0
"""About half of the full width at half maximum of a kernel."""
TARGET = 0.8
PER_ARM = ("power_needed", "power_experiments", "power_found")
"""Attributes of main effects that a contrast or conjunction of them has as lists."""
_SETTINGS = ("power_null", "power_simulations", "power_within_mm", "power_target")
BESIDE = "_base_rate"
"""Ending of the names of power against the base rate, where power against the uniform null is given as well."""
THIRDS = ("power_needed_least_reported", "power_needed_most_reported")
"""Numbers of experiments that must report a place in the third of the mask with the lowest or highest base rate."""
OF_BASE_RATE = (f"power_needed{BESIDE}", f"power_found{BESIDE}", *THIRDS)
"""Further attributes of main effects that have power against the base rate."""
_FOUND = {"uniform": uniform_found, "base-rate": base_rate_found}


def power(
    result: xr.Dataset,
    *,
    simulations: int = SIMULATIONS,
    within_mm: float = WITHIN_MM,
    target: float = TARGET,
    threads: int | None = None,
    at: tuple[float, float, float] | None = None,
) -> xr.Dataset:
    """Return the power of the design of a main effect for a place that 0, 1, … K of its K experiments report.

    In each simulation a place and an order of the experiments are drawn. All foci lie at random over the mask, as in
    the null, but the first m experiments of the order report the place, each with one focus near it. The place is found
    if a voxel that survives the correction of the result lies within `within_mm` of it. Places, orders and foci are the
    same for every m and depend only on the seed and the keys of the experiments.

    Parameters
    ----------
    result
        Main effect, from `main_effect`.
    simulations
        Number of simulations; each finds or misses the place for every m.
    within_mm
        Largest distance in mm from the place to the nearest voxel that survives.
    target
        Power to reach, between 0 and 1.
    threads
        Number of threads; the result is the same for any.
    at
        The place in mm; by default each simulation draws one from all voxels.

    Returns
    -------
    xr.Dataset
        Curves power and its exact 95 % interval, power_low to power_high (reporting); prevalence = m / K. The attribute
        power_needed is the smallest m from which on the power is at least `target`, 0 if there is none; at it,
        power_found of power_simulations simulations found the place. With null "both" the names of the numbers against
        the base rate end in "_base_rate".

    Raises
    ------
    InputError
        For a result that is no main effect, an impossible number, a place outside the mask, or a base rate that can no
        longer be read.

    Notes
    -----
    The focus that reports the place is displaced along each axis by k voxels with a probability proportional to
    exp(-k^2 / 2 sigma^2) with sigma of the kernel of the experiment, and drawn again if it is outside the mask. Against
    the base rate all other foci are drawn from it; power_needed_least_reported and power_needed_most_reported are
    power_needed among places in the thirds of the mask with the lowest and the highest base rate. Prevalence is the
    share of experiments that report one place under this model, not a share of subjects with activation, and not an
    effect size.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=100, seed=1)
    >>> ale.power(result, simulations=10).sizes["reporting"]
    9
    """
    if kind_of(result) != "main-effect":
        raise InputError(f"'{result.attrs.get('name')}' is no main effect: power is that of one sample's design")
    if simulations < 1 or within_mm < 0 or not 0 < target < 1:
        raise InputError(
            f"power: {simulations} simulations within {within_mm:g} mm for a power of {target:g}; give one simulation "
            "or more, 0 mm or more, and a power between 0 and 1"
        )
    check(result, *FOCI)
    return _power(result, {}, simulations=simulations, within_mm=within_mm, target=target, threads=threads, at=at)


def _power(
    result: xr.Dataset,
    plans: Mapping[str, Plan],
    *,
    simulations: int = SIMULATIONS,
    within_mm: float = WITHIN_MM,
    target: float = TARGET,
    threads: int | None,
    at: tuple[float, float, float] | None = None,
) -> xr.Dataset:
    """Return what `power` does; the plan of a null is taken from `plans` by its name, or made."""
    inference = model_of(result).inference
    chosen = sample(foci_alone(result), mask=model_of(result).mask, inference=inference, name=result.attrs["name"])
    found = {
        null: _FOUND[null](
            chosen, result, plans, simulations=simulations, within_mm=within_mm, threads=threads or cpu_count(), at=at
        )
        for null in nulls_of(result)
    }
    n = len(chosen.key)
    curve = xr.Dataset(
        coords={"reporting": np.arange(n + 1), "prevalence": ("reporting", np.arange(n + 1) / n)},
        attrs={
            "name": result.attrs["name"],
            "kind": KIND,
            "identity": result.attrs["identity"],
            "correction": inference.correction,
            "power_null": next(iter(found)) if len(found) == 1 else "both",
            "power_experiments": n,
            "power_simulations": simulations,
            "power_within_mm": float(within_mm),
            "power_target": float(target),
        },
    )
    for null, detected in found.items():
        variables, attrs = _curve(detected, target=target, end=BESIDE if len(found) > 1 and null == "base-rate" else "")
        curve = curve.assign(variables).assign_attrs(attrs)
    return describe(curve)


def _curve(detected: Found, *, target: float, end: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the power against one null as variables (reporting), and the numbers of experiments as attributes.

    The names of all of them end in `end`.
    """
    counts, simulations = detected.found.sum(axis=0), len(detected.found)
    low, high = correct.clopper_pearson(counts, simulations)
    needed = _needed(detected.found, target=target)
    at = min(needed, len(counts) - 1)
    attrs = {f"power_needed{end}": needed if at == needed else 0, f"power_found{end}": int(counts[at])}
    for name, third in zip(THIRDS, (0, 2), strict=True) if detected.third is not None else ():
        found = detected.found[detected.third == third]
        of_third = _needed(found, target=target) if len(found) else len(counts)
        attrs[name] = of_third if of_third < len(counts) else 0
    values = {"power": counts / simulations, "power_low": low, "power_high": high}
    return {f"{name}{end}": ("reporting", array) for name, array in values.items()}, attrs


def _needed(found: npt.NDArray[np.bool_], *, target: float) -> int:
    """Return the smallest number of experiments from which on enough simulations find the place, or K + 1."""
    short = np.flatnonzero(found.sum(axis=0) < target * len(found))
    return int(short[-1]) + 1 if short.size else 0


def without_cluster(result: xr.Dataset) -> list[int]:
    """Return the directions (1, -1) in which a contrast or conjunction has no cluster at the corrected input."""
    name = {"contrast": "z_contrast", "conjunction": "z_min"}.get(model_of(result).kind)
    if name is None:
        return []
    z = result[name].sel(input=INPUTS[0]).values
    return [sign for sign in model_of(result).signs if not (sign * z > 0).any()]


def with_power(
    results: Mapping[str, xr.Dataset], plans: Mapping[str, Plan] | None = None, *, threads: int | None = None
) -> dict[str, xr.Dataset]:
    """Return results by name, with the power of main effects whose contrast or conjunction has no cluster.

    `plans` are those that the results come from, by name; without them they are made again, which takes a second each.

    The contrast or conjunction gets attributes: power_of with the names of the main effects, and PER_ARM and, if there
    are any, OF_BASE_RATE as lists in the same order. It gets none if a main effect is not among the results.
    """
    found = dict(results)
    for name, result in results.items():
        if not without_cluster(result):
            continue
        main_effects = model_of(result).parts
        if not set(main_effects) <= set(found):
            continue
        for arm in main_effects:
            if "power" not in found[arm]:
                curve = _power(found[arm], plans or {}, threads=threads)
                numbers = {key: value for key, value in curve.attrs.items() if key.startswith("power_")}
                found[arm] = found[arm].assign(curve.variables).assign_attrs(numbers)
        kept = [key for key in (*PER_ARM, *OF_BASE_RATE) if key in found[main_effects[0]].attrs]
        lists = {key: [found[arm].attrs[key] for arm in main_effects] for key in kept}
        settings = {key: found[main_effects[0]].attrs[key] for key in _SETTINGS}
        found[name] = result.assign_attrs(power_of=main_effects, **lists, **settings)
    return found
