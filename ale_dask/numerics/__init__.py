"""Plain numerics on numpy arrays; no input or output, no Dask, no xarray.

`kernels` holds the loops that decide how long an iteration takes. numba's on-disk cache notices edits of the file that
holds a compiled function but not of the files it imports, and ran a stale kernel when tried. The cache directory is
therefore named by a hash of every source of this package, numba's version and the CPU. Compiled code in it is run, so
no other user may be able to write there; where there is no such folder, kernels are compiled anew in every process.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numba

from ale_dask.errors import StoreError
from ale_dask.numerics.trust import private

NUMERICS_VERSION = 2
"""Part of the identity of every analysis: raised when the same input would give other integers."""


def _cache_directory() -> tuple[Path, bool]:
    """Return the folder of compiled kernels, and whether it outlives this process."""
    digest = hashlib.sha256(numba.__version__.encode())
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "ALE_DASK_PLAIN"):
        digest.update(f"{name}={os.environ.get(name)};".encode())
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    root = Path(os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    shared = Path(tempfile.gettempdir())
    name = f"kernels-{digest.hexdigest()[:16]}"
    for parent in (root / "ale_dask", shared / f"ale_dask-{os.getuid()}"):
        try:
            parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (parent / name).mkdir(mode=0o700, exist_ok=True)
        except OSError:
            continue
        if private(parent / name) and os.access(parent / name, os.W_OK):
            return parent / name, True
    return _for_this_process((shared, Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))), False


def _delete(folder: Path, process: int) -> None:
    # A forked child, which ends earlier, must not delete the folder of its parent.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def _for_this_process(places: Iterable[Path]) -> Path:
    """Return a new folder under an unpredictable name, which is deleted when this process ends."""
    for place in places:
        try:
            folder = Path(tempfile.mkdtemp(prefix="ale_dask-", dir=place))
        except OSError:
            continue
        atexit.register(_delete, folder, os.getpid())
        if private(folder):
            return folder
    raise StoreError(
        "compiled kernels need a folder in which no other user can put anything in their place, and there is none: "
        "set XDG_CACHE_HOME to a folder of yours that only you can write"
    )


CACHE_DIRECTORY, CACHE_IS_KEPT = _cache_directory()
"""The folder of compiled kernels, and whether other processes find it."""
numba.config.CACHE_DIR = str(CACHE_DIRECTORY)
