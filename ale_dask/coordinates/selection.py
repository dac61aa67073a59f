"""Which experiments count: rules applied in order, and how many studies, experiments, foci and subjects each leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.config.study import RULES, Step, step_from
from ale_dask.coordinates.expressions import holds
from ale_dask.coordinates.foci import n_foci, subset, table
from ale_dask.coordinates.masks import load_mask
from ale_dask.coordinates.readers.text import shown
from ale_dask.coordinates.subject_groups import n_subjects, pool
from ale_dask.errors import InputError

Keep = npt.NDArray[np.bool_]
FLOW = ("sample", "step", "rule", "why", "studies", "experiments", "foci", "subjects", "removed")
"""The columns of a flow."""


def select(dataset: xr.Dataset, *steps: Step | Mapping[str, Any], name: str = "", where: str = "select") -> xr.Dataset:
    """Return the foci Dataset of the experiments that these rules leave, applied in order, with its flow.

    Parameters
    ----------
    steps
        Each as in `[[foci.NAME.select]]` of a study.toml: {"where": "patients and weeks >= 4"},
        {"drop_empty": True}, {"one_per": "study", "rule": "first"}, {"one_per": "study", "rule": "latest", "by":
        "weeks"}, {"one_per": "study", "rule": "pooled"} (Turkeltaub 2012: one experiment of all their foci),
        {"exclude": ["Smith 2010"], "why": "reason"}, {"near": [x, y, z], "mm": 10} or {"inside": "image.nii.gz"}.
    name
        Of the sample, in the flow; by default the analysis's.

    Raises
    ------
    InputError
        beginning with `where`, for a rule that cannot be applied, or one that leaves nothing.
    """
    rows = json.loads(dataset.attrs.get("selection", "[]")) or [_row(name, 0, "read", "", dataset, ())]
    for number, given in enumerate(steps, 1):
        at = f"{where}[{number}]"
        step = given if isinstance(given, Step) else step_from(dict(given), source=at)
        rule = next(rule for rule in RULES if getattr(step, rule) is not None)
        before = dataset
        dataset = _APPLY[rule](dataset, step, f"{at}.{rule}")
        if not dataset.sizes["experiment"]:
            raise InputError(f"{at}.{rule}: no experiment is left of {before.sizes['experiment']}; {_said(step, rule)}")
        rows.append(_row(name, len(rows), _said(step, rule), step.why, dataset, _lost(before, dataset)))
    return dataset.assign_attrs(selection=json.dumps(rows))


def drop_empty(dataset: xr.Dataset) -> xr.Dataset:
    """Return the foci Dataset of the experiments with a focus; a flow that it has, with this step if any are lost."""
    kept = subset(dataset, n_foci(dataset) > 0)
    rows = json.loads(dataset.attrs.get("selection", "[]"))
    if not rows or len({row["sample"] for row in rows}) > 1 or kept.sizes == dataset.sizes:
        return kept
    rule = _said(Step(drop_empty=True), "drop_empty")
    rows.append(_row(rows[0]["sample"], len(rows), rule, "", kept, _lost(dataset, kept)))
    return kept.assign_attrs(selection=json.dumps(rows))


def with_step(before: xr.Dataset, after: xr.Dataset, rule: str, *, name: str) -> xr.Dataset:
    """Return `after` with the flow of `before` and one more step in it, by which the one became the other.

    Where samples of several names were joined, their flows are kept and `name` begins its own.
    """
    rows = json.loads(before.attrs.get("selection", "[]"))
    if len({row["sample"] for row in rows}) != 1:
        rows.append(_row(name, 0, "read" if not rows else "joined", "", before, ()))
    rows.append(_row(rows[-1]["sample"], rows[-1]["step"] + 1, rule, "", after, _lost(before, after)))
    return after.assign_attrs(selection=json.dumps(rows))


def flow(dataset: xr.Dataset) -> pd.DataFrame:
    """Return what each rule left (step): studies, experiments, foci, subjects, and what it removed."""
    return pd.DataFrame(json.loads(dataset.attrs.get("selection", "[]")), columns=list(FLOW))


def _lost(before: xr.Dataset, after: xr.Dataset) -> list[str]:
    left = set(after["experiment_id"].values.tolist())
    return [i for i in before["experiment_id"].values.tolist() if i not in left]


def _row(sample: str, number: int, rule: str, why: str, dataset: xr.Dataset, removed: Sequence[str]) -> dict[str, Any]:
    studies = len(set(dataset["experiment_study"].values.tolist()))
    counts = (studies, dataset.sizes["experiment"], dataset.sizes["focus"], n_subjects(dataset))
    return dict(zip(FLOW, (sample, number, rule, why, *counts, list(removed)), strict=True))


def _said(step: Step, rule: str) -> str:
    match rule:
        case "where":
            return f"where {step.where}"
        case "drop_empty":
            return "at least one focus"
        case "one_per":
            how = {"first": "the first listed", "latest": f"the latest by {step.by}", "pooled": "all pooled"}
            return f"one per {step.one_per}: {how[str(step.rule)]}"
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
    names = {c: experiments[c].to_numpy() for c in ("id", "name", "study")}
    out = np.zeros(len(experiments), dtype=bool)
    for wanted in step.exclude:
        found = np.logical_or.reduce([values == wanted for values in names.values()])
        if not found.any():
            near = get_close_matches(wanted, sorted({str(v) for values in names.values() for v in values}), n=1)
            hint = f"did you mean {shown(near[0])}?" if near else "it may have been removed by an earlier step"
            raise InputError(f"{where}: no experiment or study is named {shown(wanted)}; {hint}")
        out |= found
    return subset(dataset, ~out)


def _groups(dataset: xr.Dataset, step: Step, where: str) -> list[list[int]]:
    """Return the experiments of each group, in order; one whose group is not known is a group of its own."""
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
    # Not known is earlier than any; of equals the first listed stays.
    late = np.where(np.isnan(values.astype(np.float64)), -np.inf, values)
    keep[[max(group, key=lambda i: (late[i], -i)) for group in groups]] = True
    return subset(dataset, keep)


def _near(dataset: xr.Dataset, step: Step, where: str) -> xr.Dataset:
    distance = np.sqrt(((dataset["focus_xyz"].values - np.array(step.near)) ** 2).sum(axis=1))
    return _with_a_focus(dataset, distance <= step.mm)


def _inside(dataset: xr.Dataset, step: Step, where: str) -> xr.Dataset:
    try:
        region = load_mask(str(step.inside), key="inside")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return _with_a_focus(dataset, region.voxel_at(dataset["focus_xyz"].values) >= 0)


def _with_a_focus(dataset: xr.Dataset, chosen: Keep) -> xr.Dataset:
    keep = np.zeros(dataset.sizes["experiment"], dtype=bool)
    keep[dataset["focus_experiment"].values[chosen]] = True
    return subset(dataset, keep)


def _column(experiments: pd.DataFrame, name: str, *, where: str) -> npt.NDArray[Any]:
    if name not in experiments:
        near = get_close_matches(name, map(str, experiments.columns), n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InputError(f"{where}: no column '{name}'; {hint}There are: {', '.join(map(str, experiments.columns))}")
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
