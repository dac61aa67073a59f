"""A few of the damages of scripts/fuzz_store, always the same ones: none is silent, none is taken for a bug."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TRIALS = int(os.environ.get("ALE_DASK_FUZZ_TRIALS", "6"))


@pytest.mark.slow
def test_damage_is_noticed_or_mended(load_script, tmp_path: Path) -> None:
    fuzz = load_script("fuzz_store")
    found = list(fuzz.trials(range(TRIALS), seed=7, folder=tmp_path))
    assert len({one.file for one in found}) > TRIALS / 2
    assert [(one.number, one.how, one.file, one.said) for one in found if one.silent or one.bug] == []
    # What cannot be mended is told; tests/storage/test_stored_maps.py has what is mended without a word.
    assert any(any(one.codes) for one in found)
