"""Make the cells of a sweep: one study for each combination of settings, all checked before any is run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from ale_dask.analyses.main_effect import identity_of
from ale_dask.config.inference import IMAGES, Inference, filled, image_name, with_changes
from ale_dask.config.study import Study, study_from
from ale_dask.coordinates.expressions import literal
from ale_dask.coordinates.foci import table
from ale_dask.coordinates.readers.text import shown
from ale_dask.errors import InputError, did_you_mean
from ale_dask.workflows.prepare import read_sample

ALL = "*"
"""The value of a selection axis that keeps all experiments."""
MOST_CELLS = 100_000
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_SELECT = "select."
Axes = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Cell:
    """One combination of settings: its label, its values by axis, and its study."""

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
    listed: list[Any] = []
    for part in parts:
        between = _RANGE.fullmatch(part)
        if between:
            first, last = map(int, between.groups())
            if not 0 <= last - first < MOST_CELLS:
                raise InputError(f"--set {shown(text)}: {part} is no range of up to {MOST_CELLS:,} whole numbers")
            listed += range(first, last + 1)
        else:
            listed.append(_value(part))
    return name.strip(), listed


def _value(text: str) -> Any:
    """Return a text as a whole number, else as a number, else as it is."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def cells_of(study: Study, axes: Axes) -> list[Cell]:
    """Return the cells of a sweep of a study, the last axis changing fastest.

    An axis is a setting of [inference], "select.COLUMN" or "select.SAMPLE.COLUMN". The latter two keep the experiments
    with one value of a column, in every sample with that column or in one sample; the value "*" keeps all experiments.

    Raises
    ------
    InputError
        for an unknown axis or value; every combination is checked.
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
                f"sweep.{name}: no such setting{did_you_mean(name, Inference.model_fields)}; there are "
                f"{', '.join(Inference.model_fields)}, and select.COLUMN"
            )
        if name == "networks":
            raise InputError("sweep.networks: changes no result; give it in [inference], for the tables of all cells")
        if len(set(map(str, listed))) < len(listed):
            raise InputError(f"sweep.{name}: names the same value twice")
    samples = {name: _samples(study, name) for name in axes if name.startswith(_SELECT)}
    cells = []
    for chosen, displayed in zip(product(*axes.values()), product(*shown_axes(axes).values()), strict=True):
        values = dict(zip(axes, chosen, strict=True))
        shown_values = dict(zip(axes, displayed, strict=True))
        label = ",".join(f"{name}={value}" for name, value in shown_values.items())
        data = study.model_dump() | {"statistic": [], "sweep": {}}
        settings: dict[str, Any] = {}
        for name, value in values.items():
            if name in samples:
                for sample, column in samples[name]:
                    if value != ALL:
                        step = {"where": f"`{column}` == {literal(value)}", "why": f"sweep: {name}"}
                        data["foci"][sample]["select"] = [*data["foci"][sample]["select"], step]
            else:
                settings[name] = value
        data["inference"] = _inference_of_cell(data["inference"], settings)
        cells.append(Cell(label, shown_values, study_from(data, source=f"cell {label}")))
    return cells


def shown_axes(axes: Axes) -> dict[str, list[Any]]:
    """Return the values of each axis as tables show them: image files by their names, if these are all different."""
    shown_values = {}
    for name, values in axes.items():
        names = [image_name(value) for value in values] if name in IMAGES else list(values)
        shown_values[name] = names if len(set(map(str, names))) == len(names) else list(values)
    return shown_values


def _inference_of_cell(inference: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inference of a cell; no base rate is set with the uniform null, which does not use any.

    Cells that differ in the base rate alone then share that null.
    """
    values = with_changes(inference, settings)
    if filled(values).get("null", "uniform") == "uniform":
        values.pop("base_rate", None)
        values.pop("base_rate_draw", None)
    return values


def _samples(study: Study, axis: str) -> list[tuple[str, str]]:
    """Return the samples in which a selection axis applies, each with the name of the column."""
    rest = axis.removeprefix(_SELECT)
    sample, dot, column = rest.partition(".")
    columns = {name: [str(c) for c in table(read_sample(source)).columns] for name, source in study.foci.items()}
    if dot and sample in study.foci and column in columns[sample]:
        return [(sample, column)]
    selected = [(name, rest) for name, names in columns.items() if rest in names]
    if not selected:
        known = sorted({c for names in columns.values() for c in names})
        hint = did_you_mean(rest, known)
        raise InputError(f"sweep.{axis}: no sample has a column '{rest}'{hint}; there are {', '.join(known)}")
    return selected


def cell_hash(values: Mapping[str, Any]) -> str:
    """Return a hash of the values of a cell for its folder: a label may be too long for a file name, or not be one."""
    return identity_of("cell", {name: str(value) for name, value in values.items()})[:12]
