"""Experiments with foci outside the brain that would lie inside with a sign or the space of the file changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.coordinates.foci import as_stated, n_foci
from ale_dask.coordinates.masks import load_mask
from ale_dask.numerics.space import Mask, talairach_to_mni

# A sign or the space is suspected to be wrong where at least 3 foci, and a fifth of an experiment's foci, lie more than
# 2 mm outside the mask, and at most a quarter of them still do after the change. 0.2 % of the 10,204 experiments of
# Neurosynth v7 in MNI space are found so; of the same experiments with y negated 63 %, with z negated 37 %.
OUTSIDE_MM, MIN_OUTSIDE, MIN_SHARE_OUTSIDE, MAX_SHARE_STILL_OUTSIDE = 2.0, 3, 0.2, 0.25
# 116 experiments of Neurosynth have five foci or more and no negative coordinate, but only 7 have negative x and no
# other negative coordinate, although both are equally probable (14 % of foci each): most of the 116 lost their signs.
MIN_FOCI_WITHOUT_SIGN = 5
# A file with at least 10 experiments is suspected to be in the other space where the share of its foci in grey matter
# would be larger by 3 standard errors over experiments.
MIN_STANDARD_ERRORS, MIN_EXPERIMENTS = 3.0, 10


@dataclass(frozen=True)
class Finding:
    """A warning about the input: its code, a message, and the file:line that it concerns ("" for the whole sample)."""

    code: str
    message: str
    where: str
    severity: float = field(default=0.0, compare=False)
    """Where not all findings of a code are shown, those with the largest severity are."""


def misplaced(dataset: xr.Dataset, *, mask: Mask, far: npt.NDArray[np.float64]) -> list[Finding]:
    """Return the findings sign-flip, wrong-space and mixed-precision.

    `far` (focus) is the distance of the foci to the mask in mm. A left-right flip cannot be found, as the mask is
    nearly its own mirror image.
    """
    ids, sources, spaces = (
        [str(s) for s in dataset[f"experiment_{name}"].values] for name in ("id", "source", "space")
    )
    stated = as_stated(dataset)
    order = np.argsort(dataset["focus_experiment"].values, kind="stable")
    ends = np.cumsum(n_foci(dataset)).tolist()
    foci = [order[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=False)]
    xyz = dataset["focus_xyz"].values
    other = _other_space(xyz, stated, spaces, dataset["focus_experiment"].values)
    findings = []
    for i, own in enumerate(foci):
        experiment = _Foci(xyz[own], stated[own], other[own], spaces[i])
        suspicions = _experiment(experiment, far[own], mask=mask)
        findings += [Finding(code, f"{ids[i]}: {message}", sources[i]) for code, message in suspicions]
    for file, space, members in _files(sources, spaces):
        findings += _whole_file(file, space, [foci[i] for i in members], xyz=xyz, other=other)
    for i, own in enumerate(foci):
        if message := _mixed(stated[own]):
            findings.append(Finding("mixed-precision", f"{ids[i]}: {message}", sources[i]))
    return findings


def _other_space(
    xyz: npt.NDArray[np.float64],
    stated: npt.NDArray[np.float64],
    spaces: Sequence[str],
    owner: npt.NDArray[np.int32],
) -> npt.NDArray[np.float64]:
    """Return the foci (focus, axis), in mm MNI, if their file had stated the other space."""
    mni = np.array([s == "MNI" for s in spaces], dtype=bool)[owner]
    return np.where(mni[:, None], talairach_to_mni(xyz), stated)


@dataclass(frozen=True, eq=False)
class _Foci:
    """The foci (focus, axis) of an experiment in mm: in MNI space, as its file states them, and in the other space."""

    xyz: npt.NDArray[np.float64]
    stated: npt.NDArray[np.float64]
    other: npt.NDArray[np.float64]
    space: str


def _experiment(foci: _Foci, far: npt.NDArray[np.float64], *, mask: Mask) -> Iterator[tuple[str, str]]:
    """Yield the code and the message of at most one suspicion about an experiment."""
    n, outside = len(foci.xyz), int((far > OUTSIDE_MM).sum())
    if n >= MIN_FOCI_WITHOUT_SIGN and bool((foci.stated >= 0).all()):
        yield "sign-flip", f"none of its {n} foci has a negative coordinate; were the minus signs lost?"
        return
    if outside < MIN_OUTSIDE or outside < MIN_SHARE_OUTSIDE * n:
        return

    def number_outside(xyz: npt.NDArray[np.float64]) -> int:
        return int((mask.distance(xyz) > OUTSIDE_MM).sum())

    changes = [("wrong-space", _in_other_space(foci.space), foci.other)] if foci.space else []
    signs = zip("xyz", 1.0 - 2.0 * np.eye(3), strict=True)
    changes += [("sign-flip", f"with {axis} negated", foci.xyz * sign) for axis, sign in signs]
    still_outside, best = min((number_outside(xyz), i) for i, (_, _, xyz) in enumerate(changes))
    if still_outside <= MAX_SHARE_STILL_OUTSIDE * outside:
        code, change, _ = changes[best]
        yield (
            code,
            f"{outside} of its {n} foci lie more than {OUTSIDE_MM:g} mm outside mask '{mask.name}', "
            f"{still_outside} {change}",
        )


def _in_other_space(space: str) -> str:
    return "read as Talairach" if space == "MNI" else "read as MNI"


def _files(sources: Sequence[str], spaces: Sequence[str]) -> list[tuple[str, str, list[int]]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for i, (source, space) in enumerate(zip(sources, spaces, strict=True)):
        if space:
            groups.setdefault((_file(source), space), []).append(i)
    return [(file, space, members) for (file, space), members in groups.items()]


def _file(source: str) -> str:
    return source.rpartition(":")[0] or source


def _whole_file(
    file: str,
    space: str,
    foci: Sequence[npt.NDArray[np.int64]],
    *,
    xyz: npt.NDArray[np.float64],
    other: npt.NDArray[np.float64],
) -> list[Finding]:
    foci = [which for which in foci if len(which)]
    if len(foci) < MIN_EXPERIMENTS:
        return []
    all_foci = np.concatenate(foci)
    grey_matter = load_mask("gm")
    stated, changed = (grey_matter.voxel_at(points[all_foci]) >= 0 for points in (xyz, other))
    begins = np.cumsum([0, *(len(own) for own in foci[:-1])])
    gain = np.add.reduceat(changed.astype(np.int64) - stated, begins)
    # Foci of an experiment are not independent, but experiments are: the variance of the sum is that of their sums.
    if gain.sum() <= MIN_STANDARD_ERRORS * np.sqrt((gain.astype(np.float64) ** 2).sum()):
        return []
    message = (
        f"{stated.mean():.1%} of the {len(all_foci):,} foci stated to be {'MNI' if space == 'MNI' else 'Talairach'} "
        f"lie in grey matter, {changed.mean():.1%} {_in_other_space(space)}"
    )
    return [Finding("wrong-space", message, file)]


def _mixed(stated: npt.NDArray[np.float64]) -> str:
    whole = stated == np.rint(stated)
    integer = whole.all(axis=1)
    decimal = whole[~integer]
    # Coordinates in steps of 0.5 mm are whole numbers half of the time: three whole numbers in a focus are suspicious
    # only where whole numbers are rare in the other foci.
    if integer.sum() < 2 or len(decimal) < 2 or np.isnan(stated).any() or decimal.mean() > 0.25:
        return ""
    return f"{int(integer.sum())} foci in whole millimetres among {len(decimal)} with decimals; are they of one space?"
