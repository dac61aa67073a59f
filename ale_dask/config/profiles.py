"""Convention profiles: what other programs do, as tables of settings, so that each choice is made once and knowingly.

Read off NiMARE 0.22.1, JALE 0.2.10 and the MATLAB line's own sources, and GingerALE's results. What is an error of
approximation and no convention is not here: the bins of their voxel nulls (1e-5 in NiMARE, 1e-4 in MATLAB and JALE),
float32 sums, z that end at the smallest double.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

Profile = Literal["recommended", "gingerale", "nimare", "matlab", "jale"]
Rounding = Literal["none", "half-even", "half-up", "ceil", "floor"]
"""Where foci lie between voxel centres: there, at the nearest one (ties to the even one, or up), at the next one, or at
the one before, as NiMARE 0.0.x had them."""
Kernel = Literal["density", "lattice", "lattice-ceil"]
"""A density per voxel inside an ellipsoid, or factors along the axes that each sum to 1, inside a cube; the edge of the
cube is `support` standard deviations, rounded to whole voxels: to the nearest, or up."""
ClusterCut = Literal["plus-one", "share", "at", "above"]
"""Which clusters and voxels the null lets through: (1 + r)/(1 + B) <= alpha, r/B <= alpha, those that reach the value
of rank ceil(alpha B), or those beyond the percentile, interpolated."""
NullCut = Literal["observed", "own"]
"""The cluster-forming value in the null: the observed one, or one from the null's own modelled activations."""
Null = Literal["uniform", "base-rate", "both"]
"""Foci drawn evenly over the mask, from where the literature reports them, or both, one test beside the other."""
BaseRateDraw = Literal["foci", "studies"]
"""What the base-rate null draws: foci one by one from a density, or all foci of a published study of like size."""
NullSpace = Literal["mask", "grid"]
"""Where the null's maxima and clusters are looked for: in the mask, or on the whole grid around it."""
RelabelP = Literal["plus-one", "share"]
"""Uncorrected p of relabellings: (1 + r)/(1 + B), or max(r, 1)/B."""
SameSubjects = Literal["pool", "keep", "refuse"]
"""What becomes of experiments of one group of subjects: one experiment of all their foci, they stay apart, or an
error."""

CHOICES: Mapping[str, Any] = MappingProxyType(
    {
        "mask": "brain",
        "rounding": "none",
        "kernel": "density",
        "support": 4.0,
        "connectivity": 6,
        "cluster_cut": "plus-one",
        "null_cut": "observed",
        "null_space": "mask",
        "relabel_p": "plus-one",
        "tied_peaks": "first",
        "conjunction_of": "z",
        "same_subjects": "pool",
        "contrast_floor": 0.05,
        "null": "both",
    }
)
"""The recommended choices, those of every profile that does not say otherwise."""

_SPM: dict[str, Any] = {"mask": "grey10", "kernel": "lattice-ceil", "support": 3.5}
# What a file lists as an experiment is one to them, a contrast over the mask is one over all of it, and foci of the
# null lie anywhere in the brain.
_APART: dict[str, Any] = {"same_subjects": "keep", "contrast_floor": 0.0, "null": "uniform"}
_OWN: dict[str, dict[str, Any]] = {
    "recommended": {},
    "gingerale": {**_APART, "relabel_p": "share", "tied_peaks": "mean", "conjunction_of": "ale"},
    "nimare": {**_APART, "rounding": "half-even", "kernel": "lattice", "cluster_cut": "share", "relabel_p": "share"},
    "matlab": {**_APART, **_SPM, "rounding": "half-up", "connectivity": 18, "cluster_cut": "at"},
    "jale": {**_APART, **_SPM, "rounding": "ceil", "cluster_cut": "above", "null_cut": "own", "null_space": "grid"},
}
PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {name: MappingProxyType({**CHOICES, **own}) for name, own in _OWN.items()}
)


_NO_BASE_RATE = {"base_rate": "literature", "base_rate_draw": "foci"}
"""The base rate, and what is drawn of it, where none is chosen."""
PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "gingerale": "GingerALE",
        "nimare": "NiMARE 0.22.1",
        "matlab": "Eickhoff's ALE for MATLAB",
        "jale": "JALE 0.2.10",
    }
)
"""Whose conventions they are."""


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the choices of their profile where they make none of their own."""
    return {**PROFILES.get(values.get("profile", "recommended"), {}), **values}


def changed(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with some replaced; another profile brings its choices, but for those that departed from the old.

    A run writes down every choice, so that what was asked for cannot be told from what the profile said except by
    that difference. A base rate of the old settings goes where the new null is the uniform one.
    """
    before, after = values.get("profile", "recommended"), changes.get("profile")
    if after in (None, before):
        return _fitting({**values, **changes}, changes)
    table = PROFILES[before]
    return _fitting({**{k: v for k, v in values.items() if k not in table or v != table[k]}, **changes}, changes)


def _fitting(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without the base rate where the uniform null, which has none, replaces the null they were for.

    A base rate among the changes themselves stays, so that asking for both at once is told to be no use.
    """
    if filled(values).get("null", "uniform") != "uniform":
        return values
    return {**values, **{k: v for k, v in _NO_BASE_RATE.items() if k in values and k not in changes}}


def departures(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices among settings that are not those of their profile."""
    table = PROFILES[values.get("profile", "recommended")]
    return {k: values[k] for k, v in table.items() if k in values and values[k] != v}
