"""The figures of a run as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.jobs import ALL, CUBE, LEFT_OUT, OTHERS, OURS, PART, PROCESSES, ROWS, TFCE, TWO, WHOLE, Bench
from benchmarks.samples import DRAWN
from benchmarks.turns import Measured, spread

SIZES = {"A": "17/120", "B": "24/200", "C": "216/3869", **{k: f"{v[0]}/{v[1]}" for k, v in DRAWN.items()}}
JOBS = {
    "cluster": "cluster-FWE iteration",
    "observed": "observed map and analytic null",
    "tfce": "iteration with TFCE",
    "contrast": "contrast relabelling",
    "left-out": "iteration, and without each experiment",
}


def _size(sample: str) -> str:
    return " and ".join(SIZES[part] for part in sample.split("-"))


def _pairs(measured: Measured) -> Iterator[tuple[str, str]]:
    """Yield which times are compared: (the slower, ours)."""
    here = measured.seconds
    if measured.job == "tfce":
        yield from (("JALE, TFCE", TFCE),) if "JALE, TFCE" in here else ()
        return
    if measured.job == "left-out":
        yield LEFT_OUT, OURS
        return
    ours = WHOLE if measured.job == "contrast" else OURS
    for other in OTHERS.values():
        if other in here:
            if other == "NiMARE" and CUBE in here:
                yield other, CUBE
            yield other, ours
    if PART in here:
        yield WHOLE, PART
    for two in (TWO, PROCESSES):
        if two in here:
            yield OURS, two


def _line(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _head(*cells: str) -> list[str]:
    return [_line(*cells), "|" + "---|" * len(cells)]


def _added(measured: Measured) -> str:
    """Return the ratio of what TFCE adds to an iteration, by JALE and by ours."""
    theirs, ours = (
        [b - a for a, b in zip(measured.seconds[plain], measured.seconds[more], strict=True)]
        for plain, more in (("JALE", "JALE, TFCE"), (OURS, TFCE))
    )
    return spread([t / o for t, o in zip(theirs, ours, strict=True)], ".0f")


def markdown(bench: Bench, machine: dict[str, Any]) -> str:
    """Return the tables: times and ratios, what pruning saves, memory."""
    lines = [
        "# Benchmarks",
        "",
        f"{machine['cpu']}, one CPU unless said; Python {machine['python']}, numpy {machine['numpy']}, "
        f"numba {machine['numba']}. Median (range) of {bench.rounds} rounds in which the programs took turns; ratios "
        "are taken round by round. Times are of the CPU, those of 2 threads of the clock.",
        "",
        *_head("job", "experiments/foci", "against", "ms", "ours", "ms", "ratio"),
    ]
    for m in bench.measured:
        for other, ours in _pairs(m):
            times = [spread([1e3 * s for s in m.seconds[who]]) for who in (other, ours)]
            lines.append(
                _line(JOBS[m.job], _size(m.sample), other, times[0], ours, times[1], spread(m.ratio(other, ours)))
            )
        if m.job == "tfce" and "JALE, TFCE" in m.seconds:
            lines.append(_line("what TFCE adds", _size(m.sample), "JALE", "", "ours", "", _added(m)))
        if not list(_pairs(m)):
            for who in (w for w in m.seconds if w not in (ROWS, ALL)):
                lines.append(
                    _line(JOBS[m.job], _size(m.sample), "", "", who, spread([1e3 * s for s in m.seconds[who]]), "")
                )
    rows = [m for m in bench.measured if ROWS in m.seconds]
    if rows:
        columns = ("experiments/foci", "voxels looked at", "ms", "all of S, ms", "times", "its rows, hot, ms", "share")
        lines += ["", *_head(*columns)]
        for m in rows:
            pruned, whole, part = (spread([1e3 * s for s in m.seconds[who]]) for who in (OURS, ALL, ROWS))
            times, share = spread(m.ratio(ALL, OURS)), spread(m.ratio(ROWS, ALL), ".0%")
            lines.append(_line(_size(m.sample), f"{bench.looked_at[m.sample]:.2%}", pruned, whole, times, part, share))
    if bench.dask:
        lines += [
            "",
            f"Two threads through Dask reach {spread(bench.dask, '.1%')} of two bare processes (scripts/overhead).",
        ]
    if bench.worker:
        lines += ["", *_head("worker", "experiments/foci", "idle, MB", "block, MB", "above idle, MB")]
        for sample, w in bench.worker.items():
            figures = (f"{w['idle']:.0f}", f"{w['peak']:.0f}", f"{w['peak'] - w['idle']:.0f}")
            lines.append(_line("ours", _size(sample), *figures))
    if bench.peaks:
        lines += ["", *_head("peak of the process, MB", "ours", *OTHERS.values())]
        for sample, p in bench.peaks.items():
            lines.append(
                _line(_size(sample), *(f"{p[who]:.0f}" if who in p else "" for who in ("ours", *OTHERS.values())))
            )
    return "\n".join(lines) + "\n"
