"""Programs that take turns on one job, and what their times say beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Turn:
    """One program's way of doing a job: `ask` does so many iterations and returns seconds, or those and a digest."""

    who: str
    ask: Callable[[int], Any]
    step: int = 1
    """Iterations come in multiples of this."""
    most: int = 1_000_000
    like: str | None = None
    """Another turn of the same iterations, whose number and digest this one must have."""


@dataclass
class Measured:
    """Seconds per iteration of each round, by turn, with the number of iterations."""

    job: str
    sample: str
    seconds: dict[str, list[float]]
    counts: dict[str, int]
    digests: dict[str, str] = field(default_factory=dict)

    def ratio(self, over: str, under: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return how many times the seconds of `under` those of `over` are, round by round."""
        return np.array(self.seconds[over]) / np.array(self.seconds[under])


def in_turns(job: str, sample: str, turns: Sequence[Turn], *, rounds: int, seconds: float) -> Measured:
    """Return the times of every turn in every round, each about `seconds` long or one step; the order alternates.

    Raises
    ------
    ValueError
        when a turn's result differs between rounds, or from that of the turn it should be like.
    """
    measured = Measured(job, sample, {t.who: [] for t in turns}, {})

    def one(turn: Turn, count: int) -> float:
        answer = turn.ask(count)
        if not isinstance(answer, dict):
            return float(answer)
        key = turn.like or turn.who
        if count == measured.counts.get(turn.who) and answer["digest"] != measured.digests.setdefault(
            key, answer["digest"]
        ):
            raise ValueError(f"{job} {sample}: the results of '{turn.who}' differ from '{key}' or an earlier round")
        return float(answer["seconds"])

    for turn in turns:
        if turn.like is not None:
            measured.counts[turn.who] = measured.counts[turn.like]
            continue
        count = turn.step
        each = one(turn, count) / count
        # The first call may still load something: once more, unless it alone was long.
        if each * count < seconds / 4:
            count = max(1, int(seconds / 4 / each / turn.step)) * turn.step
            each = one(turn, min(count, turn.most)) / min(count, turn.most)
        measured.counts[turn.who] = min(turn.most, max(1, round(seconds / each / turn.step)) * turn.step)
    for number in range(rounds):
        for turn in turns if number % 2 == 0 else turns[::-1]:
            count = measured.counts[turn.who]
            measured.seconds[turn.who].append(one(turn, count) / count)
        times = "  ".join(f"{who} {1e3 * each[-1]:.4g}" for who, each in measured.seconds.items())
        print(f"{job} {sample}, round {number + 1}, ms: {times}", flush=True)
    return measured


def spread(values: Any, form: str = "") -> str:
    """Return the median with the range of values, as text: in a given format or with three digits that count."""

    def text(value: float) -> str:
        return format(value, form or (",.0f" if abs(value) >= 1000 else "#.3g")).rstrip(".")

    low, middle, high = (text(float(f(values))) for f in (np.min, np.median, np.max))
    return f"{middle} ({low}-{high})"
