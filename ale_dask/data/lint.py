"""What a reader of foci should look at before an analysis: findings, never errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.data.foci import foci_of, n_foci
from ale_dask.numerics.space import Mask
from ale_dask.words.variables import FOCI, check

# Below this, single experiments drive clusters: Eickhoff et al. 2016, NeuroImage 137:70.
ENOUGH_EXPERIMENTS = 17
_LISTED = 5


@dataclass(frozen=True)
class Finding:
    """One thing to look at: its code, what it is in words, and the file:line it concerns ("" for all)."""

    code: str
    message: str
    where: str


def lint(dataset: xr.Dataset, *, mask: Mask) -> list[Finding]:
    """Return the findings on a foci Dataset, by kind and then in the order of the experiments.

    Codes: few-experiments, empty-experiment, outside-mask (distances in mm to the mask), duplicate-focus,
    repeated-name, duplicate-experiment (same foci and sample size, whatever the name).
    """
    check(dataset, *FOCI)
    ids = [str(i) for i in dataset["experiment_id"].values]
    sources = [str(s) for s in dataset["experiment_source"].values]
    foci = foci_of(dataset)
    return [
        *_few(n_foci(dataset)),
        *(Finding("empty-experiment", f"{ids[i]} has no foci", sources[i]) for i, f in enumerate(foci) if not len(f)),
        *_outside(dataset, mask=mask, ids=ids, sources=sources),
        *_duplicate_foci(foci, ids=ids, sources=sources),
        *_repeated_names([str(s) for s in dataset["experiment_name"].values], sources=sources),
        *_duplicate_experiments(dataset, foci=foci, ids=ids, sources=sources),
    ]


def _few(counts: npt.NDArray[np.int64]) -> list[Finding]:
    n = int((counts > 0).sum())
    if n >= ENOUGH_EXPERIMENTS:
        return []
    return [Finding("few-experiments", f"{n} experiments with foci; {ENOUGH_EXPERIMENTS} or more are advised", "")]


def _outside(dataset: xr.Dataset, *, mask: Mask, ids: Sequence[str], sources: Sequence[str]) -> list[Finding]:
    xyz, owner = dataset["focus_xyz"].values, dataset["focus_experiment"].values.tolist()
    far = mask.distance(xyz)
    by_experiment: dict[int, list[int]] = {}
    for focus in np.flatnonzero(far > 0).tolist():
        by_experiment.setdefault(owner[focus], []).append(focus)
    found = []
    for i, outside in sorted(by_experiment.items()):
        listed = [f"{_point(xyz[f])} by {far[f]:.1f} mm" for f in outside[:_LISTED]]
        message = f"{ids[i]}: {len(outside)} foci outside mask '{mask.name}': {', '.join(listed)}{_more(outside)}"
        found.append(Finding("outside-mask", message, sources[i]))
    return found


def _duplicate_foci(
    foci: Sequence[npt.NDArray[np.float64]], *, ids: Sequence[str], sources: Sequence[str]
) -> list[Finding]:
    found = []
    for i, xyz in enumerate(foci):
        repeated = [point for point, n in Counter(map(tuple, xyz.tolist())).items() if n > 1]
        if repeated:
            listed = ", ".join(_point(p) for p in repeated[:_LISTED])
            message = f"{ids[i]}: {len(repeated)} foci given more than once: {listed}{_more(repeated)}"
            found.append(Finding("duplicate-focus", message, sources[i]))
    return found


def _repeated_names(names: Sequence[str], *, sources: Sequence[str]) -> list[Finding]:
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        groups.setdefault(name, []).append(i)
    return [
        Finding(
            "repeated-name",
            f"{len(same)} experiments {f'are named {name}' if name else 'have no name'}; each one counts",
            _places(same, sources),
        )
        for name, same in groups.items()
        if len(same) > 1
    ]


def _duplicate_experiments(
    dataset: xr.Dataset,
    *,
    foci: Sequence[npt.NDArray[np.float64]],
    ids: Sequence[str],
    sources: Sequence[str],
) -> list[Finding]:
    groups: dict[tuple[int, bytes], list[int]] = {}
    for i, (n, xyz) in enumerate(zip(dataset["experiment_n_subjects"].values.tolist(), foci, strict=True)):
        if len(xyz):
            # + 0.0 makes 0.0 of -0.0, whose bytes differ.
            content = (xyz[np.lexsort(xyz.T)] + 0.0).tobytes()
            groups.setdefault((n, content), []).append(i)
    return [
        Finding(
            "duplicate-experiment",
            f"{', '.join(ids[i] for i in same[:_LISTED])}{_more(same)} have the same foci and sample size",
            _places(same, sources),
        )
        for same in groups.values()
        if len(same) > 1
    ]


def _places(which: Sequence[int], sources: Sequence[str]) -> str:
    return ", ".join(sources[i] for i in which[:_LISTED]) + _more(which)


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""


def _point(xyz: Sequence[float] | npt.NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{c:.4g}" for c in xyz) + ")"
