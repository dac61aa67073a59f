"""How many of its experiments must report a place before a main effect finds it: what a design can see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.base_rate import nulls_of
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.sample import sample
from ale_dask.analyses.sensitivity.power_nulls import Found, base_rate_found, uniform_found
from ale_dask.config.study import INPUTS
from ale_dask.coordinates.foci import foci_alone
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.numerics import correct
from ale_dask.schema import FOCI, check, describe

KIND = "power"
SIMULATIONS = 300
"""The 95 % interval of a power of .80 is then .75 to .84."""
WITHIN_MM = 5.0
"""About half the width of a kernel at half its height."""
TARGET = 0.8
PER_ARM = ("power_needed", "power_experiments", "power_found")
"""What a contrast or conjunction keeps of each main effect behind it."""
_SETTINGS = ("power_null", "power_simulations", "power_within_mm", "power_target")
BESIDE = "_base_rate"
"""What the names of the base rate's power end in where it stands beside that of the uniform null."""
THIRDS = ("power_needed_least_reported", "power_needed_most_reported")
"""How many must report a place of the third of the mask where the base rate is least, and where it is most."""
OF_BASE_RATE = (f"power_needed{BESIDE}", f"power_found{BESIDE}", *THIRDS)
"""What it keeps of each beside them, where the base rate has a say."""
_FOUND = {"uniform": uniform_found, "base-rate": base_rate_found}


def power(
    result: xr.Dataset,
    *,
    simulations: int = SIMULATIONS,
    within_mm: float = WITHIN_MM,
    target: float = TARGET,
    threads: int | None = None,
) -> xr.Dataset:
    """Return the power of a main effect's design for a place that 0, 1, … K of its K experiments report.

    In each simulation a place and an order of the experiments are drawn. All foci lie at random over the mask, as in
    the null, but the first m experiments of the order report the place, each with one focus near it. The place is found
    if a voxel that survives the result's own correction lies within `within_mm` of it. Places, orders and foci are the
    same for every m and depend only on the seed and the experiments' keys.

    Parameters
    ----------
    result
        Main effect, from `main_effect`.
    simulations
        Number of simulations; each finds or misses the place for every m.
    within_mm
        Largest distance in mm from the place to the nearest voxel that survives.
    target
        Power that is asked for, between 0 and 1.
    threads
        Number of threads; the result is the same for any.

    Returns
    -------
    xr.Dataset
        Curves power and its exact 95 % interval, power_low to power_high (reporting); prevalence = m / K. The attribute
        power_needed is the smallest m from which on the power is at least `target`, 0 if there is none; power_found of
        power_simulations found the place there. With null "both" the names of the base rate's numbers end in
        "_base_rate".

    Raises
    ------
    InputError
        For a result that is no main effect, a number that cannot be used, or a base rate that cannot be read any more.

    Notes
    -----
    The focus that reports the place is displaced along each axis by k voxels with a probability proportional to
    exp(-k^2 / 2 sigma^2), sigma being that of the experiment's own kernel, and drawn again if it ends outside the mask.
    Against the base rate all other foci lie as it has them; power_needed_least_reported and power_needed_most_reported
    are power_needed among places of the thirds of the mask where the base rate is least and most. Prevalence is one of
    reports under this model, at one place by itself; it is none of activation among subjects, and no effect size.

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
    inference = model_of(result).inference
    chosen = sample(foci_alone(result), mask=model_of(result).mask, inference=inference, name=result.attrs["name"])
    found = {
        null: _FOUND[null](chosen, result, simulations=simulations, within_mm=within_mm, threads=threads or cpu_count())
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
    for null, one in found.items():
        variables, attrs = _curve(one, target=target, end=BESIDE if len(found) > 1 and null == "base-rate" else "")
        curve = curve.assign(variables).assign_attrs(attrs)
    return describe(curve)


def _curve(one: Found, *, target: float, end: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the power of one null as variables (reporting), and how many must report a place, as attributes.

    `end` is what the names of these end in.
    """
    counts, simulations = one.found.sum(axis=0), len(one.found)
    low, high = correct.clopper_pearson(counts, simulations)
    needed = _needed(one.found, target=target)
    at = min(needed, len(counts) - 1)
    attrs = {f"power_needed{end}": needed if at == needed else 0, f"power_found{end}": int(counts[at])}
    for name, third in zip(THIRDS, (0, 2), strict=True) if one.third is not None else ():
        found = one.found[one.third == third]
        of_third = _needed(found, target=target) if len(found) else len(counts)
        attrs[name] = of_third if of_third < len(counts) else 0
    values = {"power": counts / simulations, "power_low": low, "power_high": high}
    return {f"{name}{end}": ("reporting", array) for name, array in values.items()}, attrs


def _needed(found: npt.NDArray[np.bool_], *, target: float) -> int:
    """Return the smallest number of experiments from which on enough simulations find the place; all + 1 without."""
    short = np.flatnonzero(found.sum(axis=0) < target * len(found))
    return int(short[-1]) + 1 if short.size else 0


def without_cluster(result: xr.Dataset) -> list[int]:
    """Return the directions (1, -1) in which a contrast or conjunction has no cluster at the corrected input."""
    name = {"contrast": "z_contrast", "conjunction": "z_min"}.get(model_of(result).kind)
    if name is None:
        return []
    z = result[name].sel(input=INPUTS[0]).values
    return [sign for sign in ((1, -1) if name == "z_contrast" else (1,)) if not (sign * z > 0).any()]


def with_power(results: Mapping[str, xr.Dataset], *, threads: int | None = None) -> dict[str, xr.Dataset]:
    """Return results by name, the main effects behind a contrast or conjunction without a cluster with their power.

    Such a contrast or conjunction has them as attributes: power_of, and each of PER_ARM as a list in that order, and
    what there is of the base rate. One whose main effects are not among the results has none.
    """
    found = dict(results)
    for name, result in results.items():
        if not without_cluster(result):
            continue
        behind = list(result.attrs["arms" if model_of(result).kind == "contrast" else "of"])
        if not set(behind) <= set(found):
            continue
        for arm in behind:
            if "power" not in found[arm]:
                curve = power(found[arm], threads=threads)
                told = {key: value for key, value in curve.attrs.items() if key.startswith("power_")}
                found[arm] = found[arm].assign(curve.variables).assign_attrs(told)
        kept = [key for key in (*PER_ARM, *OF_BASE_RATE) if key in found[behind[0]].attrs]
        lists = {key: [found[arm].attrs[key] for arm in behind] for key in kept}
        settings = {key: found[behind[0]].attrs[key] for key in _SETTINGS}
        found[name] = result.assign_attrs(power_of=behind, **lists, **settings)
    return found
