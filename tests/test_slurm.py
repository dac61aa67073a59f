"""The job scripts on a real Slurm: what its README says, and tasks that are cancelled or run out of time."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm import lacking, slurm, wait_until
from test_determinism import chunks, digests, with_backend

from ale_dask import runs
from ale_dask.study import prepare
from ale_dask.words.config import Study, load_study

SCRIPTS = Path(__file__).resolve().parents[1] / "deploy" / "slurm"

pytestmark = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """Yield the environment of a Slurm with two nodes of two CPUs."""
    with slurm() as environment:
        yield environment


def ask(cluster: dict[str, str], *command: object, folder: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command], env=cluster, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def state(cluster: dict[str, str], job: str, key: str) -> str:
    """Return a field of one job or array task as Slurm shows it."""
    found = re.search(rf"\b{key}=(\S+)", ask(cluster, "scontrol", "show", "job", "-o", job))
    assert found, f"{job} has no {key}"
    return found[1]


def wait_for_all(cluster: dict[str, str], folder: Path) -> None:
    """Return when no job is left in the queue, and fail with the jobs' logs if some stay."""
    try:
        wait_until(lambda: not ask(cluster, "squeue", "-h", "-o", "%i"), seconds=60, what="an empty queue")
    except AssertionError as error:
        queue = ask(cluster, "squeue")
        raise AssertionError(f"{error}\n{queue}\n{logs(folder)}") from error


def logs(folder: Path) -> str:
    return "\n".join(f"{path.name}: {path.read_text()}" for path in sorted(folder.glob("*.out")))


def digests_of(record: dict[str, dict[str, dict[str, str]]]) -> dict[str, str]:
    return {name: entry["digest"] for name, entry in record["analyses"].items() if entry["digest"]}


@pytest.fixture
def long(tiny: Path) -> Study:
    """Return the tiny study cut into so many blocks that a task of its array can be caught amid them."""
    text = (tiny / "study.toml").read_text().replace("iterations = 60", "iterations = 250")
    (tiny / "study.toml").write_text(text + "[backend]\nblock_size = 1\n")
    return load_study(tiny / "study.toml")


@pytest.fixture
def expected(long: Study, tmp_path: Path) -> dict[str, str]:
    """Return the digests of the plain loop on this machine."""
    return digests(with_backend(long, name="serial", block_size=100), tmp_path / "direct")


def laid_out(study: Study, out: Path) -> Path:
    """Return OUT with the plans and segments of a study."""
    prepared = prepare(study)
    made = runs.lay_out(prepared, out)
    runs.jobs_of(prepared, out, made, workers=2)
    return out


def submitted(cluster: dict[str, str], out: Path) -> str:
    """Return the id of an array of two tasks that has computed some blocks of OUT."""
    job = ask(cluster, "sbatch", "--parsable", "--array=0-1", SCRIPTS / "array.sbatch", out, folder=out.parent)
    wait_until(lambda: chunks(out) > 40, seconds=60, what=f"blocks of job {job}")
    return job


def test_the_commands_of_the_readme(cluster: dict[str, str], tiny: Path, tiny_study: Study, tmp_path: Path) -> None:
    direct = digests(with_backend(tiny_study, name="serial"), tmp_path / "direct")
    out = tmp_path / "of a study"
    block = re.search(r"```bash\n(.*?)```", (SCRIPTS / "README.md").read_text(), re.S)
    assert block
    commands = block[1]
    assert len(commands.splitlines()) == 4
    for written, here in {
        "OUT": shlex.quote(str(out)),
        "study.toml": shlex.quote(str(tiny / "study.toml")),
        "deploy/slurm": shlex.quote(str(SCRIPTS)),
        "0-15%8": "0-1%2",
    }.items():
        assert written in commands
        commands = commands.replace(written, here)
    # Half of the time would be pictures, which other tests draw.
    commands = re.sub(r"(collect\.sbatch .*)", r"\1 --no-pictures", commands)
    said = ask(cluster, "bash", "-euc", commands, folder=tmp_path)
    assert re.search(r"drug-vs-therapy +\d+ of +60 iterations", said)
    wait_for_all(cluster, tmp_path)
    shares = [path.read_text() for path in sorted(tmp_path.glob("ale-dask-*_*.out"))]
    assert len(shares) == 2, logs(tmp_path)
    assert all("blocks computed" in text for text in shares), logs(tmp_path)
    assert (out / "run.json").is_file(), logs(tmp_path)
    assert digests_of(json.loads((out / "run.json").read_text())) == direct
    assert (out / "report.html").is_file()


def test_a_cancelled_task_stays_cancelled_and_the_same_sbatch_goes_on(
    cluster: dict[str, str], tiny: Path, long: Study, expected: dict[str, str]
) -> None:
    out = laid_out(long, tiny / "out")
    job = submitted(cluster, out)
    ask(cluster, "scancel", f"{job}_0")
    wait_for_all(cluster, tiny)
    assert state(cluster, f"{job}_0", "JobState") == "CANCELLED"
    assert state(cluster, f"{job}_1", "JobState") == "COMPLETED"
    done = chunks(out)
    assert 0 < done < 4 * 250, "the task ended before it could be cancelled"
    again = ask(cluster, "sbatch", "--parsable", "--array=0-1", SCRIPTS / "array.sbatch", out, folder=tiny)
    wait_for_all(cluster, tiny)
    assert [state(cluster, f"{again}_{i}", "JobState") for i in (0, 1)] == ["COMPLETED"] * 2, logs(tiny)
    assert f"{4 * 250 - done} blocks computed" in (tiny / f"ale-dask-{again}_0.out").read_text()
    assert digests_of(runs.collect(out)[2]) == expected


def test_a_task_out_of_time_queues_again_and_goes_on(
    cluster: dict[str, str], tiny: Path, long: Study, expected: dict[str, str]
) -> None:
    out = laid_out(long, tiny / "out")
    job = submitted(cluster, out)
    # The signal that --signal=B:TERM@120 has Slurm send, without waiting for a time limit, whose unit is minutes.
    ask(cluster, "scancel", "--signal=TERM", "--batch", f"{job}_0")
    wait_for_all(cluster, tiny)
    assert [state(cluster, f"{job}_{i}", "JobState") for i in (0, 1)] == ["COMPLETED"] * 2, logs(tiny)
    assert [state(cluster, f"{job}_{i}", "Restarts") for i in (0, 1)] == ["1", "0"], logs(tiny)
    log = (tiny / f"ale-dask-{job}_0.out").read_text()
    assert "stopped by SIGTERM" in log
    assert log.count("blocks computed") == 1
    assert digests_of(runs.collect(out)[2]) == expected
