"""Worker jobs on Slurm, PBS, SGE and LSF, through dask-jobqueue; the scheduler stays in this process.

Nodes that see the user's cache folder find there the key that they and the scheduler know each other by, and it is
where their logs go; Dask's `jobqueue.slurm.shared-temp-directory` and `jobqueue.slurm.log-directory` name others.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ale_dask.errors import BackendError
from ale_dask.execution.backends.base import Backend, DetachedRun, Submission, wait_for_a_worker
from ale_dask.execution.backends.slurm import SubmittedToSlurm, submit_driver
from ale_dask.execution.backends.tls import cache_folder, dashboard_options, key_file, security_arguments
from ale_dask.storage.location import Place

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)
CLUSTERS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
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


class Queue(Backend):
    """Worker jobs of a queue, and a scheduler in this process; dask-jobqueue submits the jobs."""

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of a scheduler here whose workers are jobs of the queue; the stack's end cancels them."""
        import dask
        from distributed import Client, Security

        cluster_class = self._cluster_class()
        least, most = self.workers_wanted("worker jobs")
        command = str(cluster_class.job_cls.submit_command).split()[0]
        if shutil.which(command) is None:
            raise BackendError(
                f"{self.name}: `{command}` is not here; run this where jobs are submitted, or with another --backend"
            )
        stack.enter_context(dask.config.set(_SETTINGS))
        try:
            file = stack.enter_context(key_file(Security.temporary(), self._shared_folder()))
            arguments = self._arguments(Security(**security_arguments(str(file))))
            cluster = stack.enter_context(cluster_class(**arguments))
            cluster.sync(_submit, cluster, least)
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise BackendError(
                f"{self.name}: no job was submitted: {error}\n"
                "[backend] in study.toml takes account, partition, walltime, memory and options"
            ) from error
        client = stack.enter_context(Client(cluster, set_as_default=False))
        self._wait(cluster, client, logs=str(arguments["log_directory"]))
        # Dask asks for as many as do the blocks in flight, four per thread, in this time: half a block's doubles them.
        target = f"{self.settings.block_seconds / 2}s"
        cluster.adapt(minimum_jobs=least, maximum_jobs=most, interval="1s", target_duration=target)
        return client

    def script(self, out: Place) -> str:
        """Return the script of one worker job; words in capitals are decided when the job is submitted."""
        from distributed import Security

        cluster_class = self._cluster_class()
        arguments = self._arguments(Security(**security_arguments(str(self._shared_folder() / "KEY.pem"))))
        of_the_job = {key: value for key, value in arguments.items() if key not in _OF_THE_SCHEDULER}
        try:
            return str(cluster_class.job_cls("tls://SCHEDULER:PORT", name="WORKER", **of_the_job).job_script())
        except (OSError, TypeError, ValueError) as error:
            raise BackendError(f"{self.name}: no job script: {error}") from error

    def _cluster_class(self) -> Any:
        self.require("dask_jobqueue", extra="hpc")
        import dask_jobqueue

        return getattr(dask_jobqueue, CLUSTERS[self.name])

    def _configured(self, key: str) -> Any:
        import dask

        return dask.config.get(f"jobqueue.{self.name}.{key}", None)

    def _folder(self, key: str, *, otherwise: str) -> Path:
        own = self._configured(key)
        return Path(os.path.expandvars(own)).expanduser() if own else cache_folder(otherwise)

    def _shared_folder(self) -> Path:
        return self._folder("shared-temp-directory", otherwise="tls")

    def _arguments(self, security: Any) -> dict[str, Any]:
        """Return the arguments of the queue's class: [backend] over Dask's configuration over our defaults."""
        settings = self.settings
        walltime = settings.walltime
        if walltime and self.name == "lsf":
            walltime = walltime.rpartition(":")[0]
        given = {
            _ACCOUNT[self.name]: settings.account,
            "queue": settings.partition,
            "walltime": walltime,
            "job_script_prologue": settings.prologue,
        }
        job_name = self._configured("name")
        options = dict(settings.options or {})
        scheduler = dashboard_options() | (self._configured("scheduler-options") or {})
        return {
            "cores": 1,
            "processes": 1,
            "memory": settings.memory or self._configured("memory") or "2GB",
            "job_name": "ale-dask" if job_name in (None, "dask-worker") else job_name,
            "log_directory": str(self._folder("log-directory", otherwise="logs")),
            "worker_extra_args": [*(self._configured("worker-extra-args") or []), "--no-dashboard"],
            "security": security,
            "protocol": "tls://",
            **{key: value for key, value in given.items() if value is not None},
            **options,
            "scheduler_options": scheduler | options.get("scheduler_options", {}),
        }

    def _wait(self, cluster: Any, client: Client, *, logs: str) -> None:
        jobs = [str(worker.job_id) for worker in cluster.workers.values()]
        log.info(f"{self.name}: {len(jobs)} worker job(s) submitted, waiting for the first")

        def waiting() -> str:
            if self._all_ended(jobs):
                raise BackendError(
                    f"{self.name}: all worker jobs ended before one of them called {cluster.scheduler_address}; their "
                    f"logs are in {logs}. A wrong prologue, a node without this Python, or an interface that nodes "
                    'cannot reach (options = {interface = "..."}) are usual reasons'
                )
            return f"still waiting for a worker; `{_LISTED_BY[self.name]}` shows the queue, {logs} the jobs' logs"

        wait_for_a_worker(client, every=_SAY_SECONDS, waiting=waiting)

    def _all_ended(self, jobs: list[str]) -> bool:
        """Return whether the queue is known to have none of these jobs any more."""
        return False


class SlurmQueue(SubmittedToSlurm, Queue):
    """Worker jobs of Slurm; a submitted run is one more job, which submits them."""

    def submit(self, run: DetachedRun) -> Submission:
        """Return the submission of the job that drives the run."""
        run.create()
        return submit_driver(self.settings, run)

    def _all_ended(self, jobs: list[str]) -> bool:
        listed = subprocess.run(
            ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(jobs)}"], capture_output=True, text=True
        )
        if listed.returncode:
            # What Slurm says of a job ended some minutes ago; any other error says nothing about the jobs.
            return "Invalid job id" in listed.stderr
        return not listed.stdout.strip()


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
