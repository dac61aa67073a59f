"""What the figures of an analysis take from the rest of its study: colours, foci, surviving voxels and shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.main_effect import thresholded
from ale_dask.config.study import INPUTS
from ale_dask.reporting.common.palette import Hue, hues_of
from ale_dask.reporting.tables.contributions import contribution_table, foci_used, parts_of


@dataclass(frozen=True, eq=False)
class Part:
    """A main effect: its colour, foci (focus, axis) in mm, their experiments (focus) and what survives (voxel)."""

    hue: Hue
    xyz: npt.NDArray[np.float64]
    experiment: npt.NDArray[np.integer[Any]]
    n_experiments: int
    voxels: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StudyContext:
    """The main effects that an analysis is made of, of a main effect itself, and what they share in its clusters.

    Without all of them there is none: `parts` is empty and `shares` None.
    """

    parts: Mapping[str, Part]
    shares: pd.DataFrame | None


def study_contexts(results: Mapping[str, xr.Dataset]) -> dict[str, StudyContext]:
    """Return what each analysis of a study is drawn with, by name."""
    hues = hues_of(results)
    found = {}
    for name, result in results.items():
        of = parts_of(result)
        if set(of) <= set(hues):
            used = foci_used(result, results)
            parts = {part: _part(results[part], used[part], hues[part]) for part in of}
            found[name] = StudyContext(parts, contribution_table(result, results))
        else:
            found[name] = StudyContext({}, None)
    return found


def _part(result: xr.Dataset, foci: xr.Dataset, hue: Hue) -> Part:
    return Part(
        hue,
        foci["focus_xyz"].values,
        foci["focus_experiment"].values,
        foci.sizes["experiment"],
        np.flatnonzero(thresholded(result, INPUTS[0])),
    )
