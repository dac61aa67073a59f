"""Workflow engines and batch services compute a run by `plan`, `block K --of N` and `collect`."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer.main
import yaml
from support.runs import digests_of, finished_run

from ale_dask.cli import app
from ale_dask.config.study import load_study
from ale_dask.version import __version__

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
# Of the study of two samples, the first alone: one null of 60 iterations.
MORE = re.compile(r"\[analysis\.therapy\].*", flags=re.DOTALL)
ONCE = """#!/usr/bin/env bash
# The second share ends unfinished the first time.
if [ "$1 $3" = "block 1" ] && mkdir "{mark}" 2>/dev/null; then exit 75; fi
exec "{ale_dask}" "$@"
"""


def run(*command: object, where: Path, path: str = str(BIN)) -> subprocess.CompletedProcess[str]:
    """Run a program that finds `ale-dask` in the path, and return what it printed."""
    env = os.environ | {"PATH": f"{path}:{os.environ['PATH']}", "HOME": str(where)}
    env |= {"XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))}
    done = subprocess.run(list(map(str, command)), cwd=where, env=env, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def one(tiny: Path, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return the study.toml of one main effect, and the digests of its plain run."""
    path = tiny / "study.toml"
    path.write_text(MORE.sub("", path.read_text()))
    _, record = finished_run(load_study(path), tmp_path / "plain", folder=tiny)
    return path, digests_of(record)


@pytest.fixture
def failing_once(tmp_path: Path) -> Path:
    """Return a folder whose `ale-dask` ends one share with 75 the first time, and leaves a mark of it."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "ale-dask"
    script.write_text(ONCE.format(mark=tmp_path / "ended-with-75", ale_dask=BIN / "ale-dask"))
    script.chmod(0o755)
    return tmp_path / "bin"


def check_engine(command: list[object], one: tuple[Path, dict[str, str]], failing_once: Path, where: Path) -> None:
    """Run an engine on two shares, and compare the digest of what it wrote."""
    run(*command, where=where, path=f"{failing_once}:{BIN}")
    assert (where / "ended-with-75").is_dir()
    assert (where / "out" / "report.html").is_file()
    assert digests_of((where / "out" / "run.json").read_text()) == one[1]


def test_snakemake_computes_the_bits_of_a_plain_run(
    one: tuple[Path, dict[str, str]], failing_once: Path, tmp_path: Path
) -> None:
    settings = [f"study={one[0]}", f"out={tmp_path / 'out'}", "shares=2"]
    command = [BIN / "snakemake", "-s", DEPLOY / "snakemake" / "Snakefile", "--config", *settings, "--cores", 1]
    check_engine(command, one, failing_once, tmp_path)
    assert sorted(p.name for p in (tmp_path / "ale-dask-marks").iterdir()) == [
        "0-of-2",
        "1-of-2",
        "collected",
        "planned",
    ]


@pytest.mark.skipif(shutil.which("nextflow") is None, reason="no nextflow here")
def test_nextflow_computes_the_bits_of_a_plain_run(
    one: tuple[Path, dict[str, str]], failing_once: Path, tmp_path: Path
) -> None:
    settings = ["--study", one[0], "--out", tmp_path / "out", "--shares", 2]
    check_engine(["nextflow", "run", DEPLOY / "nextflow" / "main.nf", *settings], one, failing_once, tmp_path)


def parsed(line: str) -> tuple[str, dict[str, Any]]:
    """Return the name of the command of a line and its arguments, as our command line reads them."""
    program, name, *words = shlex.split(line.removeprefix("exec "), comments=True)
    assert program == "ale-dask"
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    return name, command.make_context(name, words).params


def commands_in(text: str, **values: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the commands in a text, with values in the place of its variables."""
    for name, value in values.items():
        text = text.replace(name, value)
    return [parsed(line) for line in re.findall(r"^\s*\"?(ale-dask [^\n\"|]+)", text, flags=re.MULTILINE)]


def check_commands(commands: list[tuple[str, dict[str, Any]]], *, shares: int = 16) -> None:
    """Check that a run is planned for as many shares as are computed, and collected."""
    assert [name for name, _ in commands] == ["plan", "block", "collect"]
    (_, plan), (_, block), (_, collect) = commands
    assert (plan["study"], plan["out"], plan["workers"]) == ("study.toml", "out", str(shares))
    assert (block["out"], block["index"], block["of"]) == ("out", 3, shares)
    assert collect["outs"] == ["out"]


def test_the_commands_of_the_workflows_are_commands_of_ours() -> None:
    snakefile = (DEPLOY / "snakemake" / "Snakefile").read_text()
    values = {"{STUDY:q}": "study.toml", "{OUT:q}": "out", "{SHARES}": "16", "{wildcards.share}": "3"}
    check_commands(commands_in(snakefile, **values))
    nextflow = (DEPLOY / "nextflow" / "main.nf").read_text()
    values = {"${study}": "study.toml", "${out}": "out", "${params.shares}": "16", "${share}": "3"}
    check_commands(commands_in(nextflow, **values))
    assert re.search(r"errorStrategy \{ task\.exitStatus in \[75, .*\? 'retry' : 'finish' \}", nextflow)
    page = (ROOT / "notebooks" / "pipelines.md").read_text().split("```")[1]
    check_commands(commands_in(page.replace("my-study", "study.toml").replace("OUT", "out"), **{" K ": " 3 "}))


def test_batch_services_count_as_many_tasks_as_there_are_shares() -> None:
    aws = json.loads((DEPLOY / "cloud" / "aws-batch.json").read_text())
    google = json.loads((DEPLOY / "cloud" / "google-batch.json").read_text())["taskGroups"][0]
    coiled = (DEPLOY / "cloud" / "coiled.sh").read_text()
    job = yaml.safe_load((DEPLOY / "kubernetes" / "indexed-job.yaml").read_text())
    (pod,) = job["spec"]["template"]["spec"]["containers"]
    page = (ROOT / "notebooks" / "pipelines.md").read_text()
    lines = {
        "$AWS_BATCH_JOB_ARRAY_INDEX": (
            aws["containerProperties"]["command"][2],
            r"--array-properties size=(\d+)",
            page,
        ),
        "$BATCH_TASK_INDEX": (
            google["taskSpec"]["runnables"][0]["container"]["commands"][1],
            r"(\d+)",
            google["taskCount"],
        ),
        "$(JOB_COMPLETION_INDEX)": (
            shlex.join(pod["args"]).replace("'", ""),
            r"(\d+)",
            str(job["spec"]["completions"]),
        ),
        "$COILED_BATCH_TASK_ID": (re.findall(r"ale-dask block.*--of \d+", coiled)[0], r"n-tasks (\d+)", coiled),
    }
    for variable, (line, pattern, text) in lines.items():
        assert variable in line
        assert variable.strip("$()") in page
        name, block = parsed(line.replace(variable, "3"))
        assert (name, block["index"]) == ("block", 3)
        assert [block["of"]] == [int(count) for count in re.findall(pattern, text)]
    assert {"onExitCode": "75", "action": "RETRY"} in aws["retryStrategy"]["evaluateOnExit"]
    assert 75 in google["taskSpec"]["lifecyclePolicies"][0]["actionCondition"]["exitCodes"]
    assert all(
        75 not in rule.get("onExitCodes", {}).get("values", []) for rule in job["spec"]["podFailurePolicy"]["rules"]
    )
    kubernetes_validate.validate(job, "1.31", strict=True)


def test_coiled_tries_an_unfinished_share_again_and_nothing_else(tmp_path: Path) -> None:
    program = tmp_path / "ale-dask"
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "COILED_BATCH_TASK_ID": "3"}
    for codes, ended in (([75, 75, 0], 0), ([65], 65), ([75] * 5, 75)):
        program.write_text(
            f"#!/bin/sh\necho >> {tmp_path}/calls\nset -- {' '.join(map(str, codes))}\n"
            f'n=$(wc -l < {tmp_path}/calls)\neval "exit \\${{$n}}"\n'
        )
        program.chmod(0o755)
        done = subprocess.run(["bash", str(DEPLOY / "cloud" / "coiled.sh")], env=env, capture_output=True, text=True)
        assert (done.returncode, len((tmp_path / "calls").read_text())) == (ended, len(codes)), done.stderr
        (tmp_path / "calls").unlink()


def test_boutiques_validates_simulates_and_launches_its_descriptor(
    one: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    path = DEPLOY / "boutiques" / "ale-dask.json"
    descriptor = json.loads(path.read_text())
    assert descriptor["tool-version"] == __version__
    codes = {int(code) for code in re.findall(r"\b(\d+) [a-z]", (app.info.help or "").partition("Exit codes:")[2])}
    assert {each["code"] for each in descriptor["error-codes"]} == codes - {0}
    assert "OK" in run(BIN / "bosh", "validate", path, where=tmp_path).stdout
    every = {"study": "study.toml", "out": "out", "backend": "serial", "workers": "1", "iterations": 60, "seed": 3}
    every |= {"voxel_p": 0.01, "cluster_p": 0.05, "correction": "cluster-mass", "profile": "jale"}
    invocation = tmp_path / "invocation.json"
    invocation.write_text(json.dumps(every | {"no_pictures": True, "quiet": True}))
    said = run(BIN / "bosh", "exec", "simulate", path, "-i", invocation, where=tmp_path).stdout
    (line,) = re.findall(r"ale-dask run .*", said)
    name, given = parsed(line)
    assert (name, given["as_json"], given["quiet"], given["pictures"]) == ("run", False, True, False)
    assert {key: given[key] for key in every} == every
    small = {"study": str(one[0]), "out": "out", "backend": "serial", "no_pictures": True}
    invocation.write_text(json.dumps(small))
    run(BIN / "bosh", "exec", "launch", "--skip-data-collection", path, invocation, where=tmp_path)
    for output in descriptor["output-files"]:
        assert (tmp_path / output["path-template"].replace("[OUT]", "out")).is_file()
    assert digests_of((tmp_path / "out" / "run.json").read_text()) == one[1]
