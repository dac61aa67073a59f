"""Fail-safe N from Python: results in, Dataset out, nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import xarray as xr

from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import fail_safe as noisy
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.functions import _sample_of, run_plan
from ale_dask.analyses.main_effect import inference_of, mask_of, plan_main_effect
from ale_dask.analyses.noise import noise_foci, noise_of
from ale_dask.distribution.backends import cpu_count
from ale_dask.words.errors import InputError

if TYPE_CHECKING:
    from distributed import Client


def fail_safe(
    result: xr.Dataset,
    *,
    of: Sequence[xr.Dataset] = (),
    most: int | None = None,
    series: int = 20,
    iterations: int = 1000,
    client: Client | None = None,
) -> xr.Dataset:
    """Return the fail-safe N of the clusters of a main effect or conjunction (noise, series, cluster).

    Parameters
    ----------
    result
        what `main_effect` or `conjunction` returns
    of
        the main effects of a conjunction, as it was given them
    most
        noise experiments added at most to a main effect; three times its own if not given
    series
        of noise, each with other foci
    iterations
        of the null after each noise experiment
    client
        a Dask client, as for `main_effect`

    Raises
    ------
    InputError
        for a contrast, for TFCE, or when `of` are not the main effects of the conjunction.
    """
    mains = {str(r.attrs["name"]): r for r in main_effects_of(result, of)}
    parts = {}
    for name, main in mains.items():
        chosen = _sample_of(main, inference=inference_of(main), mask=mask_of(main))
        own = plan_main_effect(chosen, bits=int(main.attrs["scale_bits"]), name=name)
        plan = noisy.plan_fail_safe(
            chosen, own, most=most or noisy.TIMES * len(chosen.key), series=series, name=name, threads=cpu_count()
        )
        null = run_plan(plan, noisy.block, iterations=iterations, client=client)["null"][:, 1:]
        parts[name] = noisy.added(plan, null)
    return noisy.collect(result, parts, of=mains, iterations=iterations)


def noise_experiments(result: xr.Dataset, *, number: int, series: int = 0) -> xr.Dataset:
    """Return the foci Dataset of the first noise experiments of a series that `fail_safe` adds to a main effect.

    Raises
    ------
    InputError
        for a result that is no main effect.
    """
    (main,) = main_effects_of(result, ())
    chosen = _sample_of(main, inference=inference_of(main), mask=mask_of(main))
    return noise_foci(noise_of(chosen, number=number), series=series)


def main_effects_of(result: xr.Dataset, of: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Return the main effects that noise is added to: the result itself, or those of a conjunction.

    Raises
    ------
    InputError
        for a contrast, or when `of` are not the main effects of the conjunction.
    """
    kind, name = result.attrs.get("kind"), result.attrs.get("name")
    if kind == main_effects.KIND:
        return [result]
    if kind != conjunctions.KIND:
        raise InputError(f"'{name}' is a {kind}: fail-safe N is of main effects and conjunctions")
    given = [str(r.attrs["name"]) for r in of]
    if given != list(result.attrs["of"]):
        wanted = ", ".join(result.attrs["of"])
        raise InputError(f"'{name}': of = the main effects {wanted}, in this order; got {', '.join(given) or 'none'}")
    return list(of)
