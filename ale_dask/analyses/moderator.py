"""Where foci follow a moderator of their experiments: a regression of MA maps on a column, by permutation.

    T(v) = sum_i z_i X_i(v),   X_i = -ln(1 - MA_i),   z the centred moderator of subject group i

A contrast of two arms is the special case of a 0/1 column: with t the sum of X over all groups, which no permutation
changes, T = sum_A X - (n_A / n) t rises with the first arm's sum alone, as ALE_A - ALE_B does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import special

from ale_dask.analyses.contrast_clusters import family_wise_p
from ale_dask.analyses.contrast_result import relabelled_p
from ale_dask.analyses.main_effect import identity_of, sums_and_null
from ale_dask.analyses.main_effect_result import result_attrs, search_variables
from ale_dask.analyses.moderator_columns import Moderated
from ale_dask.analyses.moderator_pairs import VARIABLES, groups_of_pairs, pair_at, pair_variables, t_of_pairs
from ale_dask.config.inference import Inference
from ale_dask.coordinates.decisions import add_decisions
from ale_dask.execution.plan import Plan, Setting, StoredArray
from ale_dask.numerics import clusters, correct
from ale_dask.numerics import moderator as numbers
from ale_dask.numerics.ale import add_row
from ale_dask.numerics.contrast import by_voxel
from ale_dask.numerics.draws import RELABEL, draw_keys
from ale_dask.numerics.moderator import UNIT_BITS, Design, Voxels
from ale_dask.numerics.space import Mask
from ale_dask.schema import describe

KIND = "moderator"
EXCEED = "exceed"
"""The array of counts in a block of this kind."""
SIDES = ("greater", "less")
CONTROLS = (
    "uncorrected p over voxels in which the experiments together have an uncorrected p below {floor:g}, a region that "
    "no permutation changes"
)
CONTROLS_ALL = (
    "uncorrected p over the whole mask, also where hardly any focus lies: there, a rank among permutations does not "
    "show that the effect is more than negligible"
)
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
_MOST = 2**62
_LEVEL = 0.95
_LEAST_REST = 0.1
"""Share of the weight in a voxel that is left without any one group, for the effect there to have an interval."""


class PermutedPlan(Plan):
    """Plan of a pass over permutations of a moderator."""

    complete = Setting(bool, name="enumerate")
    """Whether all different permutations are gone through."""
    again = Setting(bool)
    """Whether permuted scores are made orthogonal to the nuisance again."""
    omnibus = Setting(bool)
    """Whether the largest difference of any two groups counts."""
    draw_key = StoredArray[np.uint64]()
    """The key of each group's draws (group)."""
    candidate = StoredArray[np.int64]()
    """The voxels that are tested (candidate)."""
    observed = StoredArray[np.int64]()
    """The statistics of the labels as they are (side, candidate)."""

    @property
    def design(self) -> Design:
        """The scores that are permuted."""
        at = self.arrays
        arrays = (at["label"], at["score"], at["stratum"], at["basis"])
        return Design(*arrays, again=self.again, omnibus=self.omnibus)

    @property
    def voxels(self) -> Voxels:
        """The X of the voxels that are tested."""
        at = self.arrays
        return Voxels(at["begin"], at["group"], at["value"], at["inverse"])

    def labels(self, first: int, count: int) -> I64:
        """Return the labels (permutation, group) of some permutations."""
        return numbers.arrangements(self.design, self.draw_key, first=first, count=count, enumerate_all=self.complete)


class ModeratorPlan(PermutedPlan, kind=KIND):
    """Plan of the permutations of a moderator."""

    permutations = Setting(int)
    """How many different ones there are, or 2^62 if there are more."""


def conventions_of(moderated: Moderated, *, bits: int) -> dict[str, Any]:
    """Return every setting that changes a number of the moderator's plan; a hash over it is the identity."""
    digest = hashlib.sha256()
    for array in (moderated.score, moderated.nuisance, moderated.stratum, moderated.group):
        digest.update(f"{array.dtype.str}:{array.shape}:".encode() + np.ascontiguousarray(array).tobytes())
    inference = moderated.sample.inference
    return {
        **moderated.sample.conventions(bits),
        "design": digest.hexdigest(),
        "omnibus": moderated.omnibus,
        "floor": inference.contrast_floor,
        "enumerate": n_permutations(moderated) <= inference.iterations,
    }


def n_permutations(moderated: Moderated) -> int:
    """Return how many different permutations of the scores there are, whatever the fixed point."""
    design, _ = moderated.design(largest=1)
    return numbers.n_arrangements(design.label, design.stratum)


def plan_moderator(moderated: Moderated, *, bits: int, name: str) -> ModeratorPlan:
    """Return the frozen plan of a moderator.

    Candidates are the voxels in which the experiments together, whom no permutation changes, are below the floor, and
    in which T varies over permutations.
    """
    sample = moderated.sample
    inside = _region(moderated, bits=bits)
    voxels, total = _voxels(moderated, np.flatnonzero(inside), bits=bits)
    design, _ = moderated.design(largest=int(total.max(initial=1)))
    voxels = Voxels(voxels.begin, voxels.group, voxels.value, numbers.inverse_deviations(design, voxels))
    varies = (voxels.inverse > 0).all(axis=0)
    if not varies.all():
        inside[np.flatnonzero(inside)[~varies]] = False
        kept, _ = _voxels(moderated, np.flatnonzero(inside), bits=bits)
        voxels = Voxels(kept.begin, kept.group, kept.value, voxels.inverse[:, varies])
    conventions = conventions_of(moderated, bits=bits)
    n = numbers.n_arrangements(design.label, design.stratum)
    return ModeratorPlan(
        name=name,
        kind=KIND,
        identity=identity_of(KIND, conventions),
        statistics=SIDES[: design.sides],
        settings={
            "conventions": conventions,
            "bits": bits,
            "permutations": min(n, _MOST),
            "enumerate": conventions["enumerate"],
            "again": design.again,
            "omnibus": design.omnibus,
        },
        arrays={
            "draw_key": draw_keys(moderated.key, seed=sample.inference.seed, stream=RELABEL),
            "label": design.label,
            "score": design.score,
            "stratum": design.stratum,
            "basis": design.basis,
            "candidate": np.flatnonzero(inside),
            "begin": voxels.begin,
            "group": voxels.group,
            "value": voxels.value,
            "inverse": voxels.inverse,
            "observed": numbers.observed(design, voxels),
        },
    )


def _region(moderated: Moderated, *, bits: int) -> npt.NDArray[np.bool_]:
    """Return the voxels (voxel) that no permutation changes: the mask, down to the floor of all experiments."""
    sample = moderated.sample
    searched, floor = sample.mask.searched.copy(), sample.inference.contrast_floor
    if not floor:
        return searched
    s, table = sums_and_null(sample.rows(bits), n_voxels=sample.mask.n_voxels, bits=bits)
    return np.asarray(searched & (s >= table.critical(floor)))


def _voxels(moderated: Moderated, candidate: npt.NDArray[np.intp], *, bits: int) -> tuple[Voxels, I64]:
    """Return X at some voxels (candidate) by group of subjects, and its sum over all groups (voxel)."""
    sample = moderated.sample
    wanted = np.zeros(sample.mask.n_voxels, dtype=bool)
    wanted[candidate] = True
    total = np.zeros(sample.mask.n_voxels, dtype=np.int64)
    rows = []
    # Whole kernels, as for contrasts: nothing here is compared with relocated foci.
    for all_voxels, all_values in sample.rows(bits, exact=True):
        add_row(all_voxels, all_values, total)
        rows.append((all_voxels[wanted[all_voxels]], all_values[wanted[all_voxels]]))
    begin = np.r_[0, np.cumsum([len(v) for v, _ in rows])].astype(np.int64)
    voxel, value = (np.concatenate(part) for part in zip(*rows, strict=True))
    begin, experiment, value = by_voxel(begin, voxel, value, candidate=candidate, n_voxels=len(wanted))
    return Voxels(begin, moderated.group[experiment], value, np.zeros((0, len(candidate)))), total


def how_many(plan: ModeratorPlan, iterations: int) -> int:
    """Return the number of permutations: all there are, if the plan goes through all, or those asked for."""
    return plan.permutations if plan.complete else iterations


@lru_cache(maxsize=8)
def kept_arrays(plan: PermutedPlan) -> tuple[Design, Voxels]:
    """Return the scores and the voxels of a plan, the same objects for all of its blocks."""
    return plan.design, plan.voxels


def block(plan: ModeratorPlan, first: int, count: int) -> dict[str, I64]:
    """Return null (iteration, side), the largest T / sd, and exceed (side, candidate), of some permutations."""
    design, voxels = kept_arrays(plan)
    w = numbers.weights(design, plan.labels(first, count))
    exceed, largest = numbers.count_exceedances(design, voxels, w, plan.observed)
    return {"null": largest, EXCEED: exceed}


def signed_z(plan: ModeratorPlan, exceed: I64, n: int, *, inference: Inference) -> F64:
    """Return z (side, candidate) of the uncorrected one-sided p in n permutations, negative on the second side."""
    return _signed(relabelled_p(exceed, n, complete=plan.complete, rule=inference.relabel_p))


def collect(
    plan: ModeratorPlan,
    null: I64,
    exceed: I64,
    *,
    moderated: Moderated,
    name: str,
    of_clusters: Mapping[str, tuple[Any, Any]] | None = None,
) -> xr.Dataset:
    """Return the result: T / sd, one-sided p, family-wise p and the effect with its interval (voxel).

    `null` is (iteration, side), `exceed` (side, candidate) the summed counts. p = (1 + #{T_b >= T}) / (1 + B), or
    #{T_b >= T} / C when all C permutations were gone through. `of_clusters` are the variables of the second pass.
    """
    inference, mask = moderated.sample.inference, moderated.sample.mask
    design, voxels = kept_arrays(plan)
    everywhere = slice(0, len(plan.candidate))
    units = numbers.standardised(design, voxels, plan.observed.astype(np.float64), everywhere)
    p = relabelled_p(exceed, len(null), complete=plan.complete, rule=inference.relabel_p)
    r = np.stack([correct.exceedances(null[:, d], units[d].astype(np.int64)) for d in range(design.sides)])
    p_fwe = family_wise_p(r, len(null), complete=plan.complete)
    signed, sides = _signed(p), list(enumerate(plan.statistics))
    result = xr.Dataset(
        {
            # 0 where voxels were not tested: unthresholded maps have a value in every voxel.
            "t_moderator": ("voxel", np.nan_to_num(_spread(units[0] / 2.0**UNIT_BITS, plan, mask))),
            **{f"p_{side}": ("voxel", _spread(p[d], plan, mask)) for d, side in sides},
            **{f"p_voxel_fwe_{side}": ("voxel", _spread(p_fwe[d], plan, mask)) for d, side in sides},
            "z_moderator": ("voxel", _uncorrected(signed, p, plan, mask=mask, inference=inference)),
            "z_moderator_voxel_fwe": ("voxel", _shown(signed, p_fwe <= inference.contrast_p, plan, mask)),
            **_effect(plan, moderated),
            **_pairs(plan, null, moderated),
            **(of_clusters or {}),
            "null": (("iteration", "statistic"), null),
            "voxel_ijk": (("voxel", "axis"), mask.voxel_ijk),
            **search_variables(mask),
        },
        coords={"statistic": np.array(plan.statistics, dtype=object)},
    )
    described = describe(result, *VARIABLES).assign_attrs(
        **result_attrs(mask, inference, plan),
        iterations=len(null),
        permutations=plan.permutations,
        enumerated=plan.complete,
        candidates=len(plan.candidate),
        controls=CONTROLS.format(floor=inference.contrast_floor) if inference.contrast_floor else CONTROLS_ALL,
        **_attrs(moderated),
    )
    return add_decisions(described, moderated.decisions).assign_attrs(name=name)


def _spread(values: F64, plan: PermutedPlan, mask: Mask) -> npt.NDArray[np.float32]:
    """Return values (candidate) as a map (voxel); NaN where voxels were not tested."""
    out = np.full(mask.n_voxels, np.nan, dtype=np.float32)
    out[plan.candidate] = values
    return out


def _signed(p: F64) -> F64:
    """Return z of one-sided p (side, candidate), negative on the second side."""
    sign = np.array([[1.0], [-1.0]])[: len(p)]
    return np.asarray(-special.ndtri(p) * sign)


def _shown(signed: F64, keep: npt.NDArray[np.bool_], plan: PermutedPlan, mask: Mask) -> npt.NDArray[np.float32]:
    """Return z (voxel) of the side that is kept (side, candidate), 0 elsewhere."""
    out = np.zeros(mask.n_voxels, dtype=np.float32)
    for values, kept in zip(signed, keep, strict=True):
        out[plan.candidate[kept]] = values[kept]
    return out


def _uncorrected(
    signed: F64, p: F64, plan: PermutedPlan, *, mask: Mask, inference: Inference
) -> npt.NDArray[np.float32]:
    keep = np.zeros(p.shape, dtype=bool)
    for d, below in enumerate(p < inference.contrast_p):
        passing = np.zeros(mask.n_voxels, dtype=bool)
        passing[plan.candidate] = below
        large = clusters.at_least(
            passing,
            volume=mask.volume,
            minimum=inference.min_voxels(mask.voxel_volume),
            connectivity=inference.connectivity,
        )
        keep[d] = large[plan.candidate]
    return _shown(signed, keep, plan, mask)


def _effect(plan: ModeratorPlan, moderated: Moderated) -> dict[str, Any]:
    """Return the MA-weighted mean of the moderator minus its mean (voxel), with a jackknife interval over groups.

    effect = sum_i z_i MA_i / sum_i MA_i - mean z, in the moderator's own unit; interval = effect ± t se, se^2 =
    (K - 1) / K sum_i (effect_-i - mean of these)^2, K - 1 degrees of freedom.
    """
    mask, voxels = moderated.sample.mask, plan.voxels
    if moderated.own is None:
        return {}
    z = moderated.own
    n = len(z)
    out = np.full((3, len(plan.candidate)), np.nan)
    means = (z.sum() - z) / (n - 1)
    quantile = float(special.stdtrit(n - 1, (1 + _LEVEL) / 2))
    for part in numbers.parts(len(plan.candidate)):
        ma = -np.expm1(-numbers.dense(voxels, part.start, part.stop, n_groups=n) * 2.0**-plan.bits)
        whole, weighted = ma.sum(axis=0), z @ ma
        effect = weighted / whole - z.mean()
        rest = whole - ma
        # Where nearly all of the weight is one group's, the mean without it is that of the tails of distant foci.
        with np.errstate(divide="ignore", invalid="ignore"):
            without = np.where(rest > _LEAST_REST * whole, (weighted - z[:, None] * ma) / rest, np.nan) - means[:, None]
        error = np.sqrt((n - 1) / n * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
        out[:, part] = effect, effect - quantile * error, effect + quantile * error
    names = ("effect", "effect_low", "effect_high")
    return {name: ("voxel", _spread(values, plan, mask)) for name, values in zip(names, out, strict=True)}


def _pairs(plan: ModeratorPlan, null: I64, moderated: Moderated) -> dict[str, Any]:
    """Return the variables of the pairs of k groups: which differs most (voxel), and maps of each (pair, voxel)."""
    if not moderated.omnibus:
        return {}
    inference, n_voxels = moderated.sample.inference, moderated.sample.mask.n_voxels
    t = t_of_pairs(*kept_arrays(plan))
    most = np.zeros(n_voxels, dtype=np.int16)
    most[plan.candidate] = pair_at(t)
    maps = pair_variables(
        t, null[:, 0], complete=plan.complete, level=inference.contrast_p, candidate=plan.candidate, n_voxels=n_voxels
    )
    if maps:
        words = [f"{a} against {b}" for a, b in groups_of_pairs(list(moderated.counts))]
        maps["pair_of_groups"] = ("pair_of_groups", np.array(words, dtype=object))
    return {"pair": ("voxel", most), **maps}


def _attrs(moderated: Moderated) -> dict[str, Any]:
    """Return what a report says of a moderator: range, groups left out, leverage, correlation with numbers of foci."""
    spec, own = moderated.spec, moderated.own
    attrs: dict[str, Any] = {
        "of": spec.of,
        "on": list(spec.on),
        "moderator": moderated.title,
        "moderator_kind": moderated.kind,
        "directions": list(moderated.directions),
        "nuisance": list(spec.nuisance),
        "strata": spec.strata or "",
        "groups": len(moderated.key),
        "n_experiments": len(moderated.sample.key),
        "n_foci": int(moderated.n_foci.sum()),
        "groups_left_out": next((d.count for d in moderated.decisions if d.code == "moderator-missing"), 0),
        "nuisance_left": float(moderated.design(largest=1)[1].min()),
        "levels": list(moderated.counts),
        "level_groups": list(moderated.counts.values()),
    }
    if np.isfinite(moderated.with_foci):
        attrs["foci_r"] = moderated.with_foci
    if moderated.omnibus:
        attrs["pairs"] = list(moderated.pairs)
    else:
        squares = (moderated.score[:, 0] - moderated.score[:, 0].mean()) ** 2
        attrs["leverage"] = float(squares.max() / squares.sum())
        attrs["leverage_of"] = _name_of(moderated, int(squares.argmax()))
    if own is not None:
        attrs |= {"range": [float(own.min()), float(own.max())], "mean": float(own.mean())}
    return attrs


def _name_of(moderated: Moderated, group: int) -> str:
    first = int(np.flatnonzero(moderated.group == group)[0])
    return str(moderated.sample.foci["experiment_id"].values[first])
