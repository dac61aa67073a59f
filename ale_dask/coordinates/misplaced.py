"""Coordinates that lie where no brain is, as they stand, and would lie in one with a sign or the space changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.coordinates.foci import as_stated, n_foci
from ale_dask.coordinates.masks import load_mask
from ale_dask.numerics.space import Mask, talairach_to_mni

# Of the 10,204 experiments of Neurosynth v7 that are in MNI space, 0.2 % have three foci or more, and a fifth of
# theirs, beyond 2 mm, of which no more than a quarter stay there when the sign of one axis is changed. Of the same
# experiments with y negated 63 % do, with z negated 37 %.
CLEAR_MM, FEWEST, SHARE, LEFT = 2.0, 3, 0.2, 0.25
# 116 of Neurosynth's experiments have five foci or more and no negative coordinate; with only x negative, which is as
# probable (14 % of foci), 7: by that estimate most of them have lost their minus signs.
NO_NEGATIVE = 5
# A file's foci fit the other space: their share in grey matter is larger there, by this many standard errors over
# experiments.
ERRORS, EXPERIMENTS = 3.0, 10


@dataclass(frozen=True)
class Finding:
    """One thing to look at: its code, what it is in words, and the file:line it concerns ("" for all)."""

    code: str
    message: str
    where: str
    severity: float = field(default=0.0, compare=False)
    """How bad it is beside others of its code: where only some are shown, the largest come first."""


def misplaced(dataset: xr.Dataset, *, mask: Mask, far: npt.NDArray[np.float64]) -> list[Finding]:
    """Return the findings sign-flip, wrong-space and mixed-precision; `far` (focus) is the distance to the mask in mm.

    A left-right flip cannot be seen: the mask is nearly its own mirror image.
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
    found = []
    for i, which in enumerate(foci):
        place = _elsewhere(xyz[which], stated[which], other[which], far[which], space=spaces[i], mask=mask)
        found += [Finding(code, f"{ids[i]}: {words}", sources[i]) for code, words in place]
    for file, space, members in _files(sources, spaces):
        found += _whole_file(file, space, [foci[i] for i in members], xyz=xyz, other=other)
    for i, which in enumerate(foci):
        if words := _mixed(stated[which]):
            found.append(Finding("mixed-precision", f"{ids[i]}: {words}", sources[i]))
    return found


def _other_space(
    xyz: npt.NDArray[np.float64],
    stated: npt.NDArray[np.float64],
    spaces: Sequence[str],
    owner: npt.NDArray[np.int32],
) -> npt.NDArray[np.float64]:
    """Return where the foci (focus, axis) would lie in mm MNI had their file stated the other space."""
    mni = np.array([s == "MNI" for s in spaces], dtype=bool)[owner]
    return np.where(mni[:, None], talairach_to_mni(xyz), stated)


def _elsewhere(
    xyz: npt.NDArray[np.float64],
    stated: npt.NDArray[np.float64],
    other: npt.NDArray[np.float64],
    far: npt.NDArray[np.float64],
    *,
    space: str,
    mask: Mask,
) -> Iterator[tuple[str, str]]:
    n, out = len(xyz), int((far > CLEAR_MM).sum())
    if n >= NO_NEGATIVE and bool((stated >= 0).all()):
        yield "sign-flip", f"none of its {n} foci has a negative coordinate; were the minus signs lost?"
        return
    if out < FEWEST or out < SHARE * n:
        return

    def outside(points: npt.NDArray[np.float64]) -> int:
        return int((mask.distance(points) > CLEAR_MM).sum())

    places = [("wrong-space", _instead(space), other)] if space else []
    places += [("sign-flip", f"with {a} negated", xyz * s) for a, s in zip("xyz", 1.0 - 2.0 * np.eye(3), strict=True)]
    left, at = min((outside(points), at) for at, (_, _, points) in enumerate(places))
    if left <= LEFT * out:
        code, words, _ = places[at]
        yield code, f"{out} of its {n} foci lie more than {CLEAR_MM:g} mm outside mask '{mask.name}', {left} {words}"


def _instead(space: str) -> str:
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
    if len(foci) < EXPERIMENTS:
        return []
    which = np.concatenate(foci)
    gm = load_mask("gm")
    here, there = gm.voxel_at(xyz[which]) >= 0, gm.voxel_at(other[which]) >= 0
    begins = np.cumsum([0, *(len(w) for w in foci[:-1])])
    gain = np.add.reduceat(there.astype(np.int64) - here, begins)
    # Foci of one experiment are not independent: the error is that of its sum over experiments.
    if gain.sum() <= ERRORS * np.sqrt((gain.astype(np.float64) ** 2).sum()):
        return []
    words = (
        f"{here.mean():.1%} of the {len(which):,} foci stated to be {'MNI' if space == 'MNI' else 'Talairach'} lie in"
    )
    return [Finding("wrong-space", f"{words} grey matter, {there.mean():.1%} {_instead(space)}", file)]


def _mixed(stated: npt.NDArray[np.float64]) -> str:
    whole = stated == np.rint(stated)
    integer = whole.all(axis=1)
    decimal = whole[~integer]
    # Decimals of half a voxel are whole numbers half of the time: three at once are a sign only where one is rare.
    if integer.sum() < 2 or len(decimal) < 2 or np.isnan(stated).any() or decimal.mean() > 0.25:
        return ""
    return f"{int(integer.sum())} foci in whole millimetres among {len(decimal)} with decimals; are they of one space?"
