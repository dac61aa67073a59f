"""Collect the data of the page's slice viewers: each analysis's maps, their colours, and where a viewer begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.numerics.space import Mask
from ale_dask.reporting.common.map_spec import SHARE
from ale_dask.reporting.common.maps import MapSpec, directions_of, map_specs_of
from ale_dask.reporting.common.palette import HUES
from ale_dask.reporting.common.presentation import presentation_of
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.figures.maps import ramps_of
from ale_dask.reporting.figures.study_context import StudyContext
from ale_dask.reporting.figures.viewer_layers import INT16, Backdrop, inverse_of, silhouette, sparse

_UNITS = {"z": ("z value", 2), "sd": ("T / sd", 2), "probability": ("ALE", 5), SHARE: (SHARE, 3)}
"""What values of each unit are called, and the digits to which they are rounded: what a viewer prints is what it holds.
"""


class Viewers:
    """The slice viewers of a page, with the data of them all: equal data and equal grids are stored once."""

    def __init__(self, backdrop: Backdrop | None) -> None:
        self._backdrop = backdrop
        self._grids: dict[str, dict[str, Any]] = {}
        self._blobs: dict[str, int] = {}
        self._viewers: list[dict[str, Any]] = []

    def add(self, result: xr.Dataset, context: StudyContext, specs: list[MapSpec]) -> int:
        """Add a viewer of an analysis with its thresholded maps in this order, and return the viewer's number."""
        mask = model_of(result).mask
        grid = {"shape": list(mask.volume.shape), "inverse": inverse_of(mask.affine), "edge": min(mask.voxel_size)}
        self._grids.setdefault(str(result.attrs["mask_sha256"]), grid)
        if self._backdrop is None:
            self._backdrop = silhouette(mask)
        maps = [self._map(result, context, spec, label(result, spec), start=None) for spec in specs]
        for suffix, words in presentation_of(result).unthresholded.items():
            spec = next(v for v in map_specs_of(result) if v.suffix == suffix)
            maps.append(self._map(result, context, spec, words, start=_slider_start(result, spec)))
        shown = next((i for i, m in enumerate(maps) if m["data"] is not None), 0)
        viewer = {"name": str(result.attrs["name"]), "maps": maps, "shown": shown}
        self._viewers.append(viewer | {"grid": list(self._grids).index(str(result.attrs["mask_sha256"]))})
        return len(self._viewers) - 1

    def _map(
        self, result: xr.Dataset, context: StudyContext, spec: MapSpec, words: str, *, start: float | None
    ) -> dict[str, Any]:
        values = spec.read(result).astype(np.float64)
        directions = directions_of(result, spec)
        two_sided = len(directions) > 1
        # A one-sided z below 0 says nothing.
        values = values if two_sided else np.maximum(values, 0)
        top = float(np.abs(values).max(initial=0))
        unit, digits = _UNITS[spec.units]
        step = max(10.0**-digits, top / INT16)
        blob = sparse(values, mask=model_of(result).mask, step=step) if top else None
        positive, negative = ramps_of(result, context, two_sided=two_sided)
        return {
            "label": words[:1].upper() + words[1:],
            "unit": unit + (" difference" if two_sided and spec.units == "probability" else ""),
            "digits": digits,
            "step": step,
            "top": top,
            "cut": start,
            "colours": [positive, negative],
            "sides": list(directions) if two_sided else [],
            "at": _first_place(result, values, spec, thresholded=start is None) if top else None,
            "data": None if blob is None else self._blobs.setdefault(blob, len(self._blobs)),
        }

    def add_shares(self, name: str, shares: Mapping[str, npt.NDArray[Any]], *, mask: Mask) -> int:
        """Add a viewer of the share of repetitions, in percent, in which each voxel survives; return its number.

        `shares` are maps (x, y, z) from 0 to 1 by their label.
        """
        grid = {"shape": list(mask.volume.shape), "inverse": inverse_of(mask.affine), "edge": min(mask.voxel_size)}
        self._grids.setdefault(mask.sha256, grid)
        if self._backdrop is None:
            self._backdrop = silhouette(mask)
        maps = [self._share(words, 100 * share[mask.volume], mask) for words, share in shares.items()]
        shown = next((i for i, m in enumerate(maps) if m["data"] is not None), 0)
        self._viewers.append({"name": name, "maps": maps, "shown": shown, "grid": list(self._grids).index(mask.sha256)})
        return len(self._viewers) - 1

    def _share(self, words: str, percent: npt.NDArray[Any], mask: Mask) -> dict[str, Any]:
        blob = sparse(percent, mask=mask, step=1.0) if percent.any() else None
        at = mask.to_mm(mask.voxel_ijk[[int(np.argmax(percent))]])[0]
        return {
            "label": words,
            "unit": "% of combinations",
            "digits": 0,
            "step": 1.0,
            "top": 100.0,
            "cut": 1.0,
            "colours": [HUES[0].ramp, ()],
            "sides": [],
            "at": None if blob is None else [round(v, 1) + 0.0 for v in at.tolist()],
            "data": None if blob is None else self._blobs.setdefault(blob, len(self._blobs)),
        }

    def as_json(self) -> dict[str, Any]:
        """Return everything but the voxels' values, as the page's script reads it."""
        back = self._backdrop
        backdrop = back and {"shape": back.shape, "inverse": back.inverse, "top": back.top, "box": back.box}
        return {"backdrop": backdrop, "grids": list(self._grids.values()), "viewers": self._viewers}

    def blobs(self) -> Mapping[str, str]:
        """Return the packed voxels' values by the names that the page's script looks for."""
        named = {f"data-{number}": blob for blob, number in self._blobs.items()}
        return named if self._backdrop is None else {"data-backdrop": self._backdrop.data, **named}


def _slider_start(result: xr.Dataset, spec: MapSpec) -> float:
    """Return where the slider of an unthresholded map begins: at the cluster-forming value, else at a third."""
    if spec.units == "z":
        from scipy.special import ndtri

        return float(-ndtri(model_of(result).inference.voxel_p))
    if "threshold_ale" in result.attrs:
        return float(result.attrs["threshold_ale"])
    return float(np.abs(spec.read(result)).max() / 3)


def _first_place(result: xr.Dataset, values: Any, spec: MapSpec, *, thresholded: bool) -> list[float]:
    """Return the place in mm that a viewer shows first: the largest cluster's peak, or the map's maximum."""
    if thresholded:
        largest = max(model_of(result).clusters(values, level=spec.level), key=lambda c: len(c.voxels))
        return [round(v, 1) + 0.0 for v in largest.peak_mm.tolist()]
    mask = model_of(result).mask
    at = mask.to_mm(mask.voxel_ijk[[int(np.argmax(np.abs(values)))]])[0]
    return [round(v, 1) + 0.0 for v in at.tolist()]
