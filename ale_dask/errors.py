"""The errors that ale_dask raises, and the exit codes of the command line for them.

    AleError (70)
     ├─ InputError(ValueError)          65  a file, a key or a value given by the user is wrong
     ├─ BackendError(ConnectionError)   69  the workers, or a server of data, cannot be reached
     ├─ StoreError(OSError)             74  the store is damaged, or belongs to another configuration
     └─ UnfinishedError(RuntimeError)   75  stopped before the end; the same command resumes

Every message states the fault, its place (file:line or key), and the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable


class AleError(Exception):
    """Any failure that ale_dask foresees; every other exception is a bug of ale_dask, with exit code 70, too.

    Examples
    --------
    >>> from ale_dask import AleError, read_foci
    >>> try:
    ...     read_foci("missing.txt")
    ... except AleError as error:
    ...     error.exit_code
    65
    """

    exit_code = 70


class InputError(AleError, ValueError):
    """A file, a key or a value given by the user cannot be used."""

    exit_code = 65


class BackendError(AleError, ConnectionError):
    """The backend or server named by the user cannot be reached, or its versions do not fit those of this client."""

    exit_code = 69


class StoreError(AleError, OSError):
    """The store is damaged, or was made by another configuration."""

    exit_code = 74


class UnfinishedError(AleError, RuntimeError):
    """A run or a download stopped before its end; nothing is lost, and the same command or call resumes."""

    exit_code = 75


def did_you_mean(wanted: str, names: Iterable[str]) -> str:
    """Return "; did you mean '…'?" with the name that is most like the wanted one, "" where none is like it.

    Names are compared by their letters and digits, without case.

    Examples
    --------
    >>> did_you_mean("Voxel-P", ["voxel_p", "cluster_p"])
    "; did you mean 'voxel_p'?"
    """
    from difflib import get_close_matches

    by_key = {_key(str(name)): str(name) for name in names}
    near = get_close_matches(_key(wanted), by_key, n=1)
    return f"; did you mean '{by_key[near[0]]}'?" if near else ""


def _key(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower())) or name
