"""Rows of tables in which a blank study or contrast means the same as in the row above, as merged cells give it."""

from __future__ import annotations

from collections.abc import Sequence

from ale_dask.coordinates.decisions import Decision, Tell
from ale_dask.coordinates.readers.columns import AUTHORS, key_of


def year_column(cells: Sequence[str], header: Sequence[str]) -> str | None:
    """Return the column of years of a table whose column of studies holds authors only; else None.

    `cells` are the columns as the table names them, `header` their canonical names.
    """
    studies = [cell for cell, name in zip(cells, header, strict=False) if name == "study"]
    if len(studies) == 1 and key_of(studies[0]) in AUTHORS:
        return next((name for name in header if key_of(name) == "year"), None)
    return None


class BlankCells:
    """Fills the blank study and contrast of a row from the row above.

    A study is always filled. A contrast is filled only below a row of the same study that names one, and not directly
    below a blank row, which begins an experiment without a contrast.
    """

    def __init__(self, header: Sequence[str], *, year: str | None) -> None:
        self.study = header.index("study")
        self.contrast = header.index("contrast") if "contrast" in header else None
        self.study_and_year = [self.study, *([header.index(year)] if year else [])]
        self.above: Sequence[str] | None = None
        self.below_blank_row = False
        self.count = 0

    def filled(self, row: Sequence[str]) -> Sequence[str]:
        """Return the row with its blank study and contrast filled; a row without blank ones is returned itself."""
        contrast = self.contrast
        if row[self.study].strip() and (contrast is None or row[contrast].strip()):
            self.above, self.below_blank_row = row, False
            return row
        if not any(cell.strip() for cell in row):
            self.below_blank_row = True
            return row
        if self.above is None:
            if row[self.study].strip():
                self.above = row
            return row
        filled = list(row)
        if not row[self.study].strip():
            for i in self.study_and_year:
                filled[i] = filled[i] if filled[i].strip() else self.above[i]
        same_study = all(filled[i].strip() == self.above[i].strip() for i in self.study_and_year)
        if contrast is not None and not filled[contrast].strip() and same_study and not self.below_blank_row:
            filled[contrast] = self.above[contrast]
        if filled != list(row):
            self.count += 1
        self.above, self.below_blank_row = filled, False
        return filled

    def tell_filled(self, tell: Tell, *, file: str) -> None:
        if self.count:
            message = (
                f"{self.count:,} row(s) with a blank study or contrast were taken to be of the experiment above; "
                "write the names in every row, or leave a row blank before an experiment without a contrast"
            )
            tell(Decision("blank-cells", file, message, self.count))
