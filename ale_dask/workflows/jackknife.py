"""Repeat every analysis without sets of experiments, and measure how much of each cluster remains significant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses.base_rate_result import nulls_of
from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.execute import run_plan
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import SIMULATED, model_of
from ale_dask.analyses.main_effect import MainEffectPlan, plan_main_effect
from ale_dask.analyses.sample import Sample, sample, study_bits
from ale_dask.analyses.sensitivity import contrast_jackknife
from ale_dask.analyses.sensitivity.base_rate_variants import pass_name
from ale_dask.analyses.sensitivity.jackknife import (
    AGAINST,
    REPEATED,
    ContrastFamily,
    Family,
    LeftOut,
    Nulls,
    Significant,
    conjunction_of,
    contrast_family,
    family,
    overlap_fractions,
    sets_of,
)
from ale_dask.config.analysis import INPUTS
from ale_dask.coordinates import foci as foci_data
from ale_dask.errors import InputError
from ale_dask.execution.plan import Plan
from ale_dask.reporting.tables.clusters import base_rate_clusters
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.schema import FOCI, OPTIONAL, describe

if TYPE_CHECKING:
    from distributed import Client

PassArrays = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]
"""The null (iteration, statistic) of a pass, and for a contrast the exceedance counts (set, 2 x candidate)."""
ReadPass = Callable[[str], PassArrays]
"""Function that returns the arrays of the pass with a name."""


@dataclass(frozen=True)
class Pass:
    """A plan, the number of iterations to run it for, and the iterations per block where only one number will do."""

    plan: Plan
    iterations: int
    block_size: int | None = None


@dataclass(frozen=True, eq=False)
class JackknifePlan:
    """The computations of a jackknife: results, sets of experiments to leave out, and passes over the draws.

    Each mapping is by name of an analysis, `passes` by the name that the pass is stored under.
    """

    results: Mapping[str, xr.Dataset]
    sets: Mapping[str, Sequence[LeftOut]]
    families: Mapping[str, Family]
    contrasts: Mapping[str, ContrastFamily]
    by: str
    passes: Mapping[str, Pass]


@dataclass(frozen=True, eq=False)
class Arms:
    """The samples of a contrast: two arms without the experiments they share, and both pooled, with the pooled plan."""

    disjoint: tuple[Sample, Sample]
    pooled: tuple[Sample, MainEffectPlan]


def plan_jackknife(
    results: Mapping[str, xr.Dataset],
    *,
    samples: Mapping[str, tuple[Sample, MainEffectPlan]],
    arms: Mapping[str, Arms],
    by: str = "group",
    k: int = 1,
) -> JackknifePlan:
    """Return the passes needed to repeat every analysis without each set of experiments.

    `samples` holds the experiments and the plan of each main effect by name, `arms` the samples of each contrast.

    Raises
    ------
    InputError
        for an unknown column, a correction by TFCE, too many sets, a missing main effect, or another kind of result.
    """
    analyses = {
        name: result for name, result in results.items() if name in samples or model_of(result).kind != "main-effect"
    }
    if other := [name for name, result in analyses.items() if model_of(result).kind not in REPEATED]:
        raise InputError(f"'{other[0]}' is no main effect, contrast or conjunction: nothing can be left out of it")
    sets: dict[str, list[LeftOut]] = {}
    sets_of_main: dict[str, list[LeftOut]] = {}
    for name, result in analyses.items():
        parts = model_of(result).parts
        if missing := [part for part in parts if part not in samples]:
            raise InputError(f"'{name}' needs the main effect '{missing[0]}'; give it too")
        chosen = arms[name].disjoint if name in arms else [samples[part][0] for part in parts]
        sets[name] = sets_of(chosen, by=by, k=k)
        for part in parts:
            sets_of_main.setdefault(part, []).extend(sets[name])
    families = {name: family(*samples[name], left_out=s, name=name) for name, s in sets_of_main.items()}
    iterations = {name: len(results[name]["null"]) if name in results else 0 for name in families}
    contrast_families: dict[str, ContrastFamily] = {}
    passes: dict[str, Pass] = {}
    for name, arm in arms.items():
        contrast = _contrast_family(name, results[name], arm, families, sets[name])
        contrast_families[name] = contrast
        if contrast.pooled is not None:
            passes |= _passes(pooled_name(name), contrast.pooled, iterations[model_of(results[name]).parts[0]])
        # A block is one set with all its relabellings.
        passes[name] = Pass(contrast.plan, len(sets[name]), block_size=1)
    for name, main in families.items():
        passes |= _passes(name, main, iterations[name])
    return JackknifePlan(analyses, sets, families, contrast_families, by if k == 1 else f"{by} x {k}", passes)


def _contrast_family(
    name: str, result: xr.Dataset, arm: Arms, families: Mapping[str, Family], sets: Sequence[LeftOut]
) -> ContrastFamily:
    """Return a contrast with its sets; the pooled main effect without each set is added where it is the gate."""
    a, b = model_of(result).parts
    gated = model_of(result).inference.gate == "pooled"
    return contrast_family(
        (families[a], families[b]),
        arm.disjoint,
        pooled=family(*_gating(arm), left_out=sets, name=pooled_name(name)) if gated else None,
        whole=arm.pooled[1],
        left_out=sets,
        inside=result["inside"].values if "inside" in result else None,
        name=name,
    )


def _gating(arm: Arms) -> tuple[Sample, MainEffectPlan]:
    """Return the pooled sample and its plan, with the null that decides in which voxels the contrast is tested."""
    pooled, plan = arm.pooled
    null = "uniform" if pooled.inference.null == "both" else pooled.inference.null
    return Sample(pooled.foci, pooled.mask, pooled.inference.model_copy(update={"null": null})), plan


def _passes(name: str, main: Family, iterations: int) -> dict[str, Pass]:
    """Return the passes over the uniform and base-rate nulls of a main effect, by the name they are stored under."""
    uniform = {} if main.plan is None else {name: Pass(main.plan, iterations)}
    return uniform | {pass_name(name, i): Pass(plan, iterations) for i, plan in enumerate(main.base_rate_passes)}


def overlaps_of(planned: JackknifePlan, read: ReadPass) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the name of each analysis and a Dataset with the overlap fraction of its clusters without each set.

    The Dataset has `overlap_fraction` (cluster, left_out) and, for each row, the cluster.
    """
    pooled = {id(c.pooled): pooled_name(name) for name, c in planned.contrasts.items() if c.pooled is not None}
    names = {id(main): name for name, main in planned.families.items()} | pooled

    @cache
    def nulls_of_family(main: Family) -> Nulls:
        name = names[id(main)]
        uniform = None if main.plan is None else read(name)[0]
        return Nulls(uniform, [read(pass_name(name, i))[0] for i in range(len(main.base_rate_passes))])

    for name, result in planned.results.items():
        if name in planned.contrasts:
            surviving = partial(_contrast_without, planned.contrasts[name], nulls_of_family, read(name))
        else:
            members = [planned.families[part] for part in model_of(result).parts]
            inside = result["inside"].values if "inside" in result else np.ones(result.sizes["voxel"], dtype=bool)
            surviving = partial(_main_effects_without, members, nulls_of_family, planned.sets[name], inside)
        yield name, _overlap(result, planned.sets[name], surviving, by=planned.by)


def _main_effects_without(
    members: Sequence[Family],
    nulls_of_family: Callable[[Family], Nulls],
    sets: Sequence[LeftOut],
    inside: npt.NDArray[np.bool_],
    number: int,
) -> Significant:
    significant = [m.significant(nulls_of_family(m), sets[number]) for m in members]
    if len(significant) == 1:
        return significant[0]
    return conjunction_of(significant, sample=members[0].sample, inside=inside)


def _contrast_without(
    contrast: ContrastFamily, nulls_of_family: Callable[[Family], Nulls], counts: PassArrays, number: int
) -> Significant:
    relabelled, exceed = counts
    assert exceed is not None
    return contrast.significant(nulls_of_family, relabelled[:, 0], exceed.reshape(len(exceed), 2, -1), number)


def _overlap(
    result: xr.Dataset, sets: Sequence[LeftOut], surviving: Callable[[int], Significant], *, by: str
) -> xr.Dataset:
    """Return the fraction of each cluster (cluster, left_out) that `surviving` reports for the number of a set."""
    of_input: dict[str, list[Cluster]] = {source: surviving_clusters(result, source) for source in INPUTS}
    if nulls_of(result) == ("uniform", "base-rate"):
        of_input[AGAINST] = base_rate_clusters(result)
    clusters = [(source, cluster) for source, listed in of_input.items() for cluster in listed]
    fraction = np.zeros((len(clusters), len(sets)))
    contrast = model_of(result).kind == "contrast"
    for i in range(len(sets)):
        significant = surviving(i)
        for c, (source, cluster) in enumerate(clusters):
            voxels = significant[source][0 if cluster.sign > 0 else 1] if contrast else significant[source]
            fraction[c, i] = overlap_fractions([cluster.voxels], voxels)[0]
    sides = model_of(result).directions if model_of(result).kind != "main-effect" else [""]
    direction = [sides[0 if cluster.sign > 0 else -1] for _, cluster in clusters]
    dataset = xr.Dataset(
        {
            "overlap_fraction": (("cluster", "left_out"), fraction),
            "cluster_input": ("cluster", np.array([source for source, _ in clusters], dtype=object)),
            "cluster_number": ("cluster", np.array([cluster.number for _, cluster in clusters], dtype=np.int64)),
            "cluster_direction": ("cluster", np.array(direction, dtype=object)),
            "cluster_voxels": ("cluster", np.array([len(cluster.voxels) for _, cluster in clusters], dtype=np.int64)),
            "cluster_xyz": (("cluster", "axis"), np.array([c.peak_mm for _, c in clusters]).reshape(-1, 3)),
        },
        coords={"left_out": np.array([s.label for s in sets], dtype=object)},
        attrs={
            "name": result.attrs["name"],
            "kind": "jackknife",
            "of": model_of(result).kind,
            "by": by,
            "inference": result.attrs["inference"],
            "voxel_volume": float(model_of(result).mask.voxel_volume),
            **({SIMULATED: 1} if model_of(result).simulated else {}),
        },
    )
    return describe(dataset)


def jackknife(
    results: Sequence[xr.Dataset], *, by: str = "group", k: int = 1, client: Client | None = None
) -> dict[str, xr.Dataset]:
    """Return the fraction of each cluster that remains significant without each set of experiments.

    Every analysis is repeated without each set, with its own analytic null, cluster-forming value and Monte-Carlo cut;
    one pass over the draws serves all sets. Contrasts and conjunctions need their main effects among the results.

    Parameters
    ----------
    results
        Results of `main_effect`, `contrast` and `conjunction`.
    by
        Sets of experiments: "group" of subjects, "experiment", "study", or a column whose values make sets.
    k
        Number of sets left out together.
    client
        Dask client for the iterations, as for `main_effect`.

    Returns
    -------
    dict
        For each result by its name a Dataset with overlap_fraction (cluster, left_out) in [0, 1], 0 where no
        significant cluster overlaps. Clusters that survive against the base rate have the input "cluster-fwe" where
        that null decides alone, and the input "base-rate" where the uniform null is tested as well.

    Raises
    ------
    InputError
        For an unknown column, a correction by TFCE, too many sets, or a missing main effect.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, name="drug", mask="ball.nii.gz", null="uniform", iterations=100, seed=1)
    >>> list(ale.jackknife([result], by="experiment"))
    ['drug']
    """
    named = {str(r.attrs["name"]): r for r in results}
    samples, arms = {}, {}
    for name, result in named.items():
        if model_of(result).kind == "main-effect":
            chosen = _sample(result)
            bits = int(result.attrs["scale_bits"])
            samples[name] = (chosen, plan_main_effect(chosen, bits=bits, name=name))
    for name, result in named.items():
        if model_of(result).kind == "contrast":
            arms[name] = _arms(result, [named[part] for part in model_of(result).parts if part in named])
    planned = plan_jackknife(named, samples=samples, arms=arms, by=by, k=k)

    @cache
    def read(name: str) -> PassArrays:
        wanted = planned.passes[name]
        arrays = run_plan(wanted.plan, iterations=wanted.iterations, client=client, size=wanted.block_size)
        exceed = arrays.get(contrast_jackknife.EXCEED)
        return arrays["null"][:, 1:], None if exceed is None else exceed[:, 1:]

    return dict(overlaps_of(planned, read))


def _sample(result: xr.Dataset) -> Sample:
    columns = [v for v in result.data_vars if v in (*FOCI, *OPTIONAL) or str(v).startswith("moderator_")]
    return sample(
        result[columns], mask=model_of(result).mask, inference=model_of(result).inference, name=result.attrs["name"]
    )


def _arms(result: xr.Dataset, parts: Sequence[xr.Dataset]) -> Arms:
    name, inference = str(result.attrs["name"]), model_of(result).inference
    if len(parts) < 2:
        raise InputError(f"'{name}' needs the main effects {' and '.join(model_of(result).parts)}; give them too")
    a, b = (_sample(part).foci for part in parts)
    a, b = contrasts.disjoint_arms(a, b, shared=inference.shared, name=name)
    mask = model_of(result).mask
    foci = (a, b, foci_data.concat([a, b]))
    first, second, pooled = (sample(f, mask=mask, inference=inference, name=name) for f in foci)
    plan = plan_main_effect(pooled, bits=study_bits([pooled]), name=name)
    return Arms((first, second), (pooled, plan))
