"""Make each table of a report once, although several of its files show it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import pandas as pd
import xarray as xr

_P = ParamSpec("_P")
_TABLES: ContextVar[dict[Any, tuple[Any, Any]] | None] = ContextVar("tables", default=None)


@contextmanager
def each_table_once() -> Iterator[None]:
    """Keep every table that is made inside this context; the results must not be changed meanwhile."""
    if _TABLES.get() is not None:
        yield
        return
    token = _TABLES.set({})
    try:
        yield
    finally:
        _TABLES.reset(token)


def made_once(make: Callable[_P, pd.DataFrame]) -> Callable[_P, pd.DataFrame]:
    """Return a function that makes a table as `make` does, and inside `each_table_once` gives a copy of an equal one.

    Tables are equal when they are of the same Datasets, in memory, and of equal other arguments.
    """
    parameters = inspect.signature(make)

    @wraps(make)
    def table(*args: _P.args, **kwargs: _P.kwargs) -> pd.DataFrame:
        tables = _TABLES.get()
        if tables is None:
            return make(*args, **kwargs)
        given = parameters.bind(*args, **kwargs)
        given.apply_defaults()
        key = (make.__name__, *map(_key, given.arguments.values()))
        if key not in tables:
            # The arguments are kept with the table: an id is given again once its object is gone.
            tables[key] = given, make(*args, **kwargs)
        made: pd.DataFrame = tables[key][1]
        return made.copy()

    return table


def forget_tables() -> None:
    """Free the tables that `each_table_once` has kept so far, 100 kB for a main effect, but not what `kept` has."""
    if (tables := _TABLES.get()) is not None:
        for key in [key for key in tables if key[0] != _KEPT]:
            del tables[key]


_KEPT = ""
_T = TypeVar("_T")


def kept(make: Callable[[xr.Dataset], _T]) -> Callable[[xr.Dataset], _T]:
    """Return a function that makes something small of a result, and inside `each_table_once` makes it once."""

    @wraps(make)
    def small(result: xr.Dataset) -> _T:
        tables = _TABLES.get()
        if tables is None:
            return make(result)
        key = (_KEPT, make.__module__, make.__name__, id(result))
        if key not in tables:
            # The result is kept with it: an id is given again once its object is gone.
            tables[key] = result, make(result)
        made: _T = tables[key][1]
        return made

    return small


def _key(argument: Any) -> Any:
    if isinstance(argument, xr.Dataset):
        return id(argument)
    if isinstance(argument, Mapping):
        return tuple((name, id(value)) for name, value in argument.items())
    return argument
