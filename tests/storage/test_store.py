"""The store resumes runs: chunks that are torn, foreign or of another configuration are found and not used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.damage import copy_neighbour, delete, empty, flip, truncate
from support.runs import chunks, digests, digests_of, finished_run, with_backend, with_inference

from ale_dask.config.study import Study, load_study
from ale_dask.errors import StoreError
from ale_dask.execution.plan import Plan
from ale_dask.storage.location import create_once
from ale_dask.storage.zarr_store import open_store
from ale_dask.workflows import run
from ale_dask.workflows.status import status


@pytest.mark.parametrize("kind", ["drug/null", "drug-vs-therapy/null", "drug-vs-therapy/exceed"])
@pytest.mark.parametrize("damage", [truncate, empty, flip, delete, copy_neighbour])
def test_a_damaged_chunk_is_found_and_redone(
    tiny_study: Study, tmp_path: Path, damage: Callable[[Path], None], kind: str
) -> None:
    study = with_backend(tiny_study, name="serial", block_size=10)
    out = tmp_path / "o"
    _, record = finished_run(study, out, folder=tmp_path / "tiny")
    expected = digests_of(record)
    damage(out / "store.zarr" / kind / "0" / "c" / "3" / "0")
    assert {s.analysis: s.done for s in status(out)}[kind.split("/")[0]] == 50
    with pytest.raises(StoreError, match="missing or damaged"):
        run.collect(out)
    assert digests(study, out) == expected


def test_a_chunk_of_another_run_is_not_read(tiny_study: Study, tmp_path: Path) -> None:
    study = with_backend(tiny_study, name="serial", block_size=10)
    expected = digests(study, tmp_path / "a")
    digests(with_inference(study, seed=9), tmp_path / "b")
    where = "store.zarr/drug/null/0/c/2/0"
    shutil.copy(tmp_path / "b" / where, tmp_path / "a" / where)
    assert digests(study, tmp_path / "a") == expected


def test_partial_files_of_killed_writers_are_removed(tiny_study: Study, tmp_path: Path) -> None:
    study = with_backend(tiny_study, name="serial", block_size=10)
    expected = digests(study, tmp_path)
    stale = tmp_path / "store.zarr/drug/null/0/c/2/0.abc.partial"
    stale.write_bytes(b"half")
    # Another driver's, perhaps, and about to be renamed.
    assert digests(study, tmp_path) == expected
    assert stale.exists()
    os.utime(stale, (1, 1))
    assert digests(study, tmp_path) == expected
    assert not stale.exists()


def test_resuming_computes_only_what_is_missing(tiny_study: Study, tmp_path: Path) -> None:
    study = with_backend(tiny_study, name="serial", block_size=10)
    digests(study, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store.zarr").glob("*/null/*/c/*/0")}
    gone = tmp_path / "store.zarr/therapy/null/0/c/4/0"
    gone.unlink()
    digests(study, tmp_path)
    after = {p: p.stat().st_mtime_ns for p in before}
    assert [p for p in before if before[p] != after[p]] == [gone]
    assert chunks(tmp_path) == len(before)


def test_another_configuration_is_refused_and_named(tiny_study: Study, tmp_path: Path) -> None:
    study = with_backend(tiny_study, name="serial")
    digests(study, tmp_path)
    with pytest.raises(StoreError, match=r"seed: stored 3, now 4"):
        digests(with_inference(study, seed=4), tmp_path)
    with pytest.raises(StoreError, match=r"voxel_p: stored 0.01, now 0.02"):
        digests(with_inference(study, voxel_p=0.02), tmp_path)


def test_a_refused_configuration_changes_nothing(tiny_study: Study, tmp_path: Path) -> None:
    study = with_backend(tiny_study, name="serial")
    expected = digests(study, tmp_path)
    with pytest.raises(StoreError):
        digests(with_inference(study, seed=4), tmp_path)
    _, _, record = run.collect(tmp_path)
    assert digests_of(record) == expected


def test_overwrite_gives_the_digests_of_a_fresh_run(tiny_study: Study, tmp_path: Path) -> None:
    study = with_backend(tiny_study, name="serial")
    expected = digests(with_inference(study, seed=4), tmp_path / "fresh")
    digests(study, tmp_path / "o")
    _, record = run.run(with_inference(study, seed=4), tmp_path / "o", overwrite=True, quiet=True)
    assert digests_of(record) == expected


def test_alpha_and_minimum_volume_do_not_invalidate_work(tiny_study: Study, tmp_path: Path) -> None:
    study = with_backend(tiny_study, name="serial")
    expected = digests(study, tmp_path)
    assert digests(with_inference(study, cluster_p=0.2, min_volume=500.0, contrast_p=0.01), tmp_path) == expected


def test_a_foreign_zarr_store_is_left_alone(tmp_path: Path) -> None:
    import zarr

    zarr.open_group(tmp_path / "store.zarr", mode="w").create_group("theirs")
    with pytest.raises(StoreError, match="did not make"):
        open_store(tmp_path)


def test_a_store_of_another_schema_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).attrs["ale_dask_schema"] = 99
    with pytest.raises(StoreError, match="schema 99"):
        open_store(tmp_path)


def test_create_once_keeps_the_first_content_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a" / "plan"
    assert create_once(path, b"first") == b"first"
    assert create_once(path, b"second") == b"first"
    assert [p.name for p in path.parent.iterdir()] == ["plan"]


def test_a_damaged_plan_is_refused(tiny_study: Study, tmp_path: Path) -> None:
    study = with_backend(tiny_study, name="serial")
    digests(study, tmp_path)
    flip(tmp_path / "plans/drug/plan.npz")
    with pytest.raises(StoreError, match="plan"):
        digests(study, tmp_path)


def test_plans_hold_no_pickles_and_survive_the_way_through_bytes() -> None:
    plan = Plan("n", "main-effect", "ab", ("s",), {"bits": 3}, {"a": np.arange(3), "b": np.ones((2, 2))})
    again = Plan.from_bytes(plan.to_bytes())
    assert again.id == plan.id
    np.testing.assert_array_equal(again.arrays["b"], plan.arrays["b"])
    pickled = Plan("n", "k", "ab", ("s",), {}, {"a": np.array([{}], dtype=object)})
    with pytest.raises((StoreError, ValueError)):
        Plan.from_bytes(pickled.to_bytes())


def test_out_is_all_that_a_run_needs(tiny: Path, tiny_study: Study, tmp_path: Path) -> None:
    study = with_backend(tiny_study, name="serial")
    out = tmp_path / "o"
    expected = digests(study, out)
    shutil.rmtree(tiny)
    moved = tmp_path / "elsewhere"
    out.rename(moved)
    _, _, record = run.collect(moved)
    assert digests_of(record) == expected


def test_a_run_goes_on_from_its_own_study_file(tiny_study: Study, tmp_path: Path) -> None:
    expected = digests(with_backend(tiny_study, name="serial"), tmp_path)
    before = {p: p.read_bytes() for p in [tmp_path / "study.toml", *(tmp_path / "foci").rglob("*.txt")]}
    assert digests(load_study(tmp_path / "study.toml"), tmp_path) == expected
    assert {p: p.read_bytes() for p in [tmp_path / "study.toml", *(tmp_path / "foci").rglob("*.txt")]} == before


def test_overwriting_from_its_own_study_file_keeps_the_foci(tiny_study: Study, tmp_path: Path) -> None:
    expected = digests(with_backend(tiny_study, name="serial"), tmp_path)
    run.run(load_study(tmp_path / "study.toml"), tmp_path, overwrite=True, quiet=True)
    _, _, record = run.collect(tmp_path)
    assert digests_of(record) == expected
