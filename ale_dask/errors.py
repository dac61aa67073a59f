"""What can go wrong, and the exit code that says so.

    AleError (70)
     ├─ InputError(ValueError)          65  a file, a key or a value of the user's is wrong
     ├─ BackendError(ConnectionError)   69  the workers, or a server of data, cannot be reached
     ├─ StoreError(OSError)             74  the store is damaged, or belongs to another configuration
     └─ UnfinishedError(RuntimeError)   75  stopped before the end; the same command resumes

Every message says what was wrong, where (file:line or key), and what to do.
"""

from __future__ import annotations


class AleError(Exception):
    """Any failure that ale_dask reports in words; what is not one of these is a bug of ours (70)."""

    exit_code = 70


class InputError(AleError, ValueError):
    """A file, a key or a value given by the user cannot be used."""

    exit_code = 65


class BackendError(AleError, ConnectionError):
    """The backend or server named by the user cannot be reached or does not fit this client."""

    exit_code = 69


class StoreError(AleError, OSError):
    """The store is damaged, or was made by another configuration."""

    exit_code = 74


class UnfinishedError(AleError, RuntimeError):
    """The run stopped before its end; nothing is lost and the same command resumes."""

    exit_code = 75
