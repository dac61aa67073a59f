"""What is measured: each job of one sample, or pair of samples, by every program that has it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks.environments import python_of
from benchmarks.plans import contrast_plan, left_out_plan, main_plan, with_kernels
from benchmarks.protocol import Child
from benchmarks.samples import DRAWN, Foci, make
from benchmarks.turns import Measured, Turn, in_turns

PAIRS = (("A", "B"), ("B", "C"))
GATED = 5_000
SMALL = ("A", "B")
OTHERS = {"nimare": "NiMARE", "jale": "JALE"}
# JALE holds every experiment as a whole volume of float64: 14 GB for sample D.
WITHOUT = {"jale": set(DRAWN), "nimare": {"E"}}
OURS, CUBE = "ours", "ours, NiMARE's kernels"
ALL = "ours, all of S"
TWO, PROCESSES = "ours, 2 threads", "ours, 2 processes"
ROWS = "rows"
WHOLE, PART, TFCE = "ours, whole brain", "ours, 5,000 voxels", "ours, TFCE"
LEFT_OUT = "ours, and each left out"


@dataclass
class Bench:
    """Where things are, how long to measure, and what came out."""

    folder: Path
    environments: Path
    cpus: list[int]
    rounds: int
    seconds: float
    programs: list[str]
    measured: list[Measured] = field(default_factory=list)
    peaks: dict[str, dict[str, float]] = field(default_factory=dict)
    worker: dict[str, dict[str, float]] = field(default_factory=dict)
    dask: list[float] = field(default_factory=list)
    looked_at: dict[str, float] = field(default_factory=dict)

    def child(self, program: str, *, cpu: int = 0) -> Child:
        """Start the child of a program on the first of our CPUs, or another."""
        if program == "ours":
            return Child(sys.executable, "ours", cpu=self.cpus[cpu], log=self.folder / "ours.log")
        python = python_of(program, self.environments)
        return Child(python, f"with_{program}", cpu=self.cpus[0], log=self.folder / f"{program}.log")

    def others(self, sample: str) -> list[str]:
        """Return the programs besides ours that a sample is not too large for."""
        return [p for p in self.programs if sample not in WITHOUT[p]]

    def foci(self, name: str) -> tuple[Foci, str]:
        """Return a sample and its file, made once."""
        path = self.folder / f"{name}.npz"
        if not path.exists():
            make(name).save(path)
        return Foci.load(path), str(path)

    def turns(self, job: str, sample: str, turns: list[Turn]) -> None:
        """Measure a job and keep it."""
        made = in_turns(job, sample, turns, rounds=self.rounds, seconds=self.seconds)
        self.measured.append(made)

    def plan(self, ours: Child, plan: Any, name: str) -> str:
        """Give a plan to our child under a name and return its file."""
        path = self.folder / f"{name}.plan.npz"
        path.write_bytes(plan.to_bytes())
        ours.ask("load", path=str(path), name=name)
        return str(path)


def _run(ours: Child, name: str, cpus: list[int] | None = None) -> Callable[[int], Any]:
    return lambda count: ours.ask("run", name=name, count=count, cpus=cpus)


def _halves(children: list[Child], name: str) -> Callable[[int], float]:
    """Return what runs half of the iterations in each of two processes at once and gives the time of the slower."""

    def ask(count: int) -> float:
        with ThreadPoolExecutor(2) as threads:
            done = threads.map(lambda child: child.ask("run", name=name, count=count // 2), children)
            return max(float(d["seconds"]) for d in done)

    return ask


def _seeded(child: Child, **more: Any) -> Callable[[int], Any]:
    seeds = iter(range(1, 1_000_000))
    return lambda count: child.ask("cluster", count=count, seed=next(seeds), **more)


def _of_the_null(bench: Bench, sample: str, ours: Child, others: dict[str, Child], stack: ExitStack) -> list[Turn]:
    """Return our turns of a null: alone, by two threads and processes, its rows, and all that with NiMARE's kernels."""
    foci, path = bench.foci(sample)
    plan = main_plan(foci, name=sample)
    bench.plan(ours, plan, sample)
    # An even number: two threads or processes take half of them each.
    turns = [Turn(OURS, _run(ours, sample), step=2)]
    if len(bench.cpus) > 1:
        second = stack.enter_context(bench.child("ours", cpu=1))
        bench.plan(second, plan, sample)
        turns.append(Turn(TWO, _run(ours, sample, bench.cpus[:2]), like=OURS))
        turns.append(Turn(PROCESSES, _halves([ours, second], sample), step=2))
    turns += _parts(bench, sample, ours)
    if "nimare" in others:
        kernels = bench.folder / f"{sample}-kernels.npz"
        others["nimare"].ask("kernels", foci=path, out=str(kernels))
        cube = f"{sample}-nimare"
        bench.plan(ours, with_kernels(plan, foci, kernels)[0], cube)
        turns.append(Turn(CUBE, _run(ours, cube)))
    return turns


def _parts(bench: Bench, sample: str, ours: Child) -> list[Turn]:
    """Return our turns that say what a null's time goes to: all of S in each voxel, and the rows that this adds."""
    bench.looked_at[sample] = ours.ask("looked_at", name=sample, count=5)
    return [
        Turn(ALL, lambda n: ours.ask("whole", name=sample, count=n), like=OURS),
        Turn(ROWS, lambda n: ours.ask("hot_rows", name=sample, times=n)),
    ]


def main_effects(bench: Bench, sample: str, *, jobs: set[str]) -> None:
    """Measure the cluster-level null, the observed map and TFCE of one sample, and what memory each program took."""
    foci, path = bench.foci(sample)
    with ExitStack() as stack:
        ours = stack.enter_context(bench.child("ours"))
        others = {p: stack.enter_context(bench.child(p)) for p in bench.others(sample)}
        for child in others.values():
            child.ask("load", foci=path)
        if "cluster" in jobs:
            turns = _of_the_null(bench, sample, ours, others, stack)
            turns += [Turn(OTHERS[p], _seeded(child)) for p, child in others.items()]
            bench.turns("cluster", sample, turns)
        if "observed" in jobs and sample not in DRAWN:
            turns = [Turn(OURS, lambda _: ours.ask("observed", foci=path, name=sample), most=1)]
            # The default of each closure is its own child.
            turns += [Turn(OTHERS[p], lambda _, c=child: c.ask("observed"), most=1) for p, child in others.items()]
            bench.turns("observed", sample, turns)
        if "tfce" in jobs and sample in SMALL:
            enhanced = f"{sample}-tfce"
            bench.plan(ours, main_plan(foci, name=sample), sample)
            bench.plan(ours, main_plan(foci, name=sample, correction="tfce"), enhanced)
            turns = [Turn(OURS, _run(ours, sample)), Turn(TFCE, _run(ours, enhanced))]
            if "jale" in others:
                turns += [
                    Turn("JALE", _seeded(others["jale"])),
                    Turn("JALE, TFCE", _seeded(others["jale"], tfce=True)),
                ]
            bench.turns("tfce", sample, turns)
        if "left-out" in jobs and sample in SMALL:
            bench.plan(ours, main_plan(foci, name=sample), sample)
            bench.plan(ours, left_out_plan(foci, name=sample), f"{sample}-left-out")
            turns = [Turn(OURS, _run(ours, sample)), Turn(LEFT_OUT, _run(ours, f"{sample}-left-out"))]
            bench.turns("left-out", sample, turns)
        bench.peaks[sample] = {"ours": ours.ask("peak")}
        bench.peaks[sample] |= {OTHERS[p]: child.ask("peak") for p, child in others.items()}


def contrasts(bench: Bench, pair: tuple[str, str]) -> None:
    """Measure relabellings of two samples over the whole mask, and ours over a gate too."""
    (a, path_a), (b, path_b) = (bench.foci(name) for name in pair)
    name = "-".join(pair)
    with ExitStack() as stack:
        ours = stack.enter_context(bench.child("ours"))
        others = {p: stack.enter_context(bench.child(p)) for p in bench.programs}
        for child in others.values():
            child.ask("load_contrast", a=path_a, b=path_b)
        bench.plan(ours, contrast_plan(a, b, names=pair, voxels=None), name)
        bench.plan(ours, contrast_plan(a, b, names=pair, voxels=GATED), f"{name}-gated")
        # 64 relabellings are looked at in one pass: fewer take as long.
        turns = [Turn(WHOLE, _run(ours, name), step=64), Turn(PART, _run(ours, f"{name}-gated"), step=64)]
        turns += [Turn(OTHERS[p], lambda n, c=child: c.ask("contrast", count=n)) for p, child in others.items()]
        bench.turns("contrast", name, turns)


def memory(bench: Bench, sample: str) -> None:
    """Measure what a worker of ours takes for a block of a sample, above what it takes when idle."""
    foci, _ = bench.foci(sample)
    plan = bench.folder / f"{sample}.memory.npz"
    plan.write_bytes(main_plan(foci, name=sample).to_bytes())
    with bench.child("ours") as ours:
        bench.worker[sample] = ours.ask("memory", path=str(plan), count=max(1, 10**6 // len(foci.ijk)))


def through_dask(bench: Bench) -> None:
    """Measure two threads through Dask beside two bare processes, which scripts/overhead does, and keep the ratios."""
    out = bench.folder / "overhead.json"
    script = Path(__file__).resolve().parents[1] / "overhead"
    options = ["throughput", "--backends", "threads", "--rounds", str(bench.rounds), "--seconds", "1"]
    subprocess.run([sys.executable, str(script), "-o", str(out), *options], check=True)
    bench.dask = json.loads(out.read_text())["ratio"]["threads"]


def everything(bench: Bench) -> None:
    """Measure sample E, all of Neurosynth, by ours alone: time, and memory of planning and iterations together."""
    _, path = bench.foci("E")
    with bench.child("ours") as ours:
        planning = ours.ask("observed", foci=path, name="E", keep=True)
        bench.measured.append(Measured("observed", "E", {OURS: [planning]}, {OURS: 1}))
        bench.turns("cluster", "E", [Turn(OURS, _run(ours, "E")), *_parts(bench, "E", ours)])
        bench.peaks["E"] = {"ours": ours.ask("peak")}


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the programs."""
    names = [x.partition(":")[2].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
    }
