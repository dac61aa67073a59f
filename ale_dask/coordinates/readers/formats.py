"""The formats of foci that can be read. A new format is a module with `recognises` and `read`, and a row here."""

from __future__ import annotations

import re

from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers import images, nimads, nimare, other_documents, sdm, sleuth, table, workbook
from ale_dask.coordinates.readers.columns import REQUIRED
from ale_dask.coordinates.readers.foci_file import FociFile, Reader
from ale_dask.coordinates.readers.text import shown
from ale_dask.errors import InputError

READERS: tuple[Reader, ...] = (images, workbook, other_documents, nimare, nimads, sdm, table, sleuth)
"""The readers in the order in which they are asked: the first that recognises a file reads it.

Images come first, because of a gzipped image only the header is unpacked; RTF begins as JSON does.
"""


def read(file: FociFile) -> tuple[Experiment, ...]:
    """Return the experiments of a file in any format of `READERS`.

    Raises
    ------
    InputError
        for a file of no known format, and whatever its reader cannot read.
    """
    for reader in READERS:
        if reader.recognises(file):
            return reader.read(file)
    number, first = file.first_line
    if not first:
        raise InputError(f"{file.name}:{number}: no foci, the file is empty; give Sleuth text or a table")
    raise InputError(
        f"{file.name}:{number}: found {shown(first)}, neither Sleuth text (its lines of names begin with //) "
        f"nor the header of a table ({', '.join(REQUIRED)}){_advice_on_header(first)}"
    )


def _advice_on_header(line: str) -> str:
    """Return the advice to write a header where a first line holds three numbers, "" for other lines."""
    numbers = re.findall(r"(?<![\w.])[+-]?\d+(?:[.,]\d+)?(?![\w.])", line)
    if len(numbers) < 3:
        return ""
    return "; if these are rows of a table, write a first line that names its columns, such as study,n,space,x,y,z"
