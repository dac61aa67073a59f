"""Experiments of the same subjects: pooled, kept apart or refused, with the decisions and suspicions about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

from ale_dask.config.inference import SameSubjects
from ale_dask.coordinates.decisions import Decision, add_decisions
from ale_dask.coordinates.foci import n_foci, words_on
from ale_dask.coordinates.selection import drop_empty, with_step
from ale_dask.coordinates.subject_groups import members_of, pool_subjects, subject_groups, suspected
from ale_dask.errors import InputError

POOLED, KEPT, SUSPECTED = "pooled-groups", "kept-groups", "suspected-groups"
"""Codes of the decisions on subject groups."""
RULE = "one experiment per subject group: all pooled"
_LISTED = 5


def by_subjects(dataset: xr.Dataset, choice: SameSubjects | None, *, name: str) -> xr.Dataset:
    """Return the experiments with a focus, pooled per subject group or kept apart, with the decisions about them.

    Parameters
    ----------
    choice
        "pool" (one experiment per subject group), "keep" (experiments stay apart), "refuse", or None, with which the
        Dataset itself is returned.
    name
        The name of the sample in the decisions and the flow.

    Raises
    ------
    InputError
        when experiments are of one group and the choice is "refuse".
    """
    if choice is None:
        return dataset
    used = drop_empty(dataset)
    several = [members for members in members_of(subject_groups(used)) if len(members) > 1]
    if several and choice == "refuse":
        raise InputError(
            f"{name}: {_count(several)} of the same subjects: {_groups(used, several)}; an analysis takes experiments "
            'as independent. Set inference.same_subjects = "pool" (one experiment of all their foci) or "keep" (apart, '
            "as other programs do), or select one of each"
        )
    result, new = used, [*_decisions(used, several, choice, name=name), *_suspicions(used, name=name)]
    # Experiments that a rule of selection pooled lose their duplicate foci here.
    if choice == "pool" and (several or any(words_on(used, "experiment_pooled"))):
        pooled = pool_subjects(used)
        result = with_step(used, pooled, RULE, name=name) if several else pooled
    return add_decisions(result, new)


def _decisions(
    dataset: xr.Dataset, several: Sequence[Sequence[int]], choice: SameSubjects, *, name: str
) -> Iterable[Decision]:
    if not several:
        return
    said = f"{_count(several)} of the same subjects (the same study and sample size, or a column of groups)"
    if choice == "keep":
        yield Decision(
            KEPT,
            name,
            f"{said} are kept apart, and the null takes them as independent: with two experiments of each study about "
            f'40 % of simulated analyses without any effect find a cluster. same_subjects = "pool" makes them one '
            f"experiment each. They are: {_groups(dataset, several)}",
            len(several),
        )
        return
    foci = n_foci(dataset)
    yield Decision(
        POOLED,
        name,
        f"{said} were pooled, all {int(foci[[i for group in several for i in group]].sum()):,} foci of them and exact "
        f'duplicates once; same_subjects = "keep" leaves them apart. They are: {_groups(dataset, several)}',
        len(several),
    )
    sizes = dataset["experiment_n_subjects"].values
    for group in several:
        stated = sorted(set(sizes[group].tolist()))
        if len(stated) > 1:
            yield Decision(
                POOLED,
                name,
                f"{_group(dataset, group)} state n = {', '.join(str(n or 'unknown') for n in stated)}; "
                f"n = {min(n for n in stated if n) if any(stated) else 0} was taken for the pooled experiment",
            )


def _suspicions(dataset: xr.Dataset, *, name: str) -> Iterable[Decision]:
    groups = suspected(dataset)
    nameless = sum(not title.strip() for title in dataset["experiment_name"].values.tolist())
    if nameless > 1 and not all(words_on(dataset, "experiment_group")):
        yield Decision(
            SUSPECTED,
            name,
            f"{nameless} experiments have no name, so that nothing tells which of them are of the same subjects; they "
            "count as independent",
            nameless,
        )
    if groups:
        more = f" and {len(groups) - _LISTED} more" if len(groups) > _LISTED else ""
        yield Decision(
            SUSPECTED,
            name,
            f"{len(groups)} set(s) of experiments may be of the same subjects, but count as independent: "
            f"{'; '.join(group.words for group in groups[:_LISTED])}{more}. If they are, name groups of subjects in a "
            'column of the file, and that column as groups = "COLUMN" below [foci.NAME] of study.toml',
            len(groups),
        )


def _count(several: Sequence[Sequence[int]]) -> str:
    return f"{sum(map(len, several))} experiments are of {len(several)} group(s)"


def _groups(dataset: xr.Dataset, several: Sequence[Sequence[int]]) -> str:
    more = f" and {len(several) - _LISTED} more" if len(several) > _LISTED else ""
    return "; ".join(_group(dataset, group) for group in several[:_LISTED]) + more


def _group(dataset: xr.Dataset, group: Sequence[int]) -> str:
    ids = np.sort(dataset["experiment_id"].values[list(group)].astype(str)).tolist()
    more = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
    return " + ".join(f"'{id_}'" for id_ in ids[:_LISTED]) + more
