"""Table 1 of a paper: a column per sample, a row per count, number and category, and the p of each comparison."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from ale_dask.coordinates.describe import PICKED_BY, describe

_COUNTS = {"studies": "Studies", "experiments": "Experiments", "subjects": "Subjects", "foci": "Foci"}
_LABELS = {"n": "Subjects per experiment", "foci": "Foci per experiment"}
Cells = Mapping[tuple[str, str, str, str], float]
"""Values of a description by sample, column, category and statistic."""


def table_one(
    foci: xr.Dataset | Mapping[str, xr.Dataset], *, contrasts: Mapping[str, tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Return the first table of a paper: what the samples are made of, side by side, as text.

    Parameters
    ----------
    foci
        A foci Dataset as `read_foci` returns it, or several by name.
    contrasts
        The names of the two samples of each comparison, by its own name; by default each pair, "A-vs-B".

    Returns
    -------
    pandas.DataFrame
        A column per sample and a column "p NAME" per comparison. Rows: numbers of studies, experiments, subjects and
        foci; of each column of numbers the median with the quartiles, and the range; of each column of words the
        number of experiments in each category, with its share of all experiments of the sample.

    Notes
    -----
    p is that of `describe`: Mann-Whitney for numbers, Fisher's exact test or chi-squared for categories. Several
    comparisons are not corrected for their number. Where `select` picked the two samples by a column, they differ in it
    by definition, so that it has no p.

    Examples
    --------
    >>> first = ale.table_one({"drug": ale.read_foci("drug.txt"), "therapy": ale.read_foci("therapy.txt")})
    >>> first.columns.tolist()
    ['', 'drug', 'therapy', 'p drug-vs-therapy']
    >>> first[""].tolist()[:4]
    ['Studies', 'Experiments', 'Subjects', 'Foci']
    """
    named = {"All": foci} if isinstance(foci, xr.Dataset) else dict(foci)
    found = describe(named, contrasts=contrasts)
    compared = [name for name in found["sample"].unique() if name not in named]
    keys = found[["sample", "column", "category", "statistic"]].itertuples(index=False, name=None)
    cells: Cells = dict(zip(keys, found["value"].tolist(), strict=True))
    rows = [
        {"": label, **{name: f"{cells[name, '', '', what]:,.0f}" for name in named}} for what, label in _COUNTS.items()
    ]
    for column in dict.fromkeys(found["column"]):
        if column:
            rows += _rows(column, list(named), compared, cells)
    header = ["", *named, *(f"p {name}" for name in compared)]
    return pd.DataFrame(rows, columns=header).fillna("").astype(str)


def _rows(column: str, samples: list[str], compared: list[str], cells: Cells) -> list[dict[str, str]]:
    """Return the rows of one column: two of numbers, or one per category; the first has the p of each comparison."""
    label = _LABELS.get(column, column)
    if any((name, column, "", "median") in cells for name in samples):
        rows = [
            {"": f"{label}, median (quartiles)", **{name: _median(name, column, cells) for name in samples}},
            {"": f"{label}, range", **{name: _range(name, column, cells) for name in samples}},
        ]
    else:
        listed = sorted({key[2] for key in cells if key[0] in samples and key[1] == column and key[2]})
        rows = [{"": f"{label}: {c}", **{name: _share(name, column, c, cells) for name in samples}} for c in listed]
    for name in compared if rows else ():
        p = [value for key, value in cells.items() if key[:2] == (name, column) and key[3].startswith("p ")]
        rows[0] |= {f"p {name}": _p(p[0])} if p else {}
        rows[0] |= {f"p {name}": PICKED_BY} if (name, column, "", PICKED_BY) in cells else {}
    return rows


def _median(name: str, column: str, cells: Cells) -> str:
    if (name, column, "", "median") not in cells:
        return "not known"
    median, low, high = (cells[name, column, "", s] for s in ("median", "lower quartile", "upper quartile"))
    missing = cells[name, "", "", "experiments"] - cells[name, column, "", "experiments with a value"]
    return f"{median:g} ({low:g}–{high:g})" + (f"; {missing:.0f} not known" if missing else "")


def _range(name: str, column: str, cells: Cells) -> str:
    if (name, column, "", "median") not in cells:
        return ""
    return f"{cells[name, column, '', 'minimum']:g}–{cells[name, column, '', 'maximum']:g}"


def _share(name: str, column: str, category: str, cells: Cells) -> str:
    if not any(key[:2] == (name, column) and key[3] == "experiments" and key[2] and cells[key] for key in cells):
        return "not known"
    number = cells.get((name, column, category, "experiments"), 0.0)
    return f"{number:.0f} ({number / cells[name, '', '', 'experiments']:.0%})"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
