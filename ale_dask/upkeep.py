"""What is done with a run once it is laid out: count it, extend it, compute a share of it, check its bits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ale_dask.distribution.plan import compute_block
from ale_dask.distribution.segments import segments, sink
from ale_dask.runs import jobs_of, nonce_of, run, stored
from ale_dask.study import counts_of, iterations_of
from ale_dask.words.errors import InputError, StoreError


def extend(out: str | Path, *, iterations: int, **options: Any) -> tuple[dict[str, xr.Dataset], dict[str, Any]]:
    """Return the results and record of the run in OUT at `iterations` in all, computing only the new ones.

    `options` are those of `run`.

    Raises
    ------
    StoreError
        when OUT holds no run.
    """
    prepared, _ = stored(Path(out))
    inference = prepared.study.inference.model_copy(update={"iterations": iterations})
    return run(prepared.study.model_copy(update={"inference": inference}), out, **options)


def run_share(out: str | Path, *, index: int, shares: int | None = None) -> int:
    """Return how many blocks of OUT were computed here: those number index, index + shares … that are missing.

    The blocks of all analyses form one list; without `shares` it is the one block number `index`. No scheduler
    takes part, so the tasks of a job array can run this side by side.

    Raises
    ------
    StoreError
        when OUT holds no run.
    InputError
        when there is no such share or block.
    """
    out = Path(out)
    prepared, made = stored(out)
    jobs = jobs_of(prepared, out, made, workers=shares or 1)
    blocks = [(job, block) for job in jobs for block in range(job.segment.n_blocks)]
    step = shares or len(blocks)
    if not 0 <= index < step:
        raise InputError(f"block {index}: {out} has {'shares' if shares else 'blocks'} 0 to {step - 1}")
    mine = [(job, block) for job, block in blocks[index::step] if job.sink.read(block) is None]
    for job, block in mine:
        job.sink.write(block, compute_block(job.plan, job.segment, block, function=job.function))
    return len(mine)


def verify(out: str | Path, *, blocks: int = 10, seed: int | None = None) -> list[str]:
    """Return a line for each of some random blocks of OUT that, computed again here, has other bits.

    Raises
    ------
    StoreError
        when OUT holds no run, or none of its blocks is done.
    """
    out = Path(out)
    prepared, made = stored(out)
    jobs = jobs_of(prepared, out, made, workers=1)
    done = [(job, block) for job in jobs for block in range(job.segment.n_blocks) if job.sink.read(block) is not None]
    if not done:
        raise StoreError(f"{out}: no block is done yet; run it first")
    wrong = []
    for job, block in random.Random(seed).sample(done, min(blocks, len(done))):
        again = compute_block(job.plan, job.segment, block, function=job.function)
        kept = job.sink.read(block) or {}
        if any(kind not in kept or not np.array_equal(again[kind], kept[kind]) for kind in again):
            first, count = job.segment.range_of(block)
            wrong.append(f"{job.plan.name}: iterations {first} to {first + count - 1} differ from the stored ones")
    return wrong


def status(out: Path) -> Iterator[tuple[str, int, int]]:
    """Yield the name of every main effect and contrast in OUT with its iterations done and wanted.

    Raises
    ------
    StoreError
        when OUT holds no run.
    """
    prepared, made = stored(out)
    nonce = nonce_of(out)
    for name, plan in made.items():
        have = segments(out, plan)
        missing = 0
        for segment in have:
            left = sink(out, plan, segment, extra=counts_of(plan), nonce=nonce).missing()
            missing += sum(segment.range_of(b)[1] for b in left)
        total = sum(s.iterations for s in have)
        yield name, total - missing, max(total, iterations_of(plan, prepared.study.inference))
