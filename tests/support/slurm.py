"""A whole Slurm on this one host, in a folder that is gone afterwards."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
PR_SET_CHILD_SUBREAPER = 36

CONFIGURATION = """
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is queued again may not start before its old credential has expired, by default after two minutes.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
MpiDefault=none
# Nothing of cgroups: they are the host's.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
# Nodes may claim more CPUs than the host has.
SlurmdParameters=config_overrides
KillWait=5
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str | None:
    """Return why no Slurm can be started here, or None."""
    absent = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name, path=SYSTEM_PATH)]
    if absent:
        return f"no Slurm here: {', '.join(absent)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    return None if os.geteuid() == 0 else "its node daemons run as root only"


def wait_until(met: Callable[[], bool], *, seconds: float, what: str, every: float = 0.1) -> None:
    """Return as soon as a condition, looked at `every` so many seconds, is met, and fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not met():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(every)


@contextmanager
def slurm(*, nodes: int = 2, cpus: int = 2) -> Iterator[dict[str, str]]:
    """Yield the environment in which sbatch and its like talk to a Slurm that lives as long as this context."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        environment = _environment(folder)
        _configure(folder, nodes=nodes, cpus=cpus)
        stack.enter_context(_adopting())

        def start(program: str, *options: str) -> None:
            log = stack.enter_context((folder / f"{program}{options[-1].replace('/', '_')}.log").open("wb"))
            executable = shutil.which(program, path=SYSTEM_PATH) or program
            process = subprocess.Popen(
                [executable, *options], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            stack.callback(_end, process)

        own = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "pid", "log", "seed")]
        start("munged", "--foreground", "--force", *own, f"--socket={folder}/munge.socket")
        wait_until((folder / "munge.socket").exists, seconds=1200, what="munge's socket")
        start("slurmctld", "-D", "-c", "-f", environment["SLURM_CONF"])
        for i in range(nodes):
            start("slurmd", "-D", "-f", environment["SLURM_CONF"], "-N", f"node{i}")

        def ask(*command: str) -> list[str]:
            return subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split()

        def idle() -> bool:
            return ask("sinfo", "-h", "-N", "-o", "%t") == ["idle"] * nodes

        wait_until(idle, seconds=1200, what="idle nodes")
        try:
            yield environment
        finally:
            ask("scancel", "--user=root")
            with suppress(AssertionError):
                wait_until(lambda: not ask("squeue", "-h", "-o", "%i"), seconds=1200, what="an empty queue")


def _environment(folder: Path) -> dict[str, str]:
    # The tests may themselves run in a job of another Slurm.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), SYSTEM_PATH])
    return inherited | {"PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}


def _configure(folder: Path, *, nodes: int, cpus: int) -> None:
    host = socket.gethostname().partition(".")[0]
    ports = free_ports(nodes + 1)
    lines = [
        f"NodeName=node{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[i]} CPUs={cpus} RealMemory=8000"
        for i in range(nodes)
    ]
    for inner in ("state", *(f"node{i}" for i in range(nodes))):
        (folder / inner).mkdir()
    text = CONFIGURATION.format(host=host, port=ports[-1], folder=folder, nodes="\n".join(lines))
    (folder / "slurm.conf").write_text(text.lstrip())
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(256))


def free_ports(number: int) -> list[int]:
    """Return so many different TCP ports that nobody listens on."""
    with ExitStack() as stack:
        # All open at once: one that is closed could be given out again.
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _children() -> set[int]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@contextmanager
def _adopting() -> Iterator[None]:
    # slurmd gives its job steps away: they become children of this process, so that none outlives it unseen.
    libc = ctypes.CDLL(None, use_errno=True)
    before = _children()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        deadline = time.monotonic() + 10
        while left := _children() - before:
            for pid in left:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
