"""Same inputs, configuration and seed give the same bits, whatever ran them."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import (
    MACHINES,
    chunks,
    digests,
    digests_of,
    finished,
    finished_run,
    run_command,
    with_backend,
    with_inference,
)
from support.studies import experiments, write_sample

from ale_dask.config.study import Study, load_study
from ale_dask.execution import block_store as stored
from ale_dask.workflows import run


@pytest.fixture
def tiny(tiny: Path) -> Path:
    """Return the study with a cluster-forming p that one of 61 labellings can reach: contrasts have clusters."""
    text = (tiny / "study.toml").read_text()
    (tiny / "study.toml").write_text(text.replace("voxel_p = 0.01", "voxel_p = 0.03"))
    return tiny


@pytest.fixture
def reference(tiny: Path, tiny_study: Study, tmp_path: Path) -> dict[str, str]:
    """Return the digests of the plain loop with blocks of one size."""
    study = with_backend(tiny_study, name="serial", block_size=16)
    return digests_of(finished_run(study, tmp_path / "reference", folder=tiny)[1])


def test_digests_cover_every_main_effect_and_contrast(reference: dict[str, str]) -> None:
    contrast = ("drug-vs-therapy", "drug-vs-therapy_pooled", "drug-vs-therapy_clusters")
    assert set(reference) == {"drug", "therapy", *contrast}
    assert len(set(reference.values())) == 5


@pytest.mark.parametrize("block_size", [1, 7, 1000])
def test_same_digest_at_any_block_size(
    tiny_study: Study, tmp_path: Path, reference: dict[str, str], block_size: int
) -> None:
    assert digests(with_backend(tiny_study, name="serial", block_size=block_size), tmp_path / "o") == reference


@pytest.mark.parametrize("backend", [("threads", 1), ("threads", 2), ("processes", 2)], ids=str)
def test_same_digest_on_threads_and_processes(
    tiny_study: Study, tmp_path: Path, reference: dict[str, str], backend: tuple[str, int]
) -> None:
    study = with_backend(tiny_study, name=backend[0], workers=backend[1], block_size=7)
    assert digests(study, tmp_path / "o") == reference


def test_same_digest_with_blocks_in_any_order(
    tiny_study: Study, tmp_path: Path, reference: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = stored.StoreSink.missing

    def shuffled(self: stored.StoreSink) -> list[int]:
        blocks = list(missing(self))
        random.Random(5).shuffle(blocks)
        return blocks

    monkeypatch.setattr(stored.StoreSink, "missing", shuffled)
    assert digests(with_backend(tiny_study, name="serial", block_size=3), tmp_path / "o") == reference


def test_same_digest_with_experiments_in_another_order(tiny: Path, tmp_path: Path, reference: dict[str, str]) -> None:
    write_sample(tiny / "drug.txt", experiments(1, number=8, planted=(12, 4, 0), prefix="drug")[::-1])
    study = with_backend(load_study(tiny / "study.toml"), name="serial", block_size=16)
    assert digests(study, tmp_path / "o") == reference


def test_another_seed_gives_another_digest(tiny_study: Study, tmp_path: Path, reference: dict[str, str]) -> None:
    study = with_backend(with_inference(tiny_study, seed=4), name="serial")
    other = digests(study, tmp_path / "o")
    assert not set(other.values()) & set(reference.values())


def test_the_first_iterations_of_a_longer_run_are_the_shorter_run(
    tiny_study: Study, tmp_path: Path, reference: dict[str, str]
) -> None:
    study = with_backend(tiny_study, name="serial", block_size=16)
    out = tmp_path / "o"
    longer = with_inference(study, iterations=100)
    direct = digests(longer, tmp_path / "direct")
    assert digests(with_inference(study, iterations=25), out) != reference
    assert digests(longer, out) == direct
    # 60 falls inside a block of the second segment: its counts are made again up to there.
    assert digests(study, out) == reference
    _, null = next(iter(json.loads((out / "plans/drug/0.json").read_text()).items()))
    assert null == 0
    assert [json.loads((out / f"plans/drug/{i}.json").read_text())["iterations"] for i in (0, 1)] == [25, 75]


def test_sigkill_at_three_points_and_resume_gives_the_same_digest(
    tiny: Path, tmp_path: Path, reference: dict[str, str]
) -> None:
    text = (tiny / "study.toml").read_text()
    (tiny / "study.toml").write_text(text + "[backend]\nblock_size = 1\n")
    out = tmp_path / "killed"
    for wanted in (0, 20, 120):
        process = run_command(tiny, out)
        deadline = time.monotonic() + 1200
        while chunks(out) <= wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"
    done = chunks(out)
    assert 120 < done < 300
    assert finished(run_command(tiny, out)) == reference


@pytest.mark.slow
def test_same_digest_without_avx2_and_fma(tiny: Path, tmp_path: Path, reference: dict[str, str]) -> None:
    environment = MACHINES["no AVX2, no FMA"]
    assert finished(run_command(tiny, tmp_path / "generic", environment=environment)) == reference


@pytest.mark.slow
def test_same_digest_from_the_plain_kernels(tiny: Path, tmp_path: Path, reference: dict[str, str]) -> None:
    assert finished(run_command(tiny, tmp_path / "plain", environment=MACHINES["plain"])) == reference


def test_maps_are_the_same_bits_too(tiny_study: Study, tmp_path: Path) -> None:
    one, _ = run.run(with_backend(tiny_study, name="serial"), tmp_path / "a", quiet=True)
    two, _ = run.run(with_backend(tiny_study, name="threads", workers=2), tmp_path / "b", quiet=True)
    for name, result in one.items():
        for variable in result.data_vars:
            if result[variable].dtype.kind in "fi":
                np.testing.assert_array_equal(result[variable], two[name][variable], err_msg=f"{name} {variable}")


def test_same_digest_when_workers_do_not_see_the_store(
    tiny_study: Study, tmp_path: Path, reference: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored.StoreSink, "visible", lambda self: False)
    written: list[int] = []
    write = stored.StoreSink.write

    def counted(self: stored.StoreSink, block: int, arrays: Any) -> None:
        written.append(threading.get_ident())
        write(self, block, arrays)

    monkeypatch.setattr(stored.StoreSink, "write", counted)
    study = with_backend(tiny_study, name="threads", workers=2, block_size=7)
    assert digests(study, tmp_path / "o") == reference
    assert set(written) == {threading.get_ident()}
