"""The foci Dataset: built from the experiments of files, joined, and cut to some experiments."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from ale_dask.coordinates.decisions import Decision, add_decisions, decisions
from ale_dask.errors import InputError
from ale_dask.numerics.space import mni_to_talairach, talairach_to_mni
from ale_dask.schema import FOCI, OPTIONAL, check, describe

# A larger coordinate is a typing error or in another unit: no head is a metre long.
LIMIT_MM = 1000.0
MAX_SUBJECTS = 2**31 - 1
_TRUE = frozenset({"true", "yes", "1", "x"})
_FALSE = frozenset({"false", "no", "0", ""})
_NOT_KNOWN = frozenset({"", "na", "n/a", "nan", "none"})


@dataclass(frozen=True)
class Experiment:
    """An experiment as its file states it, with coordinates in mm of `space` ("MNI" or "TAL")."""

    name: str
    n: int | None
    xyz: tuple[tuple[float, float, float], ...]
    space: str
    source: str
    columns: Mapping[str, str] = field(default_factory=dict)
    study: str = ""
    """Its study, where the file names it."""

    def __post_init__(self) -> None:
        if self.space not in ("MNI", "TAL"):
            raise InputError(f"{self.source}: unknown space '{self.space}'; it must be MNI or TAL")
        # Some files list a study without results as an experiment of no subjects and no foci.
        minimum = 1 if self.xyz else 0
        if self.n is not None and not minimum <= self.n <= MAX_SUBJECTS:
            raise InputError(f"{self.source}: sample size {self.n} of '{self.name}'; it must be 1 or more")


def build(
    experiments: Sequence[Experiment],
    *,
    talairach: str = "other",
    sources: Sequence[Mapping[str, Any]] = (),
) -> xr.Dataset:
    """Return the foci Dataset, in mm MNI, of experiments in their order, those without foci included.

    Parameters
    ----------
    experiments
        As files state them; columns of true/false/yes/no/1/0/x become tags, others moderators.
    talairach
        The software that had normalised the Talairach data, which decides the transform to MNI.
    sources
        The files as {"path", "sha256", …}.

    Raises
    ------
    InputError
        For unknown software, or a coordinate that is not finite or beyond 1000 mm.
    """
    owner, xyz = _owners_and_mni(experiments, talairach=talairach)
    variables: dict[str, Any] = {
        "experiment_id": ("experiment", _strings(_unique((e.name, e.name) for e in experiments))),
        "experiment_name": ("experiment", _strings(e.name for e in experiments)),
        "experiment_study": ("experiment", _strings(e.study or study_of(e.name) for e in experiments)),
        "experiment_source": ("experiment", _strings(e.source for e in experiments)),
        "experiment_space": (
            "experiment",
            _strings("MNI" if e.space == "MNI" else f"TAL-{talairach}" for e in experiments),
        ),
        "experiment_key": ("experiment", _keys(experiments)),
        "experiment_n_subjects": ("experiment", np.array([e.n or 0 for e in experiments], dtype=np.int32)),
        "focus_xyz": (("focus", "axis"), xyz),
        "focus_experiment": ("focus", owner),
    }
    tags: dict[str, npt.NDArray[np.bool_]] = {}
    for column in dict.fromkeys(c for e in experiments for c in e.columns):
        values = [e.columns.get(column, "").strip() for e in experiments]
        lowered = [v.lower() for v in values]
        if all(v in _TRUE or v in _FALSE for v in lowered):
            tags[column] = np.array([v in _TRUE for v in lowered], dtype=bool)
        else:
            variables[f"moderator_{column}"] = ("experiment", _moderator(values))
    return _dataset(variables, tags=tags, sources=sources)


def _owners_and_mni(
    experiments: Sequence[Experiment], *, talairach: str
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Return the position of the experiment of each focus (focus), and the foci (focus, axis) in mm MNI."""
    counts = np.array([len(e.xyz) for e in experiments], dtype=np.int64)
    owner = np.repeat(np.arange(len(experiments), dtype=np.int32), counts)
    xyz = np.array([p for e in experiments for p in e.xyz], dtype=np.float64).reshape(-1, 3)
    wrong = np.flatnonzero(~(np.abs(xyz) <= LIMIT_MM).all(axis=1))
    if wrong.size:
        experiment, focus = experiments[owner[wrong[0]]], tuple(xyz[wrong[0]].tolist())
        raise InputError(
            f"{experiment.source}: '{experiment.name}' has the focus {focus}; coordinates must be finite and within "
            f"{LIMIT_MM:g} mm"
        )
    in_talairach = np.array([e.space == "TAL" for e in experiments], dtype=bool)[owner]
    if in_talairach.any():
        xyz[in_talairach] = talairach_to_mni(xyz[in_talairach], variant=talairach)
    return owner, xyz


def study_of(name: str) -> str:
    """Return the study in the name of an experiment: "Smith 2010" of "Smith 2010; faces > houses"."""
    return re.split(r"[;:]", name, maxsplit=1)[0].strip() or name


def concat(datasets: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return one foci Dataset of the experiments of several, with their keys, and with ids made unique.

    Experiments of different files may have the same key (see `shared_keys`), which is not refused here. A tag that a
    Dataset does not have is false for its experiments; a moderator is NaN or "".
    """
    for dataset in datasets:
        check(dataset, *FOCI)
    sizes = [d.sizes["experiment"] for d in datasets]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    names = ((str(i), str(s)) for d in datasets for i, s in zip(*_ids(d), strict=True))
    owner = [d["focus_experiment"].values + o for d, o in zip(datasets, offsets[:-1], strict=True)]
    variables: dict[str, Any] = {
        "experiment_id": ("experiment", _strings(_unique(names))),
        "focus_experiment": ("focus", np.concatenate([np.zeros(0), *owner]).astype(np.int32)),
    }
    empty = build(())
    for name in FOCI:
        if name not in variables:
            like = empty[name].values
            parts = [like, *(d[name].values.astype(like.dtype) for d in datasets)]
            variables[name] = (empty[name].dims, np.concatenate(parts))
    for name in OPTIONAL:
        if any(name in d for d in datasets):
            variables[name] = ("experiment", _strings(w for d in datasets for w in words_on(d, name)))
    # A column of numbers in one file and of words in another becomes one of words.
    moderators = dict.fromkeys(str(v) for d in datasets for v in d.data_vars if str(v).startswith("moderator_"))
    for name in moderators:
        words = [_words(d[name].values) if name in d else [""] * n for d, n in zip(datasets, sizes, strict=True)]
        variables[name] = ("experiment", _moderator([w for part in words for w in part]))
    listed = [source for d in datasets for source in json.loads(d.attrs.get("sources", "[]"))]
    sources = list({json.dumps(s, sort_keys=True): s for s in listed}.values())
    joined = _dataset(variables, tags=_joined_tags(datasets, offsets), sources=sources)
    joined = add_decisions(joined, [decision for d in datasets for decision in decisions(d)])
    steps = [row for d in datasets for row in json.loads(d.attrs.get("selection", "[]"))]
    return joined.assign_attrs(selection=json.dumps(steps)) if steps else joined


def together(samples: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return one foci Dataset of several samples, whose column `sample` names the sample of each experiment.

    A column of this name in the files is kept instead, which is said; one sample alone stays as it is.
    """
    if len(samples) == 1:
        return next(iter(samples.values()))
    joined = concat(list(samples.values()))
    if f"moderator_{SAMPLE}" in joined or SAMPLE in joined.get("tag", ()):
        said = (
            f"'{SAMPLE}' is the files' own column of this name, not the sample that each experiment is from; to "
            "compare these samples, rename the column in the files"
        )
        return add_decisions(joined, [Decision(OWN_SAMPLE, ", ".join(samples), said, joined.sizes["experiment"])])
    names = np.repeat(np.array(list(samples), dtype=object), [d.sizes["experiment"] for d in samples.values()])
    return joined.assign({f"moderator_{SAMPLE}": ("experiment", _strings(names.tolist()))})


def _joined_tags(datasets: Sequence[xr.Dataset], offsets: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.bool_]]:
    labels = dict.fromkeys(str(t) for d in datasets if "experiment_tag" in d for t in d["tag"].values)
    tags = {label: np.zeros(int(offsets[-1]), dtype=bool) for label in labels}
    for dataset, begin, end in zip(datasets, offsets[:-1], offsets[1:], strict=True):
        if "experiment_tag" in dataset:
            for label, carried in zip(dataset["tag"].values, dataset["experiment_tag"].values.T, strict=True):
                tags[str(label)][begin:end] = carried
    return tags


def subset(dataset: xr.Dataset, keep: npt.ArrayLike) -> xr.Dataset:
    """Return the foci Dataset of the experiments for which `keep` (experiment), bool, is true, with their keys.

    Raises
    ------
    InputError
        for another shape or type of `keep`.
    """
    check(dataset, *FOCI)
    chosen = np.asarray(keep)
    if chosen.dtype != np.bool_ or chosen.shape != (dataset.sizes["experiment"],):
        wanted = dataset.sizes["experiment"]
        raise InputError(f"subset: keep is {chosen.dtype} {chosen.shape}; it must be bool ({wanted},)")
    return taken(dataset, np.flatnonzero(chosen), np.flatnonzero(chosen[dataset["focus_experiment"].values]))


def taken(dataset: xr.Dataset, experiments: npt.NDArray[np.intp], foci: npt.NDArray[np.intp]) -> xr.Dataset:
    """Return the foci Dataset of some experiments and all foci of these, both by position in ascending order."""
    cut = dataset.isel(experiment=experiments, focus=foci)
    owner = np.searchsorted(experiments, cut["focus_experiment"].values).astype(np.int32)
    return describe(cut.assign(focus_experiment=("focus", owner)))


SAMPLE = "sample"
"""The column that names the sample of each experiment where several samples are joined."""
OWN_SAMPLE = "own-column-sample"
"""Code of the decision that the files' own column of this name is kept instead."""
OF_READER = frozenset(("id", "study", "name", "source", "n", "foci", "n_imputed", "pooled_from"))
"""The columns of `table` that every reader makes; all others are columns or tags of the files."""


def table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return a row per experiment: id, study, name, source, n (0 if not known), number of foci, tags, moderators."""
    check(dataset, *FOCI)
    columns: dict[str, Any] = {c: dataset[f"experiment_{c}"].values for c in ("id", "study", "name", "source")}
    columns |= {"n": dataset["experiment_n_subjects"].values, "foci": n_foci(dataset)}
    if any(imputed := words_on(dataset, "experiment_imputed")):
        columns["n_imputed"] = np.array([bool(word) for word in imputed])
    if any(pooled := words_on(dataset, "experiment_pooled")):
        columns["pooled_from"] = pooled
    if "experiment_tag" in dataset:
        columns |= {str(t): v for t, v in zip(dataset["tag"].values, dataset["experiment_tag"].values.T, strict=True)}
    moderators = {str(v).removeprefix("moderator_"): v for v in dataset.data_vars if str(v).startswith("moderator_")}
    # Columns of the file with one of the names above are left out.
    return pd.DataFrame(columns | {c: dataset[v].values for c, v in moderators.items() if c not in columns})


def word_of(value: Any) -> str:
    """Return a value of a column of `table` as text, a tag as yes or no; "" where it is not stated."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return "" if pd.isna(value) else f"{value:g}"
    return str(value).strip()


def words_on(dataset: xr.Dataset, name: str) -> list[str]:
    """Return the words of an optional variable (experiment), "" for all experiments where there is no such variable."""
    return dataset[name].values.astype(str).tolist() if name in dataset else [""] * dataset.sizes["experiment"]


def foci_alone(result: xr.Dataset) -> xr.Dataset:
    """Return the experiments and foci of a result, without its maps and clusters."""
    return result[[*FOCI, *(name for name in OPTIONAL if name in result)]]


def n_foci(dataset: xr.Dataset) -> npt.NDArray[np.int64]:
    """Return the number of foci (experiment), int64."""
    owner = check(dataset, "focus_experiment")["focus_experiment"].values
    return np.bincount(owner, minlength=dataset.sizes["experiment"]).astype(np.int64)


def foci_of(dataset: xr.Dataset) -> list[npt.NDArray[np.float64]]:
    """Return each experiment's foci (focus, axis), in mm MNI and in the order of the Dataset."""
    check(dataset, "focus_xyz", "focus_experiment")
    order = np.argsort(dataset["focus_experiment"].values, kind="stable")
    xyz: npt.NDArray[np.float64] = dataset["focus_xyz"].values[order]
    ends = np.cumsum(n_foci(dataset)).tolist()
    return [xyz[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=False)]


def as_stated(dataset: xr.Dataset) -> npt.NDArray[np.float64]:
    """Return the coordinates in the files (focus, axis), to 1e-6 mm; NaN in pooled experiments of different spaces."""
    check(dataset, "experiment_space", "focus_xyz", "focus_experiment")
    spaces = dataset["experiment_space"].values.astype(str)[dataset["focus_experiment"].values]
    stated = np.where((spaces == "")[:, None], np.nan, dataset["focus_xyz"].values)
    for space in {s for s in spaces.tolist() if s.startswith("TAL-")}:
        here = spaces == space
        stated[here] = mni_to_talairach(stated[here], variant=space.removeprefix("TAL-"))
    return np.asarray(np.round(stated, 6), dtype=np.float64)


def shared_keys(a: xr.Dataset, b: xr.Dataset) -> npt.NDArray[np.uint64]:
    """Return the keys, sorted, uint64, of the experiments that both Datasets have."""
    check(a, "experiment_key")
    check(b, "experiment_key")
    common: npt.NDArray[np.uint64] = np.intersect1d(a["experiment_key"].values, b["experiment_key"].values)
    return common


def _dataset(
    variables: Mapping[str, Any],
    *,
    tags: Mapping[str, npt.NDArray[np.bool_]],
    sources: Sequence[Mapping[str, Any]],
) -> xr.Dataset:
    coords: dict[str, Any] = {}
    if tags:
        variables = {
            **variables,
            "experiment_tag": (("experiment", "tag"), np.stack(list(tags.values()), axis=1)),
        }
        coords["tag"] = ("tag", _strings(tags))
    attrs = {"space": "MNI", "sources": json.dumps([dict(s) for s in sources])}
    return describe(xr.Dataset(dict(variables), coords=coords, attrs=attrs))


def _keys(experiments: Sequence[Experiment]) -> npt.NDArray[np.uint64]:
    # Coordinates are hashed in the space of their file, so that rounding in a conversion changes no random draw.
    # Adding 0.0 makes 0.0 of -0.0.
    number_of: Counter[str] = Counter()
    keys = np.empty(len(experiments), dtype=np.uint64)
    for i, e in enumerate(experiments):
        foci = sorted([float(c) + 0.0 for c in p] for p in e.xyz)
        content = json.dumps([e.name, e.n, e.space, foci], separators=(",", ":"))
        # Equal experiments differ by their ordinal number.
        digest = hashlib.sha256(f"{content}#{number_of[content]}".encode()).digest()
        number_of[content] += 1
        keys[i] = int.from_bytes(digest[:8], "little")
    return keys


def _unique(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return unique ids for pairs of a wanted id and a name: the wanted id while it is free, then name#2, #3 …"""
    used: set[str] = set()
    counts: Counter[str] = Counter()
    ids = []
    for wanted, name in names:
        candidate, base = wanted or "unnamed", name or "unnamed"
        counts[base] += 1
        while candidate in used:
            counts[base] = max(counts[base], 2)
            candidate = f"{base}#{counts[base]}"
            if candidate in used:
                counts[base] += 1
        used.add(candidate)
        ids.append(candidate)
    return ids


def _ids(dataset: xr.Dataset) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    return dataset["experiment_id"].values, dataset["experiment_name"].values


def _strings(values: Iterable[str]) -> npt.NDArray[np.object_]:
    return np.array(list(values), dtype=object)


def _moderator(values: Sequence[str]) -> npt.NDArray[Any]:
    numbers = [np.nan if v.lower() in _NOT_KNOWN else _number(v) for v in values]
    return _strings(values) if None in numbers else np.array(numbers, dtype=np.float64)


def _number(text: str) -> float | None:
    # float() also accepts "1_000" and digits of other scripts.
    try:
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def _words(values: npt.NDArray[Any]) -> list[str]:
    if values.dtype.kind == "f":
        return ["" if np.isnan(v) else repr(float(v)) for v in values]
    return [str(v) for v in values]
