"""OUT in object storage behaves as a folder does, although every fifth request fails."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from support.damage import copy_neighbour, delete, empty, flip, truncate
from support.runs import digests, digests_of, finished, with_backend, with_inference
from support.studies import STUDY, write_tiny

from ale_dask.cli import main
from ale_dask.config.study import Study, load_study
from ale_dask.errors import InputError, StoreError
from ale_dask.execution.block_store import StoreSink
from ale_dask.execution.plan import Segment
from ale_dask.storage import location
from ale_dask.storage.location import create_once, files, local_copy, place, remove, replace_file, zarr_store
from ale_dask.storage.object_store import Remote, opened
from ale_dask.workflows import maintain
from ale_dask.workflows import run as runs
from ale_dask.workflows.status import status

pytest.importorskip("obstore")
pytest.importorskip("moto")

from support import s3

URL = f"s3://{s3.BUCKET}"
CHUNK = re.compile(r"[^/]+/null/\d+/c/\d+/0$")


@pytest.fixture(scope="module")
def proxy() -> Iterator[s3.Proxy]:
    """Yield a server's proxy, of which this process and its children know from their environment."""
    with s3.bucket() as started, pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("AWS_") or n.lower().endswith("_proxy")]:
            patch.delenv(name)
        for name, value in s3.environment(started).items():
            patch.setenv(name, value)
        opened.cache_clear()
        yield started
    opened.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tiny study, and in one.toml its first analysis alone with an iteration per block."""
    made = write_tiny(tmp_path_factory.mktemp("study") / "tiny")
    (made / "one.toml").write_text(f"{STUDY.partition('[analysis.therapy]')[0]}[backend]\nblock_size = 1\n")
    return made


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return with_backend(load_study(folder / "study.toml"), name="serial", block_size=10)


@pytest.fixture(scope="module")
def one(folder: Path) -> Study:
    return with_backend(load_study(folder / "one.toml"), name="serial", block_size=10)


@pytest.fixture(scope="module")
def local(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the digests of the study's 60 iterations in a folder."""
    return digests(study, tmp_path_factory.mktemp("local"))


@pytest.fixture(scope="module")
def whole(proxy: s3.Proxy, study: Study) -> Remote:
    """Return a run that is complete, in a bucket whose folders a web console has marked."""
    for mark in ("", "foci/", "foci/drug/", "logs/", "plans/drug/"):
        assert s3.ask(proxy.upstream, "PUT", f"/{s3.BUCKET}/whole/{mark}")[0] == 200
    out = Remote(f"{URL}/whole")
    digests(study, out)
    return out


def command(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ale_dask.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def run(toml: Path, out: str, *options: str) -> subprocess.Popen[str]:
    return command("run", toml, "-o", out, "--no-pictures", "--json", "-q", *options)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    text, errors = process.communicate(timeout=1200)
    return process.returncode, text, errors


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command in this process and returns exit code, output and errors."""

    def run_here(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ale-dask", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        return (int(caught.value.code or 0), *capsys.readouterr())

    return run_here


def put_chunks(proxy: s3.Proxy, name: str, since: int = 0) -> set[str]:
    """Return the null chunks that were sent to a run, by their path in its store."""
    store = f"PUT /{s3.BUCKET}/{name}/store.zarr/"
    sent = [request for request in proxy.requests[since:] if request.startswith(store) and CHUNK.search(request)]
    return {request.removeprefix(store) for request in sent}


@pytest.fixture(scope="module")
def busy(proxy: s3.Proxy, folder: Path, local: dict[str, str]) -> tuple[str, set[str]]:
    """Return a run made through a server that is often too busy, and its files outside of the store."""
    out, faults = f"{URL}/some/run", proxy.faults
    assert finished(run(folder / "study.toml", out, "-b", "threads", "-w", "2")) == local
    assert proxy.faults > faults + 10
    return out, {name for name in files(place(out)) if not name.startswith("store.zarr/")}


def test_a_run_through_a_server_that_is_often_too_busy(
    busy: tuple[str, set[str]], here: Callable[..., tuple[int, str, str]]
) -> None:
    out, made = busy
    assert {"report.html", "run.json", "study_results.tsv", "study.toml", "foci/drug/1_drug.txt"} <= made
    assert any(name.startswith("drug/") and name.endswith(".nii.gz") for name in made)
    for name in made:
        data = (place(out) / name).read_bytes()
        assert s3.KEY.encode() not in data, name
        assert s3.SECRET.encode() not in data, name

    code, text, errors = here("status", out, "--json")
    assert code == 0, errors
    assert {s["done"] for s in json.loads(text)} == {60}


@pytest.mark.slow
def test_every_later_command_through_a_server_that_is_often_too_busy(
    proxy: s3.Proxy,
    study: Study,
    local: dict[str, str],
    tmp_path: Path,
    busy: tuple[str, set[str]],
    here: Callable[..., tuple[int, str, str]],
) -> None:
    out, made = busy
    code, text, errors = here("verify", out, "--blocks", "3")
    assert (code, "have the stored bits" in text) == (0, True), errors
    remove(place(out) / "drug")
    code, text, errors = here("collect", out, "--no-pictures", "--json", "-q")
    assert code == 0, errors
    assert digests_of(text) == local
    assert made <= set(files(place(out)))
    for command_line in (("leave-one-out", out, "-b", "serial", "-q"), ("collect", out, "--no-pictures", "-q")):
        code, text, errors = here(*command_line)
        assert code == 0, errors
    assert b"Without each group of subjects</summary>" in (place(out) / "report.html").read_bytes()
    first = {name for name in files(place(out) / "store.zarr") if CHUNK.search(name)}
    before = len(proxy.requests)
    direct = digests(with_inference(study, iterations=100), tmp_path)
    assert finished(command("extend", out, "-i", "100", "--no-pictures", "--json", "-q")) == direct
    again = put_chunks(proxy, "some/run", since=before)
    assert again
    assert not again & first


def test_a_run_killed_amid_its_blocks_resumes(proxy: s3.Proxy, folder: Path, local: dict[str, str]) -> None:
    out = f"{URL}/killed"
    process = run(folder / "one.toml", out, "-b", "serial")
    deadline = time.monotonic() + 1200
    while len(put_chunks(proxy, "killed")) < 12 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    there = {name for name in files(place(out) / "store.zarr") if CHUNK.search(name)}
    assert 8 <= len(there) < 60
    resumed = len(proxy.requests)
    assert finished(run(folder / "one.toml", out, "-b", "serial")) == {"drug": local["drug"]}
    again = put_chunks(proxy, "killed", since=resumed)
    assert not again & there
    assert len(again | there) == 60


def test_damaged_chunks_are_found_and_redone(
    proxy: s3.Proxy, whole: Remote, study: Study, local: dict[str, str], tmp_path: Path
) -> None:
    damages = [truncate, flip, delete, copy_neighbour, empty]
    harmed = {
        f"{kind}/0/c/{index}/0"
        for kind, chosen in (("drug/null", damages), ("drug-vs-therapy/exceed", damages[:4]))
        for index, damage in zip((0, 2, 3, 4, 5), chosen, strict=False)
        if _harm(whole / "store.zarr" / kind / "0" / "c", index, damage, tmp_path)
    }
    assert {s.analysis: s.done for s in status(whole)} == {
        "drug": 10,
        "therapy": 60,
        "drug-vs-therapy": 20,
        "drug-vs-therapy_pooled": 60,
    }
    with pytest.raises(StoreError, match="missing or damaged"):
        runs.collect(whole)
    before = len(proxy.requests)
    assert digests(study, whole) == local
    nulls = {name.replace("exceed", "null") for name in harmed}
    assert put_chunks(proxy, "whole", since=before) == nulls


def _harm(chunks: Remote, index: int, damage: Callable[[Path], None], folder: Path) -> bool:
    for each in (1, index):
        replace_file(folder / str(each) / "0", (chunks / str(each) / "0").read_bytes())
    damage(folder / str(index) / "0")
    if (folder / str(index) / "0").exists():
        replace_file(chunks / str(index) / "0", (folder / str(index) / "0").read_bytes())
    else:
        remove(chunks / str(index))
    return True


@pytest.mark.slow
def test_worker_processes_write_by_themselves(
    proxy: s3.Proxy, one: Study, local: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("the driver wrote a block")

    monkeypatch.setattr(StoreSink, "write", refuse)
    out = f"{URL}/processes"
    assert digests(with_backend(one, name="processes", workers=2), out) == {"drug": local["drug"]}


def test_workers_without_credentials_send_their_blocks_back(proxy: s3.Proxy, one: Study, local: dict[str, str]) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", env={"AWS_ACCESS_KEY_ID": "A"}
        ) as there,
        Client(there) as client,
    ):
        _, record = runs.run(one, f"{URL}/blind", quiet=True, client=client)
    assert record["analyses"]["drug"]["digest"] == local["drug"]


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
def test_nothing_that_is_sent_to_workers_holds_credentials(whole: Remote, dumps: Callable[[Any], bytes]) -> None:
    import xarray as xr

    store = zarr_store(whole / "store.zarr")
    maps = xr.open_zarr(store, group="drug/maps", consolidated=False)
    sent = [whole, store, StoreSink(whole, "n", "drug", Segment(0, "p", 0, 60, 10), (("null", 4),)), maps]
    for each in sent:
        data = dumps(each)
        assert s3.KEY.encode() not in data
        assert s3.SECRET.encode() not in data
        assert pickle.loads(data) is not None
    again = pickle.loads(dumps(maps))
    xr.testing.assert_identical(again.compute(), maps.compute())


@pytest.mark.slow
def test_two_drivers_of_one_run(proxy: s3.Proxy, folder: Path, local: dict[str, str]) -> None:
    drivers = [run(folder / "study.toml", f"{URL}/both", "-b", "serial") for _ in range(2)]
    try:
        assert [finished(driver) for driver in drivers] == [local] * 2
    finally:
        for driver in drivers:
            driver.kill()
            driver.wait()


def test_create_once_keeps_the_first_content(proxy: s3.Proxy) -> None:
    for i in range(12):
        path = place(f"{URL}/once") / str(i)
        assert create_once(path, b"first") == b"first"
        assert create_once(path, b"second") == b"first"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "file:///x",
        "s3://",
        "s3://[/y",
        "s3://key:hunter2@bucket/run",
        "s3://bucket/run?secret=hunter2",
        "s3://bucket/run#hunter2",
        "s3://bucket/../run",
    ],
)
def test_a_url_that_is_no_place_for_a_run_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(InputError) as caught:
        place(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["S3://bucket/run/", "s3://bucket//run"])
def test_a_place_has_one_url(url: str) -> None:
    assert place(url) == Remote("s3://bucket/run")


@pytest.mark.parametrize(
    ("url", "environment", "code", "said"),
    [
        ("s3://key:hunter2@bucket/run", {}, 65, "no credentials"),
        ("ftp://x/y", {}, 65, "not a place for a run"),
        (f"{URL}/run", {"AWS_ACCESS_KEY_ID": "WRONG"}, 74, "InvalidAccessKeyId"),
        ("s3://absent/run", {}, 74, "NoSuchBucket"),
        (f"{URL}/run", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 74, "127.0.0.1:9"),
        (f"{URL}/nothing", {}, 74, "holds no run"),
        ("gs://bucket/run", {"GOOGLE_SERVICE_ACCOUNT": "/nonexistent.json"}, 74, "gs://bucket/run"),
        ("az://container/run", {}, 74, "Account must be specified"),
    ],
)
def test_what_is_wrong_with_the_storage_is_one_line(
    proxy: s3.Proxy,
    monkeypatch: pytest.MonkeyPatch,
    here: Callable[..., tuple[int, str, str]],
    url: str,
    environment: dict[str, str],
    code: int,
    said: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    started = time.monotonic()
    opened.cache_clear()
    found, _, errors = here("status", url)
    opened.cache_clear()
    assert (found, len(errors.splitlines())) == (code, 1), errors
    assert said in errors
    assert "hunter2" not in errors
    assert time.monotonic() - started < 40


def test_run_says_that_the_bucket_is_missing(proxy: s3.Proxy, folder: Path) -> None:
    code, _, errors = ended(run(folder / "one.toml", "s3://absent/run", "-b", "serial"))
    assert (code, len(errors.splitlines())) == (74, 1), errors
    assert "NoSuchBucket" in errors


def test_an_object_cannot_be_copied_out_of_the_folder(
    proxy: s3.Proxy, whole: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a folder of its own: the server here does not delete an object of such a name.
    assert s3.ask(proxy.upstream, "PUT", f"/{s3.BUCKET}/theirs/foci/../../evil", b"evil")[0] == 200
    with pytest.raises(StoreError, match="not ours"):
        local_copy(Remote(f"{URL}/theirs"), only=("foci/",))
    # Should a library let such a name pass, we do not.
    monkeypatch.setattr(location, "files", lambda where: {"foci/../../evil": 0.0})
    with pytest.raises(StoreError, match="not one of ours"):
        local_copy(whole, only=("foci/",))


def test_without_the_extra_the_message_says_how_to_install_it() -> None:
    text = "import sys; sys.modules['obstore'] = None; from ale_dask.cli import main; main()"
    process = subprocess.run(
        [sys.executable, "-c", text, "status", f"{URL}/run"], capture_output=True, text=True, timeout=1200
    )
    assert process.returncode == 69, process.stderr
    assert 'pip install "ale-dask[cloud]"' in process.stderr
    assert len(process.stderr.splitlines()) == 1


def test_maps_that_have_not_changed_are_not_read_again(
    proxy: s3.Proxy, whole: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "every", 0)
    expected = {name: result["ale"].values for name, result in runs.collect(whole)[1].items() if "ale" in result}

    def read_again() -> set[str]:
        before = len(proxy.requests)
        found = runs.collect(whole)[1]
        for name, ale in expected.items():
            np.testing.assert_array_equal(found[name]["ale"], ale)
        asked = (request.partition("/maps/ma/c/") for request in proxy.requests[before:])
        return {f"{place.split('/')[-1]}/{chunk}" for place, there, chunk in asked if there and place.startswith("GET")}

    assert len(expected) >= 3
    assert read_again() == set()
    chunk = whole / "store.zarr/drug/maps/ma/c/0/0"
    data = chunk.read_bytes()
    # Of the same length, so that only its tag tells.
    replace_file(chunk, data[:-1] + bytes([data[-1] ^ 1]))
    assert "drug/0/0" in read_again()
    assert chunk.read_bytes() == data
    kept = whole / "plans/drug/ale.npz"
    replace_file(kept, kept.read_bytes()[:-100])
    assert "drug/0/0" in read_again()
    assert read_again() == set()
    assert maintain.verify(whole, blocks=1) == []


def test_a_block_costs_one_request_to_write_and_one_to_read(
    proxy: s3.Proxy, one: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "every", 0)
    counts = []
    for size in (10, 5):
        before = len(proxy.requests)
        runs.run(with_backend(one, block_size=size), f"{URL}/counted{size}", quiet=True)
        counts.append(len(proxy.requests) - before)
    assert counts[1] - counts[0] == 6 * 2
