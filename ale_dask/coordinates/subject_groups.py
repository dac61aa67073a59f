"""Subject groups: the experiments of the same subjects, and their pooling into one experiment with all their foci."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.coordinates.foci import foci_of, table, words_on
from ale_dask.coordinates.shared_subjects import author_year, of_same_foci, tells_subjects
from ale_dask.errors import InputError, did_you_mean
from ale_dask.schema import FOCI, check, describe

BETWEEN = " | "
"""The separator between the ids of pooled experiments: names hold commas and semicolons."""
# Letters right after the year, "a" or "pre", PubMed ids and DOIs tell papers of the same author and year apart.
_PAPER = re.compile(r"(?<!\d)(?:19|20)\d\d([^\W\d_]+)|(?<!\d)(\d{6,8})(?!\d)|(10\.\d{4,}/[^\s\])]+)")
_LISTED = 5
_Group = tuple[Any, ...]


@dataclass(frozen=True)
class Suspected:
    """Experiments, by position, that may be of the same subjects but count as independent, and the reason in words."""

    members: tuple[int, ...]
    words: str


def with_groups(dataset: xr.Dataset, column: str, *, where: str = "groups") -> xr.Dataset:
    """Return a foci Dataset whose subject groups are the values of one of its columns.

    Parameters
    ----------
    dataset
        A foci Dataset as `read_foci` returns it.
    column
        A tag or a further column of the files. An experiment without a value there is grouped by its study and sample
        size, as all experiments are without such a column.
    where
        The beginning of messages.

    Returns
    -------
    xarray.Dataset
        With `experiment_group` (experiment), "COLUMN: VALUE" or "".

    Raises
    ------
    InputError
        For a column that the experiments do not have.

    Examples
    --------
    >>> from ale_dask.coordinates.foci import Experiment, build
    >>> names = {"Smith 2010": "Oxford", "Smith 2011": "Oxford", "Li 2011": ""}
    >>> listed = [Experiment(k, 20, ((0, 0, 0),), "MNI", "a.txt", {"lab": v}) for k, v in names.items()]
    >>> with_groups(build(listed), "lab")["experiment_group"].values.tolist()
    ['lab: Oxford', 'lab: Oxford', '']
    """
    experiments = table(dataset)
    if column not in experiments:
        names = [str(c) for c in experiments.columns]
        raise InputError(f"{where}: no column '{column}'{did_you_mean(column, names)}; there are: {', '.join(names)}")
    values = ["" if value != value else str(value).strip() for value in experiments[column].tolist()]
    words = [f"{column}: {value}" if value else "" for value in values]
    return describe(dataset.assign(experiment_group=("experiment", np.array(words, dtype=object))))


def subject_groups(dataset: xr.Dataset) -> npt.NDArray[np.int64]:
    """Return the subject group of each experiment (experiment), int64, numbered from 0 in the order of experiments.

    Experiments with the same value in the column of `with_groups` are one group. Experiments without a value there are
    one group when they have the same study and the same stated sample size. The study is a first author and year, with
    the letters right after the year ("2010a") and a PubMed id or DOI, or the name that the file gives. A name that
    does not tell subjects, such as "patients", makes no group, nor does an unknown sample size.

    Examples
    --------
    >>> from ale_dask.coordinates.foci import Experiment, build
    >>> names = ("Smith 2010; faces", "Smith 2010; houses", "Li 2011")
    >>> subject_groups(build([Experiment(name, 20, ((0, 0, 0),), "MNI", "a.txt") for name in names])).tolist()
    [0, 0, 1]
    """
    check(dataset, *FOCI)
    number: dict[_Group, int] = {}
    return np.array([number.setdefault(group, len(number)) for group in _groups(dataset)], dtype=np.int64)


def members_of(groups: npt.NDArray[np.int64]) -> list[list[int]]:
    """Return the positions of the experiments of each group, for the group of each experiment (experiment)."""
    members: list[list[int]] = [[] for _ in range(int(groups.max(initial=-1)) + 1)]
    for position, group in enumerate(groups.tolist()):
        members[group].append(position)
    return members


def group_keys(dataset: xr.Dataset, groups: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return the 64-bit key of each group (group): that of a single experiment, or a hash of all, in any order."""
    keys = dataset["experiment_key"].values
    return np.array([_joint_key(keys[members].tolist()) for members in members_of(groups)], dtype=np.uint64)


def group_names(dataset: xr.Dataset, groups: npt.NDArray[np.int64]) -> list[str]:
    """Return the name of the group of each experiment: the id of a single experiment, or the study and their number."""
    ids = dataset["experiment_id"].values.astype(str).tolist()
    stated = words_on(dataset, "experiment_group")
    studies = dataset["experiment_study"].values.tolist()
    sizes = dataset["experiment_n_subjects"].values.tolist()
    names = [""] * len(ids)
    for members in members_of(groups):
        study = stated[members[0]] or f"{min(studies[i] for i in members)}, n = {sizes[members[0]]}"
        for i in members:
            names[i] = ids[i] if len(members) == 1 else f"{study} ({len(members)} experiments)"
    return names


def n_subjects(dataset: xr.Dataset) -> int:
    """Return the number of subjects: the sum over subject groups of the smallest sample size stated in each."""
    sizes = dataset["experiment_n_subjects"].values
    return sum(_smallest(sizes[members].tolist()) for members in members_of(subject_groups(dataset)))


def count_of_pooled(dataset: xr.Dataset) -> list[int]:
    """Return the number of experiments that were pooled, and the number that they became."""
    pooled = [words.split(BETWEEN) for words in words_on(dataset, "experiment_pooled") if words]
    return [sum(map(len, pooled)), len(pooled)]


def suspected(dataset: xr.Dataset) -> list[Suspected]:
    """Return the experiments of different subject groups that may nevertheless be of the same subjects.

    They have the same study, or first author and year, with other or no sample sizes; the same name that does not tell
    subjects, and sample size; or the same three or more foci and sample size. Experiments that all have a value in the
    column of `with_groups` are not suspected.
    """
    groups = subject_groups(dataset).tolist()
    stated = words_on(dataset, "experiment_group")
    sizes = dataset["experiment_n_subjects"].values.tolist()
    alike: dict[_Group, list[int]] = {}
    for i, (study, name) in enumerate(_studies_and_names(dataset)):
        authors = author_year(study)
        if authors is not None:
            alike.setdefault(("author", authors[0], authors[2]), []).append(i)
        elif tells_subjects(study, name):
            alike.setdefault(("study", study.casefold()), []).append(i)
        elif sizes[i] and name:
            alike.setdefault(("name", name.casefold(), sizes[i]), []).append(i)
    alike |= {("foci", key): [i for i, _ in members] for key, members in of_same_foci(dataset).items()}
    suspicions: dict[frozenset[int], Suspected] = {}
    for (kind, *_), members in alike.items():
        different = frozenset(groups[i] for i in members)
        if len(different) > 1 and not all(stated[i] for i in members) and different not in suspicions:
            reason = _reason(kind, [sizes[i] for i in members])
            suspicions[different] = Suspected(tuple(members), f"{_named(dataset, members)} ({reason})")
    return list(suspicions.values())


def pool(dataset: xr.Dataset, groups: Sequence[Sequence[int]], *, duplicates: bool = True) -> xr.Dataset:
    """Return a foci Dataset with one experiment per group of positions, with all foci of the group.

    Its sample size is the smallest that is known, and its other values are those of the first experiment of the group;
    `experiment_pooled` has the ids of all. Without `duplicates`, equal foci of a group are kept once.
    """
    first = np.array([group[0] for group in groups])
    keys = dataset["experiment_key"].values.copy()
    n = dataset["experiment_n_subjects"].values.copy()
    spaces = dataset["experiment_space"].values.copy()
    ids = dataset["experiment_id"].values.tolist()
    pooled = np.array(words_on(dataset, "experiment_pooled"), dtype=object)
    for group in groups:
        if len(group) > 1:
            spaces[group[0]] = spaces[group[0]] if len(set(spaces[group].tolist())) == 1 else ""
            # The random draws of a group depend on its members, not on their order.
            keys[group[0]] = _joint_key(keys[group].tolist())
            n[group[0]] = _smallest(n[group].tolist())
            pooled[group[0]] = BETWEEN.join(pooled[i] or ids[i] for i in group)
    points = foci_of(dataset)
    xyz = [np.concatenate([points[i] for i in group]) for group in groups]
    if not duplicates:
        xyz = [_distinct(foci) if pooled[group[0]] else foci for foci, group in zip(xyz, groups, strict=True)]
    owner = np.repeat(np.arange(len(groups), dtype=np.int32), [len(foci) for foci in xyz])
    changed = dataset.assign(
        experiment_key=("experiment", keys),
        experiment_n_subjects=("experiment", n),
        experiment_space=("experiment", spaces),
    )
    if pooled.any():
        changed = changed.assign(experiment_pooled=("experiment", pooled))
    return describe(
        changed.drop_vars(["focus_xyz", "focus_experiment"])
        .isel(experiment=first)
        .assign(
            focus_xyz=(("focus", "axis"), np.concatenate([np.zeros((0, 3)), *xyz])),
            focus_experiment=("focus", owner),
        )
    )


def pool_subjects(dataset: xr.Dataset) -> xr.Dataset:
    """Return one experiment per subject group (Turkeltaub 2012), with all its foci, equal ones once, and the least n.

    A pooled experiment has the name of its study, the tags that all of its experiments have, and the moderators in
    which they are equal. Neither it nor its random draws depend on the order of experiments.
    """
    ids = dataset["experiment_id"].values.astype(str)
    groups = [sorted(members, key=lambda i: ids[i]) for members in members_of(subject_groups(dataset))]
    several = [group for group in groups if len(group) > 1]
    taken = set(ids.tolist()) - {str(ids[i]) for group in several for i in group}
    changed: dict[str, npt.NDArray[Any]] = {
        name: dataset[name].values.copy()
        for name in map(str, dataset.data_vars)
        if name.startswith("moderator_")
        or name in ("experiment_id", "experiment_name", "experiment_study", "experiment_source", "experiment_tag")
    }
    for group in several:
        first = group[0]
        study = min(changed["experiment_study"][group].tolist())
        name = f"{study} ({len(group)} experiments)"
        changed["experiment_source"][first] = ", ".join(dict.fromkeys(changed["experiment_source"][group].tolist()))
        changed["experiment_study"][first] = study
        changed["experiment_name"][first] = name
        changed["experiment_id"][first] = _unused(name, taken)
        for column, values in changed.items():
            if column == "experiment_tag":
                values[first] = values[group].all(axis=0)
            elif column.startswith("moderator_") and len(set(map(str, values[group].tolist()))) > 1:
                values[first] = np.nan if values.dtype.kind == "f" else ""
    return pool(dataset, groups, duplicates=False).assign(
        {
            name: (dataset[name].dims, values[[group[0] for group in groups]], dataset[name].attrs)
            for name, values in changed.items()
        }
    )


def _groups(dataset: xr.Dataset) -> list[_Group]:
    """Return the group of each experiment as a tuple that is equal for experiments of the same group."""
    stated = words_on(dataset, "experiment_group")
    sizes = dataset["experiment_n_subjects"].values.tolist()
    groups: list[_Group] = []
    initials: dict[_Group, set[str]] = {}
    for i, (study, name) in enumerate(_studies_and_names(dataset)):
        authors = author_year(study)
        if stated[i]:
            groups.append(("column", stated[i]))
        elif sizes[i] and authors is not None:
            surname, initial, year = authors
            label = " ".join("".join(parts).casefold() for parts in _PAPER.findall(study))
            paper = ("author", surname, year, label, sizes[i])
            initials.setdefault(paper, set()).add(initial)
            groups.append((*paper, initial))
        elif sizes[i] and tells_subjects(study, name):
            groups.append(("study", study.casefold(), sizes[i]))
        else:
            groups.append(("alone", i))
    # "Smith 2010" is "Smith J 2010", unless there is a "Smith K 2010" too.
    return [group[:-1] if group[0] == "author" and len(initials[group[:-1]] - {""}) < 2 else group for group in groups]


def _studies_and_names(dataset: xr.Dataset) -> list[tuple[str, str]]:
    names = dataset["experiment_name"].values.tolist()
    return list(zip(dataset["experiment_study"].values.tolist(), names, strict=True))


def _joint_key(keys: Sequence[int]) -> int:
    if len(keys) == 1:
        return keys[0]
    text = ",".join(str(k) for k in sorted(keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _smallest(sizes: Sequence[int]) -> int:
    """Return the smallest sample size that is known, or 0."""
    return min((n for n in sizes if n), default=0)


def _distinct(xyz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Sorted, so that foci do not depend on the order of experiments or files. Adding 0.0 makes 0.0 of -0.0.
    return np.unique(xyz + 0.0, axis=0)


def _unused(name: str, taken: set[str]) -> str:
    number, unused = 1, name
    while unused in taken:
        number += 1
        unused = f"{name}#{number}"
    taken.add(unused)
    return unused


def _named(dataset: xr.Dataset, members: Sequence[int]) -> str:
    more = f" and {len(members) - _LISTED} more" if len(members) > _LISTED else ""
    return ", ".join(f"'{dataset['experiment_id'].values[i]}'" for i in members[:_LISTED]) + more


def _reason(kind: str, sizes: Sequence[int]) -> str:
    if kind == "foci":
        return "the same foci and sample size"
    if kind == "name":
        return f"the same name and n = {sizes[0]}"
    of = "first author and year" if kind == "author" else "study"
    if not all(sizes):
        return f"the same {of}, n not stated"
    known = sorted(set(sizes))
    if len(known) > 1:
        return f"the same {of}, n = {', '.join(map(str, known))}"
    return f"the same {of} and n = {known[0]}, of different papers or names"
