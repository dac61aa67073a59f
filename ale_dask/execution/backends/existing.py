"""Schedulers that are up already, or that code of the user's own starts."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ale_dask.config.study import Backend
from ale_dask.errors import BackendError

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 300
"""Seconds that a user's own cluster may take to its first worker."""


def at_address(backend: Backend, stack: contextlib.ExitStack) -> Client:
    """Return a client of the scheduler whose address is the backend's name."""
    return _client(stack, backend.name, backend.name)


def from_file(backend: Backend, stack: contextlib.ExitStack) -> Client:
    """Return a client of the scheduler that wrote the file which is the backend's name."""
    try:
        address = str(json.loads(Path(backend.name).expanduser().read_text())["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackendError(
            f"{backend.name}: not a scheduler file ({error}); `dask scheduler --scheduler-file FILE` writes one"
        ) from error
    return _client(stack, address, f"{address} of {backend.name}")


def _client(stack: contextlib.ExitStack, address: str, name: str) -> Client:
    from distributed import Client

    try:
        return stack.enter_context(Client(address, timeout=10, set_as_default=False))
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        raise BackendError(
            f"no Dask scheduler answers at {name} ({error}); check the address and, for tls://, that "
            "distributed.comm.tls names this cluster's certificates"
        ) from error


def from_callable(backend: Backend, stack: contextlib.ExitStack) -> Client:
    """Return a client of what the user's callable gives: a Client, a Dask cluster, or Dask's scheduler-address set."""
    import dask
    from distributed import Client

    make = _imported(backend.name)
    try:
        made = make(**(backend.options or {}))
        if isinstance(made, Client):
            if made.cluster is not None:
                stack.callback(made.cluster.close)
            return stack.enter_context(made)
        if hasattr(made, "scheduler_address"):
            stack.callback(made.close)
            if backend.least != backend.most:
                made.adapt(minimum=backend.least, maximum=backend.most)
            elif backend.most is not None and hasattr(made, "scale"):
                made.scale(backend.most)
            client = stack.enter_context(Client(made, set_as_default=False))
            client.wait_for_workers(1, timeout=_PATIENCE)
            return client
    except Exception as error:
        raise BackendError(
            f"{backend.name}: {type(error).__name__}: {error}; [backend] options are its keywords"
        ) from error
    # As dask_mpi.initialize does, in the one process of the MPI job that it returns in.
    if address := dask.config.get("scheduler-address", None):
        client = _client(stack, str(address), f"{address}, set by {backend.name}")
        client.wait_for_workers(1, timeout=_PATIENCE)
        return client
    raise BackendError(
        f"{backend.name} returned {made!r}; it must return a Dask cluster or a Client, or set Dask's scheduler-address"
    )


def _imported(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    # A file beside the study is as good as an installed one, also for the installed command.
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise BackendError(f"{name}: {error}; give MODULE:CALLABLE, a module that Python finds from here") from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise BackendError(f"{name} is not callable; it must be a function or class that returns a Dask cluster")
    return found  # type: ignore[no-any-return]
