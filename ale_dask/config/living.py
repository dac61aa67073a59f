"""[living] of a study.toml: repeated looks at a growing sample, and the error that each of them may spend."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Level = Annotated[float, Field(gt=0, lt=1)]


class Look(BaseModel):
    """A look at the experiments that there were: their number, and the family-wise p at which it was judged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    experiments: Annotated[int, Field(ge=1)]
    """Experiments with a focus of all samples together."""
    level: Level
    """The family-wise p below which clusters and voxels were retained."""
    out: str = ""
    """The last part of the path of its run."""


class Living(BaseModel):
    """The looks of a living meta-analysis, the last of which is that of the study; `ale-dask update` writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    planned: Annotated[int, Field(ge=2)] | None = None
    """Number of experiments at which updates end: the whole information. Without it no error is spent by plan."""
    alpha: Level = 0.05
    """Family-wise error over all looks."""
    spending: Literal["obrien-fleming", "pocock"] = "obrien-fleming"
    """The function by which the error is spent over the information (Lan & DeMets 1983)."""
    increments: Literal["any", "independent"] = "any"
    """How looks depend on each other: in any way, or as a statistic whose normal increments are independent."""
    looks: list[Look] = []
    """The looks so far, in order: the tables [[living.looks]]."""

    @model_validator(mode="after")
    def _grows(self) -> Living:
        numbers = [look.experiments for look in self.looks]
        if any(b <= a for a, b in pairwise(numbers)):
            raise ValueError(f"looks have {', '.join(map(str, numbers))} experiments; each needs more than the last")
        return self
