"""The model of a result: the kind of its analysis, its settings, mask, directions and clusters, each read in one place.

The Dataset stays what is handed about and saved; a model is a view of it that is made where it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.corrections import CORRECTION_OF, Correction, Scales
from ale_dask.analyses.findings.clusters import Cluster, find_clusters
from ale_dask.config.analysis import INPUTS
from ale_dask.config.inference import EARLIER, Inference
from ale_dask.errors import InputError
from ale_dask.numerics.space import Mask

Results = xr.Dataset | Sequence[xr.Dataset] | Mapping[str, xr.Dataset]
"""One result, several, or results by name."""
SIMULATED = "simulated"
"""The attribute of a result whose foci were made up by a program; others lack it."""
PAIR = "pair-fwe"
"""The level of the maps of pairs of groups, where a moderator compares several."""
_MODELS: dict[str, type[Result]] = {}


@dataclass(frozen=True, eq=False)
class Result:
    """View a Dataset as the result of an analysis; each kind of analysis has a class of its own."""

    dataset: xr.Dataset
    kind: ClassVar[str]
    title: ClassVar[str]
    """The name of the kind of analysis."""

    def __init_subclass__(cls, *, kind: str) -> None:
        """Make a class the view of the results of a kind of analysis."""
        cls.kind = kind
        _MODELS[kind] = cls

    @property
    def signs(self) -> tuple[int, ...]:
        """The signs that values of its thresholded maps have, one for each direction."""
        return (1, -1)[: len(self.directions)]

    @property
    def parts(self) -> list[str]:
        """The names of the main effects that the result is made of."""
        raise NotImplementedError

    @property
    def directions(self) -> tuple[str, ...]:
        """What the result shows in words, one for each of its `signs`."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The name of the analysis."""
        return str(self.dataset.attrs["name"])

    @property
    def simulated(self) -> bool:
        """Whether the foci were made up by a program."""
        return is_simulated(self.dataset)

    @property
    def inference(self) -> Inference:
        """The settings that the result was computed with."""
        return _inference(self.dataset.attrs["inference"])

    @property
    def correction(self) -> Correction:
        """Its primary correction for family-wise error."""
        return CORRECTION_OF[self.inference.correction]

    @property
    def mask(self) -> Mask:
        """The mask that the result was computed on, and the region that inference was made in."""
        return mask_of(self.dataset)

    @property
    def two_sided(self) -> bool:
        """Whether values below 0 say something of their own."""
        return len(self.signs) > 1

    @property
    def sides(self) -> dict[int, str]:
        """What each sign says in words; one that is alone needs none."""
        return dict(zip(self.signs, self.directions, strict=True)) if self.two_sided else {1: ""}

    def shown_level(self, source: str) -> str:
        """Return the level of the map of what survives at an input."""
        return "thresholded"

    def clusters(self, values: npt.NDArray[Any], *, level: str = "") -> list[Cluster]:
        """Return the clusters of a thresholded map (voxel) of this result; `level` says which map it is."""
        inference = self.inference
        return find_clusters(
            values,
            mask=self.mask,
            rank=self._rank(values, level),
            average_ties=inference.tied_peaks == "mean",
            connectivity=inference.connectivity,
        )

    def _rank(self, values: npt.NDArray[Any], level: str) -> npt.NDArray[Any]:
        """Return the values (voxel) of which the largest of a cluster is its peak."""
        return np.asarray(np.abs(values))


class MainEffectResult(Result, kind="main-effect"):
    """View a Dataset as a main effect."""

    title = "Main effect"

    @property
    def parts(self) -> list[str]:
        """The name of the main effect itself."""
        return [self.name]

    @property
    def directions(self) -> tuple[str, ...]:
        """The only direction of a main effect, which needs no words."""
        return ("",)

    def shown_level(self, source: str) -> str:
        """Return the primary correction, or "uncorrected" at that input."""
        return self.correction.word if source == INPUTS[0] else source

    @property
    def scales(self) -> Scales:
        """What turns the whole numbers of its nulls into units."""
        attrs = self.dataset.attrs
        enhanced = (float(attrs.get(name, np.nan)) for name in ("tfce_unit", "base_rate_tfce_unit"))
        return Scales(int(attrs["scale_bits"]), self.mask.voxel_volume, *enhanced)

    def _rank(self, values: npt.NDArray[Any], level: str) -> npt.NDArray[Any]:
        # Fixed-point sums decide the uniform null's maps, z under the base rate those against the base rate.
        uniform = level == "uncorrected" or level.startswith("uniform-")
        against = level.startswith("base-rate-") or (self.inference.null == "base-rate" and not uniform)
        return np.asarray(self.dataset["z_base_rate" if against else "s"].values)


class ContrastResult(Result, kind="contrast"):
    """View a Dataset as a contrast."""

    title = "Contrast"

    @property
    def parts(self) -> list[str]:
        """The names of the two main effects that are compared."""
        return [str(name) for name in self.dataset.attrs["arms"]]

    @property
    def directions(self) -> tuple[str, ...]:
        """Both directions in words, in the order of `signs`: ("drug > therapy", "therapy > drug")."""
        first, second = self.parts
        return f"{first} > {second}", f"{second} > {first}"

    def shown_level(self, source: str) -> str:
        """Return the level of the gated map, which is uncorrected at both inputs."""
        return "uncorrected"

    def _rank(self, values: npt.NDArray[Any], level: str) -> npt.NDArray[Any]:
        size: npt.NDArray[Any] = np.abs(values)
        difference: npt.NDArray[Any] = np.sign(values) * self.dataset["difference"].values
        if level == "voxel-fwe":
            return difference
        if self.inference.tied_peaks == "mean":
            return size
        # The smallest possible p is shared by many voxels: of equal z the larger difference is the peak.
        shown = np.flatnonzero(values)
        order = shown[np.lexsort((difference[shown], size[shown]))]
        rank = np.zeros(len(values), dtype=np.int64)
        rank[order] = np.arange(1, len(order) + 1)
        return rank


class ConjunctionResult(Result, kind="conjunction"):
    """View a Dataset as a conjunction."""

    title = "Conjunction"

    @property
    def parts(self) -> list[str]:
        """The names of the main effects whose overlap this is."""
        return [str(name) for name in self.dataset.attrs["of"]]

    @property
    def directions(self) -> tuple[str, ...]:
        """The overlap in words: ("drug AND therapy",)."""
        return (" AND ".join(self.parts),)

    def _rank(self, values: npt.NDArray[Any], level: str) -> npt.NDArray[Any]:
        if self.inference.conjunction_of == "ale":
            return np.asarray(self.dataset["ale_min"].values.max(axis=0))
        return np.asarray(np.abs(values))


class ModeratorResult(Result, kind="moderator"):
    """View a Dataset as a regression of MA maps on a moderator."""

    title = "Moderator"

    @property
    def parts(self) -> list[str]:
        """The name of the main effect whose experiments have the moderator."""
        return [str(self.dataset.attrs["of"])]

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions in words, such as ("higher dose", "lower dose")."""
        return tuple(str(words) for words in np.atleast_1d(self.dataset.attrs["directions"]))

    @property
    def sides(self) -> dict[int, str]:
        """What each sign says in words, also of k groups, whose only direction says that any two differ."""
        return dict(zip(self.signs, self.directions, strict=True))

    def shown_level(self, source: str) -> str:
        """Return the primary correction, by voxel where no cluster is tested; or "uncorrected" at that input."""
        if source != INPUTS[0]:
            return "uncorrected"
        of_clusters = f"z_moderator_{self.correction.short}_fwe" in self.dataset
        return f"{self.correction.short if of_clusters else 'voxel'}-fwe"

    def _rank(self, values: npt.NDArray[Any], level: str) -> npt.NDArray[Any]:
        if level == PAIR:
            return np.asarray(np.abs(values))
        # The smallest possible p is shared by many voxels: the peak is where T / sd is largest.
        return np.asarray(np.sign(values) * np.nan_to_num(self.dataset["t_moderator"].values))


def kind_of(dataset: xr.Dataset) -> str:
    """Return the kind of analysis that a Dataset is the result of; "" of a Dataset that is no result."""
    return str(dataset.attrs.get("kind", ""))


def is_simulated(*results: xr.Dataset) -> bool:
    """Return whether any of some Datasets is of foci that were made up by a program."""
    return any(bool(result.attrs.get(SIMULATED, False)) for result in results)


def with_origin(results: Mapping[str, xr.Dataset], *, simulated: bool) -> dict[str, xr.Dataset]:
    """Return results by name with a mark on each, where they are of foci that were made up by a program."""
    # NetCDF has no attributes that are true or false.
    return {name: result.assign_attrs({SIMULATED: 1}) if simulated else result for name, result in results.items()}


def model_of(result: xr.Dataset) -> Result:
    """Return the model of a result: a view of its Dataset as a main effect, a contrast, a conjunction ….

    Raises
    ------
    InputError
        when the Dataset is the result of none of these.
    """
    kind = kind_of(result)
    if kind not in _MODELS:
        raise InputError(f"a Dataset of kind '{kind}' is the result of no analysis")
    return _MODELS[kind](result)


def by_name(results: Results) -> dict[str, xr.Dataset]:
    """Return results by their names, given as one, as several or by name already.

    Raises
    ------
    InputError
        when two of several have one name, or something else is given.
    """
    if isinstance(results, Mapping) and not isinstance(results, xr.Dataset):
        return dict(results)
    listed = [results] if isinstance(results, xr.Dataset) else list(results)
    if wrong := [type(r).__name__ for r in listed if not isinstance(r, xr.Dataset) or not kind_of(r)]:
        raise InputError(f"got a {wrong[0]} that is no result; give what main_effect, contrast or conjunction returns")
    named = {str(r.attrs["name"]): r for r in listed}
    if len(named) < len(listed):
        raise InputError("two results have one name; give each its own (name=…)")
    return named


@lru_cache(maxsize=64)
def _inference(text: str) -> Inference:
    return Inference.model_validate({**EARLIER, **json.loads(text)})


_MASKS: dict[tuple[str, ...], Mask] = {}


def mask_of(result: xr.Dataset) -> Mask:
    """Return the mask that the voxels of a result are of; results on the same mask share it."""
    attrs = result.attrs
    key = tuple(str(attrs.get(name, "")) for name in ("mask_sha256", "search_sha256", "mask", "search"))
    mask = _MASKS.get(key)
    if mask is None:
        volume = np.zeros(tuple(attrs["shape"]), dtype=bool)
        volume[tuple(result["voxel_ijk"].values.T)] = True
        search = np.asarray(result["searched"].values, dtype=bool) if "searched" in result else None
        affine = np.array(attrs["affine"]).reshape(4, 4)
        mask = Mask(volume, affine, name=attrs["mask"], search=search, search_name=attrs.get("search", ""))
        if len(_MASKS) >= 4:
            _MASKS.clear()
        _MASKS[key] = mask
    return mask
