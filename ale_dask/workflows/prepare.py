"""Read and check a study, make its plans, and estimate what they cost."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, cast

import xarray as xr

from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses.base_rate import base_rate_name, wants_base_rate
from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.contrast_clusters import clusters_name
from ale_dask.analyses.execute import seconds_per_iteration
from ale_dask.analyses.inside import Inside, of_image
from ale_dask.analyses.kinds import ANALYSES, counts_of, iterations_of, plans_of
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of, null_voxel_rate
from ale_dask.analyses.networks import check_networks
from ale_dask.analyses.sample import Sample, enough, sample, study_bits
from ale_dask.analyses.statistics.null import NullStatisticPlan
from ale_dask.analyses.study_plans import PreparedStudy, plan_main_effect
from ale_dask.analyses.study_statistics import check_statistics, plan_statistics
from ale_dask.config.analysis import BalancedContrast, Conjunction, Contrast
from ale_dask.config.files import expand_files
from ale_dask.config.foci_source import FociSource
from ale_dask.config.study import Study, are_many, main_effects_of
from ale_dask.coordinates import foci as foci_data
from ale_dask.coordinates.masks import load_mask, load_space
from ale_dask.coordinates.pooling import by_subjects
from ale_dask.coordinates.readers import read_foci
from ale_dask.coordinates.selection import Whole, select_from
from ale_dask.coordinates.subject_groups import with_groups
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.block_store import store_plan, with_read_arrays
from ale_dask.execution.plan import TASK_SECONDS, P, Plan, block_size
from ale_dask.numerics.pruned_null import MANY
from ale_dask.numerics.space import Mask
from ale_dask.storage.location import Place

MOST_LISTED = 1_000_000
"""Experiments, counted once per sample picked from them, up to which those that rules remove are named: about 15 MB."""


def read_sources(study: Study, *, need_n: bool) -> dict[str, xr.Dataset]:
    """Return the foci of a study by the name of the sample, read and selected.

    Raises
    ------
    InputError
        for a file or an experiment that cannot be used; with `need_n` also for an experiment without a sample size.
    """
    # The selection may remove the experiments without a sample size.
    whole = {name: _whole(source, need_n=need_n and not source.select) for name, source in study.foci.items()}
    picked_from = (whole[name].dataset.sizes["experiment"] for name, source in study.foci.items() if source.select)
    listed = sum(picked_from) <= MOST_LISTED
    return {name: _selected(name, source, whole[name], listed=listed) for name, source in study.foci.items()}


def read_samples(study: Study, *, mask: Mask) -> tuple[dict[str, xr.Dataset], dict[str, Sample]]:
    """Return the selected foci of each source of a study by name, and the sample of each main effect by name.

    Raises
    ------
    InputError
        for a file, an experiment or a name that cannot be used.
    """
    inference = study.inference
    sources = read_sources(study, need_n=inference.fwhm is None)
    samples: dict[str, Sample] = {}
    for name, main in main_effects_of(study).items():
        foci = foci_data.together({f: sources[f] for f in main.foci})
        # Messages about a sample of one source use the name of the source.
        foci = by_subjects(foci, inference.same_subjects, name=main.foci[0] if len(main.foci) == 1 else name)
        where = f"analysis.{name}"
        samples[name] = enough(sample(foci, mask=mask, inference=inference, name=where), name=where)
    for name, analysis in study.analysis.items():
        for reserved, content in ANALYSES[analysis.kind].reserved(name, inference).items():
            if reserved in study.analysis:
                raise InputError(f"analysis.{reserved}: this name is kept for the {content} of '{name}'")
    return sources, samples


def prepare(study: Study) -> PreparedStudy:
    """Return a study with its files read, its experiments checked and its fixed-point scale chosen.

    Raises
    ------
    InputError
        for a file, an experiment or a name that cannot be used, or subjects that both arms of a contrast share.
    """
    inference = study.inference
    if study.living is not None and not study.living.looks:
        raise InputError("[living] plans several looks at a growing sample: `ale-dask update` makes the first one, too")
    mask = load_space(inference)
    check_networks(inference, mask)
    sources, samples = read_samples(study, mask=mask)
    make = partial(sample, mask=mask, inference=inference)
    alone = {main.foci[0]: samples[name] for name, main in main_effects_of(study).items() if len(main.foci) == 1}
    # Pooling experiments never raises the sum of a voxel, so that no union of these samples can overflow either.
    bits = study_bits(
        alone[name]
        if name in alone
        else make(by_subjects(foci, inference.same_subjects, name=name), name=f"foci.{name}")
        for name, foci in sources.items()
    )
    arms: dict[str, tuple[Sample, Sample]] = {}
    balanced: dict[str, tuple[Sample, Sample]] = {}
    for name, analysis in study.analysis.items():
        if not isinstance(analysis, Contrast | BalancedContrast):
            continue
        a, b = (samples[arm].foci for arm in analysis.arms)
        a, b = contrasts.disjoint_arms(a, b, shared=inference.shared, name=f"analysis.{name}")
        pair = (make(a, name=f"analysis.{name}"), make(b, name=f"analysis.{name}"))
        if isinstance(analysis, BalancedContrast):
            balanced[name] = pair
            continue
        arms[name] = pair
        samples[pooled_name(name)] = make(foci_data.concat([a, b]), name=f"analysis.{name}")
    prepared = PreparedStudy(study, mask, bits, sources, samples, arms, balanced, _images(study, mask=mask))
    for name, analysis in study.analysis.items():
        ANALYSES[analysis.kind].check(prepared, name)
    check_statistics(prepared)
    return prepared


def _images(study: Study, *, mask: Mask) -> dict[str, Inside]:
    """Return the images that contrasts and conjunctions are limited to, by the name of the analysis."""
    limited = {name: a for name, a in study.analysis.items() if isinstance(a, Contrast | Conjunction)}
    return {
        name: of_image(load_mask(a.inside, key=f"analysis.{name}.inside"), mask=mask)
        for name, a in limited.items()
        if a.inside is not None and not a.inside_is_name
    }


def samples_and_arms(study: Study) -> tuple[dict[str, xr.Dataset], dict[str, tuple[str, str]]]:
    """Return the foci of each main effect of a study by name, and the names of the two arms of each contrast.

    An arm from which shared experiments are excluded has foci of its own, under the name "CONTRAST: ARM".
    """
    _, samples = read_samples(study, mask=load_space(study.inference))
    foci = {name: chosen.foci for name, chosen in samples.items()}
    compared: dict[str, tuple[str, str]] = {}
    for name, analysis in study.analysis.items():
        if isinstance(analysis, Contrast):
            a, b = analysis.arms
            compared[name] = (a, b)
            if study.inference.shared == "exclude":
                disjoint = contrasts.disjoint_arms(foci[a], foci[b], shared="exclude", name=f"analysis.{name}")
                if any(part.sizes != foci[arm].sizes for part, arm in zip(disjoint, (a, b), strict=True)):
                    compared[name] = (f"{name}: {a}", f"{name}: {b}")
                    foci |= dict(zip(compared[name], disjoint, strict=True))
    return foci, compared


def _selected(name: str, source: FociSource, whole: Whole, *, listed: bool) -> xr.Dataset:
    foci = whole.dataset
    if source.select:
        foci = select_from(whole, *source.select, name=name, where=f"foci.{name}.select", listed=listed)
    return with_groups(foci, source.groups, where=f"foci.{name}.groups") if source.groups else foci


def read_sample(source: FociSource) -> xr.Dataset:
    """Return the foci of the files of a source before any selection; unchanged files are read once per process."""
    return _whole(source).dataset


def _whole(source: FociSource, *, need_n: bool = False) -> Whole:
    files = tuple(expand_files(source.files))
    stamps = tuple(map(_time_and_size, files))
    columns = tuple(sorted(source.columns.items()))
    return _read_files(files, stamps, source.n, source.space, source.talairach, need_n, columns)


def kernels_of(prepared: PreparedStudy) -> set[str]:
    """Return the names, in `numerics.warm.KERNELS`, of the kernels that the nulls of a study need."""
    foci = [int(sample.n_foci.sum()) for sample in prepared.samples.values()]
    needed = {"many" if n >= MANY else "few" for n in foci}
    needed |= {"base-rate"} if wants_base_rate(prepared.study.inference) else set()
    return needed | ({"contrast"} if prepared.arms or prepared.balanced else set())


def _time_and_size(file: str) -> tuple[int, int] | None:
    """Return the modification time of a file in ns and its size in bytes, or None if it cannot be read."""
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=16)
def _read_files(
    files: tuple[str, ...],
    stamps: tuple[tuple[int, int] | None, ...],
    n: int | None,
    space: Any,
    talairach: Any,
    need_n: bool,
    columns: tuple[tuple[str, str], ...],
) -> Whole:
    return Whole(read_foci(*files, n=n, space=space, talairach=talairach, require_n=need_n, columns=dict(columns)))


def make_plans(
    prepared: PreparedStudy, *, out: Place | None = None, known: dict[str, Plan] | None = None
) -> dict[str, Plan]:
    """Return the frozen plans of every analysis of a study by name.

    Plans that OUT holds are read from there. `known` holds plans by identity, which several studies may share: plans of
    a known identity are taken from it, and new plans are added to it.
    """
    many = are_many(prepared.study)

    def stored_or_made(name: str, kind: str, conventions: dict[str, Any], make: Callable[[], P]) -> P:
        identity = identity_of(kind, conventions)
        if known is not None:
            if identity not in known:
                known[identity] = make()
            # The identity is a hash over the kind too.
            return replace(cast(P, known[identity]), name=name)
        if out is None:
            return make()
        plan = store_plan(out, make, name=name, identity=identity, conventions=conventions)
        return with_read_arrays(out, plan) if many else plan

    return plans_of(prepared, stored_or_made)


@dataclass(frozen=True)
class Cost:
    """The blocks, the time and the bytes written that one analysis will take."""

    name: str
    kind: str
    experiments: int
    foci: int
    iterations: int
    blocks: int
    block_size: int
    seconds_per_iteration: float
    bytes_written: int
    null_voxel_rate: float | None
    """Share of the uniform null's voxels that reach the cluster-forming value, of main effects."""

    @property
    def block_seconds(self) -> float:
        """Seconds of one block on a core like this one."""
        return self.block_size * self.seconds_per_iteration

    @property
    def core_seconds(self) -> float:
        """Seconds of all iterations on one core like this one."""
        return self.iterations * self.seconds_per_iteration


def cost(prepared: PreparedStudy, plan: Plan, *, name: str, workers: int) -> Cost:
    """Return the cost of a plan, timed in this process on its own foci."""
    inference = prepared.study.inference
    iterations = iterations_of(plan, inference)
    seconds = seconds_per_iteration(plan, most=iterations)
    size = prepared.study.backend.block_size or block_size(
        iterations=iterations,
        seconds_per_iteration=seconds,
        block_seconds=prepared.study.backend.block_seconds,
        workers=workers,
    )
    blocks = -(-iterations // size)
    written = 8 * (iterations * (1 + len(plan.statistics)) + blocks * sum(1 + n for n in counts_of(plan).values()))
    analysis = plan.base.name if isinstance(plan, NullStatisticPlan) else name
    # Further passes over the base-rate nulls of subsamples have a number behind the ending.
    analysis = re.sub(rf"({base_rate_name('')})-\d+$", r"\1", analysis)
    for ending in (clusters_name(""), base_rate_name("")):
        known = analysis in prepared.samples or analysis in prepared.study.analysis
        analysis = analysis if known else analysis.removesuffix(ending)
    samples = prepared.samples_of(analysis)
    return Cost(
        name,
        plan.kind,
        sum(len(s.key) for s in samples),
        sum(int(s.n_foci.sum()) for s in samples),
        iterations,
        blocks,
        size,
        seconds,
        written,
        null_voxel_rate(plan) if isinstance(plan, MainEffectPlan) else None,
    )


def scheduler_share(costs: Sequence[Cost], *, workers: int) -> float:
    """Return the share of time, from 0, in which a Dask scheduler is busy while workers compute the blocks of costs."""
    seconds = sum(c.core_seconds for c in costs) / max(1, sum(c.blocks for c in costs))
    return workers * TASK_SECONDS / max(seconds, 1e-9)


def costs(prepared: PreparedStudy, *, workers: int | None = None) -> list[Cost]:
    """Return the cost of every plan of a study."""
    each = partial(cost, prepared, workers=workers or cpu_count())
    if are_many(prepared.study) and not prepared.study.statistic:
        # One after the other: thousands of plans take gigabytes.
        by_name = (plan_main_effect(prepared, name, {}, _made) for name in prepared.samples)
        return [each(plan, name=name) for plans in by_name for name, plan in plans.items()]
    plans = make_plans(prepared)
    # What survives in a main effect is not known yet, and takes as long as an empty image.
    plans |= plan_statistics(prepared, plans, _made, of_results=True)
    return [each(plan, name=name) for name, plan in plans.items()]


def _made(name: str, kind: str, conventions: dict[str, Any], make: Callable[[], P]) -> P:
    return make()
