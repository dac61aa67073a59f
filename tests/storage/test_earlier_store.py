"""A store that an earlier version wrote, without any of today's checksums, opens, verifies and goes on."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from support.commands import ale
from support.runs import digests_of

from ale_dask.errors import StoreError
from ale_dask.workflows import maintain, run

STORE = Path(__file__).parents[1] / "stores" / "earlier.tar.xz"
DIGEST = "00a8a00cff24436e55a222c48e8701ceaf5f84d0c9fbef8b879eee41a8d4debf"
"""Of its null, and below the sum of its ALE map, as the version that made it had them."""
ALE = 8.111509127556928


@pytest.fixture
def out(tmp_path: Path) -> Path:
    with tarfile.open(STORE) as archive:
        archive.extractall(tmp_path, filter="data")
    assert not list((tmp_path / "out/plans").rglob("maps.json"))
    return tmp_path / "out"


def test_it_is_collected_as_it_was(out: Path) -> None:
    _, results, record = run.collect(out)
    assert digests_of(record) == {"a": DIGEST}
    np.testing.assert_allclose(results["a"]["ale"].values.sum(dtype=float), ALE, rtol=1e-6)


def test_its_maps_are_made_again_once(out: Path) -> None:
    chunk = out / "store.zarr/a/maps/ma/c/0/0"
    before = chunk.read_bytes()
    chunk.unlink()
    _, results, _ = run.collect(out)
    assert chunk.read_bytes() == before
    np.testing.assert_allclose(results["a"]["ale"].values.sum(dtype=float), ALE, rtol=1e-6)


def test_verify_says_what_has_no_checksum_until_collect_writes_it(out: Path) -> None:
    assert maintain.verify(out) == [
        "store.zarr/a/maps: no checksums belong to these maps; run again with the same -o to make them again"
    ]
    ale("run", out, "-o", out, "--no-pictures", "-q")
    assert maintain.verify(out) == []


def test_extending_an_earlier_store_repeats_no_block(out: Path) -> None:
    chunks = {p: p.stat().st_mtime_ns for p in (out / "store.zarr/a/null").rglob("c/*/0")}
    assert len(chunks) == 2
    _, record = maintain.extend(out, iterations=30, quiet=True)
    assert [s["iterations"] for s in record["analyses"]["a"]["segments"]] == [20, 10]
    assert {p: p.stat().st_mtime_ns for p in chunks} == chunks


def test_a_damaged_plan_of_an_earlier_store_is_named(out: Path) -> None:
    path = out / "plans/a/plan.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"plans/a/plan\.npz.*delete this file"):
        run.collect(out)
