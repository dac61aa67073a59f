"""Every command as a user calls it: exit codes, messages and files."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.commands import ALE, ale
from support.schedulers import scheduler


def test_help_imports_nothing_heavy() -> None:
    text = (
        "import sys; sys.argv = ['ale-dask', '--help']\n"
        "from ale_dask.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'xarray', 'dask', 'distributed', 'numba', 'pydantic', 'numpy', 'zarr', 'nilearn', 'pandas'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert "Usage" in done.stdout


def test_linear_algebra_takes_one_thread_unless_the_user_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    ale("--version")
    assert [os.environ[f"{library}_NUM_THREADS"] for library in ("OPENBLAS", "MKL")] == ["1", "3"]


def test_importing_the_package_imports_nothing_heavy_and_lists_its_names() -> None:
    text = "import sys, ale_dask; print(sorted({'xarray', 'dask', 'numpy'} & set(sys.modules)), len(dir(ale_dask)))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ")


def test_every_public_name_exists() -> None:
    import ale_dask

    for name in ale_dask.__all__:
        assert getattr(ale_dask, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ale_dask.nothing


def test_usage_errors_exit_2() -> None:
    ale("nonsense", code=2)
    ale("run", code=2)


def test_check_counts_and_warns(tiny: Path) -> None:
    done = ale("check", tiny / "drug.txt", "--mask", tiny / "ball.nii.gz")
    assert done.stdout.startswith("drug.txt: 8 experiments, ")
    assert "few-experiments" in done.stdout
    report = json.loads(ale("check", tiny / "study.toml", "--json").stdout)
    assert [entry["name"] for entry in report] == ["drug", "therapy", "drug-vs-therapy"]
    assert all(set(entry) == {"name", "experiments", "foci", "subjects", "decisions", "warnings"} for entry in report)


def test_check_strict_exits_65_with_the_number_of_warnings_after_printing_them(tiny: Path) -> None:
    done = ale("check", tiny / "drug.txt", "--mask", tiny / "ball.nii.gz", "--strict", code=65)
    assert f"{done.stdout.count('  warning ')} warning(s)" in done.stderr
    assert "few-experiments" in done.stdout


def test_check_prints_what_arms_share_where_a_run_refuses(tiny: Path) -> None:
    (tiny / "therapy.txt").write_text((tiny / "drug.txt").read_text().replace("drug 1\n", "other 1\n"))
    report = json.loads(ale("check", tiny / "study.toml", "--json").stdout)
    codes = [f["code"] for f in report[-1]["warnings"]]
    assert codes.count("shared-experiment") == 7
    assert codes.count("shared-subjects") == 1
    assert "stand in both arms" in ale("run", tiny / "study.toml", "-o", tiny / "out", code=65).stderr


def test_describe_prints_json_and_writes_a_table(tiny: Path) -> None:
    rows = json.loads(ale("describe", tiny / "study.toml", "--json").stdout)
    counts = {r["sample"]: r["value"] for r in rows if r["statistic"] == "experiments"}
    assert counts == {"drug": 8, "therapy": 6}
    assert {r["sample"] for r in rows if r["statistic"].startswith("p ")} == {"drug-vs-therapy"}
    ale("describe", tiny / "drug.txt", "-o", tiny / "table.tsv")
    assert (tiny / "table.tsv").read_text().startswith("sample\tcolumn\tcategory\tstatistic\tvalue\ndrug.txt\t")


def test_bad_input_exits_65_and_names_file_and_line(tiny: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("// Reference=MNI\n// A\n// Subjects=12\n1 2 3\n1 2 three\n")
    done = ale("check", bad, code=65)
    assert f"{bad.name}:5" in done.stderr
    assert "Traceback" not in done.stderr
    ale("main-effect", bad, "-o", tmp_path / "never", code=65)
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("iterations = 60", "iteration = 60", "inference.iteration: unknown key; did you mean 'iterations'?"),
        ('files = "drug.txt"', 'file = "drug.txt"', "foci.drug.file: unknown key; did you mean 'files'?"),
        ('arms = ["drug", "therapy"]', 'arms = ["drug", "placebo"]', "no main effect named 'placebo'"),
        ('arms = ["drug", "therapy"]', 'arms = ["drug", "therpy"]', "named 'therpy'; did you mean 'therapy'?"),
        ('arms = ["drug", "therapy"]', 'arm = ["drug", "therapy"]', "arm: unknown key; did you mean 'arms'?"),
        ("voxel_p = 0.01", "voxel_p = 7", "inference.voxel_p"),
        ('files = "drug.txt"', 'files = "gone.txt"', "gone.txt"),
        ('mask = "ball.nii.gz"', 'mask = "gone.nii.gz"', "gone.nii.gz"),
        ('title = "tiny"', "title = ", "not valid TOML"),
    ],
)
def test_a_wrong_study_exits_65_and_names_the_key(tiny: Path, old: str, new: str, said: str) -> None:
    path = tiny / "study.toml"
    path.write_text(path.read_text().replace(old, new))
    done = ale("run", path, "-o", tiny / "out", code=65)
    assert said in done.stderr
    assert not (tiny / "out").exists()


def test_plan_and_dry_run_say_the_cost_and_write_nothing(tiny: Path) -> None:
    said = json.loads(ale("plan", tiny / "study.toml", "--json", "-i", 500).stdout)
    rows = said["analyses"]
    assert said["core_hours"] > 0
    assert said["memory_per_worker"] > 5e7
    contrast = ["drug-vs-therapy_pooled", "drug-vs-therapy", "drug-vs-therapy_clusters"]
    assert [r["name"] for r in rows] == ["drug", "therapy", *contrast]
    assert all(r["blocks"] * r["block_size"] >= r["iterations"] for r in rows)
    assert all(r["core_seconds"] > 0 and r["bytes_written"] > 0 for r in rows)
    done = ale("run", tiny / "study.toml", "-o", tiny / "out", "-n")
    assert "core time" in done.stdout
    assert not (tiny / "out").exists()


def test_a_run_is_shown_by_status_and_written_again_by_collect(tiny: Path) -> None:
    out = tiny / "out"
    first = ale("run", tiny / "study.toml", "-o", out, "--no-pictures", "-b", "serial", "-w", 1)
    assert "report:" in first.stdout
    assert "iterations in" in first.stderr
    for name in ("study.toml", "run.json", "report.html", "study_results.tsv", "dataset_description.json"):
        assert (out / name).is_file(), name
    assert (out / "drug" / "drug_z.nii.gz").is_file()
    record = json.loads((out / "run.json").read_text())
    rows = json.loads(ale("status", out, "--json").stdout)
    # C(14, 8) = 3,003 relabellings are more than 60: they are drawn.
    names = ("drug", "therapy", "drug-vs-therapy", "drug-vs-therapy_pooled")
    assert {r["analysis"]: (r["done"], r["iterations"]) for r in rows} == dict.fromkeys(names, (60, 60))
    assert ale("status", out).stdout.endswith(f"done; report: {out}/report.html\n")
    (out / "drug" / "drug_z.nii.gz").unlink()
    again = json.loads(ale("collect", out, "--no-pictures", "--json").stdout)
    assert (out / "drug" / "drug_z.nii.gz").is_file()
    assert again["analyses"]["drug"]["digest"] == record["analyses"]["drug"]["digest"]
    changed = ale("run", tiny / "study.toml", "-o", out, "--seed", 8, "-q", "-b", "serial", code=74)
    assert "seed: stored 3, now 8" in changed.stderr


def test_status_and_collect_of_nothing_exit_74(tmp_path: Path) -> None:
    assert "holds no run" in ale("status", tmp_path, code=74).stderr
    failed = json.loads(ale("status", tmp_path, "--json", code=74).stdout)
    assert failed["exit_code"] == 74
    assert "holds no run" in failed["error"]
    assert "holds no run" in ale("collect", tmp_path, code=74).stderr


@pytest.mark.parametrize("kind", ["main-effect", "contrast", "conjunction"])
def test_analyses_run_without_a_study_file(tiny: Path, kind: str) -> None:
    files = [tiny / "drug.txt", tiny / "therapy.txt"][: 1 if kind == "main-effect" else 2]
    common = ["-b", "serial", "-q", "-i", 30, "--mask", tiny / "ball.nii.gz", "--voxel-p", 0.01, "--no-pictures"]
    done = json.loads(ale(kind, *files, "-o", tiny / "out", *common, "--json").stdout)
    kinds = [entry["kind"] for entry in done["analyses"].values()]
    assert kind in kinds
    assert (tiny / "out" / "run.json").is_file()


def test_the_version_is_printed() -> None:
    from ale_dask.version import __version__

    assert ale("--version").stdout == f"ale-dask {__version__}\n"


def test_a_shell_completes_commands_once_that_is_installed(tmp_path: Path) -> None:
    bin_ = Path(sys.executable).parent
    env = os.environ | {"HOME": str(tmp_path), "PATH": f"{bin_}:{os.environ['PATH']}"}
    asked = """
        ale-dask --install-completion || exit
        source ~/.bashrc
        COMP_WORDS=(ale-dask colle) COMP_CWORD=1
        _ale_dask_completion ale-dask
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", asked], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "collect"


def test_what_arms_share_is_decided_on_the_command_line_too(tiny: Path) -> None:
    paragraphs = (tiny / "drug.txt").read_text().split("\n\n")
    (tiny / "therapy.txt").write_text(
        (tiny / "therapy.txt").read_text() + "\n" + paragraphs[1].replace("drug 1", "drug 1; again")
    )
    common = [tiny / "drug.txt", tiny / "therapy.txt", "-o", tiny / "out", "-n", "--mask", tiny / "ball.nii.gz"]
    assert 'inference.shared = "exclude"' in ale("contrast", *common, code=65).stderr
    counts = {}
    for shared in ("exclude", "keep"):
        rows = json.loads(ale("contrast", *common, "--shared", shared, "--json").stdout)["analyses"]
        counts[shared] = {row["name"]: row["experiments"] for row in rows}["drug-vs-therapy"]
    # 8 and 7 experiments, one of them in both arms.
    assert counts == {"exclude": 13, "keep": 15}
    assert "command line" in ale("conjunction", *common, "--shared", "maybe", code=65).stderr


def test_check_and_describe_take_what_a_file_leaves_out(tmp_path: Path) -> None:
    bare = tmp_path / "bare.txt"
    bare.write_text("// A 2001\n1 2 3\n")
    assert "Reference" in ale("check", bare, code=65).stderr
    (told,) = json.loads(ale("check", bare, "--space", "Talairach", "--n", 12, "--json").stdout)
    assert told["subjects"] == 12
    assert "missing-n" not in [w["code"] for w in told["warnings"]]
    rows = json.loads(ale("describe", bare, "--space", "MNI", "--n", 12, "--json").stdout)
    assert {r["statistic"]: r["value"] for r in rows}["subjects"] == 12
    ale("check", tmp_path / "study.toml", "--n", 12, code=2)


def test_files_are_samples_of_their_own_unless_they_are_pooled(tiny: Path) -> None:
    files = [tiny / "drug.txt", tiny / "therapy.txt"]
    common = ["-o", tiny / "out", "-n", "--null", "uniform", "--mask", tiny / "ball.nii.gz"]

    def samples(*arguments: object) -> dict[str, int]:
        rows = json.loads(ale("main-effect", *arguments, *common, "--json").stdout)["analyses"]
        return {row["name"]: row["experiments"] for row in rows}

    assert samples(*files) == {"drug": 8, "therapy": 6}
    assert samples(*files, "--pool") == {"drug": 14}
    assert samples(*files, "--pool", "--name", "both") == {"both": 14}
    assert samples(tiny / "*.txt", "--name", "All of it") == {"all-of-it": 14}
    (tiny / "study.toml").unlink()
    (tiny / "ball.nii.gz").rename(tiny.parent / "ball.nii.gz")
    common[-1] = tiny.parent / "ball.nii.gz"
    assert samples(tiny) == {tiny.name: 14}
    ale("contrast", *files, *common, "--pool", code=2)
    ale("main-effect", *files, *common, "--name", "both", code=2)
    assert "no file fits" in ale("main-effect", tiny / "*.csv", *common, code=65).stderr


def test_a_run_of_many_files_keeps_them_all_and_says_how_many(tiny: Path) -> None:
    for i, text in enumerate((tiny / "drug.txt").read_text().split("\n\n")[1:3]):
        foci = [line for line in text.splitlines() if not line.startswith("//")]
        (tiny / f"study{i}.mni.txt").write_text("\n".join(foci))
    common = ["-b", "serial", "-i", 20, "--mask", tiny / "ball.nii.gz", "--voxel-p", 0.01, "--no-pictures", "--n", 20]
    done = ale("main-effect", tiny / "study*.txt", "-o", tiny / "out", *common)
    assert "2 files are one sample: study0.mni.txt, study1.mni.txt" in done.stderr
    kept = sorted(path.name for path in (tiny / "out" / "foci").rglob("*.txt"))
    assert kept == ["study0.mni.txt", "study1.mni.txt"]
    for file in tiny.glob("study*.txt"):
        file.unlink()
    # All that it needs is in OUT: the experiments, their names and keys too.
    ale("extend", tiny / "out", "-i", 30, "--no-pictures")
    assert any("study0" in path.read_text() for path in (tiny / "out").rglob("*contributions*.tsv"))


def test_several_files_are_told_not_to_be_pooled(tiny: Path) -> None:
    common = ["-b", "serial", "-i", 5, "--mask", tiny / "ball.nii.gz", "--voxel-p", 0.01, "--no-pictures"]
    done = ale("main-effect", tiny / "drug.txt", tiny / "therapy.txt", "-o", tiny / "out", *common)
    assert "2 samples, one per file; --pool makes one sample of all" in done.stderr


def test_a_contrast_or_conjunction_of_one_file_exits_65(tiny: Path) -> None:
    assert "two foci files" in ale("contrast", tiny / "drug.txt", "-o", tiny / "out", code=65).stderr
    assert "two or more" in ale("conjunction", tiny / "drug.txt", "-o", tiny / "out", code=65).stderr


def test_an_unknown_backend_and_a_silent_scheduler_exit_69(tiny: Path) -> None:
    assert "unknown backend" in ale("run", tiny / "study.toml", "-o", tiny / "a", "-b", "cray", code=69).stderr
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = ale("run", tiny / "study.toml", "-o", tiny / "b", "-b", f"tcp://127.0.0.1:{port}", code=69)
    assert "no Dask scheduler answers" in done.stderr


def test_sigterm_exits_75_and_the_same_command_resumes(tiny: Path) -> None:
    command = ["run", tiny / "study.toml", "-o", tiny / "out", "-b", "serial", "--no-pictures", "-i", 4000]
    process = subprocess.Popen([*ALE, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 1200
    while not list((tiny / "out").glob("store.zarr/*/null/*/c/*/0")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=1200)
    assert process.returncode == 75, errors
    assert "stopped by SIGTERM" in errors
    done = {r["analysis"]: r["done"] for r in json.loads(ale("status", tiny / "out", "--json").stdout)}
    assert sum(done.values()) < 4 * 4000
    ale(*command)


@pytest.mark.parametrize("protocol", [pytest.param("tcp", marks=pytest.mark.slow), "tls"])
def test_a_run_on_an_existing_scheduler_succeeds(tiny: Path, tmp_path: Path, protocol: str) -> None:
    with scheduler(tmp_path / "scheduler", protocol=protocol) as there:
        command = ["run", tiny / "study.toml", "-o", tiny / "out", "-b", there.address, "--no-pictures", "--json", "-q"]
        done = subprocess.run(
            [*ALE, *map(str, command)], capture_output=True, text=True, timeout=1200, env=there.environment
        )
    assert done.returncode == 0, done.stderr
    here = json.loads(ale(*command[:3], tiny / "serial", "-b", "serial", "--no-pictures", "--json", "-q").stdout)
    found = json.loads(done.stdout)["analyses"]
    assert {name: entry["digest"] for name, entry in here["analyses"].items()} == {
        name: entry["digest"] for name, entry in found.items()
    }


def test_a_run_says_what_check_says_before_it_computes(tiny: Path) -> None:
    checked = ale("check", tiny / "study.toml").stdout.splitlines()
    done = ale("run", tiny / "study.toml", "-o", tiny / "told", "--no-pictures")
    assert checked == done.stderr.splitlines()[: len(checked)]
    assert ale("run", tiny / "study.toml", "-o", tiny / "told", "--no-pictures", "-q").stderr == ""


def test_the_worst_findings_of_a_kind_stand_for_the_others_unless_all_are_asked_for(tiny: Path) -> None:
    far = "".join(f"// Far {i}\n// Subjects=12\n0 0 {100 + i}\n\n" for i in range(8))
    (tiny / "far.txt").write_text("// Reference=MNI\n" + far)
    some = ale("check", tiny / "far.txt", "--mask", tiny / "ball.nii.gz").stdout
    every = ale("check", tiny / "far.txt", "--mask", tiny / "ball.nii.gz", "--verbose").stdout
    assert (some.count("outside-mask: "), every.count("outside-mask: ")) == (5, 8)
    assert "Far 7" in some
    assert "Far 0" not in some
    assert "and 3 more warnings outside-mask" in some


def test_a_signal_that_a_library_turns_into_an_error_of_its_own_is_a_stop(
    monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    """As numba does when SIGTERM arrives while it saves a compiled kernel."""

    def check(*arguments: object, **settings: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as caught:
            raise ValueError("not saved") from caught

    monkeypatch.setattr("ale_dask.workflows.run.run", check)
    done = ale("run", tiny, "-o", tiny / "o", code=75)
    assert "stopped by SIGTERM" in done.stderr
    assert "bug of ours" not in done.stderr
