"""Rows of tables whose blank cells mean "as above", as people leave them and merged cells give them."""

from __future__ import annotations

from collections.abc import Sequence

from ale_dask.coordinates.decisions import Decision, Tell
from ale_dask.coordinates.readers.columns import AUTHORS, key_of


def named_by_authors(cells: Sequence[str], header: Sequence[str]) -> str | None:
    """Return the name of the column of years, where a table names its studies by their authors; else None."""
    studies = [cell for cell, name in zip(cells, header, strict=False) if name == "study"]
    if len(studies) == 1 and key_of(studies[0]) in AUTHORS:
        return next((name for name in header if key_of(name) == "year"), None)
    return None


class Above:
    """Fills the study and the contrast of rows that leave them blank from the row above.

    A study is always filled. A contrast is filled only below a row of the same study that names one, and never below
    a row that is all blank: what stands there is an experiment without a contrast.
    """

    def __init__(self, header: Sequence[str], *, authors: str | None) -> None:
        self.study = header.index("study")
        self.contrast = header.index("contrast") if "contrast" in header else None
        self.of_study = [self.study, *([header.index(authors)] if authors else [])]
        self.before: Sequence[str] | None = None
        self.broken = False
        self.count = 0

    def filled(self, row: Sequence[str]) -> Sequence[str]:
        """Return the row with its blank study and contrast as above, and a row without a blank one as it is."""
        contrast = self.contrast
        if row[self.study].strip() and (contrast is None or row[contrast].strip()):
            self.before, self.broken = row, False
            return row
        if not any(cell.strip() for cell in row):
            self.broken = True
            return row
        if self.before is None:
            if row[self.study].strip():
                self.before = row
            return row
        made = list(row)
        if not row[self.study].strip():
            for i in self.of_study:
                made[i] = made[i] if made[i].strip() else self.before[i]
        same = all(made[i].strip() == self.before[i].strip() for i in self.of_study)
        if contrast is not None and not made[contrast].strip() and same and not self.broken:
            made[contrast] = self.before[contrast]
        if made != list(row):
            self.count += 1
        self.before, self.broken = made, False
        return made

    def tell_filled(self, tell: Tell, *, file: str) -> None:
        """Say how many rows were filled, where any were."""
        if self.count:
            tell(
                Decision(
                    "blank-cells",
                    file,
                    f"{self.count:,} row(s) with a blank study or contrast were taken to be of the experiment above; "
                    "write the names in every row, or leave a row blank before an experiment without a contrast",
                    self.count,
                )
            )
