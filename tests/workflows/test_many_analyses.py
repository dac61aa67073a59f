"""A study of many main effects: its table is grouped once, memory holds the maps of a few, and no bit changes."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ale_dask.config import study as study_settings
from ale_dask.config.study import Study, load_study
from ale_dask.coordinates import selection
from ale_dask.coordinates.readers import read_foci
from ale_dask.coordinates.selection import flow, select
from ale_dask.execution import block_store
from ale_dask.reporting import write as writing
from ale_dask.reporting.html import page
from ale_dask.storage.location import place
from ale_dask.workflows import notices, prepare, run, stored_results
from ale_dask.workflows.run_directory import create_run
from tests.support.studies import table, write_ball

NUMBER = 12
BEGIN = """
[inference]
mask = "ball.nii.gz"
iterations = 20
voxel_p = 0.01
seed = 3
null = "uniform"
[backend]
name = "serial"
block_size = 20
"""
EACH = """
[foci.{0}]
files = "all.csv"
[[foci.{0}.select]]
where = "term == '{0}'"
[analysis.{0}]
kind = "main-effect"
foci = "{0}"
"""


def write_study(folder: Path, *, number: int) -> Study:
    """Write a table of so many samples of three experiments, and the study that picks each of them from it."""
    write_ball(folder / "ball.nii.gz")
    names = [f"t{i}" for i in range(number)]
    table(folder / "all.csv", 1, 3 * number, (4, 4, 0), term=names)
    (folder / "study.toml").write_text(BEGIN + "".join(map(EACH.format, names)))
    return load_study(folder / "study.toml")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Return a study of `NUMBER` main effects that pick their samples from one table."""
    return write_study(tmp_path_factory.mktemp("many"), number=NUMBER)


@pytest.fixture
def few_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat more than four main effects as many, and hold the maps of two."""
    monkeypatch.setattr(study_settings, "MANY", 4)
    monkeypatch.setattr(stored_results, "AT_ONCE", 2)
    for module in (writing, page):
        monkeypatch.setattr(module, "MOST_SECTIONS", 4)
    monkeypatch.setattr(writing, "_TOGETHER", 2)


def test_samples_of_one_table_are_picked_after_it_was_grouped_once(
    many: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables: list[int] = []

    def counting(dataset: xr.Dataset) -> Any:
        tables.append(dataset.sizes["experiment"])
        return original(dataset)

    original = selection.table
    monkeypatch.setattr(selection, "table", counting)
    prepare._read_files.cache_clear()
    sources = prepare.read_sources(many, need_n=True)
    assert tables == [3 * NUMBER]
    whole = read_foci(many.foci["t0"].files[0])
    for name in ("t0", "t7"):
        # The second part keeps the first from being looked up.
        plain = select(whole, f"term == '{name}' and True", name=name)
        assert sources[name].drop_attrs(deep=False).identical(plain.drop_attrs(deep=False))
        assert flow(sources[name])["removed"].tolist() == flow(plain)["removed"].tolist()


def test_removed_experiments_are_counted_where_naming_them_would_grow_with_the_square(
    many: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "MOST_LISTED", 3 * NUMBER * NUMBER - 1)
    told = flow(prepare.read_sources(many, need_n=True)["t5"])
    assert told["removed"].tolist() == [[], [f"{3 * NUMBER - 3} experiments, not listed"]]
    assert told["experiments"].tolist() == [3 * NUMBER, 3]


def test_what_is_said_of_many_samples_is_counted(many: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "MOST_ENTRIES", 2)
    found = notices.study_notices(many)
    lines = notices.notice_lines(found)
    assert sum(line.startswith("  warning few-experiments") for line in lines) == 3
    assert lines[-2:] == [
        "and 10 more; --verbose prints what is said of each",
        "  warning few-experiments: 10 of them, first t2",
    ]
    every = notices.notice_lines(found, verbose=True)
    assert sum(line.startswith("  warning few-experiments") for line in every) == NUMBER


@pytest.mark.usefixtures("few_in_memory")
def test_memory_holds_the_arrays_of_a_few_plans(many: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    original = block_store.store_plan

    def watching(*args: Any, **kwargs: Any) -> Any:
        plan = original(*args, **kwargs)
        alive.add(plan)
        return plan

    monkeypatch.setattr(prepare, "store_plan", watching)
    prepared = prepare.prepare(many)
    plans = create_run(prepared, place(tmp_path / "out"))
    gc.collect()
    assert len(plans) == NUMBER
    assert len(alive) <= 2
    again = block_store.stored_plan(place(tmp_path / "out"), "t5")
    assert plans["t5"].id == again.id
    assert all(np.array_equal(plans["t5"].arrays[name], array) for name, array in again.arrays.items())


@pytest.mark.usefixtures("few_in_memory")
def test_memory_holds_the_maps_of_a_few_results_and_files_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    study, out = write_study(tmp_path, number=6), tmp_path / "out"
    alive: list[weakref.ref[Any]] = []
    most = 0

    def watching(*args: Any) -> xr.Dataset:
        nonlocal most
        result = original(*args)
        alive.append(weakref.ref(result["z"].values))
        gc.collect()
        most = max(most, sum(ref() is not None for ref in alive))
        return result

    # What was there before is not looked through, which takes .3 s each of sixty times.
    request.addfinalizer(gc.unfreeze)
    gc.freeze()
    original = run.collect_main_effect
    monkeypatch.setattr(run, "collect_main_effect", watching)
    results, record = run.run(study, str(out), quiet=True)
    run.write(results, record, out, study=study, pictures=False)
    # The one that is being made, and those that writing them reads at the time.
    assert len(alive) >= len(results) == 6
    assert most <= 4
    assert (out / "selection.tsv").is_file()
    assert not list(out.glob("selection_*.svg"))
    written = contents(out)
    monkeypatch.setattr(study_settings, "MANY", 200)
    in_memory, record = run.run(study, str(out), quiet=True)
    run.write(in_memory, record, out, study=study, pictures=False)
    assert contents(out) == written
    for name, result in in_memory.items():
        xr.testing.assert_identical(results[name].load(), result)


def contents(out: Path) -> dict[str, bytes]:
    """Return the results in OUT by their path, without those that tell how long the run took."""
    timed = ("report.html", "run.json", "results.json")
    kept = (path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in timed)
    return {str(path): path.read_bytes() for path in kept if path.relative_to(out).parts[0] != "logs"}
