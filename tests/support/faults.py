"""What the fault tests share: the expected digests, commands in processes of their own, and a Dask cluster to break."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest
from distributed import Client

from ale_dask.analyses.kinds import PLANS
from ale_dask.config.study import load_study
from ale_dask.execution.journal import events
from ale_dask.execution.plan import BlockFunction
from support.runs import chunks, digests, digests_of, with_backend, with_inference
from support.slurm import wait_until
from support.studies import STUDY, experiments, write_ball, write_sample

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts file systems")


def write_study(folder: Path, *, block_size: int = 1) -> Path:
    """Write the tiny study with blocks of a set size into a new folder and return its study.toml."""
    folder.mkdir()
    write_ball(folder / "ball.nii.gz")
    write_sample(folder / "drug.txt", experiments(1, number=8, planted=(12, 4, 0), prefix="drug"))
    write_sample(folder / "therapy.txt", experiments(2, number=6, planted=(-12, 0, 8), prefix="therapy"))
    (folder / "study.toml").write_text(f"{STUDY}[backend]\nblock_size = {block_size}\n")
    return folder / "study.toml"


@lru_cache
def expected(iterations: int = 60) -> dict[str, str]:
    """Return the digests of an undisturbed plain loop over the tiny study."""
    with tempfile.TemporaryDirectory() as name:
        study = load_study(write_study(Path(name, "tiny")))
        study = with_backend(with_inference(study, iterations=iterations), name="serial", block_size=16)
        return digests(study, Path(name, "out"))


def start(command: str, *arguments: object, under: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
    """Start a command of ours in a process group of its own."""
    common = ["-q", "--no-pictures", "--json"] if command in ("run", "extend") else []
    words = [*under, sys.executable, "-m", "ale_dask.cli", command, *map(str, arguments), *common]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def ended(process: subprocess.Popen[str], *, code: int = 0, seconds: float = 1200) -> tuple[str, str]:
    """Return standard output and error of a command that ends with an exit code; it is killed if it does not end."""
    try:
        text, errors = process.communicate(timeout=seconds)
    finally:
        kill_group(process)
    assert process.returncode == code, f"exit {process.returncode}\n{text}\n{errors}"
    if code:
        assert "Traceback" not in errors or code == 75, errors
    return text, errors


def recorded(out: Path) -> dict[str, str]:
    """Return the digests in the run.json of OUT."""
    return digests_of((out / "run.json").read_text())


def ale(command: str, *arguments: object, code: int = 0, seconds: float = 1200, **options: Any) -> tuple[str, str]:
    """Return standard output and error of a command that runs to its end."""
    return ended(start(command, *arguments, **options), code=code, seconds=seconds)


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill a process and what it started in its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def amid_blocks(out: Path, process: subprocess.Popen[str] | None = None, *, more_than: int = 10) -> int:
    """Return the number of blocks in OUT as soon as there are more than some, while a command still runs."""
    wait_until(
        lambda: chunks(out) > more_than or (process is not None and process.poll() is not None),
        seconds=1200,
        what="a run amid its blocks",
        # A block takes some milliseconds: 60 of them may be done in a tenth of a second.
        every=0.01,
    )
    assert process is None or process.poll() is None, f"ended too early: {process.communicate()}"
    return chunks(out)


@dataclass
class Cluster:
    """A Dask scheduler and its workers, each a process group of its own."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_scheduler(self, *, port: int = 0) -> None:
        """Start the scheduler and wait for its address."""
        file = self.folder / "scheduler.json"
        file.unlink(missing_ok=True)
        self.scheduler = self._start("scheduler", "--port", str(port), "--no-show", "--scheduler-file", str(file))

        def found() -> bool:
            try:
                self.address = str(json.loads(file.read_text())["address"])
            except (OSError, ValueError):
                return False
            return True

        wait_until(found, seconds=1200, what="a scheduler's address")

    def start_worker(
        self, name: str, *options: str, under: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        """Start a worker of one thread."""
        words = [self.address, "--name", name, "--nthreads", "1", *options]
        self.workers[name] = self._start("worker", *words, under=under, environment=environment)

    def _start(
        self, *words: str, under: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*under, sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"],
                cwd=self.folder,
                env={**self.environment, **(environment or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        """Return the output of scheduler and workers."""
        return (self.folder / "log").read_text()

    def wait_for(self, number: int) -> None:
        """Wait until there are this many workers."""
        with self.client() as client:
            client.wait_for_workers(number, timeout=1200)

    def client(self) -> Client:
        """Return a new client."""
        return Client(self.address, timeout=1200, set_as_default=False)

    def pids(self) -> dict[str, int]:
        """Return the process of every worker that the scheduler knows, by the worker's name."""
        with self.client() as client:
            names = {address: str(w["name"]) for address, w in client.scheduler_info(n_workers=-1)["workers"].items()}
            return {names[address]: pid for address, pid in client.run(os.getpid).items()}

    def driver(self, submission: str) -> str:
        """Return the name of the worker that drives a submitted run."""
        with self.client() as client:
            names = {address: str(w["name"]) for address, w in client.scheduler_info(n_workers=-1)["workers"].items()}
            for address, keys in client.processing().items():
                if any(submission in str(key) for key in keys):
                    return names[address]
        return ""

    def close(self) -> None:
        """Kill all that is left of it."""
        for process in [*self.workers.values(), *([self.scheduler] if self.scheduler else [])]:
            kill_group(process)


@contextmanager
def cluster(folder: Path, *, workers: Sequence[str] = ("a", "b"), options: Sequence[str] = ()) -> Iterator[Cluster]:
    """Yield a scheduler on loopback with workers that have arrived."""
    folder.mkdir()
    with ExitStack() as stack:
        made = Cluster(folder)
        stack.callback(made.close)
        made.start_scheduler()
        for name in workers:
            made.start_worker(name, *options)
        if workers:
            made.wait_for(len(workers))
        yield made


def local_workers(pid: int) -> list[psutil.Process]:
    """Return the workers of a run on processes; they are forked from a process that the run has started."""
    below = psutil.Process(pid).children(recursive=True)
    forked_from = {process.pid for process in below if "forkserver" in str(process.cmdline())}
    return [process for process in below if process.ppid() in forked_from]


@contextmanager
def disk(folder: Path, *, kilobytes: int) -> Iterator[Path]:
    """Yield a folder that is a small file system of its own."""
    folder.mkdir()
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "none", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*words: object) -> None:
    """Run mount."""
    subprocess.run(["mount", *map(str, words)], check=True)


def rows(out: Path, event: str) -> list[dict[str, Any]]:
    """Return the events of one kind in the journal of OUT."""
    return [found for found in events(out) if found["event"] == event]


def disturb(monkeypatch: pytest.MonkeyPatch, fault: Callable[[int, Path], None], marks: Path) -> None:
    """Put a fault before every block that is computed outside this process: `fault(first iteration, mark)`.

    The mark is a file of its own per block of every analysis; state in memory would be lost with the worker.
    """
    marks.mkdir()
    here = os.getpid()
    # Workers cannot import the tests.
    cloudpickle.register_pickle_by_value(sys.modules[fault.__module__])

    def around(function: BlockFunction) -> BlockFunction:
        def block(plan: Any, first: int, count: int) -> Any:
            import os

            if os.getpid() != here:
                fault(first, marks / f"{plan.name}-{first}")
            return function(plan, first, count)

        return block

    for name, kind in PLANS.items():
        monkeypatch.setitem(PLANS, name, replace(kind, block=around(kind.block)))
