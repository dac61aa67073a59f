"""Slurm without a Dask scheduler: job scripts handed to sbatch, and the states of jobs in its queue."""

from __future__ import annotations

import contextlib
import logging
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from ale_dask.config.backend import Backend as Settings
from ale_dask.errors import BackendError
from ale_dask.execution.backends.base import (
    Backend,
    DetachedRun,
    Submission,
    absolute,
    cancelled_on_error,
    log_folder,
    new_submission,
)
from ale_dask.storage.location import Place

log = logging.getLogger(__name__)

ARRAY_TASKS = 16
"""Tasks of an array when the user names no number of workers."""
_LAST_CPUS = 2
_LAST_BYTES = 4 * 2**30


class SubmittedToSlurm(Backend):
    """A backend whose submitted runs are jobs of Slurm."""

    def alive(self, submission: Submission, out: Place) -> bool | None:
        """Return whether a job or array task waits or runs, or None when Slurm does not answer for a moment."""
        try:
            return bool(queued(submission.jobs))
        except BackendError:
            return None

    def describe(self, submission: Submission) -> str:
        """Return in words which jobs run."""
        return f"Slurm job {' and '.join(submission.jobs)}"

    def cancel(self, submission: Submission, out: Place) -> None:
        """Cancel the jobs."""
        cancel(submission.jobs)


class SlurmArray(SubmittedToSlurm):
    """A job array that computes the blocks without a Dask scheduler, and a job that then writes the results."""

    array_first = True

    def start(self, stack: contextlib.ExitStack) -> NoReturn:
        """Raise BackendError: there is no scheduler to connect to."""
        raise BackendError(
            "slurm-array runs without a Dask scheduler and has none to connect to; `ale-dask submit` sends it to the "
            "queue"
        )

    def start_array(self, out: Place) -> Submission:
        """Return the job array whose tasks compute the blocks that OUT lacks."""
        tasks = self.settings.most or ARRAY_TASKS
        limit = f"%{self.settings.least}" if self.settings.least != self.settings.most else ""
        options = [f"--array=0-{tasks - 1}{limit}"]
        return _submitted(submit(script(self.settings), [absolute(out)], options=options, logs=log_folder(out)), out)

    def script(self, out: Place) -> str:
        """Return the job script of a task of the array, and of the last job."""
        return script(self.settings)

    def check(self, out: Place, *, unique: str) -> bool:
        """Log when and where Slurm would start the jobs, and return True."""
        for job, options in {"a task": [], "the job that writes": last_job_options(self.settings)}.items():
            log.info(f"ok  Slurm would take {job}: {would_start(script(self.settings), options=options)}")
        return True

    def submit(self, run: DetachedRun) -> Submission:
        """Return the submission of the array and of the job that follows it."""
        run.create()
        array = self.start_array(run.out)
        with cancelled_on_error(self, array, run.out):
            options = [f"--dependency=afterany:{array.jobs[0]}", *last_job_options(self.settings)]
            arguments = [absolute(run.out), *run.options]
            last = submit(script(self.settings), arguments, options=options, logs=log_folder(run.out))
        return _submitted(array.jobs[0], run.out, last)


def submit_driver(settings: Settings, run: DetachedRun) -> Submission:
    """Return the submission of one job that runs OUT to its end and submits worker jobs of its own."""
    arguments = [absolute(run.out), "-b", settings.name, *run.options]
    job = submit(script(settings), arguments, options=last_job_options(settings), logs=log_folder(run.out))
    return _submitted(job, run.out)


def _submitted(job: str, out: Place, *further: str) -> Submission:
    return new_submission("slurm", jobs=(job, *further), log=str(log_folder(out) or ""))


def script(settings: Settings) -> str:
    """Return the job script with the account, partition, time, memory and prologue of a backend, as text."""
    text = (files("ale_dask.execution.backends") / "job.sbatch").read_text()
    for option, value in {
        "account": settings.account,
        "partition": settings.partition,
        "time": settings.walltime,
        "mem": None if settings.memory is None else megabytes(settings.memory),
    }.items():
        if value is not None:
            line = next(line for line in text.splitlines() if line.lstrip("#").startswith(f"SBATCH --{option}="))
            text = text.replace(line, f"#SBATCH --{option}={value}")
    text = text.replace("|| ale_dask=(ale-dask)\n", f"|| ale_dask=({shlex.quote(sys.executable)} -m ale_dask.cli)\n")
    return text.replace("\nset -u\n", "\n".join(["", *(settings.prologue or []), "set -u\n"]))


def megabytes(memory: str) -> str:
    """Return a memory such as "2 GB" as Slurm reads it, in whole MiB, rounded up."""
    return f"{-(-_bytes(memory) // 2**20)}M"


def last_job_options(settings: Settings) -> list[str]:
    """Return the options of sbatch for the job that writes the results, which is larger than a task of an array."""
    # It computes what is missing with a thread per CPU, and then holds all maps.
    memory = max(_LAST_BYTES, _LAST_CPUS * _bytes(settings.memory or "0 B"))
    return [f"--cpus-per-task={_LAST_CPUS}", f"--mem={megabytes(f'{memory} B')}"]


def _bytes(memory: str) -> int:
    from dask.utils import parse_bytes

    return int(parse_bytes(memory))


def would_start(text: str, *, options: Sequence[str] = ()) -> str:
    """Return when and where Slurm would start a job of a script, in its own words; nothing is submitted.

    Raises
    ------
    BackendError
        when sbatch is not there, or would refuse.
    """
    return _ask("sbatch", "--test-only", *options, text=text, stream="stderr").removeprefix("sbatch: ")


def submit(text: str, arguments: Sequence[str], *, options: Sequence[str] = (), logs: Path | None = None) -> str:
    """Return the id of the job made of a script and its arguments; `logs` is the folder of what it prints.

    Raises
    ------
    BackendError
        when sbatch is not there, or refuses.
    """
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        # A per cent sign in the folder's name is not one of Slurm's patterns.
        folder = str(logs.resolve()).replace("%", "%%")
        number = "%A_%a" if any(option.startswith("--array") for option in options) else "%j"
        options = [*options, f"--output={folder}/slurm-{number}.out"]
    # Through standard input, as `sbatch < script`, there are no arguments: they are set in front of it.
    first, _, rest = text.partition("\nset -euo pipefail\n")
    text = f"{first}\nset -euo pipefail\nset -- {shlex.join(arguments)}\n{rest}"
    return _ask("sbatch", "--parsable", *options, text=text).partition(";")[0]


def queued(jobs: Sequence[str]) -> list[str]:
    """Return the states of those jobs and array tasks that wait or run; what has ended is not among them."""
    known = _ask("squeue", "--noheader", "--array", "--me", "--format=%A %F %T").splitlines()
    rows = [line.split() for line in known]
    return [state for job, array, state in rows if job in jobs or array in jobs]


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs that wait or run."""
    _ask("scancel", *jobs)


def _ask(program: str, *options: str, text: str | None = None, stream: str = "stdout") -> str:
    if shutil.which(program) is None:
        raise BackendError(f"{program} is not here: this is no machine of a Slurm cluster; submit on a login node")
    done = subprocess.run([program, *options], input=text, capture_output=True, text=True)
    if done.returncode:
        raise BackendError(
            f"{program} refused ({done.stderr.strip() or done.returncode}); look at account, partition, walltime and "
            "memory in [backend], and at `sinfo`"
        )
    return str(getattr(done, stream)).strip()
