"""[records] of a study.toml: how the literature was searched and screened, for the methods text and the checklist."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=0)] | None


class Records(BaseModel):
    """How records of the literature were found, screened and extracted; nothing of it changes a number.

    The numbers are those of the PRISMA 2020 flow, and have to add up: identified - duplicates = screened,
    screened - the sum of `excluded` = assessed, assessed - the sum of `not_eligible` = included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str = ""
    """The research question, in a sentence."""
    registration: str = ""
    """Where the protocol is registered, such as "PROSPERO CRD42020000000", or "none"."""
    protocol: str = ""
    """The file that `ale-dask protocol` wrote before the data were seen; the run says how it deviates from it."""
    databases: list[str] = []
    """The databases that were searched."""
    searched: str = ""
    """The date of the last search."""
    query: str = ""
    """The search string."""
    criteria: str = ""
    """What a study needed to be included, in a sentence."""
    coverage: str = ""
    """How much of the brain the experiments searched, such as "the whole brain in all experiments"."""
    identified: Count = None
    """Records found."""
    duplicates: Count = None
    """Records removed as duplicates before screening."""
    screened: Count = None
    """Records whose title and abstract were read."""
    excluded: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Records excluded by title and abstract, by reason."""
    assessed: Count = None
    """Reports whose full text was read."""
    not_eligible: dict[str, Annotated[int, Field(ge=0)]] = {}
    """Reports excluded by their full text, by reason."""
    included: Count = None
    """Studies included."""
    extraction: str = ""
    """Who extracted and who checked the coordinates, in a sentence."""
    risk_of_bias: str = ""
    """How the risk of bias was assessed, in a sentence."""
    availability: str = ""
    """Where the data, the study and its results can be found."""

    @model_validator(mode="after")
    def _adds_up(self) -> Records:
        steps = (
            ("screened", self.screened, "identified", self.identified, "duplicates", self.duplicates or 0),
            ("assessed", self.assessed, "screened", self.screened, "excluded", sum(self.excluded.values())),
            ("included", self.included, "assessed", self.assessed, "not_eligible", sum(self.not_eligible.values())),
        )
        for left, number, before, start, removed, fewer in steps:
            if number is not None and start is not None and start - fewer != number:
                rest = start - fewer
                raise ValueError(f"{before} {start} - {removed} {fewer} = {rest}, but {left} is {number}: correct one")
        return self

    @property
    def given(self) -> dict[str, object]:
        """The keys of [records] that are given, with their values."""
        return self.model_dump(exclude_defaults=True, exclude={"protocol"})
