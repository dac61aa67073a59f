"""Worker processes are forked from one that has imported the package, unless they would differ from others."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from ale_dask.config.backend import Backend
from ale_dask.execution.backends import forked
from ale_dask.execution.backends.connect import connect
from ale_dask.execution.backends.forked import start_method

linux = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux are worker processes forked")


@pytest.fixture(autouse=True)
def _as_at_the_first_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the environment in which an earlier test of this process had the first worker forked."""
    monkeypatch.setattr(forked, "_STARTED_WITH", {})


def parent() -> str:
    """Return the command of the process that this one was started by."""
    return " ".join(psutil.Process().parent().cmdline())


@linux
def test_forked_workers_have_the_environment_and_the_folder_of_the_moment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start_method()
    monkeypatch.setenv("SET_AFTER_THE_FIRST_START", "yes")
    monkeypatch.chdir(tmp_path)
    with connect(Backend(name="processes", workers=2)) as client:
        assert client is not None
        assert set(client.run(os.environ.get, "SET_AFTER_THE_FIRST_START").values()) == {"yes"}
        assert set(client.run(os.environ.get, "OMP_NUM_THREADS").values()) == {"1"}
        assert set(client.run(os.getcwd).values()) == {str(tmp_path)}
        assert all("forkserver" in command for command in client.run(parent).values())


@linux
def test_each_worker_imports_the_package_where_a_fork_would_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start_method() == "forkserver"
    with monkeypatch.context() as changed:
        changed.setenv("NUMBA_OPT", "1")
        assert start_method() == "spawn"
    with monkeypatch.context() as changed:
        changed.delenv("PATH")
        assert start_method() == "spawn"
    with monkeypatch.context() as changed:
        changed.setattr(tempfile, "tempdir", "/tmp/" + 80 * "x")
        assert start_method() == "spawn"
    assert start_method() == "forkserver"
