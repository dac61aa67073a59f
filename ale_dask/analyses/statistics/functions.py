"""Find the function of a statistic, tell it from others by a hash, and check what it returns."""

from __future__ import annotations

import hashlib
import inspect
import json
import marshal
import re
import traceback
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.analyses.statistics.given import GIVEN, Tail
from ale_dask.config.files import read_regular
from ale_dask.config.names import name_from
from ale_dask.errors import InputError, did_you_mean

_MAX_SOURCE = 2**20


@dataclass(frozen=True)
class Statistic:
    """A function of a map Dataset, with a name for files, the sha256 of its source and its further arguments."""

    name: str
    function: Callable[..., Any]
    source: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_given(self) -> bool:
        """Whether it is one of the program's own."""
        return self.name in GIVEN and self.function is GIVEN[self.name].function

    @property
    def tail(self) -> Tail:
        """The tail that it is tested in unless another is asked for."""
        return GIVEN[self.name].tail if self.is_given else "upper"

    @property
    def has_closure(self) -> bool:
        """Whether its function takes values from the function that it is defined in, which its source does not show."""
        return bool(getattr(self.function, "__closure__", None))


def statistic_of(wanted: str | Callable[..., Any] | Statistic, arguments: Mapping[str, Any] | None = None) -> Statistic:
    """Return the statistic of a function, of a name of `GIVEN`, or of FILE.py:FUNCTION; a statistic as it is.

    Raises
    ------
    InputError
        for an unknown name, a file that cannot be read or run, something that is no function, or arguments that cannot
        be written as JSON.
    """
    if isinstance(wanted, Statistic):
        return wanted
    given = dict(arguments or {})
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"arguments of a statistic: {error}; give text, numbers, lists and dictionaries") from error
    if isinstance(wanted, str):
        if wanted in GIVEN:
            function = GIVEN[wanted].function
            return Statistic(wanted, function, _hash(inspect.getsource(function).encode()), given)
        return _of_file(wanted, given)
    if not inspect.isfunction(wanted):
        raise InputError(
            f"statistic {wanted!r}: give a function of a map Dataset; its further arguments are given as arguments = …"
        )
    return Statistic(_named(wanted.__name__), wanted, _hash(_source(wanted)), given)


def _of_file(wanted: str, arguments: Mapping[str, Any]) -> Statistic:
    file, colon, name = wanted.rpartition(":")
    if not colon or not file.endswith(".py"):
        raise InputError(
            f"statistic '{wanted}': none of {', '.join(GIVEN)}{did_you_mean(wanted, GIVEN)}; a function of your own is "
            "given as FILE.py:FUNCTION"
        )
    data = read_regular(Path(file), max_bytes=_MAX_SOURCE)
    # A module that is not in sys.modules is sent to workers as it is, not by its name.
    module = types.ModuleType(f"statistic_{Path(file).stem}")
    module.__file__ = str(Path(file).resolve())
    try:
        exec(compile(data, file, "exec"), module.__dict__)
    except Exception as error:
        raise InputError(f"{file}: cannot be run ({type(error).__name__}: {error})") from error
    function = getattr(module, name, None)
    if not inspect.isfunction(function):
        have = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise InputError(
            f"{file}: has no function '{name}'{did_you_mean(name, have)}; it has {', '.join(have) or 'none'}"
        )
    return Statistic(_named(name), function, _hash(data), arguments)


def _named(name: str) -> str:
    # A function of the user's own must not take the place of one of the program's.
    word = name_from(name, otherwise="statistic")
    return f"own-{word}" if word in GIVEN else word


def _source(function: types.FunctionType) -> bytes:
    try:
        return inspect.getsource(function).encode()
    except (OSError, TypeError):
        # A function typed at a prompt has no file.
        return marshal.dumps(function.__code__)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Numbers:
    """What a statistic returned of a map: group and name of each number, and the numbers, float64 or int64 (number)."""

    names: tuple[tuple[str, str], ...]
    values: npt.NDArray[Any]


def evaluate(statistic: Statistic, maps: xr.Dataset, *, like: Numbers | None = None) -> Numbers:
    """Return the numbers of a statistic of a map, checked against those `like` which they must be.

    Raises
    ------
    InputError
        naming the iteration, when the function raises, or returns something else than finite numbers of the same names.
    """
    iteration, null = maps.attrs["iteration"], maps.attrs["null"]
    where = "the observed map" if iteration < 0 else f"iteration {iteration} of the {null} null"
    begin = f"statistic '{statistic.name}' of {where}"
    try:
        returned = statistic.function(maps, **statistic.arguments)
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"{begin}: {type(error).__name__}: {error} ({Path(at.filename).name}, line {at.lineno})"
        ) from error
    names, values = _flat(returned, statistic.name)
    try:
        array = np.array([np.asarray(v).item() for v in values])
    except (TypeError, ValueError) as error:
        raise InputError(f"{begin}: returned {_short(returned)}, wanted one or a few numbers") from error
    if not len(array) or array.dtype.kind not in "if":
        raise InputError(f"{begin}: returned {_short(returned)}, wanted one or a few numbers, int64 or float64")
    if not np.isfinite(array).all():
        name = " ".join(filter(None, names[int(np.flatnonzero(~np.isfinite(array))[0])]))
        raise InputError(f"{begin}: '{name}' is no finite number; return a number for every map")
    array = array.astype(np.int64 if array.dtype.kind == "i" else np.float64)
    if like is None:
        return Numbers(names, array)
    if names != like.names:
        raise InputError(
            f"{begin}: returned {len(names)} number(s) where the observed map has {len(like.names)}, "
            "or others; return the same numbers of every map"
        )
    if array.dtype.kind == "f" and like.values.dtype.kind == "i":
        raise InputError(f"{begin}: returned a number that is not whole, but whole ones of the observed map")
    return Numbers(names, array.astype(like.values.dtype))


def _flat(returned: Any, name: str) -> tuple[tuple[tuple[str, str], ...], list[Any]]:
    """Return the group and name of each number, and the numbers, of whatever a statistic returned."""
    if isinstance(returned, Mapping):
        groups = {k: v if isinstance(v, Mapping) else None for k, v in returned.items()}
        if all(v is not None for v in groups.values()):
            pairs = [(str(g), str(k), v) for g, own in groups.items() for k, v in (own or {}).items()]
        else:
            pairs = [("", str(k), v) for k, v in returned.items()]
        return tuple((g, k) for g, k, _ in pairs), [v for _, _, v in pairs]
    if np.ndim(returned) == 0:
        return (("", name),), [returned]
    return tuple(("", f"{name} {i + 1}") for i in range(len(returned))), list(returned)


def _short(returned: Any) -> str:
    text = re.sub(r"\s+", " ", repr(returned))
    return f"{type(returned).__name__} {text[:60]}{'…' if len(text) > 60 else ''}"
