"""The command line: arguments -> configuration -> study -> results; only typer is imported at start."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from functools import cache
from typing import Annotated, NoReturn

import typer
from typer.main import get_command

from ale_dask.cli import (
    base_rate,
    before_data,
    exchange,
    fetch,
    findings,
    follow,
    macm,
    moderator,
    null,
    paper,
    run,
    sensitivity,
    study_files,
    update,
)
from ale_dask.cli.messages import printed_messages
from ale_dask.cli.signals import Stopped, stopped_by
from ale_dask.errors import AleError, UnfinishedError

log = logging.getLogger(__name__)
app = typer.Typer(
    name="ale-dask",
    help="Activation likelihood estimation (ALE) meta-analysis on Dask.\n\n"
    "Exit codes: 0 done, 2 usage, 65 bad input, 69 backend or server unreachable, 70 a bug of ours, 74 store "
    "damaged or of another configuration, 75 unfinished (the same command resumes).",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
)

_OF_FILES = {
    "main-effect": run.command_of_files(None, "Compute the ALE of each foci file, without a study.toml."),
    "contrast": run.command_of_files("contrast", "Contrast two foci files in both directions, without a study.toml."),
    "conjunction": run.command_of_files(
        "conjunction", "Compute the conjunction of two or more foci files, without a study.toml."
    ),
    "subsampled": run.command_of_files(
        "subsampled", "Show how often each voxel survives in subsamples, without a study.toml."
    ),
    "balanced-contrast": run.command_of_files(
        "balanced-contrast", "Contrast two foci files in pairs of equally large subsamples."
    ),
    "moderator": moderator.moderator,
}
COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Before the data are seen": {
        "protocol": before_data.protocol,
        "design": before_data.design,
    },
    "From coordinates to a study": {
        "example": study_files.example,
        "new": study_files.new,
        "fetch": fetch.fetch,
        "import-jale": study_files.import_jale,
        "macm": macm.macm,
        "base-rate": base_rate.base_rate,
        "check": study_files.check,
        "describe": study_files.describe,
        "double-extraction": study_files.double_extraction,
    },
    "Run": {
        "doctor": follow.doctor,
        "plan": run.plan,
        "run": run.run,
        "submit": follow.submit,
        "status": follow.status,
        "logs": follow.logs,
        "cancel": follow.cancel,
        "extend": run.extend,
        "update": update.update,
        "sweep": run.sweep,
        "subgroups": run.subgroups,
        "block": run.block,
        "verify": run.verify,
    },
    "What reviewers ask of a finished run": {
        "evidence": sensitivity.evidence,
        "leave-one-out": sensitivity.leave_one_out,
        "fail-safe": sensitivity.fail_safe,
        "power": sensitivity.power,
        "null": null.null,
        "clustering": findings.clustering,
        "decode": findings.decode,
        "compare": exchange.compare,
    },
    "For the paper": {
        "collect": paper.collect,
        "figure": exchange.figure,
        "cite": paper.cite,
        "checklist": paper.checklist,
        "export": exchange.export,
    },
    "Analyses of files of foci, without a study.toml": _OF_FILES,
}
"""Every command by its name, under the heading of the help that it stands below."""
_SETTINGS = {"macm": {"ignore_unknown_options": True}}
"""A sphere may begin with a minus sign, as -22,-4,-18,10."""

for _heading, _commands in COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_heading, context_settings=_SETTINGS.get(_name))(_command)


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


@cache
def _built() -> Callable[[], None]:
    # Typer makes it anew of all commands each time that `app` itself is called.
    return get_command(app)


def main() -> None:
    """Run the command line; errors become one message and the documented exit code."""
    for library in ("OMP", "OPENBLAS", "MKL"):
        # Read when numpy is imported, which no command has done yet. The matrices are small and a block takes one CPU:
        # more threads wait for each other and, on a busy machine, take four times the CPU seconds of one.
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal whose encoding lacks "²" shows \\xb2 instead of an error.
            stream.reconfigure(errors="backslashreplace")
    with printed_messages():
        try:
            _built()()
        except AleError as error:
            _end(str(error), error.exit_code)
        except Stopped as stopped:
            _end(str(stopped), UnfinishedError.exit_code)
        except Exception:
            if signalled := stopped_by():
                _end(str(signalled), UnfinishedError.exit_code)
            traceback.print_exc()
            _end("this is a bug of ours; please report it with the lines above", AleError.exit_code)


def _end(message: str, code: int) -> NoReturn:
    """Say why a command failed, with --json on stdout, too, and end with its exit code."""
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}))
    log.error(f"ale-dask: {message}")
    sys.exit(code)
