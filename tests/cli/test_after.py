"""A command of the user's is run once when a run has ended, and is told how."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import ale

from ale_dask.cli.after import run_afterwards
from ale_dask.cli.signals import Stopped

TELL = 'printf \'%s|\' "$ALE_DASK_STATE" "$ALE_DASK_EXIT_CODE" "$ALE_DASK_OUT" "$ALE_DASK_AFTER" >> {}; echo said'


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Return the file in which the command leaves what it was told."""
    return tmp_path / "told"


@pytest.fixture
def broken(tiny: Path) -> Path:
    """Return a study whose foci cannot be read, so that its run ends at once."""
    (tiny / "drug.txt").write_text("// Reference=MNI\n// one\n// Subjects=3\n1 2 three\n")
    return tiny


@pytest.fixture
def same_signals() -> Iterator[None]:
    """Keep the handlers of signals as they were before the test."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_run_that_ends_well_and_one_that_ends_badly(tiny: Path, told: Path, tmp_path: Path) -> None:
    text = (tiny / "study.toml").read_text()
    (tiny / "study.toml").write_text(text[: text.index("[analysis.therapy]")])
    common = ("--after", TELL.format(told), "-b", "serial", "-q", "--no-pictures", "--json")
    out = tmp_path / "out"
    said = ale("run", tiny, "-o", out, *common).stdout
    assert json.loads(said)["out"] == str(out)
    assert told.read_text() == f"finished|0|{out}||"
    # Another seed is another run, which this folder does not take.
    ale("run", tiny, "-o", out, "--seed", 5, *common, code=74)
    assert told.read_text().endswith(f"||failed|74|{out}||")
    ale("run", tiny, "-o", out, "-n", *common)
    assert told.read_text().count("||") == 2


def test_a_command_that_fails_is_one_line_and_not_the_failure_of_the_run(broken: Path, tmp_path: Path) -> None:
    plain = ale("run", broken, "-o", tmp_path / "out", code=65).stderr.splitlines()
    said = ale("run", broken, "-o", tmp_path / "out", "--after", "exit 3", code=65).stderr.splitlines()
    assert [line for line in said if line not in plain] == ["--after: 'exit 3' ended with 3; the run is not affected"]
    said = ale("run", broken, "-o", tmp_path / "out", "--after", "a\0b", code=65).stderr
    assert "could not be started" in said


def test_the_command_of_the_environment_is_not_handed_on(
    broken: Path, told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALE_DASK_AFTER", TELL.format(told))
    for command in (["run", broken], ["sweep", broken, "--set", "seed=1,2"]):
        ale(*command, "-o", tmp_path / "out", code=65)
    assert told.read_text() == 2 * f"failed|65|{tmp_path / 'out'}||"


def test_a_study_from_elsewhere_cannot_name_a_command(tiny: Path, tmp_path: Path) -> None:
    path = tiny / "study.toml"
    text = path.read_text()
    for table in ("", "[backend]\n", "[records]\n"):
        path.write_text(f'{text}\n{table}after = "touch {tmp_path}/done"\n')
        ale("run", tiny, "-o", tmp_path / "out", code=65)
    assert not (tmp_path / "done").exists()


@pytest.mark.usefixtures("same_signals")
def test_a_run_that_was_stopped_is_unfinished_and_its_command_can_be_interrupted(told: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(Stopped), run_afterwards(f"{TELL.format(told)}; kill -INT $$; echo late >> {told}", "out"):
        raise Stopped("stopped by SIGTERM")
    assert told.read_text() == "unfinished|75|out||"
    with pytest.raises(ZeroDivisionError), run_afterwards(TELL.format(told), "out"):
        _ = 1 / 0
    assert told.read_text().endswith("failed|70|out||")
    assert os.environ.get("ALE_DASK_STATE") is None
