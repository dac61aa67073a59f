"""Draw the maps of a conjunction over each other, each in its colour and shared voxels in another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.clusters import find_clusters
from ale_dask.analyses.findings.model import model_of
from ale_dask.reporting.common.palette import OVERLAP
from ale_dask.reporting.figures.canvas import shades
from ale_dask.reporting.figures.slices import ColourScale, brain
from ale_dask.reporting.figures.study_context import Part, StudyContext

SOME = "#ffffff"
"""The colour of voxels that several of three or more maps have, but not all."""


def overlaid(parts: Mapping[str, Part], n_voxels: int) -> npt.NDArray[np.int8]:
    """Return for each voxel which of n maps has it (voxel): 0 none, k only the k-th, n + 1 several, n + 2 all."""
    owner = np.zeros(n_voxels, dtype=np.int8)
    count = np.zeros(n_voxels, dtype=np.int8)
    for k, part in enumerate(parts.values(), 1):
        owner[part.voxels] = k
        count[part.voxels] += 1
    n = len(parts)
    owner[count > 1] = n + 1
    owner[count == n] = n + 2
    return owner


def overlay_alt(result: xr.Dataset, context: StudyContext) -> str:
    """Return in words the volume of each map in the overlay, and the volume that all share."""
    volume = model_of(result).mask.voxel_volume
    each = [f"{name} {len(part.voxels) * volume:,.0f} mm³ in {part.hue.name}" for name, part in context.parts.items()]
    both = int((overlaid(context.parts, result.sizes["voxel"]) == len(context.parts) + 2).sum()) * volume
    common = f"{both:,.0f} mm³ in {OVERLAP.name}" if both else "no voxel"
    return f"Maps at the primary correction on the same brain: {', '.join(each)}; all have {common} in common."


def overlay_png(result: xr.Dataset, context: StudyContext, *, title: str) -> bytes:
    """Return a PNG of a conjunction's maps at the primary correction, with slices at the largest shared cluster."""
    mask, n = model_of(result).mask, len(context.parts)
    values = overlaid(context.parts, result.sizes["voxel"])
    colours = [*(part.hue.ramp[1] for part in context.parts.values()), SOME, OVERLAP.flat]
    words = [f"only {name}" for name in context.parts] + ["several, not all", "both" if n == 2 else "all"]
    counts = np.bincount(values, minlength=n + 3)[1:] * mask.voxel_volume
    legend = [
        (colour, f"{what} ({mm3:,.0f} mm³)")
        for colour, what, mm3 in zip(colours, words, counts, strict=True)
        if n > 2 or what != words[n]
    ]
    # Colours are flat: the peak of a cluster is where its smallest z is largest.
    rank = np.nan_to_num(result["z_min_unthresholded"].values.astype(np.float64))
    shared = find_clusters((values == n + 2).astype(np.int8), mask=mask, rank=rank)
    each = sorted(find_clusters(values, mask=mask, rank=rank), key=lambda c: -len(c.voxels))
    return brain(
        values.astype(np.float32),
        [*shared, *each],
        mask=mask,
        title=title,
        legend=legend,
        scale=ColourScale(shades(colours, len(colours)), low=0.5, high=n + 2.5),
    )
