"""Estimate what a meta-analysis of so many experiments could find, before there are data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.api_main_effect import main_effect
from ale_dask.analyses.base_rate import weight_of
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.sensitivity.power import BESIDE, SIMULATIONS, TARGET, THIRDS, WITHIN_MM, power
from ale_dask.config.study import inference_from
from ale_dask.coordinates.foci import Experiment, build
from ale_dask.coordinates.masks import load_space
from ale_dask.datasets.base_rate.studies import load_base_rate
from ale_dask.errors import InputError
from ale_dask.numerics.base_rate_null import source_of_foci
from ale_dask.numerics.draws import draw_keys, draw_voxels
from ale_dask.numerics.space import Mask
from ale_dask.numerics.weighted_draws import cumulative_words, draw_weighted
from ale_dask.schema import Variable, describe

KIND = "design"
ITERATIONS = 1000
STREAM = "design-foci"
ANYWHERE = "anywhere"
Places = Sequence[tuple[float, float, float]]
_OWN = (
    Variable("power", ("place", "null", "reporting"), "f", "probability", "that the place is found"),
    Variable("power_low", ("place", "null", "reporting"), "f", "probability", "exact 95 % interval, lower end"),
    Variable("power_high", ("place", "null", "reporting"), "f", "probability", "exact 95 % interval, upper end"),
    Variable("needed", ("place", "null"), "i", "experiments", "that must report the place; 0: all are too few"),
    Variable("base_rate", ("place",), "f", "", "foci that the literature reports there, over an even share"),
)


def design(
    *,
    experiments: int = 20,
    foci: int | Sequence[int] = 8,
    n: int | Sequence[int] = 18,
    at: Places = (),
    simulations: int = SIMULATIONS,
    within_mm: float = WITHIN_MM,
    target: float = TARGET,
    **settings: Any,
) -> xr.Dataset:
    """Return what a main effect of so many experiments could find, before there are data.

    Parameters
    ----------
    experiments
        Number of experiments, 2 or more.
    foci, n
        Foci and subjects of each experiment: a number for all, or one for each.
    at
        Places in mm MNI for which power is given by itself, beside places anywhere.
    simulations
        Number of simulations for each place.
    within_mm
        A place is found if a voxel that survives lies within so many mm of it.
    target
        Power to reach, between 0 and 1.
    **settings
        Settings of `[inference]` in study.toml: null, by default "both", iterations, by default 1,000, voxel_p,
        correction, mask, seed and others.

    Returns
    -------
    xr.Dataset
        Power and its exact 95 % interval, power_low to power_high, each (place, null, reporting), if 0, 1 … all
        experiments report the place; needed (place, null), the smallest number from which on the power is at least
        `target`, 0 if there is none; base_rate (place). Attributes needed_least_reported and needed_most_reported are
        `needed` in the thirds of the mask where foci are reported least and most, against the base rate.

    Raises
    ------
    InputError
        For numbers that make no study, a place outside the mask, or settings that cannot be used.

    Notes
    -----
    Foci of a made-up sample are drawn at random, from the base rate where that is asked for. Its nulls give cuts as for
    real foci, which overlap more within an experiment; simulations are those of `power`. Prevalence is the share of
    experiments that report one place. Eickhoff et al. (2016) advise 20 experiments or more for moderate effects.

    Examples
    --------
    >>> made = ale.design(experiments=8, foci=4, mask="ball.nii.gz", null="uniform", iterations=100, simulations=10)
    >>> made["power"].sizes["reporting"]
    9
    """
    if experiments < 2 or simulations < 1:
        raise InputError(f"design: {experiments} experiments, {simulations} simulations; give 2 or more, and 1 or more")
    counts, sizes = (_each(values, experiments, what=w) for values, w in ((foci, "foci"), (n, "n")))
    used = {"null": "both", "iterations": ITERATIONS, **settings, "same_subjects": "keep"}
    inference = inference_from(used)
    mask = load_space(inference)
    weight = None
    if inference.null != "uniform":
        weight = weight_of(mask, load_base_rate(inference, mask=mask).counts)
    made = _made_up(counts, sizes, mask=mask, weight=weight, seed=inference.seed)
    result = main_effect(made, name=KIND, **used)
    parts = [_at(result, place, simulations=simulations, within_mm=within_mm, target=target) for place in (None, *at)]
    names = [ANYWHERE, *(" ".join(f"{v:g}" for v in place) for place in at)]
    found = xr.concat(parts, dim="place", combine_attrs="override").assign_coords(place=names)
    rates = [np.nan, *(np.nan if weight is None else _rate(weight, place, mask=mask) for place in at)]
    attrs = {
        "kind": KIND,
        "experiments": experiments,
        "foci": int(counts.sum()),
        "foci_per_experiment": float(np.median(counts)),
        "subjects": float(np.median(sizes)),
        "iterations": inference.iterations,
        "simulations": simulations,
        "within_mm": float(within_mm),
        "target": float(target),
        "correction": inference.correction,
        "seed": inference.seed,
        "mask": model_of(result).mask.name,
    }
    return describe(found.assign(base_rate=("place", rates)).assign_attrs(attrs), *_OWN)


def _each(values: int | Sequence[int], experiments: int, *, what: str) -> npt.NDArray[np.int64]:
    """Return a whole number of at least 1 for each experiment (experiment)."""
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iu" or numbers.shape not in ((), (experiments,)) or (numbers < 1).any():
        raise InputError(f"design: {what} = {values}; give a whole number from 1, or one for each of {experiments}")
    return np.broadcast_to(numbers, experiments).astype(np.int64)


def _made_up(
    counts: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    *,
    mask: Mask,
    weight: npt.NDArray[np.float64] | None,
    seed: int,
) -> xr.Dataset:
    """Return experiments with foci drawn over the mask, evenly or by a density (voxel)."""
    begin = np.r_[0, np.cumsum(counts)]
    voxel = np.empty(begin[-1], dtype=np.int64)
    keys = draw_keys(np.arange(len(counts), dtype=np.uint64), seed=seed, stream=STREAM)
    source = None if weight is None else source_of_foci(cumulative_words(weight))
    for key, first, last in zip(keys, begin[:-1], begin[1:], strict=True):
        if source is None:
            draw_voxels(key, 0, mask.n_voxels, voxel, first, last)
        else:
            draw_weighted(key, 0, source.cumulative, source.guide, voxel, first, last)
    xyz = mask.to_mm(mask.voxel_ijk[voxel].astype(np.float64))
    return build(
        [
            Experiment(
                f"experiment {i}",
                int(size),
                tuple((float(x), float(y), float(z)) for x, y, z in xyz[first:last]),
                "MNI",
                KIND,
                study=f"experiment {i}",
            )
            for i, (size, first, last) in enumerate(zip(sizes, begin[:-1], begin[1:], strict=True), 1)
        ]
    )


def _at(
    result: xr.Dataset, place: tuple[float, float, float] | None, *, simulations: int, within_mm: float, target: float
) -> xr.Dataset:
    """Return the power of a made-up sample at a place, or anywhere, against each null."""
    curve = power(result, simulations=simulations, within_mm=within_mm, target=target, at=place)
    attrs = curve.attrs
    ends = {"uniform": "", "base-rate": BESIDE} if attrs["power_null"] == "both" else {attrs["power_null"]: ""}
    names = ("power", "power_low", "power_high")
    return xr.Dataset(
        {
            **{v: (("null", "reporting"), np.stack([curve[f"{v}{end}"] for end in ends.values()])) for v in names},
            "needed": ("null", np.array([attrs[f"power_needed{end}"] for end in ends.values()])),
        },
        coords={"null": list(ends), "reporting": curve["reporting"], "prevalence": curve["prevalence"]},
        attrs={name.removeprefix("power_"): attrs[name] for name in THIRDS if name in attrs},
    )


def _rate(weight: npt.NDArray[np.float64], place: tuple[float, float, float], *, mask: Mask) -> float:
    """Return how often foci are reported at a place, as a multiple of an even share."""
    voxel = int(mask.voxel_at(np.array([place], dtype=np.float64))[0])
    return float(weight[voxel] / weight.mean())
