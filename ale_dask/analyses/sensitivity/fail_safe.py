"""Count how many experiments without convergence a cluster withstands: the fail-safe N.

Acar et al. 2018, PLoS ONE 13:e0208177.

Noise experiments are added to a sample one by one, in several series. Each enlarged sample has its own cluster-forming
value, from its analytic null, and its own cut, from its Monte-Carlo null. A cluster survives m noise experiments if a
significant cluster of the enlarged sample overlaps it; N is the largest m such that it survives 1, 2, … m of them. In a
large sample only some of these numbers are tested, and N is the largest of those that it survives with all below it.

A conjunction has one N for noise in each of its main effects alone, and one for noise in all of them in proportion to
their experiments. The smallest N of one main effect says how many unpublished experiments one literature may have, the
N of all how many both may have if they have unpublished experiments at the same rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import ndimage

from ale_dask.analyses import conjunction as conjunctions
from ale_dask.analyses import main_effect as main_effects
from ale_dask.analyses.findings.model import model_of
from ale_dask.analyses.main_effect_result import thresholded
from ale_dask.analyses.null_draws import null_tables
from ale_dask.analyses.sensitivity.fail_safe_base_rate import AddedBaseRate
from ale_dask.analyses.sensitivity.noise_null import KIND, SHARE, FailSafePlan
from ale_dask.numerics import clusters, correct
from ale_dask.numerics.noise import SignificanceRule, surviving
from ale_dask.numerics.space import Mask

I64 = npt.NDArray[np.int64]
ALL = "all"
"""The name of noise in all main effects of a conjunction, in proportion to their experiments."""


@dataclass(frozen=True, eq=False)
class Added:
    """A sample with noise experiments: the plan, and the cuts (step, series) of its nulls."""

    plan: FailSafePlan
    cut: I64

    @property
    def most(self) -> int:
        """Number of noise experiments."""
        return int(self.tested[-1])

    @property
    def tested(self) -> I64:
        """The number of noise experiments at each step (step)."""
        return self.plan.tested

    @property
    def n_experiments(self) -> int:
        """Number of experiments without noise."""
        return self.plan.n_experiments

    @property
    def series(self) -> int:
        """Number of series."""
        return self.plan.series

    @property
    def correction(self) -> str:
        """The correction by which clusters survive."""
        return self.plan.statistic

    @property
    def threshold(self) -> I64:
        """Cluster-forming values (step, series), int64."""
        return self.plan.threshold.T.astype(np.int64)

    def surviving(self, series: int) -> list[I64]:
        """Return the voxels, int64, of the surviving clusters of one series at each step."""
        _, rows, space = null_tables(self.plan, in_mask=True)
        cut = np.ascontiguousarray(self.cut[:, series])
        # A voxel survives by itself: the cut is what it must reach.
        least = np.minimum(cut, 2**31 - 1).astype(np.int32) if self.plan.of_voxels else self.plan.threshold[series]
        voxels, begin = surviving(
            series,
            SignificanceRule(self.plan.kept_statistic, least, cut, self.tested),
            s=self.plan.s,
            noise=self.plan.noise(self.plan.noise_place_key),
            rows=rows,
            geometry=space,
        )
        return np.split(voxels, begin[1:-1])


Noisy = Added | AddedBaseRate


def added(plan: FailSafePlan, null: I64) -> Added:
    """Return a sample with noise experiments from its plan and its nulls (iteration, step x series)."""
    series, steps = plan.threshold.shape
    cuts = np.array([correct.cut(column, alpha=plan.alpha, rule=plan.rule) for column in null.T]).reshape(steps, -1)
    return Added(plan, np.ascontiguousarray(np.broadcast_to(cuts, (steps, series))))


def in_proportion(experiments: Sequence[int], most: Sequence[int]) -> I64:
    """Return the number of noise experiments of each main effect (step, main effect); each step adds one in all.

    It is added where the number is farthest below the share in proportion to the experiments, and the steps end when
    this main effect already has its `most`.
    """
    share = np.array(experiments, dtype=np.float64) / sum(experiments)
    have = np.zeros(len(share), dtype=np.int64)
    steps = [have.copy()]
    while True:
        wanted = int(np.argmax(share * (len(steps)) - have))
        if have[wanted] == most[wanted]:
            return np.array(steps)
        have[wanted] += 1
        steps.append(have.copy())


def collect(
    result: xr.Dataset, parts: Mapping[str, Noisy], *, of: Mapping[str, xr.Dataset], iterations: int
) -> xr.Dataset:
    """Return N (noise, series, cluster) and the share of series in which a cluster survives (noise, step, cluster).

    `n_added` (noise, step) is the number of noise experiments at each step, -1 after the last one.

    Parameters
    ----------
    result
        Result of a main effect or a conjunction.
    parts
        The main effect, or those of the conjunction, with noise experiments, all against the null of `result`.
    of
        Results of the same main effects.
    iterations
        Number of iterations of the nulls.
    """
    mask, names = model_of(result).mask, list(parts)
    labels, number = _labels(result, mask)
    ways = _ways(result, parts)
    survives = _survives(result, parts, ways, of=of, labels=(labels, number))
    added = [_added(way, parts) for way in ways.values()]
    n = np.stack([a[_last_kept(s[:, : len(a)])] for s, a in zip(survives, added, strict=True)])
    series, steps = survives.shape[1:3]
    share = survives.mean(axis=1)
    share[np.arange(steps) >= np.array([[len(a)] for a in added])] = np.nan
    own = {name: p.n_experiments for name, p in parts.items()}
    experiments = [own.get(name, sum(own.values())) for name in ways]
    longest = max(len(p.tested) for p in parts.values())
    cut = np.stack([_padded(p.cut, longest) for p in parts.values()])
    threshold = np.stack([_padded(p.threshold, longest) for p in parts.values()])
    first = next(iter(parts.values()))
    return xr.Dataset(
        {
            "fail_safe_n": (("noise", "series", "cluster"), n),
            "survives": (("noise", "step", "cluster"), share),
            "n_added": (("noise", "step"), np.stack([_padded(a[:, None], steps)[:, 0] for a in added])),
            "n_experiments": ("noise", np.array(experiments)),
            "most": ("noise", np.array([a[-1] for a in added])),
            "cut_added": (("main_effect", "step_alone", "series"), cut),
            "threshold_added": (("main_effect", "step_alone", "series"), threshold),
            "cluster_of_voxel": ("voxel", labels),
        },
        coords={
            "noise": np.array(list(ways), dtype=object),
            "main_effect": np.array(names, dtype=object),
            "cluster": np.arange(1, number + 1),
        },
        attrs={
            "name": str(result.attrs["name"]),
            "kind": KIND,
            "of": str(model_of(result).kind),
            "identities": [p.plan.identity for p in parts.values()],
            "iterations": iterations,
            "series": series,
            "share": SHARE,
            "scale_bits": [p.plan.bits for p in parts.values()],
            "correction": first.correction,
            "null": "base-rate" if isinstance(first, AddedBaseRate) else "uniform",
        },
    )


def _ways(result: xr.Dataset, parts: Mapping[str, Noisy]) -> dict[str, I64]:
    """Return the step of each main effect (step, main effect) by the name of what gets noise; -1 for no noise."""
    alone = {name: _alone(i, parts) for i, name in enumerate(parts)}
    return alone if model_of(result).kind == main_effects.KIND else alone | {ALL: _steps_of_all(list(parts.values()))}


def _steps_of_all(parts: Sequence[Noisy]) -> I64:
    """Return the step of each main effect (step, main effect) with noise in all of them in proportion.

    Each main effect has the largest tested number up to its share.
    """
    shares = in_proportion([p.n_experiments for p in parts], [p.most for p in parts])
    steps = np.stack(
        [np.searchsorted(p.tested, share, side="right") - 1 for p, share in zip(parts, shares.T, strict=True)], axis=1
    )
    return np.asarray(steps[np.r_[True, (np.diff(steps, axis=0) > 0).any(axis=1)]])


def _added(way: I64, parts: Mapping[str, Noisy]) -> I64:
    """Return the number of noise experiments in all main effects at each step (step)."""
    number = [np.where(steps < 0, 0, p.tested[steps]) for p, steps in zip(parts.values(), way.T, strict=True)]
    return np.asarray(np.sum(number, axis=0))


def _survives(
    result: xr.Dataset,
    parts: Mapping[str, Noisy],
    ways: Mapping[str, I64],
    *,
    of: Mapping[str, xr.Dataset],
    labels: tuple[npt.NDArray[np.int32], int],
) -> npt.NDArray[np.bool_]:
    """Return whether each cluster survives each step of noise (noise, series, step, cluster)."""
    mask, number = model_of(result).mask, labels[1]
    fixed, minimum = np.ones((1, mask.n_voxels), dtype=bool), 1
    if model_of(result).kind != main_effects.KIND:
        fixed = np.stack([thresholded(of[name], "cluster-fwe") for name in parts])
        minimum = model_of(result).inference.min_voxels(mask.voxel_volume)
    series = next(iter(parts.values())).series
    survives = np.zeros((len(ways), series, max(map(len, ways.values())), number), dtype=bool)
    for j in range(series):
        left = [p.surviving(j) for p in parts.values()]
        for i, way in enumerate(ways.values()):
            for step, row in enumerate(way):
                voxels = _overlap(left, row, fixed)
                survives[i, j, step] = _overlapped(voxels, *labels, minimum=minimum, mask=mask)
    # Without noise a cluster survives by the null of the result, which may have more iterations.
    survives[:, :, 0] = True
    return survives


def _labels(result: xr.Dataset, mask: Mask) -> tuple[npt.NDArray[np.int32], int]:
    """Return the cluster number (voxel), int32, from the largest cluster as in tables, and the number of clusters."""
    if model_of(result).kind == conjunctions.KIND:
        kept = result["z_min"].sel(input="cluster-fwe").values != 0
    else:
        kept = thresholded(result, "cluster-fwe")
    labels = clusters.label_clusters(kept, volume=mask.volume, connectivity=model_of(result).inference.connectivity)
    sizes = clusters.sizes(labels)
    rank = np.empty(len(sizes), dtype=np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(1, len(sizes) + 1)
    return np.r_[np.int32(0), rank][labels].astype(np.int32), len(sizes)


def _alone(place: int, parts: Mapping[str, Noisy]) -> I64:
    """Return the step of each main effect (step, main effect) for noise in one main effect; -1 for the others."""
    steps = len(list(parts.values())[place].tested)
    out = np.full((steps, len(parts)), -1, dtype=np.int64)
    out[:, place] = np.arange(steps)
    return out


def _overlap(left: Sequence[Sequence[I64]], row: I64, fixed: npt.NDArray[np.bool_]) -> I64:
    """Return the voxels that survive in every main effect at the step of each (main effect) that `row` holds."""
    noisy = [left[i][m] for i, m in enumerate(row) if m >= 0]
    voxels = noisy[0]
    for other in noisy[1:]:
        voxels = np.asarray(np.intersect1d(voxels, other, assume_unique=True))
    for i, m in enumerate(row):
        if m < 0:
            voxels = voxels[fixed[i, voxels]]
    return np.asarray(voxels)


def _overlapped(
    voxels: I64, labels: npt.NDArray[np.int32], number: int, *, minimum: int, mask: Mask
) -> npt.NDArray[np.bool_]:
    """Return whether a cluster (cluster) has one of the voxels that is in a component of at least `minimum` of them."""
    here = labels[voxels]
    if minimum > 1 and here.any():
        ijk = mask.voxel_ijk[voxels].astype(np.int64)
        ijk -= ijk.min(axis=0)
        box = np.zeros(ijk.max(axis=0) + 1, dtype=bool)
        box[tuple(ijk.T)] = True
        group = ndimage.label(box)[0][tuple(ijk.T)]
        here = here[np.bincount(group)[group] >= minimum]
    return np.asarray(np.bincount(here, minlength=number + 1)[1:] > 0)


def _last_kept(survives: npt.NDArray[np.bool_]) -> I64:
    """Return the step (series, cluster) up to which a cluster survives every step."""
    lost = ~survives
    last = survives.shape[1] - 1
    return np.asarray(np.where(lost.any(axis=1), lost.argmax(axis=1) - 1, last), dtype=np.int64)


def _padded(rows: I64, length: int) -> I64:
    return np.concatenate([rows, np.full((length - len(rows), rows.shape[1]), -1, dtype=np.int64)])
