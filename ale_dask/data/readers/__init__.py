"""Readers of foci: Sleuth text and tidy tables, told apart by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import xarray as xr

from ale_dask.data.foci import MAX_SUBJECTS, Experiment, build
from ale_dask.data.readers import sleuth, table
from ale_dask.data.readers.sleuth import parse_sleuth, write_sleuth
from ale_dask.data.readers.table import parse_table
from ale_dask.data.readers.text import as_space, clean, decode, shown
from ale_dask.words.errors import InputError

__all__ = ["parse", "parse_sleuth", "parse_table", "read_foci", "write_sleuth"]


def read_foci(
    *paths: str | os.PathLike[str],
    n: int | None = None,
    space: str | None = None,
    talairach: str = "other",
    require_n: bool = True,
) -> xr.Dataset:
    """Return the foci Dataset (MNI mm) of one or more files, Sleuth text or tables, in any mix of spaces.

    Parameters
    ----------
    n
        Subjects of the experiments whose file gives no sample size.
    space
        "MNI" or "TAL", for files that do not state theirs.
    talairach
        Software that had normalised the Talairach data: "other", "fsl" or "spm".
    require_n
        False (for a kernel of fixed width) lets a missing sample size through as 0.

    Raises
    ------
    InputError
        with file:line, for whatever cannot be read; all experiments without a sample size in one error.
    """
    if not paths:
        raise InputError("no foci file given; name one or more Sleuth files or tables")
    if n is not None and not 1 <= n <= MAX_SUBJECTS:
        raise InputError(f"n is {n}; give a sample size of 1 or more")
    default = None if space is None else as_space(space)
    if space is not None and default is None:
        raise InputError(f"space is {shown(space)}; give MNI or TAL")
    experiments: list[Experiment] = []
    sources = []
    for path in map(Path, paths):
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path}: cannot read the file ({reason}); check its path") from error
        found = parse(data, name=path.name, space=default)
        experiments += found
        sources.append(
            {
                "path": path.name,
                "sha256": hashlib.sha256(data).hexdigest(),
                "experiments": len(found),
                "talairach": sum(e.space == "TAL" for e in found),
                "without_n": sum(e.n is None for e in found),
            }
        )
    if n is not None:
        experiments = [replace(e, n=n) if e.n is None else e for e in experiments]
    elif require_n:
        _refuse_missing(experiments)
    return build(experiments, talairach=talairach, sources=sources)


def parse(data: bytes, *, name: str, space: str | None = None) -> tuple[Experiment, ...]:
    """Return the experiments of a file's bytes, be they Sleuth text or a table.

    Raises
    ------
    InputError
        with file:line, for whatever cannot be read.
    """
    lines = decode(data, name=name)
    first, number = next(((clean(x), i) for i, x in enumerate(lines, 1) if clean(x)), ("", 1))
    if not first:
        raise InputError(f"{name}:1: no foci, the file is empty; give Sleuth text or a table")
    if first.startswith("//"):
        return sleuth.parse_lines(lines, name=name, space=space)
    if any(set(table.REQUIRED) & set(columns) for columns in table.header_columns(first).values()):
        return table.parse_lines(lines, name=name, space=space)
    if any(clean(line).startswith("//") for line in lines):
        return sleuth.parse_lines(lines, name=name, space=space)
    raise InputError(
        f"{name}:{number}: found {shown(first)}, neither Sleuth text (its lines of names begin with //) "
        f"nor the header of a table ({', '.join(table.REQUIRED)})"
    )


def _refuse_missing(experiments: Sequence[Experiment]) -> None:
    missing = [f"{e.source} {e.name or '(unnamed)'}" for e in experiments if e.n is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(experiments)} experiments have no sample size: {', '.join(missing)}; "
            "write it as '// Subjects=' or in column n, or give n"
        )
