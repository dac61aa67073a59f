"""Selection of experiments by rules, and the numbers of studies, experiments, foci and subjects that each leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.config.foci_source import RULES, Step
from ale_dask.config.study import step_from
from ale_dask.coordinates.expressions import holds, text_asked
from ale_dask.coordinates.foci import n_foci, subset, table, taken
from ale_dask.coordinates.masks import load_mask
from ale_dask.coordinates.readers.text import shown
from ale_dask.coordinates.seeds import seed_record
from ale_dask.coordinates.subject_groups import n_subjects, pool
from ale_dask.errors import InputError, did_you_mean

FLOW = ("sample", "step", "rule", "why", "studies", "experiments", "foci", "subjects", "removed")
"""The columns of the table that `flow` returns."""
UNLISTED = "not listed"
"""The word for removed experiments of which there are too many to name."""


def select(
    dataset: xr.Dataset, *steps: Step | Mapping[str, Any] | str, name: str = "", where: str = "select"
) -> xr.Dataset:
    """Return the foci Dataset of the experiments that rules leave, applied in order, with its flow.

    Parameters
    ----------
    dataset
        A foci Dataset as `read_foci` returns it.
    *steps
        Rules as in `[[foci.NAME.select]]` of a study.toml: {"where": "patients and weeks >= 4"}, or that condition
        alone as text; {"drop_empty": True}, {"one_per": "study", "rule": "first"}, {"one_per": "study", "rule":
        "latest", "by": "weeks"}, {"one_per": "study", "rule": "pooled"}, {"exclude": ["Smith 2010"], "why": "reason"},
        {"near": [x, y, z], "mm": 10} with coordinates in mm MNI, or {"inside": "image.nii.gz"}.
    name
        The name of the sample in the flow.
    where
        The beginning of messages.

    Returns
    -------
    xarray.Dataset
        The foci Dataset of the experiments left, with their keys; `flow` returns what each rule left.

    Raises
    ------
    InputError
        For a rule that cannot be applied, or that leaves no experiment.

    Notes
    -----
    "pooled" makes one experiment of all foci of a group (Turkeltaub et al. 2012, Human Brain Mapping 33:1).

    Examples
    --------
    >>> from importlib.resources import files
    >>> from ale_dask import read_foci
    >>> foci = read_foci(files("ale_dask.datasets.example") / "psychotherapy.csv")
    >>> large = select(foci, "n >= 20", {"one_per": "study", "rule": "first"})
    >>> flow(large)[["rule", "experiments"]].values.tolist()
    [['read', 17], ['where n >= 20', 5], ['one per study: the first listed', 5]]
    """
    return select_from(Whole(dataset), *steps, name=name, where=where)


@dataclass(frozen=True, eq=False)
class Whole:
    """All experiments of some files, with what every sample needs that is picked from them; it must not be changed."""

    dataset: xr.Dataset

    @cached_property
    def counts(self) -> tuple[int, int, int, int]:
        """The numbers of studies, experiments, foci and subjects."""
        return _counts(self.dataset)

    @cached_property
    def _experiments_of_text(self) -> dict[str, dict[str, list[int]]]:
        """The positions of the experiments by the text of a column, of each column that holds text alone."""
        experiments = table(self.dataset)
        texts = {str(c): experiments[c].tolist() for c in experiments if experiments[c].dtype.kind == "O"}
        found: dict[str, dict[str, list[int]]] = {}
        for column, values in texts.items():
            if all(type(value) is str for value in values):
                found[column] = {}
                for position, value in enumerate(values):
                    found[column].setdefault(value, []).append(position)
        return found

    @cached_property
    def _foci_of_experiment(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The foci (focus) in the order of their experiments, and where those of each experiment begin and end."""
        owner = self.dataset["focus_experiment"].values
        return np.argsort(owner, kind="stable"), np.r_[0, np.cumsum(n_foci(self.dataset))]

    def having(self, expression: str) -> xr.Dataset | None:
        """Return the experiments for which `column == 'text'` holds; None for another condition or column."""
        asked = text_asked(expression)
        if asked is None or asked[0] not in self._experiments_of_text:
            return None
        positions = np.array(self._experiments_of_text[asked[0]].get(asked[1], []), dtype=np.intp)
        order, begin = self._foci_of_experiment
        foci = np.concatenate([order[:0], *(order[begin[p] : begin[p + 1]] for p in positions)])
        return taken(self.dataset, positions, np.sort(foci))


def select_from(
    whole: Whole, *steps: Step | Mapping[str, Any] | str, name: str, where: str, listed: bool = True
) -> xr.Dataset:
    """Return what `select` returns; without `listed`, the flow says how many experiments a rule removed, not which."""
    dataset = whole.dataset
    rows = json.loads(dataset.attrs.get("selection", "[]")) or [_row(name, 0, "read", whole.counts)]
    for number, given in enumerate(steps, 1):
        at = f"{where}[{number}]"
        values = {"where": given} if isinstance(given, str) else given
        step = values if isinstance(values, Step) else step_from(dict(values), source=at)
        rule = next(rule for rule in RULES if getattr(step, rule) is not None)
        before = dataset
        picked = whole.having(step.where) if number == 1 and step.where is not None else None
        dataset = _APPLY[rule](dataset, step, f"{at}.{rule}") if picked is None else picked
        words = _in_words(step, rule)
        if not dataset.sizes["experiment"]:
            raise InputError(f"{at}.{rule}: no experiment is left of {before.sizes['experiment']}; {words}")
        removed = _removed(before, dataset) if listed else _number_removed(before, dataset)
        row = _row(name, len(rows), words, _counts(dataset), removed=removed)
        rows.append(row | {"why": step.why} | seed_record(step))
    return dataset.assign_attrs(selection=json.dumps(rows))


def drop_empty(dataset: xr.Dataset) -> xr.Dataset:
    """Return the foci Dataset of the experiments with a focus; its flow, if it has one, gets a step if any are lost."""
    remaining = subset(dataset, n_foci(dataset) > 0)
    rows = json.loads(dataset.attrs.get("selection", "[]"))
    if not rows or len({row["sample"] for row in rows}) > 1 or remaining.sizes == dataset.sizes:
        return remaining
    rule = _in_words(Step(drop_empty=True), "drop_empty")
    rows.append(_row(rows[0]["sample"], len(rows), rule, _counts(remaining), removed=_removed(dataset, remaining)))
    return remaining.assign_attrs(selection=json.dumps(rows))


def with_step(before: xr.Dataset, after: xr.Dataset, rule: str, *, name: str) -> xr.Dataset:
    """Return `after` with the flow of `before` and a further step, the rule by which `before` became `after`.

    Where `before` has the flows of several samples, they are kept, and the sample `name` begins a flow of its own.
    """
    rows = json.loads(before.attrs.get("selection", "[]"))
    if len({row["sample"] for row in rows}) != 1:
        rows.append(_row(name, 0, "read" if not rows else "joined", _counts(before)))
    sample, step = rows[-1]["sample"], rows[-1]["step"] + 1
    rows.append(_row(sample, step, rule, _counts(after), removed=_removed(before, after)))
    return after.assign_attrs(selection=json.dumps(rows))


def flow(dataset: xr.Dataset) -> pd.DataFrame:
    """Return the numbers of studies, experiments, foci and subjects that each rule of selection left.

    Parameters
    ----------
    dataset
        A foci Dataset as `select` returns it, or a result.

    Returns
    -------
    pandas.DataFrame
        A row per step, the first for the files as read: sample, step, rule, why, studies, experiments, foci, subjects
        (each subject group once) and removed, the ids of the experiments that the rule removed.

    Examples
    --------
    >>> from importlib.resources import files
    >>> from ale_dask import read_foci
    >>> foci = read_foci(files("ale_dask.datasets.example") / "psychotherapy.csv")
    >>> flow(select(foci, {"drop_empty": True}))["experiments"].tolist()
    [17, 17]
    """
    return pd.DataFrame(json.loads(dataset.attrs.get("selection", "[]")), columns=list(FLOW))


def _removed(before: xr.Dataset, after: xr.Dataset) -> list[str]:
    remaining = set(after["experiment_id"].values.tolist())
    return [i for i in before["experiment_id"].values.tolist() if i not in remaining]


def _number_removed(before: xr.Dataset, after: xr.Dataset) -> list[str]:
    number = before.sizes["experiment"] - after.sizes["experiment"]
    return [f"{number:,} experiment{'s' * (number > 1)}, {UNLISTED}"] if number else []


def _counts(dataset: xr.Dataset) -> tuple[int, int, int, int]:
    studies = len(set(dataset["experiment_study"].values.tolist()))
    return studies, dataset.sizes["experiment"], dataset.sizes["focus"], n_subjects(dataset)


def _row(
    sample: str, number: int, rule: str, counts: tuple[int, int, int, int], *, removed: Sequence[str] = ()
) -> dict[str, Any]:
    return dict(zip(FLOW, (sample, number, rule, "", *counts, list(removed)), strict=True))


def _in_words(step: Step, rule: str) -> str:
    match rule:
        case "where":
            return f"where {step.where}"
        case "drop_empty":
            return "at least one focus"
        case "one_per":
            left = {"first": "the first listed", "latest": f"the latest by {step.by}", "pooled": "all pooled"}
            return f"one per {step.one_per}: {left[str(step.rule)]}"
        case "exclude":
            return "excluded by name"
        case "near":
            assert step.near is not None
            return f"a focus within {step.mm:g} mm of {' '.join(f'{c:g}' for c in step.near)}"
    return f"a focus inside {Path(str(step.inside)).name}"


def _where(dataset: xr.Dataset, step: Step, where: str) -> xr.Dataset:
    assert step.where is not None
    return subset(dataset, holds(step.where, table(dataset), where=where))


def _drop_empty(dataset: xr.Dataset, step: Step, where: str) -> xr.Dataset:
    return subset(dataset, n_foci(dataset) > 0)


def _exclude(dataset: xr.Dataset, step: Step, where: str) -> xr.Dataset:
    assert step.exclude is not None
    experiments = table(dataset)
    names = [experiments[column].to_numpy() for column in ("id", "name", "study")]
    excluded = np.zeros(len(experiments), dtype=bool)
    for wanted in step.exclude:
        named = np.logical_or.reduce([values == wanted for values in names])
        if not named.any():
            known = sorted({str(v) for values in names for v in values})
            hint = did_you_mean(wanted, known) or "; it may have been removed by an earlier step"
            raise InputError(f"{where}: no experiment or study is named {shown(wanted)}{hint}")
        excluded |= named
    return subset(dataset, ~excluded)


def _groups(dataset: xr.Dataset, step: Step, where: str) -> list[list[int]]:
    """Return the positions of the experiments of each group; an experiment of no known group is alone in a group."""
    values = _column(table(dataset), str(step.one_per), where=where)
    groups: dict[Any, list[int]] = {}
    for i, value in enumerate(values.tolist()):
        missing = value == "" or value != value
        groups.setdefault(("alone", i) if missing else value, []).append(i)
    return list(groups.values())


def _one_per(dataset: xr.Dataset, step: Step, where: str) -> xr.Dataset:
    groups = _groups(dataset, step, where)
    if step.rule == "pooled":
        return pool(dataset, groups)
    keep = np.zeros(dataset.sizes["experiment"], dtype=bool)
    if step.rule == "first":
        keep[[group[0] for group in groups]] = True
        return subset(dataset, keep)
    values = _column(table(dataset), str(step.by), where=where.replace("one_per", "by"))
    if values.dtype.kind not in "iuf":
        raise InputError(f"{where.replace('one_per', 'by')}: column '{step.by}' holds text; it must be numbers")
    # An unknown number counts as the smallest; of equal numbers the first listed stays.
    numbers = np.where(np.isnan(values.astype(np.float64)), -np.inf, values)
    keep[[max(group, key=lambda i: (numbers[i], -i)) for group in groups]] = True
    return subset(dataset, keep)


def _near(dataset: xr.Dataset, step: Step, where: str) -> xr.Dataset:
    distance = np.sqrt(((dataset["focus_xyz"].values - np.array(step.near)) ** 2).sum(axis=1))
    return _with_focus_among(dataset, distance <= step.mm)


def _inside(dataset: xr.Dataset, step: Step, where: str) -> xr.Dataset:
    try:
        region = load_mask(str(step.inside), key="inside")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return _with_focus_among(dataset, region.voxel_at(dataset["focus_xyz"].values) >= 0)


def _with_focus_among(dataset: xr.Dataset, chosen: npt.NDArray[np.bool_]) -> xr.Dataset:
    """Return the experiments with at least one of the foci that are chosen (focus)."""
    keep = np.zeros(dataset.sizes["experiment"], dtype=bool)
    keep[dataset["focus_experiment"].values[chosen]] = True
    return subset(dataset, keep)


def _column(experiments: pd.DataFrame, name: str, *, where: str) -> npt.NDArray[Any]:
    if name not in experiments:
        names = [str(c) for c in experiments.columns]
        raise InputError(f"{where}: no column '{name}'{did_you_mean(name, names)}; there are: {', '.join(names)}")
    values: npt.NDArray[Any] = experiments[name].to_numpy()
    return values


_APPLY: dict[str, Callable[[xr.Dataset, Step, str], xr.Dataset]] = {
    "where": _where,
    "drop_empty": _drop_empty,
    "one_per": _one_per,
    "exclude": _exclude,
    "near": _near,
    "inside": _inside,
}
