"""Which clusters survive leaving experiments out: the whole study again without each of them, from shared passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses.base_rate import base_rate_name, nulls_of
from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.execute import run_plan
from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect import plan_main_effect
from ale_dask.analyses.sample import Sample, sample, study_bits
from ale_dask.analyses.sensitivity import contrast_jackknife
from ale_dask.analyses.sensitivity.jackknife import (
    AGAINST,
    ContrastFamily,
    Family,
    Kept,
    LeftOut,
    Nulls,
    contrast_family,
    family,
    overlap,
    retained,
    sets_of,
)
from ale_dask.config.study import INPUTS
from ale_dask.coordinates import foci as foci_data
from ale_dask.errors import InputError
from ale_dask.execution.plan import Plan
from ale_dask.reporting.tables.clusters import base_rate_clusters
from ale_dask.reporting.tables.contributions import surviving_clusters
from ale_dask.schema import FOCI, OPTIONAL, describe

if TYPE_CHECKING:
    from distributed import Client

Read = Callable[[str], tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]]
"""Name of a plan -> its null (iteration, statistic), and of a contrast the counts (set, 2 x candidate)."""


_NUMBERS = ("cluster_number", "cluster_voxels")


@dataclass(frozen=True, eq=False)
class Work:
    """The results whose experiments are left out, the sets of each, and the passes that serve them."""

    results: Mapping[str, xr.Dataset]
    sets: Mapping[str, Sequence[LeftOut]]
    families: Mapping[str, Family]
    contrasts: Mapping[str, ContrastFamily]
    by: str
    plans: dict[str, tuple[Plan, int, int | None]] = field(default_factory=dict)
    """By name: plan, iterations, and the block size where it is not free."""


@dataclass(frozen=True, eq=False)
class Arms:
    """What a contrast relabels: its arms without what they share, and the pooled experiments with their plan."""

    disjoint: tuple[Sample, Sample]
    pooled: tuple[Sample, Plan]


def work(
    results: Mapping[str, xr.Dataset],
    *,
    samples: Mapping[str, tuple[Sample, Plan]],
    arms: Mapping[str, Arms],
    by: str = "group",
    k: int = 1,
) -> Work:
    """Return the plans that leaving experiments out of every analysis takes.

    `samples` holds each main effect's experiments and plan by name, `arms` each contrast's. `say` is told how long
    planning takes where that is more than a moment.

    Raises
    ------
    InputError
        for a column that is not there, a correction by TFCE, or too many sets.
    """
    mine = {
        name: result for name, result in results.items() if name in samples or model_of(result).kind != "main-effect"
    }
    sets: dict[str, list[LeftOut]] = {}
    wanted: dict[str, list[LeftOut]] = {}
    for name, result in mine.items():
        parts = model_of(result).parts
        if lacking := [p for p in parts if p not in samples]:
            raise InputError(f"'{name}' needs the main effect '{lacking[0]}'; give it too")
        chosen = arms[name].disjoint if name in arms else [samples[p][0] for p in parts]
        sets[name] = sets_of(chosen, by=by, k=k)
        for part in parts:
            wanted.setdefault(part, []).extend(sets[name])
    families = {name: family(*samples[name], left_out=s, name=name) for name, s in wanted.items()}
    made = Work(mine, sets, families, {}, by if k == 1 else f"{by} x {k}")
    iterations = {name: len(results[name]["null"]) if name in results else 0 for name in families}
    found: dict[str, ContrastFamily] = {}
    for name, arm in arms.items():
        one, two = model_of(results[name]).parts
        pooled = None
        if model_of(results[name]).inference.gate == "pooled":
            pooled = family(*_gating(arm), left_out=sets[name], name=pooled_name(name))
            made.plans.update(_passes(pooled_name(name), pooled, iterations[one]))
        found[name] = contrast_family(
            (families[one], families[two]),
            arm.disjoint,
            pooled=pooled,
            whole=arm.pooled[1],
            left_out=sets[name],
            bits=int(arm.pooled[1].settings["bits"]),
            name=name,
        )
        # A block is one set with all its relabellings.
        made.plans[name] = (found[name].plan, len(sets[name]), 1)
    for name, one_family in families.items():
        made.plans.update(_passes(name, one_family, iterations[name]))
    return Work(mine, sets, families, found, made.by, made.plans)


def _gating(arm: Arms) -> tuple[Sample, Plan]:
    """Return the pooled experiments with their plan, under the null that decides where the contrast is looked at."""
    pooled, plan = arm.pooled
    null = "uniform" if pooled.inference.null == "both" else pooled.inference.null
    return Sample(pooled.foci, pooled.mask, pooled.inference.model_copy(update={"null": null})), plan


def _passes(name: str, one: Family, iterations: int) -> dict[str, tuple[Plan, int, int | None]]:
    """Return the passes of a family by the names they are kept under."""
    found: dict[str, tuple[Plan, int, int | None]] = {}
    if one.plan is not None:
        found[name] = (one.plan, iterations, None)
    return found | {_pass_name(name, i): (plan, iterations, None) for i, plan in enumerate(one.against)}


def _pass_name(name: str, number: int) -> str:
    return base_rate_name(name) + (f"-{number + 1}" if number else "")


def surviving(made: Work, read: Read) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield each analysis's name and its survival: `retained` (cluster, left_out), and which clusters these are."""
    pooled = {id(c.pooled): pooled_name(name) for name, c in made.contrasts.items() if c.pooled is not None}
    names = {id(one): name for name, one in made.families.items()} | pooled

    @cache
    def null_of(one: Family) -> Nulls:
        name = names[id(one)]
        uniform = None if one.plan is None else read(name)[0]
        return Nulls(uniform, [read(_pass_name(name, i))[0] for i in range(len(one.against))])

    for name, result in made.results.items():
        if name in made.contrasts:
            without = partial(_contrast_without, made.contrasts[name], null_of, read(name))
        else:
            members = [made.families[part] for part in model_of(result).parts]
            without = partial(_main_effects_without, members, null_of, made.sets[name])
        yield name, _survival(result, made.sets[name], without, by=made.by)


def _main_effects_without(
    members: Sequence[Family],
    null_of: Callable[[Family], Nulls],
    sets: Sequence[LeftOut],
    number: int,
) -> Kept:
    kept = [m.kept(null_of(m), sets[number]) for m in members]
    return kept[0] if len(kept) == 1 else overlap(kept, sample=members[0].sample)


def _contrast_without(
    contrast: ContrastFamily,
    null_of: Callable[[Family], Nulls],
    counts: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None],
    number: int,
) -> Kept:
    relabelled, exceed = counts
    assert exceed is not None
    return contrast.kept(null_of, relabelled[:, 0], exceed.reshape(len(exceed), 2, -1), number)


def _survival(result: xr.Dataset, sets: Sequence[LeftOut], without: Callable[[int], Kept], *, by: str) -> xr.Dataset:
    found: dict[str, list[Cluster]] = {source: surviving_clusters(result, source) for source in INPUTS}
    if nulls_of(result) == ("uniform", "base-rate"):
        found[AGAINST] = base_rate_clusters(result)
    n = sum(map(len, found.values()))
    fraction = np.zeros((n, len(sets)))
    contrast = model_of(result).kind == "contrast"
    for i in range(len(sets)):
        kept = without(i)
        at = 0
        for source, clusters in found.items():
            for cluster in clusters:
                alive = kept[source][0 if cluster.sign > 0 else 1] if contrast else kept[source]
                fraction[at, i] = retained([cluster.voxels], alive)[0]
                at += 1
    every = [(source, cluster) for source, clusters in found.items() for cluster in clusters]
    sides = model_of(result).directions if model_of(result).kind != "main-effect" else [""]
    columns: dict[str, list[Any]] = {
        "cluster_input": [source for source, _ in every],
        "cluster_number": [cluster.number for _, cluster in every],
        "cluster_direction": [sides[0 if c.sign > 0 else -1] for _, c in every],
        "cluster_voxels": [len(c.voxels) for _, c in every],
    }
    dataset = xr.Dataset(
        {
            "retained": (("cluster", "left_out"), fraction),
            **{
                name: (
                    "cluster",
                    np.array(values, dtype=object if isinstance(values[:1], list) and name != "" else None),
                )
                for name, values in columns.items()
            },
            "cluster_xyz": (("cluster", "axis"), np.array([c.peak_mm for _, c in every]).reshape(-1, 3)),
        },
        coords={"left_out": np.array([s.label for s in sets], dtype=object)},
        attrs={
            "name": result.attrs["name"],
            "kind": "survival",
            "of": model_of(result).kind,
            "by": by,
            "inference": result.attrs["inference"],
            "voxel_volume": float(model_of(result).mask.voxel_volume),
        },
    )
    return describe(dataset)


def survival(
    results: Sequence[xr.Dataset], *, by: str = "group", k: int = 1, client: Client | None = None
) -> dict[str, xr.Dataset]:
    """Return the fraction of each cluster that is still found without each set of experiments.

    Every analysis is done again without each set, with an analytic null, cluster-forming value and Monte-Carlo cut of
    its own; one pass over the draws serves all sets. Contrasts and conjunctions need their main effects among the
    results.

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
        For each result by its name a Dataset with retained (cluster, left_out) in [0, 1], 0 where no significant
        cluster overlaps. Against the base rate it is at the input "cluster-fwe" where that null decides alone, and at
        the input "base-rate" where both nulls do.

    Raises
    ------
    InputError
        For a column that is not there, a correction by TFCE, too many sets, or a main effect that is lacking.

    Examples
    --------
    >>> foci = ale.read_foci("drug.txt")
    >>> result = ale.main_effect(foci, name="drug", mask="ball.nii.gz", null="uniform", iterations=100, seed=1)
    >>> list(ale.survival([result], by="experiment"))
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
    made = work(named, samples=samples, arms=arms, by=by, k=k)

    @cache
    def read(name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
        plan, iterations, size = made.plans[name]
        arrays = run_plan(plan, iterations=iterations, client=client, size=size)
        exceed = arrays.get(contrast_jackknife.EXCEED)
        return arrays["null"][:, 1:], None if exceed is None else exceed[:, 1:]

    return dict(surviving(made, read))


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
    one, two, both = (sample(f, mask=mask, inference=inference, name=name) for f in (a, b, foci_data.concat([a, b])))
    plan = plan_main_effect(both, bits=study_bits([both]), name=name)
    return Arms((one, two), (both, plan))
