"""Make a study of the subgroups of a sample: a main effect of each and its contrast with the rest."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from ale_dask.config.foci_source import FociSource
from ale_dask.config.names import name_from
from ale_dask.config.study import Study, study_from
from ale_dask.coordinates.expressions import literal
from ale_dask.coordinates.foci import table
from ale_dask.coordinates.lint import ENOUGH_EXPERIMENTS
from ale_dask.coordinates.selection import select
from ale_dask.errors import InputError, did_you_mean
from ale_dask.reporting.text.subgroups import GROUP
from ale_dask.workflows.prepare import read_sample

log = logging.getLogger(__name__)
MOST_GROUPS = 50
Group = tuple[str, str, "pd.Series[bool]"]
"""A description of a group in words, the condition that selects it, and a mask of its experiments (experiment)."""


def subgroups(
    study: Study,
    *,
    by: str,
    cuts: Sequence[float] = (),
    sample: str | None = None,
) -> Study:
    """Return a study of the subgroups of one sample: a main effect for each, and each against all others.

    Subgroups are formed after the selection of the sample. The log says which subgroups have fewer than 17 experiments
    (they are kept), how many experiments have no value (they are in no subgroup), and the number of analyses.

    Parameters
    ----------
    study
        Study that has the sample, and whose settings the new study has.
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
        For an unknown column or sample, cuts of a column of text, or fewer than two subgroups with a focus.

    Examples
    --------
    >>> study = ale.load_study("study.toml")
    >>> list(ale.subgroups(study, by="n", cuts=[25], sample="drug").analysis)
    ['n-below-25', 'n-from-25', 'n-below-25-vs-n-from-25']
    """
    name, source, columns = _chosen(study, by, sample)
    groups = _ranges(columns[by], by, cuts) if cuts else _values(columns[by], by)
    named = _with_foci(groups, columns["foci"], by)
    if len(named) < 2:
        raise InputError(f"by '{by}': {len(named)} group(s) with a focus; a comparison needs two")
    foci: dict[str, Any] = {}
    for group, (words, condition, _) in named.items():
        foci[group] = _selected(source, condition, f"{GROUP}{words}")
        # With two groups, each is the rest of the other.
        if len(named) > 2:
            others = " or ".join(f"({other})" for w, other, _ in groups if w != words)
            foci[f"{group}-rest"] = _selected(source, others, f"subgroups other than: {words}")
    analysis = _analyses(list(named))
    unknown = int((~pd.concat([inside for *_, inside in groups], axis=1).any(axis=1)).sum())
    if unknown:
        log.info(f"{unknown} experiment(s) of '{name}' without a value of '{by}' are in no group")
    contrasts = sum(settings["kind"] == "contrast" for settings in analysis.values())
    log.info(f"descriptive: {len(analysis)} analyses, {contrasts} of them contrasts; nothing corrects for their number")
    return study_from(
        {
            "title": f"{study.title}: {name} by {by} (descriptive, {len(analysis)} analyses)",
            "simulated": study.simulated,
            "foci": foci,
            "analysis": analysis,
            "inference": study.inference.model_dump(),
            "backend": study.backend.model_dump(),
            "records": study.records.model_dump(),
        },
        source=f"subgroups by {by}",
    )


def _with_foci(groups: Sequence[Group], n_foci: pd.Series[int], by: str) -> dict[str, Group]:
    """Return the groups with a focus by the name of their analysis; `n_foci` (experiment) counts the foci."""
    named: dict[str, Group] = {}
    for group in groups:
        words, _, inside = group
        if not n_foci[inside].sum():
            log.info(f"{words}: {int(inside.sum())} experiment(s) without any focus: no analysis")
            continue
        if (with_foci := int((n_foci[inside] > 0).sum())) < ENOUGH_EXPERIMENTS:
            log.info(f"{words}: {with_foci} experiments, fewer than {ENOUGH_EXPERIMENTS}: underpowered")
        named[_name(f"{by}-{words}", list(named))] = group
    return named


def _analyses(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return a main effect of each group, and the contrast of two groups, or of each of more groups with the rest."""
    analysis: dict[str, dict[str, Any]] = {name: {"kind": "main-effect", "foci": name} for name in names}
    if len(names) == 2:
        return analysis | {f"{names[0]}-vs-{names[1]}": {"kind": "contrast", "arms": names}}
    for name in names:
        analysis[f"{name}-rest"] = {"kind": "main-effect", "foci": f"{name}-rest"}
        analysis[f"{name}-vs-rest"] = {"kind": "contrast", "arms": [name, f"{name}-rest"]}
    return analysis


def _chosen(study: Study, by: str, sample: str | None) -> tuple[str, FociSource, pd.DataFrame]:
    """Return the name and the source of the only sample with a column, and the columns of its experiments."""
    if sample is not None and sample not in study.foci:
        hint = did_you_mean(sample, study.foci)
        raise InputError(f"sample '{sample}': no sample has this name; there are {', '.join(study.foci)}{hint}")
    chosen = {}
    known: set[str] = set()
    for name in [sample] if sample else study.foci:
        source = study.foci[name]
        foci = select(read_sample(source), *source.select, name=name, where=f"foci.{name}.select")
        columns = table(foci)
        known |= set(map(str, columns.columns))
        if by in columns:
            chosen[name] = (name, source, columns)
    if len(chosen) != 1:
        what = f"several samples have it, {', '.join(chosen)}: say which" if chosen else "no sample has such a column"
        hint = "" if chosen else did_you_mean(by, known)
        raise InputError(f"by '{by}': {what}; there are {', '.join(sorted(known))}{hint}")
    return next(iter(chosen.values()))


def _values(column: pd.Series[Any], by: str) -> list[Group]:
    """Return a group per value of a column."""
    known = column.notna() & (column.astype(str) != "")
    values = sorted(column[known].unique().tolist(), key=str)
    if len(values) > MOST_GROUPS:
        raise InputError(f"by '{by}': {len(values)} values, {MOST_GROUPS} at most; give --cut for ranges of numbers")
    return [(_text(v), f"`{by}` == {literal(v)}", column == v) for v in values]


def _ranges(column: pd.Series[Any], by: str, cuts: Sequence[float]) -> list[Group]:
    """Return a group per range of a numeric column between cuts; a range without experiments has none."""
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


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(words: str, taken: Sequence[str]) -> str:
    """Return a name for a group that is allowed in study.toml and not yet taken."""
    stem = name_from(words, otherwise="group")
    return stem if stem not in taken else f"{stem}-{len(taken) + 1}"


def _selected(source: FociSource, condition: str, why: str) -> dict[str, Any]:
    """Return the settings of a source with a further step of selection."""
    data = source.model_dump()
    return data | {"select": [*data["select"], {"where": condition, "why": why}]}
