"""Hold how the results of each kind of analysis are shown: a row per kind, which its module in reporting/kinds adds.

Maps, tables, texts, the page and exports read these rows. What they ask of a kind beyond them, such as the plots of a
null, only main effects or only contrasts have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import PAIR, model_of
from ale_dask.config.run_record import RunRecord
from ale_dask.reporting.common.map_spec import MapSpec

File = tuple[str, Callable[[], bytes]]
"""A file's path below a folder, and the function that makes its content."""


@dataclass(frozen=True, kw_only=True)
class Presentation:
    """Hold how the results of one kind of analysis are shown."""

    kind: str
    maps: tuple[MapSpec, ...]
    """Every map that a result may have, in the order of its files."""
    further: Callable[[xr.Dataset], tuple[MapSpec, ...]] = lambda result: ()
    """Behind these, maps whose number and names depend on the result."""
    label: Callable[[xr.Dataset, MapSpec], str]
    """The threshold of a map in a few words."""
    facts: Callable[[xr.Dataset], list[tuple[str, str]]]
    """What the page says of a result beside its maps: names and values."""
    summary: Callable[[xr.Dataset, Sequence[Cluster]], list[tuple[str, str]]]
    """(result, its clusters) -> the directions, "" or words, and what was found in each."""
    levels: tuple[str, ...] = ("thresholded", "uncorrected", "voxel-fwe", "size-fwe", "mass-fwe", PAIR)
    """The levels of the thresholded maps that have a cluster table, in its order; those of main effects are fixed."""
    table: Callable[[xr.Dataset, MapSpec], pd.DataFrame]
    """The cluster table that belongs to a thresholded map."""
    listed: Callable[[xr.Dataset], Iterator[tuple[str, MapSpec, pd.DataFrame]]]
    """The direction, the map and the clusters of each part of a result that the table of a paper lists."""
    note: Callable[[xr.Dataset, MapSpec], str]
    """What the note below the table of a paper says of such a part: its p, and the error that its map controls."""
    heading: str
    """The heading of the section of the methods text on analyses of this kind."""
    methods: Callable[[RunRecord], list[str]]
    """The paragraphs of that section, none where the run has no such analysis."""
    unthresholded: Mapping[str, str] = field(default_factory=dict)
    """The maps without a threshold that the page's viewer shows: the ends of their file names, and what they are."""
    compared: Mapping[str, str] = field(default_factory=dict)
    """The variables (voxel) that a comparison of two runs compares, by what they are."""
    nimare: Callable[[xr.Dataset], dict[str, Callable[[], npt.NDArray[Any]]]] | None = None
    """The maps of an export to NiMARE by the ends of their file names; None where they are the maps as they are."""
    gingerale: Callable[[str, xr.Dataset, Mapping[str, xr.Dataset]], list[File]] = lambda name, result, results: []
    """(name, result, results by name) -> the files of an export to GingerALE, none where it has no such analysis."""


_PRESENTATIONS: dict[str, Presentation] = {}


def add_presentation(presentation: Presentation) -> None:
    """Add how a kind of analysis is reported, after the kinds added before; reports follow this order."""
    _PRESENTATIONS[presentation.kind] = presentation


def presentations() -> tuple[Presentation, ...]:
    """Return the rows of all kinds of analysis."""
    return tuple(_PRESENTATIONS.values())


def presentation(kind: str) -> Presentation:
    """Return the row of a kind of analysis."""
    return _PRESENTATIONS[kind]


def presentation_of(result: xr.Dataset) -> Presentation:
    """Return the row of the kind of analysis that a result is of."""
    return presentation(model_of(result).kind)
