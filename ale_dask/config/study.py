"""study.toml: samples of foci, analyses, settings of inference and backend. An unknown key is an error."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ale_dask.config.files import expand_files, read_regular
from ale_dask.config.inference import BUILT_IN, EARLIER, IMAGES, Inference, images_of, is_image
from ale_dask.config.living import Living
from ale_dask.config.records import Records
from ale_dask.config.sealed_file import check_sealed
from ale_dask.errors import InputError, did_you_mean

INPUTS = ("cluster-fwe", "uncorrected")
"""The two thresholded maps that contrasts and conjunctions are run on, as Nord et al. 2021 report both."""
# The names of a thousand excluded experiments take 50 kB.
_MAX_BYTES = 4 << 20
# The time that tomllib takes for a dotted key grows with the square of its number of parts.
_MAX_KEY_PARTS = 100
_DOTTED_KEY = re.compile(r"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++)++")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(_Frozen):
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


class FociSource(_Frozen):
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


class MainEffect(_Frozen):
    """ALE of one sample, or of several pooled."""

    kind: Literal["main-effect"]
    foci: list[str]
    """The sample, or several, pooled."""

    @field_validator("foci", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class _Limited(_Frozen):
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
        return bool(self.inside and self.inside not in BUILT_IN and _NAME.fullmatch(self.inside))


class Contrast(_Limited):
    """The first arm compared with the second, in both directions; the arms name main effects."""

    kind: Literal["contrast"]
    arms: Annotated[list[str], Field(min_length=2, max_length=2)]
    """The two main effects."""


class Conjunction(_Limited):
    """The voxels in which all of several main effects, or of several contrasts, are significant."""

    kind: Literal["conjunction"]
    of: Annotated[list[str], Field(min_length=2)]
    """The main effects, two or more."""


Share = Annotated[float, Field(gt=0, le=1)]


class Subsampled(_Frozen):
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


class BalancedContrast(_Frozen):
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


class Moderator(_Frozen):
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
_KINDS: dict[str, type[_Frozen]] = {
    "main-effect": MainEffect,
    "contrast": Contrast,
    "conjunction": Conjunction,
    "subsampled": Subsampled,
    "balanced-contrast": BalancedContrast,
    "moderator": Moderator,
}
_NAMES_OTHERS = {
    "main-effect": "foci",
    "contrast": "arms",
    "conjunction": "of",
    "subsampled": "of",
    "balanced-contrast": "arms",
    "moderator": "of",
}
"""The key of each kind of analysis that names samples or main effects."""


class MapStatistic(_Frozen):
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


class Backend(_Frozen):
    """The computers that compute blocks; nothing here changes a result. Keys without a value are left to Dask."""

    name: str = "auto"
    """Where blocks are computed: a name or an address, as the option `--backend` takes it."""
    workers: int | str | None = None
    """Threads, processes or worker jobs: a number, or "MIN:MAX" to follow the work between the two."""
    block_seconds: Annotated[float, Field(gt=0)] = 1.0
    """Seconds that a block should take; less to leave each worker four blocks, more to spare the scheduler."""
    block_size: Annotated[int, Field(ge=1)] | None = None
    """Iterations of a block, instead of a number that follows from `block_seconds`."""
    account: str | None = None
    """Account that jobs of a queue are charged to."""
    partition: str | None = None
    """Partition, or queue, that jobs are submitted to."""
    walltime: Annotated[str, Field(pattern=r"^\d+:[0-5]\d:[0-5]\d$")] | None = None
    """Duration of one worker job, hours:minutes:seconds; the run goes on in the next job."""
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[kKMGT]i?B$")] | None = None
    """Memory of one worker."""
    dask_report: bool = False
    """Write Dask's own performance report, 2 MB, to logs/dask-report.html; needs bokeh."""
    prologue: list[str] | None = None
    """Shell lines that a job runs before its worker starts, such as "module load python"."""
    hosts: list[str] | None = None
    """Computers of the backend ssh: workers run on all of them, the scheduler on the first."""
    options: dict[str, Any] | None = None
    """Keyword arguments that are handed unchanged to the class or function that starts the workers."""

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_range(cls, value: Any) -> Any:
        if value is None:
            return None
        minimum, colon, maximum = str(value).partition(":")
        numbers = [minimum, maximum] if colon else [minimum]
        if isinstance(value, bool) or not all(re.fullmatch(r"[1-9]\d{0,5}", n) for n in numbers):
            raise ValueError(f"'{value}': give a number from 1, or MIN:MAX")
        if colon and int(minimum) > int(maximum):
            raise ValueError(f"'{value}': MIN is larger than MAX")
        return value if colon else int(minimum)

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
        """The smallest number of workers, or None where no number is given."""
        return None if self.workers is None else int(str(self.workers).partition(":")[0])

    @property
    def most(self) -> int | None:
        """The largest number of workers, or None where no number is given."""
        return None if self.workers is None else int(str(self.workers).rpartition(":")[2])

    @property
    def kind(self) -> str:
        """The kind of backend: the name without the address or path in it."""
        if self.name.endswith(".json"):
            return "scheduler-file"
        return self.name.partition("://")[0]


class Study(_Frozen):
    """Content of a study.toml: samples of experiments, analyses in the order of the report, settings and backend.

    `load_study` reads a study from a file and checks that each analysis names samples and main effects of the study.

    Parameters
    ----------
    title
        Title of the report.
    simulated
        Whether the foci are simulated; every table, figure and page then says so.
    foci
        Samples by name: the files of each, and how to read and select its experiments.
    analysis
        Analyses by name: main effects of samples; contrasts, conjunctions, moderators and subsamples of main effects.
    inference
        Settings of the statistics, such as the cluster-forming p, the correction and the number of iterations.
    backend
        Where the blocks are computed, and by how many workers.
    statistic
        Statistics of the whole map of a main effect, such as the mean z of each network, that are tested on its null.
    sweep
        For `sweep`, the values of a setting by its name or by "select.COLUMN".
    records
        How the literature was searched and screened, for the methods text.
    living
        The looks of a living meta-analysis, which `update` writes.

    Notes
    -----
    A study is a pydantic model: `Study.model_validate(values)` makes one of nested dictionaries and checks them, and
    `study.inference.voxel_p` reads a setting.

    Examples
    --------
    >>> foci = {"drug": {"files": "drug.txt"}}
    >>> analysis = {"drug": {"kind": "main-effect", "foci": "drug"}}
    >>> study = ale.Study.model_validate({"foci": foci, "analysis": analysis, "inference": {"seed": 7}})
    >>> study.inference.seed, study.analysis["drug"].foci
    (7, ['drug'])
    """

    title: str = "ALE meta-analysis"
    simulated: bool = False
    foci: dict[str, FociSource]
    analysis: dict[str, Analysis]
    inference: Inference = Inference()
    backend: Backend = Backend()
    statistic: list[MapStatistic] = []
    sweep: dict[str, list[Any]] = {}
    records: Records = Records()
    living: Living | None = None

    @model_validator(mode="after")
    def _level_of_the_last_look(self) -> Study:
        looks = [] if self.living is None else self.living.looks
        if looks and looks[-1].level != self.inference.cluster_p:
            raise ValueError(
                f"living: cluster_p is {self.inference.cluster_p:g}, but the last look is judged at "
                f"{looks[-1].level:g}; `ale-dask update` writes both"
            )
        return self

    @field_validator("foci", "analysis")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise ValueError("is empty: name at least one")
        for name in value:
            # A name becomes a folder of the output, and no name may lead out of it.
            if not _NAME.fullmatch(name):
                raise ValueError(f"'{name}': use lower-case letters, digits, '-' and '_' in names")
        return value


def main_effects_of(study: Study) -> dict[str, MainEffect]:
    """Return the main effects of a study by name, in order."""
    return {name: a for name, a in study.analysis.items() if isinstance(a, MainEffect)}


def _check_references(study: Study, source: str) -> Study:
    main_effects = list(main_effects_of(study))
    contrasts = [name for name, analysis in study.analysis.items() if isinstance(analysis, Contrast)]
    for name, analysis in study.analysis.items():
        key = _NAMES_OTHERS[analysis.kind]
        what = "foci" if key == "foci" else "main effect"
        named = getattr(analysis, key)
        referenced = [named] if isinstance(named, str) else named
        defined = list(study.foci) if key == "foci" else main_effects
        if isinstance(analysis, Conjunction) and analysis.of[0] in contrasts:
            defined, what = contrasts, "contrast"
        for reference in referenced:
            if reference not in defined:
                raise InputError(
                    f"{source}: analysis.{name}.{key}: no {what} named "
                    f"'{reference}'{did_you_mean(reference, defined)}; there are: {', '.join(defined) or 'none'}"
                )
        if len(set(referenced)) != len(referenced):
            raise InputError(f"{source}: analysis.{name}.{key}: names the same one twice")
        if isinstance(analysis, Contrast | Conjunction) and analysis.inside_is_name:
            if analysis.inside not in main_effects:
                raise InputError(
                    f"{source}: analysis.{name}.inside: no main effect named '{analysis.inside}'"
                    f"{did_you_mean(str(analysis.inside), main_effects)}; there are: {', '.join(main_effects)}; the "
                    "file of an image has an ending"
                )
            if analysis.inside in referenced:
                raise InputError(f"{source}: analysis.{name}.inside: '{analysis.inside}' is of {key} already")
    for number, statistic in enumerate(study.statistic, 1):
        if statistic.of not in main_effects:
            raise InputError(
                f"{source}: statistic[{number}].of: no main effect named '{statistic.of}'"
                f"{did_you_mean(statistic.of, main_effects)}; there are: {', '.join(main_effects) or 'none'}"
            )
    return study


def parse_study(text: str, *, source: str = "study.toml", recorded: bool = False) -> Study:
    """Return the study that a TOML text describes.

    A study that a run `recorded` has every setting that its version knew: settings that it lacks are those of
    `EARLIER`, not the defaults.

    Raises
    ------
    InputError
        with the file and the key, or the line where the TOML itself is broken.
    """
    if any(key.count(".") > _MAX_KEY_PARTS for key in _DOTTED_KEY.findall(text)):
        raise InputError(
            f"{source}: keys of more than {_MAX_KEY_PARTS} parts; this is no study, check how it was saved"
        )
    try:
        values = tomllib.loads(text)
        if recorded and isinstance(inference := values.get("inference"), dict):
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


A = TypeVar("A", bound=BaseModel)


def analysis_from(kind: type[A], values: dict[str, Any], *, source: str) -> A:
    """Return the configuration of an analysis of keyword values; errors name the key."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(_message(error, source)) from error


def living_from(values: dict[str, Any], *, source: str = "living") -> Living:
    """Return the plan of looks of keyword values; errors name the key."""
    try:
        return Living.model_validate(values)
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
        parts = [p for p in problem["loc"] if p not in _KINDS]
        # People count the tables of a list from 1.
        key = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in parts).removeprefix(".")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key{did_you_mean(str(parts[-1]), _keys_beside(problem['loc']))}"
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"].startswith("union_tag"):
            *first, last = (f"'{kind}'" for kind in _KINDS)
            message = f"kind must be {', '.join(first)} or {last}"
        lines.append(f"{source}{': ' if key[:1] != '[' else ''}{key or 'study'}: {message}")
    return "\n".join(lines)


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that the table of a study has in which an unknown key was found; `location` is pydantic's."""
    tables: dict[str, type[BaseModel]] = {
        "foci": FociSource,
        "inference": Inference,
        "backend": Backend,
        "records": Records,
        "living": Living,
        "statistic": MapStatistic,
    }
    outer = [part for part in location[:-1] if not isinstance(part, int)]
    if not outer:
        # The settings of [inference] are given without a table on the command line and in Python.
        return [*Study.model_fields, *Inference.model_fields]
    if "select" in outer:
        return list(Step.model_fields)
    kind = next((_KINDS[part] for part in outer if part in _KINDS), None)
    found = kind or tables.get(outer[0])
    return list(found.model_fields) if found is not None else []


def load_study(path: str | Path, *, recorded: bool = False) -> Study:
    """Return the study of a study.toml, with the paths of its files made absolute.

    Parameters
    ----------
    path
        File to read; paths in it are relative to its folder.
    recorded
        Whether a run wrote the file. A setting that it lacks then has the value that earlier versions computed with,
        not the default.

    Returns
    -------
    Study
        Study in which each folder of foci files and each pattern, such as `foci/*.txt`, is replaced by its files.

    Raises
    ------
    InputError
        For a file that cannot be read, or a key that is wrong.
    StoreError
        When the file is the copy that a run wrote, and it was damaged or changed since.

    Examples
    --------
    >>> from importlib.resources import files
    >>> study = ale.load_study(files("ale_dask.datasets.example") / "study.toml")
    >>> list(study.foci), study.inference.iterations
    (['drug', 'therapy', 'affect'], 1000)
    """
    path = Path(path)
    try:
        text = read_regular(path, max_bytes=_MAX_BYTES).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not a study.toml, or not saved as UTF-8 ({error.reason}); a file of foci is named by `files` in "
            "a study.toml, or given to main-effect, contrast and conjunction"
        ) from error
    check_sealed(path, text)
    study = with_expanded_files(parse_study(text, source=str(path), recorded=recorded), folder=path.parent)
    return with_files(study, lambda name, file: str((path.parent / file).resolve()))


def with_expanded_files(study: Study, *, folder: Path = Path()) -> Study:
    """Return the study with each folder and pattern of its samples replaced by its files, relative to `folder`.

    Raises
    ------
    InputError
        for a folder without files, and a pattern that no file fits.
    """
    foci = {
        name: source.model_copy(update={"files": expand_files(source.files, folder=folder)})
        for name, source in study.foci.items()
    }
    return study.model_copy(update={"foci": foci})


def image_inside(analysis: Analysis) -> str | None:
    """Return the file of the image that an analysis is limited to; None where there is none."""
    if not isinstance(analysis, Contrast | Conjunction) or analysis.inside is None or analysis.inside_is_name:
        return None
    return analysis.inside if is_image(analysis.inside) else None


def with_files(study: Study, path_of: Callable[[str, str], str]) -> Study:
    """Return the study with every path in it replaced by `path_of(owner, path)`.

    The owner of a file of foci and of an image in a rule of selection is the name of the sample. The owner of an
    image in a setting is ":mask", ":search", ":base_rate" or ":networks", among the values of a sweep ":sweep/mask" and
    so on, that of an image that an analysis is limited to ":inside/NAME", that of the image of a statistic
    ":statistic", and that of the protocol ":protocol"; no sample has such a name.
    """

    def replaced(step: Step, *, sample: str) -> Step:
        if step.inside in (None, *BUILT_IN):
            return step
        return step.model_copy(update={"inside": path_of(sample, str(step.inside))})

    foci = {
        name: source.model_copy(
            update={
                "files": [path_of(name, file) for file in source.files],
                "select": [replaced(step, sample=name) for step in source.select],
            }
        )
        for name, source in study.foci.items()
    }
    analysis = {
        name: each.model_copy(update={"inside": path_of(f":inside/{name}", image)})
        if (image := image_inside(each))
        else each
        for name, each in study.analysis.items()
    }
    images = {key: path_of(f":{key}", file) for key, file in images_of(study.inference).items()}
    inference = study.inference.model_copy(update=images)
    sweep = {
        axis: [path_of(f":sweep/{axis}", str(v)) if axis in IMAGES and is_image(v) else v for v in values]
        for axis, values in study.sweep.items()
    }
    mains = main_effects_of(study)
    statistic = [
        each.model_copy(update={"image": path_of(":statistic", str(each.image))})
        if is_image(each.image) and each.image not in mains
        else each
        for each in study.statistic
    ]
    records = study.records
    if records.protocol:
        records = records.model_copy(update={"protocol": path_of(":protocol", records.protocol)})
    changed = {"foci": foci, "analysis": analysis, "inference": inference, "statistic": statistic}
    changed |= {"sweep": sweep, "records": records}
    return study.model_copy(update=changed)


def to_toml(study: Study) -> str:
    """Return the study as TOML with every default written out; `parse_study` reads it back to an equal study."""
    return tomli_w.dumps(study.model_dump(exclude_none=True))
