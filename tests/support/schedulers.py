"""A Dask scheduler with one worker, as somebody else would have started them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distributed import Client
from distributed.security import Security

from support.slurm import wait_until


@dataclass(frozen=True)
class Scheduler:
    """Where it listens, the file that says so, and the environment in which a client knows its keys."""

    address: str
    file: Path
    environment: dict[str, str]


def certificates(folder: Path) -> tuple[Security, dict[str, str]]:
    """Write a CA and keys for one test and return them with the Dask configuration that names them, as environment."""
    found = Security.temporary()
    environment = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}
    for role in ("scheduler", "worker", "client"):
        for option in ("cert", "key"):
            path = folder / f"{role}.{option}"
            path.write_text(str(getattr(found, f"tls_{role}_{option}")))
            environment[f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__{option.upper()}"] = str(path)
    (folder / "ca").write_text(str(found.tls_ca_file))
    return found, {**environment, "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(folder / "ca")}


@contextmanager
def scheduler(folder: Path, *, protocol: str = "tcp", threads: int = 2) -> Iterator[Scheduler]:
    """Yield a scheduler on loopback whose worker has arrived."""
    folder.mkdir(exist_ok=True)
    file = folder / "scheduler.json"
    security, keys = certificates(folder) if protocol == "tls" else (None, {})
    environment = {**os.environ, **keys}
    common = ["--host", "127.0.0.1", "--protocol", protocol, "--no-dashboard", "--scheduler-file", str(file)]

    def start(*words: str) -> subprocess.Popen[bytes]:
        # Dask makes a scratch folder where it is started.
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words, *common],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def address() -> str:
        try:
            return str(json.loads(file.read_text())["address"])
        except (OSError, ValueError):
            return ""

    processes = [start("scheduler", "--port", "0"), start("worker", "--nthreads", str(threads))]
    try:
        wait_until(lambda: bool(address()), seconds=1200, what="a whole scheduler file")
        assert address().startswith(protocol)
        with Client(address(), security=security, timeout=1200, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=1200)
        yield Scheduler(address(), file, environment)
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            process.wait(30)
