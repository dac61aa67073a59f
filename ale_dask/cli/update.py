"""The command that adds experiments to a living meta-analysis: update."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from ale_dask.cli.options import After, Out, Pictures, Quiet, RunOptions


def update(
    before: Annotated[str, typer.Argument(metavar="OUT", help="Run of the look before; at the first look study.toml.")],
    out: Out,
    new: Annotated[list[Path] | None, typer.Argument(metavar="NEW…", help="Files with the new experiments.")] = None,
    sample: Annotated[str | None, typer.Option("--sample", help="Sample that the new experiments belong to.")] = None,
    planned: Annotated[
        int | None, typer.Option("--planned", min=2, help="Number of experiments at which updates are planned to end.")
    ] = None,
    alpha: Annotated[float | None, typer.Option("--alpha", help="Family-wise error over all looks (0.05).")] = None,
    spending: Annotated[str | None, typer.Option("--spending", help="obrien-fleming (default) or pocock.")] = None,
    increments: Annotated[
        str | None, typer.Option("--increments", help="How looks depend on each other: any (default) or independent.")
    ] = None,
    quiet: Quiet = False,
    pictures: Pictures = True,
    after: After = None,
) -> None:
    """Run a study again with new experiments, as one more look, and say which clusters appear, grow or disappear.

    The run of the look before stays as it is. The first look plans the others: `update study.toml -o OUT --planned N`.
    """
    from ale_dask.cli.run import run_study
    from ale_dask.workflows.update import change_lines, changes_since, plan_update

    plan = {"planned": planned, "alpha": alpha, "spending": spending, "increments": increments}
    with ExitStack() as stack:
        study, notes = plan_update(before, *(new or ()), out=out, sample=sample, stack=stack, **plan)
        for note in notes:
            print(f"  note: {note}")
        run_study(study, out, RunOptions(quiet=quiet, pictures=pictures, after=after))
    comparison = changes_since(before, out)
    for line in [] if comparison is None else change_lines(comparison):
        print(line)
