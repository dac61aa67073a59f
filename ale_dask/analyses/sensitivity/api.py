"""Fail-safe N from Python: results in, Dataset out, nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xarray as xr

from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.base_rate_result import decided_by_base_rate
from ale_dask.analyses.execute import run_plan, sample_of
from ale_dask.analyses.findings.model import kind_of, model_of
from ale_dask.analyses.main_effect import UNIFORM_ALONE, plan_main_effect
from ale_dask.analyses.sensitivity import fail_safe as noisy
from ale_dask.analyses.sensitivity import noise_null
from ale_dask.analyses.sensitivity.fail_safe_base_rate import OF_BOTH, AddedBaseRate, steps_of
from ale_dask.analyses.sensitivity.noise_experiments import noise_foci, noise_of
from ale_dask.datasets.base_rate.studies import load_base_rate
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count

if TYPE_CHECKING:
    from distributed import Client


def fail_safe(
    result: xr.Dataset,
    *,
    of: Sequence[xr.Dataset] = (),
    most: int | Sequence[int] | None = None,
    series: int = 20,
    iterations: int = 1000,
    null: str | None = None,
    client: Client | None = None,
) -> xr.Dataset:
    """Return the fail-safe N of each cluster of a main effect or conjunction.

    Parameters
    ----------
    result
        Result of `main_effect` or `conjunction`.
    of
        Main effects of a conjunction, in the order in which it was given them.
    most
        Largest number of noise experiments added to a main effect; by default three times its own experiments. Clusters
        are tested after each number up to 72, beyond that after at most 72 numbers and 30 % of the experiments. A list
        of numbers, such as range(649), says after which they are tested.
    series
        Number of series of noise experiments, each with other foci.
    iterations
        Iterations of the null after each noise experiment.
    null
        "uniform": noise experiments report foci anywhere in the mask, and clusters are tested against such foci;
        "base-rate": they report foci where the literature does, and clusters are tested against the base rate. By
        default the null that decides the result, "uniform" where both were asked for.
    client
        Dask client for the iterations, as for `main_effect`.

    Returns
    -------
    xr.Dataset
        Fail-safe N (noise, series, cluster), the largest tested number up to which a cluster survives each tested one;
        the share of series in which a cluster survives (noise, step, cluster); and `n_added` (noise, step), the number
        of noise experiments at each step.

    Raises
    ------
    InputError
        For a contrast, for TFCE, when `of` are not the main effects of the conjunction, or for a null that the result
        does not have.

    Notes
    -----
    The fail-safe N of a cluster is the number of experiments without any effect that can be added before it is no
    longer significant (Acar 2018).

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=100, seed=1)
    >>> ale.fail_safe(result, most=2, series=2, iterations=100).sizes["series"]
    2
    """
    if _base_rate_decides(result, null):
        return _against_base_rate(result, of, most=most, series=series, iterations=iterations, client=client)
    mains = {str(r.attrs["name"]): r for r in main_effects_of(result, of)}
    parts = {}
    for name, main in mains.items():
        chosen = sample_of(main, inference=model_of(main).inference, mask=model_of(main).mask)
        own = plan_main_effect(chosen, bits=int(main.attrs["scale_bits"]), name=name)
        tested = noise_null.numbers_tested(len(chosen.key), most=most)
        plan = noise_null.plan_fail_safe(chosen, own, tested=tested, series=series, name=name, threads=cpu_count())
        drawn = run_plan(plan, iterations=iterations, client=client)["null"][:, 1:]
        parts[name] = noisy.added(plan, drawn)
    return noisy.collect(result, parts, of=mains, iterations=iterations)


def _base_rate_decides(result: xr.Dataset, null: str | None) -> bool:
    own = model_of(result).inference.null
    if null not in (None, "uniform", "base-rate"):
        raise InputError(f"null '{null}': fail-safe N is against one null, uniform or base-rate")
    if null == "uniform" and own == "base-rate":
        raise InputError(f"'{result.attrs['name']}': {UNIFORM_ALONE.format('this fail-safe N')}")
    return (null or own) == "base-rate"


def _against_base_rate(
    result: xr.Dataset,
    of: Sequence[xr.Dataset],
    *,
    most: int | Sequence[int] | None,
    series: int,
    iterations: int,
    client: Client | None,
) -> xr.Dataset:
    if model_of(result).kind == conjunctions.KIND and model_of(result).inference.null == "both":
        raise InputError(f"'{result.attrs['name']}': {OF_BOTH}")
    mains = {str(r.attrs["name"]): decided_by_base_rate(r) for r in main_effects_of(result, of)}
    parts = {}
    for name, main in mains.items():
        chosen = sample_of(main, inference=model_of(main).inference, mask=model_of(main).mask)
        own = plan_main_effect(chosen, bits=int(main.attrs["scale_bits"]), name=name)
        tested = noise_null.numbers_tested(len(chosen.key), most=most)
        steps = steps_of(chosen, own, tested=tested, series=series, name=name)
        plans = [steps.plan(i, name=name, threads=cpu_count()) for i in range(len(steps.chunks))]
        nulls = [run_plan(p, iterations=iterations, client=client)["null"][:, 1:] for p in plans]
        parts[name] = AddedBaseRate(steps, plans, nulls)
    whole = decided_by_base_rate(result)
    return noisy.collect(whole, parts, of=mains, iterations=iterations)


def noise_experiments(result: xr.Dataset, *, number: int, series: int = 0, null: str | None = None) -> xr.Dataset:
    """Return the foci of the noise experiments that `fail_safe` adds first to a main effect.

    Parameters
    ----------
    result
        Main effect, from `main_effect`.
    number
        Number of noise experiments.
    series
        Number of the series, from 0.
    null
        "uniform" or "base-rate", as for `fail_safe`.

    Returns
    -------
    xr.Dataset
        Foci Dataset, mm in MNI space, with experiments named noise 1, noise 2 and so on.

    Raises
    ------
    InputError
        For a result that is no main effect, or a null that it does not have.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, mask="ball.nii.gz", null="uniform", iterations=100, seed=1)
    >>> ale.noise_experiments(result, number=3).sizes["experiment"]
    3
    """
    (main,) = main_effects_of(result, ())
    inference, mask = model_of(main).inference, model_of(main).mask
    chosen = sample_of(main, inference=inference, mask=mask)
    base_rate = load_base_rate(inference, mask=mask) if _base_rate_decides(main, null) else None
    return noise_foci(noise_of(chosen, number=number, base_rate=base_rate), series=series)


def main_effects_of(result: xr.Dataset, of: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Return the main effects of which a fail-safe N is found: the result itself, or the inputs of a conjunction.

    Raises
    ------
    InputError
        for a contrast, or when `of` are not the main effects of the conjunction.
    """
    kind, name = kind_of(result), result.attrs.get("name")
    if kind == main_effects.KIND:
        return [result]
    if kind != conjunctions.KIND:
        raise InputError(f"'{name}' is a {kind}: fail-safe N is of main effects and conjunctions")
    given = [str(r.attrs["name"]) for r in of]
    if given != list(result.attrs["of"]):
        wanted = ", ".join(result.attrs["of"])
        raise InputError(f"'{name}': of = the main effects {wanted}, in this order; got {', '.join(given) or 'none'}")
    return list(of)
