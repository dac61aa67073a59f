"""Thresholded maps on the MNI brain, in the colours of the study, and what they show in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster, clusters_of, grid_of
from ale_dask.reporting.common.extra import PICTURES, available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import MapSpec, pictured, stem
from ale_dask.reporting.common.palette import HUES, OVERLAP
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.figures.plots import write_plots
from ale_dask.reporting.figures.slices import brain
from ale_dask.reporting.figures.study_context import StudyContext, study_contexts
from ale_dask.reporting.tables.clusters import directions
from ale_dask.storage.location import replace_file


def write_figures(
    result: xr.Dataset, folder: Path, *, simulated: bool = False, company: StudyContext | None = None
) -> list[Path]:
    """Write a PNG of each thresholded map that holds any voxel, and the plots, and return their paths.

    `company` is what the study adds (`study_contexts`); by default a main effect's own, and none of the others.

    Without matplotlib or nilearn none is written, and the log says what to install.
    """
    if not available(*PICTURES):
        return []
    name = str(result.attrs["name"])
    company = study_contexts({name: result})[name] if company is None else company
    paths = []
    for view in pictured(result):
        path = picture_path(result, view, folder)
        values = view.read(result)
        if values.any():
            replace_file(path, _draw(values, result, view, company, simulated))
            paths.append(path)
        else:
            # One of an earlier run would show what is no longer found.
            path.unlink(missing_ok=True)
    return paths + write_plots(result, folder, simulated=simulated, company=company)


def picture_path(result: xr.Dataset, view: MapSpec, folder: Path) -> Path:
    """Return where the picture of a map goes."""
    return folder / f"{stem(result.attrs['name'])}_{view.suffix}.png"


def headline(result: xr.Dataset, view: MapSpec, *, simulated: bool) -> str:
    """Return a picture's title: the analysis, how the map was cut, and whether the data are simulated."""
    mark = f"{SIMULATED} · " if simulated else ""
    return f"{mark}{result.attrs['name']} · {label(result, view)}"


def alt_text(result: xr.Dataset, view: MapSpec) -> str:
    """Return what a picture shows, for those who cannot see it: its clusters, largest first."""
    mask = grid_of(result)
    found = _by_size(clusters_of(result, view.read(result), level=view.level))
    sides = directions(result) if result.attrs["kind"] == "contrast" else ("", "")
    words = []
    for c in found[:5]:
        x, y, z = (f"{v + 0.0:.0f}" for v in c.peak_mm)
        side = f"{sides[0 if c.sign > 0 else 1]} " if sides[0] else ""
        words.append(f"{side}at {x}, {y}, {z} ({len(c.voxels) * mask.voxel_volume:.0f} mm³)")
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    what = f"Brain slices and glass brain of {result.attrs['name']}, {label(result, view)}"
    return f"{what}: clusters {'; '.join(words)}{more}."


def ramps_of(result: xr.Dataset, company: StudyContext) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the colours of an analysis's maps from weak to strong above 0, and below (empty where there is none)."""
    hues = [part.hue for part in company.parts.values()] or list(HUES)
    if result.attrs["kind"] == "contrast":
        return hues[0].ramp, hues[1].ramp
    return (hues[0].ramp if result.attrs["kind"] == "main-effect" else OVERLAP.ramp), ()


def _by_size(found: list[Cluster]) -> list[Cluster]:
    return sorted(found, key=lambda c: -len(c.voxels))


def _draw(values: npt.NDArray[Any], result: xr.Dataset, view: MapSpec, company: StudyContext, simulated: bool) -> bytes:
    from matplotlib.colors import LinearSegmentedColormap

    top = float(np.abs(values).max())
    positive, negative = ramps_of(result, company)
    legend = []
    if negative:
        legend = [(ramp[1], words) for ramp, words in zip((positive, negative), directions(result), strict=True)]
    return brain(
        values.astype(np.float32),
        _by_size(clusters_of(result, values, level=view.level)),
        mask=grid_of(result),
        title=headline(result, view, simulated=simulated),
        legend=legend,
        colorbar="z",
        cmap=LinearSegmentedColormap.from_list("ale", (*negative[::-1], *positive)),
        vmin=-top if negative else 0.0,
        vmax=top,
    )
