"""Test a statistic of a whole map, such as one of the user's own, on the exact null of a main effect.

Its plan holds that of the null, whose foci it draws again, and the hash of the function: blocks of another function, of
other arguments or of another image are never taken for its own. The function itself stays in memory. Numbers of float64
are stored bit by bit as int64, the type of every null.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.base_rate import BaseRatePlan
from ale_dask.analyses.findings.model import SIMULATED, model_of
from ale_dask.analyses.main_effect import MainEffectPlan, identity_of
from ale_dask.analyses.statistics.functions import Numbers, Statistic, evaluate, statistic_of
from ale_dask.analyses.statistics.given import GIVEN, Tail
from ale_dask.analyses.statistics.images import GridImage
from ale_dask.analyses.statistics.maps import OBSERVED, Places, Replay, z_table
from ale_dask.errors import InputError
from ale_dask.execution.plan import Plan, Setting
from ale_dask.numerics import correct
from ale_dask.numerics.density_levels import LevelTable
from ale_dask.numerics.space import Mask
from ale_dask.schema import Variable, describe

F64 = npt.NDArray[np.float64]
KIND = "null-statistic"
QUANTILES = (0.025, 0.05, 0.5, 0.95, 0.975)
TAILS: tuple[Tail, ...] = ("upper", "lower", "two-sided")
_VERSION = 1
_OWN = "own_"
"""The beginning of the names of arrays that the plan of the null does not have."""
_BUILDING = threading.Lock()
_TYPES: dict[str, type[MainEffectPlan] | type[BaseRatePlan]] = {
    "main-effect": MainEffectPlan,
    "base-rate": BaseRatePlan,
}


class Asked(NamedTuple):
    """A statistic, and the image on the searched voxels that it takes, if any."""

    statistic: Statistic
    image: GridImage | None = None

    def conventions(self, base: Plan) -> dict[str, Any]:
        """Return what the identity of a plan of this statistic is a hash over."""
        image = None
        if self.image is not None:
            labels = json.dumps(sorted(self.image.labels.items())).encode()
            image = hashlib.sha256(np.ascontiguousarray(self.image.values).tobytes() + labels).hexdigest()
        return {
            "null": base.id,
            "statistic": self.statistic.name,
            "source": self.statistic.source,
            "arguments": dict(self.statistic.arguments),
            "image": image,
            "version": _VERSION,
        }


@dataclass(frozen=True, eq=False)
class NullStatisticPlan(Plan, kind=KIND):
    """Plan of a statistic of the maps of a null."""

    function: Statistic | None = field(default=None, repr=False)
    """The statistic where it is a user's own; it is not stored."""
    statistic = Setting(str)

    @property
    def base(self) -> MainEffectPlan | BaseRatePlan:
        """The plan of the null."""
        name, kind, identity, statistics, settings = self.settings["base"]
        arrays = {key: array for key, array in self.arrays.items() if not key.startswith(_OWN)}
        return _TYPES[kind](name, kind, identity, tuple(statistics), settings, arrays)

    @property
    def places(self) -> Places:
        """The searched voxels, with the image."""
        affine = self.arrays[f"{_OWN}affine"]
        base = self.base
        mask = Mask(base.volume, affine, search=None if base.searched.all() else base.searched)
        labels = {int(k): str(v) for k, v in self.settings["labels"].items()}
        return Places(mask, self.arrays.get(f"{_OWN}image"), labels)

    @property
    def table(self) -> LevelTable:
        """z by S."""
        base = self.base
        if isinstance(base, BaseRatePlan):
            return base.table
        n = int(np.count_nonzero(base.volume))
        return LevelTable(self.arrays[f"{_OWN}z"], int(self.settings["z_shift"]), np.zeros(n, dtype=np.int32))

    @property
    def observed(self) -> Numbers:
        """The statistic of the observed map."""
        return Numbers(tuple((g, n) for g, n in self.settings["numbers"]), self.arrays[f"{_OWN}observed"])

    def values(self, null: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return stored numbers (iteration, number) as they were returned, float64 or int64."""
        return np.ascontiguousarray(null).view(self.observed.values.dtype)

    @property
    def called(self) -> Statistic:
        """The statistic to call.

        Raises
        ------
        InputError
            when it is a user's own, whose function the store does not hold.
        """
        if self.function is not None:
            return self.function
        if self.statistic in GIVEN:
            return statistic_of(self.statistic, self.conventions["arguments"])
        raise InputError(f"{self.name}: the function of this statistic is not stored; give it to `ale-dask null` again")


def plan_statistic(asked: Asked, base: MainEffectPlan | BaseRatePlan, *, affine: F64, name: str) -> NullStatisticPlan:
    """Return the frozen plan of a statistic of the maps of a null, with its numbers of the observed map.

    Raises
    ------
    InputError
        when the statistic raises, or returns something else than finite numbers.
    """
    image = asked.image
    own: dict[str, npt.NDArray[Any]] = {f"{_OWN}affine": np.asarray(affine, dtype=np.float64)}
    settings: dict[str, Any] = {
        "conventions": (conventions := asked.conventions(base)),
        "bits": base.bits,
        "statistic": asked.statistic.name,
        "base": [base.name, base.kind, base.identity, list(base.statistics), dict(base.settings)],
        "labels": {} if image is None else {str(k): v for k, v in image.labels.items()},
    }
    if image is not None:
        own[f"{_OWN}image"] = image.values
    if isinstance(base, MainEffectPlan):
        table = z_table(base.null_table, 1)
        own[f"{_OWN}z"], settings["z_shift"] = table.z, table.shift
    identity = identity_of(KIND, conventions)
    arrays = {**base.arrays, **own}
    first = NullStatisticPlan(name, KIND, identity, (), settings, arrays)
    observed = evaluate(asked.statistic, replay_of(first)(OBSERVED))
    return NullStatisticPlan(
        name,
        KIND,
        identity,
        tuple(names_of(observed.names)),
        settings | {"numbers": [list(pair) for pair in observed.names]},
        arrays | {f"{_OWN}observed": observed.values},
        None if asked.statistic.is_given else asked.statistic,
    )


def with_function(plan: NullStatisticPlan, statistic: Statistic) -> NullStatisticPlan:
    """Return a plan that was read from a store, with the function that it does not hold."""
    return plan if statistic.is_given else replace(plan, function=statistic)


@lru_cache(maxsize=4)
def replay_of(plan: NullStatisticPlan) -> Replay:
    """Return the maps of the iterations of a plan, their tables built once per process."""
    return Replay(plan.base, plan.table, plan.places)


def block(plan: NullStatisticPlan, first: int, count: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return {"null": (iteration, number)} of some iterations: the numbers of a statistic, float64 as its bits."""
    with _BUILDING:
        replay, statistic, like = replay_of(plan), plan.called, plan.observed
    numbers = [evaluate(statistic, replay(first + b), like=like).values for b in range(count)]
    return {"null": np.stack(numbers).view(np.int64)}


def collect(
    result: xr.Dataset,
    asked: Asked,
    nulls: Mapping[str, tuple[NullStatisticPlan, npt.NDArray[np.int64]]],
    *,
    tail: Tail | None = None,
) -> xr.Dataset:
    """Return the test of a statistic of a main effect, against each null by its word.

    `nulls` has the plan of the statistic and its stored numbers (iteration, number) by "uniform" and "base-rate".

    Raises
    ------
    InputError
        for a tail that is none.
    """
    tail = tail or asked.statistic.tail
    if tail not in TAILS:
        raise InputError(f"tail '{tail}': give {', '.join(TAILS)}")
    tests = [assess(plan.observed, plan.values(null), tail=tail) for plan, null in nulls.values()]
    names = next(iter(nulls.values()))[0].observed.names
    stacked = {key: np.stack([test[key] for test in tests]) for key in tests[0]}
    dims: dict[str, tuple[str, ...]] = {
        "null": ("against", "iteration", "number"),
        "null_quantile": ("against", "quantile", "number"),
    }
    found = xr.Dataset(
        {key: (dims.get(key, ("against", "number")), values) for key, values in stacked.items()},
        coords={
            "against": list(nulls),
            "number": names_of(names),
            "group": ("number", [group for group, _ in names]),
            "label": ("number", [label for _, label in names]),
            "quantile": list(QUANTILES),
        },
        attrs={
            "name": result.attrs["name"],
            "kind": KIND,
            "statistic": asked.statistic.name,
            "given": int(asked.statistic.is_given),
            "source": asked.statistic.source,
            "arguments": json.dumps(dict(asked.statistic.arguments)),
            "tail": tail,
            "iterations": len(stacked["null"][0]),
            "inference": result.attrs["inference"],
            **_image_attrs(asked.image),
            **({SIMULATED: 1} if model_of(result).simulated else {}),
        },
    )
    return describe(found, *_VARIABLES)


def _image_attrs(image: GridImage | None) -> dict[str, str]:
    if image is None:
        return {}
    return {"image": image.name, "image_note": image.note, "image_citation": image.citation}


def assess(observed: Numbers, null: npt.NDArray[Any], *, tail: Tail) -> dict[str, npt.NDArray[Any]]:
    """Return the test of some numbers (number) against their null (iteration, number), by name of a variable.

    p = (1 + r) / (1 + B), of both sides twice the smaller one. Within a group the family-wise p is that of the largest
    deviation among its numbers, each standardised by mean and standard deviation of the B + 1 values, among which no
    one is told from the others under the null.
    """
    n, value = len(null), observed.values
    above, below = (null >= value).sum(axis=0), (null <= value).sum(axis=0)
    r = {"upper": above, "lower": below, "two-sided": np.minimum(above, below)}[tail]
    sides = 2 if tail == "two-sided" else 1
    low, high = correct.clopper_pearson(r, n)
    p = np.minimum(sides * (1 + r) / (1 + n), 1.0)
    return {
        "observed": value,
        "p": p,
        "p_low": np.minimum(sides * low, 1.0),
        "p_high": np.minimum(sides * high, 1.0),
        "p_fwe": _family_wise(observed, null, tail=tail, alone=p),
        "null_mean": null.mean(axis=0),
        "null_sd": null.std(axis=0),
        "null_quantile": np.quantile(null, QUANTILES, axis=0),
        "null": null,
    }


def _family_wise(observed: Numbers, null: npt.NDArray[Any], *, tail: Tail, alone: F64) -> F64:
    """Return the family-wise p (number) of each number within its group; that of one `alone` where it has no other."""
    both = np.concatenate([observed.values[None], null]).astype(np.float64)
    spread = both.std(axis=0)
    deviation = (both - both.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    deviation = {"upper": deviation, "lower": -deviation, "two-sided": np.abs(deviation)}[tail]
    groups = np.array([group for group, _ in observed.names])
    p = alone.copy()
    for group in dict.fromkeys(groups.tolist()):
        own = np.flatnonzero(groups == group)
        if len(own) > 1:
            largest = deviation[:, own].max(axis=1)
            p[own] = (1 + (largest[1:, None] >= deviation[0, own]).sum(axis=0)) / (1 + len(null))
    return p


def names_of(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return the group and the label of each number in one text."""
    return [": ".join(filter(None, pair)) for pair in pairs]


_OF_NUMBER = ("against", "number")
_VARIABLES = (
    Variable("observed", _OF_NUMBER, "fi", "", "number of the observed map"),
    Variable("p", _OF_NUMBER, "f", "probability", "(1 + r) / (1 + B), of both sides twice the smaller one"),
    Variable("p_low", _OF_NUMBER, "f", "probability", "lower end of the 95 % Clopper-Pearson interval of p"),
    Variable("p_high", _OF_NUMBER, "f", "probability", "upper end of the 95 % Clopper-Pearson interval of p"),
    Variable("p_fwe", _OF_NUMBER, "f", "probability", "family-wise p within the group of the number"),
    Variable("null_mean", _OF_NUMBER, "f", "", "mean of the null"),
    Variable("null_sd", _OF_NUMBER, "f", "", "standard deviation of the null"),
    Variable("null_quantile", ("against", "quantile", "number"), "f", "", "quantile of the null"),
    Variable("null", ("against", "iteration", "number"), "fi", "", "number of each iteration's map"),
)
