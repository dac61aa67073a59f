"""Cells of tables, escaped so that no spreadsheet computes them as formulas.

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
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")


def escaped_cell(value: Any) -> Any:
    """Return the value of a cell, with an apostrophe before a text that a spreadsheet would compute."""
    if not isinstance(value, str) or not _FORMULA.match(value) or _NUMBERS.fullmatch(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def plain_cell(text: str) -> str:
    """Return the text that `escaped_cell` had escaped."""
    return text[1:] if _ESCAPED.match(text) else text


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with escaped texts and column names; numbers are unchanged."""
    renamed = table.rename(columns=escaped_cell)
    columns = [
        column if pd.api.types.is_numeric_dtype(column) else column.map(escaped_cell) for _, column in renamed.items()
    ]
    return pd.concat(columns, axis=1) if columns else renamed
