"""The built-in example: SIMULATED foci with the sizes of Nord et al. 2021, made by scripts/make_example."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ale_dask.data.places import fill_folder

FILES = ("antidepressants.txt", "psychotherapy.txt", "affect.txt", "study.toml")


def write_example(folder: Path) -> None:
    """Copy the example's study.toml and three simulated foci files into a folder, made if need be; return nothing.

    Raises
    ------
    InputError
        when the folder cannot be written, or holds another file of one of these names: then nothing is copied.
    """
    content = {name: (resources.files(__name__) / name).read_bytes() for name in FILES}
    fill_folder(folder, content, what="the example")
