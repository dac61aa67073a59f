"""The committed notebooks: run from top to bottom, marked as simulated, small, and without a trace of a machine."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

LESS = {
    "04_sweep": {
        "iterations = 500": "iterations = 60",
        "voxel_p = [0.01, 0.001, 0.0001]": "voxel_p = [0.01, 0.001]",
        '["SSRI", "SNRI", "*"]': '["SSRI", "*"]',
        "seed = [1, 2]": "seed = [1]",
    },
    "05_sensitivity": {
        '"iterations": 1000': '"iterations": 100',
        "most=150, series=10, iterations=200": "most=6, series=2, iterations=40",
        "simulations=200": "simulations=20",
        '("recommended", "gingerale", "nimare", "matlab", "jale")': '("recommended", "nimare")',
        "size=17, subsamples=8": "size=17, subsamples=2",
    },
    "06_base_rate": {'"iterations": 1000': '"iterations": 60'},
    "07_literature": {"iterations=200": "iterations=40", "range(300)": "range(120)"},
}
"""What the notebooks that take longest compute less of here; scripts/test --slow runs them as they are."""
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("notebooks")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_the_readme_lists_each_of_them():
    readme = (NOTEBOOKS[0].parent / "README.md").read_text()
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03", "04", "05", "06", "07"]
    assert all(f"]({path.name})" in readme for path in NOTEBOOKS)


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem != "03_cluster"], ids=lambda path: path.stem)
def test_outputs_are_those_of_one_run_from_top_to_bottom(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {kind for cell in code for output in cell.outputs for kind in output.get("data", {})}
    assert {"image/png", "text/html"} <= kinds


@pytest.mark.parametrize("name", LESS)
def test_the_longest_run_on_less(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    cells = nbformat.read(NOTEBOOKS[0].parent / f"{name}.ipynb", as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for much, less in LESS[name].items():
        assert code.count(much) == 1
        code = code.replace(much, less)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {})
    plt.close("all")


def test_nothing_is_in_them_that_should_not_be(notebook, script):
    assert script.problems(notebook) == []
    assert all(not cell.metadata for cell in notebook.cells)
    assert "Simulated data" in notebook.cells[0].source


@pytest.mark.parametrize(
    ("output", "word"),
    [
        (nbformat.v4.new_output("stream", name="stdout", text="/home/someone/report"), "a path"),
        (nbformat.v4.new_output("stream", name="stderr", text="a warning"), "a warning"),
        (nbformat.v4.new_output("error", ename="E", evalue="it broke", traceback=[]), "it broke"),
        (nbformat.v4.new_output("stream", name="stdout", text="x" * 500_000), "bytes"),
    ],
)
def test_the_script_sees_what_should_not_be(script, output, word):
    cell = nbformat.v4.new_code_cell("1", outputs=[output])
    (found,) = script.problems(nbformat.v4.new_notebook(cells=[cell]))
    assert word in found


def test_what_is_printed_in_parts_is_kept_whole(script):
    parts = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("one\n", "two\n")]
    table = nbformat.v4.new_output("display_data", data={"text/plain": "a table"})
    (first, second, third) = script.joined([*parts, table, parts[1]])
    assert (first.text, second, third.text) == ("one\ntwo\n", table, "two\n")


def test_a_bar_of_progress_is_not_kept(script):
    bar = nbformat.v4.new_output("display_data", data={"text/plain": "1 s", "text/html": '<progress value="1">'})
    table = nbformat.v4.new_output("display_data", data={"text/plain": "a table", "text/html": "<table>"})
    cell = nbformat.v4.new_code_cell("1", outputs=[bar, table])
    assert script.cleaned(nbformat.v4.new_notebook(cells=[cell])).cells[0].outputs == [table]
