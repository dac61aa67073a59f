"""Print the messages of the package, and what is said of the input of a study."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ale_dask.config.study import Study
    from ale_dask.workflows.notices import Notices

log = logging.getLogger(__name__)


class _Terminal(logging.Handler):
    """Prints every message of the package as it is, on standard error or, if a command asks for it, standard output."""

    on_stdout = False

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stdout if self.on_stdout else sys.stderr, flush=True)


_TERMINAL = _Terminal()
_PACKAGE = logging.getLogger("ale_dask")


@contextmanager
def printed_messages() -> Iterator[None]:
    """Print the messages of the package inside the context; a program that imports it configures logging itself."""
    level = _PACKAGE.level
    _PACKAGE.addHandler(_TERMINAL)
    show_messages()
    try:
        yield
    finally:
        _PACKAGE.removeHandler(_TERMINAL)
        _PACKAGE.setLevel(level)


def show_messages(*, quiet: bool = False, on_stdout: bool = False) -> None:
    """Print, from now on, warnings and errors only or all messages, on standard error or standard output."""
    _PACKAGE.setLevel(logging.WARNING if quiet else logging.INFO)
    _TERMINAL.on_stdout = on_stdout


def tell_input(study: Study, *, verbose: bool = False) -> list[Notices]:
    """Print the decisions and warnings about the input of a study, and return them."""
    from ale_dask.workflows.notices import notice_lines, study_notices

    notices = study_notices(study)
    for line in notice_lines(notices, verbose=verbose):
        log.info(line)
    return notices
