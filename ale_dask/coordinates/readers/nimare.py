"""Datasets of NiMARE in JSON: studies, their contrasts, and coordinates by axis.

{"pain_01": {"contrasts": {"1": {"coords": {"space": "MNI", "x": [48], "y": [-38], "z": [-24]},
 "metadata": {"sample_sizes": [25]}, "labels": {"pain": 0.1}}}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ale_dask.coordinates.decisions import Tell, untold
from ale_dask.coordinates.foci import Experiment
from ale_dask.coordinates.readers.document import (
    Focus,
    bound,
    columns,
    focus,
    items,
    load,
    mapping,
    part,
    plain,
    space_of,
    subjects,
    title_of,
)
from ale_dask.coordinates.readers.text import shown
from ale_dask.errors import InputError


def is_dataset(root: Any) -> bool:
    """Return whether a JSON value is a NiMARE Dataset: studies, at least one of them with contrasts."""
    return isinstance(root, dict) and any(isinstance(study, dict) and "contrasts" in study for study in root.values())


def parse_nimare(data: bytes, *, name: str, space: str | None = None) -> tuple[Experiment, ...]:
    """Return the experiments of a NiMARE Dataset, one per contrast, n None where it states no sample size.

    An experiment is named "study; contrast". Scalars of metadata and labels are its columns. `space` ("MNI" or
    "TAL") is for coordinates whose space is null or unknown.

    Raises
    ------
    InputError
        with the path in the file, for anything that is not such a Dataset, and for one without foci.
    """
    return experiments(load(data, name=name), size=len(data), name=name, space=space)


def experiments(
    root: Any, *, size: int, name: str, space: str | None = None, tell: Tell = untold
) -> tuple[Experiment, ...]:
    """Return the experiments of the JSON value of a Dataset of `size` bytes, as `parse_nimare` does of these."""
    if not is_dataset(root):
        raise InputError(f"{name}:1: JSON, but no NiMARE Dataset: no study has contrasts; export one")
    done: list[Experiment] = []
    names: set[str] = set()
    for key, value in root.items():
        at = f"{name}: {shown(key)}"
        study = mapping(value, where=at)
        title = title_of(key, where=at) or "unnamed"
        told = part(study, "metadata", where=at)
        for label, one in part(study, "contrasts", where=at).items():
            path = f"{at}.contrasts.{shown(label)}"
            contrast = mapping(one, where=path)
            xyz, known = _foci(part(contrast, "coords", where=path), default=space, where=f"{path}.coords")
            metadata, labels = (part(contrast, key, where=path) for key in ("metadata", "labels"))
            holders = [
                (f"{path}.metadata", metadata),
                # Where Datasets had it before NiMARE 0.0.2.
                (path, contrast),
                (f"{at}.metadata", told),
            ]
            row = (
                columns(told, where=f"{at}.metadata")
                | columns(metadata, where=f"{path}.metadata")
                | columns(labels, where=f"{path}.labels")
            )
            names.update(row)
            bound(len(done), len(names), size=size, name=name)
            short = title_of(label, where=path)
            full = f"{title}; {short}" if short else title
            done.append(
                Experiment(
                    name=full,
                    n=subjects(holders, tell=tell, title=full),
                    xyz=tuple(xyz),
                    space=known,
                    source=path,
                    columns=row,
                    study=title,
                )
            )
    if not any(e.xyz for e in done):
        raise InputError(f"{name}: no foci in the whole Dataset; export it with its coordinates")
    return tuple(done)


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
