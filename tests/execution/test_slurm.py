"""Runs on a real Slurm: the commands of its README, and jobs that are cancelled, killed, out of time or lose a node."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support.databases import plan_of_terms, write_database
from support.messages import messages
from support.runs import chunks, digests, digests_of, with_backend, with_inference
from support.slurm import lacking, slurm, wait_until
from support.studies import write_tiny

from ale_dask.cli import main
from ale_dask.config.backend import Backend
from ale_dask.config.inference import Inference
from ale_dask.config.study import Study, load_study
from ale_dask.errors import BackendError, UnfinishedError
from ale_dask.execution.backends import slurm as slurm_jobs
from ale_dask.execution.backends.registry import backend_of
from ale_dask.workflows import follow, run, run_directory, submit
from ale_dask.workflows.doctor import examine
from ale_dask.workflows.literature_runs import About, create_literature, run_literature
from ale_dask.workflows.prepare import prepare

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "slurm"
# With fewer relabellings than 100 the contrast has no pass for its clusters.
ITERATIONS = 100
BLOCKS = 5 * ITERATIONS
SOME = 20


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """Yield the environment of a Slurm with two nodes of two CPUs."""
    if reason := lacking():
        pytest.skip(reason)
    with slurm() as environment:
        yield environment


@pytest.fixture
def here(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the environment of a Slurm that this process sees too."""
    for key in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(key, cluster[key])
    return cluster


def write_long(folder: Path) -> Study:
    """Return a tiny study cut into so many blocks that a task can stop itself amid them."""
    text = (write_tiny(folder) / "study.toml").read_text().replace("iterations = 60", f"iterations = {ITERATIONS}")
    (folder / "study.toml").write_text(text + "[backend]\nblock_size = 1\nworkers = 2\n")
    return load_study(folder / "study.toml")


@pytest.fixture
def long(tmp_path: Path) -> Study:
    """Return the study of a new folder `tiny`, for OUT in it."""
    return with_backend(write_long(tmp_path / "tiny"), name="slurm-array")


@pytest.fixture
def paused(tmp_path: Path, out: Path, long: Study) -> Study:
    """Return the study with a prologue that stops the process of each task once some blocks are there.

    Whatever the machine's speed, the task is then caught amid its blocks; `resume` lets the tasks go on.
    """
    found = f"[ $(find {shlex.quote(str(out))}/store.zarr -path '*/null/*/c/*/0' 2>/dev/null | wc -l) -gt {SOME} ]"
    go, stopped = (shlex.quote(str(tmp_path / name)) for name in ("go", "stopped"))
    # In a subshell $$ is still the process of the script, whose child computes the blocks.
    stop = f"child=$(pgrep -P $$ -f 'ale_dask.cli block') && kill -STOP $child && echo $child >> {stopped} && break"
    watch = f"(until [ -e {go} ]; do {found} && {stop}; sleep 0.05; done)"
    return with_backend(long, prologue=[f'[ -z "${{SLURM_ARRAY_TASK_ID:-}}" ] || {watch} >/dev/null 2>&1 &'])


def stopped(folder: Path) -> list[int]:
    """Return the processes of tasks that have stopped themselves."""
    path = folder / "stopped"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def resume(folder: Path) -> None:
    """Let stopped tasks go on, and others and later ones not stop any more."""
    (folder / "go").touch()
    for process in stopped(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a path that neither a shell nor Slurm's patterns may take apart."""
    return tmp_path / "out of %j"


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the digests of the plain loop on this machine."""
    folder = tmp_path_factory.mktemp("direct")
    return digests(with_backend(write_long(folder / "tiny"), name="serial", block_size=100), folder / "out")


def ask(cluster: dict[str, str], *command: object, folder: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], env=cluster, cwd=folder, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def ale(*words: object, code: int = 0) -> str:
    """Return the output of a command in this process: starting another one may take longer than the event to catch."""
    said = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["ale-dask", *map(str, words)]),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    assert (ended.value.code or 0) == code, said.getvalue()
    return said.getvalue()


def field(cluster: dict[str, str], job: str, key: str) -> str:
    """Return a field of one job or array task as Slurm shows it."""
    found = re.search(rf"\b{key}=(\S+)", ask(cluster, "scontrol", "show", "job", "-o", job))
    assert found, f"{job} has no {key}"
    return found[1]


def wait_for_all(cluster: dict[str, str], folder: Path) -> None:
    """Return when no job is left in the queue, and fail with the jobs' logs if some stay."""
    try:
        wait_until(lambda: not ask(cluster, "squeue", "-h", "-o", "%i"), seconds=1200, what="an empty queue")
    except AssertionError as error:
        queue = ask(cluster, "squeue")
        raise AssertionError(f"{error}\n{queue}\n{logs(folder)}") from error


def logs(folder: Path) -> str:
    return "\n".join(f"{path.name}: {path.read_text()}" for path in sorted(folder.glob("*.out")))


def written(out: Path) -> dict[str, str]:
    """Return the digests in the results that a job has written."""
    assert (out / "run.json").is_file(), logs(out / "logs")
    assert (out / "report.html").is_file()
    return digests_of((out / "run.json").read_text())


def laid_out(study: Study, out: Path) -> Path:
    """Return OUT with the plans and segments of a study."""
    prepared = prepare(study)
    made = run_directory.create_run(prepared, out)
    run_directory.jobs_of(prepared, out, made, workers=2)
    return out


def started(study: Study, out: Path) -> str:
    """Return the id of an array of two tasks that have stopped amid the blocks of OUT."""
    job = backend_of(study.backend).start_array(laid_out(study, out)).jobs[0]
    wait_until(lambda: len(stopped(out.parent)) == 2, seconds=1200, what=f"blocks of job {job}")
    return job


def commands(page: str, number: int, **here: object) -> str:
    """Return a block of commands of the README, with its names replaced by those of this machine."""
    text = re.findall(r"```bash\n(.*?)```", page, re.S)[number]
    for name, path in {"study.toml": here["study"], "OUT": here["out"], "deploy/slurm": DEPLOY}.items():
        text = text.replace(name, shlex.quote(str(path)))
    # Half of the time would be pictures, which other tests draw.
    return re.sub(r"(.*ale-dask submit .*|.*afterany.*)", r"\1 --no-pictures", text)


def test_the_commands_of_the_readme(
    cluster: dict[str, str], tmp_path: Path, long: Study, out: Path, expected: dict[str, str]
) -> None:
    study = tmp_path / "tiny" / "study.toml"
    text = commands((DEPLOY / "README.md").read_text(), 0, study=study, out=out)
    assert len(text.splitlines()) == 4
    assert text.count("-w 16") == 1
    again = f"ale-dask submit {shlex.quote(str(study))} -o {shlex.quote(str(out))} -b slurm-array || echo exit $?\n"
    text = text.replace("-w 16", "-w 1:2").replace("ale-dask status", f"{again}ale-dask status", 1)
    said = ask(cluster, "bash", "-euc", text, folder=tmp_path)
    assert "ok  Slurm would take a task: Job " in said
    assert "ok  Slurm would take the job that writes: Job " in said
    assert re.search(r"submitted: Slurm job (\d+) and (\d+)\n  ale-dask status '.*' --watch\n", said)
    assert "exit 75" in said
    assert written(out) == expected
    assert re.search(r" finished(: .*)? \(", said)
    for part in ("_0.out\n", "_1.out\n", "report: "):
        assert part in said.partition("exit 75")[2]
    assert sum(map(int, re.findall(r"(\d+) blocks computed", said))) == BLOCKS
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".out")]


@pytest.mark.slow
def test_the_commands_of_the_readme_by_hand(
    cluster: dict[str, str], tmp_path: Path, long: Study, out: Path, expected: dict[str, str]
) -> None:
    study = tmp_path / "tiny" / "study.toml"
    study.write_text(study.read_text().replace("block_size = 1\n", "block_size = 20\n"))
    text = commands((DEPLOY / "README.md").read_text(), 1, study=study, out=out)
    assert "0-15%8" in text
    said = ask(cluster, "bash", "-euc", text.replace("0-15%8", "0-1%2"), folder=tmp_path)
    assert re.search(rf"drug-vs-therapy +[\d,]+ of +{ITERATIONS:,} iterations", said)
    wait_for_all(cluster, tmp_path)
    assert logs(tmp_path).count(" blocks computed") == 2, logs(tmp_path)
    assert written(out) == expected


def test_the_backend_table_is_in_the_script(here: dict[str, str], tmp_path: Path, long: Study, out: Path) -> None:
    toml = re.findall(r"```toml\n(.*?)```", (DEPLOY / "README.md").read_text(), re.S)[0]
    study = tmp_path / "tiny" / "study.toml"
    table = toml.replace('"short"', '"all"').replace("module load python", "export FOUND=$NOT_SET")
    study.write_text(study.read_text().partition("[backend]")[0] + table)
    found = ale("submit", study, "-o", out, "-b", "slurm-array", "-n")
    for line in ("account=ACCOUNT", "partition=all", "time=01:00:00", "mem=954M"):
        assert f"\n#SBATCH --{line}\n" in found
    assert "\nexport FOUND=$NOT_SET\n" in found
    assert not out.exists()
    assert " in partition all" in slurm_jobs.would_start(found)


def test_what_slurm_refuses_exits_69_and_leaves_no_job(
    here: dict[str, str], tmp_path: Path, long: Study, out: Path
) -> None:
    with pytest.raises(BackendError, match=r"(?s)invalid partition.*account, partition, walltime and memory"):
        submit.submit(with_backend(long, partition="no-such"), out)
    # The array alone would fit on a node of 8,000 MB.
    with pytest.raises(BackendError, match="sbatch refused"):
        submit.submit(with_backend(long, memory="6 GB"), out)
    wait_for_all(here, out)
    assert follow.submitted(out) is None
    assert follow.alive(follow.Submission("x", "slurm", "here", 0.0, jobs=("1",)), out) is False


@pytest.mark.slow
def test_a_cancelled_task_stays_cancelled_and_the_same_array_goes_on(
    here: dict[str, str], long: Study, paused: Study, out: Path, expected: dict[str, str]
) -> None:
    job = started(paused, out)
    ask(here, "scancel", f"{job}_0")
    resume(out.parent)
    wait_for_all(here, out / "logs")
    assert field(here, f"{job}_0", "JobState") == "CANCELLED"
    assert field(here, f"{job}_1", "JobState") == "COMPLETED"
    done = chunks(out)
    assert 0 < done < BLOCKS, "the task ended before it could be cancelled"
    again = backend_of(long.backend).start_array(out).jobs[0]
    wait_for_all(here, out / "logs")
    assert [field(here, f"{again}_{i}", "JobState") for i in (0, 1)] == ["COMPLETED"] * 2, logs(out / "logs")
    assert f"{BLOCKS - done} blocks computed" in (out / "logs" / f"slurm-{again}_0.out").read_text()
    assert digests_of(run.collect(out)[2]) == expected


@pytest.mark.slow
def test_sets_of_a_database_lose_a_task_and_no_bit(
    here: dict[str, str], tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALE_DASK_DATA", str(tmp_path / "data"))
    write_database(tmp_path / "data")
    mask = write_tiny(tmp_path / "tiny") / "ball.nii.gz"
    plan = plan_of_terms(Inference(mask=str(mask), iterations=40, seed=3, null="both", voxel_p=0.01), most=12, random=3)
    about, held = About("terms", (), ()), tmp_path / "held"
    create_literature(plan, tmp_path / "alone", about, backend=Backend(name="serial"))
    sha256 = run_literature(tmp_path / "alone", quiet=True)["sha256"]
    # Task 0 waits before it computes anything, whatever the machine's speed.
    wait = f'[ "${{SLURM_ARRAY_TASK_ID:-}}" != 0 ] || {{ touch {shlex.quote(str(held))}; sleep infinity; }}'
    create_literature(plan, out, about, backend=Backend(name="slurm-array", workers=2, prologue=[wait]))
    assert "1 blocks computed" in ale("block", out, 2)
    assert "submitted: Slurm job " in ale("submit", out, "-o", out)
    submission = follow.submitted(out)
    assert submission is not None
    array, last = submission.jobs
    wait_until(held.exists, seconds=1200, what=f"task 0 of job {array}")
    ask(here, "scancel", f"{array}_0")
    wait_for_all(here, out / "logs")
    states = [field(here, job, "JobState") for job in (f"{array}_0", f"{array}_1", last)]
    assert states == ["CANCELLED", "COMPLETED", "COMPLETED"], logs(out / "logs")
    # Of six sets the task that was not cancelled has three, and the last job what is still missing.
    assert "3 blocks computed" in (out / "logs" / f"slurm-{array}_1.out").read_text()
    assert sha256 in (out / "report.html").read_text()


@pytest.mark.slow
def test_tasks_out_of_time_or_without_their_node_queue_again_and_go_on(
    here: dict[str, str], paused: Study, out: Path, expected: dict[str, str]
) -> None:
    # Each has its node for itself.
    job = started(with_backend(paused, memory="5 GB"), out)
    nodes = [field(here, f"{job}_{i}", "NodeList") for i in (0, 1)]
    assert sorted(nodes) == ["node0", "node1"]
    # The signal that --signal=B:TERM@120 has Slurm send, without waiting for a time limit, whose unit is minutes.
    ask(here, "scancel", "--signal=TERM", "--batch", f"{job}_0")
    ask(here, "scontrol", "update", f"nodename={nodes[1]}", "state=down", "reason=test")
    try:
        wait_until(lambda: field(here, f"{job}_1", "JobState") == "PENDING", seconds=1200, what="a requeued task")
    finally:
        ask(here, "scontrol", "update", f"nodename={nodes[1]}", "state=resume")
    assert chunks(out) < BLOCKS
    resume(out.parent)
    wait_for_all(here, out / "logs")
    assert [field(here, f"{job}_{i}", "JobState") for i in (0, 1)] == ["COMPLETED"] * 2, logs(out / "logs")
    assert [field(here, f"{job}_{i}", "Restarts") for i in (0, 1)] == ["1", "1"], logs(out / "logs")
    log = (out / "logs" / f"slurm-{job}_0.out").read_text()
    assert "stopped by SIGTERM" in log
    assert log.count("blocks computed") == 1
    assert digests_of(run.collect(out)[2]) == expected


@pytest.mark.slow
def test_tasks_that_take_too_much_memory_are_killed_and_the_last_job_takes_over(
    here: dict[str, str], tmp_path: Path, paused: Study, out: Path, expected: dict[str, str]
) -> None:
    # Once the task has stopped, a second process takes 700 MB: `tail` keeps what has no line end.
    there = f"[ -e {shlex.quote(str(tmp_path / 'stopped'))} ]"
    greedy = f"(until {there}; do sleep 0.1; done; (head -c 700m /dev/zero; sleep 60) | tail) >/dev/null &"
    study = with_backend(paused, memory="400 MB", prologue=[*(paused.backend.prologue or []), greedy])
    made = submit.submit(study, out, pictures=False)
    array, last = made.jobs
    wait_until(lambda: field(here, last, "JobState") != "PENDING", seconds=1200, what="the end of the array")
    killed = chunks(out)
    assert SOME < killed < BLOCKS
    for i in (0, 1):
        assert field(here, f"{array}_{i}", "JobState") in ("FAILED", "OUT_OF_MEMORY")
        assert "exceeded memory limit" in (out / "logs" / f"slurm-{array}_{i}.out").read_text()
    assert follow.follow(out, lambda statuses: None), logs(out / "logs")
    assert field(here, last, "JobState") == "COMPLETED"
    assert written(out) == expected


@pytest.mark.slow
def test_a_cancelled_submission_is_gone_and_goes_on_with_dask_workers(
    here: dict[str, str], tmp_path: Path, paused: Study, out: Path, expected: dict[str, str]
) -> None:
    made = submit.submit(paused, out, pictures=False)
    with pytest.raises(UnfinishedError, match="a run is under way"):
        submit.submit(paused, out)
    wait_until(lambda: len(stopped(tmp_path)) == 2, seconds=1200, what="blocks")
    assert "cancelled: Slurm job " in ale("cancel", out)
    wait_for_all(here, out / "logs")
    assert {field(here, job, "JobState") for job in (f"{made.jobs[0]}_0", f"{made.jobs[0]}_1", made.jobs[1])} == {
        "CANCELLED"
    }
    assert chunks(out) < BLOCKS
    resume(tmp_path)
    assert "ended before it was done" in ale("status", out, "--watch", code=75)
    assert "nothing runs any more" in ale("cancel", out, code=65)
    # The study in OUT; workers on this host find each other by loopback only.
    kept = run_directory.stored_study(out)
    assert kept.backend.name == "slurm-array"
    options = {"interface": "lo", "log_directory": str(tmp_path / "workers")}
    driven = with_backend(kept, name="slurm", memory="1 GB", options=options, block_size=None)
    again = submit.submit(driven, out, pictures=False)
    assert len(again.jobs) == 1
    assert follow.follow(out, lambda statuses: None), logs(out / "logs")
    assert "slurm: 2 worker job(s) submitted" in logs(out / "logs")
    assert len(list((tmp_path / "workers").iterdir())) >= 2
    assert written(out) == expected
    wait_for_all(here, out / "logs")


@pytest.mark.slow
def test_run_waits_for_the_array_and_takes_it_with_it_when_stopped(
    here: dict[str, str],
    tmp_path: Path,
    long: Study,
    paused: Study,
    out: Path,
    expected: dict[str, str],
) -> None:
    def stop(statuses: Any) -> None:
        if stopped(tmp_path):
            raise UnfinishedError("stopped by a signal")

    with pytest.raises(UnfinishedError, match="stopped by a signal"):
        submit.run_array(paused, out, tell=stop)
    wait_for_all(here, out / "logs")
    assert chunks(out) < BLOCKS
    # Tasks that do nothing: what is missing is not left to the login node.
    with pytest.raises(UnfinishedError, match=r"Slurm job \d+ ended before it was done"):
        submit.run_array(with_backend(long, prologue=["exit 3"]), out, tell=lambda statuses: None)
    study = tmp_path / "tiny" / "study.toml"
    ale_dask = [sys.executable, "-m", "ale_dask.cli"]
    said = ask(here, *ale_dask, "run", study, "-o", out, "-b", "slurm-array", "-w", 2, "--no-pictures")
    assert "report: " in said
    assert written(out) == expected


@pytest.mark.slow
def test_the_sweep_script_runs_as_a_job(here: dict[str, str], tmp_path: Path, long: Study, out: Path) -> None:
    study, script = tmp_path / "tiny" / "study.toml", tmp_path / "sweep"
    options = f'options = {{interface = "lo", log_directory = "{tmp_path / "workers"}"}}'
    text = study.read_text().replace("block_size = 1\nworkers = 2", f'block_size = 50\nmemory = "1 GB"\n{options}')
    study.write_text(text)
    lines = (ROOT / "scripts" / "slurm_sweep").read_text().splitlines()
    kept = [line for line in lines if "--set" not in line or "cluster_p" in line]
    small = "\n".join(kept).replace("-w 2:32", "-w 2").replace("-i 10000", "-i 100").replace("--mem=4G", "--mem=2G")
    script.write_text(small + "\n")
    ask(here, "sbatch", "--wait", "--parsable", f"--output={tmp_path}/said.out", script, study, out)
    said = (tmp_path / "said.out").read_text()
    assert "2 cells, " in said
    record = json.loads((out / "sweep.json").read_text())
    assert list(record["cells"]) == ["cluster_p=0.05", "cluster_p=0.01"]
    alone = digests(
        with_backend(with_inference(long, iterations=100), name="serial", block_size=100), tmp_path / "alone"
    )
    for cell in record["cells"].values():
        assert {name: cell["digests"][name] for name in alone} == alone


def test_doctor_tries_worker_jobs(here: dict[str, str], tmp_path: Path) -> None:
    options = {"interface": "lo", "log_directory": str(tmp_path), "shared_temp_directory": str(tmp_path)}
    with messages() as said:
        examine(Backend(name="slurm", workers=1, memory="1 GB", options=options), str(tmp_path / "out"))
    assert "ok  slurm: 1 worker(s), 1 threads" in "\n".join(said)
    assert "ok  every worker sees OUT and writes its blocks itself" in said
    wait_for_all(here, tmp_path)


def test_a_prologue_may_say_how_ale_dask_is_started() -> None:
    toml = re.findall(r"```toml\n(.*?)```", (DEPLOY / "README.md").read_text(), re.S)[1]
    assert "prologue = ['ale_dask=(apptainer exec " in toml
    text = slurm_jobs.script(
        Backend(name="slurm-array", prologue=["echo $NOT_SET", "ale_dask=(echo 'a b.sif' ale-dask)"])
    )
    environment = os.environ | {"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "2", "SLURM_ARRAY_TASK_ID": ""}
    command = ["bash", "-s", "OUT", "--no-pictures"]
    done = subprocess.run(command, input=text, env=environment, capture_output=True, text=True, check=True)
    # `set -u` does not hold for the prologue.
    assert done.stdout == "\na b.sif ale-dask run OUT -o OUT -b threads -w 2 --no-pictures\n"


def test_what_the_image_is_made_of_is_there() -> None:
    text = (DEPLOY / "apptainer.def").read_text()
    sections = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", text, re.S | re.M))
    assert set(sections) == {"files", "post", "environment", "runscript", "test"}
    copied = [line.split() for line in sections["files"].strip().splitlines()]
    for source, target in copied:
        assert (ROOT / source).exists(), source
        assert target == f"/opt/ale_dask/{source}"
    # What the build of the package reads.
    project = (ROOT / "pyproject.toml").read_text()
    for name in ("README.md", "LICENSE"):
        assert f'"{name}"' in project
        assert name in sections["files"]
    assert "report = [" in project
    assert 'ale-dask = "ale_dask.cli:main"' in project
    assert "ale_dask[report]" in sections["post"]
    for section in ("runscript", "test"):
        assert sections[section].split()[-2:] in (["ale-dask", '"$@"'], ["ale-dask", "--help"])
