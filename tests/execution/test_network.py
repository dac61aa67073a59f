"""Workers on hosts of their own, made of network namespaces, and a link that is cut while they compute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.runs import chunks, digests, digests_of, with_backend
from support.slurm import wait_until

from ale_dask.config.study import load_study

HOSTS = ("ale0", "ale1", "ale2")
"""Scheduler and driver on the first, a worker on each other."""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None,
    reason="network namespaces need root and iproute2",
)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        # Containers and some kernels have no namespaces to give.
        pytest.skip(f"ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture
def hosts() -> Iterator[None]:
    """Three hosts on one bridge; nothing of the machine's own network is touched."""
    with ExitStack() as stack:
        for i, host in enumerate(HOSTS):
            ip("netns", "add", host)
            stack.callback(subprocess.run, ["ip", "netns", "del", host], check=True)
            ip("-n", host, "link", "set", "lo", "up")
            if i == 0:
                ip("-n", host, "link", "add", "bridge", "type", "bridge")
                ip("-n", host, "addr", "add", "10.99.0.1/24", "dev", "bridge")
                ip("-n", host, "link", "set", "bridge", "up")
                continue
            ip("link", "add", f"link{i}", "netns", HOSTS[0], "type", "veth", "peer", "name", "eth0", "netns", host)
            ip("-n", HOSTS[0], "link", "set", f"link{i}", "master", "bridge", "up")
            ip("-n", host, "addr", "add", f"10.99.0.{i + 1}/24", "dev", "eth0")
            ip("-n", host, "link", "set", "eth0", "up")
        yield


@pytest.mark.slow
def test_a_cut_link_costs_nothing_but_time(hosts: None, tiny: Path, tmp_path: Path) -> None:
    text = (tiny / "study.toml").read_text().replace("iterations = 60", "iterations = 300")
    (tiny / "study.toml").write_text(text + "[backend]\nblock_size = 1\n")
    expected = digests(
        with_backend(load_study(tiny / "study.toml"), name="serial", block_size=100), tmp_path / "direct"
    )
    # Dask's own settings would take 30 s to give the lost host up; less than 11 s its sockets refuse.
    environment = os.environ | {
        "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "8s",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "12s",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    }
    out = tmp_path / "out"
    with ExitStack() as stack:

        def start(host: str, *words: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                ["ip", "netns", "exec", host, sys.executable, "-m", *words],
                cwd=tmp_path,
                env=environment,
                stdout=stdout,
                stderr=subprocess.DEVNULL if stdout == subprocess.DEVNULL else subprocess.PIPE,
                text=True,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            return process

        start(HOSTS[0], "dask", "scheduler", "--host", "10.99.0.1", "--port", "8786", "--no-dashboard")
        for host in HOSTS[1:]:
            start(host, "dask", "worker", "tcp://10.99.0.1:8786", "--nthreads", "1", "--no-dashboard", "--no-nanny")
        command = ["ale_dask.cli", "run", str(tiny / "study.toml"), "-o", str(out), "-b", "tcp://10.99.0.1:8786"]
        command += ["--no-pictures", "--json"]
        asked = ["ip", "netns", "exec", HOSTS[0], sys.executable, "-c", TWO_WORKERS]
        subprocess.run(asked, check=True, timeout=1200, env=environment)
        run = start(HOSTS[0], *command, stdout=subprocess.PIPE)
        wait_until(lambda: chunks(out) > 100 or run.poll() is not None, seconds=1200, what="blocks")
        before = chunks(out)
        ip("-n", HOSTS[0], "link", "set", "link2", "down")
        said, errors = run.communicate(timeout=1200)
        assert run.returncode == 0, errors
        assert before < 5 * 300, "the run had ended before the link was cut"
        left = subprocess.run([*asked[:-1], HOW_MANY], check=True, capture_output=True, text=True, env=environment)
        assert left.stdout.strip() == "1"
    assert digests_of(said) == expected


TWO_WORKERS = (
    "from distributed import Client\n"
    "with Client('tcp://10.99.0.1:8786', timeout=1200) as client: client.wait_for_workers(2, timeout=1200)"
)
HOW_MANY = (
    "from distributed import Client\n"
    "with Client('tcp://10.99.0.1:8786', timeout=1200) as client: print(len(client.nthreads()))"
)
