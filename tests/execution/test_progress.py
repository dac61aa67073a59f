"""A notebook shows the progress of a computation as one bar that changes in its place."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from ale_dask.execution.progress import per_second

CELL = """
from ale_dask.execution.executors import Step
from ale_dask.execution.progress import Progress, in_notebook
assert in_notebook()
progress = Progress(200)
progress.end()
progress.last -= 60  # as if the first block had taken a minute
progress(Step("<drug>", 0, 50))
progress.last -= 60
progress(Step("<drug>", 1, 150))
progress.end()
quick = Progress(10)
quick(Step("drug", 0, 10))
quick.end()
"""


@pytest.mark.integration
def test_a_notebook_shows_one_bar_and_none_for_what_is_quickly_done() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=1200, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.output_type == "display_data"
    assert '<progress value="1.0000"' in output.data["text/html"]
    assert "200 iterations in" in output.data["text/html"]
    assert output.data["text/plain"] in output.data["text/html"]


def test_a_slow_rate_is_no_zero() -> None:
    assert [per_second(rate) for rate in (0.0712, 1.5, 12.3, 1234.5)] == [".071/s", "1.5/s", "12/s", "1,234/s"]
