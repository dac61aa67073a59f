"""What is done with a run once it is laid out: count it, extend it, compute a share of it, check its bits."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.kinds import PLANS, iterations_of
from ale_dask.analyses.ma import broken_maps
from ale_dask.analyses.sensitivity import leave_one_out_maps as left_out
from ale_dask.analyses.study_plans import PreparedStudy
from ale_dask.config.run_record import RunRecord
from ale_dask.config.study import main_effects_of
from ale_dask.errors import InputError, StoreError
from ale_dask.execution.block_store import StoreSink, segments
from ale_dask.execution.executors import Job, execute
from ale_dask.execution.journal import Journal, events
from ale_dask.execution.monitor.state import DECISIONS
from ale_dask.execution.plan import Plan, compute_block
from ale_dask.numerics import correct
from ale_dask.reporting.common.written import differing_results
from ale_dask.storage.location import Place, place
from ale_dask.workflows.run import run
from ale_dask.workflows.run_directory import Run, jobs_of, stored

_RECENT_SECONDS = 60.0


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
    StoreError
        When the folder holds no run.

    Examples
    --------
    >>> results, record = ale.extend("out", iterations=80, quiet=True)
    >>> results["drug"].sizes["iteration"]
    80
    """
    prepared, _ = stored(place(out))
    inference = prepared.study.inference.model_copy(update={"iterations": iterations})
    return run(prepared.study.model_copy(update={"inference": inference}), out, **options)


def run_share(out: str | Place, *, index: int, shares: int | None = None) -> int:
    """Compute one share of the missing blocks of a run in this process and return how many were computed.

    The blocks of all analyses form one list, of which share `index` is every `shares`-th block from that number on. No
    scheduler takes part, so that the tasks of a job array can do this side by side.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    index
        Number of the share, from 0; without `shares`, number of the only block to compute.
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
    prepared, made = stored(out)
    jobs = jobs_of(prepared, out, made, workers=shares or 1)
    blocks = [(job, block) for job in jobs for block in range(job.segment.n_blocks)]
    step = shares or len(blocks)
    if not 0 <= index < step:
        raise InputError(f"block {index}: {out} has {'shares' if shares else 'blocks'} 0 to {step - 1}")
    mine = [(job, block) for job, block in blocks[index::step] if job.sink.read(block) is None]
    execute(mine, report=Journal(out).step)
    return len(mine)


def verify(out: str | Place, *, blocks: int = 10, seed: int | None = None) -> list[str]:
    """Verify a run: compare every stored file with its checksum, and some blocks with a computation of them now.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.
    blocks
        Number of random blocks that are computed again and compared bit by bit.
    seed
        Seed of that choice; by default another choice each time.

    Returns
    -------
    list of str
        One line for everything that is not as it should be; none if all is well.

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
    prepared, made = stored(out)
    jobs = jobs_of(prepared, out, made, workers=1)
    done = [(job, block) for job in jobs for block in range(job.segment.n_blocks) if job.sink.read(block) is not None]
    if not done:
        raise StoreError(f"{out}: no block is done yet; run it first")
    wrong = [*_lost_blocks(out, jobs, done), *_broken_stored(out, prepared, made), *differing_results(out)]
    for job, block in random.Random(seed).sample(done, min(blocks, len(done))):
        again = compute_block(job.plan, job.segment, block, function=job.function)
        kept = job.sink.read(block) or {}
        if any(kind not in kept or not np.array_equal(again[kind], kept[kind]) for kind in again):
            first, count = job.segment.range_of(block)
            wrong.append(f"{job.plan.name}: iterations {first} to {first + count - 1} differ from the stored ones")
    return wrong


def _lost_blocks(out: Place, jobs: Sequence[Job], done: Sequence[tuple[Job, int]]) -> list[str]:
    """Return a line for each segment with blocks that are damaged, or missing though the results were made of them."""
    whole = {(id(job), block) for job, block in done}
    lines = []
    for job in jobs:
        there = job.sink.present() if isinstance(job.sink, StoreSink) else {}
        lost = [
            block
            for block in range(job.segment.n_blocks)
            if (id(job), block) not in whole and (block in there or _recorded(out, job))
        ]
        if lost:
            lines.append(
                f"{job.plan.name}: {len(lost)} block(s) of segment {job.segment.number} missing or damaged, the first "
                f"is {lost[0]}; run again with the same -o to redo them"
            )
    return lines


def _recorded(out: Place, job: Job) -> bool:
    """Return whether the results that were written are made of a segment, by what run.json says of the analysis."""
    try:
        record = json.loads((out / "run.json").read_bytes())
        return len(record["analyses"][job.plan.name]["segments"]) > job.segment.number
    except (OSError, ValueError, KeyError, TypeError):
        # No results yet; or they are a contrast's under another name, or run.json is damaged, which is said itself.
        return (out / "run.json").is_file()


def _broken_stored(out: Place, prepared: PreparedStudy, made: Mapping[str, Plan]) -> list[str]:
    lines = []
    for name in main_effects_of(prepared.study):
        group = f"store.zarr/{name}/maps"
        broken = broken_maps(out, name, identity=made[name].identity)
        if broken is None and (out / group / "zarr.json").is_file():
            lines.append(f"{group}: nothing vouches for these maps; run again with the same -o to make them again")
        for file in broken or ():
            lines.append(f"{group}/{file}: not as it was written; run again with the same -o to make it again")
        for file in left_out.broken_leave_one_out(out, name):
            lines.append(
                f"store.zarr/{name}/{left_out.GROUP}/{file}: not as it was written; "
                f"`ale-dask leave-one-out {out} {name} --maps` makes it again"
            )
    return lines


def leave_one_out(out: str | Place, *, analysis: str | None = None) -> list[str]:
    """Return where the ALE maps without each experiment of one or every main effect in OUT have been written.

    Raises
    ------
    StoreError
        when OUT holds no run, or cannot be written.
    InputError
        when there is no such main effect.
    """
    out = place(out)
    prepared, made = stored(out)
    if analysis is not None and analysis not in prepared.samples:
        raise InputError(f"{analysis}: no main effect of {out}, which has {', '.join(prepared.samples)}")
    written = []
    for name in [analysis] if analysis else prepared.samples:
        plan, chosen = made[name], prepared.samples[name]
        maps = left_out.leave_one_out(chosen, s=plan.arrays["s"], bits=int(plan.settings["bits"]))
        written.append(left_out.store_leave_one_out(out, name, maps))
    return written


@dataclass(frozen=True)
class Standing:
    """How far one analysis is."""

    analysis: str
    done: int
    iterations: int
    rate: float
    """Iterations per second over the last minute, by the times at which their blocks were written."""
    cut: tuple[float, float, float] | None
    """Of each null of a main effect: the threshold so far and its 95 % interval, in the unit of the correction.

    Of the uniform null there is none where the base rate alone decides.
    """
    unit: str
    """Of the cut: voxels, mass, ALE or TFCE; of a base-rate null voxels, summed z, z or TFCE."""
    clusters: dict[str, int] | None = None
    """How many clusters are "significant", "not" and "undecided" so far; None where it is not one of clusters."""
    failed: int = 0
    """Blocks that the last driver set aside."""


class Watch:
    """Looks at a run again and again; a block that was whole is not read twice."""

    def __init__(self, out: str | Place) -> None:
        self.out = place(out)
        self.prepared, self.plans = stored(self.out)
        self.run = Run.at(self.out)
        self.seen: dict[tuple[str, int, int], npt.NDArray[np.int64]] = {}
        self.observed: dict[str, tuple[npt.NDArray[np.int64], float] | None] = {}

    def __call__(self) -> list[Standing]:
        """Return how far every main effect and contrast is."""
        failed = _failed(self.out)
        return [self._standing(name, plan, failed=failed[plan.name]) for name, plan in self.plans.items()]

    def _observed(self, name: str, plan: Plan) -> tuple[npt.NDArray[np.int64], float] | None:
        if name not in self.observed:
            self.observed[name] = PLANS[plan.kind].observed(plan, self.prepared.study.inference)
        return self.observed[name]

    def _standing(self, name: str, plan: Plan, *, failed: int) -> Standing:
        inference = self.prepared.study.inference
        have = segments(self.out, plan)
        now, recent = time.time(), 0
        statistic = PLANS[plan.kind].statistic(plan, inference)
        # A contrast without a component has no statistic: only its stamps are counted.
        column = -1 if statistic is None else statistic.column
        nulls = []
        for segment in have:
            kept = self.run.sink(plan, segment)
            for block, changed in sorted(kept.present().items()):
                key = (name, segment.number, block)
                if key not in self.seen and (arrays := kept.read(block)) is not None:
                    self.seen[key] = arrays["null"][:, 1 + column].copy()
                if key in self.seen:
                    nulls.append(self.seen[key])
                    recent += len(nulls[-1]) if now - changed < _RECENT_SECONDS else 0
        null = np.concatenate(nulls) if nulls else np.empty(0, dtype=np.int64)
        total = max(sum(s.iterations for s in have), iterations_of(plan, inference))
        cut, decided = None, None
        if statistic is not None and len(null) >= 2 / inference.cluster_p:
            alpha = inference.cluster_p
            low, high = correct.cut_interval(null, alpha=alpha)
            at = correct.cut(null, alpha=alpha, rule=inference.cluster_cut)
            # Without an upper end of its interval the threshold so far says nothing yet.
            if max(at, high) < correct.UNREACHABLE:
                cut = statistic.value(at), statistic.value(low), statistic.value(high)
            if (found := self._observed(name, plan)) is not None:
                r = correct.exceedances(null, found[0])
                each = correct.decisions(r, len(null), alpha=alpha, eps=found[1])
                decided = {word: each.count(word) for word in DECISIONS}
        unit = "" if statistic is None else statistic.unit
        return Standing(name, len(null), total, recent / _RECENT_SECONDS, cut, unit, decided, failed)


def _failed(out: Place) -> Counter[str]:
    """Return how many blocks the last driver of OUT has set aside, by analysis."""
    found: Counter[str] = Counter()
    for event in events(out):
        if event["event"] == "started":
            found.clear()
        elif event["event"] == "gave up":
            found[str(event.get("analysis"))] += 1
    return found


def status(out: str | Place) -> list[Standing]:
    """Return how far each main effect and contrast of a run is.

    Parameters
    ----------
    out
        Folder of the run, or its address in object storage.

    Returns
    -------
    list of Standing
        One for each analysis with iterations: its name, iterations done and wanted, threshold so far.

    Raises
    ------
    StoreError
        When the folder holds no run.

    Examples
    --------
    >>> next((standing.analysis, standing.done) for standing in ale.status("out"))
    ('drug', 60)
    """
    return Watch(out)()
