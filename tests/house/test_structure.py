"""Functions stay small, and rooms import downward only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

WIDE = "def wide(a, b, c, d, e, f, g, h):\n    return a\n"
LONG = 'def long():\n    """Return\n    nothing."""\n' + "    x = 1\n" * 50
BRANCHES = "class Table:\n    def read(self, x):\n" + "        if x:\n            x -= 1\n" * 12
KERNEL = "import numba\n\n@numba.njit(cache=True)\n" + WIDE.replace("wide", "kernel")


@pytest.fixture
def sizes(load_script):
    return load_script("sizes")


@pytest.fixture
def imports(load_script):
    return load_script("imports")


def test_large_functions_are_named(sizes, tmp_path: Path) -> None:
    (tmp_path / "ale_dask" / "cli").mkdir(parents=True)
    (tmp_path / "ale_dask" / "a.py").write_text("\n\n".join([WIDE, LONG, BRANCHES, KERNEL]))
    (tmp_path / "ale_dask" / "cli" / "command.py").write_text(WIDE)
    found = sizes.too_large(tmp_path)
    # 51 lines without the docstring, complexity 13, 8 parameters; neither a kernel nor the options of a command.
    assert found == {
        "lines": {"ale_dask/a.py:long"},
        "complexity": {"ale_dask/a.py:Table.read"},
        "parameters": {"ale_dask/a.py:wide"},
    }
    assert sizes.problems(found, found) == []
    shorter = {
        "lines": set(),
        "complexity": {"ale_dask/a.py:Table.read"},
        "parameters": {"a.py:x", *found["parameters"]},
    }
    assert [line.split(":")[:2] for line in sizes.problems(found, shorter)] == [
        ["ale_dask/a.py", "long"],
        ["a.py", "x"],
    ]


def test_rooms_import_downward_only(imports, capsys: pytest.CaptureFixture[str]) -> None:
    assert imports.main() == 0
    assert ", 0 up, no circle" in capsys.readouterr().out


def test_arrows_up_and_circles_are_seen(imports, tmp_path: Path) -> None:
    rooms = imports.floors([{"type": "layers", "layers": ["ale_dask.cli", "ale_dask.analyses : ale_dask.storage"]}])
    assert rooms == {"ale_dask.cli": (2, 0), "ale_dask.analyses": (1, 0), "ale_dask.storage": (1, 0)}
    for room, source in {
        "cli": "from ale_dask import storage",
        "analyses": "def f():\n    from ale_dask.storage.zarr_store import chunk",
        "storage": "import ale_dask.cli.run\nimport ale_dask.analyses",
    }.items():
        (tmp_path / "ale_dask" / room).mkdir(parents=True)
        (tmp_path / "ale_dask" / room / "module.py").write_text(source)
    graph = imports.arrows(tmp_path, rooms)
    assert sum(map(len, graph.values())) == 4
    assert imports.upward(graph, rooms) == [("ale_dask.storage", "ale_dask.cli")]
    assert len(imports.circle(graph)) > 2
    shutil.rmtree(tmp_path / "ale_dask" / "storage")
    graph = imports.arrows(tmp_path, rooms)
    assert imports.upward(graph, rooms) == imports.circle(graph) == []


def test_every_link_in_the_tree_leads_somewhere():
    tree = Path(__file__).parents[2]
    links = [path for folder in ("ale_dask", "deploy", "notebooks", "scripts") for path in (tree / folder).rglob("*")]
    assert [str(path) for path in links if path.is_symlink() and not path.exists()] == []
