"""The live view of runs on a real scheduler: page, metrics, JSON, and what Grafana asks for."""

from __future__ import annotations

import json
import re
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults.scenes import Cluster, cluster, expected, write_study
from hypothesis import given
from hypothesis import strategies as st
from slurm import wait_until
from strategies import QUICK
from test_determinism import digests_of, with_backend, with_inference

import ale_dask as ale
from ale_dask.distribution.board import Analysis, Board, Statistic, begin
from ale_dask.numerics import correct
from ale_dask.runs import run
from ale_dask.words.config import load_study

DEPLOY = Path(__file__).resolve().parents[1] / "deploy" / "monitoring"
VOXELS = Statistic(1, 0.05, "voxels", 1.0)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a scheduler of other processes, with its dashboard, and two workers."""
    with cluster(tmp_path_factory.mktemp("monitoring") / "cluster") as made:
        yield made


def web(there: Cluster, path: str) -> str:
    with there.client() as client:
        port = client.scheduler_info(n_workers=0)["services"]["dashboard"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return str(answer.read().decode())


def standings(there: Cluster) -> list[dict[str, Any]]:
    return list(json.loads(web(there, "/ale-dask/json"))["runs"])


@pytest.fixture(scope="module")
def ran(there: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return OUT of a run that the scheduler has worked for, with Dask's report."""
    folder = tmp_path_factory.mktemp("ran")
    study = with_backend(load_study(write_study(folder / "tiny", block_size=5)), name=there.address, dask_report=True)
    said: list[str] = []
    run(study, folder / "out", quiet=True, say=said.append)
    assert any(re.fullmatch(r"dashboard http://127\.0\.0\.1:\d+/ale-dask", line) for line in said)
    return folder / "out"


def test_the_json_tells_what_the_run_did(there: Cluster, ran: Path) -> None:
    wait_until(lambda: bool(standings(there)) and bool(standings(there)[0]["ended"]), seconds=30, what="the run's end")
    last = standings(there)[0]
    assert last["title"] == "tiny"
    assert last["ended"] == "finished"
    assert {name: a["iterations"] for name, a in last["analyses"].items()} == dict.fromkeys(last["analyses"], 60)
    assert last["analyses"]["drug"]["blocks"] == 12
    assert last["analyses"]["drug"]["seconds_per_block"] > 0
    assert last["analyses"]["drug-vs-therapy"]["threshold"] is None
    threshold = last["analyses"]["drug"]["threshold"]
    assert threshold["iterations"] == 60
    assert threshold["low"] <= threshold["value"] <= threshold["high"]


def test_the_threshold_is_that_of_the_results(there: Cluster, ran: Path) -> None:
    _, results, _ = ale.collect(ran)
    threshold = standings(there)[0]["analyses"]["drug"]["threshold"]
    assert threshold["value"] == results["drug"].attrs["cut_size"]
    assert [threshold["low"], threshold["high"]] == list(results["drug"].attrs["cut_size_interval"])


def test_every_metric_that_grafana_asks_for_is_there(there: Cluster, ran: Path) -> None:
    metrics = web(there, "/metrics")
    given_ = set(re.findall(r"^(ale_dask_\w+)\{", metrics, re.M))
    text = (DEPLOY / "grafana-dashboard.json").read_text()
    asked = set(re.findall(r"ale_dask_\w+", text))
    assert asked <= given_
    assert set(re.findall(r"`(ale_dask_\w+)`", (DEPLOY / "README.md").read_text())) == given_
    assert re.search(r'^ale_dask_blocks_done_total\{analysis="drug",run="\w+",title="tiny"\} 12\.0$', metrics, re.M)
    dashboard = json.loads(text)
    assert isinstance(dashboard["schemaVersion"], int)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        assert panel["targets"]
        assert all(target["expr"].count("{") == target["expr"].count("}") for target in panel["targets"])
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_dasks_report_is_one_offline_page(ran: Path) -> None:
    page = (ran / "logs" / "dask-report.html").read_text()
    assert "Dask Performance Report" in page
    assert not re.search(r'<script[^>]+src="http', page)


def test_a_scheduler_without_a_web_page_and_a_resumed_run(there: Cluster, tmp_path: Path) -> None:
    study = write_study(tmp_path / "tiny", block_size=5)
    loaded = with_backend(load_study(study), name=there.address)
    run(with_inference(loaded, iterations=20), tmp_path / "out", quiet=True)
    run(loaded, tmp_path / "out", quiet=True)
    wait_until(lambda: bool(standings(there)[0]["ended"]), seconds=30, what="the run's end")
    last = standings(there)[0]["analyses"]["drug"]
    assert (last["iterations"], last["wanted"], last["blocks"]) == (60, 60, 8)
    assert last["threshold"]["iterations"] == 60


def test_the_page_moves_while_a_run_goes_on(there: Cluster, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if browser_path is None:
        pytest.skip("no Chromium here: install chromium to look at pages")
    study = with_inference(
        with_backend(load_study(write_study(tmp_path / "tiny", block_size=4)), name=there.address), iterations=2000
    )
    with there.client() as client:
        port = client.scheduler_info(n_workers=0)["services"]["dashboard"]
    failed: list[BaseException] = []

    def work() -> None:
        try:
            run(study, tmp_path / "out", quiet=True)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    said: list[str] = []
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=arguments)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: said.append(str(e)))
        thread.start()
        wait_until(lambda: any(not r["ended"] for r in standings(there)), seconds=60, what="a run that has begun")
        page.goto(f"http://127.0.0.1:{port}/ale-dask")
        page.wait_for_selector("text=iterations/s", timeout=30_000)
        seen: set[str] = set()

        def moving() -> bool:
            seen.update(page.locator("td", has_text="of 2,000").all_inner_texts())
            return len(seen) > 3 or not thread.is_alive()

        wait_until(moving, seconds=90, what="figures that change")
        browser.close()
    thread.join()
    assert not failed
    assert len(seen) > 3
    assert not [line for line in said if "favicon" not in line]


def test_a_watched_run_has_the_digests_of_the_plain_loop(ran: Path) -> None:
    assert digests_of(ale.collect(ran)[2]) == expected()


@QUICK
@given(st.integers(0, 2**32), st.lists(st.integers(40, 400), min_size=1, max_size=8), st.sampled_from([0.05, 0.01]))
def test_the_largest_values_give_the_threshold_of_all(seed: int, sizes: list[int], alpha: float) -> None:
    random = np.random.default_rng(seed)
    statistic = Statistic(1, alpha, "voxels", 1.0)
    board = Board()
    nulls = [random.integers(0, 60, (n, 2)).astype(np.int64) for n in sizes]
    board.tell(begin("a", "t", {"x": Analysis(wanted=sum(sizes), statistic=statistic)}))
    for i, null in enumerate(nulls):
        message = {"run": "a", "what": "block", "analysis": "x", "block": f"0-{i}", "iterations": len(null)}
        told = message | {"seconds": 0.5, "top": statistic.largest(null)}
        board.tell(told)
        board.tell(told)
    found = board.standings()[0]["analyses"]["x"]
    assert found["blocks"] == len(sizes)
    assert found["iterations"] == sum(sizes)
    column = np.concatenate([null[:, 1] for null in nulls])
    cut = correct.cut(column, alpha=alpha)
    if cut >= 2**62:
        assert found["threshold"] is None
    elif found["threshold"] is not None:
        threshold = found["threshold"]
        assert threshold["iterations"] == sum(sizes)
        low, high = correct.cut_interval(column, alpha=alpha)
        assert (threshold["value"], threshold["low"], threshold["high"]) == (cut, low, high)


def test_what_makes_no_sense_is_left_out() -> None:
    board = Board()
    board.tell({})
    board.tell({"run": "a", "what": "nonsense"})
    board.tell({"run": "b", "what": "retried", "analysis": "x"})
    assert [r["run"] for r in board.standings()] == ["b", "a"]
    for i in range(50):
        board.tell({"run": f"r{i}", "what": "end", "words": "finished"})
    assert len(board.runs) == 20


def test_advice_follows_the_interval() -> None:
    board = Board()
    board.tell(begin("a", "t", {"x": Analysis(wanted=4000, statistic=VOXELS)}))
    assert board.standings()[0]["advice"] == "wait: no threshold yet"
    random = np.random.default_rng(1)

    def tell(block: int, n: int) -> str:
        null = np.c_[np.zeros(n), random.geometric(0.02, n)].astype(np.int64)
        message = {"run": "a", "what": "block", "analysis": "x", "block": str(block), "iterations": n, "seconds": 1.0}
        board.tell(message | {"top": VOXELS.largest(null)})
        return str(board.standings()[0]["advice"])

    assert tell(0, 100).startswith("wait: the least known threshold, x's, is known to ±")
    assert tell(1, 3500).startswith("wait, or stop: ")
    board.tell({"run": "a", "what": "end", "words": "finished"})
    assert tell(2, 400).startswith("enough: ")
    board.tell({"run": "a", "what": "failed", "analysis": "x"})
    assert board.standings()[0]["advice"].startswith("look: 1 block(s) failed")
