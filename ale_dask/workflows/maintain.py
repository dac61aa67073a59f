"""Work on a run that exists: extend it, compute a share of its blocks, verify it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ale_dask.analyses.ma import broken_maps
from ale_dask.analyses.main_effect import MainEffectPlan
from ale_dask.analyses.sensitivity import leave_one_out_maps as left_out
from ale_dask.analyses.study_plans import PreparedStudy
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import Study, main_effects_of
from ale_dask.errors import InputError, StoreError, did_you_mean
from ale_dask.execution.block_store import StoreSink
from ale_dask.execution.executors import Job, execute
from ale_dask.execution.journal import Journal
from ale_dask.execution.plan import Plan, compute_block, of_type
from ale_dask.reporting.common.written import differing_results
from ale_dask.storage.location import Place, place
from ale_dask.storage.ownership import holds_atlas
from ale_dask.workflows.literature_runs import literature_jobs, stored_literature
from ale_dask.workflows.run import run
from ale_dask.workflows.run_directory import jobs_of, stored_run


def extend(out: str | Place, *, iterations: int, **options: Any) -> tuple[dict[str, xr.Dataset], RunRecord]:
    """Extend a run to more iterations and return its results; only the new iterations are computed.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    iterations
        Number of iterations in all.
    **options
        Further arguments of `run`.

    Returns
    -------
    results : dict
        Result of every analysis by its name.
    record : dict
        Content of run.json.

    Raises
    ------
    InputError
        When the run has more iterations already.
    StoreError
        When the folder holds no run.

    Examples
    --------
    >>> results, record = ale.extend("out", iterations=80, quiet=True)
    >>> results["drug"].sizes["iteration"]
    80
    """
    prepared, _ = stored_run(place(out))
    return run(extended(prepared.study, out, iterations=iterations), out, **options)


def extended(study: Study, out: str | Place, *, iterations: int) -> Study:
    """Return the study of a run in OUT with more iterations.

    Raises
    ------
    InputError
        when the study has more iterations already: clusters would be lost by a command that promises more of them.
    """
    if iterations < study.inference.iterations:
        raise InputError(
            f"{out}: has {study.inference.iterations:,} iterations already, and {iterations:,} are the number in all, "
            f"not one to add; give a larger one, or show the results of the first {iterations:,} by "
            f"`ale-dask run {out} -o {out} -i {iterations}`"
        )
    inference = study.inference.model_copy(update={"iterations": iterations})
    return study.model_copy(update={"inference": inference})


def run_share(out: str | Place, *, index: int, shares: int | None = None) -> int:
    """Compute one share of the missing blocks of a run in this process and return how many were computed.

    The blocks of all analyses form one list; a share has blocks `index`, `index + shares` and so on. No scheduler takes
    part, so that the tasks of a job array can compute their shares side by side.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    index
        Number of the share, from 0; without `shares`, the number of the only block to compute.
    shares
        Number of shares.

    Returns
    -------
    int
        Number of blocks that were missing and are computed now.

    Raises
    ------
    StoreError
        When the folder holds no run.
    InputError
        When there is no such share or block.
    UnfinishedError
        When blocks failed three times; the others are done.

    Examples
    --------
    >>> ale.run_share("out", index=0, shares=4)
    0
    """
    out = place(out)
    jobs, _ = _jobs_in(out, workers=shares or 1)
    blocks = [(job, block) for job in jobs for block in range(job.segment.n_blocks)]
    step = shares or len(blocks)
    if not 0 <= index < step:
        raise InputError(f"block {index}: {out} has {'shares' if shares else 'blocks'} 0 to {step - 1}")
    missing = [(job, block) for job, block in blocks[index::step] if job.sink.read(block) is None]
    execute(missing, report=Journal(out).step)
    return len(missing)


def verify(out: str | Place, *, blocks: int = 10, seed: int | None = None) -> list[str]:
    """Verify a run: compare every stored file with its checksum, and compute some of its blocks again.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    blocks
        Number of random blocks that are computed again and compared bit by bit.
    seed
        Seed of the choice of blocks; by default every call chooses others.

    Returns
    -------
    list of str
        One line per file or block that is missing, damaged or different; empty if there is none.

    Raises
    ------
    StoreError
        When the folder holds no run, no block is done, or a plan, a segment or the study is damaged.

    Examples
    --------
    >>> ale.verify("out", blocks=2)
    []
    """
    out = place(out)
    jobs, damaged_maps = _jobs_in(out, workers=1)
    done: list[tuple[Job, int]] = []
    for job in jobs:
        missing = set(job.sink.missing())
        done += [(job, block) for block in range(job.segment.n_blocks) if block not in missing]
    if not done:
        raise StoreError(f"{out}: no block is done yet; run it first")
    wrong = [*_lost_blocks(out, jobs, done), *damaged_maps(), *differing_results(out)]
    for job, block in random.Random(seed).sample(done, min(blocks, len(done))):
        recomputed = compute_block(job.plan, job.segment, block, function=job.function)
        stored = job.sink.read(block) or {}
        if any(kind not in stored or not np.array_equal(recomputed[kind], stored[kind]) for kind in recomputed):
            first, count = job.segment.range_of(block)
            wrong.append(f"{job.plan.name}: iterations {first} to {first + count - 1} differ from the stored ones")
    return wrong


def _jobs_in(out: Place, *, workers: int) -> tuple[list[Job], Callable[[], list[str]]]:
    """Return the jobs of a run or of the sets in OUT, and the function that returns a line per damaged map."""
    if holds_atlas(out):
        return literature_jobs(out, stored_literature(out)[0]), list
    prepared, plans = stored_run(out)
    return jobs_of(prepared, out, plans, workers=workers), partial(_damaged_maps, out, prepared, plans)


def _lost_blocks(out: Place, jobs: Sequence[Job], done: Sequence[tuple[Job, int]]) -> list[str]:
    """Return a line per segment whose blocks are damaged, or missing although the written results need them."""
    intact = {(id(job), block) for job, block in done}
    lines = []
    for job in jobs:
        there = job.sink.present() if isinstance(job.sink, StoreSink) else {}
        lost = [
            block
            for block in range(job.segment.n_blocks)
            if (id(job), block) not in intact and (block in there or _recorded(out, job))
        ]
        if lost:
            lines.append(
                f"{job.plan.name}: {len(lost)} block(s) of segment {job.segment.number} missing or damaged, the first "
                f"is {lost[0]}; run again with the same -o to redo them"
            )
    return lines


def _recorded(out: Place, job: Job) -> bool:
    """Return whether run.json lists the segment of a job among those that the written results were made of."""
    try:
        record = json.loads((out / "run.json").read_bytes())
        return len(record["analyses"][job.plan.name]["segments"]) > job.segment.number
    except (OSError, ValueError, KeyError, TypeError):
        # There are no results yet, or run.json names the plan differently, as for a contrast, or it is damaged, which
        # another line says.
        return (out / "run.json").is_file()


def _damaged_maps(out: Place, prepared: PreparedStudy, plans: Mapping[str, Plan]) -> list[str]:
    """Return a line per stored MA map, or ALE map without an experiment, that differs from its checksum."""
    lines = []
    for name in main_effects_of(prepared.study):
        group = f"store.zarr/{name}/maps"
        broken = broken_maps(out, name, identity=plans[name].identity)
        if broken is None and (out / group / "zarr.json").is_file():
            lines.append(f"{group}: no checksums belong to these maps; run again with the same -o to make them again")
        for file in broken or ():
            lines.append(f"{group}/{file}: not as it was written; run again with the same -o to make it again")
        for file in left_out.broken_leave_one_out(out, name):
            lines.append(
                f"store.zarr/{name}/{left_out.GROUP}/{file}: not as it was written; "
                f"`ale-dask leave-one-out {out} {name} --maps` makes it again"
            )
    return lines


def leave_one_out(out: str | Place, *, analysis: str | None = None) -> list[str]:
    """Store the ALE maps without each experiment of one or every main effect in OUT, and return where they are.

    Raises
    ------
    StoreError
        when OUT holds no run, or cannot be written.
    InputError
        when OUT has no main effect of that name.
    """
    out = place(out)
    prepared, plans = stored_run(out)
    if analysis is not None and analysis not in prepared.samples:
        hint = did_you_mean(analysis, prepared.samples)
        raise InputError(f"{analysis}: no main effect of {out}, which has {', '.join(prepared.samples)}{hint}")
    written = []
    for name in [analysis] if analysis else prepared.samples:
        plan = of_type(MainEffectPlan, plans[name])
        maps = left_out.leave_one_out(prepared.samples[name], s=plan.s, bits=plan.bits)
        written.append(left_out.store_leave_one_out(out, name, maps))
    return written
