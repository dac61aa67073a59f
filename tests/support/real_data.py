"""Real coordinates, which are not part of the repository: where they are, or a skipped test that says why not."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from ale_dask.datasets.download import cache as downloads
from ale_dask.datasets.published import fetch_published, published
from ale_dask.errors import AleError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


PUBLISHED = {"language_children": "children-language", "ptsd_mixed_space": "ptsd", "reward_talairach": "reward"}
"""Folders of real coordinates that `ale-dask fetch` gets from their public place, with its name for each."""


@cache
def _fetched(name: str) -> Path | str:
    """Return the folder of a published set in the user's cache, downloaded if need be, or why it cannot be had."""
    try:
        return fetch_published(name)[0].parent
    except AleError as error:
        return str(error).splitlines()[0]


def _in_cache(name: str) -> Path | None:
    folder = downloads() / name
    wanted = published()[name]
    names = [*(file.name for file in wanted.files), *(header.name for header in wanted.headers)]
    return folder if all((folder / file).is_file() for file in names) else None


def shared(name: str) -> Path:
    """Return a folder or file of real coordinates, or skip with the reason: they are not part of the repository.

    They are looked for in the cache of `ale-dask fetch`, then in ../shared/data, and then fetched where published.
    """
    top, _, rest = name.partition("/")
    known = PUBLISHED.get(top)
    places = [_in_cache(known) if known else None, SHARED / top]
    found = next((place / rest for place in places if place is not None and (place / rest).exists()), None)
    if found is None and known:
        got = _fetched(known)
        if isinstance(got, str):
            pytest.skip(f"real coordinates '{name}' are neither in the cache nor beside the repository: {got}")
        found = got / rest
    if found is None or not found.exists():
        pytest.skip(f"real coordinates '{name}' are not here (expected in ../shared/data beside the repository)")
    return found


def image_in(folder: Path, stem: str) -> Path:
    """Return the image of this name in a folder of real coordinates, gzipped or not."""
    return next(path for path in (folder / f"{stem}.nii.gz", folder / f"{stem}.nii") if path.is_file())
