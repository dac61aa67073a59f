"""Simulate which places a main effect finds against each of its nulls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.base_rate import BaseRatePlan, base_rate_name, plan_base_rate
from ale_dask.analyses.corrections import CORRECTION_OF
from ale_dask.analyses.sample import Sample
from ale_dask.errors import InputError
from ale_dask.execution.plan import Plan, of_type
from ale_dask.numerics.base_rate_tfce import base_rate_tfce_map
from ale_dask.numerics.correct import UNREACHABLE
from ale_dask.numerics.density_levels import least_sums, z_map
from ale_dask.numerics.power import Work, detections, draw, kernels_of, offsets_within, space_of, trial_of, uniform_rule
from ale_dask.numerics.power_base_rate import base_rate_detections, draw_from, local_rule, place_voxels
from ale_dask.numerics.power_tfce import tfce_detections
from ale_dask.numerics.space import Mask

Bools = npt.NDArray[np.bool_]
Place = tuple[float, float, float] | None
"""The place of all simulations in mm; None where each draws its own."""


class Found(NamedTuple):
    """Whether the place of a simulation is found (simulation, 1 + experiment), and its third of the mask (simulation).

    The thirds are 0, 1, 2 from the lowest to the highest base rate; None for the uniform null.
    """

    found: Bools
    third: npt.NDArray[np.int64] | None


def _tables(chosen: Sample, *, bits: int, within_mm: float, threads: int, at: Place) -> dict[str, Any]:
    mask = chosen.mask
    distinct, kernel = chosen.kernels
    space = space_of(mask.voxel_ijk, near=offsets_within(within_mm, affine=mask.affine), searched=mask.search)
    if at is not None:
        # The draw of a place among one is that place.
        space = space._replace(target=_voxel_of(at, mask=mask))
    return {
        "kernels": kernels_of(chosen.boxes(bits), sigma=distinct),
        "space": space,
        "trial": trial_of(
            np.r_[0, np.cumsum(chosen.n_foci)].astype(np.int64),
            kernel=kernel,
            experiment_key=chosen.key,
            seed=chosen.inference.seed,
            additive=chosen.additive,
        ),
        "threads": threads,
    }


def _voxel_of(at: tuple[float, float, float], *, mask: Mask) -> npt.NDArray[np.int64]:
    """Return the voxel (1) of a place in mm.

    Raises
    ------
    InputError
        when no cluster could be found there.
    """
    voxel = mask.voxel_at(np.array([at], dtype=np.float64))
    if voxel[0] < 0 or not mask.searched[voxel[0]]:
        raise InputError(f"place {' '.join(f'{v:g}' for v in at)}: outside the mask or the region of inference")
    return voxel


def _main_plan(chosen: Sample, result: xr.Dataset, plans: Mapping[str, Plan]) -> main_effects.MainEffectPlan:
    """Return the plan of a result that is a main effect: the one among `plans`, else a new one."""
    name = str(result.attrs["name"])
    if name in plans:
        return of_type(main_effects.MainEffectPlan, plans[name])
    return main_effects.plan_main_effect(chosen, bits=int(result.attrs["scale_bits"]), name=name)


def uniform_found(
    chosen: Sample,
    result: xr.Dataset,
    plans: Mapping[str, Plan],
    *,
    simulations: int,
    within_mm: float,
    threads: int,
    at: Place = None,
) -> Found:
    """Return in which simulations the uniform null finds a place that 0, 1, 2 … experiments report."""
    inference = chosen.inference
    correction = CORRECTION_OF[inference.correction]
    cut, bits = int(result.attrs[correction.uniform.cut]), int(result.attrs["scale_bits"])
    if cut >= UNREACHABLE:
        return Found(np.zeros((simulations, 1 + len(chosen.key)), dtype=bool), None)
    tables = _tables(chosen, bits=bits, within_mm=within_mm, threads=threads, at=at)
    if correction.only_if_asked:
        plan = _main_plan(chosen, result, plans)
        trial, kernels, space = (tables[name] for name in ("trial", "kernels", "space"))
        inside = np.flatnonzero(space.inside)

        def survives(s: npt.NDArray[np.int32]) -> Bools:
            sums = np.zeros(chosen.mask.n_voxels, dtype=np.int64)
            sums[space.target] = s[inside]
            seen = main_effects.observe(plan, inference, s=sums)
            return correction.survives(seen, correction.measure(seen), cut)

        def place(simulation: int, work: Work) -> int:
            return int(draw(simulation, trial, kernels, space, work))

        return Found(tfce_detections(simulations, draw=place, survives=survives, **tables), None)
    # With voxel correction a single voxel that reaches the cut is enough.
    threshold, cut = (cut, 1) if correction.of_single_voxels else (int(result.attrs["threshold"]), cut)
    edges = inference.connectivity == 18
    rule = uniform_rule(threshold, cut=cut, by_mass=correction.by_mass, edges=edges, space=tables["space"])
    return Found(detections(simulations, rule=rule, **tables), None)


def base_rate_found(
    chosen: Sample,
    result: xr.Dataset,
    plans: Mapping[str, Plan],
    *,
    simulations: int,
    within_mm: float,
    threads: int,
    at: Place = None,
) -> Found:
    """Return in which simulations the base-rate null finds a place that 0, 1, 2 … experiments report.

    Raises
    ------
    InputError
        when the base rate cannot be read, or is another one than that of the result.
    """
    inference, bits, name = chosen.inference, int(result.attrs["scale_bits"]), str(result.attrs["name"])
    made = plans.get(base_rate_name(name))
    plan = (
        plan_base_rate(chosen, main=_main_plan(chosen, result, plans), name=name)
        if made is None
        else of_type(BaseRatePlan, made)
    )
    if plan.base_rate_sha256 != result.attrs["base_rate_sha256"]:
        raise InputError(f"base_rate '{inference.base_rate}': not the one that '{name}' was computed with")
    tables = _tables(chosen, bits=bits, within_mm=within_mm, threads=threads, at=at)
    space, trial = tables["space"], tables["trial"]
    # The position of a voxel between the levels of the table rises with the number of foci reported around it.
    position = plan.table.position
    third = np.searchsorted(np.quantile(position[space.target], [1 / 3, 2 / 3]), position, side="right")
    of_place = third[place_voxels(simulations, trial=trial, space=space)] if at is None else None
    correction = CORRECTION_OF[inference.correction]
    cut = int(result.attrs[correction.base_rate.cut])
    if cut >= UNREACHABLE:
        return Found(np.zeros((simulations, 1 + len(chosen.key)), dtype=bool), of_place)
    table, words, threshold = plan.table, plan.source, plan.threshold
    if correction.enhanced:
        return Found(_enhanced(chosen, plan, simulations=simulations, cut=cut, tables=tables), of_place)
    if correction.of_single_voxels:
        # With voxel correction a single voxel is enough.
        threshold, cut = np.maximum(threshold, least_sums(table, least=cut)), 1
    by_mass, edges = correction.by_mass, inference.connectivity == 18
    rule = local_rule(threshold, table, least_z=plan.least_z, cut=cut, by_mass=by_mass, edges=edges, space=space)
    return Found(base_rate_detections(simulations, rule=rule, source=words, **tables), of_place)


def _enhanced(chosen: Sample, plan: BaseRatePlan, *, simulations: int, cut: int, tables: dict[str, Any]) -> Bools:
    """Return whether TFCE finds the place against the base rate (simulation, 1 + experiment)."""
    mask, table, words = chosen.mask, plan.table, plan.source
    trial, kernels, space = (tables[name] for name in ("trial", "kernels", "space"))
    cells, shift = np.flatnonzero(space.number >= 0), plan.tfce_shift

    def survives(s: npt.NDArray[np.int32]) -> Bools:
        units = z_map(s[cells].astype(np.int64), table)
        return base_rate_tfce_map(units, shift=shift, volume=mask.volume, searched=mask.searched) >= cut

    def place(simulation: int, work: Work) -> int:
        return int(draw_from(simulation, words, trial, kernels, space, work))

    return tfce_detections(simulations, draw=place, survives=survives, **tables)
