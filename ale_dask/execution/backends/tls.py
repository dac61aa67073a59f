"""Keys and addresses of the schedulers started here: TLS everywhere, dashboards on loopback only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed.security import Security

LOOPBACK = "127.0.0.1:0"


def cache_folder(name: str) -> Path:
    """Return the path of a folder of this package in the user's cache folder; it is not created."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ale_dask" / name


def dashboard_options() -> dict[str, Any]:
    """Return a scheduler's options for a dashboard on loopback; without bokeh the port serves health checks only."""
    return {"dashboard_address": LOOPBACK, "dashboard": importlib.util.find_spec("bokeh") is not None}


def security_arguments(file: str) -> dict[str, Any]:
    """Return the keyword arguments of a Security whose key and certificate are in one file."""
    roles = ("scheduler", "worker", "client")
    files = {f"tls_{role}_{what}": file for role in roles for what in ("cert", "key")}
    return {"require_encryption": True, "tls_ca_file": file, **files}


def pem(security: Security) -> str:
    """Return a worker's key and certificate, which is also the authority's, as the text of one file."""
    return f"{security.tls_worker_key}{security.tls_worker_cert}"


@contextlib.contextmanager
def key_file(security: Security, folder: Path) -> Iterator[Path]:
    """Yield a file in `folder` with the key and certificate, which only this user can read and which goes at the end.

    Raises
    ------
    OSError
        when nothing can be written there.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp gives mode 0600 from the start.
    handle, name = tempfile.mkstemp(suffix=".pem", dir=folder)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(pem(security))
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
