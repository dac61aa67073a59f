"""A study small enough to run whole in a second: a ball on a 4 mm grid and three samples."""

from __future__ import annotations

import functools
import logging
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import hypothesis
import pytest
from support.studies import write_tiny

from ale_dask.config.study import Study, load_study

TIERS = {
    "notebooks": ("house/test_notebooks.py", "../notebooks"),
    "calibration": ("calibration",),
    "browser": ("reporting/test_report_browser.py",),
    "cluster": (
        "faults",
        *(
            f"execution/test_{name}.py"
            for name in ("backends", "gateway", "kubernetes", "monitoring", "network", "slurm")
        ),
    ),
    "unit": ("numerics", "coordinates", "datasets", "config", "analyses/test_atlas.py", "house"),
}
"""Tiers of tests, and the folders and files under tests/ that belong to each; all other tests are of integration.
A test marked with a tier of its own belongs to that one."""
LONG = ("04_sweep", "05_sensitivity", "06_base_rate", "07_literature")
"""Notebooks that are run with the slow tests; house/test_notebooks.py runs them on less."""
FIRST = (
    "execution/test_slurm.py",
    "storage/test_object_storage.py",
    "calibration",
    "faults/test_disks.py",
    "analyses/test_base_rate_null.py",
    "analyses",
    "execution/test_determinism.py",
    "faults/test_workers.py",
    "workflows",
    "execution/test_backends.py",
    "../notebooks",
    "faults/test_drivers.py",
    "storage",
    "execution",
)
"""Folders and files in the order in which their tests start: those that take longest first, and those that start many
processes apart from each other."""
hypothesis.settings.register_profile("same", deadline=None, derandomize=True, database=None)
hypothesis.settings.register_profile("other", deadline=None, print_blob=True)
# The same examples in every run, so that a change is what makes a test fail; scripts/test --hypothesis-profile=other
# looks for further ones.
hypothesis.settings.load_profile("same")
SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with its tier, and put the tests into the order of FIRST."""
    here = Path(__file__).parent
    places = [(tier, (here / name).resolve()) for tier, names in TIERS.items() for name in names]
    first = [(here / name).resolve() for name in FIRST]

    @functools.cache
    def tier_of(path: Path) -> str:
        return next((tier for tier, place in places if path.is_relative_to(place)), "integration")

    @functools.cache
    def rank(path: Path) -> int:
        return next((i for i, place in enumerate(first) if path.is_relative_to(place)), len(first))

    for item in items:
        if not any(item.get_closest_marker(tier) for tier in (*TIERS, "integration")):
            item.add_marker(tier_of(item.path))
        if item.path.suffix == ".ipynb" and item.path.stem in LONG:
            item.add_marker("slow")
    items.sort(key=lambda item: rank(item.path))


@pytest.fixture(autouse=True)
def messages_of_all_levels() -> None:
    """Undo what an earlier test of a command with --quiet did in this process: the package logs everything again."""
    logging.getLogger("ale_dask").setLevel(logging.NOTSET)


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
