"""Input of a run cannot execute code or reach files outside its folder, and its output holds no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import digests, with_backend

from ale_dask.config.study import Study, load_study
from ale_dask.errors import StoreError
from ale_dask.workflows import run


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_a_pickle_in_a_plan_is_refused_and_not_loaded(tiny_study: Study, tmp_path: Path) -> None:
    out, mark = tmp_path / "out", tmp_path / "mark"
    digests(with_backend(tiny_study, name="serial"), out)
    plan = out / "plans" / "drug" / "plan.npz"
    with np.load(plan) as archive:
        arrays = dict(archive)
    arrays["points"] = np.array([Bomb(mark)], dtype=object)
    np.savez(plan, **arrays)
    with pytest.raises(StoreError, match="plan"):
        run.collect(out)
    assert not mark.exists()
    with np.load(plan, allow_pickle=True) as archive:
        _ = archive["points"]
    assert mark.exists(), "the pickle would have done nothing anyway"


def test_inputs_from_elsewhere_stay_below_out(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tiny / "drug.txt").rename(tmp_path / "deep" / "..drug.txt")
    text = (tiny / "study.toml").read_text()
    (tiny / "study.toml").write_text(text.replace('"drug.txt"', '"../tiny/../deep/..drug.txt"'))
    out = tmp_path / "a" / "out"
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    digests(with_backend(load_study(tiny / "study.toml"), name="serial"), out)
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert new
    assert all(path.is_relative_to(out) for path in new)
    assert (out / "foci" / "drug" / "1_..drug.txt").is_file()


def test_what_a_run_writes_does_not_say_where_it_ran(
    tiny_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-seen")
    out = tmp_path / "out"
    results, record = run.run(with_backend(tiny_study, name="processes", workers=1), out, quiet=True)
    run.write(results, record, out, study=tiny_study, pictures=False)
    for path in out.rglob("*"):
        if path.is_file() and "logs" not in path.relative_to(out).parts:
            content = path.read_bytes()
            assert str(tmp_path).encode() not in content, path
            assert b"not-to-be-seen" not in content, path
