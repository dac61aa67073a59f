"""OUT: which runs may use it, and how a damaged, changed, removed or foreign one is handled."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.commands import ALE, ale
from support.runs import digests, digests_of, finished_run, with_backend
from support.studies import table, write_ball

from ale_dask.config.study import Study, load_study
from ale_dask.errors import BackendError, InputError, StoreError, UnfinishedError
from ale_dask.execution.executors import Step
from ale_dask.storage.location import files, place, remove, replace_file
from ale_dask.workflows import maintain, run, run_directory, submit
from ale_dask.workflows.status import status


@pytest.fixture
def study(tiny_study: Study) -> Study:
    return with_backend(tiny_study, name="serial", block_size=20)


@pytest.fixture
def out(study: Study, tmp_path: Path) -> Path:
    """Return OUT of a finished run with its results."""
    finished_run(study, tmp_path / "o", folder=tmp_path / "tiny", write=True)
    return tmp_path / "o"


def test_a_study_is_not_run_into_its_own_folder(tiny: Path) -> None:
    before = {p: p.read_bytes() for p in tiny.rglob("*") if p.is_file()}
    assert "no run of ours wrote" in ale("run", tiny, "-o", tiny, "-b", "serial", code=65).stderr
    assert {p: p.read_bytes() for p in tiny.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("theirs", ["report.html", "drug/drug_z.nii.gz", "foci/mine.txt", "run.json"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_somebody_else_are_not_written_over(
    study: Study, tmp_path: Path, theirs: str, overwrite: bool
) -> None:
    path = tmp_path / "o" / theirs
    path.parent.mkdir(parents=True)
    path.write_text("theirs")
    with pytest.raises(InputError, match="no run of ours wrote"):
        run.run(study, tmp_path / "o", overwrite=overwrite, quiet=True)
    assert path.read_text() == "theirs"
    assert list(files(tmp_path / "o")) == [theirs]


def test_other_files_may_lie_beside(study: Study, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    digests(study, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_empty_place_is_refused(tiny: Path) -> None:
    assert "no place for a run" in ale("run", tiny / "study.toml", "-o", "", code=65).stderr
    for text in ("", " "):
        with pytest.raises(InputError, match="no place"):
            place(text)


@pytest.mark.parametrize("file", ["study.toml", "foci/drug/1_drug.txt", "mask.nii.gz"])
@pytest.mark.parametrize("how", ["change", "delete", "empty"])
def test_a_study_or_input_that_was_changed_is_noticed(study: Study, out: Path, file: str, how: str) -> None:
    path = out / file
    data = path.read_bytes()
    expected = digests_of(run.collect(out)[2])
    if how == "delete":
        path.unlink()
    else:
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:] if how == "change" else b"")
    with pytest.raises(StoreError, match="holds no run" if (file, how) == ("study.toml", "delete") else path.name):
        run.collect(out)
    if (file, how) != ("study.toml", "delete"):
        assert path.name in ale("run", out, "-o", out, code=74).stderr
    # The original study brings it back.
    assert digests(study, out) == expected
    assert path.read_bytes() == data


def test_a_study_that_its_owner_changed_is_read_without_its_first_line(out: Path) -> None:
    path = out / "study.toml"
    path.write_text(path.read_text().replace('title = "tiny"', 'title = "mine"'))
    with pytest.raises(StoreError, match="delete its first line"):
        load_study(path)
    path.write_text(path.read_text().partition("\n")[2])
    assert load_study(path).title == "mine"


def test_every_result_is_compared_with_its_checksum(out: Path) -> None:
    assert maintain.verify(out, blocks=1) == []
    good = {name: (out / name).read_bytes() for name in files(out) if name.startswith(("drug", "run.", "report."))}
    assert len(good) > 60
    for name, data in good.items():
        (out / name).write_bytes(data[:-1] + bytes([data[-1] ^ 4]))
    lines = maintain.verify(out, blocks=1)
    assert {line.partition(":")[0] for line in lines} == set(good)
    assert "collect" in ale("verify", out, code=74).stderr
    for name in good:
        (out / name).unlink()
    assert all("lost" in line for line in maintain.verify(out, blocks=1) if line.partition(":")[0] in good)
    ale("collect", out, "--no-pictures", "-q")
    assert maintain.verify(out, blocks=1) == []
    assert {name: (out / name).read_bytes() for name in good if name.endswith(("gz", "tsv"))} == {
        name: data for name, data in good.items() if name.endswith(("gz", "tsv"))
    }


def test_verify_names_lost_blocks_and_broken_maps(out: Path) -> None:
    (out / "store.zarr/drug/null/0/c/1/0").unlink()
    (out / "store.zarr/drug/maps/experiment_key/c/0").write_bytes(b"x")
    (out / "plans/results.json").unlink()
    said = "\n".join(maintain.verify(out, blocks=1))
    assert "drug: 1 block(s) of segment 0 missing or damaged, the first is 1" in said
    assert "store.zarr/drug/maps/experiment_key/c/0: not as it was written" in said
    assert "results.json: lost" in said


def test_stored_leave_one_out_maps_are_verified(out: Path) -> None:
    maintain.leave_one_out(out, analysis="drug")
    assert maintain.verify(out, blocks=1) == []
    (out / "store.zarr/drug/leave_one_out/ale_without/c/0/0").unlink()
    assert "ale_without/c/0/0: not as it was written" in maintain.verify(out, blocks=1)[0]


@pytest.mark.parametrize("word", [b"", b"\xff\xfe", b"short"])
def test_the_word_of_a_run_is_made_anew(study: Study, out: Path, word: bytes) -> None:
    expected = digests_of(run.collect(out)[2])
    (out / "plans/nonce").write_bytes(word)
    assert digests(study, out) == expected
    assert len((out / "plans/nonce").read_bytes()) == 32
    (out / "plans/nonce").unlink()
    assert digests_of(run.collect(out)[2]) == expected


def test_damaged_logs_do_no_harm(out: Path) -> None:
    journal = next((out / "logs").glob("events-*"))
    journal.write_bytes(b'\xff\xfe\n[1]\n{"time": "x", "event": "gave up"}\n{"event": 3}\n' + journal.read_bytes())
    (out / "logs/run-1.log").write_bytes(b"\xff\n")
    assert len(status(out)) == 4
    assert "computed" in ale("logs", out).stdout
    (out / "logs/submitted.json").write_text('{"id": ')
    assert "submitted.json: damaged" in ale("logs", out, code=74).stderr


def test_temporary_files_of_killed_writers_are_removed(study: Study, out: Path) -> None:
    stale = [
        out / ".run.json.0123456789abcdef0123456789abcdef",
        out / "drug/.x.nii.gz.0123456789abcdef0123456789abcdef",
    ]
    fresh = out / ".table.tsv.0123456789abcdef0123456789abcdef"
    for path in (*stale, fresh):
        path.write_bytes(b"half")
    for path in stale:
        os.utime(path, (1, 1))
    digests(study, out)
    assert not any(path.exists() for path in stale)
    assert fresh.exists()


@pytest.mark.parametrize("how", ["remove", "rename"])
def test_a_run_whose_place_is_gone_ends(study: Study, tmp_path: Path, how: str) -> None:
    out = tmp_path / "o"

    def gone(step: Step) -> None:
        if out.is_dir():
            remove(out) if how == "remove" else out.rename(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="removed or renamed"):
        run.run(study, out, quiet=True, on_step=gone)
    assert not out.exists()
    if how == "rename":
        assert digests(study, tmp_path / "elsewhere") == digests(study, tmp_path / "straight")


def test_results_are_not_written_where_no_run_is(study: Study, tmp_path: Path) -> None:
    results, record = run.run(study, tmp_path / "o", quiet=True)
    shutil.rmtree(tmp_path / "o")
    with pytest.raises(StoreError, match="no run any more"):
        run.write(results, record, tmp_path / "o", study=study, pictures=False)
    assert not (tmp_path / "o").exists()


def test_a_second_submit_while_one_is_under_way(study: Study, tmp_path: Path) -> None:
    with (
        submit._submission_lock(tmp_path / "o"),
        pytest.raises(UnfinishedError, match="another submit of it is under way"),
    ):
        submit.submit(study, tmp_path / "o")
    assert not (tmp_path / "o").exists()
    replace_file(tmp_path / "o/logs/submitting", b"dead 1")
    with submit._submission_lock(tmp_path / "o"):
        assert (tmp_path / "o/logs/submitting").read_bytes() != b"dead 1"


def test_a_terminal_that_is_not_utf_8(tiny: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "LANG": "C"}
    command = [*ALE, "run", str(tiny / "study.toml"), "-o", str(tiny / "out"), "-b", "serial", "--no-pictures"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert r"mm\xb3" in done.stdout


def test_a_given_asynchronous_client_is_refused(study: Study, tmp_path: Path) -> None:
    from distributed import Client

    expected = digests(study, tmp_path / "straight")

    async def inside() -> None:
        async with Client(processes=False, asynchronous=True, dashboard_address=":0") as client:
            with pytest.raises(BackendError, match="asynchronous"):
                run.run(study, tmp_path / "given", quiet=True, client=client)
            # One that is only active is left alone.
            assert digests(with_backend(study, name="auto"), tmp_path / "active") == expected

    asyncio.run(inside())


def _in_child(study: Study, out: Path, queue: multiprocessing.Queue[object]) -> None:
    try:
        queue.put(digests(study, out))
    except BackendError as error:
        queue.put(str(error))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_runs_serially_and_refuses_threads(study: Study, tmp_path: Path) -> None:
    expected = digests(with_backend(study, name="threads"), tmp_path / "first")
    context = multiprocessing.get_context("fork")
    for name, found in (("serial", expected), ("threads", None)):
        queue = context.Queue()
        child = context.Process(target=_in_child, args=(with_backend(study, name=name), tmp_path / name, queue))
        child.start()
        said = queue.get(timeout=1200)
        child.join()
        assert said == found if found else "forked" in str(said)


def test_the_kept_study_holds_the_hashes_of_its_files(out: Path) -> None:
    lines = (out / "study.toml").read_text().splitlines()
    assert lines[0].startswith("# Kept by ale-dask")
    assert [line.split()[-1] for line in lines[1:4]] == [
        "foci/drug/1_drug.txt",
        "foci/therapy/1_therapy.txt",
        "mask.nii.gz",
    ]
    assert json.loads((out / "plans/results.json").read_bytes())["files"].keys() >= {"run.json", "study_results.tsv"}
    assert run_directory.stored_study(out).title == "tiny"


def test_a_table_of_several_samples_is_copied_once(tmp_path: Path) -> None:
    write_ball(tmp_path / "ball.nii.gz")
    table(tmp_path / "all.csv", 1, 8, (12, 4, 0), topic=["a", "b"])
    (tmp_path / "study.toml").write_text(
        'title = "two"\n[inference]\nmask = "ball.nii.gz"\niterations = 20\nnull = "uniform"\n'
        + "".join(
            f'[foci.{t}]\nfiles = "all.csv"\nselect = [{{ where = "topic == \'{t}\'" }}]\n'
            f'[analysis.{t}]\nkind = "main-effect"\nfoci = "{t}"\n'
            for t in "ab"
        )
    )
    made = digests(load_study(tmp_path / "study.toml"), tmp_path / "out")
    assert [path.relative_to(tmp_path / "out") for path in (tmp_path / "out" / "foci").rglob("*.csv")] == [
        Path("foci/a/1_all.csv")
    ]
    assert digests_of(run.collect(tmp_path / "out")[2]) == made
    assert len(made) == 2
