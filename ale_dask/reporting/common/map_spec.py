"""Describe one map of a result: its name, content, threshold and control of error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

Read = Callable[[xr.Dataset], npt.NDArray[Any]]
SHARE = "share of subsamples"
"""The unit of maps of how often a voxel survives in subsamples."""


@dataclass(frozen=True)
class MapSpec:
    """One map of a result: the end of its file name, the function that reads it, and its description.

    `level` is the threshold, `source` the input it was made from, and `cuts` names the settings and attributes with the
    threshold's values. `controls` is a template over the settings and {region}; None takes the result's own attribute.
    """

    suffix: str
    read: Read
    what: str
    controls: str | None = "nothing: an unthresholded map"
    level: str = ""
    source: str = ""
    units: str = "z"
    cuts: tuple[str, ...] = ()
    dtype: str = "float32"
    optional: str = ""
    """Name of a variable that the map needs; "" for a map that every result has."""
    directions: tuple[str, ...] = ()
    """What values above and below 0 say in words, where these are not the directions of the result."""
    table: str = ""
    """The end of the name of its cluster table, where level and input do not tell maps apart."""


def of(variable: str, source: str = "") -> Read:
    """Return a function that reads a variable (voxel) of a result, at an input if it has several."""

    def read(result: xr.Dataset) -> npt.NDArray[Any]:
        array = result[variable]
        return np.asarray((array.sel(input=source) if source else array).values)

    return read
