"""Keep arrays that are slow to make from another package's files in the user's cache folder, beside the kernels."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.numerics import CACHE_DIRECTORY, CACHE_IS_KEPT

Arrays = Mapping[str, npt.NDArray[Any]]
_EDITION = 1
"""Part of every file's name: raised when the arrays that are kept change."""
_DAMAGED = (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""What reading a file that is not there, or is not whole, raises."""


def prepared(name: str, make: Callable[[], Arrays], *, package: str) -> Arrays:
    """Return the arrays that `make` makes from a package's files, read from the user's cache where they are kept.

    A file of the cache is made anew for each version of the package, and when it cannot be read.
    """
    if not CACHE_IS_KEPT:
        return make()
    path = CACHE_DIRECTORY.parent / f"{name}-{_EDITION}-{package}-{version(package)}.npz"
    # numpy leaves a file that is not whole open, unless it was opened for it.
    with contextlib.suppress(*_DAMAGED), path.open("rb") as file, np.load(file) as kept:
        return {key: kept[key] for key in kept.files}
    arrays = make()
    # Without room for the file the next process makes the arrays again.
    with contextlib.suppress(OSError):
        _replace(path, arrays)
    return arrays


def _replace(path: Path, arrays: Arrays) -> None:
    content = BytesIO()
    np.savez_compressed(content, allow_pickle=False, **dict(arrays))
    handle, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.getvalue())
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
