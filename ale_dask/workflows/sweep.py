"""A study under every combination of some settings: one list of passes, each shared by all cells that need it.

OUT/sweep.toml    the study with its axes, its files copied beside it
OUT/plans, store  the passes: the checkpoint, as in a run
OUT/sweep.json    cells, what each axis shares, digests
OUT/sweep.tsv     the clusters of all cells in one long table; OUT/sweep.parquet the same, where pyarrow is
OUT/stability/    per analysis the share of cells in which a voxel survives
OUT/axes/         a figure per axis
OUT/robustness.tsv   the places where any cell finds a cluster: in how many, and which axis that depends on
OUT/places/       the same as a figure per analysis
OUT/cells/        with maps=True a folder per cell
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.base_rate import base_rate_name
from ale_dask.analyses.base_rate import wanted as wants
from ale_dask.analyses.kinds import iterations_of, results_of
from ale_dask.analyses.ma import ale_union, ma_maps
from ale_dask.analyses.study_plans import Null, PreparedStudy
from ale_dask.config.inference import Inference
from ale_dask.config.study import Study
from ale_dask.errors import InputError
from ale_dask.execution.backends.connect import cpu_count, threads_of
from ale_dask.execution.plan import Plan
from ale_dask.numerics.warm import compile_beside
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.sensitivity.stability import Stability, axis_svg
from ale_dask.reporting.sensitivity.sweep_clusters import Places, write_places
from ale_dask.reporting.tables.long import long_table, long_tsv
from ale_dask.reporting.write import write_results
from ale_dask.storage.location import Place, place, replace_file, staged
from ale_dask.storage.ownership import claim
from ale_dask.version import __version__
from ale_dask.workflows.prepare import plans, prepare
from ale_dask.workflows.run import carry_out, workers_of
from ale_dask.workflows.run_directory import Run, Sizes, run_token, save_inputs
from ale_dask.workflows.sweep_cells import Axes, Cell, cells_of, same, shown_axes
from ale_dask.workflows.sweep_passes import Nulls, Passes, kept, passes

if TYPE_CHECKING:
    from distributed import Client


log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Sweep:
    """A sweep before it runs: its cells, those that cannot be run with the reason, and the passes they take."""

    study: Study
    axes: Axes
    """As they are shown."""
    given: Axes
    """As they were given: image files with their folders."""
    cells: Mapping[str, Cell]
    failed: Mapping[str, str]
    prepared: Mapping[str, PreparedStudy]
    plans: Mapping[str, Mapping[str, Plan]]
    passes: Passes

    @property
    def tests(self) -> int:
        """Number of thresholded analyses over all cells: nothing corrects for them."""
        return sum(len(p.study.analysis) for p in self.prepared.values())


def plan_sweep(study: Study, axes: Axes | None = None, *, keep_going: bool = False) -> Sweep:
    """Return the cells of a study and the passes they take, with every combination checked.

    `axes` replace the study's own table [sweep]. With `keep_going` a cell that cannot be run is named and left out.

    Raises
    ------
    InputError
        for an axis, a value, or (without `keep_going`) a cell that cannot be used; all such cells are named.
    """
    chosen = dict(axes or study.sweep)
    cells = {cell.label: cell for cell in cells_of(study, chosen)}
    prepared: dict[str, PreparedStudy] = {}
    made: dict[str, Mapping[str, Plan]] = {}
    failed: dict[str, str] = {}
    known: dict[str, Plan] = {}
    for label, cell in cells.items():
        try:
            one = prepare(cell.study)
            made[label], prepared[label] = plans(one, known=known), one
        except InputError as error:
            failed[label] = str(error)
    if failed and (not keep_going or not prepared):
        lines = [f"cell {label}: {why}" for label, why in failed.items()]
        raise InputError(
            "\n".join([*lines, f"{len(failed)} of {len(cells)} cells cannot be run (--keep-going leaves them out)"])
        )
    return Sweep(study, shown_axes(chosen), chosen, cells, failed, prepared, made, passes(prepared, made))


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
    """Run a study under every combination of some settings; passes over the draws that cells share are made once.

    Parameters
    ----------
    study
        Study, from `load_study`.
    out
        Folder of the sweep, or its address in object storage.
    axes
        Values of each setting by its name, in place of `[sweep]` of the study.
    keep_going
        Go on when a cell fails.
    maps
        Write the folder of every cell, with its maps.
    client
        Dask client to compute on; by default the backend of the study is started.
    quiet
        Show no progress.

    Returns
    -------
    table : pd.DataFrame
        Clusters of all cells (cluster), with a column for each setting.
    record : dict
        Record of the sweep: its cells, their digests, what failed.

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
    started = time.time()
    out = place(out)
    wanted = plan_sweep(study, axes, keep_going=keep_going)
    for label, why in wanted.failed.items():
        log.info(f"left out: cell {label}: {why}")
    compiler = compile_beside(base_rate=any(wants(one.study.inference) for one in wanted.prepared.values()))
    made = _create_sweep(wanted, out)
    log.info(f"{len(wanted.prepared)} cells, {wanted.passes.asked} nulls in {len(made.by_name)} passes")
    with workers_of(study.backend, client=client) as connected:
        if compiler is not None:
            compiler.wait()
        sizes, run = Sizes(study.backend, threads_of(connected, study.backend)), Run.at(out)
        jobs = [
            job
            for one in made.by_name.values()
            for job in run.jobs(one.plan, iterations=one.iterations, size=partial(sizes.of, one.plan, one.iterations))
        ]
        if sizes.takes:
            log.info(sizes.takes)
        carry_out(jobs, out, study=study, client=connected, quiet=quiet)
    return _collect(wanted, made, out, maps=maps, started=started)


def _create_sweep(wanted: Sweep, out: Place) -> Passes:
    """Return the passes of a sweep with their plans as OUT holds them, once it holds the study with its axes."""
    claim(out, ())
    run_token(out)
    axes = {name: list(values) for name, values in wanted.given.items()}
    study = wanted.study.model_copy(update={"sweep": axes})
    save_inputs(study, out, backend=study.backend, name="sweep.toml")
    return kept(out, wanted.passes)


def _collect(
    wanted: Sweep, made: Passes, out: Place, *, maps: bool, started: float
) -> tuple[pd.DataFrame, dict[str, Any]]:
    nulls, stability, places = Nulls(out, made), Stability(), Places()
    tables: list[pd.DataFrame] = []
    digests: dict[str, dict[str, str]] = {}
    with staged(out) as folder:
        for label, results, found in _results(wanted, nulls):
            digests[label] = found
            cell = wanted.cells[label]
            record = {
                "program": {"version": __version__},
                "analyses": {
                    name: {"digest": found.get(name), "digest_base_rate": found.get(base_rate_name(name))}
                    for name in results
                },
            }
            table = long_table([(label, cell.study, results, record)])
            for axis, value in reversed(cell.values.items()):
                table.insert(1, f"sweep.{axis}", [str(value)] * len(table))
            tables.append(table)
            stability.add(results)
            places.add(label, cell.values, results)
            if maps:
                where = folder / "cells" / same(cell.values)
                write_results(results, where, title=label, simulated=cell.study.simulated, drawn_by=None)
        whole = pd.concat(tables, ignore_index=True)
        record = _record(wanted, made, digests, seconds=time.time() - started)
        replace_file(folder / "sweep.tsv", long_tsv(whole))
        if find_spec("pyarrow") is None:
            log.info('no sweep.parquet: pip install "ale-dask[sweep]"')
        else:
            replace_file(folder / "sweep.parquet", whole.to_parquet(index=False))
        stability.write(folder / "stability", simulated=wanted.study.simulated)
        write_places(places, folder, simulated=wanted.study.simulated)
        for axis, values in wanted.axes.items():
            svg = axis_svg(whole, axis, [str(v) for v in values], simulated=wanted.study.simulated)
            if svg is not None:
                replace_file(folder / "axes" / f"{stem(axis)}.svg", svg.encode())
        replace_file(folder / "sweep.json", (json.dumps(record, indent=2) + "\n").encode())
    return whole, record


def _results(wanted: Sweep, nulls: Nulls) -> Iterator[tuple[str, dict[str, xr.Dataset], dict[str, str]]]:
    ale: dict[str, Any] = {}
    for label, prepared in wanted.prepared.items():
        found: dict[str, str] = {}
        mine = {name: nulls.plan(plan) for name, plan in wanted.plans[label].items()}
        maps = {}
        for name, sample in prepared.samples.items():
            own, i = sample.conventions(prepared.bits), prepared.study.inference
            key = str((own["foci"], own["mask"], i.within, i.fwhm, i.rounding, i.kernel, i.support))
            if key not in ale:
                ale[key] = ale_union(ma_maps(sample)).values
            maps[name] = ale[key]
        read = partial(_read, nulls, mine, prepared.study.inference, found)
        yield label, results_of(prepared, mine, read=read, ale=maps), found


def _read(nulls: Nulls, mine: Mapping[str, Plan], inference: Inference, digests: dict[str, str], name: str) -> Null:
    null, digests[name] = nulls.of(mine[name], iterations=iterations_of(mine[name], inference))
    return null


def _record(wanted: Sweep, made: Passes, digests: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
    return {
        "program": {"name": "ale_dask", "version": __version__},
        "title": wanted.study.title,
        "simulated": wanted.study.simulated,
        "descriptive": descriptive(wanted),
        "tests": wanted.tests,
        "axes": {name: [str(v) for v in values] for name, values in wanted.axes.items()},
        "nulls": wanted.passes.asked,
        "passes": {
            name: {"kind": one.plan.kind, "iterations": one.iterations, "main_effects": max(1, len(one.variants))}
            for name, one in made.by_name.items()
        },
        "shares": shares(wanted),
        "cells": {
            label: {"values": {k: str(v) for k, v in wanted.cells[label].values.items()}, "digests": digests[label]}
            for label in digests
        },
        "failed": dict(wanted.failed),
        "wall_seconds": round(seconds, 3),
        "core_threads": cpu_count(),
    }


def descriptive(wanted: Sweep) -> str:
    """Return in words that nothing corrects for the number of tests in a sweep."""
    return (
        f"descriptive: {wanted.tests:,} thresholded analyses in {len(wanted.prepared):,} cells; "
        "nothing corrects for their number"
    )


def shares(wanted: Sweep) -> dict[str, str]:
    """Return what cells that differ along one axis alone have in common, in words, by axis."""
    first = next(iter(wanted.prepared))
    start = wanted.cells[first].values
    said = {}
    for axis in wanted.axes:
        along = [
            label
            for label, cell in wanted.cells.items()
            if label in wanted.plans and all(cell.values[a] == start[a] for a in wanted.axes if a != axis)
        ]
        identities = {plan.identity for label in along for plan in wanted.plans[label].values()}
        where = {wanted.passes.where[i] for i in identities}
        asked = sum(len(wanted.plans[label]) for label in along)
        said[axis] = f"{asked} nulls of {len(along)} cells in {len(where)} passes"
    return said
