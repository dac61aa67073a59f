"""A study read, checked and planned: what will be computed, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import xarray as xr

from ale_dask.analyses import contrast as contrasts
from ale_dask.analyses.base_rate import base_rate_name
from ale_dask.analyses.contrast import pooled_name
from ale_dask.analyses.contrast_clusters import clusters_name
from ale_dask.analyses.execute import seconds_per_iteration
from ale_dask.analyses.kinds import ANALYSES, counts_of, iterations_of, plans_of
from ale_dask.analyses.main_effect import identity_of
from ale_dask.analyses.sample import Sample, enough, sample, study_bits
from ale_dask.analyses.study_plans import PreparedStudy
from ale_dask.config.files import expand_files
from ale_dask.config.study import Contrast, FociSource, Study, main_effects_of
from ale_dask.coordinates import foci as foci_data
from ale_dask.coordinates.masks import load_space
from ale_dask.coordinates.pooling import by_subjects
from ale_dask.coordinates.readers import read_foci
from ale_dask.coordinates.selection import select
from ale_dask.coordinates.subject_groups import with_groups
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count
from ale_dask.execution.block_store import store_plan
from ale_dask.execution.plan import TASK_SECONDS, Plan, block_size
from ale_dask.numerics.space import Mask
from ale_dask.storage.location import Place


def read_sources(study: Study, *, need_n: bool) -> dict[str, xr.Dataset]:
    """Return the foci of a study by the name of the sample, read and selected.

    Raises
    ------
    InputError
        for a file or an experiment that cannot be used; with `need_n` also for one without a sample size.
    """
    return {name: _read(name, source, need_n=need_n) for name, source in study.foci.items()}


def read_samples(study: Study, *, mask: Mask) -> tuple[dict[str, xr.Dataset], dict[str, Sample]]:
    """Return the foci of a study by name, read and selected, and the experiments of its main effects by name.

    Raises
    ------
    InputError
        for a file, an experiment or a name that cannot be used.
    """
    inference = study.inference
    sources = read_sources(study, need_n=inference.fwhm is None)
    samples: dict[str, Sample] = {}
    for name, main in main_effects_of(study).items():
        parts = [sources[f] for f in main.foci]
        foci = parts[0] if len(parts) == 1 else foci_data.concat(parts)
        # A sample that is one source keeps that source's name.
        foci = by_subjects(foci, inference.same_subjects, name=main.foci[0] if len(parts) == 1 else name)
        where = f"analysis.{name}"
        samples[name] = enough(sample(foci, mask=mask, inference=inference, name=where), name=where)
    for name, analysis in study.analysis.items():
        for reserved, content in ANALYSES[analysis.kind].reserved(name, inference).items():
            if reserved in study.analysis:
                raise InputError(f"analysis.{reserved}: this name is kept for the {content} of '{name}'")
    return sources, samples


def prepare(study: Study) -> PreparedStudy:
    """Return the study with its files read, its experiments checked and its fixed-point scale chosen.

    Raises
    ------
    InputError
        for a file, an experiment or a name that cannot be used, or subjects that both arms of a contrast share.
    """
    inference = study.inference
    mask = load_space(inference)
    sources, samples = read_samples(study, mask=mask)
    make = partial(sample, mask=mask, inference=inference)
    # Pooling never raises a sum, so that no union of these samples can overflow either.
    pooled = {name: by_subjects(foci, inference.same_subjects, name=name) for name, foci in sources.items()}
    bits = study_bits([make(foci, name=f"foci.{name}") for name, foci in pooled.items()])
    arms: dict[str, tuple[Sample, Sample]] = {}
    for name, analysis in study.analysis.items():
        if not isinstance(analysis, Contrast):
            continue
        a, b = (samples[arm].foci for arm in analysis.arms)
        a, b = contrasts.disjoint_arms(a, b, shared=inference.shared, name=f"analysis.{name}")
        arms[name] = (make(a, name=f"analysis.{name}"), make(b, name=f"analysis.{name}"))
        samples[pooled_name(name)] = make(foci_data.concat([a, b]), name=f"analysis.{name}")
    return PreparedStudy(study, mask, bits, sources, samples, arms)


def arms_described(study: Study) -> tuple[dict[str, xr.Dataset], dict[str, tuple[str, str]]]:
    """Return the experiments of a study's main effects by name, and of each contrast the names of its two arms.

    Arms from which shared experiments are excluded are there under "CONTRAST: ARM".
    """
    _, samples = read_samples(study, mask=load_space(study.inference))
    foci = {name: chosen.foci for name, chosen in samples.items()}
    compared: dict[str, tuple[str, str]] = {}
    for name, analysis in study.analysis.items():
        if isinstance(analysis, Contrast):
            one, two = analysis.arms
            compared[name] = (one, two)
            if study.inference.shared == "exclude":
                kept = contrasts.disjoint_arms(foci[one], foci[two], shared="exclude", name=f"analysis.{name}")
                if any(k.sizes != foci[arm].sizes for k, arm in zip(kept, (one, two), strict=True)):
                    compared[name] = (f"{name}: {one}", f"{name}: {two}")
                    foci |= dict(zip(compared[name], kept, strict=True))
    return foci, compared


def _read(name: str, source: FociSource, *, need_n: bool) -> xr.Dataset:
    # Experiments without a sample size may be those that are not selected.
    need_n = need_n and not source.select
    foci = read_sample(source, need_n=need_n)
    if source.select:
        foci = select(foci, *source.select, name=name, where=f"foci.{name}.select")
    return with_groups(foci, source.groups, where=f"foci.{name}.groups") if source.groups else foci


def read_sample(source: FociSource, *, need_n: bool = False) -> xr.Dataset:
    """Return the foci of a sample's files as they are now, before any selection; read once for many settings."""
    files = tuple(expand_files(source.files))
    stamps = tuple(map(_stamp, files))
    columns = tuple(sorted(source.columns.items()))
    return _read_files(files, stamps, source.n, source.space, source.talairach, need_n, columns)


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=16)
def _read_files(
    files: tuple[str, ...],
    stamps: tuple[tuple[int, int] | None, ...],
    n: int | None,
    space: Any,
    talairach: Any,
    need_n: bool,
    columns: tuple[tuple[str, str], ...],
) -> xr.Dataset:
    return read_foci(*files, n=n, space=space, talairach=talairach, require_n=need_n, columns=dict(columns))


def plans(
    prepared: PreparedStudy, *, out: Place | None = None, known: dict[str, Plan] | None = None
) -> dict[str, Plan]:
    """Return the frozen plans of every analysis of a study by name.

    Plans that OUT holds are used as they are. `known` holds the plans of other studies by identity: those of the same
    identity are taken from there, and new ones are added.
    """

    def keep(name: str, kind: str, conventions: dict[str, Any], make: Callable[[], Plan]) -> Plan:
        identity = identity_of(kind, conventions)
        if known is not None:
            if identity not in known:
                known[identity] = make()
            return replace(known[identity], name=name)
        if out is None:
            return make()
        return store_plan(out, make, name=name, identity=identity, conventions=conventions)

    return plans_of(prepared, keep)


@dataclass(frozen=True)
class Cost:
    """What one analysis takes, told before it runs."""

    name: str
    kind: str
    experiments: int
    foci: int
    iterations: int
    blocks: int
    block_size: int
    seconds_per_iteration: float
    bytes_written: int

    @property
    def block_seconds(self) -> float:
        """Time of one block on a core like this one."""
        return self.block_size * self.seconds_per_iteration

    @property
    def core_seconds(self) -> float:
        """Time on one core like this one."""
        return self.iterations * self.seconds_per_iteration


def cost(prepared: PreparedStudy, plan: Plan, *, name: str, workers: int) -> Cost:
    """Return blocks, time and bytes of a plan, timed on its own foci here."""
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
    width = 8 * (iterations * (1 + len(plan.statistics)) + blocks * sum(1 + n for n in counts_of(plan).values()))
    first = name
    for end in (clusters_name(""), base_rate_name("")):
        first = first if first in (*prepared.samples, *prepared.arms) else name.removesuffix(end)
    samples = [prepared.samples[first]] if first in prepared.samples else list(prepared.arms[first])
    return Cost(
        name,
        plan.kind,
        sum(len(s.key) for s in samples),
        sum(int(s.n_foci.sum()) for s in samples),
        iterations,
        blocks,
        size,
        seconds,
        width,
    )


def scheduler_share(found: Sequence[Cost], *, workers: int) -> float:
    """Return the share of its time that a Dask scheduler is busy while that many workers compute these blocks."""
    seconds = sum(c.core_seconds for c in found) / max(1, sum(c.blocks for c in found))
    return workers * TASK_SECONDS / max(seconds, 1e-9)


def costs(prepared: PreparedStudy, *, workers: int | None = None) -> list[Cost]:
    """Return the cost of every main effect and contrast of a study."""
    made = plans(prepared)
    return [cost(prepared, plan, name=name, workers=workers or cpu_count()) for name, plan in made.items()]
