"""Readers of foci: Sleuth text, tables, workbooks, JSON and images, told apart by their content; and writers."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from ale_dask.config.files import expand_files, read_regular
from ale_dask.coordinates.decisions import Decision, Tell, add_decisions, fewer, merged, untold
from ale_dask.coordinates.foci import MAX_SUBJECTS, Experiment, build
from ale_dask.coordinates.readers import corpus, document, images, nimads, nimare, sdm, sleuth, table, workbook
from ale_dask.coordinates.readers.columns import REQUIRED
from ale_dask.coordinates.readers.packed import unpacked
from ale_dask.coordinates.readers.sizes import converted, imputed_n
from ale_dask.coordinates.readers.sleuth import parse_sleuth, write_sleuth
from ale_dask.coordinates.readers.table import parse_table
from ale_dask.coordinates.readers.text import as_space, clean, decode, shown
from ale_dask.coordinates.readers.writers import write_foci, write_nimads, write_table
from ale_dask.errors import InputError
from ale_dask.schema import describe

__all__ = [
    "parse",
    "parse_sleuth",
    "parse_table",
    "read_foci",
    "write_foci",
    "write_nimads",
    "write_sleuth",
    "write_table",
]

_MOST_NAMED = 100
_LISTED = 5
_DOCUMENTS = {
    rb"{\rtf": "an RTF document of a word processor",
    b"%pdf": "a PDF",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
}


def read_foci(
    *paths: str | os.PathLike[str],
    n: int | None = None,
    space: str | None = None,
    talairach: str = "other",
    require_n: bool = True,
    columns: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Return the foci Dataset (MNI mm) of one or more files, Sleuth text, tables or workbooks, in any mix of spaces.

    A folder or a pattern such as "foci/*.txt" stands for its files.

    A table of studies (id, title, year …) among them adds its columns to the experiments of those ids.

    Parameters
    ----------
    n
        Subjects of the experiments whose file gives no sample size; a stated one always stays.
    space
        "MNI" or "TAL", for foci whose file does not state theirs or calls it unknown.
    talairach
        Software that had normalised the Talairach data: "other", "fsl" or "spm".
    require_n
        False (for a kernel of fixed width) lets a missing sample size through as 0.
    columns
        Names that tables give to study, contrast, n, space, x, y and z, where they are unusual: {"n": "Anzahl"}.

    Raises
    ------
    InputError
        with file:line, for whatever cannot be read; all experiments without a sample size in one error.
    """
    if not paths:
        raise InputError("no foci file given; name one or more Sleuth files or tables")
    if n is not None and not 1 <= n <= MAX_SUBJECTS:
        raise InputError(f"n is {n}; give a sample size of 1 or more")
    default = space_of(space)
    experiments: list[Experiment] = []
    studies = []
    made: list[Decision] = []
    sources = []
    files = expand_files(str(os.fspath(path)) for path in paths)
    names = [_printable(file) for file in files]
    made += _several(names)
    for file, name in zip(files, names, strict=True):
        data = read_file(Path(file))
        told = corpus.parse_studies(data, name=name, columns=columns)
        found = () if told is not None else parse(data, name=name, space=default, columns=columns, tell=made.append)
        experiments += found
        if told is not None:
            studies.append(told)
        sources.append(
            {
                "path": name,
                "sha256": hashlib.sha256(data).hexdigest(),
                "experiments": len(found),
                "talairach": sum(e.space == "TAL" for e in found),
                "without_n": sum(e.n is None for e in found),
            }
        )
    experiments = corpus.describe(experiments, studies)
    imputed = [n is not None and e.n is None for e in experiments]
    if n is not None:
        made += imputed_n(experiments, n)
        experiments = [replace(e, n=n) if e.n is None else e for e in experiments]
    elif require_n:
        _refuse_missing(experiments)
    made += converted(experiments, talairach)
    dataset = add_decisions(build(experiments, talairach=talairach, sources=sources), fewer(merged(made)))
    if any(imputed):
        words = np.array(["given" if one else "" for one in imputed], dtype=object)
        dataset = describe(dataset.assign(experiment_imputed=("experiment", words)))
    return dataset


def _printable(file: str) -> str:
    """Return the name of a file as text: its bytes may be none, and it is written into stores and pages."""
    return os.fsencode(Path(file).name).decode("utf-8", "replace")


def _several(names: Sequence[str]) -> list[Decision]:
    """Return what to say of a sample of several files."""
    if len(names) < 2:
        return []
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    message = f"{len(names):,} files are one sample: {', '.join(names[:_LISTED])}{more}"
    return [Decision("files", "", message, len(names))]


def read_file(path: Path) -> bytes:
    """Return the bytes of a file; an InputError for a folder, device or pipe, and what is too large to read."""
    return read_regular(path)


def space_of(text: str | None) -> str | None:
    """Return "MNI" or "TAL" for a name of either, None for None; an InputError for anything else."""
    known = None if text is None else as_space(text)
    if text is not None and known is None:
        raise InputError(f"space is {shown(text)}; give MNI or TAL")
    return known


def parse(
    data: bytes,
    *,
    name: str,
    space: str | None = None,
    columns: Mapping[str, str] | None = None,
    tell: Tell = untold,
) -> tuple[Experiment, ...]:
    """Return the experiments of a file's bytes: Sleuth text, a table, a workbook, JSON of NIMADS or NiMARE, an image.

    Of images those of GingerALE are read, which hold their foci; text may be gzipped. `columns` are the names that a
    table gives to its own ones; `tell` is called with each decision that the reader makes about what could be read in
    two ways.

    Raises
    ------
    InputError
        with file:line or the path in a JSON file, for whatever cannot be read.
    """
    # An image may be gzipped too, but only its header is unpacked.
    if images.is_image(data):
        return images.parse_image(data, name=name, space=space)
    data = unpacked(data, name=name)
    if workbook.is_workbook(data):
        return workbook.parse_workbook(data, name=name, space=space, columns=columns, tell=tell)
    _refuse_document(data, name=name)
    if document.is_json(data):
        root = document.load(data, name=name)
        experiments = nimare.experiments if nimare.is_dataset(root) else nimads.experiments
        return experiments(root, size=len(data), name=name, space=space, tell=tell)
    lines = decode(data, name=name, tell=tell)
    headings = any(map(sleuth.is_heading, lines))
    if sdm.is_sdm(name) and not headings:
        return sdm.parse_lines(lines, name=name, tell=tell)
    first, number = next(((clean(x), i) for i, x in enumerate(lines, 1) if clean(x)), ("", 1))
    if not first:
        raise InputError(f"{name}:1: no foci, the file is empty; give Sleuth text or a table")
    if sleuth.is_heading(first):
        return sleuth.parse_lines(lines, name=name, space=space, tell=tell)
    begins = any(set(REQUIRED) & set(found) for found in table.header_columns(first, columns).values())
    if begins or (not headings and table.header_line(lines, columns=columns) is not None):
        return table.parse_lines(lines, name=name, space=space, columns=columns, tell=tell)
    if headings:
        return sleuth.parse_lines(lines, name=name, space=space, tell=tell)
    raise InputError(
        f"{name}:{number}: found {shown(first)}, neither Sleuth text (its lines of names begin with //) "
        f"nor the header of a table ({', '.join(REQUIRED)}){_headless(first)}"
    )


def _refuse_document(data: bytes, *, name: str) -> None:
    """Raise an InputError for documents of other programs, which hold the text of foci among much else."""
    begin = data[:64].lstrip().lower()
    for mark, what in _DOCUMENTS.items():
        if begin.startswith(mark):
            raise InputError(f"{name}: {what}, not a text file; save it as plain text (.txt, UTF-8)")


def _headless(line: str) -> str:
    """Return what to do about a first line that is a row of numbers, "" for any other."""
    numbers = re.findall(r"(?<![\w.])[+-]?\d+(?:[.,]\d+)?(?![\w.])", line)
    if len(numbers) < 3:
        return ""
    return "; if these are rows of a table, write a first line that names its columns, such as study,n,space,x,y,z"


def _refuse_missing(experiments: Sequence[Experiment]) -> None:
    missing = [f"{e.source} {e.name or '(unnamed)'}" for e in experiments if e.n is None and e.xyz]
    if missing:
        # Of the 14,371 of Neurosynth, a thousand lines would hide what to do.
        more = f" and {len(missing) - _MOST_NAMED:,} more" if len(missing) > _MOST_NAMED else ""
        raise InputError(
            f"{len(missing)} of {len(experiments)} experiments have no sample size: "
            f"{', '.join(missing[:_MOST_NAMED])}{more}; "
            "write it as '// Subjects=' or in column n, or give n"
        )
