"""One map of a result: what it is, how it was cut and what it controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

Read = Callable[[xr.Dataset], npt.NDArray[Any]]


@dataclass(frozen=True)
class MapSpec:
    """One map of a result: how it was thresholded (`level`), from which input (`source`), by which `cuts`.

    `controls` is a template over the settings and {region}; None means what the result's own attributes say.
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
    """Variable without which the map is not there."""


def of(variable: str, source: str = "") -> Read:
    """Return the reader of a variable (voxel) at an input."""

    def read(result: xr.Dataset) -> npt.NDArray[Any]:
        array = result[variable]
        return np.asarray((array.sel(input=source) if source else array).values)

    return read
