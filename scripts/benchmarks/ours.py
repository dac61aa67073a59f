"""Our side: plans are made beforehand, a child reads them as a worker does and computes blocks."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np

from ale_dask.analyses import kinds, main_effect
from ale_dask.analyses.null_draws import null_tables
from ale_dask.analyses.sample import sample, study_bits
from ale_dask.execution.plan import BlockFunction, Plan
from ale_dask.numerics.ale import ale_from_s
from ale_dask.numerics.kernels.simd import WIDTH, add8
from ale_dask.numerics.null import z_of_log_p
from ale_dask.numerics.permutation_null import null_iterations
from ale_dask.numerics.pruned_null import share_looked_at
from ale_dask.numerics.warm import compile_kernels
from benchmarks.plans import usable
from benchmarks.protocol import forget_peak, megabytes, serve
from benchmarks.samples import Foci

PLANS: dict[str, Plan] = {}
# 8 KiB: half of the rows in flight stay in any first-level cache, whatever the kernel.
BUFFER = 2048


def block_of(plan: Plan) -> BlockFunction:
    """Return the function that computes blocks of a plan."""
    return kinds.PLANS[plan.kind].block


def load(path: str, name: str) -> None:
    """Read a plan and compute an iteration of it, so that nothing is built or compiled later."""
    PLANS[name] = Plan.from_bytes(Path(path).read_bytes())
    block_of(PLANS[name])(PLANS[name], 0, 1)


def run(name: str, count: int, cpus: list[int] | None = None) -> dict[str, Any]:
    """Return the seconds and the digest of a plan's first iterations, one thread on each CPU."""
    plan = PLANS[name]
    block = block_of(plan)
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    parts = np.array_split(np.arange(count), len(cpus or before))
    with ThreadPoolExecutor(len(parts)) as threads:
        # Of one CPU its own time, which leaves out what else the machine does; of several the clock's.
        clock = time.process_time if len(parts) == 1 else time.perf_counter
        start = clock()
        done = list(threads.map(lambda part: block(plan, int(part[0]), len(part)), [p for p in parts if len(p)]))
        seconds = clock() - start
    os.sched_setaffinity(0, before)
    digest = hashlib.sha256(np.concatenate([d["null"] for d in done]).tobytes())
    if "exceed" in done[0]:
        digest.update(np.sum([d["exceed"] for d in done], axis=0).tobytes())
    return {"seconds": seconds, "digest": digest.hexdigest()}


@numba.njit(nogil=True, cache=True)
def _add_rows(times, kernel, n_foci, begin, where, pieces, shift, table, buffer):  # type: ignore[no-untyped-def]
    for _ in range(times):
        focus = 0
        for e in range(kernel.shape[0]):
            k = kernel[e]
            for _ in range(n_foci[e]):
                at = shift[focus]
                focus += 1
                for r in range(begin[k], begin[k + 1]):
                    entry = where[r]
                    more = pieces[r]
                    # Written out, a third less than a loop takes: the bound should be one.
                    add8(buffer, at, table, entry)
                    if more > 1:
                        add8(buffer, at + WIDTH, table, entry + WIDTH)
                    if more > 2:
                        add8(buffer, at + 2 * WIDTH, table, entry + 2 * WIDTH)
                    for j in range(3, more):
                        add8(buffer, at + j * WIDTH, table, entry + j * WIDTH)
                    # Rows follow each other as they do in a volume, and come round again within the buffer.
                    at = (at + 4 * WIDTH) & (BUFFER - 1)


def whole(name: str, count: int) -> dict[str, Any]:
    """Return the seconds and the digest of a main effect's first iterations, all of S summed in each of them."""
    plan = PLANS[name]
    design, rows, space = null_tables(plan)
    out = np.empty((count, 3), dtype=np.int64)
    start = time.process_time()
    null_iterations(0, count, np.int32(plan.null_threshold), design, rows, space, out)
    return {"seconds": time.process_time() - start, "digest": hashlib.sha256(out.tobytes()).hexdigest()}


def looked_at(name: str, count: int) -> float:
    """Return the share of the voxels whose S the first iterations of a main effect work out."""
    return share_looked_at(main_effect.pruned_of(PLANS[name]), PLANS[name].null_threshold, count)


def hot_rows(name: str, times: int) -> float:
    """Return the seconds of adding the kernel rows of iterations' foci into a buffer that stays in the L1 cache.

    Rows, their lengths in pieces of eight and the number of foci are the plan's; no draw, no order, no maximum within
    experiments, no scan and no cluster: what is left of an iteration when nothing is ever missed in a cache.
    """
    arrays = PLANS[name].arrays
    ends = np.cumsum(arrays["box_shape"].prod(axis=1))
    table: list[Any] = []
    known: dict[bytes, int] = {}
    begin, where, pieces, size = [0], [], [], 0
    for shape, end in zip(arrays["box_shape"], ends, strict=True):
        for row in arrays["boxes"][end - shape.prod() : end].reshape(-1, shape[2]):
            filled = np.flatnonzero(row)
            if not filled.size:
                continue
            row = row[filled[0] : filled[-1] + 1]
            length = -(-len(row) // WIDTH) * WIDTH
            if row.tobytes() not in known:
                known[row.tobytes()] = size
                table.append(np.pad(row, (0, length - len(row))))
                size += length
            where.append(known[row.tobytes()])
            pieces.append(length // WIDTH)
        begin.append(len(where))
    counts = np.diff(arrays["focus_begin"])
    # A row begins at any of the 16 cells of a cache line.
    shift = np.random.default_rng(0).integers(0, 16, counts.sum())
    integers = [np.array(a, dtype=np.int64) for a in (arrays["kernel"], counts, begin, where, pieces, shift)]
    buffer = np.zeros(BUFFER + 16 + 8 * WIDTH, dtype=np.int32)
    arguments = (*integers, np.concatenate(table), buffer)
    _add_rows(1, *arguments)
    start = time.process_time()
    _add_rows(times, *arguments)
    return time.process_time() - start


def observed(foci: str, name: str, keep: bool = False) -> float:
    """Return the seconds of the observed map with its analytic p and z; the plan may be kept for `run`."""
    chosen = usable(Foci.load(foci), name=name)
    start = time.process_time()
    # Taken anew from the Dataset: a Sample keeps what it has computed.
    chosen = sample(chosen.foci, mask=chosen.mask, inference=chosen.inference)
    bits = study_bits([chosen])
    # With rows of its own, since those of a sample that was seen before are not computed again.
    plan = main_effect.plan_main_effect(chosen, bits=bits, name=name, rows=chosen.rows(bits))
    s = plan.s.astype(np.int64)
    z_of_log_p(plan.null_table.log_p_of(s))
    ale_from_s(s, bits=bits)
    seconds = time.process_time() - start
    if keep:
        PLANS[name] = plan
    return seconds


def memory(path: str, count: int) -> dict[str, float]:
    """Return the MB of this process when idle, kernels compiled, and at most while it reads a plan and runs a block."""
    import distributed  # noqa: F401  a worker has it

    compile_kernels()
    forget_peak()
    idle = megabytes("VmRSS")
    load(path, "memory")
    run("memory", count)
    return {"idle": idle, "peak": megabytes()}


def peak() -> float:
    """Return the most memory that this process has held, in MB."""
    return megabytes()


if __name__ == "__main__":
    serve((load, run, whole, looked_at, hot_rows, observed, memory, peak))
