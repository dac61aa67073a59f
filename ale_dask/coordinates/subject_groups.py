"""Groups of subjects: which experiments are of the same people, and one experiment of all their foci."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.coordinates.foci import foci_of, table, words_on
from ale_dask.coordinates.shared_subjects import author_year, of_same_foci, tells_subjects
from ale_dask.errors import InputError
from ale_dask.schema import FOCI, check, describe

BETWEEN = " | "
"""What stands between the ids of pooled experiments: names hold commas and semicolons."""
# What stands right after the year, "a" or "pre", and PubMed ids or DOIs tell papers of one author and year apart.
_PAPER = re.compile(r"(?<!\d)(?:19|20)\d\d([^\W\d_]+)|(?<!\d)(\d{6,8})(?!\d)|(10\.\d{4,}/[^\s\])]+)")
_LISTED = 5
_Group = tuple[Any, ...]


@dataclass(frozen=True)
class Suspected:
    """Experiments, by position, that may be of the same subjects but are not counted as such, and why, in words."""

    members: tuple[int, ...]
    words: str


def with_groups(dataset: xr.Dataset, column: str, *, where: str = "groups") -> xr.Dataset:
    """Return the foci Dataset whose subject groups are the values of one of its columns.

    An experiment without a value goes by its study and sample size, as all do without a column.

    Raises
    ------
    InputError
        beginning with `where`, for a column that the experiments do not have.
    """
    experiments = table(dataset)
    if column not in experiments:
        near = get_close_matches(column, map(str, experiments.columns), n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InputError(f"{where}: no column '{column}'; {hint}There are: {', '.join(map(str, experiments.columns))}")
    values = ["" if value != value else str(value).strip() for value in experiments[column].tolist()]
    words = [f"{column}: {value}" if value else "" for value in values]
    return describe(dataset.assign(experiment_group=("experiment", np.array(words, dtype=object))))


def subject_groups(dataset: xr.Dataset) -> npt.NDArray[np.int64]:
    """Return the subject group of each experiment (experiment), int64, numbered from 0 as they come.

    Experiments are of one group when their column of groups says so (see `with_groups`), or, where it says nothing,
    when they have the same study and the same stated sample size. The study is a first author and year, with what
    stands right after the year ("2010a") and a PubMed id or DOI, or the name that the file gives. A name that says
    nothing about people, such as "patients", makes no group, nor does a sample size that is not known.

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
    """Return the positions of the experiments of each group, for `subject_groups` (experiment)."""
    found: list[list[int]] = [[] for _ in range(int(groups.max(initial=-1)) + 1)]
    for position, group in enumerate(groups.tolist()):
        found[group].append(position)
    return found


def group_keys(dataset: xr.Dataset, groups: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return the 64-bit key of each group (group): an only member's own, or a hash of all, in whatever order."""
    keys = dataset["experiment_key"].values
    return np.array([_joint_key(keys[members].tolist()) for members in members_of(groups)], dtype=np.uint64)


def group_names(dataset: xr.Dataset, groups: npt.NDArray[np.int64]) -> list[str]:
    """Return what each experiment's group (experiment) is called: an only member's id, or the study and how many."""
    ids = dataset["experiment_id"].values.astype(str).tolist()
    told = words_on(dataset, "experiment_group")
    studies = dataset["experiment_study"].values.tolist()
    sizes = dataset["experiment_n_subjects"].values.tolist()
    names = [""] * len(ids)
    for members in members_of(groups):
        study = told[members[0]] or f"{min(studies[i] for i in members)}, n = {sizes[members[0]]}"
        for i in members:
            names[i] = ids[i] if len(members) == 1 else f"{study} ({len(members)} experiments)"
    return names


def n_subjects(dataset: xr.Dataset) -> int:
    """Return how many subjects a foci Dataset has, each group once: the sum of the least stated n of each group."""
    sizes = dataset["experiment_n_subjects"].values
    return sum(_least(sizes[members].tolist()) for members in members_of(subject_groups(dataset)))


def count_of_pooled(dataset: xr.Dataset) -> list[int]:
    """Return how many experiments were pooled, and into how many."""
    pooled = [words.split(BETWEEN) for words in words_on(dataset, "experiment_pooled") if words]
    return [sum(map(len, pooled)), len(pooled)]


def suspected(dataset: xr.Dataset) -> list[Suspected]:
    """Return the experiments that may be of the same subjects and are of different groups.

    They are of one study, or one first author and year, with another or no sample size; of one name that says nothing
    about people and one sample size; or of the same three or more foci and sample size. A column of groups that tells
    two experiments apart is believed.
    """
    groups = subject_groups(dataset).tolist()
    told = words_on(dataset, "experiment_group")
    sizes = dataset["experiment_n_subjects"].values.tolist()
    buckets: dict[_Group, list[int]] = {}
    for i, (study, name) in enumerate(_studies_and_names(dataset)):
        by = author_year(study)
        if by is not None:
            buckets.setdefault(("author", by[0], by[2]), []).append(i)
        elif tells_subjects(study, name):
            buckets.setdefault(("study", study.casefold()), []).append(i)
        elif sizes[i] and name:
            buckets.setdefault(("name", name.casefold(), sizes[i]), []).append(i)
    buckets |= {("foci", key): [i for i, _ in found] for key, found in of_same_foci(dataset).items()}
    seen: set[frozenset[int]] = set()
    out = []
    for (kind, *_), members in buckets.items():
        apart = frozenset(groups[i] for i in members)
        believed = all(told[i] for i in members)
        if len(apart) < 2 or believed or apart in seen:
            continue
        seen.add(apart)
        out.append(Suspected(tuple(members), f"{_named(dataset, members)} ({_why(kind, [sizes[i] for i in members])})"))
    return out


def pool(dataset: xr.Dataset, groups: Sequence[Sequence[int]], *, duplicates: bool = True) -> xr.Dataset:
    """Return one experiment per group (positions), with all its foci and, of several sample sizes, the smallest.

    Its other values are those of the group's first; ids of several are kept as `experiment_pooled`. Without
    `duplicates` exactly equal foci of a group count once.
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
            # A group's draws are its own: they hang on its members, not on their order.
            keys[group[0]] = _joint_key(keys[group].tolist())
            n[group[0]] = _least(n[group].tolist())
            pooled[group[0]] = BETWEEN.join(pooled[i] or ids[i] for i in group)
    points = foci_of(dataset)
    xyz = [np.concatenate([points[i] for i in group]) for group in groups]
    if not duplicates:
        xyz = [_once(one) if pooled[group[0]] else one for one, group in zip(xyz, groups, strict=True)]
    owner = np.repeat(np.arange(len(groups), dtype=np.int32), [len(p) for p in xyz])
    made = dataset.assign(
        experiment_key=("experiment", keys),
        experiment_n_subjects=("experiment", n),
        experiment_space=("experiment", spaces),
    )
    if pooled.any():
        made = made.assign(experiment_pooled=("experiment", pooled))
    return describe(
        made.drop_vars(["focus_xyz", "focus_experiment"])
        .isel(experiment=first)
        .assign(
            focus_xyz=(("focus", "axis"), np.concatenate([np.zeros((0, 3)), *xyz])),
            focus_experiment=("focus", owner),
        )
    )


def pool_subjects(dataset: xr.Dataset) -> xr.Dataset:
    """Return one experiment per subject group (Turkeltaub 2012): all its foci, exact duplicates once, the least n.

    A pooled experiment has its study's name, and of tags and moderators what all of the group have in common. Neither
    it nor its draws depend on the order of experiments.
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
        lead = group[0]
        study = min(changed["experiment_study"][group].tolist())
        name = f"{study} ({len(group)} experiments)"
        changed["experiment_source"][lead] = ", ".join(dict.fromkeys(changed["experiment_source"][group].tolist()))
        changed["experiment_study"][lead] = study
        changed["experiment_name"][lead] = name
        changed["experiment_id"][lead] = _free(name, taken)
        for column, values in changed.items():
            if column == "experiment_tag":
                values[lead] = values[group].all(axis=0)
            elif column.startswith("moderator_") and len(set(map(str, values[group].tolist()))) > 1:
                values[lead] = np.nan if values.dtype.kind == "f" else ""
    return pool(dataset, groups, duplicates=False).assign(
        {
            name: (dataset[name].dims, values[[group[0] for group in groups]], dataset[name].attrs)
            for name, values in changed.items()
        }
    )


def _groups(dataset: xr.Dataset) -> list[_Group]:
    """Return what names the group of each experiment."""
    told = words_on(dataset, "experiment_group")
    sizes = dataset["experiment_n_subjects"].values.tolist()
    found: list[_Group] = []
    initials: dict[_Group, set[str]] = {}
    for i, (study, name) in enumerate(_studies_and_names(dataset)):
        by = author_year(study)
        if told[i]:
            found.append(("column", told[i]))
        elif sizes[i] and by is not None:
            label = " ".join("".join(parts).casefold() for parts in _PAPER.findall(study))
            paper = ("author", by[0], by[2], label, sizes[i])
            initials.setdefault(paper, set()).add(by[1])
            found.append((*paper, by[1]))
        elif sizes[i] and tells_subjects(study, name):
            found.append(("study", study.casefold(), sizes[i]))
        else:
            found.append(("alone", i))
    # "Smith 2010" is "Smith J 2010", unless there is a "Smith K 2010" too.
    return [group[:-1] if group[0] == "author" and len(initials[group[:-1]] - {""}) < 2 else group for group in found]


def _studies_and_names(dataset: xr.Dataset) -> list[tuple[str, str]]:
    names = dataset["experiment_name"].values.tolist()
    return list(zip(dataset["experiment_study"].values.tolist(), names, strict=True))


def _joint_key(keys: Sequence[int]) -> int:
    if len(keys) == 1:
        return keys[0]
    text = ",".join(str(k) for k in sorted(keys))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _least(sizes: Sequence[int]) -> int:
    """Return the least sample size that is known, or 0."""
    return min((n for n in sizes if n), default=0)


def _once(xyz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # + 0.0 makes 0.0 of -0.0. Sorted, so that no order of experiments or files is left in them.
    return np.unique(xyz + 0.0, axis=0)


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}#{number}"
    taken.add(free)
    return free


def _named(dataset: xr.Dataset, members: Sequence[int]) -> str:
    more = f" and {len(members) - _LISTED} more" if len(members) > _LISTED else ""
    return ", ".join(f"'{dataset['experiment_id'].values[i]}'" for i in members[:_LISTED]) + more


def _why(kind: str, sizes: Sequence[int]) -> str:
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
