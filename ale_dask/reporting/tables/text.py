"""Write a table as text: rounded numbers, tab-separated columns, cells that are safe in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from io import StringIO
from typing import Any

import pandas as pd

from ale_dask.coordinates.spreadsheet_cells import escaped_cell
from ale_dask.reporting.tables.columns import FORMATS


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table; `to_dict("records")` takes several times as long where columns are many."""
    columns = [str(column) for column in table.columns]
    return [dict(zip(columns, row, strict=True)) for row in _values(table)]


def text_of(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns of a table as text: z to 3 decimals, p to 4 digits, mm to 1 decimal, missing values empty."""
    columns = [str(column) for column in table.columns]
    # "Z" is a coordinate in the table of an analysis and the statistic in the table of a study.
    formats = {**FORMATS, "Z": FORMATS["Peak Stat"]} if "analysis" in columns else FORMATS
    values = zip(*_values(table), strict=True) if len(table) else ((),) * len(columns)
    return {column: _texts(of, formats.get(column)) for column, of in zip(columns, values, strict=True)}


def _values(table: pd.DataFrame) -> list[list[Any]]:
    """Return the values of a table, row by row: all columns at once, which pandas is slow to give one by one."""
    return table.to_numpy(dtype=object).tolist()


def _texts(values: Iterable[Any], number: Callable[[float], str] | None) -> list[str]:
    if number is None:
        return ["" if v is None or v != v else str(v) for v in values]
    return ["" if v is None or v != v else number(float(v)) for v in values]


def formatted(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text, as `text_of` makes it."""
    return pd.DataFrame(text_of(table))


def tsv(table: pd.DataFrame) -> bytes:
    """Return a table as tab-separated UTF-8 text with rounded numbers and texts that are safe in a spreadsheet."""
    text = text_of(table)
    lines = StringIO()
    # DataFrame.to_csv, which writes the same bytes, takes more than twice as long for so few rows of so many columns.
    writer = csv.writer(lines, delimiter="\t", lineterminator="\n")
    for row in (text.keys(), *zip(*text.values(), strict=True)):
        writer.writerow([escaped_cell(cell) for cell in row])
    return lines.getvalue().encode()
