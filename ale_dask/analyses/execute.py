"""Compute a plan in memory, without a store, and measure how long its iterations take on this CPU."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import xarray as xr

from ale_dask.analyses.kinds import PLANS
from ale_dask.analyses.sample import Sample, sample
from ale_dask.config.inference import Inference
from ale_dask.coordinates.foci import foci_alone
from ale_dask.execution.backends.connect import active_client, usable
from ale_dask.execution.executors import BlockArrays, Job, MemorySink, execute, pending
from ale_dask.execution.plan import Plan, Segment, block_size
from ale_dask.execution.progress import Progress, in_notebook
from ale_dask.numerics.space import Mask

if TYPE_CHECKING:
    from distributed import Client


def seconds_of_first(plan: Plan) -> float:
    """Return the measured seconds of the first iteration on this CPU, compilation included."""
    start = time.perf_counter()
    PLANS[plan.kind].block(plan, 0, 1)
    return time.perf_counter() - start


def seconds_per_iteration(plan: Plan, *, most: int) -> float:
    """Return the measured seconds of one of `most` iterations on this CPU; compiles the kernel if need be."""
    block = PLANS[plan.kind].block
    block(plan, 0, 1)
    number = 1
    while True:
        number = min(4 * number, most)
        start = time.perf_counter()
        block(plan, 0, number)
        seconds = time.perf_counter() - start
        if seconds > 0.05 or number == most:
            return seconds / number


def run_plan(
    plan: Plan, *, iterations: int, client: Client | None, size: int | None = None, first: int = 0
) -> BlockArrays:
    """Return the arrays of a plan's blocks, computed here or by a client.

    The iterations begin with number `first`; `size` is the number of iterations of a block, if that is not free.
    """
    client = active_client() if client is None else usable(client)
    workers = 1 if client is None else sum(client.nthreads().values())
    size = size or block_size(
        iterations=iterations,
        seconds_per_iteration=seconds_per_iteration(plan, most=iterations),
        block_seconds=1.0,
        workers=workers,
    )
    segment = Segment(0, plan.id, first, iterations, size)
    sink = MemorySink(segment)
    # A program that calls this has a terminal of its own to write to; a notebook's cell would show nothing.
    progress = Progress(iterations, quiet=not in_notebook())
    execute(pending([Job(plan, segment, PLANS[plan.kind].block, sink)]), client=client, report=progress)
    progress.end()
    return sink.arrays()


def sample_of(result: xr.Dataset, *, inference: Inference, mask: Mask) -> Sample:
    """Return the experiments of a result, as an analysis with these settings uses them."""
    return sample(foci_alone(result), mask=mask, inference=inference, name=result.attrs["name"])
