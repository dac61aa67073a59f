"""The built-in example: SIMULATED foci with the sizes of Nord et al. 2021, made by scripts/make_example."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ale_dask.data.places import replace_file
from ale_dask.words.errors import InputError, StoreError

FILES = ("antidepressants.txt", "psychotherapy.txt", "affect.txt", "study.toml")


def write_example(folder: Path) -> None:
    """Copy the example's study.toml and three simulated foci files into a folder, made if need be; return nothing.

    Raises
    ------
    InputError
        when the folder cannot be written, or holds another file of one of these names: then nothing is copied.
    """
    content = {name: (resources.files(__name__) / name).read_bytes() for name in FILES}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            path = folder / name
            if path.exists() and path.read_bytes() != data:
                raise InputError(f"{path}: is there already with other content; give an empty folder")
        for name, data in content.items():
            replace_file(folder / name, data)
    except (OSError, StoreError) as error:
        raise InputError(f"{folder}: the example cannot be written there ({error}); give another folder") from error
