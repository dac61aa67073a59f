"""The kinds of analysis in a study.toml: what each names, and its settings."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from ale_dask.config.inference import BUILT_IN, is_image

NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
"""What a name of foci or of an analysis may be."""
INPUTS = ("cluster-fwe", "uncorrected")
"""The two thresholded maps that contrasts and conjunctions are run on, as Nord et al. 2021 report both."""


class MainEffect(BaseModel, extra="forbid", frozen=True):
    """ALE of one sample, or of several pooled."""

    kind: Literal["main-effect"]
    foci: list[str]
    """The sample, or several, pooled."""

    @field_validator("foci", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class _Limited(BaseModel, extra="forbid", frozen=True):
    """An analysis that may be limited to a place."""

    inside: str | None = None
    """A main effect, whose significant clusters are the place, or an image, whose voxels above 0 are."""
    inside_correction: Literal["cluster-size", "cluster-mass"] | None = None
    """The correction by which these clusters are significant; by default that of the study."""

    @model_validator(mode="after")
    def _correction_of_clusters(self) -> Self:
        if self.inside_correction and not self.inside_is_name:
            raise ValueError("inside_correction belongs to inside with the name of a main effect")
        return self

    @property
    def inside_is_name(self) -> bool:
        """Whether `inside` is a name and no file of an image."""
        return bool(self.inside and self.inside not in BUILT_IN and NAME.fullmatch(self.inside))


class Contrast(_Limited, frozen=True):
    """The first arm compared with the second, in both directions; the arms name main effects."""

    kind: Literal["contrast"]
    arms: Annotated[list[str], Field(min_length=2, max_length=2)]
    """The two main effects."""


class Conjunction(_Limited, frozen=True):
    """The voxels in which all of several main effects, or of several contrasts, are significant."""

    kind: Literal["conjunction"]
    of: Annotated[list[str], Field(min_length=2)]
    """The main effects, two or more."""


Share = Annotated[float, Field(gt=0, le=1)]


class Subsampled(BaseModel, extra="forbid", frozen=True):
    """ALE of many subsamples of one main effect: how often each voxel survives in them."""

    kind: Literal["subsampled"]
    of: str
    """The main effect."""
    size: Annotated[int, Field(ge=2)]
    """Groups of subjects in each subsample."""
    subsamples: Annotated[int, Field(ge=2, le=10_000)] = 100
    """Subsamples that are drawn; where there are no more than these, all are taken."""
    share: Share = 0.5
    """Least share of the subsamples in which a voxel must survive to be in a cluster of the tables."""


class BalancedContrast(BaseModel, extra="forbid", frozen=True):
    """Two main effects compared in many pairs of equally large subsamples, in both directions."""

    kind: Literal["balanced-contrast"]
    arms: Annotated[list[str], Field(min_length=2, max_length=2)]
    """The two main effects."""
    size: Annotated[int, Field(ge=2)] | None = None
    """Groups of subjects in each subsample; by default one fewer than the smaller arm has."""
    subsamples: Annotated[int, Field(ge=2, le=10_000)] = 100
    """Pairs of subsamples that are drawn; where there are no more than these, all are taken."""
    share: Share = 0.5
    """Least share of the pairs in which a voxel must survive to be in a cluster of the tables."""


class Moderator(BaseModel, extra="forbid", frozen=True):
    """Where the experiments of a main effect report foci the more, the larger a column of theirs is."""

    kind: Literal["moderator"]
    of: str
    """The main effect, whose experiments have the column."""
    on: Annotated[list[str], Field(min_length=1, max_length=2)]
    """The column; or two columns, whose interaction is tested."""
    levels: Annotated[list[str | int | float], Field(min_length=2)] | None = None
    """The values of the column in their order, which become 0, 1, 2 …; experiments with another value are left out."""
    ranks: bool = False
    """Take the ranks of numbers instead of the numbers."""
    nuisance: list[str] = []
    """Columns whose linear effect is taken out of the moderator."""
    strata: str | None = None
    """The column within whose values the moderator is permuted."""

    @field_validator("on", "nuisance", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fit_together(self) -> Moderator:
        # An interaction is what a factor leaves within its values, so that it may be permuted within one of its own.
        own = self.strata in self.on and len(self.on) > 1
        used = [*self.on, *self.nuisance, *([] if self.strata is None or own else [self.strata])]
        if twice := [column for column in used if used.count(column) > 1]:
            raise ValueError(f"names the column '{twice[0]}' twice")
        if len(self.on) > 1 and (self.levels or self.ranks):
            raise ValueError("levels and ranks are of one column, not of two")
        if self.levels and self.ranks:
            raise ValueError("levels are ranks already; leave out one of the two")
        if self.levels and len(set(map(str, self.levels))) < len(self.levels):
            raise ValueError("levels names a value twice")
        return self


Analysis = Annotated[
    MainEffect | Contrast | Conjunction | Subsampled | BalancedContrast | Moderator, Field(discriminator="kind")
]
KINDS: dict[str, type[BaseModel]] = {
    "main-effect": MainEffect,
    "contrast": Contrast,
    "conjunction": Conjunction,
    "subsampled": Subsampled,
    "balanced-contrast": BalancedContrast,
    "moderator": Moderator,
}
NAMES_OTHERS = {
    "main-effect": "foci",
    "contrast": "arms",
    "conjunction": "of",
    "subsampled": "of",
    "balanced-contrast": "arms",
    "moderator": "of",
}
"""The key of each kind of analysis that names samples or main effects."""


class MapStatistic(BaseModel, extra="forbid", frozen=True):
    """A statistic of the whole map of a main effect, which a run tests on the exact null of its clusters."""

    of: str
    """The main effect."""
    name: Literal["networks", "regions", "laterality", "correlation", "dice"]
    """The statistic, as `ale-dask null` takes it."""
    image: str | None = None
    """The image that it takes: a file, yeo7 …, an atlas; for dice also another main effect."""
    null: Literal["uniform", "base-rate", "both"] | None = None
    """By default that of the run."""
    tail: Literal["upper", "lower", "two-sided"] | None = None
    """By default that of the statistic."""


def image_inside(analysis: Analysis) -> str | None:
    """Return the file of the image that an analysis is limited to; None where there is none."""
    if not isinstance(analysis, Contrast | Conjunction) or analysis.inside is None or analysis.inside_is_name:
        return None
    return analysis.inside if is_image(analysis.inside) else None
