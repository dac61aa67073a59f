"""Floor 1: plain numerics on numpy arrays; no input or output, no Dask, no xarray.

numba's on-disk cache notices edits of the file that holds a compiled function but not of the files it
imports, and ran a stale kernel when tried. The cache directory is therefore named by a hash of every
source of this package, numba's version and the CPU, and is private to the user.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numba

NUMERICS_VERSION = 2
"""Part of every analysis's identity: raised when the same input would give other integers."""


def _cache_directory() -> Path:
    digest = hashlib.sha256(numba.__version__.encode())
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "ALE_DASK_PLAIN"):
        digest.update(f"{name}={os.environ.get(name)};".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    root = Path(os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"kernels-{digest.hexdigest()[:16]}"
    for parent in (root / "ale_dask", Path(tempfile.gettempdir()) / f"ale_dask-{os.getuid()}"):
        try:
            (parent / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        if (parent / name).stat().st_uid == os.getuid() and os.access(parent / name, os.W_OK):
            return parent / name
    return Path(tempfile.mkdtemp(prefix="ale_dask-"))


CACHE_DIRECTORY = _cache_directory()
numba.config.CACHE_DIR = str(CACHE_DIRECTORY)
