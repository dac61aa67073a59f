"""List the columns of the cluster tables: their order, their text, the variables that hold them, and their long names.

A new column is a row of COLUMNS and, in the long table, of LONG_NAMES; unless a variable (cluster) of the result holds
it, tables/clusters.py computes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ale_dask.analyses.corrections import CORRECTIONS
from ale_dask.analyses.findings.atlas import ATLASES

Format = Callable[[float], str]
MAIN, BASE_RATE, CONTRAST, CONJUNCTION = "main", "base-rate", "contrast", "conjunction"
_PREFIX = {MAIN: "cluster_", BASE_RATE: "base_rate_cluster_", CONTRAST: "contrast_cluster_"}
"""Before the name of a variable (cluster) of each table."""


@dataclass(frozen=True)
class Column:
    """A column, the tables that have it, its text format (None: text as it is), and where its values come from.

    `variable` (cluster) holds the values, after the prefix of the table; `counted` is a thresholded map whose surviving
    voxels in a cluster are counted; `needs` is a variable without which a result has no such column.
    """

    name: str
    tables: tuple[str, ...]
    format: Format | None = None
    variable: str = ""
    counted: str = ""
    needs: str = ""


def _mm(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"


def _volume(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


_four_digits, _percent, _three_decimals = "{:.4g}".format, "{:.1f}".format, "{:.3f}".format
_ALL, _FOCI, _TESTED = (MAIN, BASE_RATE, CONTRAST, CONJUNCTION), (MAIN, BASE_RATE), (MAIN, BASE_RATE, CONTRAST)
CENTER = ("Center X", "Center Y", "Center Z")


def _tests(measure: str, suffix: str) -> tuple[Column, ...]:
    """Return the columns of the family-wise p by a measure, its 95 % interval, its bound and its decision."""
    ends = {"FWE": "p", "low": "p_low", "high": "p_high", "bound": "p_bound"}
    p = (Column(f"p {measure} {end}", _TESTED, _four_digits, f"{measure}_{value}") for end, value in ends.items())
    return (*p, Column(f"decision{suffix}", _TESTED, variable=f"{measure}_decision"))


def _against_base_rate(name: str, value: str, format: Format | None = None) -> Column:
    """Return a column of a cluster of the uniform null that was tested against the base rate, too."""
    variable = f"base_rate_{value}"
    return Column(name, (MAIN,), format, variable, needs=f"{_PREFIX[MAIN]}{variable}")


COLUMNS = (
    # The first six are nilearn's.
    Column("Cluster ID", _ALL),
    *(Column(axis, _ALL, _mm) for axis in "XYZ"),
    Column("Peak Stat", _ALL, _three_decimals),
    Column("Cluster Size (mm3)", _ALL, _volume),
    Column("Direction", (CONTRAST,)),
    Column("p", (CONTRAST,), _four_digits),
    Column("p uncorrected", (CONTRAST,), _four_digits),
    Column("Peak Difference", (CONTRAST,), _four_digits),
    Column("Peak ALE", (MAIN, BASE_RATE, CONJUNCTION), _four_digits),
    Column("Cluster Size (voxels)", _ALL, _volume),
    Column("Cluster Mass", (CONTRAST,), _four_digits),
    *_tests("size", ""),
    Column("Cluster Mass", (MAIN, BASE_RATE), _four_digits),
    *_tests("mass", " mass"),
    _against_base_rate("p size base rate", "size_p", _four_digits),
    _against_base_rate("p mass base rate", "mass_p", _four_digits),
    _against_base_rate("p peak base rate", "peak_p", _four_digits),
    _against_base_rate("p TFCE base rate", "tfce_p", _four_digits),
    _against_base_rate("decision base rate", "size_decision"),
    _against_base_rate("decision mass base rate", "mass_decision"),
    _against_base_rate("Share base rate (%)", "share", _percent),
    Column("Voxels FWE", (MAIN,), _volume, counted="z_voxel_fwe"),
    Column("Voxels FDR BH", (MAIN,), _volume, counted="z_fdr_bh"),
    Column("Voxels FDR BY", (MAIN,), _volume, counted="z_fdr_by"),
    *(Column(c.table_column, (MAIN,), _volume, counted=c.uniform.map) for c in CORRECTIONS if c.only_if_asked),
    Column("p peak FWE", (BASE_RATE,), _four_digits, "peak_p"),
    Column("p TFCE FWE", (BASE_RATE,), _four_digits, needs="base_rate_tfce_p"),
    Column("Uniform null", (BASE_RATE,)),
    *(Column(axis, _ALL, _mm) for axis in CENTER),
    Column("Bounds (mm)", _ALL),
    # At the peak, and shares of the cluster's voxels; empty without an atlas.
    *(Column(f"{atlas}{end}", _ALL) for atlas in ATLASES for end in ("", " shares")),
    Column("Experiments", _FOCI, _volume),
    Column("Foci", _FOCI, _volume),
)
FORMATS: dict[str, Format] = {
    **{column.name: column.format for column in COLUMNS if column.format is not None},
    # Columns of the other tables of a study.
    **dict.fromkeys((*"xyz", "nearest_mm", *(f"{axis}_{side}" for side in "12" for axis in "xyz")), _mm),
    **dict.fromkeys(("volume_mm3", "mm3_1", "mm3_2", "mm3_both"), _volume),
    **dict.fromkeys(("Share (%)", "Largest Share (%)", "Least Retained (%)", "Mean Retained (%)", "By (%)"), _percent),
    "ALE": _four_digits,
    "dice": _three_decimals,
}


def columns_of(table: str) -> tuple[Column, ...]:
    """Return the columns of a table in their order."""
    return tuple(column for column in COLUMNS if table in column.tables)


def variables_of(table: str) -> dict[str, str]:
    """Return by column the variables (cluster) of a result that hold the columns of a table."""
    return {column.name: f"{_PREFIX[table]}{column.variable}" for column in columns_of(table) if column.variable}


LONG_NAMES = {
    "cluster": "Cluster ID",
    "x": "X",
    "y": "Y",
    "z": "Z",
    "size_voxels": "Cluster Size (voxels)",
    "size_mm3": "Cluster Size (mm3)",
    "mass": "Cluster Mass",
    "center_x": "Center X",
    "center_y": "Center Y",
    "center_z": "Center Z",
    "cluster_experiments": "Experiments",
    "cluster_foci": "Foci",
    "p_peak": "p",
    "p_size": "p size FWE",
    "p_size_low": "p size low",
    "p_size_high": "p size high",
    "p_size_bound": "p size bound",
    "decision_size": "decision",
    "p_mass": "p mass FWE",
    "p_mass_low": "p mass low",
    "p_mass_high": "p mass high",
    "p_mass_bound": "p mass bound",
    "decision_mass": "decision mass",
    "p_size_base_rate": "p size base rate",
    "p_mass_base_rate": "p mass base rate",
    "p_peak_base_rate": "p peak base rate",
    "p_tfce_base_rate": "p TFCE base rate",
}
"""Columns of the long table, in its order, and the columns of a cluster table that they come from."""
LONG_NAMES_BASE_RATE = {
    "p_size_base_rate": "p size FWE",
    "p_mass_base_rate": "p mass FWE",
    "p_peak_base_rate": "p peak FWE",
    "p_tfce_base_rate": "p TFCE FWE",
}
"""Columns of the long table that come from other columns for a cluster of the base-rate null."""
FIRST_ON_PAGE = (
    "Cluster ID",
    "Direction",
    *"XYZ",
    "Peak Stat",
    "Cluster Size (mm3)",
    "p",
    "p size FWE",
    "decision",
    "p size base rate",
    "decision base rate",
    "Share base rate (%)",
    "Uniform null",
    "AAL",
    "Brodmann Area",
    "Experiments",
    "Foci",
)
"""Columns that the page shows first, in its order."""
FIRST_BY_MASS = {
    "p size FWE": "p mass FWE",
    "p size base rate": "p mass base rate",
    "decision": "decision mass",
    "decision base rate": "decision mass base rate",
}
"""Columns that take the place of others on the page where the correction is by mass."""
