"""The Examples in the docstrings of exported names give what they say, in a folder with a tiny study.

Examples may call all public names, as after `from ale_dask import *`.
"""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from support.studies import write_tiny

import ale_dask as ale

PUBLIC = {name: getattr(ale, name) for name in ale.__all__} | {"ale": ale}
WITH_EXAMPLES = [name for name in ale.__all__ if ">>>" in (getattr(ale, name).__doc__ or "")]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_tiny(tmp_path / "tiny"))
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(ale, name), name, globs=PUBLIC)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    told: list[str] = []
    runner.run(found, out=told.append)
    assert runner.failures == 0, "".join(told)
