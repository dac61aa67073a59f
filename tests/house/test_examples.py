"""The Examples in the docstrings of exported names give what they say, in a folder with a tiny study and its run.

Examples may call all public names, as after `from ale_dask import *`.
"""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path

import pytest
from support.studies import write_tiny

import ale_dask as ale
from ale_dask.workflows.run import write

PUBLIC = {name: getattr(ale, name) for name in ale.__all__} | {"ale": ale}
WITH_EXAMPLES = [name for name in ale.__all__ if ">>>" in (getattr(ale, name).__doc__ or "")]
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with study.toml, drug.txt, therapy.txt, ball.nii.gz and the finished run out."""
    folder = write_tiny(tmp_path_factory.mktemp("examples") / "tiny")
    toml = folder / "study.toml"
    # Nothing has to be started for the plain loop.
    toml.write_text(toml.read_text() + '[backend]\nname = "serial"\n')
    loaded = ale.load_study(toml)
    results, record = ale.run(loaded, folder / "out", quiet=True)
    write(results, record, folder / "out", study=loaded, pictures=False)
    return folder


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_say(name: str, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(study, tmp_path / "tiny"))
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(ale, name), name, globs=PUBLIC)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    told: list[str] = []
    runner.run(found, out=told.append)
    assert runner.failures == 0, "".join(told)
