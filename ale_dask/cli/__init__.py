"""The command line: arguments -> configuration -> study -> results. Imports only typer at start."""

from __future__ import annotations

import io
import sys
import traceback
from typing import Annotated

import typer

from ale_dask.cli import counting, fetching, following, handing, looking, robust, running
from ale_dask.cli.options import Stopped, say
from ale_dask.words.errors import AleError, UnfinishedError

app = typer.Typer(
    name="ale-dask",
    help="Activation likelihood estimation (ALE) meta-analysis on Dask.\n\n"
    "Exit codes: 0 done, 2 usage, 65 bad input, 69 backend or server unreachable, 70 a bug of ours, 74 store "
    "damaged or of another configuration, 75 unfinished (the same command resumes).",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

for command in (
    looking.example,
    fetching.fetch,
    looking.import_jale,
    looking.check,
    looking.describe,
    looking.plan,
    running.run,
    following.submit,
    following.status,
    following.cancel,
    following.logs,
    following.doctor,
    looking.collect,
    looking.cite,
    handing.compare,
    handing.export,
    running.extend,
    running.sweep,
    running.subgroups,
    running.verify,
    running.block,
):
    app.command()(command)
app.command("base-rate")(counting.base_rate)
app.command("leave-one-out")(running.leave_one_out)
app.command("fail-safe")(robust.fail_safe)
app.command()(robust.power)
app.command("main-effect")(running.of_foci(None, "ALE of each foci file, without a study.toml."))
app.command("contrast")(
    running.of_foci("contrast", "First foci file against the second, both directions, without a study.toml.")
)
app.command("conjunction")(running.of_foci("conjunction", "Where all foci files agree, without a study.toml."))


def _version(wanted: bool) -> None:
    if wanted:
        from ale_dask.words.version import __version__

        print(f"ale-dask {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; errors become one message and the documented exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that has no "²" shows \\xb2 and the command goes on.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except AleError as error:
        say(f"ale-dask: {error}")
        sys.exit(error.exit_code)
    except Stopped as stopped:
        say(f"ale-dask: {stopped}")
        sys.exit(UnfinishedError.exit_code)
    except Exception:
        traceback.print_exc()
        say("ale-dask: this is a bug of ours; please report it with the lines above")
        sys.exit(70)
