"""Explain the headers of the page's tables, and say which columns of tables other than those of clusters come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ale_dask.config.inference import PROFILES
from ale_dask.reporting.tables.columns import COLUMNS, FIRST_BY_MASS, FIRST_ON_PAGE, MOST_FIRST

_FIRST = {
    "N_low": ("cluster", "noise_in", *"xyz", "volume_mm3", "N", "least", "reached", "share_at_least"),
    "volume_mm3": ("analysis", "direction", "level", "input", "cluster", *"xyz", "volume_mm3", "p"),
    "map_1": ("map_1", "map_2", "mm3_1", "mm3_2", "mm3_both", "dice", "nearest_mm", "x_1", "y_1", "z_1"),
    "Depends On": ("Analysis", "Direction", "Region", *"XYZ", "Cluster Size (mm3)", "Survives", "Cells", "Depends On"),
    "shift_mm": ("analysis", "level", "change", "x_1", "y_1", "z_1", "mm3_1", "mm3_2", "dice", "shift_mm"),
}
"""The first columns of a table by a column that no table further down has."""
_SAYS = {
    **{column.name: column.says for column in reversed(COLUMNS)},
    **dict.fromkeys("xyz", "Peak, mm in MNI space."),
    **{f"{axis}_{side}": f"Nearest peak of map {side}, mm in MNI space." for axis in "xyz" for side in "12"},
    **{f"map_{side}": f"Analysis and, of a contrast, direction of map {side}." for side in "12"},
    **{f"kind_{side}": f"Kind of analysis of map {side}." for side in "12"},
    **{f"voxels_{side}": f"Voxels of map {side} that survive." for side in "12"},
    **{f"mm3_{side}": f"Volume in mm³ of map {side} that survives." for side in "12"},
    "voxels_both": "Voxels that survive in both maps.",
    "mm3_both": "Volume in mm³ that survives in both maps.",
    "dice": "Twice the voxels in both, divided by the voxels of each: 1 for equal maps, 0 for none in common.",
    "nearest_mm": "Distance in mm between the two nearest peaks.",
    "analysis": "Name of the analysis in study.toml.",
    "kind": "Kind of the analysis.",
    "input": "Which maps of the main effects a contrast or conjunction is made of.",
    "level": "The threshold; what it controls stands with the analysis.",
    "direction": "The arm in which foci converge more, before “>”; both names of a conjunction.",
    "cluster": "Number of the cluster in the table of its analysis.",
    "volume_mm3": "Volume of the cluster in mm³.",
    "Z": "z at the peak, without a sign.",
    "ALE": "ALE at the peak.",
    "share": "Share of the subsamples in which the peak survives.",
    "Arm": "The main effect that the experiment belongs to.",
    "Experiment": "Name of the experiment, as its file has it.",
    "Subjects": "Number of subjects.",
    "Share (%)": "Share of the arm's ALE in the cluster; all its experiments together have 100 %.",
    "Largest Share (%)": "Share of the ALE in the voxel where it is largest.",
    "Note": "“more than half” marks an experiment without which most of the cluster's ALE would be gone.",
    "n imputed": "Whether the number of subjects was missing and filled in.",
    "Converted from": "The space that the coordinates were reported in, where it is not MNI.",
    "Pooled from": "The experiments of the same subjects whose foci were pooled.",
    "Source": "The file that the experiment was read from.",
    "Analysis": "Name of the analysis in study.toml.",
    "Kind": "Kind of the analysis.",
    "Iterations": "Random studies, or relabellings of a contrast.",
    "Seed": "Number from which all random draws follow.",
    "Instalments": "Iterations of the run and of each extension.",
    "Identity": "Beginning of the SHA-256 of everything that decides the result.",
    "Result": "Beginning of the SHA-256 of the numbers of the result.",
    "Sample": "Name of the sample in study.toml.",
    "File": "Name of the file that was read.",
    "SHA-256": "Checksum of the file.",
    "Setting": "Name of the setting in [inference] of study.toml.",
    "Value": "Value in all analyses.",
    "step": "Number of the rule, 0 for what was read.",
    "rule": "The rule of selection.",
    "why": "The reason that study.toml gives for it.",
    "studies": "Studies that are left.",
    "experiments": "Experiments that are left; in a table of fail-safe N, experiments of the sample.",
    "foci": "Foci that are left.",
    "subjects": "Subjects that are left.",
    "removed": "Experiments that the rule removed.",
    "Input": "Which maps of the main effects the clusters are of.",
    "Sets": "Number of repetitions, each without one set of experiments.",
    "Survives": "Number of these in which a voxel of the cluster survives.",
    "Least Retained (%)": "Smallest share of the cluster's voxels that survives.",
    "Weakest Without": "What was left out where the least survives.",
    "Lost Without": "What was left out where nothing of the cluster survives.",
    "Prevalence (%)": "Share of the experiments that report the place.",
    "Reporting": "Number of experiments that report the place.",
    "Power (%)": "Share of the simulated studies in which the place is found.",
    "Low (%)": "Lower end of the exact 95 % interval of the power.",
    "High (%)": "Upper end of the exact 95 % interval of the power.",
    "Power Base Rate (%)": "Share of the simulated studies in which the place is found against the base rate.",
    "Low Base Rate (%)": "Lower end of the exact 95 % interval of the power against the base rate.",
    "High Base Rate (%)": "Upper end of the exact 95 % interval of the power against the base rate.",
    "Profiles": "Number of profiles under which the cluster was looked for.",
    "Found Under": "Number of these under which a significant cluster overlaps it.",
    **{
        f"{profile} (%)": f"Share of the cluster's voxels that survives with the profile {profile}."
        for profile in PROFILES
    },
    "noise_in": "The main effects that experiments without convergence are added to.",
    "against": "The null that clusters must survive.",
    "N": "Experiments without convergence that the cluster withstands, the median over series.",
    "N_low": "Smallest N of a series.",
    "N_high": "Largest N of a series.",
    "least": "30 % of the experiments, the N that a robust cluster should have.",
    "reached": "Whether N is at least that many.",
    "share_at_least": "Share of the series in which it is.",
    "added_at_most": "Largest number of experiments that were added.",
    "series": "Number of series of added experiments.",
    "iterations": "Iterations of the null after each of them.",
    "Grid": "The mask's grid, where cells have different ones.",
    "Place": "Number of the place, those with a cluster in most cells first.",
    "Region": "Region at the peak by AAL2 (Rolls 2015).",
    "First Cell": "The first combination of settings with a cluster here.",
    "Cells": "Number of combinations of settings.",
    "Mean Retained (%)": "Share of the place's voxels that survives, averaged over all combinations.",
    "Depends On": "The setting along whose values the share of combinations with a cluster here differs most.",
    "By (%)": "The largest difference between two of its values, in percent of the combinations.",
}
_HEADINGS = {
    **{column.name: column.heading for column in COLUMNS if column.heading},
    "volume_mm3": "mm³",
    "mm3_1": "mm³ 1",
    "mm3_2": "mm³ 2",
    "mm3_both": "mm³ both",
    "nearest_mm": "nearest peaks (mm)",
}


@dataclass(frozen=True)
class Heading:
    """The header of a column on the page, and its explanation, shown where a pointer rests on it."""

    text: str
    says: str


def heading(column: str) -> Heading:
    """Return the header of a column by its name in the TSV file."""
    text = _HEADINGS.get(column, column)
    says = _SAYS.get(column) or f"{column}, as in the file of this table."
    return Heading(text, says if text == column else f"{says} Column “{column}” of the TSV file.")


def first_columns(columns: Sequence[str], *, by_mass: bool = False) -> list[str]:
    """Return the columns of a table that the page shows first, at most ten.

    `by_mass` takes the p and decision by mass instead of those by size.
    """
    if {"Peak Stat", "Peak Share"} & set(columns):
        wanted: Sequence[str] = [FIRST_BY_MASS.get(name, name) if by_mass else name for name in FIRST_ON_PAGE]
    else:
        wanted = next((first for key, first in _FIRST.items() if key in columns), columns)
    return [name for name in wanted if name in columns][:MOST_FIRST]
