"""The cells of a sweep: a study under every combination of some settings, each checked before any is run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from ale_dask.analyses.main_effect import identity_of
from ale_dask.config.inference import IMAGES, Inference, changed, filled, image_name
from ale_dask.config.study import Study, study_from
from ale_dask.coordinates.expressions import literal
from ale_dask.coordinates.foci import table
from ale_dask.coordinates.readers.text import shown
from ale_dask.errors import InputError
from ale_dask.workflows.prepare import read_sample

ALL = "*"
"""The value of a selection axis that selects nothing."""
MOST_CELLS = 100_000
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_SELECT = "select."
Axes = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Cell:
    """One combination: what it is called, its values by axis, and its study."""

    label: str
    values: dict[str, Any]
    study: Study


def axis_from(text: str) -> tuple[str, list[Any]]:
    """Return the name and values of "voxel_p=0.01,0.001" or "seed=1..20".

    Raises
    ------
    InputError
        for text that is not NAME=VALUE,VALUE …
    """
    name, equals, values = text.partition("=")
    parts = [part.strip() for part in values.split(",")]
    if not equals or not name.strip() or not all(parts):
        raise InputError(f"--set {shown(text)}: give NAME=VALUE,VALUE …, such as voxel_p=0.01,0.001 or seed=1..20")
    found: list[Any] = []
    for part in parts:
        between = _RANGE.fullmatch(part)
        if between:
            first, last = map(int, between.groups())
            if not 0 <= last - first < MOST_CELLS:
                raise InputError(f"--set {shown(text)}: {part} is no range of up to {MOST_CELLS:,} whole numbers")
            found += range(first, last + 1)
        else:
            found.append(_value(part))
    return name.strip(), found


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def cells_of(study: Study, axes: Axes) -> list[Cell]:
    """Return a study's cells, the last axis changing fastest.

    An axis is a setting of [inference], "select.COLUMN", which keeps of every sample with such a column the
    experiments of one value, or "select.SAMPLE.COLUMN", which does so in one sample; "*" keeps them all.

    Raises
    ------
    InputError
        for an axis or a value that there is not; every combination is checked.
    """
    if not axes:
        raise InputError("sweep: nothing to vary; give --set NAME=VALUE,VALUE … or a table [sweep]")
    number = prod(len(values) for values in axes.values())
    if not 0 < number <= MOST_CELLS:
        raise InputError(
            f"sweep: {number:,} combinations; give at least one value per axis, {MOST_CELLS:,} cells at most"
        )
    for name, listed in axes.items():
        if name not in Inference.model_fields and not name.startswith(_SELECT):
            raise InputError(
                f"sweep.{name}: no such setting; there are {', '.join(Inference.model_fields)}, and select.COLUMN"
            )
        if len(set(map(str, listed))) < len(listed):
            raise InputError(f"sweep.{name}: names the same value twice")
    samples = {name: _samples(study, name) for name in axes if name.startswith(_SELECT)}
    found = []
    shown_of = shown_axes(axes)
    for chosen, shown_as in zip(product(*axes.values()), product(*shown_of.values()), strict=True):
        values = dict(zip(axes, chosen, strict=True))
        told = dict(zip(axes, shown_as, strict=True))
        label = ",".join(f"{name}={value}" for name, value in told.items())
        data = study.model_dump() | {"sweep": {}}
        settings: dict[str, Any] = {}
        for name, value in values.items():
            if name in samples:
                for sample, column in samples[name]:
                    if value != ALL:
                        step = {"where": f"`{column}` == {literal(value)}", "why": f"sweep: {name}"}
                        data["foci"][sample]["select"] = [*data["foci"][sample]["select"], step]
            else:
                settings[name] = value
        data["inference"] = _with(data["inference"], settings)
        found.append(Cell(label, told, study_from(data, source=f"cell {label}")))
    return found


def shown_axes(axes: Axes) -> dict[str, list[Any]]:
    """Return the values of each axis as they are shown: of image files the names alone, where these differ."""
    found = {}
    for name, values in axes.items():
        names = [image_name(value) for value in values] if name in IMAGES else list(values)
        found[name] = names if len(set(map(str, names))) == len(names) else list(values)
    return found


def _with(inference: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a cell: with the uniform null any base rate is the same, and none is set."""
    values = changed(inference, settings)
    if filled(values).get("null", "uniform") == "uniform":
        values.pop("base_rate", None)
        values.pop("base_rate_draw", None)
    return values


def _samples(study: Study, axis: str) -> list[tuple[str, str]]:
    """Return the samples that an axis selects in, each with the column's name."""
    rest = axis.removeprefix(_SELECT)
    sample, dot, column = rest.partition(".")
    columns = {name: [str(c) for c in table(read_sample(source)).columns] for name, source in study.foci.items()}
    if dot and sample in study.foci and column in columns[sample]:
        return [(sample, column)]
    found = [(name, rest) for name, have in columns.items() if rest in have]
    if not found:
        there = sorted({c for have in columns.values() for c in have})
        raise InputError(f"sweep.{axis}: no sample has a column '{rest}'; there are {', '.join(there)}")
    return found


def same(values: Mapping[str, Any]) -> str:
    """Return a hash of what a cell is, to name its files by: a label may be long, or no file name."""
    return identity_of("cell", {name: str(value) for name, value in values.items()})[:12]
