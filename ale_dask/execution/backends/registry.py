"""The backends by the names that users give them, one row each; a backend's module is imported when it is used."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from ale_dask.errors import BackendError

if TYPE_CHECKING:
    from ale_dask.config.backend import Backend as Settings
    from ale_dask.execution.backends.base import Backend, Submission


class Row(NamedTuple):
    """A backend's name, its class and what distinguishes its name from others."""

    name: str
    """As users write it; words in capitals stand for their own."""
    implementation: str
    """MODULE:CLASS below ale_dask.execution.backends."""
    pattern: str | None = None
    """Regular expression of the whole name, where the name itself is not fixed."""
    help: str | None = None
    """How the command line's help shows the name, where not as it is."""


ROWS = (
    Row("auto", "existing:Auto"),
    Row("serial", "local:Serial"),
    Row("threads", "local:Threads"),
    Row("processes", "local:Processes"),
    Row("slurm", "queues:SlurmQueue"),
    Row("pbs", "queues:Queue"),
    Row("sge", "queues:Queue"),
    Row("lsf", "queues:Queue"),
    Row("slurm-array", "slurm:SlurmArray"),
    Row("ssh", "ssh:Ssh"),
    Row("gateway", "gateway:Gateway"),
    Row("kubernetes", "kubernetes:Kubernetes", help="kubernetes (submit only)"),
    Row("tcp://HOST:PORT", "existing:AtAddress", r"tcp://.*"),
    Row("tls://HOST:PORT", "existing:AtAddress", r"tls://.*"),
    Row("FILE.json", "existing:InFile", r".*\.json", "a scheduler file (.json)"),
    Row("MODULE:CALLABLE", "existing:FromCallable", r"[^/]*:[^/]*", "MODULE:CALLABLE that makes a cluster"),
)
QUEUES = tuple(row.name for row in ROWS if row.implementation.startswith("queues:"))
"""The backends whose workers are jobs of a queue."""
FOLLOWED_BY = {"process": "threads", "slurm": "slurm-array", "dask": "tcp://", "kubernetes": "kubernetes"}
"""The backend that follows and cancels a submission, by the submission's `how`."""
EXTRAS = {
    "hpc": (("dask_jobqueue",), "the backends slurm, pbs, sge and lsf; slurm-array needs nothing"),
    "ssh": (("asyncssh",), "the backend ssh"),
    "gateway": (("dask_gateway",), "the backend gateway"),
    "kubernetes": (("kubernetes",), "the backend kubernetes"),
}
"""The modules of each optional extra that backends need, and what the extra is for."""


def names_in_words() -> str:
    """Return the names of all backends as the command line's help lists them."""
    *names, last = (row.help or row.name for row in ROWS)
    return f"{', '.join(names)}, or {last}"


def backend_of(settings: Settings) -> Backend:
    """Return the backend that settings name.

    Raises
    ------
    BackendError
        for a name that no backend has.
    """
    for row in ROWS:
        if re.fullmatch(row.pattern or re.escape(row.name), settings.name):
            module, _, name = row.implementation.partition(":")
            made: Backend = getattr(import_module(f"ale_dask.execution.backends.{module}"), name)(settings)
            return made
    raise BackendError(f"unknown backend '{settings.name}'; use one of: {', '.join(row.name for row in ROWS)}")


def follower_of(submission: Submission) -> Backend:
    """Return the backend that tells how a submitted run is doing, shows its logs and cancels it."""
    from ale_dask.config.backend import Backend as Settings

    return backend_of(Settings(name=submission.scheduler or FOLLOWED_BY[submission.how]))
