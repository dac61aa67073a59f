"""The samples of experiments in a study.toml: files, and the rules that select from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator


class Step(BaseModel, extra="forbid", frozen=True):
    """A rule that selects experiments: one of where, drop_empty, one_per, exclude, near and inside."""

    where: str | None = None
    """A condition on columns, such as "patients and weeks >= 4"."""
    drop_empty: Literal[True] | None = None
    """Experiments without a focus are left out."""
    one_per: str | None = None
    """The column that names groups of subjects: `rule` leaves one experiment of each group."""
    exclude: list[str] | None = None
    """Names of experiments or studies that are left out."""
    near: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    """x y z in mm MNI: experiments with a focus within `mm` of this point stay."""
    inside: str | None = None
    """An image: experiments with a focus in a voxel above 0 stay."""
    rule: Literal["first", "latest", "pooled"] | None = None
    """With `one_per`: the first one listed stays, or the one with the largest `by`, or all, pooled into one."""
    by: str | None = None
    """With the rule "latest", the column of numbers; the experiment with the largest number stays."""
    mm: Annotated[float, Field(gt=0, le=1000)] | None = None
    """With `near`, the distance in mm."""
    why: str = ""
    """The reason, which the report repeats."""

    @field_validator("exclude", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_rule(self) -> Step:
        given = [name for name in RULES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(RULES)}, not {' and '.join(given) or 'none'}")
        wanted = {"one_per": {"rule"}, "near": {"mm"}}.get(given[0], set()) | (
            {"by"} if self.rule == "latest" else set()
        )
        have = {name for name in ("rule", "by", "mm") if getattr(self, name) is not None}
        if have != wanted:
            raise ValueError(
                f"{given[0]} needs {' and '.join(sorted(wanted - have))}"
                if wanted - have
                else f"{' and '.join(sorted(have - wanted))} does not belong to {given[0]}"
            )
        if self.exclude is not None and not self.why:
            raise ValueError("exclude needs why: the reason")
        return self


RULES = ("where", "drop_empty", "one_per", "exclude", "near", "inside")
"""The keys of a `Step` of which exactly one is given."""


class FociSource(BaseModel, extra="forbid", frozen=True):
    """A sample of experiments: its files, the values that the files leave out, and the rules that select from it."""

    files: list[str]
    """A file of foci, a folder or a pattern such as `foci/*.txt`, or a list of these."""
    n: Annotated[int, Field(ge=1)] | None = None
    """Number of subjects of experiments whose file states none."""
    space: Literal["MNI", "Talairach"] | None = None
    """Space of experiments whose file states none; foci in Talairach space are converted to MNI."""
    talairach: Literal["other", "fsl", "spm"] = "other"
    """The program whose normalisation gave Talairach foci, which decides how they are converted (icbm2tal)."""
    select: list[Step] = []
    """Rules that select experiments, in order: the tables [[foci.NAME.select]]."""
    columns: dict[Literal["study", "contrast", "n", "space", "x", "y", "z"], str] = {}
    """Names in the files of columns that are not recognised, such as {n = "Anzahl"}."""
    groups: str | None = None
    """The column that names subject groups; without it, study and sample size tell them apart."""

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("files")
    @classmethod
    def _not_empty(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("names no file")
        return value
