"""Slurm without a Dask scheduler: job scripts handed to sbatch, and what the queue says of them."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from ale_dask.config.study import Backend
from ale_dask.errors import BackendError

ARRAY_TASKS = 16
"""Tasks of an array when the user names no number of workers."""
_LAST_CPUS = 2
_LAST_BYTES = 4 * 2**30


def script(backend: Backend) -> str:
    """Return the job script with the account, partition, time, memory and prologue of a backend, as text."""
    text = (files("ale_dask.execution.backends") / "job.sbatch").read_text()
    for option, value in {
        "account": backend.account,
        "partition": backend.partition,
        "time": backend.walltime,
        "mem": None if backend.memory is None else megabytes(backend.memory),
    }.items():
        if value is not None:
            line = next(line for line in text.splitlines() if line.lstrip("#").startswith(f"SBATCH --{option}="))
            text = text.replace(line, f"#SBATCH --{option}={value}")
    text = text.replace("|| ale_dask=(ale-dask)\n", f"|| ale_dask=({shlex.quote(sys.executable)} -m ale_dask.cli)\n")
    return text.replace("\nset -u\n", "\n".join(["", *(backend.prologue or []), "set -u\n"]))


def megabytes(memory: str) -> str:
    """Return a memory such as "2 GB" as Slurm reads it, in whole MiB, rounded up."""
    return f"{-(-_bytes(memory) // 2**20)}M"


def of_the_last(backend: Backend) -> list[str]:
    """Return the options of sbatch for the job that writes the results, which is larger than a task of an array."""
    # It computes what is missing with a thread per CPU, and then holds all maps.
    memory = max(_LAST_BYTES, _LAST_CPUS * _bytes(backend.memory or "0 B"))
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
