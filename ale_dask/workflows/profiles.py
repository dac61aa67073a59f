"""Look for the clusters of a finished run again under the conventions of the other programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.execute import seconds_per_iteration
from ale_dask.analyses.findings.model import model_of
from ale_dask.config.analysis import INPUTS, Conjunction, Contrast, Moderator
from ale_dask.config.backend import Backend
from ale_dask.config.inference import PROFILES, PROGRAMS
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Study
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import threads_of
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.written import writing_results
from ale_dask.reporting.sensitivity.evidence_lines import profiles_table
from ale_dask.reporting.tables.contributions import surviving_clusters, surviving_map
from ale_dask.reporting.text.follow_up_files import origin_of, write_follow_up
from ale_dask.storage.location import Place
from ale_dask.workflows.carry_out import carry_out, workers_of
from ale_dask.workflows.run_directory import Sizes
from ale_dask.workflows.sweep import Sweep, plan_sweep, results_of_cells
from ale_dask.workflows.sweep_cells import cells_of
from ale_dask.workflows.sweep_passes import Nulls, jobs_of_passes, store_passes


@dataclass(frozen=True, eq=False)
class ProfilesRun:
    """Analyses of a finished run under every other profile, before they are computed."""

    out: Place
    study: Study
    results: Mapping[str, xr.Dataset]
    """The analyses in question by name."""
    record: RunRecord
    planned: Sweep
    left_out: Sequence[str]
    """The profiles that do not go with the settings of the run."""

    @property
    def seconds(self) -> float:
        """Seconds of all passes on one CPU like this one."""
        passes = self.planned.passes.by_name.values()
        return sum(p.iterations * seconds_per_iteration(p.plan, most=p.iterations) for p in passes)


def plan_profiles(out: Place, *, study: Study, results: Mapping[str, xr.Dataset], record: RunRecord) -> ProfilesRun:
    """Return analyses of a finished run under every other profile, with their passes over random draws.

    A contrast, a conjunction or a moderator comes with the main effects that it is made of.
    Settings by which the run departs from its own profile stay. A profile that does not go with them is left out.

    Raises
    ------
    InputError
        when no other profile goes with the settings of the run.
    """
    analyses = {name: study.analysis[name] for name in dict.fromkeys(_with_parts(study, results))}
    alone = study.model_copy(update={"analysis": analyses, "statistic": [], "sweep": {}})
    reasons: dict[str, str] = {}
    for profile in PROFILES:
        try:
            cells_of(alone, {"profile": [profile]})
        except InputError as error:
            reasons[profile] = str(error)
    others = [profile for profile in PROFILES if profile not in (study.inference.profile, *reasons)]
    if not others:
        raise InputError("\n".join(reasons.values()))
    planned = plan_sweep(alone, {"profile": others}, keep_going=True)
    failed = [str(planned.cells[label].values["profile"]) for label in planned.failed]
    return ProfilesRun(out, study, results, record, planned, [*reasons, *failed])


def _with_parts(study: Study, names: Iterable[str]) -> Iterator[str]:
    """Yield the names of analyses, each after those that it is made of or limited to."""
    for name in names:
        analysis = study.analysis[name]
        if isinstance(analysis, Contrast):
            yield from analysis.arms
        elif isinstance(analysis, Conjunction):
            yield from _with_parts(study, analysis.of)
        elif isinstance(analysis, Moderator):
            yield analysis.of
        if isinstance(analysis, Contrast | Conjunction) and analysis.inside_is_name:
            yield str(analysis.inside)
        yield name


def compute_profiles(run: ProfilesRun, *, backend: Backend, quiet: bool = False) -> None:
    """Compute the passes that OUT lacks, and write NAME_profiles.tsv and .json of each analysis.

    Raises
    ------
    StoreError, BackendError, UnfinishedError
        after any of which the same call resumes.
    """
    passes = store_passes(run.out, run.planned.passes)
    with workers_of(backend, client=None) as connected:
        sizes = Sizes(backend, threads_of(connected, backend))
        jobs = jobs_of_passes(passes, run.out, sizes=sizes)
        carry_out(jobs, run.out, study=run.study, client=connected, quiet=quiet)
    clusters = {name: surviving_clusters(result, INPUTS[0]) for name, result in run.results.items()}
    own = str(run.study.inference.profile)
    retained = {name: {own: [1.0] * len(found)} for name, found in clusters.items()}
    for label, cells, _ in results_of_cells(run.planned, Nulls(run.out, passes)):
        profile = str(run.planned.cells[label].values["profile"])
        for name, found in clusters.items():
            retained[name][profile] = [_share(run.results[name], c.voxels, cells[name]) for c in found]
    with writing_results(run.out) as folder:
        for name, result in run.results.items():
            table = profiles_table(clusters[name], retained[name], voxel_volume=model_of(result).mask.voxel_volume)
            about = {
                "title": "The same clusters under the conventions of other programs",
                "says": _says(own, run.left_out),
                "of_results": origin_of(result, run.record),
            }
            write_follow_up(folder / stem(name) / f"{stem(name)}_profiles", table, about)


def _share(result: xr.Dataset, voxels: npt.NDArray[np.int64], other: xr.Dataset) -> float:
    """Return the share of some voxels of a result that survive in another, which may have another mask.

    In a contrast or moderator a voxel survives if the direction there is the same.
    """
    mask = model_of(result).mask
    there = model_of(other).mask.voxel_at(mask.to_mm(mask.voxel_ijk[voxels]))
    own, others = (np.sign(surviving_map(each, INPUTS[0])) for each in (result, other))
    return float(((others[there] == own[voxels]) & (there >= 0)).mean())


def _says(own: str, left_out: Sequence[str]) -> str:
    programs = ", ".join(f"{profile} is {program}" for profile, program in PROGRAMS.items())
    without = f" Left out, because they do not go with its settings: {', '.join(left_out)}." if left_out else ""
    return (
        f"The share of each cluster's voxels (%) that survives the same correction under every profile; {own} is the "
        f"run itself. Each profile has the conventions of a program ({programs}), with its own nulls; settings by "
        f"which the run departs from its profile stay.{without}"
    )
