"""Collect for the figures of an analysis what comes from the rest of its study: colours, foci, voxels and shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.config.analysis import INPUTS
from ale_dask.reporting.common.palette import Hue, hues_of
from ale_dask.reporting.tables.contributions import contribution_table, foci_used


@dataclass(frozen=True, eq=False)
class Part:
    """A main effect in a figure.

    Its colour, foci (focus, axis) in mm, their experiments (focus), and the indices of its surviving voxels.
    """

    hue: Hue
    xyz: npt.NDArray[np.float64]
    experiment: npt.NDArray[np.integer[Any]]
    n_experiments: int
    voxels: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StudyContext:
    """The main effects that an analysis is made of, by name, and the table of their shares in its clusters.

    A main effect is made of itself. If a main effect is missing, `parts` is empty and `shares` None.
    """

    parts: Mapping[str, Part]
    shares: pd.DataFrame | None


def study_contexts(results: Mapping[str, xr.Dataset]) -> dict[str, StudyContext]:
    """Return the context of each analysis of a study, by name."""
    hues = hues_of(results)
    return {name: study_context(result, results, hues) for name, result in results.items()}


def study_context(result: xr.Dataset, results: Mapping[str, xr.Dataset], hues: Mapping[str, Hue]) -> StudyContext:
    """Return the context of one analysis of a study, of which each main effect has its colour."""
    names = model_of(result).parts
    if not set(names) <= set(hues):
        return StudyContext({}, None)
    used = foci_used(result, results)
    parts = {part: _part(results[part], used[part], hues[part]) for part in names}
    return StudyContext(parts, contribution_table(result, results))


def _part(result: xr.Dataset, foci: xr.Dataset, hue: Hue) -> Part:
    return Part(
        hue,
        foci["focus_xyz"].values,
        foci["focus_experiment"].values,
        foci.sizes["experiment"],
        np.flatnonzero(thresholded(result, INPUTS[0])),
    )
