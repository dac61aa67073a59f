"""A study by subgroups: each value or range of a column as a main effect, and against the rest as a contrast."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from ale_dask.config.study import FociSource, Study, study_from
from ale_dask.coordinates.expressions import literal
from ale_dask.coordinates.foci import table
from ale_dask.coordinates.selection import select
from ale_dask.errors import InputError
from ale_dask.reporting.common.wording import FEWEST
from ale_dask.workflows.prepare import read_sample

log = logging.getLogger(__name__)
MOST_GROUPS = 50


def subgroups(
    study: Study,
    *,
    by: str,
    cuts: Sequence[float] = (),
    sample: str | None = None,
) -> Study:
    """Return a study of the subgroups of one sample: a main effect for each, and each against all others.

    Subgroups are formed after the sample's own selection. Subgroups with fewer than 17 experiments, which are kept,
    experiments without a value, which are in none, and the number of tests are logged.

    Parameters
    ----------
    study
        Study that has the sample; the new study takes its settings of inference.
    by
        Column of the experiments whose values, or ranges of numbers, make the subgroups.
    cuts
        Numbers at which ranges begin; a value equal to a cut is in the range above it.
    sample
        Name of the sample; not needed if the study has only one.

    Returns
    -------
    Study
        Study ready to `run`.

    Raises
    ------
    InputError
        For a column or sample that is not there, cuts of text, or fewer than two subgroups with a focus.

    Examples
    --------
    >>> study = ale.load_study("study.toml")
    >>> list(ale.subgroups(study, by="subjects", cuts=[25], sample="drug").analysis)  # doctest: +SKIP
    """
    name, source, columns = _chosen(study, by, sample)
    groups = _ranges(columns[by], by, cuts) if cuts else _values(columns[by], by)
    foci: dict[str, Any] = {}
    analysis: dict[str, Any] = {}
    names: list[str] = []
    for words, condition, inside in groups:
        own = columns[inside]
        if not own["foci"].sum():
            log.info(f"{words}: {len(own)} experiment(s) without any focus: no analysis")
            continue
        if (with_foci := int((own["foci"] > 0).sum())) < FEWEST:
            log.info(f"{words}: {with_foci} experiments, fewer than {FEWEST}: underpowered")
        group = _name(f"{by}-{words}", names)
        names.append(group)
        foci[group] = _selected(source, condition, f"subgroup: {words}")
        rest = " or ".join(f"({other})" for w, other, _ in groups if w != words)
        foci[f"{group}-rest"] = _selected(source, rest, f"subgroups other than: {words}")
        analysis[group] = {"kind": "main-effect", "foci": group}
    if len(names) < 2:
        raise InputError(f"by '{by}': {len(names)} group(s) with a focus; a comparison needs two")
    if len(names) == 2:
        # The rest of the one is the other.
        for group in names:
            del foci[f"{group}-rest"]
        analysis[f"{names[0]}-vs-{names[1]}"] = {"kind": "contrast", "arms": names}
    else:
        for group in names:
            analysis[f"{group}-rest"] = {"kind": "main-effect", "foci": f"{group}-rest"}
            analysis[f"{group}-vs-rest"] = {"kind": "contrast", "arms": [group, f"{group}-rest"]}
    unknown = int((~pd.concat([inside for *_, inside in groups], axis=1).any(axis=1)).sum())
    if unknown:
        log.info(f"{unknown} experiment(s) of '{name}' without a value of '{by}' are in no group")
    contrasts = sum(one["kind"] == "contrast" for one in analysis.values())
    log.info(f"descriptive: {len(analysis)} analyses, {contrasts} of them contrasts; nothing corrects for their number")
    return study_from(
        {
            "title": f"{study.title}: {name} by {by} (descriptive, {len(analysis)} analyses)",
            "simulated": study.simulated,
            "foci": foci,
            "analysis": analysis,
            "inference": study.inference.model_dump(),
            "backend": study.backend.model_dump(),
        },
        source=f"subgroups by {by}",
    )


def _chosen(study: Study, by: str, sample: str | None) -> tuple[str, FociSource, pd.DataFrame]:
    if sample is not None and sample not in study.foci:
        raise InputError(f"sample '{sample}': there is none of this name; there are {', '.join(study.foci)}")
    found = {}
    there: set[str] = set()
    for name in [sample] if sample else study.foci:
        source = study.foci[name]
        foci = select(read_sample(source), *source.select, name=name, where=f"foci.{name}.select")
        columns = table(foci)
        there |= set(map(str, columns.columns))
        if by in columns:
            found[name] = (name, source, columns)
    if len(found) != 1:
        what = f"several samples have it, {', '.join(found)}: say which" if found else "no sample has such a column"
        raise InputError(f"by '{by}': {what}; there are {', '.join(sorted(there))}")
    return next(iter(found.values()))


Group = tuple[str, str, "pd.Series[bool]"]
"""Its words, the condition that selects it, and which experiments it has."""


def _values(column: pd.Series[Any], by: str) -> list[Group]:
    known = column.notna() & (column.astype(str) != "")
    values = sorted(column[known].unique().tolist(), key=str)
    if len(values) > MOST_GROUPS:
        raise InputError(f"by '{by}': {len(values)} values, {MOST_GROUPS} at most; give --cut for ranges of numbers")
    return [(_plain(v), f"`{by}` == {literal(v)}", column == v) for v in values]


def _ranges(column: pd.Series[Any], by: str, cuts: Sequence[float]) -> list[Group]:
    if not pd.api.types.is_numeric_dtype(column):
        raise InputError(f"by '{by}': its values are text; only numbers can be cut")
    ordered = sorted(cuts)
    if len(set(ordered)) < len(ordered):
        raise InputError(f"by '{by}': names the same cut twice")
    ends = [None, *ordered, None]
    groups: list[Group] = []
    for low, high in pairwise(ends):
        parts, inside = [], column.notna()
        if low is not None:
            parts.append(f"`{by}` >= {low!r}")
            inside &= column >= low
        if high is not None:
            parts.append(f"`{by}` < {high!r}")
            inside &= column < high
        words = f"from {low:g}" if high is None else f"below {high:g}" if low is None else f"{low:g} to {high:g}"
        groups.append((words, " and ".join(parts), inside))
    return [g for g in groups if g[2].any()]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(words: str, taken: Sequence[str]) -> str:
    stem = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "group"
    return stem if stem not in taken else f"{stem}-{len(taken) + 1}"


def _selected(source: FociSource, condition: str, why: str) -> dict[str, Any]:
    data = source.model_dump()
    return data | {"select": [*data["select"], {"where": condition, "why": why}]}
