"""Stored maps, segments and descriptions are checked before they are used, and made again where they can be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.damage import delete, empty, flip, truncate
from support.runs import digests_of, finished_run, with_backend

from ale_dask.analyses.ma import ale_union, broken_maps, ma_maps, store_ma
from ale_dask.config.study import Study
from ale_dask.errors import StoreError
from ale_dask.execution.block_store import _arrays as opened
from ale_dask.storage.location import files
from ale_dask.workflows import run


def maps_of(results: dict[str, object]) -> dict[str, np.ndarray]:
    return {name: result["ale"].values for name, result in results.items() if "ale" in result}


@pytest.fixture
def study(tiny_study: Study) -> Study:
    return with_backend(tiny_study, name="serial", block_size=10)


@pytest.mark.parametrize("damage", [truncate, empty, flip, delete])
@pytest.mark.parametrize("file", ["ma/c/0/0", "ma/zarr.json", "experiment_key/c/0", "voxel_ijk/c/0/0", "zarr.json"])
def test_damaged_ma_maps_are_made_again(
    study: Study, tmp_path: Path, damage: Callable[[Path], None], file: str
) -> None:
    out = tmp_path / "o"
    results, record = finished_run(study, out, folder=tmp_path / "tiny")
    expected = maps_of(results)
    before = (out / "store.zarr/drug/maps" / file).read_bytes()
    damage(out / "store.zarr/drug/maps" / file)
    _, again, told = run.collect(out)
    assert digests_of(told) == digests_of(record)
    for name, ale in maps_of(again).items():
        np.testing.assert_array_equal(ale, expected[name])
    if file.endswith(".json"):
        assert json.loads((out / "store.zarr/drug/maps" / file).read_bytes()) == json.loads(before)
    else:
        assert (out / "store.zarr/drug/maps" / file).read_bytes() == before


def test_a_foreign_file_among_the_maps_is_removed(study: Study, tmp_path: Path) -> None:
    finished_run(study, tmp_path / "o", folder=tmp_path / "tiny")
    group = tmp_path / "o/store.zarr/drug/maps"
    (group / "ma/c/0/1").write_bytes(b"theirs")
    run.collect(tmp_path / "o")
    assert "ma/c/0/1" not in files(group)


def test_maps_whose_seal_is_lost_or_damaged_are_made_again(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "o"
    finished_run(study, out, folder=tmp_path / "tiny")
    seal = out / "plans/drug/maps.json"
    identity = json.loads(seal.read_text())["identity"]
    for damage in (delete, truncate, lambda path: path.write_text("[]")):
        damage(seal)
        assert broken_maps(out, "drug", identity=identity) is None
        run.collect(out)
        assert broken_maps(out, "drug", identity=identity) == []


def test_a_chunk_that_is_lost_while_maps_are_read_ends_the_run(study: Study, tmp_path: Path) -> None:
    from ale_dask.workflows.prepare import prepare

    sample = prepare(study).samples["drug"]
    stored = store_ma(tmp_path, "drug", sample, identity="x")
    np.testing.assert_array_equal(ale_union(stored), ale_union(ma_maps(sample)))
    (tmp_path / "store.zarr/drug/maps/ma/c/0/0").unlink()
    with pytest.raises(StoreError, match="lost while"):
        ale_union(stored).compute()


@pytest.mark.parametrize("key", ["number", "first", "iterations", "block_size", "plan_id", "sha256"])
def test_a_segment_that_was_changed_is_refused_and_its_blocks_are_kept(study: Study, tmp_path: Path, key: str) -> None:
    out = tmp_path / "o"
    _, record = finished_run(study, out, folder=tmp_path / "tiny")
    path = out / "plans/drug/0.json"
    values = json.loads(path.read_text())
    values[key] = values[key] + 1 if isinstance(values[key], int) else values[key][::-1]
    path.write_text(json.dumps(values))
    for again in (lambda: run.run(study, out, quiet=True), lambda: run.collect(out)):
        with pytest.raises(StoreError, match=r"plans/drug/0\.json: damaged"):
            again()
    path.unlink()
    before = {p: p.stat().st_mtime_ns for p in (out / "store.zarr/drug").glob("null/*/c/*/0")}
    _, again = run.run(with_backend(study, block_size=7), out, quiet=True)
    assert digests_of(again) == digests_of(record)
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.parametrize("changes", [{"first": 1}, {"number": 1}, {"iterations": 0}, {"block_size": "10"}])
def test_a_segment_without_a_checksum_must_go_on_where_the_last_ends(
    study: Study, tmp_path: Path, changes: dict[str, object]
) -> None:
    out = tmp_path / "o"
    _, record = finished_run(study, out, folder=tmp_path / "tiny")
    path = out / "plans/drug/0.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if key != "sha256"}
    path.write_text(json.dumps(old))
    assert digests_of(run.collect(out)[2]) == digests_of(record)
    path.write_text(json.dumps(old | changes))
    with pytest.raises(StoreError, match=r"plans/drug/0\.json"):
        run.collect(out)


@pytest.mark.parametrize("damage", [truncate, empty, flip, delete])
@pytest.mark.parametrize("kind", ["drug/null/0", "drug-vs-therapy/exceed/0", "drug"])
def test_the_description_of_blocks_is_written_again(
    study: Study, tmp_path: Path, damage: Callable[[Path], None], kind: str
) -> None:
    out = tmp_path / "o"
    _, record = finished_run(study, out, folder=tmp_path / "tiny")
    path = out / "store.zarr" / kind / "zarr.json"
    before = json.loads(path.read_bytes())
    damage(path)
    chunks = {p: p.stat().st_mtime_ns for p in (out / "store.zarr").glob("*/*/0/c/*/0")}
    # As another process sees it: this one has the array open.
    opened.cache_clear()
    assert digests_of(run.collect(out)[2]) == digests_of(record)
    assert json.loads(path.read_bytes()) == before
    assert {p: p.stat().st_mtime_ns for p in chunks} == chunks


def test_another_separator_of_chunks_is_noticed(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "o"
    _, record = finished_run(study, out, folder=tmp_path / "tiny")
    path = out / "store.zarr/drug/null/0/zarr.json"
    text = path.read_text()
    assert text.count('"separator": "/"') == 1
    opened.cache_clear()
    path.write_text(text.replace('"separator": "/"', '"separator": "."'))
    assert digests_of(run.collect(out)[2]) == digests_of(record)
    assert path.read_text() == text
