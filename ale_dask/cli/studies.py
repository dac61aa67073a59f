"""Make studies and settings of what a command was given: a study.toml, an OUT, files of foci, options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ale_dask.config.names import name_from
from ale_dask.errors import InputError

if TYPE_CHECKING:
    from ale_dask.config.backend import Backend as BackendSettings
    from ale_dask.config.study import Study


def is_sweep(study: str) -> bool:
    """Return whether a STUDY is the folder or URL of a sweep."""
    from ale_dask.storage.location import place
    from ale_dask.storage.ownership import holds_sweep

    return not Path(study).is_file() and holds_sweep(place(study))


def is_atlas(study: str) -> bool:
    """Return whether a STUDY is the folder or URL of sets of a database."""
    from ale_dask.storage.location import place
    from ale_dask.storage.ownership import holds_atlas

    return not Path(study).is_file() and holds_atlas(place(study))


def backend_of_atlas(study: str, out: str, settings: dict[str, Any]) -> BackendSettings:
    """Return the backend that sets of a database in a folder are given by options, or by the folder.

    Raises
    ------
    InputError
        when other settings are given, which belong to what is computed, or another OUT.
    """
    from ale_dask.config.study import backend_from
    from ale_dask.storage.location import place
    from ale_dask.workflows.literature_runs import stored_literature

    if place(study) != place(out):
        raise InputError(f"{study}: holds sets of a database; give `{study} -o {study}`")
    given = {key: value for key, value in settings.items() if value is not None}
    changed = {of: given.pop(key) for key, of in (("backend", "name"), ("workers", "workers")) if key in given}
    if given:
        raise InputError(f"{study}: its sets were planned with their settings; leave out {', '.join(given)}")
    kept = stored_literature(place(out))[2]
    return backend_from(kept.model_dump() | changed, source="command line")


def load(study: str) -> Study:
    """Return the study of a study.toml, or of the folder or URL of a run."""
    from ale_dask.config.study import load_study
    from ale_dask.storage.location import place
    from ale_dask.storage.object_store import Remote

    where = place(study)
    if not isinstance(where, Remote) and not where.is_dir():
        return load_study(where)
    from ale_dask.storage.ownership import holds_run

    if isinstance(where, Remote) or holds_run(where):
        from ale_dask.workflows.run_directory import stored_study

        return stored_study(where)
    return load_study(where / "study.toml", recorded=(where / "plans").is_dir())


def with_settings(study: Study, **values: Any) -> Study:
    """Return the study with the settings given on the command line instead of its own."""
    from ale_dask.config.inference import IMAGES, WITHOUT_FILE, with_changes
    from ale_dask.config.study import inference_from, study_from

    backend = {"name": values.pop("backend", None), "workers": values.pop("workers", None)}
    include, exclude = values.pop("include", None), values.pop("exclude", None)
    conditions = [c for c in (include, exclude and f"not ({exclude})") if c]
    new = {k: v for k, v in values.items() if v is not None}
    for key in IMAGES:
        if key in new and new[key] not in WITHOUT_FILE:
            new[key] = str(Path(new[key]).resolve())
    inference = inference_from(with_changes(study.inference.model_dump(), new), source="command line")
    kept = {k: v for k, v in backend.items() if v is not None}
    foci = {
        name: source.model_dump() | {"select": [*source.model_dump()["select"], *({"where": c} for c in conditions)]}
        for name, source in study.foci.items()
    }
    data = study.model_dump() | {
        "foci": foci,
        "inference": inference.model_dump(),
        "backend": study.backend.model_dump() | kept,
    }
    return study_from(data, source="command line")


def of_files(
    files: list[Path], analyses: dict[str, dict[str, Any]], *, names: list[str], together: str = "", **options: Any
) -> Study:
    """Return the study of files of foci: one sample per file, or one sample of all files if `names` has one name.

    Each sample has its main effect; with `together`, there is one of all samples, which has this name.
    """
    from ale_dask.config.study import study_from, with_expanded_files

    paths = [str(file.resolve()) for file in files]
    parts = [paths] if len(names) == 1 else [[path] for path in paths]
    given = {k: v for k, v in options.items() if v is not None}
    sources = {name: {"files": part, **given} for name, part in zip(names, parts, strict=True)}
    mains: dict[str, dict[str, Any]] = {name: {"kind": "main-effect", "foci": name} for name in names}
    if together:
        mains = {together: {"kind": "main-effect", "foci": names}}
    title = " / ".join(names)
    study = study_from({"title": title, "foci": sources, "analysis": mains | analyses}, source="command line")
    return with_expanded_files(study)


def columns_from(text: str | None) -> dict[str, str] | None:
    """Return the mapping of `--columns n=Anzahl,x=X-Koord`; text of another form is a usage error."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    wrong = next((f"{own}{sign}{name}" for own, sign, name in pairs if not (own.strip() and name.strip())), None)
    if wrong is not None:
        raise typer.BadParameter(f"--columns: '{wrong}' is not NAME=COLUMN, such as n=Anzahl")
    return {own.strip(): name.strip() for own, _, name in pairs}


def names_of(files: list[Path]) -> list[str]:
    """Return names for the samples of files, made of the names of the files and all different."""
    names: list[str] = []
    for file in files:
        stem = name_from(file.name.split(".")[0])
        names.append(stem if stem not in names else f"{stem}-{len(names) + 1}")
    return names
