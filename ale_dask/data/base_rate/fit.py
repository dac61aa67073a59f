"""Whether the literature's base rate is one for the experiments at hand: what their names say."""

from __future__ import annotations

import re

import xarray as xr

from ale_dask.data.misplaced import Finding

_OTHER = {
    "deactivations": re.compile(r"\bde-?activat", re.IGNORECASE),
    "brain structure": re.compile(
        r"\bVBM\b|voxel.based morphometr|\bgr[ae]y matter (?:volume|densit|loss|reduc)|cortical thickness|\batroph",
        re.IGNORECASE,
    ),
}
"""Kinds of foci that a database of task activations does not stand for, by words in names of experiments."""


def base_rate_findings(foci: xr.Dataset) -> list[Finding]:
    """Return the finding other-base-rate for each kind of experiments that the literature's base rate does not fit.

    By the names of experiments and of their studies: of what neither says nothing is known here.
    """
    found = []
    names = [
        f"{name} {study}"
        for name, study in zip(foci["experiment_name"].values, foci["experiment_study"].values, strict=True)
    ]
    for kind, words in _OTHER.items():
        which = [i for i, name in enumerate(names) if words.search(name)]
        if which:
            first = foci["experiment_id"].values[which[0]]
            found.append(
                Finding(
                    "other-base-rate",
                    f"{len(which)} of {len(names)} experiments seem to be of {kind} (first '{first}'), which the "
                    "literature's base rate is not of: make one of fitting studies (ale-dask base-rate)",
                    str(foci["experiment_source"].values[which[0]]),
                    len(which),
                )
            )
    return found
