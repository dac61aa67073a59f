"""Readers of foci: Sleuth text, tables, workbooks, JSON and images, told apart by their content; and writers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ale_dask.config.files import expand_files, read_regular
from ale_dask.coordinates.decisions import Decision, Tell, add_decisions, fewer, merged, untold
from ale_dask.coordinates.foci import MAX_SUBJECTS, Experiment, build
from ale_dask.coordinates.readers import formats, known_columns, studies
from ale_dask.coordinates.readers.foci_file import FociFile
from ale_dask.coordinates.readers.sizes import converted, imputed_n
from ale_dask.coordinates.readers.sleuth import write_sleuth
from ale_dask.coordinates.readers.text import as_space, shown
from ale_dask.coordinates.readers.writers import write_foci, write_nimads, write_table
from ale_dask.errors import InputError
from ale_dask.schema import describe

__all__ = ["parse", "read_foci", "space_of", "write_foci", "write_nimads", "write_sleuth", "write_table"]

_MAX_NAMED = 100
_LISTED = 5


@dataclass
class _Parts:
    """The content of the files read so far."""

    experiments: list[Experiment] = field(default_factory=list)
    studies: list[studies.Studies] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)


def read_foci(
    *paths: str | os.PathLike[str],
    n: int | None = None,
    space: str | None = None,
    talairach: str = "other",
    require_n: bool = True,
    columns: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Return the experiments and foci of one or more files as one foci Dataset in MNI space.

    Formats are Sleuth text, tables (comma, semicolon or tab separated, .xlsx), the text files of SDM, JSON of NIMADS
    and NiMARE, and result images of GingerALE, which hold their foci; files may be gzipped, and formats and spaces
    may differ between files. A folder or a pattern such as `foci/*.txt` stands for its files. A table of studies
    (id, title, year …) among the files adds its columns to the experiments of those ids.

    Parameters
    ----------
    *paths
        Files, folders or patterns.
    n
        Number of subjects of the experiments whose file gives no sample size; a stated one always stays.
    space
        "MNI" or "Talairach", for foci whose file does not state a space or calls it unknown.
    talairach
        Software that had normalised the Talairach data: "other", "fsl" or "spm".
    require_n
        False, for a kernel of fixed width, takes a missing sample size as 0.
    columns
        Unusual names that tables give to study, contrast, n, space, x, y and z: {"n": "Anzahl"}.

    Returns
    -------
    xarray.Dataset
        `focus_xyz` (focus, axis), float64, in mm MNI; `focus_experiment` (focus), the position of its experiment; and
        variables (experiment): `experiment_id`, `experiment_name`, `experiment_study`, `experiment_n_subjects`, 0
        where it is not known, `experiment_key`, the 64-bit key of its random draws. Further columns of the files are
        tags, `experiment_tag` (experiment, tag), where all values are true or false, else `moderator_COLUMN`.

    Raises
    ------
    InputError
        With file and line, for whatever cannot be read; all experiments without a sample size in one error.

    Notes
    -----
    Talairach coordinates are converted by the inverse of the transform icbm2tal for `talairach` (Lancaster et al.
    2007, Human Brain Mapping 28:1194).

    Examples
    --------
    >>> from importlib.resources import files
    >>> foci = read_foci(files("ale_dask.datasets.example") / "antidepressants.csv")
    >>> foci.sizes["experiment"], foci["focus_xyz"].dims, foci["experiment_n_subjects"].values[:2].tolist()
    (24, ('focus', 'axis'), [12, 30])
    """
    if not paths:
        raise InputError("no foci file given; name one or more Sleuth files or tables")
    if n is not None and not 1 <= n <= MAX_SUBJECTS:
        raise InputError(f"n is {n}; give a sample size of 1 or more")
    parts = _read_files(paths, space=space_of(space), columns=columns)
    experiments = studies.with_columns_of_studies(parts.experiments, parts.studies)
    imputed = [n is not None and e.n is None for e in experiments]
    if n is not None:
        parts.decisions += imputed_n(experiments, n)
        experiments = [replace(e, n=n) if e.n is None else e for e in experiments]
    elif require_n:
        _refuse_missing_n(experiments)
    parts.decisions += converted(experiments, talairach)
    dataset = build(experiments, talairach=talairach, sources=parts.sources)
    dataset = add_decisions(dataset, [*fewer(merged(parts.decisions)), *known_columns.told(dataset)])
    if any(imputed):
        words = np.array(["given" if was_imputed else "" for was_imputed in imputed], dtype=object)
        dataset = describe(dataset.assign(experiment_imputed=("experiment", words)))
    return dataset


def _read_files(
    paths: Sequence[str | os.PathLike[str]], *, space: str | None, columns: Mapping[str, str] | None
) -> _Parts:
    files = expand_files(str(os.fspath(path)) for path in paths)
    names = [_printable(file) for file in files]
    parts = _Parts(decisions=_several_files(names))
    for file, name in zip(files, names, strict=True):
        _read_file(FociFile(read_regular(Path(file)), name, space, columns or {}, parts.decisions.append), into=parts)
    return parts


def _read_file(file: FociFile, *, into: _Parts) -> None:
    table_of_studies = studies.read_studies(file)
    experiments = formats.read(file) if table_of_studies is None else ()
    into.experiments += experiments
    if table_of_studies is not None:
        into.studies.append(table_of_studies)
    into.sources.append(
        {
            "path": file.name,
            "sha256": hashlib.sha256(file.data).hexdigest(),
            "experiments": len(experiments),
            "talairach": sum(e.space == "TAL" for e in experiments),
            "without_n": sum(e.n is None for e in experiments),
        }
    )


def _printable(file: str) -> str:
    """Return the name of a file as text that stores and pages can hold: its bytes may be no valid UTF-8."""
    return os.fsencode(Path(file).name).decode("utf-8", "replace")


def _several_files(names: Sequence[str]) -> list[Decision]:
    if len(names) < 2:
        return []
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    message = f"{len(names):,} files are one sample: {', '.join(names[:_LISTED])}{more}"
    return [Decision("files", "", message, len(names))]


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
    """Return the experiments in the bytes of a file of any known format; the parameters are those of `FociFile`."""
    return formats.read(FociFile(data, name, space, columns or {}, tell))


def _refuse_missing_n(experiments: Sequence[Experiment]) -> None:
    missing = [f"{e.source} {e.name or '(unnamed)'}" for e in experiments if e.n is None and e.xyz]
    if missing:
        # Neurosynth has 14,371 of them: a thousand lines would hide the advice.
        more = f" and {len(missing) - _MAX_NAMED:,} more" if len(missing) > _MAX_NAMED else ""
        raise InputError(
            f"{len(missing)} of {len(experiments)} experiments have no sample size: "
            f"{', '.join(missing[:_MAX_NAMED])}{more}; "
            "write it as '// Subjects=' or in column n, or say one for all: n = 20 below "
            "[foci.NAME] of study.toml, or --n 20"
        )
