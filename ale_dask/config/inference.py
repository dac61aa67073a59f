"""The settings of [inference]: everything that decides a p-value, and the conventions of other programs.

A setting is declared here and nowhere else: its values, its default, the value that versions without it computed
with, whether it changes the null, and what other programs do instead. study.toml, the sweep, the record of a run
and the settings columns of the tables take it from here.

The profiles were read off NiMARE 0.22.1, JALE 0.2.10 and the sources of the MATLAB programs, and off results of
GingerALE. Errors of approximation are no conventions and are not here: the bins of their voxel nulls (1e-5 in NiMARE,
1e-4 in MATLAB and JALE), float32 sums, z that end at the smallest double.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ale_dask.config.names import is_image_file

Profile = Literal["recommended", "gingerale", "nimare", "matlab", "jale"]
Rounding = Literal["none", "half-even", "half-up", "ceil", "floor"]
"""The voxel centre that a focus is moved to: none, the nearest (ties to the even index, or up), the next, or the
previous one along each axis, as NiMARE 0.0.x did."""
Kernel = Literal["density", "lattice", "lattice-ceil"]
"""A density per voxel inside an ellipsoid, or a product of factors along the axes that each sum to 1, inside a cube;
the edge of the cube is `support` standard deviations, rounded to whole voxels: to the nearest, or up."""
ClusterCut = Literal["plus-one", "share", "at", "above"]
"""The clusters and voxels that survive, for r of B null values at least as large: (1 + r)/(1 + B) <= alpha,
r/B <= alpha, those that reach the null value of rank ceil(alpha B), or those beyond the interpolated percentile."""
NullCut = Literal["observed", "own"]
"""The cluster-forming value in the null: that of the observed map, or one computed from random foci."""
Null = Literal["uniform", "base-rate", "both"]
"""Foci of the null are drawn evenly over the mask, from where the literature reports foci, or in both ways, as two
tests."""
BaseRateDraw = Literal["foci", "studies"]
"""The base-rate null draws single foci from a density, or all foci of a published study with as many foci."""
NullSpace = Literal["mask", "grid"]
"""Maxima and clusters of the null are looked for in the mask, or on the whole grid around it."""
CorrectionWord = Literal["cluster-size", "cluster-mass", "voxel", "tfce"]
"""The corrections for family-wise error; each has its row in `analyses.corrections`."""
OF_CLUSTERS: tuple[CorrectionWord, ...] = ("cluster-size", "cluster-mass")
"""Those whose statistic is of a cluster."""
ENHANCED: tuple[CorrectionWord, ...] = ("tfce",)
"""Those whose statistic of a voxel counts what lies around it, at every height."""
RelabelP = Literal["plus-one", "share"]
"""Uncorrected p of r of B relabellings: (1 + r)/(1 + B), or max(r, 1)/B."""
SameSubjects = Literal["pool", "keep", "refuse"]
"""Experiments of the same subjects become one experiment with all their foci, stay apart, or are an error."""

Probability = Annotated[float, Field(gt=0, lt=1)]
LITERATURE = "literature"
"""The base rate that comes with the package."""
DATABASES = ("neurosynth", "neuroquery")
"""Databases of studies that can be a base rate by name, once `ale-dask fetch` has fetched them."""
BUILT_IN = ("brain", "gm", "grey10")
"""The masks that come with the package."""
_PARCELS = range(100, 1001, 100)
FETCHED_LABELS = (
    *("yeo7", "yeo17"),
    *(f"schaefer{n}{networks}" for networks in ("", "-17") for n in _PARCELS),
)
"""Label images that are fetched by name: the networks of Yeo 2011, the parcels of Schaefer 2018."""
ATLAS_LABELS = ("AAL", "Gyrus", "Brodmann Area", "Nucleus")
"""Label images of the cluster tables, by their columns."""
WITHOUT_FILE = (LITERATURE, *DATABASES, *BUILT_IN, *FETCHED_LABELS, *ATLAS_LABELS)
"""Values of the settings in `IMAGES` that name no file of the user."""
IMAGES = ("mask", "search", "base_rate", "networks")
"""Settings that may name an image file; base_rate may also name a file of foci."""


@dataclass(frozen=True)
class Earlier:
    """Marks a setting that runs of earlier versions did not record, and holds the value that they computed with."""

    value: Any


class ChangesNull:
    """Marks a setting that is part of the identity of a plan where it differs from the default.

    A default stays out of the identity, so that nulls computed before there was the setting stay valid.
    """


class Inference(BaseModel):
    """Everything that decides a p-value; the defaults are the recommended ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voxel_p: Probability = 0.001
    """Cluster-forming p: voxels with a smaller uncorrected p form clusters."""
    cluster_p: Probability = 0.05
    """Family-wise p at which clusters and voxels survive."""
    iterations: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000
    """Iterations of each null, and relabellings of each contrast; more later repeat none."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """Seed of all random draws; the same seed gives the same bits on any machine."""
    until_decided: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Go on from `iterations`, doubling them, until each cluster is decided or there are this many."""
    correction: CorrectionWord = "cluster-size"
    """The statistic that decides what survives family-wise; TFCE (H = 2, E = 1/2) is exact and takes longer."""
    mask: str = "brain"
    """Where foci can lie: a built-in mask (brain; gm, grey matter; grey10, that of JALE) or an image."""
    search: Annotated[str | None, Earlier(None)] = None
    """The region in which inference is made: an image or a built-in mask; foci are drawn over `mask` all the same."""
    outside: Annotated[Literal["keep", "drop"], Earlier("keep")] = "keep"
    """Foci outside the mask stay in the observed map, or are removed before anything is counted."""
    within: Literal["max", "additive"] = "max"
    """Overlapping kernels of one experiment: the largest value counts, or 1 - prod(1 - K)."""
    fwhm: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Width of every kernel in mm; without it, the width follows from each experiment's sample size."""
    support: Annotated[float, Field(ge=2, le=8)] = 4.0
    """Standard deviations at which a kernel ends."""
    min_volume: Annotated[float, Field(ge=0)] = 50.0
    """Volume in mm3 that clusters of uncorrected maps, contrasts and conjunctions need."""
    contrast_p: Probability = 0.05
    """p of a voxel in contrasts, balanced contrasts and moderators: uncorrected, and family-wise by voxel."""
    gate: Literal["arms", "pooled", "none"] = "arms"
    """The region of a contrast: the thresholded map of the greater arm, that of both arms pooled, or the mask."""
    contrast_floor: Annotated[float, Field(ge=0, lt=1), Earlier(0.0)] = 0.05
    """With gate none, only voxels whose uncorrected p of the pooled experiments is below this are compared; 0: all."""
    shared: Literal["refuse", "exclude", "keep"] = "refuse"
    """Experiments that both arms of a contrast have, or that may be of the same subjects: an error, left out of both
    arms, or kept in both."""
    same_subjects: Annotated[SameSubjects | None, Earlier(None)] = "pool"
    """Experiments of one subject group; None, in runs of versions without the setting: all count as independent."""
    profile: Profile = "recommended"
    """The program whose conventions fill in the settings that are in `CONVENTIONS` and not given."""
    rounding: Annotated[Rounding, ChangesNull()] = "none"
    kernel: Annotated[Kernel, ChangesNull()] = "density"
    connectivity: Annotated[Literal[6, 18], ChangesNull()] = 6
    """Voxels are of one cluster when they share a face, or also when they share an edge."""
    cluster_cut: ClusterCut = "plus-one"
    null_cut: Annotated[NullCut, ChangesNull()] = "observed"
    null_space: Annotated[NullSpace, ChangesNull()] = "mask"
    relabel_p: RelabelP = "plus-one"
    tied_peaks: Literal["first", "mean"] = "first"
    """The position of a peak whose value several voxels have: the first of them, or their mean."""
    conjunction_of: Literal["z", "ale"] = "z"
    """The maps whose minimum a conjunction is."""
    null: Annotated[Null, Earlier("uniform")] = "both"
    base_rate: Annotated[str, Earlier(LITERATURE)] = "literature"
    """Where foci are reported whatever was studied: the built-in image, an image of numbers of foci, or a database of
    studies."""
    base_rate_draw: Annotated[BaseRateDraw, Earlier("foci")] = "foci"
    networks: Annotated[str | None, Earlier(None)] = None
    """A label image, by name or file, of whose networks the tables give the share of each cluster."""

    @model_validator(mode="before")
    @classmethod
    def _as_the_profile_says(cls, values: Any) -> Any:
        return filled(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _fit_together(self) -> Inference:
        if self.kernel != "density" and self.rounding == "none":
            raise ValueError(
                f"kernel {self.kernel} is one of whole voxels: it needs rounding half-even, half-up, ceil or floor"
            )
        if self.correction in ENHANCED and (self.connectivity != 6 or self.null_space != "mask"):
            raise ValueError(f"correction {self.correction} needs connectivity 6 and null_space mask")
        if self.null != "uniform":
            if self.base_rate_draw == "studies" and not is_database(self.base_rate):
                raise ValueError(
                    f"base_rate_draw studies needs base_rate to be a database of studies, not '{self.base_rate}': a "
                    f"file of their foci, or {' or '.join(DATABASES)} once fetched (ale-dask fetch {DATABASES[0]})"
                )
        elif self.base_rate != LITERATURE or self.base_rate_draw != "foci":
            name = "base_rate" if self.base_rate != LITERATURE else "base_rate_draw"
            raise ValueError(f"{name} is not used with null uniform; give null base-rate or both")
        if self.search is not None and self.null_space != "mask":
            raise ValueError("search needs null_space mask, so that the null too is evaluated where inference is made")
        return self

    @model_validator(mode="after")
    def _can_be_decided(self) -> Inference:
        if self.until_decided is not None:
            if self.correction not in OF_CLUSTERS:
                raise ValueError(f"until_decided needs correction {' or '.join(OF_CLUSTERS)}: it decides clusters")
            if self.until_decided < self.iterations:
                raise ValueError(f"until_decided, {self.until_decided}, is less than iterations, {self.iterations}")
        return self

    def min_voxels(self, voxel_volume: float) -> int:
        """Return the minimum volume in whole voxels, at least 1."""
        return max(1, math.ceil(self.min_volume / voxel_volume - 1e-9))


EARLIER: Mapping[str, Any] = MappingProxyType(
    {
        name: mark.value
        for name, setting in Inference.model_fields.items()
        for mark in setting.metadata
        if isinstance(mark, Earlier)
    }
)
"""The value, by setting, of runs that do not record the setting."""
CHANGES_NULL = tuple(
    name
    for name, setting in Inference.model_fields.items()
    if any(isinstance(mark, ChangesNull) for mark in setting.metadata)
)
"""Settings that are part of a plan's identity where they differ from the default."""
CONVENTIONS = (
    *("mask", "rounding", "kernel", "support", "connectivity", "cluster_cut", "null_cut", "null_space", "relabel_p"),
    *("tied_peaks", "conjunction_of", "same_subjects", "contrast_floor", "null"),
)
"""Settings that a profile decides, in the order in which a report lists departures from it."""
_SPM: dict[str, Any] = {"mask": "grey10", "kernel": "lattice-ceil", "support": 3.5}
# Other programs take listed experiments as independent, compare contrasts without a gate over all of the mask, and
# draw the foci of the null evenly.
_OTHER_PROGRAMS: dict[str, Any] = {"same_subjects": "keep", "contrast_floor": 0.0, "null": "uniform"}
_DEPARTURES: dict[str, dict[str, Any]] = {
    "recommended": {},
    "gingerale": {**_OTHER_PROGRAMS, "relabel_p": "share", "tied_peaks": "mean", "conjunction_of": "ale"},
    "nimare": {
        **_OTHER_PROGRAMS,
        "rounding": "half-even",
        "kernel": "lattice",
        "cluster_cut": "share",
        "relabel_p": "share",
    },
    "matlab": {**_OTHER_PROGRAMS, **_SPM, "rounding": "half-up", "connectivity": 18, "cluster_cut": "at"},
    "jale": {
        **_OTHER_PROGRAMS,
        **_SPM,
        "rounding": "ceil",
        "cluster_cut": "above",
        "null_cut": "own",
        "null_space": "grid",
    },
}
PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        name: MappingProxyType({key: Inference.model_fields[key].default for key in CONVENTIONS} | departures)
        for name, departures in _DEPARTURES.items()
    }
)
"""The settings in `CONVENTIONS` by profile."""
PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "gingerale": "GingerALE",
        "nimare": "NiMARE 0.22.1",
        "matlab": "Eickhoff's ALE for MATLAB",
        "jale": "JALE 0.2.10",
    }
)
"""The program, by profile, whose conventions the profile has."""


def filled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings completed by what their profile sets, such as the kernel and mask of GingerALE."""
    return {**PROFILES.get(values.get("profile", "recommended"), {}), **values}


def with_changes(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with `changes` made; another profile also replaces what the settings had from the old profile.

    A run records every setting, so that a convention that was asked for is recognised only by its difference from the
    old profile. The settings of a base rate are dropped where the new null is the uniform one.
    """
    before, after = values.get("profile", "recommended"), changes.get("profile")
    if after in (None, before):
        return _without_unused_base_rate({**values, **changes}, changes)
    table = PROFILES[before]
    asked_for = {k: v for k, v in values.items() if k not in table or v != table[k]}
    return _without_unused_base_rate({**asked_for, **changes}, changes)


def _without_unused_base_rate(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without a base rate where their null is the uniform one.

    A base rate among the changes themselves stays, so that `Inference` refuses the contradiction.
    """
    if filled(values).get("null", "uniform") != "uniform":
        return values
    unused = [key for key in ("base_rate", "base_rate_draw") if key in values and key not in changes]
    return {**values, **{key: EARLIER[key] for key in unused}}


def departures(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, by name, that differ from what their profile sets."""
    table = PROFILES[values.get("profile", "recommended")]
    return {k: values[k] for k, v in table.items() if k in values and values[k] != v}


def images_of(inference: Inference) -> dict[str, str]:
    """Return the image files that a user has given, by the names of the settings in `IMAGES` that name them."""
    return {key: str(file) for key in IMAGES if is_image(file := getattr(inference, key))}


def is_image(value: Any) -> bool:
    """Return whether a value of a setting in `IMAGES` is a file and not the name of a built-in image."""
    return value not in (None, *WITHOUT_FILE)


def image_name(value: Any) -> Any:
    """Return the name of an image file without its folders, which may name people; other values as they are."""
    return str(value).replace("\\", "/").rsplit("/", 1)[-1] if is_image(value) else value


def is_database(base_rate: str) -> bool:
    """Return whether a base rate is a database of studies: a file of foci, or one by name, and no image."""
    return base_rate != LITERATURE and not is_image_file(base_rate)
