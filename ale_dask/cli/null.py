"""The command that tests a statistic of a whole map on the null of a finished run: null."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ale_dask.cli.messages import show_messages
from ale_dask.cli.options import Backend, DryRun, Json, Quiet, Stored, Workers
from ale_dask.cli.signals import stop_on_signals
from ale_dask.cli.studies import with_settings

if TYPE_CHECKING:
    import xarray as xr

log = logging.getLogger(__name__)


Analysis = Annotated[str | None, typer.Argument(help="Name of a main effect; may be left out where there is one.")]
StatisticName = Annotated[
    str,
    typer.Option(
        "--statistic",
        help="networks, regions, laterality, correlation, dice, or FILE.py:FUNCTION, a function of your own.",
    ),
]
Image = Annotated[
    str | None,
    typer.Option(
        "--image",
        help="Image that it takes: a file, yeo7, yeo17, schaefer100 … 1000, AAL, or for dice a main effect.",
    ),
]
Iterations = Annotated[
    int | None, typer.Option("-i", "--iterations", min=1, help="Iterations, by default those of the run.")
]
Arguments = Annotated[
    list[str] | None,
    typer.Option("--argument", metavar="NAME=VALUE", help="Argument of your function; may be given repeatedly."),
]
Share = Annotated[
    int | None, typer.Option("--share", min=0, help="Only compute this share of the blocks, from 0; with --of.")
]
Shares = Annotated[int | None, typer.Option("--of", min=1, help="Number of shares, as tasks of a job array.")]


def null(
    out: Stored,
    analysis: Analysis = None,
    statistic: StatisticName = "networks",
    image: Image = None,
    which: Annotated[
        str | None, typer.Option("--null", help="Null: uniform, base-rate or both; by default that of the run.")
    ] = None,
    iterations: Iterations = None,
    tail: Annotated[str | None, typer.Option("--tail", help="Tail: upper, lower or two-sided.")] = None,
    argument: Arguments = None,
    share: Share = None,
    of: Shares = None,
    backend: Backend = None,
    workers: Workers = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Test a number of the whole map, such as the mean of each network, on the same random maps as the clusters.

    Such as the mean z of each network, or a function of your own of a map Dataset. Blocks are kept in OUT, and the same
    command resumes; OUT/NAME/NAME_null-….tsv, .json and .svg are written.
    """
    from ale_dask.execution.backends.connect import cpu_count
    from ale_dask.storage.location import place
    from ale_dask.workflows.null import plan_null
    from ale_dask.workflows.null_runs import Options, compute_null, null_share
    from ale_dask.workflows.run_directory import stored_study

    if (share is None) != (of is None):
        raise typer.BadParameter("--share and --of belong together: --share K --of N")
    stop_on_signals()
    show_messages(quiet=quiet)
    settings = with_settings(stored_study(place(out)), backend=backend, workers=workers).backend
    asked = {"analysis": analysis, "null": which, "iterations": iterations, "tail": tail}
    options = Options.of({**asked, "backend": settings, "quiet": quiet})
    planned = plan_null(out, statistic, image=image, arguments=_arguments(argument or []), options=options)
    show_messages(quiet=quiet and not dry_run)
    if dry_run or not quiet:
        for line in planned.lines(workers=of or settings.most or cpu_count()):
            log.info(line)
    if dry_run:
        return
    if share is not None and of is not None:
        print(f"{null_share(planned, index=share, shares=of)} blocks computed")
        return
    _print_test(compute_null(planned), out, as_json=as_json)


def _print_test(test: xr.Dataset, out: str, *, as_json: bool) -> None:
    from ale_dask.reporting.sensitivity.null_statistic import null_lines, null_table

    if as_json:
        rows = json.loads(null_table(test).to_json(orient="records"))
        print(json.dumps({"out": out, "analysis": test.attrs["name"], "numbers": rows}))
        return
    for line in null_lines(test):
        print(line)
    log.info(f"`ale-dask collect {out}` puts it into report.html")


def _arguments(pairs: list[str]) -> dict[str, Any]:
    """Return the arguments of NAME=VALUE, whose values are JSON or, where they are none, text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name.isidentifier():
            raise typer.BadParameter(f"--argument: '{pair}' is not NAME=VALUE, such as radius=8")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
