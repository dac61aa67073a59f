"""Our null distributions against NiMARE's: on identical foci iteration by iteration, and on foci each draws itself.

Every array is kept in a folder and used again by the next call; ours are kept under a hash of the kernels' sources.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ale_dask.analyses import main_effect
from ale_dask.numerics import CACHE_DIRECTORY, correct
from ale_dask.numerics.draws import draw_voxels
from benchmarks.environments import python_of
from benchmarks.plans import dataset, main_plan, with_kernels
from benchmarks.protocol import Child
from benchmarks.samples import Foci, make

# Declared before anything was drawn. Chunk i of a sample has seed SEEDS[sample] + i.
SEEDS = {"A": 22_010_000, "B": 22_020_000, "C": 22_030_000}
SAME = {"A": 200, "B": 200, "C": 50}
CHUNK = 100
OURS_CHUNK = 5_000
ALPHA = 0.05
BAND = (204, 296)
"""Of 5,000 iterations above a 5 % cut: 99.9 % of samples from a null that is ours lie in it."""
NAMES = ("largest S", "cluster size", "cluster mass")


def our_draws(plan: main_effect.MainEffectPlan, foci: Foci, *, name: str, count: int) -> NDArray[np.int64]:
    """Return the voxels (iteration, focus) that our first iterations put the foci on, in the sample's order."""
    order = np.argsort(dataset(foci, name=name)["experiment_key"].values, kind="stable")
    assert np.array_equal(np.diff(foci.begin)[order], np.diff(plan.focus_begin))
    n_voxels = int(foci.volume.sum())
    drawn = np.empty((count, len(foci.ijk)), dtype=np.int64)
    for b in range(count):
        for key, e in zip(plan.draw_key, order, strict=True):
            draw_voxels(key, b, n_voxels, drawn[b], foci.begin[e], foci.begin[e + 1])
    return drawn


class Side:
    """One sample: our plan with NiMARE's kernels, and NiMARE in a child process."""

    def __init__(self, name: str, *, folder: Path, child: Child) -> None:
        self.name, self.folder, self.child = name, folder, child
        self.foci = make(name)
        path = str(self.foci.save(folder / f"{name}.npz"))
        kernels = folder / f"{name}-kernels.npz"
        child.ask("kernels", foci=path, out=str(kernels))
        self.plan, self.threshold = with_kernels(main_plan(self.foci, name=name), self.foci, kernels)
        self.unit = 2.0**-self.plan.bits
        child.ask("load", foci=path)
        digest = hashlib.sha256(self.plan.id.encode() + CACHE_DIRECTORY.name.encode())
        self.ours_key = digest.hexdigest()[:12]
        # Arrays of another threshold are another sample's.
        self.their_key = hashlib.sha256(f"{self.threshold!r}".encode()).hexdigest()[:12]

    def own(self, count: int) -> NDArray[np.float64]:
        """Return NiMARE's statistics (iteration, 4) of its own relocations."""
        chunks = []
        for i, first in enumerate(range(0, count, CHUNK)):
            size = min(CHUNK, count - first)
            path = self.folder / f"{self.name}-nimare-{self.their_key}-{i:03d}-{size}.npy"
            if not path.exists():
                seed = SEEDS[self.name] + i
                self.child.ask("own_draws", seed=seed, count=size, threshold=self.threshold, out=str(path))
                print(f"{self.name}: {first + size:,} of {count:,} iterations of NiMARE's own", flush=True)
            chunks.append(np.load(path))
        return np.concatenate(chunks)

    def same(self, count: int) -> NDArray[np.float64]:
        """Return NiMARE's statistics (iteration, 4) of our relocations."""
        drawn = our_draws(self.plan, self.foci, name=self.name, count=count)
        key = hashlib.sha256(drawn.tobytes()).hexdigest()[:12]
        path = self.folder / f"{self.name}-same-{self.their_key}-{key}.npy"
        if not path.exists():
            voxels = self.folder / f"{self.name}-drawn.npy"
            np.save(voxels, drawn)
            self.child.ask("same_draws", drawn=str(voxels), threshold=self.threshold, out=str(path))
        return np.load(path)  # type: ignore[no-any-return]

    def ours(self, count: int) -> NDArray[np.int64]:
        """Return our null (iteration, 3) with NiMARE's kernels."""
        chunks = []
        for first in range(0, count, OURS_CHUNK):
            size = min(OURS_CHUNK, count - first)
            path = self.folder / f"{self.name}-ours-{self.ours_key}-{first}-{size}.npy"
            if not path.exists():
                part = path.with_suffix(".part.npy")
                np.save(part, main_effect.block(self.plan, first, size)["null"])
                part.rename(path)
            chunks.append(np.load(path))
        return np.concatenate(chunks)


def identical(side: Side, count: int) -> dict[str, Any]:
    """Return how our statistics and NiMARE's of identical foci differ, and whether by no more than rounding."""
    theirs = side.same(count)
    ours = main_effect.block(side.plan, 0, count)["null"]
    s, mass = ours[:, 0] * side.unit, ours[:, 2] * side.unit
    ale = np.abs(np.expm1(-s) - np.expm1(-theirs[:, 0])).max()
    sizes = np.flatnonzero(ours[:, 1] != theirs[:, 1])
    # One unit for each experiment that may cover a voxel, and NiMARE's float32.
    each = len(side.foci.n) * side.unit + 1e-8
    wrong = np.flatnonzero(np.abs(mass - theirs[:, 2]) > each * np.maximum(ours[:, 1], 1))
    tied = np.flatnonzero(theirs[:, 3] <= each)
    return {
        "iterations": count,
        "largest difference of ALE maxima": float(ale),
        "unequal sizes": int(sizes.size),
        "unequal masses": int(wrong.size),
        "largest difference of masses": float(np.abs(mass - theirs[:, 2]).max()),
        "iterations with a voxel within rounding of the threshold": int(tied.size),
        "equal": bool(ale <= 1e-6 and np.isin(sizes, tied).all() and np.isin(wrong, tied).all()),
    }


def independent(side: Side, *, count: int, ours: int) -> dict[str, Any]:
    """Return how many of NiMARE's own iterations reach our 5 % cut, for each statistic."""
    theirs = np.rint(side.own(count)[:, :3] / [side.unit, 1, side.unit]).astype(np.int64)
    null = side.ours(ours)
    cuts = [correct.cut(null[:, i], alpha=ALPHA) for i in range(3)]
    above = [int((theirs[:, i] >= cut).sum()) for i, cut in enumerate(cuts)]
    return {
        "iterations": count,
        "our iterations": ours,
        "threshold": side.threshold,
        "cut": dict(zip(NAMES, (cuts[0] * side.unit, cuts[1], cuts[2] * side.unit), strict=True)),
        "above": dict(zip(NAMES, above, strict=True)),
        # The band is of 5,000; of fewer, as in a trial, it says nothing.
        "in band": all(BAND[0] <= n <= BAND[1] for n in above) if count == 5_000 else None,
    }


def run(options: argparse.Namespace) -> int:
    """Compare the nulls, print every figure and keep them in OUT/nulls.json; returns 1 when one is out of bounds."""
    folder = options.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {}
    python = python_of("nimare", options.envs)
    for name in options.samples:
        with Child(python, "with_nimare", cpu=options.cpu, log=folder / "nimare.log") as child:
            side = Side(name, folder=folder, child=child)
            # NiMARE's half first: it takes the hour.
            side.own(options.iterations)
            figures[name] = {"identical foci": identical(side, min(SAME[name], options.same))}
            print(name, json.dumps(figures[name], indent=1), flush=True)
            if options.ours_iterations:
                made = independent(side, count=options.iterations, ours=options.ours_iterations)
                figures[name]["own foci"] = made
                print(name, json.dumps(made, indent=1), flush=True)
    (folder / "nulls.json").write_text(json.dumps(figures, indent=1) + "\n")
    wrong = [
        name
        for name, f in figures.items()
        if not f["identical foci"]["equal"] or f.get("own foci", {}).get("in band") is False
    ]
    print("out of bounds: " + ", ".join(wrong) if wrong else "all within bounds")
    return 1 if wrong else 0
