"""study.toml: samples of foci, analyses, settings of inference and backend. An unknown key is an error."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from pydantic import BaseModel, ValidationError, field_validator, model_validator

from ale_dask.config.analysis import (
    KINDS,
    NAME,
    NAMES_OTHERS,
    Analysis,
    Conjunction,
    Contrast,
    MainEffect,
    MapStatistic,
    image_inside,
)
from ale_dask.config.backend import Backend
from ale_dask.config.files import expand_files, read_regular
from ale_dask.config.foci_source import FociSource, Step
from ale_dask.config.inference import BUILT_IN, EARLIER, IMAGES, Inference, images_of, is_image
from ale_dask.config.living import Living
from ale_dask.config.records import Records
from ale_dask.config.sealed_file import check_sealed
from ale_dask.errors import InputError, did_you_mean

# In OUT, with every default written out, 10,000 analyses that pick their samples from one table take 2.3 MB.
_MAX_BYTES = 16 << 20
# The time that tomllib takes for a dotted key grows with the square of its number of parts.
_MAX_KEY_PARTS = 100
_DOTTED_KEY = re.compile(r"(?<![\w-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++)++")


class Study(BaseModel, extra="forbid", frozen=True):
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
            if not NAME.fullmatch(name):
                raise ValueError(f"'{name}': use lower-case letters, digits, '-' and '_' in names")
        return value


MANY = 200
"""Main effects above which a run holds the plans and maps of only a few in memory, and reads the others from OUT."""


def are_many(study: Study) -> bool:
    """Return whether a study has so many analyses, all main effects, that memory must not hold all their maps."""
    return len(study.analysis) > MANY and len(main_effects_of(study)) == len(study.analysis)


def main_effects_of(study: Study) -> dict[str, MainEffect]:
    """Return the main effects of a study by name, in order."""
    return {name: a for name, a in study.analysis.items() if isinstance(a, MainEffect)}


def _check_references(study: Study, source: str) -> Study:
    # Dictionaries, in which a name is looked up at once: a study may have thousands.
    main_effects = dict.fromkeys(main_effects_of(study))
    contrasts = dict.fromkeys(name for name, a in study.analysis.items() if isinstance(a, Contrast))
    for name, analysis in study.analysis.items():
        key = NAMES_OTHERS[analysis.kind]
        what = "foci" if key == "foci" else "main effect"
        named = getattr(analysis, key)
        referenced = [named] if isinstance(named, str) else named
        defined: Mapping[str, Any] = study.foci if key == "foci" else main_effects
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
                    f"{did_you_mean(str(analysis.inside), main_effects)}; there are: {', '.join(main_effects)}; an "
                    "image is named with its ending, such as .nii.gz"
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
        parts = [p for p in problem["loc"] if p not in KINDS]
        # People count the tables of a list from 1.
        key = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in parts).removeprefix(".")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key{did_you_mean(str(parts[-1]), _keys_beside(problem['loc']))}"
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"].startswith("union_tag"):
            *first, last = (f"'{kind}'" for kind in KINDS)
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
    kind = next((KINDS[part] for part in outer if part in KINDS), None)
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
