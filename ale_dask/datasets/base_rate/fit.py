"""Findings against the use of the literature's base rate for a sample, from the names and foci of its experiments."""

from __future__ import annotations

import re

import xarray as xr

from ale_dask.coordinates.direction import DIRECTION, MODALITY, STRUCTURAL, words_of
from ale_dask.coordinates.misplaced import Finding
from ale_dask.datasets.base_rate.membership import database_hashes, in_database

_OTHER = {
    "deactivations": re.compile(r"\bde-?activat", re.IGNORECASE),
    "brain structure": re.compile(
        r"\bVBM\b|voxel.based morphometr|\bgr[ae]y matter (?:volume|densit|loss|reduc)|cortical thickness|\batroph",
        re.IGNORECASE,
    ),
}
"""Words in names of experiments by kinds of foci that are not those of a database of task activations."""
LARGE_PART = 0.25
"""Share of a sample's experiments in the database from which on there is a finding."""


def base_rate_findings(foci: xr.Dataset) -> list[Finding]:
    """Return the findings against the use of the literature's base rate for these experiments.

    There is a finding other-base-rate for each kind of experiments that it does not fit, by columns of direction and
    modality or by the names of experiments and studies, and a finding in-base-rate if a quarter or more of the
    experiments are of studies in it.
    """
    findings = _in_base_rate(foci)
    names = [
        f"{name} {study}"
        for name, study in zip(foci["experiment_name"].values, foci["experiment_study"].values, strict=True)
    ]
    stated = {
        "deactivations": [word == "deactivation" for word in words_of(foci, DIRECTION)],
        "brain structure": [word in STRUCTURAL for word in words_of(foci, MODALITY)],
    }
    for kind, words in _OTHER.items():
        which = [i for i, name in enumerate(names) if words.search(name) or stated[kind][i]]
        if which:
            first = foci["experiment_id"].values[which[0]]
            findings.append(
                Finding(
                    "other-base-rate",
                    f"{len(which)} of {len(names)} experiments seem to be of {kind} (first '{first}'), which the "
                    "literature's base rate is not of: make one of fitting studies (ale-dask base-rate)",
                    str(foci["experiment_source"].values[which[0]]),
                    len(which),
                )
            )
    return findings


def _in_base_rate(foci: xr.Dataset) -> list[Finding]:
    known = in_database(foci)
    if known.sum() < LARGE_PART * len(known) or not known.any():
        return []
    return [
        Finding(
            "in-base-rate",
            f"{known.sum()} of {len(known)} experiments are most likely among the {len(database_hashes()):,} studies "
            "that the literature's base rate was counted from: what they have in common is part of the base rate too, "
            "which makes the test against it a little stricter",
            "",
            int(known.sum()),
        )
    ]
