"""The messages of the package: logged for programs that import it, printed by the command line."""

from __future__ import annotations

import logging

import pytest

from ale_dask.cli.messages import printed_messages, show_messages


def test_messages_are_printed_by_the_command_line_only(capsys: pytest.CaptureFixture[str]) -> None:
    log, package = logging.getLogger("ale_dask.workflows.run"), logging.getLogger("ale_dask")
    before = package.level
    log.info("not by a program that imports the package")
    with printed_messages():
        log.info("100 % as it is")
        show_messages(quiet=True)
        log.info("not when quiet")
        log.error("but an error")
        show_messages(on_stdout=True)
        log.info("the result itself")
    log.info("not any more")
    assert capsys.readouterr() == ("the result itself\n", "100 % as it is\nbut an error\n")
    assert package.level == before
