"""Thresholded maps on the MNI brain: ortho at the largest cluster, axial cuts at the others."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.data.places import replace_file
from ale_dask.numerics.space import Mask
from ale_dask.results.clusters import Cluster, clusters_of, grid_of
from ale_dask.results.extra import PICTURES, available
from ale_dask.results.maps import SIMULATED, to_volume
from ale_dask.results.plots import write_plots
from ale_dask.results.tables import directions
from ale_dask.results.views import View, pictured, stem
from ale_dask.results.wording import label

CUTS = 5
"""Axial slices in a picture."""
APART_MM = 5.0
DPI = 110
# Orange against blue stays apart for every kind of colour blindness; light means strong, as on a hot scale.
_ORANGE = ("#a33b00", "#f28a1c", "#ffe08a")
_BLUE = ("#bfe6ff", "#3f9fe0", "#0f4fa8")
_PURPLE = ("#6a2c91", "#b763d6", "#f3c6ff")
_COLOURS = {"main-effect": _ORANGE, "contrast": (*_BLUE, *_ORANGE), "conjunction": _PURPLE}


def write_figures(result: xr.Dataset, folder: Path, *, simulated: bool = False) -> list[Path]:
    """Write a PNG of each thresholded map that holds any voxel, and the plots, and return their paths.

    Without matplotlib or nilearn none is written, and the log says what to install.
    """
    if not available(*PICTURES):
        return []
    paths = []
    for view in pictured(result):
        path = picture_path(result, view, folder)
        values = view.read(result)
        if values.any():
            replace_file(path, _draw(values, result, view, simulated))
            paths.append(path)
        else:
            # One of an earlier run would show what is no longer found.
            path.unlink(missing_ok=True)
    return paths + write_plots(result, folder, simulated=simulated)


def picture_path(result: xr.Dataset, view: View, folder: Path) -> Path:
    """Return where the picture of a map goes."""
    return folder / f"{stem(result.attrs['name'])}_{view.suffix}.png"


def headline(result: xr.Dataset, view: View, *, simulated: bool) -> str:
    """Return a picture's title: the analysis, how the map was cut, and whether the data are simulated."""
    mark = f"{SIMULATED} · " if simulated else ""
    return f"{mark}{result.attrs['name']} · {label(result, view)}"


def alt_text(result: xr.Dataset, view: View) -> str:
    """Return what a picture shows, for those who cannot see it: its clusters, largest first."""
    mask = grid_of(result)
    found = _by_size(clusters_of(result, view.read(result)))
    sides = directions(result) if result.attrs["kind"] == "contrast" else ("", "")
    words = []
    for c in found[:5]:
        x, y, z = (f"{v + 0.0:.0f}" for v in c.peak_mm)
        side = f"{sides[0 if c.sign > 0 else 1]} " if sides[0] else ""
        words.append(f"{side}at {x}, {y}, {z} ({len(c.voxels) * mask.voxel_volume:.0f} mm³)")
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    what = f"Brain slices of {result.attrs['name']}, {label(result, view)}"
    return f"{what}: clusters {'; '.join(words)}{more}."


def _by_size(found: list[Cluster]) -> list[Cluster]:
    return sorted(found, key=lambda c: -len(c.voxels))


def _cuts(found: list[Cluster], *, mask: Mask) -> tuple[tuple[float, ...], list[float]]:
    """Return the largest cluster's peak and the heights of the axial slices, all in mm."""
    ordered = _by_size(found)
    peaks = [tuple(c.peak_mm.round().tolist()) for c in ordered]
    # After the peaks, where there is most to see; then beside the largest, to have as many slices always.
    inside = mask.to_mm(mask.voxel_ijk[np.concatenate([c.voxels for c in ordered])])[:, 2]
    levels, counts = np.unique(inside.round(), return_counts=True)
    fullest = levels[np.argsort(-counts, kind="stable")].tolist()
    beside = [peaks[0][2] + side * k * APART_MM for k in range(1, CUTS) for side in (1, -1)]
    heights: list[float] = []
    for height in (*(p[2] for p in peaks), *fullest, *beside):
        if len(heights) < CUTS and all(abs(height - h) >= APART_MM for h in heights):
            heights.append(height)
    return peaks[0], sorted(heights)


@cache
def background() -> Any:
    """Return nilearn's MNI152 template at 2 mm, loaded once per process with all that drawing needs."""
    import nilearn.plotting  # noqa: F401
    from nilearn.datasets import load_mni152_template

    return load_mni152_template(resolution=2)


def _draw(values: npt.NDArray[Any], result: xr.Dataset, view: View, simulated: bool) -> bytes:
    from matplotlib.colors import LinearSegmentedColormap

    top = float(np.abs(values).max())
    return brain(
        values.astype(np.float32),
        clusters_of(result, values),
        mask=grid_of(result),
        title=headline(result, view, simulated=simulated),
        legend=_legend(result),
        threshold=1e-6,
        cmap=LinearSegmentedColormap.from_list("ale", _COLOURS[result.attrs["kind"]]),
        vmin=-top if result.attrs["kind"] == "contrast" else 0.0,
        vmax=top,
    )


def brain(
    values: npt.NDArray[Any],
    found: list[Cluster],
    *,
    mask: Mask,
    title: str,
    legend: str,
    colorbar: bool = True,
    **colours: Any,
) -> bytes:
    """Return a PNG of values (voxel) on the MNI brain: ortho at the largest of the clusters, axial slices below.

    `colours` are cmap, threshold, vmin and vmax as nilearn's plot_stat_map takes them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from nilearn.plotting import plot_stat_map

    image = nib.Nifti1Image(to_volume(values, mask=mask), mask.affine)
    peak, heights = _cuts(found, mask=mask)
    shared = {
        "bg_img": background(),
        # Any voxel that survived is shown as it is: no smoothing over the edge.
        "resampling_interpolation": "nearest",
        "black_bg": True,
        "draw_cross": False,
        **colours,
    }
    # A figure of its own, not pyplot's: nothing global is touched and no window system is needed.
    figure = Figure(figsize=(10, 5.2), facecolor="black")
    FigureCanvasAgg(figure)
    plot_stat_map(image, figure=figure, axes=(0.15, 0.42, 0.7, 0.5), cut_coords=peak, colorbar=colorbar, **shared)
    plot_stat_map(
        image,
        figure=figure,
        axes=(0.0, 0.06, 1.0, 0.34),
        display_mode="z",
        cut_coords=heights,
        colorbar=False,
        **shared,
    )
    middle: dict[str, Any] = {"color": "white", "ha": "center", "va": "center"}
    figure.text(0.5, 0.96, title, size=13, **middle)
    figure.text(0.5, 0.025, legend, size=10, **middle)
    out = BytesIO()
    figure.savefig(out, dpi=DPI, facecolor="black", pil_kwargs={"compress_level": 4})
    return out.getvalue()


def _legend(result: xr.Dataset) -> str:
    if result.attrs["kind"] != "contrast":
        return "colour: z"
    first, second = directions(result)
    return f"colour: z · orange: {first} · blue: {second}"
