"""Every backend with real workers gives the bits of the plain loop; an unreachable one exits 69 with advice."""

from __future__ import annotations

import datetime
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array
import psutil
import pytest
import yaml
from distributed import Client, LocalCluster
from support.commands import ale
from support.messages import messages
from support.runs import chunks, digests, digests_of, with_backend
from support.schedulers import Scheduler, scheduler
from support.slurm import lacking, slurm, wait_until
from support.sshd import sshd

from ale_dask.config.backend import Backend
from ale_dask.config.study import Study, backend_from, load_study, parse_study, to_toml
from ale_dask.errors import BackendError, InputError
from ale_dask.execution.backends import queues
from ale_dask.execution.backends.base import Submission
from ale_dask.execution.backends.connect import active_client, connect
from ale_dask.execution.backends.registry import FOLLOWED_BY, QUEUES, ROWS, Row, backend_of, follower_of
from ale_dask.execution.backends.tls import LOOPBACK, cache_folder

ALE = [sys.executable, "-m", "ale_dask.cli"]
GOLDENS = Path(__file__).parents[1] / "goldens"
DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "slurm"


@pytest.fixture
def expected(tiny_study: Study, tmp_path: Path) -> dict[str, str]:
    """Return the digests of the plain loop on this machine."""
    return digests(with_backend(tiny_study, name="serial"), tmp_path / "direct")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    """Yield a scheduler with one worker that somebody else has started."""
    with scheduler(tmp_path_factory.mktemp("there")) as found:
        yield found


def command(tiny: Path, *words: object) -> list[str]:
    common = ["--no-pictures", "--json", "-q"]
    return ["run", str(tiny / "study.toml"), "-o", str(tiny / "out"), *map(str, words), *common]


def run(tiny: Path, *words: object, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tiny)
        for name, value in environment.items():
            patch.setenv(name, value)
        return ale(*command(tiny, *words), code=code)


def with_lines(tiny: Path, *lines: str) -> None:
    path = tiny / "study.toml"
    path.write_text(path.read_text() + "\n".join(["[backend]", *lines]) + "\n")


def test_the_backend_table_survives_being_written(tiny_study: Study) -> None:
    backend = Backend.model_validate(
        {
            "name": "slurm",
            "workers": "2:8",
            "account": "neuro",
            "partition": "short",
            "walltime": "01:00:00",
            "memory": "2GB",
            "prologue": ["module load python", 'export A="b c"'],
            "hosts": ["a", "b"],
            "options": {
                "interface": "ib0",
                "since": datetime.date(2026, 1, 1),
                "job_extra_directives": ["--nice"],
                "scheduler_options": {"port": 8786, "dashboard": False, "a key of words": [1.5, {"x": {}}]},
            },
        }
    )
    study = tiny_study.model_copy(update={"backend": backend})
    assert parse_study(to_toml(study)) == study


@pytest.mark.parametrize(
    ("given", "least", "most"), [(None, None, None), (3, 3, 3), ("3", 3, 3), ("2:8", 2, 8), ("4:4", 4, 4)]
)
def test_workers_are_a_number_or_a_range(given: Any, least: int | None, most: int | None) -> None:
    backend = Backend(workers=given)
    assert (backend.least, backend.most) == (least, most)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("workers = 0", "backend.workers: '0': give a number from 1, or MIN:MAX"),
        ('workers = "8:2"', "backend.workers: '8:2': MIN is larger than MAX"),
        ('workers = "two"', "backend.workers"),
        ('walltime = "1h"', "backend.walltime"),
        ('memory = "2"', "backend.memory"),
        ("nodes = 3", "backend.nodes: unknown key"),
    ],
)
def test_a_wrong_backend_table_names_the_key(tiny: Path, line: str, said: str) -> None:
    with_lines(tiny, line)
    with pytest.raises(InputError, match=re.escape(said)):
        load_study(tiny / "study.toml")


def test_options_that_study_toml_cannot_hold_are_refused() -> None:
    with pytest.raises(InputError, match="here: options"):
        backend_from({"options": {"silence_logs": None, "worker_class": object}}, source="here")


@pytest.mark.parametrize("way", ["file", pytest.param("environment", marks=pytest.mark.slow)])
def test_a_scheduler_by_its_file_and_by_the_environment(
    tiny: Path, expected: dict[str, str], there: Scheduler, way: str
) -> None:
    done = run(tiny, "-b", there.file) if way == "file" else run(tiny, DASK_SCHEDULER_ADDRESS=there.address)
    assert digests_of(done.stdout) == expected
    record = json.loads((tiny / "out" / "run.json").read_text())
    assert record["backend"]["name"] == ("scheduler-file" if way == "file" else "auto")


def test_an_active_client_is_used_and_left_open(tiny_study: Study, tmp_path: Path, expected: dict[str, str]) -> None:
    assert active_client() is None
    with LocalCluster(processes=False, n_workers=1, dashboard_address=LOOPBACK) as own, Client(own) as client:
        assert active_client() is client
        with connect(Backend()) as found:
            assert found is client
        assert digests(with_backend(tiny_study, name="auto"), tmp_path / "o") == expected
        assert client.status == "running"
    assert active_client() is None


def local_cluster(**options: Any) -> LocalCluster:
    return LocalCluster(processes=False, threads_per_worker=1, dashboard_address=LOOPBACK, **options)


def client_of_local_cluster() -> Client:
    return Client(local_cluster(n_workers=1), set_as_default=False)


def nothing_at_all() -> None:
    return None


def breaks() -> None:
    raise RuntimeError("no licence left")


@pytest.mark.parametrize("workers", [2, "1:2"])
def test_a_cluster_class_of_the_user_computes_and_is_closed(workers: int | str) -> None:
    backend = Backend(name=f"{__name__}:local_cluster", workers=workers, options={"n_workers": 0})
    with connect(backend) as client:
        assert client is not None
        client.wait_for_workers(Backend(workers=workers).least, timeout=1200)
        assert client.submit(sum, [1, 2]).result() == 3
        own = client.cluster
    assert client.status == "closed"
    assert own.status.name == "closed"


def test_a_client_of_the_users_own_is_closed_with_its_cluster() -> None:
    with connect(Backend(name=f"{__name__}:client_of_local_cluster")) as client:
        assert client is not None
        own = client.cluster
    assert own.status.name == "closed"


@pytest.mark.slow
def test_a_cluster_from_a_module_beside_the_study_gives_the_same_digests(tiny: Path, expected: dict[str, str]) -> None:
    (tiny / "mine.py").write_text(
        "from distributed import LocalCluster\n"
        "def processes():\n"
        "    return LocalCluster(n_workers=0, threads_per_worker=1, host='127.0.0.1', dashboard_address=':0')\n"
    )
    assert digests_of(run(tiny, "-b", "mine:processes", "-w", 2).stdout) == expected


def test_a_callable_that_only_names_a_scheduler(there: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    # dask_mpi.initialize leaves this behind in the process that goes on.
    def initialize() -> None:
        dask.config.set({"scheduler-address": there.address})

    monkeypatch.setitem(globals(), "initialize", initialize)
    with dask.config.set({"scheduler-address": None}):
        with connect(Backend(name=f"{__name__}:initialize")) as client:
            assert client is not None
            assert client.scheduler.address == there.address
        dask.config.set({"scheduler-address": None})


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        (Backend(name="cray"), "unknown backend 'cray'; use one of: auto, serial, threads"),
        (Backend(name="/nowhere/scheduler.json"), "not a scheduler file"),
        (Backend(name=str(GOLDENS / "slurm.sh") + ".json"), "not a scheduler file"),
        (Backend(name="no_such_module:start"), "No module named 'no_such_module'"),
        (Backend(name=f"{__name__}:no_such_name"), "no attribute 'no_such_name'"),
        (Backend(name=f"{__name__}:GOLDENS"), "is not callable"),
        (Backend(name=f"{__name__}:local_cluster", options={"colour": 1}), "[backend] options"),
        (Backend(name=f"{__name__}:breaks"), "no licence left"),
        (Backend(name=f"{__name__}:nothing_at_all"), "it must return a Dask cluster or a Client"),
        (Backend(name="slurm-array"), "ale-dask submit"),
        (Backend(name="slurm"), "say how many worker jobs"),
        (Backend(name="pbs", workers=1), "`qsub` is not here"),
        (Backend(name="ssh"), "hosts = ["),
        (Backend(name="ssh", hosts=["a"], options={"connect_options": [{}]}), "one table, for all hosts"),
    ],
    ids=lambda value: value.name if isinstance(value, Backend) else "",
)
def test_what_cannot_be_had_says_what_to_try(
    backend: Backend, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match=re.escape(said)) as caught, connect(backend):
        pass
    assert caught.value.exit_code == 69


@pytest.mark.parametrize(("name", "package", "extra"), [("slurm", "dask_jobqueue", "hpc"), ("ssh", "asyncssh", "ssh")])
def test_a_missing_extra_is_named(name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    backend = Backend(name=name, workers=1, hosts=["a"])
    with pytest.raises(BackendError, match=re.escape(f'pip install "ale-dask[{extra}]"')), connect(backend):
        pass


def test_an_unreachable_ssh_host_is_a_backend_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        backend = Backend(name="ssh", hosts=["127.0.0.1"], options={"connect_options": {"port": free.getsockname()[1]}})
        with pytest.raises(BackendError, match=r"(?s)ssh: .*by hand"), connect(backend):
            pass


@pytest.mark.parametrize("name", ["threads", "processes"])
def test_what_is_started_here_listens_on_loopback_only(name: str) -> None:
    def listening() -> set[tuple[str, int]]:
        own = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
        every = psutil.net_connections("tcp")
        return {(c.laddr.ip, c.laddr.port) for c in every if c.pid in own and c.status == "LISTEN"}

    # Other tests' servers may still be up.
    before = listening()
    with connect(Backend(name=name, workers=1)):
        assert {address for address, _ in listening() - before} == {"127.0.0.1"}


def test_a_scheduler_without_workers_exits_69(tiny: Path, there: Scheduler) -> None:
    with LocalCluster(
        n_workers=0, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=LOOPBACK
    ) as own:
        assert "has no workers" in run(tiny, "-b", own.scheduler_address, code=69).stderr


def test_the_command_line_says_69_and_why(tiny: Path) -> None:
    assert "pip install" not in run(tiny, "-b", "nowhere.json", code=69).stderr
    assert not (tiny / "out").exists()


def plain(script: str) -> str:
    """Return a job script with what belongs to this machine replaced."""
    return script.replace(sys.executable, "PYTHON").replace(str(cache_folder("")).rstrip("/"), "CACHE")


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("full", [False, True], ids=["plain", "full"])
def test_job_scripts_are_the_goldens(queue: str, full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask_jobqueue

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LSF_ENVDIR", "/nonexistent")
    monkeypatch.delenv("PBS_ACCOUNT", raising=False)
    defaults = yaml.safe_load((Path(dask_jobqueue.__file__).parent / "jobqueue.yaml").read_text())
    backend = Backend(name=queue, workers=2)
    if full:
        backend = Backend(
            name=queue,
            workers="2:8",
            account="neuro",
            partition="short",
            walltime="02:30:00",
            memory="4GB",
            prologue=["module load python"],
            options={"interface": "ib0", "death_timeout": 300, "scheduler_options": {"port": 8786}},
        )
    # Not what the user of this machine has configured for their own queue.
    with dask.config.set(jobqueue=defaults["jobqueue"]):
        found = plain(backend_of(backend).script(Path()))
    golden = GOLDENS / f"{queue}{'-full' if full else ''}.sh"
    if os.environ.get("ALE_DASK_WRITE_GOLDENS"):
        golden.write_text(found)
    assert found == golden.read_text()


def test_what_is_no_queue_has_no_job_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BackendError, match="these have: slurm, pbs, sge, lsf"):
        backend_of(Backend(name="threads")).script(Path())
    with pytest.raises(BackendError, match=r"no job script: .*colour"):
        backend_of(Backend(name="slurm", options={"colour": "red"})).script(Path())


def test_the_example_of_a_dask_configuration_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask_jobqueue

    monkeypatch.setenv("HOME", str(tmp_path))
    defaults = yaml.safe_load((Path(dask_jobqueue.__file__).parent / "jobqueue.yaml").read_text())
    example = yaml.safe_load((DEPLOY / "jobqueue.yaml").read_text())
    with dask.config.set(jobqueue=dask.config.merge(defaults, example)["jobqueue"]):
        found = backend_of(Backend(name="slurm")).script(Path())
        override = backend_of(Backend(name="slurm", account="other", walltime="00:10:00")).script(Path())
    for key, directive in {"account": "-A", "queue": "-p", "walltime": "-t"}.items():
        assert f"#SBATCH {directive} {example['jobqueue']['slurm'][key]}\n" in found
    assert set(example["jobqueue"]["slurm"]) <= set(defaults["jobqueue"]["slurm"])
    assert f"#SBATCH -o {tmp_path}/ale-dask-logs/" in found
    assert "#SBATCH -A other\n" in override
    assert "#SBATCH -t 00:10:00\n" in override


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_a_backend_and_the_only_one_of_its_name(row: Row) -> None:
    made = backend_of(Backend(name=row.name))
    assert f"{type(made).__module__.rpartition('.')[2]}:{type(made).__name__}" == row.implementation
    assert made.name == row.name


@pytest.mark.parametrize("how", FOLLOWED_BY)
def test_every_submission_has_a_backend_that_follows_it(how: str) -> None:
    submission = Submission("0123456789", how, "elsewhere", 0.0, pid=1, jobs=("12",), scheduler=None)
    assert follower_of(submission).describe(submission)


def test_every_backend_is_named_in_the_help() -> None:
    done = subprocess.run([*ALE, "run", "--help"], capture_output=True, text=True, check=True, env=os.environ)
    # A terminal's lines are broken between words.
    shown = " ".join(done.stdout.replace("│", " ").split())
    for row in ROWS:
        assert (row.help or row.name) in shown


@pytest.mark.slow
def test_workers_by_ssh_give_the_same_digests(tiny_study: Study, tmp_path: Path, expected: dict[str, str]) -> None:
    with sshd(tmp_path / "sshd") as connection:
        options = {
            "connect_options": connection,
            "worker_options": {"host": "127.0.0.1"},
            "scheduler_options": {"host": "127.0.0.1"},
        }
        backend = Backend(name="ssh", hosts=["127.0.0.1"], workers=2, options=options)
        with connect(backend) as client:
            assert client is not None
            assert client.scheduler.address.startswith("tls://127.0.0.1:")
            assert sorted(client.nthreads().values()) == [1, 1]
            home = tmp_path / "sshd" / "home"
            keys = list((home / ".cache/ale_dask/tls").iterdir())
            assert [path.stat().st_mode & 0o777 for path in keys] == [0o600]
        assert not list((home / ".cache/ale_dask/tls").iterdir())
        study = tiny_study.model_copy(update={"backend": backend})
        assert digests(study, tmp_path / "o") == expected


needs_slurm = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """Yield the environment of a Slurm with two nodes of two CPUs."""
    with slurm() as environment:
        yield environment


def ask(cluster: dict[str, str], *words: str) -> list[str]:
    done = subprocess.run(words, env=cluster, capture_output=True, text=True, check=True, timeout=1200)
    return done.stdout.split()


@pytest.mark.slow
@needs_slurm
def test_a_cancelled_worker_job_is_replaced_and_costs_nothing_but_time(cluster: dict[str, str], tiny: Path) -> None:
    text = (tiny / "study.toml").read_text().replace("iterations = 60", "iterations = 400")
    (tiny / "study.toml").write_text(text)
    with_lines(tiny, "block_size = 1", 'memory = "1GB"', 'options = {interface = "lo"}')
    shared, logs = tiny / "shared", tiny / "logs"
    own = {"SHARED_TEMP_DIRECTORY": shared, "LOG_DIRECTORY": logs}
    environment = cluster | {f"DASK_JOBQUEUE__SLURM__{key}": str(path) for key, path in own.items()}
    with subprocess.Popen(
        [*ALE, *command(tiny, "-b", "slurm", "-w", 2)[:-1]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:

            def running() -> set[str]:
                assert process.poll() is None, process.communicate()
                return set(ask(cluster, "squeue", "-h", "-t", "R", "-o", "%i"))

            wait_until(lambda: len(running()) == 2, seconds=1200, what="two worker jobs")
            first = running()
            wait_until(lambda: chunks(tiny / "out") > 40, seconds=1200, what="blocks")
            assert [path.stat().st_mode & 0o777 for path in shared.iterdir()] == [0o600]
            ask(cluster, "scancel", min(first))
            wait_until(lambda: len(running() - first) == 1, seconds=1200, what="another worker job")
            out, said = process.communicate(timeout=1200)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "slurm: 2 worker job(s) submitted" in said
    direct = with_backend(load_study(tiny / "study.toml"), name="serial", block_size=250)
    assert digests_of(out) == digests(direct, tiny / "direct")
    assert not list(shared.iterdir())
    assert len(list(logs.iterdir())) >= 4
    wait_until(lambda: not ask(cluster, "squeue", "-h", "-o", "%i"), seconds=1200, what="an empty queue")


@needs_slurm
def test_a_job_that_slurm_refuses_exits_69_with_its_reason(cluster: dict[str, str], tiny: Path) -> None:
    with_lines(tiny, 'partition = "no-such"', 'options = {interface = "lo"}')
    done = run(tiny, "-b", "slurm", "-w", 1, code=69, **cluster)
    assert "invalid partition" in done.stderr
    assert "account, partition, walltime" in done.stderr


@needs_slurm
def test_jobs_that_end_before_they_work_are_noticed(
    cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(key, cluster[key])
    monkeypatch.setattr(queues, "_SAY_SECONDS", 2.0)
    backend = Backend(name="slurm", workers=2, memory="1GB", prologue=["exit 3"], options={"interface": "lo"})
    folders = {"shared-temp-directory": str(tmp_path / "keys"), "log-directory": str(tmp_path / "logs")}
    with (
        dask.config.set({f"jobqueue.slurm.{key}": path for key, path in folders.items()}),
        pytest.raises(BackendError, match=r"(?s)all worker jobs ended.*logs.*prologue"),
        messages() as said,
        connect(backend),
    ):
        pass
    assert said[0].startswith("slurm: 2 worker job(s) submitted")
    assert not list((tmp_path / "keys").iterdir())


def test_clients_of_two_threads_leave_dask_as_it_was() -> None:
    opened, closed = threading.Event(), threading.Event()

    def first() -> None:
        with connect(Backend(name="threads", workers=1)):
            assert opened.wait(60)
        closed.set()

    thread = threading.Thread(target=first)
    thread.start()
    wait_until(lambda: dask.config.get("scheduler", None) == "dask.distributed", seconds=1200, what="the first client")
    with connect(Backend(name="threads", workers=1)):
        opened.set()
        assert closed.wait(60)
    thread.join()
    assert dask.config.get("scheduler", None) is None
    assert dask.array.ones(3).sum().compute() == 3
