"""The live view of runs on a real scheduler: page, metrics, JSON, and what Grafana asks for."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.faults import Cluster, cluster, expected, write_study
from support.messages import messages
from support.runs import digests_of, with_backend, with_inference
from support.slurm import wait_until
from support.strategies import QUICK

import ale_dask as ale
from ale_dask.cli.follow import status_lines
from ale_dask.config.backend import Backend
from ale_dask.config.inference import ClusterCut
from ale_dask.config.study import load_study
from ale_dask.errors import BackendError
from ale_dask.execution.backends.connect import connect
from ale_dask.execution.monitor.driver import monitored, served
from ale_dask.execution.monitor.state import TOPIC, Analysis, Board, Known, Statistic, advice, begin
from ale_dask.numerics import correct
from ale_dask.workflows.run import run
from ale_dask.workflows.status import status

DEPLOY = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a scheduler of other processes, with its dashboard, and two workers."""
    with cluster(tmp_path_factory.mktemp("monitoring") / "cluster") as made:
        yield made


def web(there: Cluster, path: str) -> str:
    with there.client() as client:
        port = client.scheduler_info(n_workers=0)["services"]["dashboard"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1200) as answer:
        return str(answer.read().decode())


def standings(there: Cluster) -> list[dict[str, Any]]:
    return list(json.loads(web(there, "/ale-dask/json"))["runs"])


@pytest.fixture(scope="module")
def ran(there: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return OUT of a run that the scheduler has worked for, with Dask's report."""
    folder = tmp_path_factory.mktemp("ran")
    study = with_backend(load_study(write_study(folder / "tiny", block_size=5)), name=there.address, dask_report=True)
    # Of fewer than 72 iterations a threshold has no upper end, and none is shown.
    study = with_inference(study, iterations=100)
    shown: list[int] = []

    def look(line: str) -> None:
        if found := re.fullmatch(r"dashboard (http://127\.0\.0\.1:\d+/ale-dask)", line):
            with urllib.request.urlopen(found[1], timeout=1200) as answer:
                shown.append(answer.status)

    with messages(look):
        run(study, folder / "out", quiet=True)
    assert shown == [200], "the page is there as soon as its address is said"
    return folder / "out"


def test_the_json_tells_what_the_run_did(there: Cluster, ran: Path) -> None:
    wait_until(
        lambda: bool(standings(there)) and bool(standings(there)[0]["ended"]), seconds=1200, what="the run's end"
    )
    last = standings(there)[0]
    assert last["title"] == "tiny"
    assert last["ended"] == "finished"
    assert {name: a["iterations"] for name, a in last["analyses"].items()} == dict.fromkeys(last["analyses"], 100)
    assert last["analyses"]["drug"]["blocks"] == 20
    assert last["analyses"]["drug"]["seconds_per_block"] > 0
    assert last["analyses"]["drug-vs-therapy"]["threshold"] is None
    threshold = last["analyses"]["drug"]["threshold"]
    assert threshold["iterations"] == 100
    assert threshold["low"] <= threshold["value"] <= threshold["high"]


def test_the_threshold_is_that_of_the_results(there: Cluster, ran: Path) -> None:
    _, results, _ = ale.collect(ran)
    threshold = standings(there)[0]["analyses"]["drug"]["threshold"]
    assert threshold["value"] == results["drug"].attrs["cut_size"]
    assert [threshold["low"], threshold["high"]] == list(results["drug"].attrs["cut_size_interval"])


def test_the_decisions_are_those_of_the_results(there: Cluster, ran: Path) -> None:
    _, results, _ = ale.collect(ran)
    for name in ("drug", "therapy"):
        found = Counter(results[name]["cluster_size_decision"].values.tolist())
        assert sum(found.values()) > 0
        assert Counter(standings(there)[0]["analyses"][name]["clusters"]) == found


def test_status_says_what_to_do_as_the_page_does(there: Cluster, ran: Path) -> None:
    assert status_lines(status(ran))[-1] == standings(there)[0]["advice"]


def test_every_metric_that_grafana_asks_for_is_there(there: Cluster, ran: Path) -> None:
    metrics = web(there, "/metrics")
    given_ = set(re.findall(r"^(ale_dask_\w+)\{", metrics, re.M))
    text = (DEPLOY / "grafana-dashboard.json").read_text()
    asked = set(re.findall(r"ale_dask_\w+", text))
    assert asked <= given_
    assert set(re.findall(r"`(ale_dask_\w+)`", (DEPLOY / "README.md").read_text())) == given_
    assert re.search(r'^ale_dask_blocks_done_total\{analysis="drug",run="\w+",title="tiny"\} 20\.0$', metrics, re.M)
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


def test_a_resumed_run_counts_what_was_there(there: Cluster, tmp_path: Path) -> None:
    study = write_study(tmp_path / "tiny", block_size=5)
    loaded = with_backend(load_study(study), name=there.address)
    run(with_inference(loaded, iterations=20), tmp_path / "out", quiet=True)
    run(with_inference(loaded, iterations=100), tmp_path / "out", quiet=True)
    wait_until(lambda: bool(standings(there)[0]["ended"]), seconds=1200, what="the run's end")
    last = standings(there)[0]["analyses"]["drug"]
    assert (last["iterations"], last["wanted"], last["blocks"]) == (100, 100, 16)
    assert last["threshold"]["iterations"] == 100


@pytest.mark.slow
def test_the_page_moves_while_a_run_goes_on(there: Cluster, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if browser_path is None:
        pytest.skip("no Chromium here: install chromium to look at pages")
    study = with_inference(
        with_backend(load_study(write_study(tmp_path / "tiny", block_size=4)), name=there.address), iterations=800
    )
    with there.client() as client:
        assert served(client) == ["json", "metrics", "page"]
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
        wait_until(lambda: any(not r["ended"] for r in standings(there)), seconds=1200, what="a run that has begun")
        page.goto(f"http://127.0.0.1:{port}/ale-dask")
        page.wait_for_selector("text=iterations/s", timeout=600_000)
        page.wait_for_selector("canvas", timeout=600_000)
        seen: set[str] = set()

        def moving() -> bool:
            seen.update(page.locator("td", has_text="of 800").all_inner_texts())
            return len(seen) > 3 or not thread.is_alive()

        wait_until(moving, seconds=1200, what="figures that change")
        wait_until(lambda: not thread.is_alive(), seconds=1200, what="the run's end")
        page.wait_for_selector("text=mm³", timeout=600_000)
        for width, scheme, colour in ((1600, "light", "rgb(255, 255, 255)"), (400, "dark", "rgb(20, 24, 28)")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(1500)
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width
            assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == colour
        browser.close()
    thread.join()
    assert not failed
    assert len(seen) > 3
    assert not [line for line in said if "favicon" not in line]


def test_a_watched_run_has_the_digests_of_the_plain_loop(ran: Path, tmp_path: Path) -> None:
    study = with_backend(load_study(ran.parent / "tiny" / "study.toml"), name="serial")
    _, record = run(with_inference(study, iterations=100), tmp_path / "out", quiet=True)
    assert digests_of(ale.collect(ran)[2]) == digests_of(record)


@QUICK
@given(
    st.integers(0, 2**32),
    st.lists(st.integers(40, 400), min_size=1, max_size=8),
    st.sampled_from([0.05, 0.01]),
    st.sampled_from(get_args(ClusterCut)),
)
def test_the_largest_values_give_the_threshold_of_all(
    seed: int, sizes: list[int], alpha: float, rule: ClusterCut
) -> None:
    random = np.random.default_rng(seed)
    statistic = Statistic(1, alpha, "voxels", 1.0, rule)
    board = Board()
    nulls = [random.integers(0, 60, (n, 2)).astype(np.int64) for n in sizes]
    board.receive(begin("a", "t", {"x": Analysis(wanted=sum(sizes), statistic=statistic)}))
    for i, null in enumerate(nulls):
        message = {"run": "a", "what": "block", "analysis": "x", "block": f"0-{i}", "iterations": len(null)}
        told = message | {"seconds": 0.5, "top": statistic.largest(null)}
        board.receive(told)
        board.receive(told)
    found = board.standings()[0]["analyses"]["x"]
    assert found["blocks"] == len(sizes)
    assert found["iterations"] == sum(sizes)
    column = np.concatenate([null[:, 1] for null in nulls])
    cut = correct.cut(column, alpha=alpha, rule=rule)
    if cut >= 2**62:
        assert found["threshold"] is None
    elif found["threshold"] is not None:
        threshold = found["threshold"]
        assert threshold["iterations"] == sum(sizes)
        low, high = correct.cut_interval(column, alpha=alpha)
        assert (threshold["value"], threshold["low"], threshold["high"]) == (cut, low, high)


def test_what_makes_no_sense_is_left_out() -> None:
    board = Board()
    board.receive({})
    board.receive({"run": "a", "what": "nonsense"})
    board.receive({"run": "b", "what": "retried", "analysis": "x"})
    assert [r["run"] for r in board.standings()] == ["b", "a"]
    for i in range(50):
        board.receive({"run": f"r{i}", "what": "end", "words": "finished"})
    assert len(board.runs) == 20


def test_two_runs_at_once_do_not_mix(there: Cluster, tmp_path: Path) -> None:
    with there.client() as client:
        assert served(client)
    before = {r["run"] for r in standings(there)}

    def work(name: str, iterations: int) -> None:
        study = with_backend(load_study(write_study(tmp_path / name, block_size=4)), name=there.address)
        run(with_inference(study, iterations=iterations), tmp_path / f"{name}-out", quiet=True)

    threads = [threading.Thread(target=work, args=one) for one in (("a", 40), ("b", 80))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    new = [r for r in standings(there) if r["run"] not in before]
    assert sorted(r["analyses"]["drug"]["iterations"] for r in new) == [40, 80]
    assert all(a["iterations"] == a["wanted"] for r in new for a in r["analyses"].values())
    assert dask.config.get("scheduler", None) is None, "Dask computes here again, without a client"


def test_a_driver_that_dies_ends_its_run(there: Cluster) -> None:
    with there.client() as client:
        assert served(client)
        client.log_event(TOPIC, begin("dead", "a title", {"x": Analysis(wanted=10)}, client=client.id))
        wait_until(lambda: standings(there)[0]["run"] == "dead", seconds=1200, what="the run")
        assert standings(there)[0]["ended"] == ""
    wait_until(lambda: standings(there)[0]["ended"] == "its driver was lost", seconds=1200, what="its end")
    assert standings(there)[0]["advice"] == "ended with 0 of 10 iterations: the same command goes on"


@contextmanager
def lacking(folder: Path, **hidden: str) -> Iterator[Cluster]:
    """Yield a scheduler that has other packages than the worker and this process, by their name and text."""
    for package, text in hidden.items():
        (folder / "hidden" / package).mkdir(parents=True)
        (folder / "hidden" / package / "__init__.py").write_text(text)
    path = os.environ.get("PYTHONPATH", "")
    made = Cluster(folder, {**os.environ, "PYTHONPATH": f"{folder / 'hidden'}{os.pathsep}{path}"})
    try:
        made.start_scheduler()
        made.start_worker("a", environment={"PYTHONPATH": path})
        made.wait_for(1)
        yield made
    finally:
        made.close()


def nothing(package: str) -> dict[str, str]:
    return {package: f"raise ModuleNotFoundError('hidden by a test', name='{package}')\n"}


def test_a_scheduler_without_bokeh_and_prometheus_serves_json(tmp_path: Path) -> None:
    hidden = nothing("bokeh") | nothing("prometheus_client")
    with lacking(tmp_path, **hidden) as there, there.client() as client:
        assert served(client) == ["json"]
        with monitored(client, token="a", title="t", analyses={}) as token:
            assert token == "a"
            wait_until(lambda: bool(standings(there)), seconds=1200, what="the run")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            web(there, "/ale-dask")


def test_a_scheduler_with_an_older_ale_dask_computes_all_the_same(tmp_path: Path) -> None:
    older = f"import sys\n__path__ = {ale.__path__!r}\nsys.modules['ale_dask.execution.monitor.plugin'] = None\n"
    with lacking(tmp_path, ale_dask=older) as there:
        study = with_backend(load_study(write_study(tmp_path / "tiny", block_size=5)), name=there.address)
        with messages() as said:
            run(study, tmp_path / "out", quiet=True)
        assert digests_of(ale.collect(tmp_path / "out")[2]) == expected()
        assert sum(line.startswith("no page of ours: the scheduler has another ale_dask") for line in said) == 1


def test_a_scheduler_without_ale_dask_is_one_clear_error(tmp_path: Path) -> None:
    with lacking(tmp_path, **nothing("ale_dask")) as there:
        study = with_backend(load_study(write_study(tmp_path / "tiny")), name=there.address)
        with pytest.raises(BackendError, match="the scheduler cannot import ale_dask"):
            run(study, tmp_path / "out", quiet=True)
        assert not (tmp_path / "out").exists()


def test_two_schedulers_in_one_process_share_the_metrics() -> None:
    threads = Backend(name="threads", workers=1)
    with connect(threads) as one, connect(threads) as other:
        assert one is not None
        assert other is not None
        assert served(one) == served(other) == ["json", "metrics", "page"]
    with connect(threads) as again:
        assert again is not None
        assert served(again) == ["json", "metrics", "page"]


CUT = (100.0, 98.0, 103.0)
ALL = {"significant": 2, "not": 5, "undecided": 0}
SOME = ALL | {"undecided": 1}


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ([Known("x", False, 0, None, None)], "wait: no threshold yet"),
        (
            [Known("x", False, 0, CUT, SOME)],
            "wait: 1 of 8 clusters of main effects undecided; thresholds within ±2.5 %",
        ),
        ([Known("x", False, 0, CUT, ALL)], "wait, or stop: all 7 clusters of main effects are decided"),
        ([Known("x", False, 0, CUT, ALL), Known("y", False, 0, None, None)], "wait: 1 of 2 analyses"),
        ([Known("x", True, 0, CUT, ALL), Known("y", True, 0, None, None)], "enough: all 7 clusters"),
        ([Known("x", True, 0, CUT, SOME)], "extend, to twice the iterations: 1 of 8 clusters"),
        ([Known("x", True, 0, CUT, dict.fromkeys(ALL, 0))], "enough: main effects have no cluster to decide"),
        ([Known("x", True, 0, CUT, None)], "enough: ±5 % is reached"),
        ([Known("x", True, 0, (100.0, 80.0, 120.0), None)], "extend, to twice the iterations: ±5 % is not yet reached"),
        ([Known("x", True, 0, CUT, ALL), Known("y", True, 0, (10.0, 8.0, 12.0), ALL)], "enough: all 14"),
        ([Known("x", False, 2, CUT, ALL)], "look: 2 block(s) failed"),
    ],
)
def test_advice_is_to_wait_to_extend_or_to_stop(known: list[Known], says: str) -> None:
    assert advice(known).startswith(says)
