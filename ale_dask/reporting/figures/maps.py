"""Draw thresholded maps on the MNI brain in the colours of the study, and describe them in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.clusters import Cluster
from ale_dask.analyses.findings.model import model_of
from ale_dask.reporting.common.extra import PICTURES, available
from ale_dask.reporting.common.map_files import SIMULATED
from ale_dask.reporting.common.maps import MapSpec, directions_of, pictured_map_specs, stem
from ale_dask.reporting.common.palette import HUES, OVERLAP
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.figures.canvas import shades
from ale_dask.reporting.figures.plots import write_plots
from ale_dask.reporting.figures.slices import SHADES, ColourScale, brain
from ale_dask.reporting.figures.study_context import StudyContext, study_contexts
from ale_dask.storage.location import replace_file


def write_figures(result: xr.Dataset, folder: Path, *, context: StudyContext | None = None) -> list[Path]:
    """Write a PNG of each thresholded map with a surviving voxel, and the plots, and return their paths.

    `context` comes from `study_contexts`; without one, contrasts and conjunctions lack the colours of their arms.
    Without matplotlib or nilearn nothing is written, and the log says what to install.
    """
    if not available(*PICTURES):
        return []
    name = str(result.attrs["name"])
    context = study_contexts({name: result})[name] if context is None else context
    return [*write_pictures(result, folder, context), *write_plots(result, folder, context=context)]


def write_pictures(result: xr.Dataset, folder: Path, context: StudyContext) -> list[Path]:
    """Write a PNG of each thresholded map with a surviving voxel, and return their paths. Needs Pillow and nilearn."""
    paths = []
    for spec in pictured_map_specs(result):
        path = picture_path(result, spec, folder)
        values = spec.read(result)
        if values.any():
            replace_file(path, _draw(values, result, spec, context))
            paths.append(path)
        else:
            # The figure of an earlier run would show clusters that are gone.
            path.unlink(missing_ok=True)
    return paths


def picture_path(result: xr.Dataset, spec: MapSpec, folder: Path) -> Path:
    """Return the path of the figure of a map."""
    return folder / f"{stem(result.attrs['name'])}_{spec.suffix}.png"


def headline(result: xr.Dataset, spec: MapSpec) -> str:
    """Return the title of a map's figure: the analysis, the threshold, and whether the data are simulated."""
    mark = f"{SIMULATED} · " if model_of(result).simulated else ""
    return f"{mark}{result.attrs['name']} · {label(result, spec)}"


def alt_text(result: xr.Dataset, spec: MapSpec) -> str:
    """Return the clusters of a map's figure in words, largest first, for readers who cannot see it."""
    mask = model_of(result).mask
    clusters = _by_size(model_of(result).clusters(spec.read(result), level=spec.level))
    sides = model_of(result).sides
    words = []
    for c in clusters[:5]:
        x, y, z = (f"{v + 0.0:.0f}" for v in c.peak_mm)
        side = f"{sides[c.sign]} " if sides.get(c.sign) else ""
        words.append(f"{side}at {x}, {y}, {z} ({len(c.voxels) * mask.voxel_volume:.0f} mm³)")
    more = f" and {len(clusters) - 5} more" if len(clusters) > 5 else ""
    what = f"Brain slices and glass brain of {result.attrs['name']}, {label(result, spec)}"
    return f"{what}: clusters {'; '.join(words)}{more}."


def ramps_of(result: xr.Dataset, context: StudyContext, *, two_sided: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the colours of a map of an analysis from weak to strong, above 0 and, of two directions, below."""
    hues = [part.hue for part in context.parts.values()] or list(HUES)
    if two_sided:
        # A moderator is of one main effect: below 0 it has a colour of none.
        return hues[0].ramp, (hues[1] if len(hues) > 1 else OVERLAP).ramp
    return (hues[0].ramp if len(model_of(result).parts) == 1 else OVERLAP.ramp), ()


def _by_size(clusters: list[Cluster]) -> list[Cluster]:
    return sorted(clusters, key=lambda c: -len(c.voxels))


def _draw(values: npt.NDArray[Any], result: xr.Dataset, spec: MapSpec, context: StudyContext) -> bytes:
    top = float(np.abs(values).max())
    directions = directions_of(result, spec)
    positive, negative = ramps_of(result, context, two_sided=len(directions) > 1)
    legend = []
    if negative:
        legend = [(ramp[1], words) for ramp, words in zip((positive, negative), directions, strict=True)]
    return brain(
        values.astype(np.float32),
        _by_size(model_of(result).clusters(values, level=spec.level)),
        mask=model_of(result).mask,
        title=headline(result, spec),
        legend=legend,
        scale=ColourScale(
            shades((*negative[::-1], *positive), SHADES),
            low=-top if negative else 0.0,
            high=top,
            label=spec.units,
        ),
    )
