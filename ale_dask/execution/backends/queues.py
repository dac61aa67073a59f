"""Worker jobs on Slurm, PBS, SGE and LSF, through dask-jobqueue; the scheduler stays in this process.

Nodes that see the user's cache folder find there the key that they and the scheduler know each other by, and it is
where their logs go; Dask's `jobqueue.slurm.shared-temp-directory` and `jobqueue.slurm.log-directory` name others.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ale_dask.config.study import Backend
from ale_dask.errors import BackendError
from ale_dask.execution.backends.tls import cache_folder, dashboard_options, key_file, written_as

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
_LISTED_BY = {"slurm": "squeue --me", "pbs": "qstat -u $USER", "sge": "qstat", "lsf": "bjobs"}
# SGE and LSF charge "projects", and LSF's walltime has no seconds.
_ACCOUNT = {"slurm": "account", "pbs": "account", "sge": "project", "lsf": "project"}
_OF_THE_SCHEDULER = {"scheduler_options", "silence_logs", "shared_temp_directory", "name", "n_workers", "scheduler_cls"}
_SETTINGS = {
    # A job that is cancelled or dies is replaced only after this long; Dask's 15 s are two short blocks' work.
    "distributed.deploy.lost-worker-timeout": "2s",
    # Queues kill workers for reasons that are not the block's.
    "distributed.scheduler.allowed-failures": 10,
}
_SAY_SECONDS = 30.0


def start_jobs(backend: Backend, stack: contextlib.ExitStack) -> Client:
    """Return a client of a scheduler here whose workers are jobs of the queue; the stack's end cancels them.

    Raises
    ------
    BackendError
        when dask-jobqueue or the queue's commands are not there, or the queue takes no job.
    """
    import dask
    from distributed import Client, Security

    found = _class(backend)
    if backend.least is None or backend.most is None:
        raise BackendError(f"{backend.name}: say how many worker jobs: `-w 16`, or `-w 4:64` to follow the work")
    command = str(found.job_cls.submit_command).split()[0]
    if shutil.which(command) is None:
        raise BackendError(
            f"{backend.name}: `{command}` is not here; run this where jobs are submitted, or with another --backend"
        )
    stack.enter_context(dask.config.set(_SETTINGS))
    try:
        file = stack.enter_context(key_file(Security.temporary(), _shared_folder(backend)))
        arguments = _arguments(backend, Security(**written_as(str(file))))
        cluster = stack.enter_context(found(**arguments))
        cluster.sync(_submit, cluster, backend.least)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise BackendError(
            f"{backend.name}: no job was submitted: {error}\n"
            "[backend] in study.toml takes account, partition, walltime, memory and options"
        ) from error
    client = stack.enter_context(Client(cluster, set_as_default=False))
    _wait_for_a_worker(backend, cluster, client, logs=str(arguments["log_directory"]))
    # Dask asks for as many as do the blocks in flight, four per thread, in this time: half a block's doubles them.
    target = f"{backend.block_seconds / 2}s"
    cluster.adapt(minimum_jobs=backend.least, maximum_jobs=backend.most, interval="1s", target_duration=target)
    return client


def job_script(backend: Backend) -> str:
    """Return the script of one worker job; nothing is submitted, and what is decided at the start is in capitals.

    Raises
    ------
    BackendError
        for a backend without job scripts, or options that dask-jobqueue does not take.
    """
    from distributed import Security

    found = _class(backend)
    arguments = _arguments(backend, Security(**written_as(str(_shared_folder(backend) / "KEY.pem"))))
    kept = {key: value for key, value in arguments.items() if key not in _OF_THE_SCHEDULER}
    try:
        return str(found.job_cls("tls://SCHEDULER:PORT", name="WORKER", **kept).job_script())
    except (OSError, TypeError, ValueError) as error:
        raise BackendError(f"{backend.name}: no job script: {error}") from error


def _class(backend: Backend) -> Any:
    if backend.name not in QUEUES:
        raise BackendError(f"'{backend.name}' has no job scripts; these have: {', '.join(QUEUES)}")
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise BackendError(f'{backend.name}: dask-jobqueue is not installed: pip install "ale-dask[hpc]"')
    import dask_jobqueue

    return getattr(dask_jobqueue, QUEUES[backend.name])


def _configured(backend: Backend, key: str) -> Any:
    import dask

    return dask.config.get(f"jobqueue.{backend.name}.{key}", None)


def _folder(backend: Backend, key: str, *, otherwise: str) -> Path:
    own = _configured(backend, key)
    return Path(os.path.expandvars(own)).expanduser() if own else cache_folder(otherwise)


def _shared_folder(backend: Backend) -> Path:
    return _folder(backend, "shared-temp-directory", otherwise="tls")


def _arguments(backend: Backend, security: Any) -> dict[str, Any]:
    """Return what the class of the queue is called with: [backend] over Dask's configuration over our defaults."""
    name = backend.name
    walltime = backend.walltime
    if walltime and name == "lsf":
        walltime = walltime.rpartition(":")[0]
    given = {
        _ACCOUNT[name]: backend.account,
        "queue": backend.partition,
        "walltime": walltime,
        "job_script_prologue": backend.prologue,
    }
    job_name = _configured(backend, "name")
    options = dict(backend.options or {})
    scheduler = dashboard_options() | (_configured(backend, "scheduler-options") or {})
    return {
        "cores": 1,
        "processes": 1,
        "memory": backend.memory or _configured(backend, "memory") or "2GB",
        "job_name": "ale-dask" if job_name in (None, "dask-worker") else job_name,
        "log_directory": str(_folder(backend, "log-directory", otherwise="logs")),
        "worker_extra_args": [*(_configured(backend, "worker-extra-args") or []), "--no-dashboard"],
        "security": security,
        "protocol": "tls://",
        **{key: value for key, value in given.items() if value is not None},
        **options,
        "scheduler_options": scheduler | options.get("scheduler_options", {}),
    }


async def _submit(cluster: Any, jobs: int) -> None:
    from distributed import Status

    # What `scale` does, but a job that the queue refuses is raised here, where `scale` would log it and go on.
    while len(cluster.worker_spec) < jobs:
        cluster.worker_spec.update(cluster.new_worker_spec())
    try:
        await cluster
    except Exception:
        # A Job's own close does not say that it is closed, and Dask's end of the cluster insists on it.
        for job in cluster.workers.values():
            await job.close()
            job.status = Status.closed
        raise


def _wait_for_a_worker(backend: Backend, cluster: Any, client: Client, *, logs: str) -> None:
    said = time.monotonic()
    jobs = [str(worker.job_id) for worker in cluster.workers.values()]
    log.info(f"{backend.name}: {len(jobs)} worker job(s) submitted, waiting for the first")
    while not client.scheduler_info(n_workers=1)["workers"]:
        time.sleep(0.5)
        if time.monotonic() - said < _SAY_SECONDS:
            continue
        said = time.monotonic()
        if backend.name == "slurm" and _gone_from_slurm(jobs):
            raise BackendError(
                f"slurm: all worker jobs ended before one of them called {cluster.scheduler_address}; their logs are "
                f"in {logs}. A wrong prologue, a node without this Python, or an interface that nodes cannot reach "
                '(options = {interface = "..."}) are usual reasons'
            )
        log.info(f"still waiting for a worker; `{_LISTED_BY[backend.name]}` shows the queue, {logs} the jobs' logs")


def _gone_from_slurm(jobs: list[str]) -> bool:
    found = subprocess.run(
        ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(jobs)}"], capture_output=True, text=True
    )
    if found.returncode:
        # What Slurm says of a job ended some minutes ago; any other error says nothing about the jobs.
        return "Invalid job id" in found.stderr
    return not found.stdout.strip()
