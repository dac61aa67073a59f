"""Keep the ALE beside stored MA maps in object storage, where a run that resumes would read all maps again for it."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from ale_dask.storage.location import Place, replace_file

_UNREADABLE = (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def kept_ale(out: Place, name: str, *, of: str) -> npt.NDArray[np.float64] | None:
    """Return the kept ALE (voxel) of the maps with the content `of`, or None where it is missing or damaged."""
    try:
        # The archive has a CRC-32 of each array.
        with np.load(io.BytesIO((out / "plans" / name / "ale.npz").read_bytes()), allow_pickle=False) as kept:
            return np.asarray(kept["ale"]) if str(kept["of"]) == of else None
    except _UNREADABLE:
        return None


def keep_ale(out: Place, name: str, ale: npt.NDArray[Any], *, of: str) -> None:
    """Keep the ALE (voxel) of the maps with the content `of`."""
    file = io.BytesIO()
    np.savez(file, ale=ale, of=np.array(of))
    replace_file(out / "plans" / name / "ale.npz", file.getvalue())
