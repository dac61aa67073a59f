"""Make sets of the experiments of one database, plan their tests against both nulls, and estimate the cost."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses import base_rate, base_rate_result, main_effect, main_effect_result
from ale_dask.analyses.findings.atlas import atlas
from ale_dask.analyses.literature import CONTROL, LiteraturePlan, Set, plan_literature
from ale_dask.analyses.sample import study_bits
from ale_dask.config.analysis import MainEffect
from ale_dask.config.foci_source import FociSource
from ale_dask.config.inference import Inference
from ale_dask.config.names import name_from
from ale_dask.config.study import Study, to_toml
from ale_dask.coordinates.foci import Experiment, build, foci_of, n_foci, subset
from ale_dask.coordinates.masks import load_space
from ale_dask.coordinates.pooling import by_subjects
from ale_dask.coordinates.readers.writers import write_table
from ale_dask.datasets.base_rate.studies import load_base_rate
from ale_dask.datasets.fetch import indexed
from ale_dask.errors import InputError
from ale_dask.execution.plan import TASK_SECONDS
from ale_dask.numerics.space import Mask
from ale_dask.workflows.macm import FILE, USUAL_N, read_database
from ale_dask.workflows.new_study import NewStudy

LEAST = 40
"""Experiments that a set needs."""
_ALIKE = 50
_TIMED = 20


def database(what: str | Path) -> tuple[xr.Dataset, tuple[str, ...]]:
    """Return the experiments of a database, in MNI and with a sample size, and notes on what was decided about them.

    `what` is "neurosynth" or "neuroquery", once fetched, or a file of foci.
    """
    foci, notes = read_database(what, space=None, columns=None)
    n = foci["experiment_n_subjects"].values
    if without := int((n <= 0).sum()):
        notes.append(f"{without:,} experiments state no sample size: n = {USUAL_N}")
    names, studies = (foci[f"experiment_{each}"].values.astype(str).tolist() for each in ("id", "study"))
    # Built anew, as from a file of these foci, so that a study of a set draws with the same keys.
    kept = [
        Experiment(name, int(own) or USUAL_N, tuple(map(tuple, xyz.tolist())), "MNI", "", study=study)
        for name, study, own, xyz in zip(names, studies, n, foci_of(foci), strict=True)
        if len(xyz)
    ]
    return build(kept), tuple(notes)


def term_sets(foci: xr.Dataset, database: str, *, least: int = LEAST, above: float = 0.001) -> list[Set]:
    """Return the experiments that each term of a fetched database indexes, for terms with `least` or more.

    Raises
    ------
    InputError
        for a database without terms, and if no term has as many experiments.
    """
    ids, words, weights = indexed(database)
    row = {name: i for i, name in enumerate(ids)}
    studies = foci["experiment_study"].values.astype(str).tolist()
    if missing := [study for study in studies if study not in row]:
        raise InputError(f"database '{database}': its study {missing[0]} has no terms; fetch it again")
    used = (weights.tocsr()[[row[study] for study in studies]] >= above).tocsc()
    number = np.diff(used.indptr)
    sets = [
        Set(words[term], np.sort(used.indices[used.indptr[term] : used.indptr[term + 1]]).astype(np.int64))
        for term in np.flatnonzero(number >= least)
    ]
    if not sets:
        raise InputError(f"database '{database}': no term has {least} experiments or more; the most is {number.max()}")
    return sets


def region_sets(
    foci: xr.Dataset, *, mask: Mask, column: str = "AAL", least: int = LEAST
) -> tuple[list[Set], npt.NDArray[np.int16]]:
    """Return the experiments with a focus in each region of an atlas, and the region of each voxel (voxel).

    A set that a place chose always has a cluster in that place.
    """
    regions = atlas(column)
    label = regions.at(foci["focus_xyz"].values)
    sets = []
    for number, name in sorted(regions.names.items(), key=lambda pair: pair[1]):
        members = np.unique(foci["focus_experiment"].values[label == number]).astype(np.int64)
        if len(members) >= least:
            sets.append(Set(name, members, number))
    if not sets:
        raise InputError(f"no region of {column} has a focus of {least} experiments or more")
    return sets, regions.at(np.asarray(mask.to_mm(mask.voxel_ijk))).astype(np.int16)


def at_most(sets: Sequence[Set], most: int, *, seed: int) -> list[Set]:
    """Return the sets, of which those with more than `most` experiments have so many of them, picked at random."""
    cut = []
    for i, each in enumerate(sets):
        members = each.experiments
        if len(members) > most:
            members = np.sort(np.random.default_rng([seed, i]).choice(members, most, replace=False))
        cut.append(each._replace(experiments=members))
    return cut


def random_sets(sets: Sequence[Set], number: int, *, foci: xr.Dataset, seed: int) -> list[Set]:
    """Return random sets of as many experiments, with about as many foci each, as some of the sets have.

    Each experiment of such a set is replaced by one of the hundred with the most alike numbers of foci.
    """
    size = n_foci(foci)
    # Experiments beside each other in a database may be of one topic: those with equally many foci are shuffled.
    order = np.lexsort((np.random.default_rng([seed, len(sets)]).permutation(len(size)), size))
    rank = np.argsort(order, kind="stable")
    picked: npt.NDArray[np.int64] = np.linspace(0, len(sets) - 1, number).round().astype(np.int64)
    found = []
    for i, at in enumerate(picked):
        rng, taken = np.random.default_rng([seed, len(sets), i]), np.zeros(len(size), dtype=bool)
        for place_of in rank[sets[at].experiments].tolist():
            near = order[max(0, place_of - _ALIKE) : place_of + _ALIKE]
            # A set of nearly all experiments leaves few.
            free = near[~taken[near]] if not taken[near].all() else np.flatnonzero(~taken)
            taken[rng.choice(free)] = True
        found.append(Set(f"{CONTROL}{i + 1:0{len(str(number))}}", np.flatnonzero(taken)))
    return found


def prepare_literature(
    foci: xr.Dataset, sets: Sequence[Set], *, inference: Inference, label: npt.NDArray[np.int16] | None = None
) -> LiteraturePlan:
    """Return the plan of the main effects of sets of experiments of a database.

    Raises
    ------
    InputError
        for settings under which clusters cannot be told from one null to the other.
    """
    if inference.null != "both" or inference.correction != "cluster-size" or inference.base_rate_draw != "foci":
        raise InputError("sets are tested by cluster size against both nulls, by draws of foci: leave these settings")
    mask = load_space(inference)
    drawn = load_base_rate(inference, mask=mask)
    return plan_literature(foci, sets, mask=mask, inference=inference, drawn=drawn, label=label)


def independent(foci: xr.Dataset, inference: Inference) -> xr.Dataset:
    """Return the experiments of a database, pooled by subjects as the settings say."""
    return by_subjects(foci, inference.same_subjects, name="database")


@dataclass(frozen=True)
class LiteratureCost:
    """What the sets cost on a core like this one: seconds (set) at the fewest and at the most iterations, and bytes."""

    fewest: npt.NDArray[np.float64]
    most: npt.NDArray[np.float64]
    row_bytes: int
    plan_bytes: int

    def makespan(self, workers: int) -> float:
        """Return the seconds until so many workers have computed all sets, each the next in order, at the most."""
        free = [0.0] * workers
        for seconds in self.most.tolist():
            heapq.heapreplace(free, free[0] + max(seconds, workers * TASK_SECONDS))
        return max(free)

    def scheduler_share(self, workers: int) -> float:
        """Return the share of its time in which the scheduler is busy while all workers that have a set compute."""
        return min(workers, len(self.most)) * TASK_SECONDS / float(self.most.mean())


def cost_of(plan: LiteraturePlan, *, timed: int = 3) -> LiteratureCost:
    """Return the cost of all sets from the time of a few, from the one with the fewest foci to that with the most."""
    size = n_foci(plan.foci)
    foci = np.array([int(size[plan.members(i)].sum()) for i in range(len(plan.names))])
    order = np.argsort(foci, kind="stable")
    chosen = np.unique(order[np.linspace(0, len(order) - 1, timed).round().astype(int)])
    chosen = chosen[np.argsort(foci[chosen], kind="stable")]
    # Compiling is no part of the cost.
    _seconds_of(plan, int(chosen[0]))
    fixed, each = np.array([_seconds_of(plan, int(i)) for i in chosen]).T
    at = foci[chosen]
    inference = plan.inference
    planned, iteration = (np.interp(foci, at, values) for values in (fixed, each))
    few, many = inference.iterations, inference.until_decided or inference.iterations
    return LiteratureCost(
        planned + few * iteration,
        planned + many * iteration,
        8 * (1 + len(plan.statistics)),
        sum(array.nbytes for array in plan.arrays.values()),
    )


def _seconds_of(plan: LiteraturePlan, number: int) -> tuple[float, float]:
    """Return the seconds of a set without its iterations, and those of an iteration of both nulls."""
    started = time.process_time()
    chosen = plan.sample(number)
    main = main_effect.plan_main_effect(chosen, bits=study_bits([chosen]), name="timed")
    beside = base_rate.plan_base_rate(chosen, main=main, name="timed_base-rate", base_rate=plan.base_rate)
    nulls = [each.block(of, 0, 2)["null"] for each, of in ((main_effect, main), (base_rate, beside))]
    nothing = np.zeros(plan.mask.n_voxels)
    uniform = main_effect_result.collect(chosen, main, nulls[0], ale=nothing)
    base_rate_result.with_base_rate(uniform, chosen, beside, nulls[1])
    fixed = time.process_time() - started
    main_effect.block(main, 0, _TIMED)
    base_rate.block(beside, 0, _TIMED)
    # CPU time: a busy machine does not make the cost larger.
    return fixed, (time.process_time() - started - fixed) / _TIMED


def study_of(foci: xr.Dataset, chosen: Set, inference: Inference) -> NewStudy:
    """Return a study of one set, which `ale-dask run` or `submit` computes with the same nulls."""
    name = name_from(chosen.name, otherwise="set")
    keep = np.zeros(foci.sizes["experiment"], dtype=bool)
    keep[chosen.experiments] = True
    source = FociSource.model_validate({"files": FILE})
    main = MainEffect.model_validate({"kind": "main-effect", "foci": name})
    study = Study(title=chosen.name, foci={name: source}, analysis={name: main}, inference=inference)
    files = {"study.toml": to_toml(study).encode(), FILE: write_table(subset(foci, keep)).encode()}
    return NewStudy(files, {name: len(chosen.experiments)}, ())


def hours(seconds: float) -> str:
    """Return a time of computing in words."""
    return f"{seconds / 3600:,.1f} CPU hours" if seconds >= 3600 else f"{math.ceil(seconds / 60):,} CPU minutes"
