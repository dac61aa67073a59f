"""The table [backend] of a study.toml: the computers that compute blocks."""

from __future__ import annotations

import re
from typing import Annotated, Any

import tomli_w
from pydantic import BaseModel, Field, field_validator


class Backend(BaseModel, extra="forbid", frozen=True):
    """The computers that compute blocks; nothing here changes a result. Keys without a value are left to Dask."""

    name: str = "auto"
    """Where blocks are computed: a name or an address, as the option `--backend` takes it."""
    workers: int | str | None = None
    """Threads, processes or worker jobs: a number, or "MIN:MAX" to follow the work between the two."""
    block_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Seconds that a block should take; less to leave each worker four blocks, more to spare the scheduler."""
    block_size: Annotated[int, Field(ge=1)] | None = None
    """Iterations of a block, instead of a number that follows from `block_seconds`."""
    account: str | None = None
    """Account that jobs of a queue are charged to."""
    partition: str | None = None
    """Partition, or queue, that jobs are submitted to."""
    walltime: Annotated[str, Field(pattern=r"^\d+:[0-5]\d:[0-5]\d$")] | None = None
    """Duration of one worker job, hours:minutes:seconds; the run goes on in the next job."""
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[kKMGT]i?B$")] | None = None
    """Memory of one worker."""
    dask_report: bool = False
    """Write Dask's own performance report, 2 MB, to logs/dask-report.html; needs bokeh."""
    prologue: list[str] | None = None
    """Shell lines that a job runs before its worker starts, such as "module load python"."""
    hosts: list[str] | None = None
    """Computers of the backend ssh: workers run on all of them, the scheduler on the first."""
    options: dict[str, Any] | None = None
    """Keyword arguments that are handed unchanged to the class or function that starts the workers."""

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_range(cls, value: Any) -> Any:
        if value is None:
            return None
        minimum, colon, maximum = str(value).partition(":")
        numbers = [minimum, maximum] if colon else [minimum]
        if isinstance(value, bool) or not all(re.fullmatch(r"[1-9]\d{0,5}", n) for n in numbers):
            raise ValueError(f"'{value}': give a number from 1, or MIN:MAX")
        if colon and int(minimum) > int(maximum):
            raise ValueError(f"'{value}': MIN is larger than MAX")
        return value if colon else int(minimum)

    @field_validator("options")
    @classmethod
    def _can_be_written(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            tomli_w.dumps(value or {})
        except TypeError as error:
            raise ValueError(f"{error}: use text, numbers, true/false, lists and tables") from error
        return value

    @property
    def least(self) -> int | None:
        """The smallest number of workers, or None where no number is given."""
        return None if self.workers is None else int(str(self.workers).partition(":")[0])

    @property
    def most(self) -> int | None:
        """The largest number of workers, or None where no number is given."""
        return None if self.workers is None else int(str(self.workers).rpartition(":")[2])

    @property
    def kind(self) -> str:
        """The kind of backend: the name without the address or path in it."""
        if self.name.endswith(".json"):
            return "scheduler-file"
        return self.name.partition("://")[0]
