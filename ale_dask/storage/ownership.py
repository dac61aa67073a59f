"""Whether a place holds a run of ours, so that nobody else's files are written over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ale_dask.config.sealed_file import is_sealed
from ale_dask.errors import InputError
from ale_dask.storage.location import Place, files

_TOP = (
    *("study.toml", "sweep.toml", "foci", "plans", "store.zarr", "run.json", "report.html", "table.tsv", "table.html"),
    *("study_results.tsv", "overlap.tsv", "overlap.svg", "selection.tsv", "dataset_description.json"),
    *("sweep.json", "sweep.tsv", "sweep.parquet", "stability", "axes", "robustness.tsv", "places", "cells"),
)
"""Names below OUT that runs and sweeps write."""


def holds_run(out: Place) -> bool:
    """Return whether a run or a sweep of ours is in OUT, whole or not."""
    if (out / "plans" / "nonce").is_file():
        return True
    # Without that word it is made anew: nothing else is lost.
    for name in ("study.toml", "sweep.toml"):
        path = out / name
        if path.is_file() and is_sealed(path.read_bytes().decode(errors="replace")):
            return True
    return False


def claim(out: Place, folders: Iterable[str]) -> None:
    """Return nothing where OUT may be written: nothing there is in the way, or a run of ours made it.

    `folders` are those of the analyses.

    Raises
    ------
    InputError
        when OUT holds files of somebody else, or a study's own, under names that a run writes.
    """
    if holds_run(out):
        return
    wanted = {*_TOP, *folders}

    def in_the_way(name: str) -> bool:
        top = name.partition("/")[0]
        if top not in wanted and not name.startswith(("mask.", "search.", "base_rate.")):
            return False
        # Web consoles mark a folder by an object that is listed without its last slash, and is none that can be read.
        return isinstance(out, Path) or (out / name).is_file()

    if taken := sorted({name.partition("/")[0] for name in files(out) if in_the_way(name)}):
        raise InputError(
            f"{out}: holds {', '.join(taken[:5])}, which no run of ours wrote and a run would write over; "
            "give another -o, such as a new folder"
        )
