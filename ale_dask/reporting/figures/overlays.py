"""The maps that go into a conjunction laid over each other, each in its colour and what they share in another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.clusters import find_clusters, grid_of
from ale_dask.reporting.common.palette import OVERLAP
from ale_dask.reporting.figures.slices import brain
from ale_dask.reporting.figures.study_context import Part, StudyContext

SOME = "#ffffff"
"""Where several of three or more agree, but not all."""


def overlaid(parts: Mapping[str, Part], n_voxels: int) -> npt.NDArray[np.int8]:
    """Return which of the maps has each voxel: 0 none, k only the k-th of n, n + 1 some of them, n + 2 all (voxel)."""
    found = np.zeros(n_voxels, dtype=np.int8)
    count = np.zeros(n_voxels, dtype=np.int8)
    for k, part in enumerate(parts.values(), 1):
        found[part.voxels] = k
        count[part.voxels] += 1
    n = len(parts)
    found[count > 1] = n + 1
    found[count == n] = n + 2
    return found


def overlay_says(result: xr.Dataset, company: StudyContext) -> str:
    """Return what the overlay shows in words: the volume of each map, and of all together."""
    volume = grid_of(result).voxel_volume
    each = [f"{name} {len(part.voxels) * volume:,.0f} mm³ in {part.hue.name}" for name, part in company.parts.items()]
    both = int((overlaid(company.parts, result.sizes["voxel"]) == len(company.parts) + 2).sum()) * volume
    common = f"{both:,.0f} mm³ in {OVERLAP.name}" if both else "no voxel"
    return f"Maps at the primary correction on the same brain: {', '.join(each)}; all have {common} in common."


def overlay_png(result: xr.Dataset, company: StudyContext, *, title: str) -> bytes:
    """Return a PNG of the maps of a conjunction at the primary correction, at the largest of what they share."""
    from matplotlib.colors import ListedColormap

    mask, n = grid_of(result), len(company.parts)
    values = overlaid(company.parts, result.sizes["voxel"])
    colours = [*(part.hue.ramp[1] for part in company.parts.values()), SOME, OVERLAP.flat]
    words = [f"only {name}" for name in company.parts] + ["several, not all", "both" if n == 2 else "all"]
    counts = np.bincount(values, minlength=n + 3)[1:] * mask.voxel_volume
    legend = [
        (colour, f"{what} ({mm3:,.0f} mm³)")
        for colour, what, mm3 in zip(colours, words, counts, strict=True)
        if n > 2 or what != words[n]
    ]
    # Of flat colours the peaks are where the maps are high together.
    rank = np.nan_to_num(result["z_min_unthresholded"].values.astype(np.float64))
    shared = find_clusters((values == n + 2).astype(np.int8), mask=mask, rank=rank)
    each = sorted(find_clusters(values, mask=mask, rank=rank), key=lambda c: -len(c.voxels))
    return brain(
        values.astype(np.float32),
        [*shared, *each],
        mask=mask,
        title=title,
        legend=legend,
        cmap=ListedColormap(colours),
        vmin=0.5,
        vmax=n + 2.5,
    )
