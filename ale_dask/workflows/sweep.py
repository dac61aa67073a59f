"""Run a study under every combination of some settings, with the passes over random draws shared between cells.

OUT/sweep.toml      the study with its axes, naming the copies of its files
OUT/plans, store    plans and nulls of the passes, from which an interrupted sweep resumes
OUT/sweep.json      cells, number of passes per axis, digests
OUT/sweep.tsv       the clusters of all cells in one long table; sweep.parquet is the same, if pyarrow is installed
OUT/stability/      for each analysis the share of cells in which a voxel survives
OUT/axes/           a figure per axis
OUT/robustness.tsv  the places where any cell has a cluster, how many cells have one, and on which axis that depends
OUT/places/         a figure of these places for each analysis
OUT/report.html     the page of the sweep: what it found in sentences, maps of stability, the table of places
OUT/cells/          with maps=True a folder per cell
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.base_rate import base_rate_name
from ale_dask.analyses.kinds import iterations_of, results_of
from ale_dask.analyses.ma import ale_union, ma_maps
from ale_dask.analyses.study_plans import Null, PreparedStudy
from ale_dask.config.inference import Inference
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Study
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count, threads_of
from ale_dask.execution.executors import Report
from ale_dask.execution.journal import Journal
from ale_dask.execution.plan import Plan
from ale_dask.numerics.warm import compile_beside
from ale_dask.reporting.common.extra import PAGE, PICTURES, available
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.figures.viewer_layers import template
from ale_dask.reporting.html.sweep_page import SweepPage, write_sweep_page
from ale_dask.reporting.sensitivity.stability import Stability, axis_svg
from ale_dask.reporting.sensitivity.sweep_clusters import Places, write_places
from ale_dask.reporting.sensitivity.sweep_words import sweep_sentences
from ale_dask.reporting.tables.long import long_table, long_tsv
from ale_dask.reporting.write import write_results
from ale_dask.storage.location import Place, files, place, replace_file, staged
from ale_dask.storage.ownership import claim
from ale_dask.version import __version__
from ale_dask.workflows.carry_out import carry_out, workers_of
from ale_dask.workflows.prepare import kernels_of, make_plans, prepare
from ale_dask.workflows.run_directory import Sizes, run_token, save_inputs, stored_study
from ale_dask.workflows.run_record import run_record
from ale_dask.workflows.sweep_cells import Axes, Cell, cell_hash, cells_of, shown_axes
from ale_dask.workflows.sweep_passes import (
    Nulls,
    Passes,
    jobs_of_passes,
    keep_passes,
    list_passes,
    plan_passes,
    store_passes,
)

if TYPE_CHECKING:
    from distributed import Client


log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep before it runs: its cells, the reason why some cannot be run, and the passes that they share."""

    study: Study
    axes: Axes
    """Values of each axis as tables show them."""
    given: Axes
    """Values of each axis as they were given, with the folders of image files."""
    cells: Mapping[str, Cell]
    failed: Mapping[str, str]
    prepared: Mapping[str, PreparedStudy]
    plans: Mapping[str, Mapping[str, Plan]]
    passes: Passes

    @property
    def tests(self) -> int:
        """Number of thresholded analyses over all cells; no correction takes it into account."""
        return sum(len(p.study.analysis) for p in self.prepared.values())


def plan_sweep(study: Study, axes: Axes | None = None, *, keep_going: bool = False) -> Sweep:
    """Return the cells of a sweep and the passes that they share; every combination is checked.

    `axes` replace the table [sweep] of the study. With `keep_going` a cell that cannot be run is reported and left out.

    Raises
    ------
    InputError
        for an axis, a value, or (without `keep_going`) a cell that cannot be used; all such cells are named.
    """
    chosen = dict(axes or study.sweep)
    cells = {cell.label: cell for cell in cells_of(study, chosen)}
    prepared: dict[str, PreparedStudy] = {}
    plans: dict[str, Mapping[str, Plan]] = {}
    failed: dict[str, str] = {}
    known: dict[str, Plan] = {}
    for label, cell in cells.items():
        try:
            prepared_cell = prepare(cell.study)
            plans[label], prepared[label] = make_plans(prepared_cell, known=known), prepared_cell
        except InputError as error:
            failed[label] = str(error)
    if failed and (not keep_going or not prepared):
        lines = [f"cell {label}: {why}" for label, why in failed.items()]
        raise InputError(
            "\n".join([*lines, f"{len(failed)} of {len(cells)} cells cannot be run (--keep-going leaves them out)"])
        )
    return Sweep(study, shown_axes(chosen), chosen, cells, failed, prepared, plans, plan_passes(prepared, plans))


def sweep(
    study: Study,
    out: str | Place,
    *,
    axes: Axes | None = None,
    keep_going: bool = False,
    maps: bool = False,
    client: Client | None = None,
    quiet: bool = False,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Run a study under every combination of some settings; nulls that several combinations share are computed once.

    Parameters
    ----------
    study
        Study, from `load_study`.
    out
        Folder of the sweep, or its address in object storage.
    axes
        Values of each setting by its name, instead of `[sweep]` of the study.
    keep_going
        Leave out the combinations that cannot be run, instead of raising InputError.
    maps
        Write a folder with maps and tables for every combination.
    client
        Dask client to compute on; by default the backend of the study is started.
    quiet
        Show no progress.

    Returns
    -------
    table : pd.DataFrame
        Clusters of all combinations, one row each, with a column for each setting.
    record : dict
        Content of sweep.json: combinations, their digests, and those that failed with the reason.

    Raises
    ------
    InputError, StoreError, BackendError, UnfinishedError
        As `run`; the same call resumes.

    Examples
    --------
    >>> study = ale.load_study("study.toml")
    >>> table, record = ale.sweep(study, "sweep", axes={"voxel_p": [0.01, 0.005]}, quiet=True)
    >>> table["sweep.voxel_p"].unique().tolist()
    ['0.01', '0.005']
    """
    planned = plan_sweep(study, axes, keep_going=keep_going)
    return run_planned(planned, place(out), maps=maps, client=client, quiet=quiet)


def run_planned(
    planned: Sweep,
    out: Place,
    *,
    maps: bool = False,
    client: Client | None = None,
    quiet: bool = False,
    on_step: Report = lambda step: None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Run a planned sweep to its end and return its table and its record; `on_step` is called after each block."""
    started, study = time.time(), planned.study
    for label, why in planned.failed.items():
        log.info(f"left out: cell {label}: {why}")
    compiler = compile_beside(set().union(*(kernels_of(each) for each in planned.prepared.values())))
    passes = create_sweep(planned, out)
    log.info(f"{len(planned.prepared)} cells, {planned.passes.asked} nulls in {len(passes.by_name)} passes")
    with workers_of(study.backend, client=client) as connected:
        if compiler is not None:
            compiler.wait()
        sizes = Sizes(study.backend, threads_of(connected, study.backend))
        jobs = jobs_of_passes(passes, out, sizes=sizes)
        if sizes.takes:
            log.info(sizes.takes)
        carry_out(jobs, out, study=study, client=connected, quiet=quiet, on_step=on_step)
    return _collect(planned, passes, out, maps=maps, started=started)


def collect_sweep(out: str | Place) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write the files of a finished sweep again from its folder alone, and return its table and its record.

    Raises
    ------
    StoreError
        when the folder holds no sweep, or one that is not finished.
    """
    started, out = time.time(), place(out)
    planned = plan_sweep(stored_study(out), keep_going=True)
    passes = store_passes(out, planned.passes)
    return _collect(planned, passes, out, maps=bool(files(out / "cells")), started=started)


def create_sweep(planned: Sweep, out: Place) -> Passes:
    """Write the study of a sweep with its axes and the plans of its passes to OUT, and return the stored passes."""
    claim(out, ())
    if (out / "study.toml").is_file():
        raise InputError(f"{out}: holds a run; give the sweep another -o")
    run_token(out)
    axes = {name: list(values) for name, values in planned.given.items()}
    study = planned.study.model_copy(update={"sweep": axes})
    save_inputs(study, out, backend=study.backend, name="sweep.toml")
    passes = store_passes(out, planned.passes)
    keep_passes(out, list_passes(passes, planned.plans))
    return passes


def _collect(
    planned: Sweep, passes: Passes, out: Place, *, maps: bool, started: float
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write the files of a sweep from the nulls in OUT, and return its table and its record."""
    nulls, stability, places = Nulls(out, passes), Stability(), Places()
    digests: dict[str, dict[str, str]] = {}
    methods: list[RunRecord] = []
    with staged(out) as folder:

        def each_cell() -> Iterator[tuple[str, Study, Mapping[str, xr.Dataset], Mapping[str, Any]]]:
            for label, results, digests[label] in results_of_cells(planned, nulls):
                cell = planned.cells[label]
                yield label, cell.study, results, _record_of_cell(results, digests[label])
                stability.add(results)
                places.add(label, cell.values, results)
                if not methods:
                    methods.append(run_record(cell.study, results, digests=digests[label], segments={}, seconds=0.0))
                if maps:
                    write_results(results, folder / "cells" / cell_hash(cell.values), title=label, pictures=False)

        whole = long_table(each_cell())
        for axis in reversed(list(planned.axes)):
            of_rows = [str(planned.cells[label].values[axis]) for label in whole["out"]]
            whole.insert(1, f"sweep.{axis}", of_rows)
        record = _record(planned, passes, digests, seconds=time.time() - started)
        replace_file(folder / "sweep.tsv", long_tsv(whole))
        if find_spec("pyarrow") is None:
            log.info('no sweep.parquet: pip install "ale-dask[sweep]"')
        else:
            replace_file(folder / "sweep.parquet", whole.to_parquet(index=False))
        stability.write(folder / "stability")
        sweeps = places.by_analysis()
        figures = [*_axis_figures(planned, whole, folder), *write_places(sweeps, folder, simulated=places.simulated)]
        record["summary"] = sweep_sentences(
            sweeps, axes=planned.axes, cells=len(planned.prepared), tests=planned.tests, failed=len(planned.failed)
        )
        # The text for a paper describes the first combination, and then what was varied.
        record["run"] = methods[0]
        replace_file(folder / "sweep.json", (json.dumps(record, indent=2) + "\n").encode())
        if available(*PAGE):
            page = SweepPage(record, record["summary"], figures, template() if available(*PICTURES) else None)
            write_sweep_page(page, sweeps, stability, folder)
    Journal(out)("finished")
    return whole, record


def _axis_figures(planned: Sweep, whole: pd.DataFrame, folder: Path) -> list[tuple[str, Path]]:
    """Write the figure of each axis and return their titles and paths."""
    figures = []
    for axis, values in planned.axes.items():
        path = folder / "axes" / f"{stem(axis)}.svg"
        replace_file(path, axis_svg(whole, axis, [str(v) for v in values]).encode())
        figures.append((f"Surviving volume by {axis}", path))
    return figures


def _record_of_cell(results: Mapping[str, xr.Dataset], digests: Mapping[str, str]) -> dict[str, Any]:
    """Return what a long table reads of the record of a run."""
    analyses = {n: {"digest": digests.get(n), "digest_base_rate": digests.get(base_rate_name(n))} for n in results}
    return {"program": {"version": __version__}, "analyses": analyses}


def results_of_cells(planned: Sweep, nulls: Nulls) -> Iterator[tuple[str, dict[str, xr.Dataset], dict[str, str]]]:
    """Yield the label, the results and the digests of each cell; equal MA maps are added up once."""
    ale: dict[str, Any] = {}
    for label, prepared in planned.prepared.items():
        digests: dict[str, str] = {}
        plans = {name: nulls.plan(plan) for name, plan in planned.plans[label].items()}
        maps = {}
        for name, sample in prepared.samples.items():
            conventions, i = sample.conventions(prepared.bits), prepared.study.inference
            key = str((conventions["foci"], conventions["mask"], i.within, i.fwhm, i.rounding, i.kernel, i.support))
            if key not in ale:
                ale[key] = ale_union(ma_maps(sample)).values
            maps[name] = ale[key]
        read = partial(_read_null, nulls, plans, prepared.study.inference, digests)
        yield label, results_of(prepared, plans, read=read, ale=maps), digests


def _read_null(
    nulls: Nulls, plans: Mapping[str, Plan], inference: Inference, digests: dict[str, str], name: str
) -> Null:
    """Return the null of a plan by its name, and add its digest to `digests`."""
    null, digests[name] = nulls.of(plans[name], iterations=iterations_of(plans[name], inference))
    return null


def _record(planned: Sweep, passes: Passes, digests: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
    return {
        "program": {"name": "ale_dask", "version": __version__},
        "title": planned.study.title,
        "simulated": planned.study.simulated,
        "descriptive": descriptive(planned),
        "tests": planned.tests,
        "axes": {name: [str(v) for v in values] for name, values in planned.axes.items()},
        "nulls": planned.passes.asked,
        "passes": {
            name: {"kind": p.plan.kind, "iterations": p.iterations, "main_effects": max(1, len(p.variants))}
            for name, p in passes.by_name.items()
        },
        "shares": shares(planned),
        "cells": {
            label: {"values": {k: str(v) for k, v in planned.cells[label].values.items()}, "digests": digests[label]}
            for label in digests
        },
        "failed": dict(planned.failed),
        "wall_seconds": round(seconds, 3),
        "core_threads": cpu_count(),
    }


def descriptive(planned: Sweep) -> str:
    """Return the sentence that nothing corrects for the number of tests in a sweep."""
    return (
        f"descriptive: {planned.tests:,} thresholded analyses in {len(planned.prepared):,} cells; "
        "nothing corrects for their number"
    )


def shares(planned: Sweep) -> dict[str, str]:
    """Return for each axis in words how many passes serve the cells that differ along this axis alone."""
    first = next(iter(planned.prepared))
    start = planned.cells[first].values
    words = {}
    for axis in planned.axes:
        along = [
            label
            for label, cell in planned.cells.items()
            if label in planned.plans and all(cell.values[a] == start[a] for a in planned.axes if a != axis)
        ]
        identities = {plan.identity for label in along for plan in planned.plans[label].values()}
        where = {planned.passes.where[i] for i in identities}
        asked = sum(len(planned.plans[label]) for label in along)
        words[axis] = f"{asked} nulls of {len(along)} cells in {len(where)} passes"
    return words
