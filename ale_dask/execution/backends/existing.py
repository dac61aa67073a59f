"""Dask schedulers that are up already, or that code of the user's own starts."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ale_dask.errors import BackendError, UnfinishedError
from ale_dask.execution.backends.base import Backend, DetachedRun, Submission, new_submission
from ale_dask.execution.backends.connect import active_client, connect, noticing_loss
from ale_dask.execution.backends.local import Threads
from ale_dask.execution.block_store import shares_storage
from ale_dask.execution.journal import events
from ale_dask.storage.location import Place, replace_file

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 300
"""Seconds that a user's own cluster may take to its first worker."""


class AtAddress(Backend):
    """The scheduler at an address; a submitted run is a task there, which Dask restarts when its worker dies."""

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of the scheduler."""
        return client_at(stack, self.name, self.name)

    def submit(self, run: DetachedRun) -> Submission:
        """Return the submission of a run as a task of the scheduler."""
        with connect(self.settings) as client:
            assert client is not None
            token = run.create()
            blind = [worker for worker, seen in client.run(shares_storage, run.out, token).items() if not seen]
            if blind:
                raise BackendError(
                    f"{len(blind)} worker(s) do not see {run.out}, first {blind[0]}: put OUT on a file system or in "
                    "object storage that all see, or use `run`, which stays here and writes for them"
                )
            made = new_submission("dask", scheduler=self.name)
            task = client.submit(run.drive, made.id, key=f"ale-run-{made.id}")
            # Published, it goes on without this client, and any other can ask for its state.
            client.publish_dataset(task, name=task.key)
            return made

    def alive(self, submission: Submission, out: Place) -> bool | None:
        """Return whether the scheduler still has the task, or None when it does not answer."""
        said = [event for event in events(out) if event["time"] >= submission.time]
        if said and said[-1]["event"] in ("stopped", "finished"):
            return False
        from distributed import wait

        try:
            with contextlib.ExitStack() as stack:
                client = self.start(stack)
                with noticing_loss(client), client.as_current(), contextlib.suppress(TimeoutError):
                    # The state of a published future comes a moment after it; no state in time is "pending".
                    wait(client.get_dataset(f"ale-run-{submission.id}"), timeout=1)
                    return False
                return True
        except KeyError:
            # Another scheduler at the same address.
            return False
        except (BackendError, UnfinishedError):
            return None

    def describe(self, submission: Submission) -> str:
        """Return in words which task runs, and where."""
        return f"task ale-run-{submission.id[:8]} at {submission.scheduler}"

    def cancel(self, submission: Submission, out: Place) -> None:
        """Leave a file in OUT that the task looks for."""
        replace_file(out / "logs" / f"stop-{submission.id}", b"")


class InFile(AtAddress):
    """The scheduler that wrote a scheduler file."""

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of the scheduler whose address the file has."""
        try:
            address = str(json.loads(Path(self.name).expanduser().read_text())["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendError(
                f"{self.name}: not a scheduler file ({error}); `dask scheduler --scheduler-file FILE` writes one"
            ) from error
        return client_at(stack, address, f"{address} of {self.name}")


class Active(Backend):
    """The client that this process made last and has not closed."""

    @property
    def name(self) -> str:
        """Return what messages call it."""
        return "the active Dask client"

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return that client, which stays open at the end."""
        client = active_client()
        assert client is not None
        return client


class Auto(Backend):
    """The active client, else the scheduler of Dask's configuration, else threads."""

    def resolved(self) -> Backend:
        """Return the first of these that there is."""
        return self._detached() if active_client() is None else Active(self.settings)

    def start(self, stack: contextlib.ExitStack) -> Client | None:
        """Return a client of the first of these that there is."""
        return self.resolved().start(stack)

    def submit(self, run: DetachedRun) -> Submission:
        """Return the submission of a run to the scheduler of Dask's configuration, else as a process."""
        return self._detached().submit(run)

    def _detached(self) -> Backend:
        import dask

        address = os.environ.get("DASK_SCHEDULER_ADDRESS") or dask.config.get("scheduler-address", None)
        if address:
            return AtAddress(self.settings.model_copy(update={"name": str(address)}))
        return Threads(self.settings)


class FromCallable(Backend):
    """A cluster or client that a callable of the user's gives, or the scheduler-address of Dask that it sets."""

    def start(self, stack: contextlib.ExitStack) -> Client:
        """Return a client of what the callable gives."""
        import dask
        from distributed import Client

        make = _imported(self.name)
        try:
            made = make(**(self.settings.options or {}))
            if isinstance(made, Client):
                if made.cluster is not None:
                    stack.callback(made.cluster.close)
                return stack.enter_context(made)
            if hasattr(made, "scheduler_address"):
                return self._client_of(made, stack)
        except Exception as error:
            raise BackendError(
                f"{self.name}: {type(error).__name__}: {error}; [backend] options are its keywords"
            ) from error
        # As dask_mpi.initialize does, in the one process of the MPI job that it returns in.
        if address := dask.config.get("scheduler-address", None):
            client = client_at(stack, str(address), f"{address}, set by {self.name}")
            client.wait_for_workers(1, timeout=_PATIENCE)
            return client
        raise BackendError(
            f"{self.name} returned {made!r}; it must return a Dask cluster or a Client, or set Dask's scheduler-address"
        )

    def _client_of(self, cluster: Any, stack: contextlib.ExitStack) -> Client:
        from distributed import Client

        least, most = self.settings.least, self.settings.most
        stack.callback(cluster.close)
        if least != most:
            cluster.adapt(minimum=least, maximum=most)
        elif most is not None and hasattr(cluster, "scale"):
            cluster.scale(most)
        client = stack.enter_context(Client(cluster, set_as_default=False))
        client.wait_for_workers(1, timeout=_PATIENCE)
        return client


def client_at(stack: contextlib.ExitStack, address: str, name: str) -> Client:
    """Return a client of the scheduler at an address; `name` is what an error calls it.

    Raises
    ------
    BackendError
        when no scheduler answers there.
    """
    from distributed import Client

    try:
        return stack.enter_context(Client(address, timeout=10, set_as_default=False))
    except (OSError, TimeoutError, TypeError, ValueError) as error:
        raise BackendError(
            f"no Dask scheduler answers at {name} ({error}); check the address and, for tls://, that "
            "distributed.comm.tls names this cluster's certificates"
        ) from error


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
