"""Findings in foci that a user should look at before an analysis; they are no errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.coordinates.direction import (
    DIRECTION,
    DOWN,
    MODALITY,
    STRUCTURAL,
    column_of,
    counts_of,
    words_of,
)
from ale_dask.coordinates.expressions import literal
from ale_dask.coordinates.foci import foci_of, n_foci, table, word_of
from ale_dask.coordinates.misplaced import Finding, misplaced
from ale_dask.coordinates.readers.known_columns import whole_brain
from ale_dask.coordinates.shared_subjects import shared
from ale_dask.numerics.space import Mask
from ale_dask.schema import FOCI, check

__all__ = ["ENOUGH_EXPERIMENTS", "Finding", "lint", "lint_contrast"]

# With fewer experiments, single ones drive clusters: Eickhoff et al. 2016, NeuroImage 137:70.
ENOUGH_EXPERIMENTS = 17
# A group analysis of fewer than five subjects has hardly any degrees of freedom. More than a thousand are rare, and
# 120 typed as 1200 gives an experiment the narrowest kernel of all.
MIN_SUBJECTS, MAX_PLAUSIBLE_SUBJECTS = 5, 1000
DOMINANT_SHARE = 0.2
_LISTED = 5


def lint(dataset: xr.Dataset, *, mask: Mask) -> list[Finding]:
    """Return the findings in the experiments and foci of a sample.

    Parameters
    ----------
    dataset
        A foci Dataset as `read_foci` returns it.
    mask
        The mask of the analysis, as `load_mask` returns it.

    Returns
    -------
    list of Finding
        With code, message, where (file:line) and severity, by code and then in the order of the experiments. Codes:
        few-experiments, empty-experiment, missing-n, implausible-n (below 5 or above 1,000), dominant-experiment
        (more than a fifth of all foci, and more than twice an equal share), outside-mask (distances to the mask in
        mm), sign-flip, wrong-space and mixed-precision (see `coordinates.misplaced`), duplicate-focus, coverage (a
        column of this name says that experiments did not search the whole brain), mixed-direction and mixed-modality
        (columns say that increases and decreases, or structural and functional findings, are pooled), spelling (a
        modality or direction is written in several ways), repeated-name, duplicate-experiment (the same foci and sample
        size).

    Examples
    --------
    >>> from importlib.resources import files
    >>> from ale_dask import load_mask, read_foci
    >>> foci = read_foci(files("ale_dask.datasets.example") / "psychotherapy.csv")
    >>> [finding.code for finding in lint(foci, mask=load_mask("brain"))][:2]
    ['outside-mask', 'outside-mask']
    """
    check(dataset, *FOCI)
    ids = [str(i) for i in dataset["experiment_id"].values]
    sources = [str(s) for s in dataset["experiment_source"].values]
    foci = foci_of(dataset)
    far = mask.distance(dataset["focus_xyz"].values)
    return [
        *_few(n_foci(dataset)),
        *(Finding("empty-experiment", f"{ids[i]} has no foci", sources[i]) for i, f in enumerate(foci) if not len(f)),
        *_sample_sizes(dataset["experiment_n_subjects"].values, ids=ids, sources=sources),
        *_dominant(n_foci(dataset), ids=ids, sources=sources),
        *_outside(dataset, far, mask=mask, ids=ids, sources=sources),
        *misplaced(dataset, mask=mask, far=far),
        *_duplicate_foci(foci, ids=ids, sources=sources),
        *_coverage(dataset, ids=ids, sources=sources),
        *_mixed(dataset),
        *_repeated_names([str(s) for s in dataset["experiment_name"].values], sources=sources),
        *_duplicate_experiments(dataset, foci=foci, ids=ids, sources=sources),
    ]


def lint_contrast(a: xr.Dataset, b: xr.Dataset) -> list[Finding]:
    """Return the experiments that the arms of a contrast share, or whose subjects they may share.

    Parameters
    ----------
    a, b
        The foci Datasets of the two arms.

    Returns
    -------
    list of Finding
        With the code shared-experiment for an experiment in both arms, else shared-subjects, for experiments with the
        same foci, of the same study, or of the same first author, year and sample size.

    Examples
    --------
    >>> from ale_dask import read_foci
    >>> from ale_dask.datasets.example import sample_file
    >>> arms = [read_foci(sample_file(name)) for name in ("psychotherapy", "affect")]
    >>> lint_contrast(*arms), lint_contrast(arms[0], arms[0])[0].code
    ([], 'shared-experiment')
    """
    both = [str(s) for arm in (a, b) for s in arm["experiment_source"].values]
    return [
        Finding(
            "shared-experiment" if group.identical else "shared-subjects",
            group.words,
            _places([*group.a, *(i + a.sizes["experiment"] for i in group.b)], both),
        )
        for group in shared(a, b)
    ]


def _few(counts: npt.NDArray[np.int64]) -> list[Finding]:
    n = int((counts > 0).sum())
    if n >= ENOUGH_EXPERIMENTS:
        return []
    return [Finding("few-experiments", f"{n} experiments with foci; {ENOUGH_EXPERIMENTS} or more are advised", "")]


def _sample_sizes(sizes: npt.NDArray[np.int32], *, ids: Sequence[str], sources: Sequence[str]) -> list[Finding]:
    findings = []
    if missing := np.flatnonzero(sizes == 0).tolist():
        listed = ", ".join(ids[i] for i in missing[:_LISTED])
        message = f"{len(missing):,} experiments have no sample size: {listed}{_more(missing)}"
        findings.append(Finding("missing-n", message, _places(missing, sources)))
    for i in np.flatnonzero((sizes > 0) & ((sizes < MIN_SUBJECTS) | (sizes > MAX_PLAUSIBLE_SUBJECTS))).tolist():
        why = (
            f"fewer than {MIN_SUBJECTS} are too few for a group result"
            if sizes[i] < MIN_SUBJECTS
            else f"more than {MAX_PLAUSIBLE_SUBJECTS:,} are rare, and such an experiment has the narrowest kernel"
        )
        findings.append(Finding("implausible-n", f"{ids[i]} has {sizes[i]:,} subjects; {why}", sources[i]))
    return findings


def _dominant(counts: npt.NDArray[np.int64], *, ids: Sequence[str], sources: Sequence[str]) -> list[Finding]:
    # Where there are five experiments or fewer, a fifth of the foci is no more than an equal share.
    share = counts / max(counts.sum(), 1)
    above = np.flatnonzero((share > DOMINANT_SHARE) & (share > 2 / max((counts > 0).sum(), 1)))
    return [
        Finding(
            "dominant-experiment",
            f"{ids[i]} has {counts[i]:,} of the {counts.sum():,} foci, {share[i]:.0%}; more than "
            f"{DOMINANT_SHARE:.0%} of a sample in one experiment can carry its clusters",
            sources[i],
        )
        for i in above.tolist()
    ]


def _outside(
    dataset: xr.Dataset, far: npt.NDArray[np.float64], *, mask: Mask, ids: Sequence[str], sources: Sequence[str]
) -> list[Finding]:
    xyz, owner = dataset["focus_xyz"].values, dataset["focus_experiment"].values.tolist()
    by_experiment: dict[int, list[int]] = {}
    for focus in np.flatnonzero(far > 0).tolist():
        by_experiment.setdefault(owner[focus], []).append(focus)
    findings = []
    for i, outside in sorted(by_experiment.items()):
        listed = [f"{_point(xyz[f])} by {far[f]:.1f} mm" for f in outside[:_LISTED]]
        foci = "1 focus" if len(outside) == 1 else f"{len(outside)} foci"
        message = f"{ids[i]}: {foci} outside mask '{mask.name}': {', '.join(listed)}{_more(outside)}"
        findings.append(Finding("outside-mask", message, sources[i], severity=float(far[outside].max())))
    return findings


def _duplicate_foci(
    foci: Sequence[npt.NDArray[np.float64]], *, ids: Sequence[str], sources: Sequence[str]
) -> list[Finding]:
    findings = []
    for i, xyz in enumerate(foci):
        repeated = [point for point, n in Counter(map(tuple, xyz.tolist())).items() if n > 1]
        if repeated:
            listed = ", ".join(_point(p) for p in repeated[:_LISTED])
            what = "1 focus" if len(repeated) == 1 else f"{len(repeated)} foci"
            message = f"{ids[i]}: {what} given more than once: {listed}{_more(repeated)}"
            findings.append(Finding("duplicate-focus", message, sources[i]))
    return findings


def _coverage(dataset: xr.Dataset, *, ids: Sequence[str], sources: Sequence[str]) -> list[Finding]:
    """Return the finding that experiments did not search the whole brain, where a column says so."""
    experiments = table(dataset)
    known = whole_brain(experiments)
    part = [i for i, whole in enumerate(known[1]) if whole is False] if known else []
    if known is None or not part:
        return []
    values = experiments[known[0]].tolist()
    listed = ", ".join(f"{ids[i]} ({word_of(values[i])})" for i in part[:_LISTED])
    whole = next((values[i] for i, searched in enumerate(known[1]) if searched), None)
    column = known[0] if known[0].isidentifier() else f"`{known[0]}`"
    # In single quotes, because a shell runs what stands in backticks within double ones.
    keep = "" if whole is None else f"; --include '{column} == {literal(whole)}' leaves them out"
    return [
        Finding(
            "coverage",
            f"{len(part):,} of {len(values):,} experiments did not search the whole brain: {listed}{_more(part)} "
            f"(column '{known[0]}'); they can only find what they looked for, which ALE takes for convergence{keep}",
            _places(part, sources),
        )
    ]


def _mixed(dataset: xr.Dataset) -> list[Finding]:
    """Return findings on directions and modalities that one sample holds, and that are written in several ways."""
    findings = []
    counts = counts_of(dataset)
    for what, code, down in ((DIRECTION, MIXED[0], DOWN), (MODALITY, MIXED[1], STRUCTURAL)):
        column = column_of(dataset, what)
        if column is None:
            continue
        stated = counts[what]
        sides = sum(n for word, n in stated.items() if word in down), sum(n for w, n in stated.items() if w not in down)
        if all(sides):
            listed = ", ".join(f"{n} {word}" for word, n in stated.items())
            findings.append(Finding(code, f"{listed} are one sample: {_PROBLEM[what].format(column=column)}", ""))
        written: dict[str, set[str]] = {}
        for word, value in zip(words_of(dataset, what), table(dataset)[column].tolist(), strict=True):
            written.setdefault(word, set()).add(word_of(value))
        for word, values in written.items():
            if word and len(values) > 1:
                several = ", ".join(f"'{value}'" for value in sorted(values))
                findings.append(
                    Finding("spelling", f"{column}: {several} are {word}; --by {column} takes them apart", "")
                )
    return findings


MIXED = ("mixed-direction", "mixed-modality")
"""Codes of findings on what one sample holds; an analysis of several samples states it by their names."""
_PROBLEM = {
    DIRECTION: "ALE does not know directions, and where some decrease and others increase it finds convergence; "
    "`ale-dask new FILE --by {column}` makes a sample of each and a joint analysis",
    MODALITY: "structural and functional findings are different effects, reported at different places; "
    "`ale-dask new FILE --by {column}` makes a sample of each and a joint analysis",
}


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
            # Adding 0.0 makes 0.0 of -0.0, whose bytes differ.
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


def _places(experiments: Sequence[int], sources: Sequence[str]) -> str:
    return ", ".join(sources[i] for i in experiments[:_LISTED]) + _more(experiments)


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""


def _point(xyz: Sequence[float] | npt.NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{c:.4g}" for c in xyz) + ")"
