"""What the slice viewer of the page shows of each analysis: its maps, their colours, and where it begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ale_dask.analyses.findings.clusters import clusters_of, grid_of
from ale_dask.analyses.main_effect import inference_of
from ale_dask.reporting.common.maps import MapSpec, views_of
from ale_dask.reporting.common.wording import label
from ale_dask.reporting.figures.maps import ramps_of
from ale_dask.reporting.figures.study_context import StudyContext
from ale_dask.reporting.figures.viewer_layers import INT16, Backdrop, inverse_of, silhouette, sparse
from ale_dask.reporting.tables.clusters import directions

Z_STEP, ALE_STEP = 0.01, 1e-5
"""Of values in the viewer: what it prints is the rounded value itself."""
_WORDS = {"z": "z value", "probability": "ALE"}
_UNCUT = {
    "main-effect": {"z": "unthresholded z", "stat": "unthresholded ALE"},
    "contrast": {"stat_desc-group1MinusGroup2": "unthresholded difference of ALE"},
    "conjunction": {"z_desc-conjunctionUnthresholded": "unthresholded minimum z"},
}


class Viewers:
    """The viewers of a page: what each shows, and the data of all, every content and grid once."""

    def __init__(self, backdrop: Backdrop | None) -> None:
        self._backdrop = backdrop
        self._grids: dict[str, dict[str, Any]] = {}
        self._blobs: dict[str, int] = {}
        self._viewers: list[dict[str, Any]] = []

    def add(self, result: xr.Dataset, company: StudyContext, views: list[MapSpec]) -> int:
        """Take in an analysis with its thresholded maps in this order, and return the viewer's number."""
        mask = grid_of(result)
        grid = {"shape": list(mask.volume.shape), "inverse": inverse_of(mask.affine), "edge": min(mask.voxel_size)}
        self._grids.setdefault(str(result.attrs["mask_sha256"]), grid)
        if self._backdrop is None:
            self._backdrop = silhouette(mask)
        uncut = _UNCUT[result.attrs["kind"]]
        maps = [self._map(result, company, view, label(result, view), cut=None) for view in views]
        for suffix, words in uncut.items():
            view = next(v for v in views_of(result) if v.suffix == suffix)
            maps.append(self._map(result, company, view, words, cut=_first_cut(result, view)))
        shown = next((i for i, m in enumerate(maps) if m["data"] is not None), 0)
        viewer = {"name": str(result.attrs["name"]), "maps": maps, "shown": shown}
        self._viewers.append(viewer | {"grid": list(self._grids).index(str(result.attrs["mask_sha256"]))})
        return len(self._viewers) - 1

    def _map(
        self, result: xr.Dataset, company: StudyContext, view: MapSpec, words: str, *, cut: float | None
    ) -> dict[str, Any]:
        values = view.read(result).astype(np.float64)
        contrast = result.attrs["kind"] == "contrast"
        # Below 0 a one-sided z says nothing; where no focus is near it is the smallest number there is.
        values = values if contrast else np.maximum(values, 0)
        top = float(np.abs(values).max(initial=0))
        step = max(Z_STEP if view.units == "z" else ALE_STEP, top / INT16)
        blob = sparse(values, mask=grid_of(result), step=step) if top else None
        positive, negative = ramps_of(result, company)
        sides = list(directions(result)) if contrast else []
        return {
            "label": words[:1].upper() + words[1:],
            "unit": _WORDS[view.units] + (" difference" if contrast and view.units != "z" else ""),
            "digits": 2 if view.units == "z" else 5,
            "step": step,
            "top": top,
            "cut": cut,
            "colours": [positive, negative],
            "sides": sides,
            "at": _start(result, values, view, thresholded=cut is None) if top else None,
            "data": None if blob is None else self._blobs.setdefault(blob, len(self._blobs)),
        }

    def as_json(self) -> dict[str, Any]:
        """Return all but the data themselves, as the page's script reads it."""
        back = self._backdrop
        behind = back and {"shape": back.shape, "inverse": back.inverse, "top": back.top, "box": back.box}
        return {"backdrop": behind, "grids": list(self._grids.values()), "viewers": self._viewers}

    def blobs(self) -> Mapping[str, str]:
        """Return the data by the names that the page's script looks for."""
        named = {f"data-{number}": blob for blob, number in self._blobs.items()}
        return named if self._backdrop is None else {"data-backdrop": self._backdrop.data, **named}


def _first_cut(result: xr.Dataset, view: MapSpec) -> float:
    """Return where the slider of an unthresholded map begins: at the cluster-forming value, a difference at a third."""
    if view.units == "z":
        from scipy.special import ndtri

        return float(-ndtri(inference_of(result).voxel_p))
    if "threshold_ale" in result.attrs:
        return float(result.attrs["threshold_ale"])
    return float(np.abs(view.read(result)).max() / 3)


def _start(result: xr.Dataset, values: Any, view: MapSpec, *, thresholded: bool) -> list[float]:
    """Return the peak of the largest cluster in mm, of an unthresholded map its maximum."""
    if thresholded:
        largest = max(clusters_of(result, values, level=view.level), key=lambda c: len(c.voxels))
        return [round(v, 1) + 0.0 for v in largest.peak_mm.tolist()]
    mask = grid_of(result)
    at = mask.to_mm(mask.voxel_ijk[[int(np.argmax(np.abs(values)))]])[0]
    return [round(v, 1) + 0.0 for v in at.tolist()]
