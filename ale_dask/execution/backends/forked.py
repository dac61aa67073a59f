"""Worker processes forked from one that has imported the package, so that not each of them imports it again."""

from __future__ import annotations

import os
import sys
import tempfile

_READ_AT_IMPORT = ("ALE_DASK_", "NUMBA_", "XDG_CACHE_HOME", "HOME")
"""Starts of the names of environment variables that the package and Numba read once, when they are imported."""
_IMPORTED = ("ale_dask.analyses.", "ale_dask.execution.", "ale_dask.storage.")
"""Starts of the names of the modules that a worker needs."""
_SOCKET_BYTES = 107 - len("/pymp-12345678/listener-12345678")
"""Bytes that the name of the temporary folder may have; the address of a socket in it has 107 at most (man 7 unix)."""
_STARTED_WITH: dict[str, str] = {}
"""The environment in which the process that workers are forked from was started."""


def start_method() -> str:
    """Return "forkserver" if workers can be forked from a process that has imported the package, else "spawn".

    Notes
    -----
    To import the package takes a worker 1 to 3 CPU seconds, to be forked a tenth of that, and forked workers share the
    memory of the libraries. The process that is forked has no threads. It has the environment of the moment when it was
    started, which is fine as long as no variable has changed that is read only once. Windows has no fork, and on macOS
    a fork may break libraries of the system (Python issue 33725).
    """
    if sys.platform != "linux" or len(os.fsencode(tempfile.gettempdir())) > _SOCKET_BYTES:
        return "spawn"
    if not _STARTED_WITH:
        import dask
        from distributed.utils import get_mp_context

        # Those that this process has imported by now are those of the analyses that it runs.
        modules = ["distributed", *sorted(name for name in sys.modules if name.startswith(_IMPORTED))]
        with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
            # Dask sets a list of its own when it is first asked, which this one replaces.
            get_mp_context().set_forkserver_preload(modules)
        _STARTED_WITH.update(os.environ)
    return "forkserver" if _would_import_alike() else "spawn"


def _would_import_alike() -> bool:
    """Return whether the package, imported now, would read from the environment what the forked process has read."""
    now = os.environ
    read = [name for name in (*now, *_STARTED_WITH) if name.startswith(_READ_AT_IMPORT)]
    return now.keys() >= _STARTED_WITH.keys() and all(now.get(name) == _STARTED_WITH.get(name) for name in read)
