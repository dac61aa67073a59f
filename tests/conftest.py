"""A study small enough to run whole in a second: a ball on a 4 mm grid and three samples."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from support.studies import write_tiny

from ale_dask.config.study import Study, load_study

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return a folder with a study of two samples."""
    return write_tiny(tmp_path / "tiny")


@pytest.fixture
def tiny_study(tiny: Path) -> Study:
    """Return the study of the tiny folder."""
    return load_study(tiny / "study.toml")


@pytest.fixture(scope="module")
def load_script():
    """A function that gives one of scripts/ as a module; without .pyc files beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)

        def load(name):
            loader = SourceFileLoader(name, str(SCRIPTS / name))
            module = module_from_spec(spec_from_loader(name, loader))
            # dataclasses look their module up by name.
            patch.setitem(sys.modules, name, module)
            loader.exec_module(module)
            return module

        yield load
