"""Text cells of tables that no spreadsheet takes for a formula.

A text that begins with = + - @, a tab or a carriage return, and is no number or list of numbers, gets an apostrophe
before it; so does one that begins with apostrophes and then such a character, so that reading takes away exactly one.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBERS = re.compile(r"[+-][\d .,;–-]*")
"""A sign alone, and several numbers in one cell: "-44, 12, 6"."""
_KEPT = re.compile(r"'+[=+\-@\t\r]")


def escaped_cell(value: Any) -> Any:
    """Return a value of a table's cell: a text that a spreadsheet would compute with an apostrophe before it."""
    if not isinstance(value, str) or not _FORMULA.match(value) or _NUMBERS.fullmatch(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def plain_cell(text: str) -> str:
    """Return the text that `escaped_cell` had been given."""
    return text[1:] if _KEPT.match(text) else text


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts and column names no spreadsheet computes; numbers are as they were."""
    found = table.rename(columns=escaped_cell)
    texts = [i for i, kind in enumerate(table.dtypes) if not pd.api.types.is_numeric_dtype(kind)]
    columns = [found.iloc[:, i].map(escaped_cell) if i in texts else found.iloc[:, i] for i in range(found.shape[1])]
    return pd.concat(columns, axis=1) if columns else found
