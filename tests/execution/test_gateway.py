"""A run on a real Dask Gateway survives killed workers, and reports limits and refusals in plain messages."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from support.gateway import gateway, lacking
from support.messages import messages
from support.runs import chunks, digests, digests_of, with_backend
from support.slurm import wait_until

from ale_dask.config.backend import Backend
from ale_dask.config.study import load_study
from ale_dask.errors import BackendError
from ale_dask.execution.backends.connect import connect, dashboard
from ale_dask.workflows.follow import follow, logs

pytestmark = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the environment variables with which a process may connect to a gateway."""
    with gateway(tmp_path_factory.mktemp("there") / "gateway") as environment:
        yield environment


@pytest.fixture
def here(there: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Yield the same for this process."""
    for key, value in there.items():
        monkeypatch.setenv(key, value)
    import dask_gateway  # noqa: F401

    mine = dask.config.collect_env()["gateway"]
    with dask.config.set(gateway=dask.config.merge(dask.config.get("gateway"), mine)):
        yield there
    # A refused client of dask-gateway closes what it has when it is collected, and needs its event loop then.
    gc.collect()


def workers() -> set[int]:
    """Return the process groups of the gateway's workers, which descend from this process."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[1:4] == ["-m", "dask", "worker"] and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found


@pytest.mark.slow
def test_a_submitted_run_outlives_a_killed_worker(there: dict[str, str], tiny: Path) -> None:
    text = (tiny / "study.toml").read_text().replace("iterations = 60", "iterations = 400")
    (tiny / "study.toml").write_text(text + '[backend]\nname = "gateway"\nworkers = 2\nblock_size = 1\n')
    direct = with_backend(load_study(tiny / "study.toml"), name="serial", block_size=250)
    expected, out = digests(direct, tiny / "direct"), tiny / "out"
    command = [sys.executable, "-m", "ale_dask.cli", "submit", tiny, "-o", out, "--no-pictures"]
    subprocess.run(command, env={**os.environ, **there}, check=True, timeout=1200)
    wait_until(lambda: chunks(out) > 40, seconds=1200, what="blocks")
    first = workers()
    assert len(first) == 2
    # The group is the worker and its nanny, which would start it again.
    os.killpg(min(first), signal.SIGKILL)
    wait_until(lambda: len(workers() - first) == 1, seconds=1200, what="another worker")
    said = "\n".join(logs(out))
    page = re.search(r"dashboard (http://127\S+/ale-dask)", said)
    assert page is not None
    with urllib.request.urlopen(page[1], timeout=1200) as answer:
        assert "<title>ale_dask</title>" in answer.read().decode()
    assert follow(out, lambda statuses: None), said
    assert digests_of((out / "run.json").read_text()) == expected
    assert re.search(r"gateway: cluster \w+ is up, waiting for a worker\ndashboard http://127", said)
    wait_until(lambda: not workers(), seconds=1200, what="the end of the cluster")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workers": None}, "say how many workers"),
        ({"options": {"auth": {"type": "basic", "password": "x"}}}, "a password goes into Dask's configuration"),
        ({"options": {"colour": "red"}}, "colour"),
        ({"options": {"address": "http://127.0.0.1:9"}}, "no cluster from http://127.0.0.1:9"),
        ({"options": {"auth": "no.such.type"}}, "gateway.auth"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_what_the_gateway_refuses_exits_69_with_its_reason(
    here: dict[str, str], changes: dict[str, Any], said: str
) -> None:
    backend = Backend.model_validate({"name": "gateway", "workers": 1, **changes})
    with pytest.raises(BackendError, match=re.escape(said)), connect(backend):
        pass
    assert BackendError.exit_code == 69


def test_a_proxy_that_does_not_answer_is_said(here: dict[str, str]) -> None:
    backend = Backend(name="gateway", workers=1, options={"proxy_address": "tls://127.0.0.1:9"})
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        pytest.raises(BackendError, match=r"gateway://127\.0\.0\.1:9.*proxy_address"),
        connect(backend),
    ):
        pass


def test_a_wrong_password_is_said(here: dict[str, str]) -> None:
    with (
        dask.config.set({"gateway.auth.kwargs.password": "wrong"}),
        pytest.raises(BackendError, match=r"401.*gateway\.auth"),
        connect(Backend(name="gateway", workers=1)),
    ):
        pass


def test_a_limit_of_the_gateway_is_said_and_not_fatal(here: dict[str, str]) -> None:
    with messages() as said, connect(Backend(name="gateway", workers=9)) as client:
        assert client is not None
        assert str(dashboard(client)).startswith(here["DASK_GATEWAY__ADDRESS"])
        assert client.submit(sum, [1, 2]).result() == 3
    assert any("cluster_max_workers" in line or "limit" in line for line in said), said
