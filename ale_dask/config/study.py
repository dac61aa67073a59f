"""study.toml: which foci, which analyses, which inference. Unknown keys are errors, and errors name the key."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ale_dask.config.files import expanded, read_regular
from ale_dask.config.profiles import (
    BaseRateDraw,
    ClusterCut,
    Kernel,
    Null,
    NullCut,
    NullSpace,
    Profile,
    RelabelP,
    Rounding,
    SameSubjects,
    filled,
)
from ale_dask.config.sealed_file import check_sealed
from ale_dask.errors import InputError

Probability = Annotated[float, Field(gt=0, lt=1)]
LITERATURE = "literature"
"""The base rate that comes with the package."""
DATABASES = ("neurosynth", "neuroquery")
"""Databases of studies that can be a base rate by name, once `ale-dask fetch` has fetched them."""
BUILT_IN = ("brain", "gm", "grey10")
"""The masks that come with the package."""
IMAGES = ("mask", "search", "base_rate")
"""Settings that may name an image file, or base_rate one of foci."""
EARLIER: Mapping[str, Any] = MappingProxyType(
    {
        "same_subjects": None,
        "contrast_floor": 0.0,
        "search": None,
        "outside": "keep",
        "null": "uniform",
        "base_rate": LITERATURE,
        "base_rate_draw": "foci",
    }
)
"""What versions without these settings computed with: theirs, where what they wrote lacks one."""
WITHOUT_FILE = (LITERATURE, *DATABASES, *BUILT_IN)
"""Names of masks and base rates that are no files of the user's."""
INPUTS = ("cluster-fwe", "uncorrected")
"""The two thresholded maps that contrasts and conjunctions are run on, as Nord et al. 2021 report both."""
# Of a study.toml; a thousand experiments that are left out by name take 50 kB.
_MOST_BYTES = 4 << 20
# The time that tomllib takes for a dotted key grows with the square of its parts.
_MOST_KEYS = 100
_DOTTED = re.compile(r"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++)++")
_ENDINGS = (".nii", ".nii.gz", ".img", ".img.gz", ".hdr", ".hdr.gz", ".mgh", ".mgz")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Inference(_Frozen):
    """Everything that decides a p-value; the defaults are the recommended ones."""

    voxel_p: Probability = 0.001
    cluster_p: Probability = 0.05
    iterations: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    until_decided: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    """Go on from `iterations`, twice as many each time, until each cluster is decided or there are this many."""
    correction: Literal["cluster-size", "cluster-mass", "voxel", "tfce"] = "cluster-size"
    mask: str = "brain"
    search: str | None = None
    """The region in which inference is made: an image or a built-in mask; foci are drawn over `mask` all the same."""
    outside: Literal["keep", "drop"] = "keep"
    """What becomes of foci outside the mask: they stay in the observed map, or are removed before anything is counted.
    """
    within: Literal["max", "additive"] = "max"
    fwhm: Annotated[float, Field(gt=0, lt=100)] | None = None
    support: Annotated[float, Field(ge=2, le=8)] = 4.0
    min_volume: Annotated[float, Field(ge=0)] = 50.0
    contrast_p: Probability = 0.05
    gate: Literal["arms", "pooled", "none"] = "arms"
    contrast_floor: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """With gate none, only voxels whose uncorrected p of the pooled experiments is below this are compared; 0: all."""
    shared: Literal["refuse", "exclude", "keep"] = "refuse"
    """What a contrast does with experiments that both arms have, or that may be of the same subjects."""
    same_subjects: SameSubjects | None = "pool"
    """What becomes of experiments of one subject group; None, in runs of versions without it, takes all as independent.
    """
    profile: Profile = "recommended"
    """The program whose conventions fill in those of these choices that are not made here."""
    rounding: Rounding = "none"
    kernel: Kernel = "density"
    connectivity: Literal[6, 18] = 6
    """Voxels are of one cluster when they share a face, or also when they share an edge."""
    cluster_cut: ClusterCut = "plus-one"
    null_cut: NullCut = "observed"
    null_space: NullSpace = "mask"
    relabel_p: RelabelP = "plus-one"
    tied_peaks: Literal["first", "mean"] = "first"
    conjunction_of: Literal["z", "ale"] = "z"
    null: Null = "both"
    base_rate: str = "literature"
    """Of the other null: where foci are reported anyway, as the built-in image, one of numbers of foci or a database of
    studies has it."""
    base_rate_draw: BaseRateDraw = "foci"
    """What its iterations draw: single foci from the density, or the foci of whole studies of a database."""

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
        if self.correction == "tfce" and (self.connectivity != 6 or self.null_space != "mask"):
            raise ValueError("correction tfce needs connectivity 6 and null_space mask")
        if self.null != "uniform":
            if self.base_rate_draw == "studies" and not is_database(self.base_rate):
                raise ValueError(
                    f"base_rate_draw studies needs base_rate to be a database of studies, not '{self.base_rate}': a "
                    f"file of their foci, or {' or '.join(DATABASES)} once fetched (ale-dask fetch {DATABASES[0]})"
                )
        elif self.base_rate != LITERATURE or self.base_rate_draw != "foci":
            which = "base_rate" if self.base_rate != LITERATURE else "base_rate_draw"
            raise ValueError(f"{which} has no say with null uniform; give null base-rate or both")
        if self.search is not None and self.null_space != "mask":
            raise ValueError("search needs null_space mask: the null is looked at where inference is made")
        return self

    @model_validator(mode="after")
    def _can_be_decided(self) -> Inference:
        if self.until_decided is not None:
            if self.correction not in ("cluster-size", "cluster-mass"):
                raise ValueError("until_decided needs correction cluster-size or cluster-mass: it decides clusters")
            if self.until_decided < self.iterations:
                raise ValueError(f"until_decided, {self.until_decided}, is less than iterations, {self.iterations}")
        return self

    def min_voxels(self, voxel_volume: float) -> int:
        """Return the minimum volume in whole voxels, at least 1."""
        return max(1, math.ceil(self.min_volume / voxel_volume - 1e-9))


class Step(_Frozen):
    """One rule that experiments are selected by: exactly one of the first six, with what belongs to it."""

    where: str | None = None
    """A condition on columns, such as "patients and weeks >= 4"."""
    drop_empty: Literal[True] | None = None
    one_per: str | None = None
    """The column that names groups of subjects: one experiment of each stays."""
    exclude: list[str] | None = None
    """Experiments or studies."""
    near: Annotated[list[float], Field(min_length=3, max_length=3)] | None = None
    """x y z in mm MNI: experiments with a focus within `mm` of it."""
    inside: str | None = None
    """An image: experiments with a focus in a voxel above 0."""
    rule: Literal["first", "latest", "pooled"] | None = None
    by: str | None = None
    """Of "latest": the column of numbers whose largest stays."""
    mm: Annotated[float, Field(gt=0, le=1000)] | None = None
    why: str = ""

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
"""The rules of a step."""


class FociSource(_Frozen):
    """One sample of experiments: files, what the files leave out, and which experiments count."""

    files: list[str]
    n: Annotated[int, Field(ge=1)] | None = None
    space: Literal["MNI", "Talairach"] | None = None
    talairach: Literal["other", "fsl", "spm"] = "other"
    select: list[Step] = []
    columns: dict[Literal["study", "contrast", "n", "space", "x", "y", "z"], str] = {}
    """Names that the tables give to these columns, where they are unusual: {n = "Anzahl"}."""
    groups: str | None = None
    """The column that names groups of subjects; without one they go by study and sample size."""

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


class MainEffect(_Frozen):
    """ALE of one sample, or of several pooled."""

    kind: Literal["main-effect"]
    foci: list[str]

    @field_validator("foci", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Contrast(_Frozen):
    """First arm against second, both directions; arms are main effects."""

    kind: Literal["contrast"]
    arms: Annotated[list[str], Field(min_length=2, max_length=2)]


class Conjunction(_Frozen):
    """Where all of these main effects are found."""

    kind: Literal["conjunction"]
    of: Annotated[list[str], Field(min_length=2)]


Analysis = Annotated[MainEffect | Contrast | Conjunction, Field(discriminator="kind")]


class Backend(_Frozen):
    """Where blocks are computed; none of it changes a result. What is not given is Dask's own configuration's."""

    name: str = "auto"
    workers: int | str | None = None
    """Threads, processes or worker jobs: a number, or "MIN:MAX" to follow the work between the two."""
    block_seconds: Annotated[float, Field(gt=0)] = 1.0
    block_size: Annotated[int, Field(ge=1)] | None = None
    account: str | None = None
    partition: str | None = None
    walltime: Annotated[str, Field(pattern=r"^\d+:[0-5]\d:[0-5]\d$")] | None = None
    """Of one worker job, hours:minutes:seconds; the run goes on in the next job."""
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[kKMGT]i?B$")] | None = None
    """Of one worker."""
    dask_report: bool = False
    """Write Dask's own performance report, 2 MB, to logs/dask-report.html; needs bokeh."""
    prologue: list[str] | None = None
    """Shell lines before the worker starts in its job, such as "module load python"."""
    hosts: list[str] | None = None
    """For ssh: where workers run, and on the first also the scheduler."""
    options: dict[str, Any] | None = None
    """Keyword arguments for the class or function that starts the workers, as they are."""

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_range(cls, value: Any) -> Any:
        if value is None:
            return None
        least, colon, most = str(value).partition(":")
        numbers = [least, most] if colon else [least]
        if isinstance(value, bool) or not all(re.fullmatch(r"[1-9]\d{0,5}", n) for n in numbers):
            raise ValueError(f"'{value}': give a number from 1, or MIN:MAX")
        if colon and int(least) > int(most):
            raise ValueError(f"'{value}': MIN is larger than MAX")
        return value if colon else int(least)

    @field_validator("options")
    @classmethod
    def _can_be_written(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        try:
            tomli_w.dumps(value or {})
        except TypeError as error:
            raise ValueError(f"{error}: use text, numbers, true/false, lists and tables") from error
        return value

    @property
    def least(self) -> int | None:
        """Return the number of workers to keep at least, or None if none is given."""
        return None if self.workers is None else int(str(self.workers).partition(":")[0])

    @property
    def most(self) -> int | None:
        """Return the number of workers to have at most, or None if none is given."""
        return None if self.workers is None else int(str(self.workers).rpartition(":")[2])

    @property
    def kind(self) -> str:
        """Return the name without the address or path in it."""
        if self.name.endswith(".json"):
            return "scheduler-file"
        return self.name.partition("://")[0]


class Study(_Frozen):
    """A whole study: samples, analyses in the order they are reported, inference, backend."""

    title: str = "ALE meta-analysis"
    simulated: bool = False
    foci: dict[str, FociSource]
    analysis: dict[str, Analysis]
    inference: Inference = Inference()
    backend: Backend = Backend()
    sweep: dict[str, list[Any]] = {}
    """Of `ale-dask sweep`: the values that each setting takes in turn, by name of [inference] or "select.COLUMN"."""

    @field_validator("foci", "analysis")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise ValueError("is empty: name at least one")
        for name in value:
            # Names become folders of the output: nothing in them may leave it.
            if not _NAME.fullmatch(name):
                raise ValueError(f"'{name}': use lower-case letters, digits, '-' and '_' in names")
        return value


def main_effects(study: Study) -> dict[str, MainEffect]:
    """Return the main effects of a study by name, in order."""
    return {name: a for name, a in study.analysis.items() if isinstance(a, MainEffect)}


def _check_references(study: Study, source: str) -> Study:
    known = main_effects(study)
    for name, analysis in study.analysis.items():
        if isinstance(analysis, MainEffect):
            key, wanted, have = "foci", analysis.foci, list(study.foci)
        elif isinstance(analysis, Contrast):
            key, wanted, have = "arms", analysis.arms, list(known)
        else:
            key, wanted, have = "of", analysis.of, list(known)
        for want in wanted:
            if want not in have:
                raise InputError(
                    f"{source}: analysis.{name}.{key}: no {'foci' if key == 'foci' else 'main effect'} named "
                    f"'{want}'; there are: {', '.join(have) or 'none'}"
                )
        if len(set(wanted)) != len(wanted):
            raise InputError(f"{source}: analysis.{name}.{key}: names the same one twice")
    return study


def parse_study(text: str, *, source: str = "study.toml", kept: bool = False) -> Study:
    """Return the study that a TOML text describes; of a `kept` one, what it lacks is as before there was the setting.

    Raises
    ------
    InputError
        with the file and the key, or the line where the TOML itself is broken.
    """
    if any(keys.count(".") > _MOST_KEYS for keys in _DOTTED.findall(text)):
        raise InputError(f"{source}: keys of more than {_MOST_KEYS} parts; this is no study, check how it was saved")
    try:
        values = tomllib.loads(text)
        if kept and isinstance(inference := values.get("inference"), dict):
            values["inference"] = {**EARLIER, **inference}
        return study_from(values, source=source)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{source}: nested too deeply for a study; check how it was saved") from error


def study_from(values: dict[str, Any], *, source: str = "study") -> Study:
    """Return the study of a nested dictionary; errors name `source` and the key."""
    try:
        return _check_references(Study.model_validate(values), source)
    except ValidationError as error:
        raise InputError(_message(error, source)) from error


def backend_from(values: dict[str, Any], *, source: str = "settings") -> Backend:
    """Return the backend of keyword values; errors name the key."""
    try:
        return Backend.model_validate(values)
    except ValidationError as error:
        raise InputError(_message(error, source)) from error


def step_from(values: dict[str, Any], *, source: str = "select") -> Step:
    """Return the rule of selection of keyword values; errors name the key."""
    try:
        return Step.model_validate(values)
    except ValidationError as error:
        raise InputError(_message(error, source)) from error


def inference_from(values: dict[str, Any], *, source: str = "settings") -> Inference:
    """Return the inference settings of keyword values; errors name the key."""
    try:
        return Inference.model_validate(values)
    except ValidationError as error:
        raise InputError(_message(error, source)) from error


def _message(error: ValidationError, source: str) -> str:
    lines = []
    for problem in error.errors():
        parts = [p for p in problem["loc"] if p not in ("main-effect", "contrast", "conjunction")]
        # People count the tables of a list from 1.
        key = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in parts).removeprefix(".")
        what = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            what = "unknown key"
        elif problem["type"] == "missing":
            what = "is missing"
        elif problem["type"].startswith("union_tag"):
            what = "kind must be 'main-effect', 'contrast' or 'conjunction'"
        lines.append(f"{source}{': ' if key[:1] != '[' else ''}{key or 'study'}: {what}")
    return "\n".join(lines)


def load_study(path: str | Path, *, kept: bool = False) -> Study:
    """Return the study of a study.toml; foci paths in it are relative to its folder and made absolute here.

    A `kept` one was written by a run with every setting there was: one that it lacks had no say in its results.

    Raises
    ------
    InputError
        for a file that cannot be read, or a key of it that is wrong.
    StoreError
        when it is the copy that a run wrote, and was damaged or changed since.
    """
    path = Path(path)
    try:
        text = read_regular(path, most=_MOST_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not a study.toml, or not saved as UTF-8 ({error.reason}); a file of foci is named by `files` in "
            "a study.toml, or given to main-effect, contrast and conjunction"
        ) from error
    check_sealed(path, text)
    study = with_each_file(parse_study(text, source=str(path), kept=kept), folder=path.parent)
    return with_files(study, lambda name, file: str((path.parent / file).resolve()))


def with_each_file(study: Study, *, folder: Path = Path()) -> Study:
    """Return the study with the files of each folder and pattern that its samples name, relative to `folder`.

    Raises
    ------
    InputError
        for a folder without files, and a pattern that no file fits.
    """
    foci = {
        name: source.model_copy(update={"files": expanded(source.files, folder=folder)})
        for name, source in study.foci.items()
    }
    return study.model_copy(update={"foci": foci})


def with_files(study: Study, place: Callable[[str, str], str]) -> Study:
    """Return the study with each file of a sample, (name, file), and its images where `place` says.

    The images are those of its settings and of its axes. Of them, name is ":mask", ":search" or ":base_rate", which no
    sample can be called.
    """

    def step(name: str, one: Step) -> Step:
        if one.inside in (None, *BUILT_IN):
            return one
        return one.model_copy(update={"inside": place(name, str(one.inside))})

    foci = {
        name: source.model_copy(
            update={
                "files": [place(name, f) for f in source.files],
                "select": [step(name, one) for one in source.select],
            }
        )
        for name, source in study.foci.items()
    }
    images = {key: place(f":{key}", file) for key, file in images_of(study.inference).items()}
    inference = study.inference.model_copy(update=images)
    sweep = {
        axis: [place(f":{axis}", str(v)) if axis in IMAGES and is_image(v) else v for v in values]
        for axis, values in study.sweep.items()
    }
    return study.model_copy(update={"foci": foci, "inference": inference, "sweep": sweep})


def images_of(inference: Inference) -> dict[str, str]:
    """Return the files of masks and base rate that settings name, by setting; those known by name are none."""
    return {key: str(file) for key in IMAGES if is_image(file := getattr(inference, key))}


def is_image(value: Any) -> bool:
    """Return whether a value of a setting in `IMAGES` is a file; those known by name are none."""
    return value not in (None, *WITHOUT_FILE)


def image_name(value: Any) -> Any:
    """Return the name of an image file without its folders, which are nobody's business; other values as they are."""
    return str(value).replace("\\", "/").rsplit("/", 1)[-1] if is_image(value) else value


def is_database(base_rate: str) -> bool:
    """Return whether a base rate is a database of studies: a file of foci, or one by name, and no image."""
    return base_rate != LITERATURE and not base_rate.lower().endswith(_ENDINGS)


def to_toml(study: Study) -> str:
    """Return the study with every default written out, as TOML that `parse_study` reads back to the same."""
    return tomli_w.dumps(study.model_dump(exclude_none=True))
