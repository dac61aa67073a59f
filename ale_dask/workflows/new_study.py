"""Make a study of a file of foci: samples from a column, their main effects, contrasts and conjunctions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.sample import FEWEST
from ale_dask.config.files import read_regular
from ale_dask.config.names import name_from
from ale_dask.config.study import parse_study
from ale_dask.coordinates.direction import DIRECTION, MODALITY, column_of
from ale_dask.coordinates.expressions import literal
from ale_dask.coordinates.foci import OF_READER, table
from ale_dask.coordinates.readers import read_foci
from ale_dask.coordinates.readers.known_columns import known_columns
from ale_dask.errors import InputError, did_you_mean
from ale_dask.storage.location import fill_folder

MOST_SAMPLES = 12
"""Samples that one column may make: each is a main effect, and a column of more values hardly names groups."""
MOST_PAIRED = 3
"""Samples up to which each pair of them is contrasted and joined: four would already make twelve such analyses."""
_BY_ITSELF = 6
"""Values up to which a column is thought to name groups without being asked for."""


@dataclass(frozen=True)
class NewStudy:
    """A study that can be written: its files, and what was decided."""

    files: Mapping[str, bytes]
    """The files of the study by their names, study.toml among them."""
    samples: Mapping[str, int]
    """The number of experiments with a focus of each sample, by its name."""
    notes: tuple[str, ...]
    """Sentences on what was decided, and how to decide otherwise."""
    foci: xr.Dataset | None = field(default=None, repr=False, compare=False)
    """The experiments and foci of its file, as `read_foci` returns them, where there is one file."""

    @property
    def toml(self) -> str:
        """The text of study.toml."""
        return self.files["study.toml"].decode()

    def write(self, folder: str | Path) -> None:
        """Write study.toml and the files that it names into a folder, made if need be.

        Raises
        ------
        InputError
            When the folder cannot be written, or holds another file of one of these names: then nothing is written.
        """
        fill_folder(Path(folder), self.files, what="the study")


def new_study(
    file: str | Path,
    *,
    by: str | None = None,
    n: int | None = None,
    space: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> NewStudy:
    """Return a study of a file of foci, with a sample for each value of a column.

    Each sample has a main effect, and up to three samples have a contrast and a conjunction of each pair. Samples by
    modality, such as fMRI and VBM, also have a joint main effect, and so have those by direction, which are not
    contrasted: the same subjects report increases and decreases. Without `by`, the only column with two to six values
    that several experiments share makes the samples; if there is none, or several, all experiments are one sample.

    Parameters
    ----------
    file
        A file of foci in any form that `read_foci` reads, such as an Excel sheet.
    by
        The column whose values make the samples.
    n, space
        The sample size and the space of experiments for which the file states none.
    columns
        The names of columns of a table that differ from the expected ones.

    Returns
    -------
    NewStudy
        The study, whose `write` makes a folder of it.

    Raises
    ------
    InputError
        When the file cannot be read, has no such column, or no value of it has two experiments with a focus.

    Examples
    --------
    >>> new = ale.new_study("drug.txt")
    >>> dict(new.samples)
    {'drug': 8}
    """
    path = Path(file)
    foci = read_foci(path, n=n, space=space, columns=columns, require_n=False)
    experiments = table(foci)
    experiments = experiments[experiments["foci"] > 0]
    chosen, notes = _column(experiments, by)
    groups: dict[str, tuple[object, int]] = {}
    if chosen is not None:
        groups, left_out = _groups(experiments, chosen)
        notes += left_out
    samples = {name: count for name, (_, count) in groups.items()} or {
        name_from(path.name.split(".")[0]): len(experiments)
    }
    if without := int((experiments["n"] == 0).sum()) if n is None else 0:
        notes.append(
            f"{without} experiment(s) state no sample size, which the width of their kernels follows from: write "
            "it in their rows, or set n for all of them in study.toml, where it is commented out"
        )
    given = {"n": n, "space": space, "columns": dict(columns or {})}
    source = {key: value for key, value in given.items() if value}
    values = {name: value for name, (value, _) in groups.items()}
    text = _toml(path, samples, values, by=chosen, source=source, lacks_n=without > 0)
    if chosen is not None and len(samples) > 1:
        text, note = _with_joint(text, samples, foci, by=chosen)
        notes += note
    parse_study(text)
    return NewStudy({"study.toml": text.encode(), path.name: read_regular(path)}, samples, tuple(notes), foci)


def _column(experiments: pd.DataFrame, by: str | None) -> tuple[str | None, list[str]]:
    """Return the column that makes the samples, None for one sample of all, and notes on the choice."""
    if by is not None and by not in experiments.columns:
        names = [str(c) for c in experiments.columns]
        raise InputError(f"by '{by}': no such column{did_you_mean(by, names)}; there are {', '.join(names)}")
    if by is not None:
        return by, []
    known = known_columns(map(str, experiments.columns)).values()
    others = [c for c in experiments.columns if c not in known]
    usable = {str(c): counts for c in others if (counts := _counts(experiments[c])) is not None}
    listed = [f"{name} ({', '.join(f'{v} {k}' for v, k in of.items())})" for name, of in usable.items()]
    if len(usable) == 1:
        return next(iter(usable)), [f"samples are the values of {listed[0]}; --by NAME takes another column"]
    if usable:
        return None, [f"all experiments are one sample; --by makes samples of a column: {'; '.join(listed)}"]
    return None, ["all experiments are one sample: no column has two to six values that several experiments share"]


def _counts(column: pd.Series[Any]) -> dict[str, int] | None:
    """Return the experiments per value of a column that may name groups, else None."""
    if column.name in OF_READER or pd.api.types.is_numeric_dtype(column):
        return None
    known = column[column.astype(str).str.strip() != ""].astype(str)
    counts = known.value_counts(sort=False)
    if not 2 <= len(counts) <= _BY_ITSELF or (counts < FEWEST).any():
        return None
    return {str(value): int(count) for value, count in counts.items()}


def _groups(experiments: pd.DataFrame, by: str) -> tuple[dict[str, tuple[object, int]], list[str]]:
    """Return the value and the number of experiments of each sample by its name, and notes on what is in none."""
    column = experiments[by]
    known = column.notna() & (column.astype(str).str.strip() != "")
    values = sorted(column[known].unique().tolist(), key=str)
    if len(values) > MOST_SAMPLES:
        raise InputError(
            f"by '{by}': {len(values)} values, {MOST_SAMPLES} at most; take another column, or `ale-dask subgroups`"
        )
    groups: dict[str, tuple[object, int]] = {}
    notes = (
        [f"{int((~known).sum())} experiment(s) without a value of '{by}' are in no sample"] if not known.all() else []
    )
    for value in values:
        count = int((column == value).sum())
        if count < FEWEST:
            notes.append(f"{by} '{value}': {count} experiment with a focus is too few for a sample")
            continue
        name = name_from(str(value))
        groups[name if name not in groups else f"{name}-{len(groups) + 1}"] = value, count
    if not groups:
        raise InputError(f"by '{by}': no value has {FEWEST} experiments with a focus")
    return groups, notes


def _toml(
    path: Path,
    samples: Mapping[str, int],
    values: Mapping[str, object],
    *,
    by: str | None,
    source: Mapping[str, object],
    lacks_n: bool,
) -> str:
    """Return the text of study.toml, with a comment on each part; `lacks_n` of experiments without a sample size."""
    parts = [_HEAD.format(title=quoted(path.name.split(".")[0]))]
    for name, count in samples.items():
        parts.append(f"# {count} experiments with a focus.\n[foci.{name}]\nfiles = {quoted(path.name)}")
        parts += [f"{key} = {_value(value)}" for key, value in source.items()]
        if lacks_n:
            parts.append(
                "# The sample size of experiments whose rows state none; without it they are an error.\n# n = 20"
            )
        if by is not None:
            where, why = f"`{by}` == {literal(values[name])}", f"{by}: {values[name]}"
            parts.append(f"\n[[foci.{name}.select]]\nwhere = {quoted(where)}\nwhy = {quoted(why)}")
        parts.append("")
    parts.append(_INFERENCE)
    parts += [f'[analysis.{name}]\nkind = "main-effect"\nfoci = {quoted(name)}\n' for name in samples]
    pairs = list(combinations(samples, 2)) if len(samples) <= MOST_PAIRED else []
    parts += [PAIR.format(a=a, b=b) for a, b in pairs]
    if len(samples) > MOST_PAIRED:
        parts.append(_MANY.format(*list(samples)[:2]))
    return "\n".join(parts)


def _with_joint(text: str, samples: Mapping[str, int], foci: xr.Dataset, *, by: str) -> tuple[str, list[str]]:
    """Return study.toml with an analysis of all samples together where they are directions or modalities, and a note.

    Directions are not contrasted: the same subjects report both, and an arm has the foci that the other cannot have.
    """
    what = next((what for what in (DIRECTION, MODALITY) if column_of(foci, what) == by), None)
    if what is None:
        return text, []
    name = "all-together" if "all" in samples else "all"
    note = f"analysis {name} has the foci of every {what} together: it finds where any of them is reported"
    if what == DIRECTION:
        for a, b in combinations(samples, 2):
            text = text.replace(PAIR.format(a=a, b=b), "")
        note += "; directions are not contrasted, since the same subjects report both"
    joint = _JOINT.format(name=name, what=what, samples=", ".join(map(quoted, samples)))
    return f"{text.rstrip()}\n\n{joint}", [note]


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{quoted(k)} = {quoted(v)}" for k, v in value.items()) + " }"
    return quoted(value) if isinstance(value, str) else str(value)


def quoted(words: object) -> str:
    """Return a text as a string of TOML."""
    # The escapes of JSON are those of TOML, but for DEL, which JSON leaves as it is.
    return json.dumps(str(words), ensure_ascii=False).replace("\x7f", "\\u007f")


_HEAD = """\
# Made by `ale-dask new`; change whatever you like. `ale-dask check` on this folder says what becomes of each row of the
# table, and `ale-dask plan` what a run will compute and how long it takes.

# The title of the report.
title = {title}

# Samples. Each takes the rows of the table that its rules select, in order; the report counts what each rule leaves.
# Further rules, where the columns are yours:
#
#   [[foci.NAME.select]]
#   where = "patients and days > 1"
#   why = "patients, a course of treatment; no single doses"
#
#   [[foci.NAME.select]]
#   exclude = ["Smith 2010"]
#   why = "the same patients as Smith 2012"
"""
_INFERENCE = """\
[inference]
# Cluster-forming threshold: a voxel counts when its p, uncorrected, is below this.
voxel_p = 0.001
# Family-wise error of clusters.
cluster_p = 0.05
# Random studies that the family-wise error is estimated from, and relabellings of each contrast.
iterations = 10000
# Start of the random numbers. The same seed gives the same result on any computer.
seed = 1
# Where foci can lie: "brain", "gm" (grey matter) or an image file.
mask = "brain"
# The tests: against foci spread evenly ("uniform"), against where the literature reports foci ("base-rate"), or "both".
null = "both"

# Analyses.
"""
PAIR = """\
# Where {a} and {b} differ, in both directions.
[analysis.{a}-vs-{b}]
kind = "contrast"
arms = ["{a}", "{b}"]

# Where both are found.
[analysis.{a}-and-{b}]
kind = "conjunction"
of = ["{a}", "{b}"]
"""
_JOINT = """\
# Every {what} together.
[analysis.{name}]
kind = "main-effect"
foci = [{samples}]
"""
_MANY = """\
# A contrast and a conjunction of two samples, for example:
#
#   [analysis.first-vs-second]
#   kind = "contrast"
#   arms = ["{0}", "{1}"]
#
#   [analysis.first-and-second]
#   kind = "conjunction"
#   of = ["{0}", "{1}"]
"""


def next_commands(folder: str | Path) -> Sequence[str]:
    """Return the three commands that follow on a new study in a folder."""
    where = str(folder)
    return (
        f"ale-dask check {where}    # every decision about the input, and what looks wrong",
        f"ale-dask plan {where}     # what a run computes, and how long it takes",
        f"ale-dask run {where} -o {Path(folder) / 'out'}    # maps, tables and report.html",
    )
