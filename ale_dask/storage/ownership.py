"""Tell whether a place holds a run, so that files of other origin are never overwritten."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ale_dask.config.sealed_file import is_sealed
from ale_dask.errors import InputError
from ale_dask.storage.location import Place, files

_TOP = (
    *(
        "study.toml",
        "sweep.toml",
        "foci",
        "plans",
        "store.zarr",
        "run.json",
        "report.html",
        "table.tsv",
        "table.html",
        "table.docx",
    ),
    *("study_results.tsv", "overlap.tsv", "overlap.svg", "selection.tsv", "dataset_description.json"),
    *("sweep.json", "sweep.tsv", "sweep.parquet", "stability", "axes", "robustness.tsv", "places", "cells"),
)
"""Names below OUT that runs and sweeps write."""
ATLAS = "atlas.json"
"""The file below OUT that tells the sets of a database from a run of a study."""


def holds_run(out: Place) -> bool:
    """Return whether OUT holds a run or a sweep, finished or not."""
    if (out / "plans" / "nonce").is_file():
        return True
    # A run that lost its nonce gets a new one; its sealed study.toml still proves that it is a run.
    for name in ("study.toml", "sweep.toml"):
        path = out / name
        if path.is_file() and is_sealed(path.read_bytes().decode(errors="replace")):
            return True
    return False


def holds_sweep(out: Place) -> bool:
    """Return whether OUT holds a sweep and not a run."""
    return (out / "sweep.toml").is_file() and not (out / "study.toml").is_file()


def holds_atlas(out: Place) -> bool:
    """Return whether OUT holds the sets of a database and no study."""
    return (out / ATLAS).is_file() and not (out / "study.toml").is_file()


def claim(out: Place, folders: Iterable[str]) -> None:
    """Check that OUT may be written: it holds a run, or no file under a name that a run writes.

    `folders` are the names of the folders of the analyses.

    Raises
    ------
    InputError
        when OUT holds other files, such as those of a study itself, under names that a run writes.
    """
    if holds_run(out):
        return
    wanted = {*_TOP, *folders}

    def in_the_way(name: str) -> bool:
        top = name.partition("/")[0]
        if top not in wanted and not name.startswith(("mask.", "search.", "base_rate.", "image_", "protocol.")):
            return False
        # Web consoles mark a folder by an object that is listed without its last slash, under which it cannot be read.
        return isinstance(out, Path) or (out / name).is_file()

    taken = sorted({name.partition("/")[0] for name in files(out) if in_the_way(name)})
    # Another driver may have begun the same run since the first look; its nonce is written before all else.
    if taken and not holds_run(out):
        raise InputError(
            f"{out}: holds {', '.join(taken[:5])}, which no run of ours wrote and a run would write over; "
            "give another -o, such as a new folder"
        )
