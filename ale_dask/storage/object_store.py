"""A prefix in object storage (s3://, gs://, az://), opened by every process from its own environment."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

from ale_dask.errors import BackendError, StoreError

# A wrong endpoint is told within seconds. A run under way outlasts an outage of some minutes; not more than five, as a
# request that is tried again keeps the credentials that it was signed with.
_FIRST_CONTACT = {
    "max_retries": 10,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
}
_UNDER_WAY = {"max_retries": 50, "retry_timeout": timedelta(minutes=3)}


@dataclass(frozen=True)
class Remote:
    """A file or a prefix below a URL in object storage."""

    root: str
    key: str = ""

    def __truediv__(self, part: str) -> Remote:
        """Return the place below this one."""
        return Remote(self.root, f"{self.key}/{part}" if self.key else part)

    def __str__(self) -> str:
        """Return the URL."""
        return f"{self.root}/{self.key}" if self.key else self.root

    @property
    def name(self) -> str:
        """Last part of the URL."""
        return str(self).rsplit("/", 1)[-1]

    def is_file(self) -> bool:
        """Return whether there is such an object."""
        try:
            with reaching(self) as store:
                store.head(self.key)
        except FileNotFoundError:
            return False
        return True

    def read_bytes(self) -> bytes:
        """Return the object's content."""
        with reaching(self) as store:
            return bytes(store.get(self.key).bytes())

    def read_text(self) -> str:
        """Return the object's content as UTF-8 text."""
        return self.read_bytes().decode()


@lru_cache(maxsize=16)
def opened(root: str) -> Any:
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise BackendError(f'{root}: object storage needs an extra; pip install "ale-dask[cloud]"') from error
    with worded(root):
        options = _options(root)
        # Reading from a missing bucket gives the same error as reading a missing object; listing gives another.
        for _ in from_url(root, retry_config=_FIRST_CONTACT, **options).list("none"):
            pass
        return from_url(root, retry_config=_UNDER_WAY, **options)


def _options(root: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if root.startswith("s3://"):
        # Whoever sets an endpoint with plain http wants plain http; Amazon's own is https.
        if any(os.environ.get(f"AWS_ENDPOINT_URL{of}", "").startswith("http://") for of in ("", "_S3")):
            options["client_options"] = {"allow_http": True}
        if "AWS_ACCESS_KEY_ID" not in os.environ:
            # Profiles and single sign-on are boto3's; without it, instance roles still work.
            with contextlib.suppress(ImportError, ValueError):
                from botocore.exceptions import BotoCoreError
                from obstore.auth.boto3 import Boto3CredentialProvider

                try:
                    options["credential_provider"] = Boto3CredentialProvider()
                except BotoCoreError as error:
                    raise StoreError(f"{root}: no credentials ({error})") from error
    return options


@contextlib.contextmanager
def worded(where: str | Remote) -> Iterator[None]:
    from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError

    try:
        yield
    except AlreadyExistsError:
        raise FileExistsError(str(where)) from None
    except InvalidPathError as error:
        raise StoreError(f"{where}: holds an object that is not ours ({_said(error)}); give another -o") from error
    except BaseError as error:
        raise StoreError(
            f"{where}: object storage does not answer as it should ({type(error).__name__}: {_said(error)}); check the "
            "bucket, the endpoint and the credentials in the environment, then run the same command again"
        ) from error


@contextlib.contextmanager
def reaching(where: Remote) -> Iterator[Any]:
    store = opened(where.root)
    with worded(where):
        yield store


@contextlib.contextmanager
def changing(where: Remote) -> Iterator[Any]:
    try:
        with reaching(where) as store:
            yield store
    except FileNotFoundError as error:
        raise StoreError(f"{where}: cannot be written ({_said(error)}); is the bucket gone?") from error


def _said(error: Exception) -> str:
    """Return the first line of an error of obstore, without the debug output of Rust and the XML of the server."""
    text = str(error).partition("Debug source:")[0]
    code = re.search(r"<Code>(\w+)</Code>", text)
    said = " ".join(text.partition("<")[0].split()).rstrip(": ")
    return f"{said}: {code[1]}" if code else said
