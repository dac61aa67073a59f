"""Results of many main effects, of which memory holds the maps and nulls of a few; the others are read when used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

_LARGE = {"voxel", "iteration"}
"""The dimensions of variables that grow with the mask or the run."""
_SHARED = {"voxel_ijk"}
"""Variables that all results have in common."""
AT_ONCE = 16
"""Results whose maps are in memory."""


def read_when_used(names: Iterable[str], collect: Callable[[str], xr.Dataset]) -> dict[str, xr.Dataset]:
    """Return the result that `collect` makes of each name, whose maps and nulls it makes again when they are read."""
    lock, recent = threading.Lock(), lru_cache(maxsize=AT_ONCE)(collect)

    def read(name: str) -> xr.Dataset:
        # Two threads that read maps of one result would both make it.
        with lock:
            return recent(name)

    return {name: _without_maps(name, read(name), read) for name in names}


def _without_maps(name: str, result: xr.Dataset, read: Callable[[str], xr.Dataset]) -> xr.Dataset:
    large = {
        key: variable
        for key, variable in result.data_vars.items()
        if _LARGE & set(map(str, variable.dims)) and key not in _SHARED
    }
    lazy = {
        key: xr.Variable(array.dims, indexing.LazilyIndexedArray(_Read(name, str(key), array, read)), array.attrs)
        for key, array in large.items()
    }
    return result.assign(lazy)


class _Read(BackendArray):
    """A variable of a result, which is collected again from the store to read it."""

    def __init__(self, name: str, key: str, array: xr.DataArray, read: Callable[[str], xr.Dataset]) -> None:
        self.shape, self.dtype = array.shape, array.dtype
        self._name, self._key, self._read = name, key, read

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._part)

    def _part(self, key: tuple[Any, ...]) -> Any:
        return np.asarray(self._read(self._name)[self._key].values[key])
