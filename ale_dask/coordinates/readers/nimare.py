"""Datasets of NiMARE in JSON: studies, their contrasts, and coordinates by axis.

{"pain_01": {"contrasts": {"1": {"coords": {"space": "MNI", "x": [48], "y": [-38], "z": [-24]},
 "metadata": {"sample_sizes": [25]}, "labels": {"pain": 0.1}}}}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers.document import (
    Focus,
    bound,
    columns,
    focus,
    items,
    mapping,
    part,
    plain,
    space_of,
    subjects,
    title_of,
)
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.text import shown
from ale_dask.errors import InputError


class _Contrast(NamedTuple):
    """A contrast with its study, each with its path in the file."""

    title: str
    metadata_of_study: Mapping[str, Any]
    path_of_study: str
    label: str
    content: Mapping[str, Any]
    path: str


def recognises(file: FociFile) -> bool:
    """Return whether a file is a NiMARE Dataset in JSON: studies, at least one of them with contrasts."""
    return file.is_json and _is_dataset(file.json)


def _is_dataset(root: Any) -> bool:
    return isinstance(root, dict) and any(isinstance(study, dict) and "contrasts" in study for study in root.values())


def read(file: FociFile) -> tuple[Experiment, ...]:
    """Return the experiments of a NiMARE Dataset, one per contrast, n None where it states no sample size.

    An experiment is named "study; contrast". Scalars of metadata and labels are its columns. `file.space` is for
    coordinates whose space is null or unknown.

    Raises
    ------
    InputError
        with the path in the file, for anything that is not such a Dataset, and for one without foci.
    """
    if not _is_dataset(file.json):
        raise InputError(f"{file.name}:1: JSON, but no NiMARE Dataset: no study has contrasts; export one")
    experiments: list[Experiment] = []
    names: set[str] = set()
    for contrast in _contrasts(file):
        experiment = _experiment(contrast, file=file)
        names.update(experiment.columns)
        bound(len(experiments), len(names), size=len(file.content), name=file.name)
        experiments.append(experiment)
    if not any(e.xyz for e in experiments):
        raise InputError(f"{file.name}: no foci in the whole Dataset; export it with its coordinates")
    return tuple(experiments)


def _contrasts(file: FociFile) -> Iterator[_Contrast]:
    for key, value in file.json.items():
        at = f"{file.name}: {shown(key)}"
        study = mapping(value, where=at)
        title = title_of(key, where=at) or "unnamed"
        metadata = part(study, "metadata", where=at)
        for label, content in part(study, "contrasts", where=at).items():
            path = f"{at}.contrasts.{shown(label)}"
            yield _Contrast(title, metadata, at, label, mapping(content, where=path), path)


def _experiment(contrast: _Contrast, *, file: FociFile) -> Experiment:
    path, of_study = contrast.path, f"{contrast.path_of_study}.metadata"
    coords = part(contrast.content, "coords", where=path)
    xyz, space = _foci(coords, default=file.space, where=f"{path}.coords")
    metadata, labels = (part(contrast.content, key, where=path) for key in ("metadata", "labels"))
    # Datasets of NiMARE before 0.0.2 have sample sizes in the contrast itself.
    holders = [(f"{path}.metadata", metadata), (path, contrast.content), (of_study, contrast.metadata_of_study)]
    label = title_of(contrast.label, where=path)
    name = f"{contrast.title}; {label}" if label else contrast.title
    return Experiment(
        name=name,
        n=subjects(holders, tell=file.tell, title=name),
        xyz=tuple(xyz),
        space=space,
        source=path,
        columns=columns(contrast.metadata_of_study, where=of_study)
        | columns(metadata, where=f"{path}.metadata")
        | columns(labels, where=f"{path}.labels"),
        study=contrast.title,
    )


def _foci(coords: Mapping[str, Any], *, default: str | None, where: str) -> tuple[list[Focus], str]:
    axes = [items(coords, axis, where=where) for axis in ("x", "y", "z")]
    x, y, z = map(len, axes)
    if not x == y == z:
        raise InputError(f"{where}: {x} x, {y} y and {z} z; give every focus all three")
    # NiMARE writes [null] in each axis of a contrast without coordinates.
    xyz = [
        plain(values) or focus(values, where=f"{where}.x, y, z[{i}]")
        for i, values in enumerate(zip(*axes, strict=True))
        if any(v is not None for v in values)
    ]
    return xyz, space_of(coords.get("space"), default=default if xyz else default or "MNI", where=f"{where}.space")
