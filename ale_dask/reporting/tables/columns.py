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
MAIN, BASE_RATE, CONTRAST, CONJUNCTION, SHARE = "main", "base-rate", "contrast", "conjunction", "share"
MODERATOR, JOINT = "moderator", "joint"
_PREFIX = {
    MAIN: "cluster_",
    BASE_RATE: "base_rate_cluster_",
    CONTRAST: "contrast_cluster_",
    MODERATOR: "moderator_cluster_",
}
"""Before the name of a variable (cluster) of each table."""


@dataclass(frozen=True)
class Column:
    """A column, the tables that have it, its text format (None: text as it is), and where its values come from.

    `variable` (cluster) holds the values, after the prefix of the table; `counted` is a thresholded map whose surviving
    voxels in a cluster are counted; `needs` is a variable without which a result has no such column. `says` explains
    the column where a pointer rests on its header on the page; `heading` is a shorter name for the page.
    """

    name: str
    tables: tuple[str, ...]
    format: Format | None = None
    variable: str = ""
    counted: str = ""
    needs: str = ""
    says: str = ""
    heading: str = ""


def _mm(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"


def _volume(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


_four_digits, _percent, _three_decimals = "{:.4g}".format, "{:.1f}".format, "{:.3f}".format
_FOCI, _TESTED = (MAIN, BASE_RATE), (MAIN, BASE_RATE, CONTRAST, MODERATOR)
_OF_Z, _PERMUTED = (MAIN, BASE_RATE, CONTRAST, CONJUNCTION, MODERATOR, JOINT), (CONTRAST, MODERATOR)
_ALL = (*_OF_Z, SHARE)
SEED_SHARE = "Share seed (%)"
NETWORKS = "Networks"
CENTER = ("Center X", "Center Y", "Center Z")
SIDES_OF = {"X": "left is negative", "Y": "back is negative", "Z": "below is negative"}
_MASS = "Sum over the cluster of what its voxels have beyond the cluster-forming value."
_ATLAS = {
    "AAL": ("Region", "by AAL2 (Rolls 2015)"),
    "Gyrus": ("Gyrus", "by the Talairach Daemon (Lancaster 2000)"),
    "Brodmann Area": ("Brodmann area", "by the Talairach Daemon; empty where the place is a nucleus"),
    "Nucleus": ("Nucleus", "by the Talairach Daemon; empty where the place is a Brodmann area"),
}


def _tests(measure: str, suffix: str) -> tuple[Column, ...]:
    """Return the columns of the family-wise p by a measure, its 95 % interval, its bound and its decision."""
    p = f"p of the cluster by its {measure}, family-wise"
    says = {
        "FWE": f"{p}: the share of random studies whose largest {measure} is at least as large.",
        "low": f"{p}: lower end of the 95 % interval from the number of iterations.",
        "high": f"{p}: upper end of the 95 % interval from the number of iterations.",
        "bound": f"{p}: the most that it can be at any number of iterations.",
    }
    ends = {"FWE": "p", "low": "p_low", "high": "p_high", "bound": "p_bound"}
    columns = (
        Column(f"p {measure} {end}", _TESTED, _four_digits, f"{measure}_{value}", says=says[end])
        for end, value in ends.items()
    )
    decision = f"Whether the p by {measure} is below the level (significant), above it (not), or undecided so far."
    return (*columns, Column(f"decision{suffix}", _TESTED, variable=f"{measure}_decision", says=decision))


def _against_base_rate(name: str, value: str, says: str, format: Format | None = None) -> Column:
    """Return a column of a cluster of the uniform null that was tested against the base rate, too."""
    variable = f"base_rate_{value}"
    return Column(name, (MAIN,), format, variable, needs=f"{_PREFIX[MAIN]}{variable}", says=says)


def _voxels(name: str, counted: str, by: str) -> Column:
    return Column(name, (MAIN,), _volume, counted=counted, says=f"Voxels of the cluster that survive {by}.")


def _of_atlas(name: str) -> tuple[Column, Column]:
    """Return the column of the region at a peak, and of the shares of a cluster's voxels; empty without an atlas."""
    heading, by = _ATLAS[name]
    at_peak = f"{heading} at the peak {by}. “Near” where the peak has none: the nearest within 5 mm, with its distance."
    shares = f"{heading} of the cluster's voxels {by}, from the largest share down to 5 %."
    return Column(name, _ALL, says=at_peak, heading=heading), Column(f"{name} shares", _ALL, says=shares)


_P = "Family-wise p against the base rate"
_SHARE = "Share of the subsamples in which the peak survives"
_EFFECT = "Mean of the moderator at the peak, weighted by MA, minus its mean, in its own unit"
COLUMNS = (
    # The first six are nilearn's.
    Column("Cluster ID", _ALL, says="Number of the cluster; “1a” is a sub-peak of cluster 1.", heading="Cluster"),
    *(Column(a, _ALL, _mm, says=f"Peak, mm in MNI space: {SIDES_OF[a]}.", heading=a.lower()) for a in "XYZ"),
    Column("Peak Stat", _OF_Z, _three_decimals, says="z at the peak.", heading="Peak z"),
    Column("Peak Share", (SHARE,), _three_decimals, says=f"{_SHARE}.", heading="Share"),
    Column("Share low", (SHARE,), _three_decimals, says=f"{_SHARE}: lower end of its 95 % interval."),
    Column("Share high", (SHARE,), _three_decimals, says=f"{_SHARE}: upper end of its 95 % interval."),
    Column("Cluster Size (mm3)", _ALL, _volume, says="Volume of the cluster in mm³.", heading="mm³"),
    Column(
        SEED_SHARE,
        _OF_Z,
        _percent,
        needs="seed_reach",
        says="Share of the cluster's voxels that foci in the seed reach alone: convergence there is by selection.",
    ),
    Column(
        "Direction",
        (*_PERMUTED, SHARE, JOINT),
        says="The arm in which foci converge more, before “>”; or of the moderator.",
    ),
    Column("Pair", (MODERATOR,), needs="pair", says="The two levels that differ most at the peak, the greater first."),
    Column(
        "p", (*_PERMUTED, JOINT), _four_digits, says="p of the cluster where clusters are tested, else of the peak."
    ),
    Column(
        "p uncorrected",
        (*_PERMUTED, JOINT),
        _four_digits,
        says="p of the peak, not corrected for multiple comparisons.",
    ),
    Column(
        "Peak Difference",
        (CONTRAST, JOINT),
        _four_digits,
        says="ALE of the first arm minus the second at the peak; of several contrasts the smallest.",
    ),
    Column("Peak T", (MODERATOR,), _four_digits, says="T over its permutation standard deviation at the peak."),
    Column("Effect", (MODERATOR,), _four_digits, needs="effect", says=f"{_EFFECT}."),
    Column("Effect low", (MODERATOR,), _four_digits, needs="effect", says=f"{_EFFECT}: lower end of its interval."),
    Column("Effect high", (MODERATOR,), _four_digits, needs="effect", says=f"{_EFFECT}: upper end of its interval."),
    Column("Peak ALE", (MAIN, BASE_RATE, CONJUNCTION), _four_digits, says="ALE at the peak."),
    Column("Cluster Size (voxels)", _ALL, _volume, says="Number of voxels of the cluster.", heading="Voxels"),
    Column("Cluster Mass", _PERMUTED, _four_digits, says=_MASS),
    *_tests("size", ""),
    Column("Cluster Mass", (MAIN, BASE_RATE), _four_digits, says=_MASS),
    *_tests("mass", " mass"),
    _against_base_rate("p size base rate", "size_p", f"{_P}, by size.", _four_digits),
    _against_base_rate("p mass base rate", "mass_p", f"{_P}, by mass.", _four_digits),
    _against_base_rate("p peak base rate", "peak_p", f"{_P}, of the largest z.", _four_digits),
    _against_base_rate("p TFCE base rate", "tfce_p", f"{_P}, by TFCE.", _four_digits),
    _against_base_rate("decision base rate", "size_decision", "Decision on the p by size against the base rate."),
    _against_base_rate("decision mass base rate", "mass_decision", "Decision on the p by mass against the base rate."),
    _against_base_rate(
        "Share base rate (%)", "share", "Share of the cluster's voxels that survive against the base rate.", _percent
    ),
    _voxels("Voxels FWE", "z_voxel_fwe", "voxel FWE"),
    _voxels("Voxels FDR BH", "z_fdr_bh", "the FDR of Benjamini and Hochberg"),
    _voxels("Voxels FDR BY", "z_fdr_by", "the FDR of Benjamini and Yekutieli"),
    *(_voxels(c.table_column, c.uniform.map, c.label) for c in CORRECTIONS if c.only_if_asked),
    Column("p peak FWE", (BASE_RATE,), _four_digits, "peak_p", says=f"{_P}, of the largest z."),
    Column("p TFCE FWE", (BASE_RATE,), _four_digits, needs="base_rate_tfce_p", says=f"{_P}, by TFCE."),
    Column("Uniform null", (BASE_RATE,), says="Whether the uniform null finds a cluster here, too."),
    *(Column(c, _ALL, _mm, says="Centre of the cluster, weighted by its values, mm in MNI space.") for c in CENTER),
    Column("Bounds (mm)", _ALL, says="Least and largest x, y and z of the cluster's voxels."),
    *(column for atlas in ATLASES for column in _of_atlas(atlas)),
    Column(
        NETWORKS,
        _ALL,
        needs="network_of_voxel",
        says="Networks of the cluster's voxels in the label image of the settings, from the largest share down to 5 %.",
    ),
    Column("Experiments", _FOCI, _volume, says="Experiments with a focus inside the cluster."),
    Column("Foci", _FOCI, _volume, says="Foci inside the cluster."),
)
FORMATS: dict[str, Format] = {
    **{column.name: column.format for column in COLUMNS if column.format is not None},
    # Columns of the other tables of a study.
    **dict.fromkeys((*"xyz", "nearest_mm", *(f"{axis}_{side}" for side in "12" for axis in "xyz")), _mm),
    **dict.fromkeys(("volume_mm3", "mm3_1", "mm3_2", "mm3_both"), _volume),
    **dict.fromkeys(("Share (%)", "Largest Share (%)", "Least Retained (%)", "Mean Retained (%)", "By (%)"), _percent),
    "ALE": _four_digits,
    "share": _three_decimals,
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
MOST_FIRST = 10
"""Columns that the page shows before a reader asks for all."""
FIRST_ON_PAGE = (
    "Cluster ID",
    "Direction",
    "AAL",
    *"XYZ",
    "Peak Stat",
    "Peak Share",
    "Share low",
    "Share high",
    "Cluster Size (mm3)",
    NETWORKS,
    SEED_SHARE,
    "p",
    "p size FWE",
    "p size base rate",
    "Uniform null",
    "Experiments",
    "decision",
    "Peak ALE",
    "Brodmann Area",
    "Nucleus",
    "Peak Difference",
    "Peak T",
    "Effect",
    "Pair",
)
"""Columns of clusters of which the page shows the first ten that a table has, in this order."""
FIRST_BY_MASS = {
    "p size FWE": "p mass FWE",
    "p size base rate": "p mass base rate",
    "decision": "decision mass",
    "decision base rate": "decision mass base rate",
}
"""Columns that take the place of others on the page where the correction is by mass."""
