"""The command line: arguments -> configuration -> study -> results; only typer is imported at start."""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from ale_dask.cli import base_rate, exchange, fetch, follow, inspect, macm, moderator, null, run, sensitivity, update
from ale_dask.cli.options import Stopped, printed_messages
from ale_dask.errors import AleError, UnfinishedError

log = logging.getLogger(__name__)
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
    inspect.example,
    inspect.new,
    fetch.fetch,
    inspect.import_jale,
    inspect.check,
    inspect.describe,
    inspect.double_extraction,
    inspect.plan,
    inspect.protocol,
    run.run,
    follow.submit,
    follow.status,
    follow.cancel,
    follow.logs,
    follow.doctor,
    inspect.collect,
    inspect.cite,
    inspect.checklist,
    exchange.compare,
    exchange.export,
    exchange.figure,
    run.extend,
    run.sweep,
    run.subgroups,
    run.verify,
    run.block,
):
    app.command()(command)
app.command("base-rate")(base_rate.base_rate)
# A sphere may begin with a minus sign, as -22,-4,-18,10.
app.command("macm", context_settings={"ignore_unknown_options": True})(macm.macm)
app.command()(update.update)
app.command("leave-one-out")(sensitivity.leave_one_out)
app.command("fail-safe")(sensitivity.fail_safe)
app.command()(sensitivity.power)
app.command()(sensitivity.clustering)
app.command()(sensitivity.design)
app.command()(sensitivity.decode)
app.command()(null.null)
app.command()(sensitivity.evidence)
app.command("main-effect")(run.command_of_files(None, "Compute the ALE of each foci file, without a study.toml."))
app.command("contrast")(
    run.command_of_files("contrast", "Contrast two foci files in both directions, without a study.toml.")
)
app.command("conjunction")(
    run.command_of_files("conjunction", "Compute the conjunction of two or more foci files, without a study.toml.")
)
app.command("subsampled")(
    run.command_of_files("subsampled", "Show how often each voxel survives in subsamples, without a study.toml.")
)
app.command("balanced-contrast")(
    run.command_of_files("balanced-contrast", "Contrast two foci files in pairs of equally large subsamples.")
)
app.command()(moderator.moderator)


def _version(wanted: bool) -> None:
    if wanted:
        from ale_dask.version import __version__

        print(f"ale-dask {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Accept the options that stand before a command."""


def main() -> None:
    """Run the command line; errors become one message and the documented exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal whose encoding lacks "²" shows \\xb2 instead of an error.
            stream.reconfigure(errors="backslashreplace")
    with printed_messages():
        try:
            app()
        except AleError as error:
            _end(str(error), error.exit_code)
        except Stopped as stopped:
            _end(str(stopped), UnfinishedError.exit_code)
        except Exception:
            traceback.print_exc()
            _end("this is a bug of ours; please report it with the lines above", AleError.exit_code)


def _end(message: str, code: int) -> NoReturn:
    """Say why a command failed, with --json on stdout, too, and end with its exit code."""
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}))
    log.error(f"ale-dask: {message}")
    sys.exit(code)
