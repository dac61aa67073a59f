"""Read how far a run is: the iterations done, their rate, the threshold so far and what is decided."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ale_dask.analyses.kinds import PLANS, iterations_of
from ale_dask.analyses.statistics import null as null_statistic
from ale_dask.execution.block_store import segments, stored_plans
from ale_dask.execution.journal import events
from ale_dask.execution.monitor.state import DECISIONS
from ale_dask.execution.plan import Plan
from ale_dask.numerics import correct
from ale_dask.storage.location import Place, place
from ale_dask.storage.ownership import holds_atlas, holds_sweep
from ale_dask.workflows.literature_runs import stored_literature
from ale_dask.workflows.run_directory import Run, stored_run, stored_study
from ale_dask.workflows.sweep import plan_sweep
from ale_dask.workflows.sweep_passes import KeptPass, kept_passes, list_passes, store_passes

_RECENT_SECONDS = 60.0


@dataclass(frozen=True)
class AnalysisStatus:
    """The progress of one analysis: iterations done and wanted, their rate, and the threshold so far."""

    analysis: str
    done: int
    iterations: int
    rate: float
    """Iterations per second over the last minute, from the times at which blocks were written."""
    cut: tuple[float, float, float] | None
    """The threshold so far and its 95 % interval, in `unit`; None while there are too few iterations.

    The uniform null has none where the base rate alone decides.
    """
    unit: str
    """The unit of the cut: voxels, mass, ALE or TFCE, or for a base-rate null voxels, summed z, z or TFCE."""
    clusters: dict[str, int] | None = None
    """The number of clusters that are "significant", "not" and "undecided" so far; None where none are tested."""
    failed: int = 0
    """Number of blocks that failed for good under the last driver."""
    counts: str = "iterations"
    """What `done` and `iterations` count; "sets" of a database that are tested each by itself."""


def _passes_of_sweep(out: Place) -> list[KeptPass]:
    if (kept := kept_passes(out)) is not None:
        return kept
    # A sweep that keeps no list of its passes: planning every combination takes a while.
    planned = plan_sweep(stored_study(out), keep_going=True)
    return list_passes(store_passes(out, planned.passes), planned.plans)


class PassesReader:
    """Reads how many iterations are done of passes that have no threshold of their own."""

    def __init__(self, out: Place, passes: Sequence[KeptPass], *, counts: str = "iterations") -> None:
        self.out, self.run, self.passes, self.counts = out, Run.at(out), passes, counts

    def __call__(self) -> list[AnalysisStatus]:
        """Return the status of every pass."""
        failed = _failed(self.out)
        return [self._status(each, failed=failed[each.plan.name]) for each in self.passes]

    def _status(self, each: KeptPass, *, failed: int) -> AnalysisStatus:
        done, recent, now = 0, 0, time.time()
        have = segments(self.out, each.plan)
        for segment in have:
            for block, changed in self.run.sink(each.plan, segment).present().items():
                iterations = segment.range_of(block)[1]
                done += iterations
                recent += iterations if now - changed < _RECENT_SECONDS else 0
        total = max(sum(s.iterations for s in have), each.iterations)
        rate = recent / _RECENT_SECONDS
        return AnalysisStatus(each.serves, done, total, rate, None, "", None, failed, self.counts)


def status_reader(out: str | Place) -> Callable[[], list[AnalysisStatus]]:
    """Return a function that returns how far the run, sweep or sets in OUT are, and that may be called repeatedly."""
    out = place(out)
    if holds_atlas(out):
        plan = stored_literature(out)[0]
        return PassesReader(out, [KeptPass(plan, len(plan.names), "atlas")], counts="sets")
    return PassesReader(out, _passes_of_sweep(out)) if holds_sweep(out) else StatusReader(out)


class StatusReader:
    """Reads the status of a run repeatedly; a block that was once read whole is not read again."""

    def __init__(self, out: str | Place) -> None:
        self.out = place(out)
        self.prepared, self.plans = stored_run(self.out)
        self.run = Run.at(self.out)
        self.seen: dict[tuple[str, int, int], npt.NDArray[np.int64]] = {}
        self.observed: dict[str, tuple[npt.NDArray[np.int64], float] | None] = {}

    def __call__(self) -> list[AnalysisStatus]:
        """Return the status of every main effect and contrast."""
        failed = _failed(self.out)
        return [self._status(name, plan, failed=failed[plan.name]) for name, plan in self.plans.items()]

    def statistics(self) -> list[AnalysisStatus]:
        """Return the status of every statistic of a whole map that was begun, which a run is complete without.

        Those that the study asks for are not among them, but for Dice with a main effect.
        """
        failed = _failed(self.out)
        own = {plan.identity for plan in self.plans.values()}
        plans = {n: plan for n, plan in stored_plans(self.out, null_statistic.KIND).items() if plan.identity not in own}
        each = [self._status(name, plan, failed=failed[name], wanted=0) for name, plan in plans.items()]
        return [status for status in each if status.done]

    def _observed(self, name: str, plan: Plan) -> tuple[npt.NDArray[np.int64], float] | None:
        if name not in self.observed:
            self.observed[name] = PLANS[plan.kind].observed(plan, self.prepared.study.inference)
        return self.observed[name]

    def _status(self, name: str, plan: Plan, *, failed: int, wanted: int | None = None) -> AnalysisStatus:
        inference = self.prepared.study.inference
        wanted = iterations_of(plan, inference) if wanted is None else wanted
        have = segments(self.out, plan)
        now, recent = time.time(), 0
        statistic = PLANS[plan.kind].statistic(plan, inference)
        # A contrast without a component has no statistic: only its stamps are counted.
        column = -1 if statistic is None else statistic.column
        nulls = []
        for segment in have:
            sink = self.run.sink(plan, segment)
            present = sorted(sink.present().items())
            new = [block for block, _ in present if (name, segment.number, block) not in self.seen]
            for block, arrays in sink.read_all(new):
                if arrays is not None:
                    self.seen[name, segment.number, block] = arrays["null"][:, 1 + column].copy()
            for block, changed in present:
                key = (name, segment.number, block)
                if key in self.seen:
                    nulls.append(self.seen[key])
                    recent += len(nulls[-1]) if now - changed < _RECENT_SECONDS else 0
        null = np.concatenate(nulls) if nulls else np.empty(0, dtype=np.int64)
        total = max(sum(s.iterations for s in have), wanted)
        cut, decided = None, None
        if statistic is not None and len(null) >= 2 / inference.cluster_p:
            alpha = inference.cluster_p
            low, high = correct.cut_interval(null, alpha=alpha)
            at = correct.cut(null, alpha=alpha, rule=inference.cluster_cut)
            # A threshold whose interval has no upper end yet is too uncertain to show.
            if max(at, high) < correct.UNREACHABLE:
                cut = statistic.value(at), statistic.value(low), statistic.value(high)
            if (found := self._observed(name, plan)) is not None:
                r = correct.exceedances(null, found[0])
                words = correct.decisions(r, len(null), alpha=alpha, eps=found[1])
                decided = {word: words.count(word) for word in DECISIONS}
        unit = "" if statistic is None else statistic.unit
        return AnalysisStatus(name, len(null), total, recent / _RECENT_SECONDS, cut, unit, decided, failed)


def _failed(out: Place) -> Counter[str]:
    """Return the number of blocks that failed for good under the last driver of OUT, by analysis."""
    counts: Counter[str] = Counter()
    for event in events(out):
        if event["event"] == "started":
            counts.clear()
        elif event["event"] == "gave up":
            counts[str(event.get("analysis"))] += 1
    return counts


def status(out: str | Place) -> list[AnalysisStatus]:
    """Return the progress of each main effect, contrast and statistic of `null` of a run, or of each pass of a sweep.

    Parameters
    ----------
    out
        Folder of the run or sweep, or its address in object storage.

    Returns
    -------
    list of AnalysisStatus
        For each analysis with iterations its name, iterations done and wanted, and the threshold so far.

    Raises
    ------
    StoreError
        When the folder holds no run.

    Examples
    --------
    >>> next((each.analysis, each.done) for each in ale.status("out"))
    ('drug', 60)
    """
    reader = status_reader(out)
    return reader() + (reader.statistics() if isinstance(reader, StatusReader) else [])
