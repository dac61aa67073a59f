"""What a live view of runs knows: counts of blocks, and of each null's largest values as many as its threshold needs.

Told by messages, by drivers when a run begins and ends, by workers block by block; a block told twice counts once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.numerics.correct import top_cut

TOPIC = "ale-dask"
MOST_RUNS = 20
"""Runs that are remembered, the oldest forgotten first."""
_MARGIN = 4
"""Times the level: a block sends so many of its largest values, of which the threshold needs one on average."""
_GROWTH = 1.05
"""The threshold is looked at again after this much more iterations: 280 points from 10 to 10 million."""
NEAR = 0.05
"""Half of a threshold's 95 % interval, of its value, that is near enough."""
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Statistic:
    """Of a null: the column that a threshold is of, level, unit and factor; k factor, or of ALE 1 - exp(-k factor)."""

    column: int
    alpha: float
    unit: str
    factor: float

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
    """How far one analysis of a run is; times in s, threshold as (iterations, value, low, high) in its unit."""

    wanted: int = 0
    earlier: int = 0
    """Iterations that were there before this run began."""
    statistic: Statistic | None = None
    done: int = 0
    failed: int = 0
    retried: int = 0
    seconds: float = 0.0
    blocks: set[str] = field(default_factory=set)
    top: list[I64] = field(default_factory=list)
    seen: int = 0
    """Iterations whose largest values are in `top`."""
    history: list[tuple[int, float, float, float]] = field(default_factory=list)

    def look(self) -> None:
        """Add a point to the threshold's history if there are enough more iterations."""
        if self.statistic is None or not self.seen:
            return
        last = self.history[-1][0] if self.history else 0
        complete = self.seen > last and self.seen >= self.wanted
        if self.seen < last * _GROWTH and not complete:
            return
        ordered = np.sort(np.concatenate(self.top))[::-1]
        self.top = [ordered]
        found = top_cut(ordered, self.seen, alpha=self.statistic.alpha)
        if found is not None:
            cut, low, high = (self.statistic.value(k) for k in found)
            self.history.append((self.seen, cut, low, high))


@dataclass
class Run:
    """One run of a driver."""

    title: str = ""
    started: float = field(default_factory=time.time)
    ended: str = ""
    heard: float = field(default_factory=time.time)
    rate: list[tuple[float, int]] = field(default_factory=list)
    """Times (s since 1970) and iterations done by then, of the last minutes."""
    analyses: dict[str, Analysis] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Iterations wanted in all."""
        return sum(a.wanted for a in self.analyses.values())

    @property
    def done(self) -> int:
        """Iterations that are there."""
        return sum(a.earlier + a.done for a in self.analyses.values())

    def per_second(self) -> float:
        """Return the iterations per second over the last minute."""
        if len(self.rate) < 2:
            return 0.0
        (first, before), (last, after) = self.rate[0], self.rate[-1]
        return (after - before) / max(last - first, 1e-9)


class Board:
    """All runs that a scheduler has been told of, by their tokens."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}

    def tell(self, message: Mapping[str, Any]) -> None:
        """Take in a message; one that makes no sense is left out, whoever sent it."""
        token, what = str(message.get("run", "")), message.get("what")
        if not token:
            return
        run = self.runs.setdefault(token, Run())
        run.heard = time.time()
        while len(self.runs) > MOST_RUNS:
            del self.runs[next(iter(self.runs))]
        if what == "begin":
            run.title = str(message["title"])
            for name, each in message["analyses"].items():
                analysis = run.analyses.setdefault(name, Analysis())
                analysis.wanted, analysis.earlier = int(each["wanted"]), int(each["earlier"])
                analysis.statistic = Statistic(**each["statistic"]) if each["statistic"] else None
                if each["top"]:
                    analysis.top.append(np.frombuffer(each["top"], dtype="<i8").astype(np.int64))
                    analysis.seen += int(each["seen"])
        elif what == "end":
            run.ended = str(message["words"])
        elif what in ("block", "retried", "failed"):
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
                    analysis.top.append(np.frombuffer(message["top"], dtype="<i8").astype(np.int64))
                    analysis.seen += int(message["iterations"])
                    analysis.look()
                run.rate.append((run.heard, run.done))
                while len(run.rate) > 2 and run.rate[0][0] < run.heard - 60:
                    run.rate.pop(0)

    def standings(self) -> list[dict[str, Any]]:
        """Return every run as JSON has it, newest first: counts, rate, seconds left, thresholds, and what to do."""
        return [_standing(token, run) for token, run in sorted(self.runs.items(), key=lambda one: -one[1].started)]


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
            "unit": a.statistic.unit if a.statistic else "",
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
        "advice": advice(run),
        "analyses": analyses,
    }


def advice(run: Run) -> str:
    """Return in words whether to wait, extend or stop: by how near the thresholds are to where they will end."""
    if failed := sum(a.failed for a in run.analyses.values()):
        return f"look: {failed} block(s) failed, `ale-dask logs OUT` says why"
    wide = {
        name: (high - low) / 2 / value for name, a in run.analyses.items() for _, value, low, high in a.history[-1:]
    }
    if not wide:
        return "wait: no threshold yet"
    name, most = max(wide.items(), key=lambda one: one[1])
    known = f"the least known threshold, {name}'s, is known to ±{100 * most:.1f} %"
    if run.done < run.total and not run.ended:
        return f"wait{', or stop' if most < NEAR else ''}: {known}"
    if most < NEAR:
        return f"enough: {known}"
    # The interval narrows with the square root of the iterations.
    more = max(a.wanted for a in run.analyses.values()) * (most / NEAR) ** 2
    return f"extend, to about {math.ceil(more / 1000) * 1000:,} iterations for ±{100 * NEAR:g} %: {known}"


def begin(token: str, title: str, analyses: Mapping[str, Analysis]) -> dict[str, Any]:
    """Return the message that a run begins with; `top` of each analysis holds what was there before."""
    return {
        "run": token,
        "what": "begin",
        "title": title,
        "analyses": {
            name: {
                "wanted": a.wanted,
                "earlier": a.earlier,
                "seen": a.seen,
                "statistic": asdict(a.statistic) if a.statistic else None,
                "top": np.concatenate(a.top).astype("<i8").tobytes() if a.top else b"",
            }
            for name, a in analyses.items()
        },
    }
