"""The state behind the live view: counts of blocks, and the largest values of each null, which its threshold needs.

Drivers send a message when a run begins and ends, workers one per block; a block that is reported twice counts once.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ale_dask.config.inference import ClusterCut
from ale_dask.numerics.correct import decisions, exceedances, top_cut

TOPIC = "ale-dask"
MOST_RUNS = 20
"""Runs that are remembered; the oldest is forgotten first."""
_MARGIN = 4
"""A block sends this many times alpha of its values, the largest; the threshold needs alpha of them on average."""
_GROWTH = 1.05
"""Factor of iterations between two points of a threshold's history: 280 points from 10 to 10 million."""
NEAR = 0.05
"""Half width of a threshold's 95 % interval, relative to it, that suffices where no cluster has to be decided."""
DECISIONS = ("significant", "not", "undecided")
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Statistic:
    """The statistic of a null that has a threshold: its column, alpha, unit, factor and the rule of the threshold.

    An integer k of the null is k * factor in the unit, or 1 - exp(-k * factor) where the unit is ALE.
    """

    column: int
    alpha: float
    unit: str
    factor: float
    rule: ClusterCut = "plus-one"

    def value(self, k: float) -> float:
        """Return an integer of the null in the statistic's unit."""
        return -math.expm1(-k * self.factor) if self.unit == "ALE" else k * self.factor

    def largest(self, null: I64) -> bytes:
        """Return the largest values of a block's null (iteration, statistic), int64, that a threshold may need."""
        values = null[:, self.column]
        keep = min(len(values), 32 + math.ceil(_MARGIN * self.alpha * len(values)))
        return bytes(np.partition(values, len(values) - keep)[len(values) - keep :].astype("<i8").tobytes())


@dataclass
class Analysis:
    """The progress of one analysis of a run; times in s, thresholds (iterations, value, low, high) in their unit."""

    wanted: int = 0
    earlier: int = 0
    """Iterations that were stored before this run began."""
    statistic: Statistic | None = None
    observed: I64 | None = None
    """The statistic of each observed cluster (cluster), or None where it is not a statistic of clusters."""
    mm3: float | None = None
    """Volume of a voxel in mm³, where it is known: thresholds in voxels are then shown as volumes."""
    eps: float = 0.0
    """Error probability of the confidence sequence of each cluster."""
    decided: Counter[str] | None = None
    """Numbers of observed clusters that are "significant", "not" and "undecided"."""
    done: int = 0
    failed: int = 0
    retried: int = 0
    seconds: float = 0.0
    blocks: set[str] = field(default_factory=set)
    top: list[I64] = field(default_factory=list)
    seen: int = 0
    """Iterations whose largest values are in `top`."""
    history: list[tuple[int, float, float, float]] = field(default_factory=list)

    def take(self, largest: bytes, *, iterations: int) -> None:
        """Add the largest values of so many further iterations."""
        self.top.append(np.frombuffer(largest, dtype="<i8").astype(np.int64))
        self.seen += int(iterations)

    def look(self) -> None:
        """Add a point to the threshold's history if there are enough more iterations."""
        if self.statistic is None or not self.seen:
            return
        last = self.history[-1][0] if self.history else 0
        complete = self.seen > last and self.seen >= self.wanted
        if self.seen < last * _GROWTH and not complete:
            return
        # Twice as many as the threshold of all iterations will need: no smaller value is asked for any more.
        needed = 64 + math.ceil(2 * self.statistic.alpha * max(self.wanted, self.seen))
        ordered = np.sort(np.concatenate(self.top))[::-1][:needed]
        self.top = [ordered]
        found = top_cut(ordered, self.seen, alpha=self.statistic.alpha, rule=self.statistic.rule)
        if found is not None:
            cut, low, high = (self.statistic.value(k) for k in found)
            self.history.append((self.seen, cut, low, high))
        if self.observed is not None:
            # Values below the kept ones are not counted in r: there the decision is clear without them.
            r = exceedances(ordered, self.observed)
            self.decided = Counter(decisions(r, self.seen, alpha=self.statistic.alpha, eps=self.eps))


@dataclass
class Run:
    """One run of a driver."""

    title: str = ""
    client: str = ""
    """Id of its Dask client; the run ends when this client does."""
    started: float = field(default_factory=time.time)
    ended: str = ""
    heard: float = field(default_factory=time.time)
    rate: list[tuple[float, int]] = field(default_factory=list)
    """Times (s since 1970) and iterations done by then, of the last minutes."""
    analyses: dict[str, Analysis] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Iterations asked for, of all analyses."""
        return sum(a.wanted for a in self.analyses.values())

    @property
    def done(self) -> int:
        """Iterations computed, of all analyses."""
        return sum(a.earlier + a.done for a in self.analyses.values())

    def per_second(self) -> float:
        """Return the iterations per second over the last minute."""
        if len(self.rate) < 2:
            return 0.0
        (first, before), (last, after) = self.rate[0], self.rate[-1]
        return (after - before) / max(last - first, 1e-9)


class Board:
    """All runs reported to a scheduler, by their tokens."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def receive(self, message: Mapping[str, Any]) -> None:
        """Update a run by a message of its driver or workers; a message without a run is ignored."""
        token, what = str(message.get("run", "")), message.get("what")
        if not token:
            return
        run = self.runs.setdefault(token, Run())
        run.heard = time.time()
        while len(self.runs) > MOST_RUNS:
            del self.runs[next(iter(self.runs))]
        if what == "begin":
            _begin(run, message)
        elif what == "end":
            run.ended = str(message["words"])
        elif what in ("block", "retried", "failed"):
            _block(run, message, what)

    def client_left(self, client: str) -> None:
        """Mark the runs of a client that is gone, and that had not ended, as lost."""
        for run in self.runs.values():
            if run.client == client and not run.ended:
                run.ended = "its driver was lost"

    def standings(self) -> list[dict[str, Any]]:
        """Return every run as plain values, newest first: counts, rate, seconds left, thresholds and advice."""
        return [_standing(token, run) for token, run in sorted(self.runs.items(), key=lambda item: -item[1].started)]


def _begin(run: Run, message: Mapping[str, Any]) -> None:
    run.title, run.client = str(message["title"]), str(message.get("client", ""))
    for name, each in message["analyses"].items():
        analysis = run.analyses.setdefault(name, Analysis())
        analysis.wanted, analysis.earlier = int(each["wanted"]), int(each["earlier"])
        analysis.statistic = Statistic(**each["statistic"]) if each["statistic"] else None
        analysis.mm3 = each.get("mm3")
        if each.get("observed") is not None:
            analysis.observed, analysis.eps = np.array(each["observed"], dtype=np.int64), float(each["eps"])
        if each["top"]:
            analysis.take(each["top"], iterations=each["seen"])


def _block(run: Run, message: Mapping[str, Any], what: str) -> None:
    analysis = run.analyses.setdefault(str(message["analysis"]), Analysis())
    if what == "retried":
        analysis.retried += 1
    elif what == "failed":
        analysis.failed += 1
    elif message["block"] not in analysis.blocks:
        analysis.blocks.add(message["block"])
        analysis.done += int(message["iterations"])
        analysis.seconds += float(message["seconds"])
        if message["top"]:
            analysis.take(message["top"], iterations=message["iterations"])
            analysis.look()
        run.rate.append((run.heard, run.done))
        while len(run.rate) > 2 and run.rate[0][0] < run.heard - 60:
            run.rate.pop(0)


def _standing(token: str, run: Run) -> dict[str, Any]:
    analyses = {}
    for name, a in run.analyses.items():
        a.look()
        threshold = dict(zip(("iterations", "value", "low", "high"), a.history[-1], strict=True)) if a.history else None
        analyses[name] = {
            "iterations": a.earlier + a.done,
            "wanted": a.wanted,
            "blocks": len(a.blocks),
            "failed": a.failed,
            "retried": a.retried,
            "seconds_per_block": a.seconds / len(a.blocks) if a.blocks else None,
            "threshold": threshold,
            "clusters": None if a.decided is None else {each: a.decided[each] for each in DECISIONS},
            "observed": _shown(a),
            "unit": a.statistic.unit if a.statistic else "",
            "mm3": a.mm3,
            "history": a.history,
        }
    rate = run.per_second()
    left = (run.total - run.done) / rate if rate > 0 and not run.ended else None
    return {
        "run": token,
        "title": run.title,
        "ended": run.ended,
        "seconds": (run.heard if run.ended else time.time()) - run.started,
        "rate": rate,
        "seconds_left": left,
        "advice": _advice(run),
        "analyses": analyses,
    }


def _shown(a: Analysis) -> list[float]:
    """Return the observed clusters, in the unit of the threshold, that are large enough to be drawn beside it."""
    if a.statistic is None or a.observed is None or not a.history:
        return []
    values = [a.statistic.value(int(k)) for k in a.observed]
    return [value for value in values if value >= a.history[-1][2] / 2]


def _advice(run: Run) -> str:
    said = advice(_known(run))
    if run.ended and run.done < run.total and not said.startswith("look"):
        return f"ended with {run.done:,} of {run.total:,} iterations: the same command goes on"
    return said


def _known(run: Run) -> Iterator[Known]:
    for name, a in run.analyses.items():
        complete = a.earlier + a.done >= a.wanted
        yield Known(name, complete, a.failed, a.history[-1][1:] if a.history else None, a.decided)


class Known(NamedTuple):
    """The state of one analysis that advice depends on."""

    name: str
    complete: bool
    failed: int
    """Blocks given up."""
    cut: tuple[float, float, float] | None
    """Threshold and the ends of its 95 % interval."""
    decided: Mapping[str, int] | None
    """How many clusters are "significant", "not" and "undecided"; None where they are not counted."""


def advice(known: Iterable[Known]) -> str:
    """Return in words whether to wait, extend or stop: by the undecided clusters, or the least known threshold.

    Decisions are those of confidence sequences, which may be looked at as often as one likes.
    """
    known = list(known)
    complete = all(each.complete for each in known)
    if failed := sum(each.failed for each in known):
        return f"look: {failed:,} block(s) failed; `ale-dask logs OUT` says why, the same command tries them again"
    wide = {each.name: (each.cut[2] - each.cut[1]) / 2 / each.cut[0] for each in known if each.cut and each.cut[0]}
    if not wide:
        return "enough: all iterations are there" if complete else "wait: no threshold yet"
    name, widest = max(wide.items(), key=lambda item: item[1])
    within = f"thresholds within ±{100 * widest:.1f} %" + (f", {name}'s the widest" if len(wide) > 1 else "")
    if ahead := sum(not each.complete and each.cut is None for each in known):
        return f"wait: {ahead:,} of {len(known):,} analyses have no result to look at yet; {within}"
    counted = [each.decided for each in known if each.decided is not None]
    if len(counted) == len(wide):
        number, undecided = (sum(each[what] for each in counted for what in of) for of in (DECISIONS, DECISIONS[-1:]))
        clear = undecided == 0
        if number == 0:
            why = "main effects have no cluster to decide"
        elif clear:
            why = f"all {number:,} clusters of main effects are decided"
        else:
            why = f"{undecided:,} of {number:,} clusters of main effects undecided"
    else:
        clear = widest < NEAR
        why = f"±{100 * NEAR:g} % is {'' if clear else 'not yet '}reached"
    if complete:
        return f"{'enough' if clear else 'extend, to twice the iterations'}: {why}; {within}"
    return f"wait{', or stop' if clear else ''}: {why}; {within}"


def begin(token: str, title: str, analyses: Mapping[str, Analysis], *, client: str = "") -> dict[str, Any]:
    """Return the message that begins a run; `top` of each analysis holds the largest values computed earlier."""
    return {
        "run": token,
        "what": "begin",
        "title": title,
        "client": client,
        "analyses": {
            name: {
                "wanted": a.wanted,
                "earlier": a.earlier,
                "seen": a.seen,
                "statistic": asdict(a.statistic) if a.statistic else None,
                "observed": None if a.observed is None else a.observed.tolist(),
                "eps": a.eps,
                "mm3": a.mm3,
                "top": np.concatenate(a.top).astype("<i8").tobytes() if a.top else b"",
            }
            for name, a in analyses.items()
        },
    }
