"""Foci written to files that `read_foci` reads back, in MNI space and with all digits of the coordinates."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ale_dask.coordinates.foci import foci_of
from ale_dask.coordinates.readers.columns import CANONICAL, canonical
from ale_dask.coordinates.readers.document import is_sample_size, title_of
from ale_dask.coordinates.readers.sleuth import write_sleuth
from ale_dask.coordinates.readers.text import clean, shown
from ale_dask.coordinates.spreadsheet_cells import escaped_cell
from ale_dask.errors import InputError
from ale_dask.schema import FOCI, check
from ale_dask.storage.location import place, replace_file

# The module csv refuses to read longer cells.
_MAX_CELL = 131_072


@dataclass(frozen=True)
class _Row:
    """An experiment: its name as study and contrast, n (0 where it is not known), and foci in mm MNI."""

    id: str
    study: str
    contrast: str
    n: int
    xyz: list[list[float]]
    tags: dict[str, bool]
    moderators: dict[str, Any]


def write_foci(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a foci Dataset to a file: Sleuth text (.txt), a table (.csv, .tsv) or NIMADS (.json).

    The file is replaced as a whole, or stays as it was. Sleuth text keeps names, sample sizes and foci; the other
    formats also keep tags and further columns, and the study of a name "study; contrast".

    Parameters
    ----------
    dataset
        As `read_foci` returns it.
    path
        Of a local file, or a URL; its ending tells the format.

    Raises
    ------
    InputError
        For another ending, a Dataset without foci, and names or values that the format cannot hold.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from ale_dask import read_foci
    >>> foci = read_foci(files("ale_dask.datasets.example") / "psychotherapy.csv")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_foci(foci, f"{folder}/foci.csv")
    ...     again = read_foci(f"{folder}/foci.csv")
    >>> bool((again["focus_xyz"].values == foci["focus_xyz"].values).all())
    True
    """
    where = place(os.fspath(path))
    suffix = PurePosixPath(str(where)).suffix.lower()
    if suffix not in (".txt", ".csv", ".tsv", ".json"):
        raise InputError(f"{path}: unknown kind of file; end its name in .txt (Sleuth), .csv, .tsv or .json (NIMADS)")
    if not check(dataset, *FOCI).sizes["focus"]:
        raise InputError(f"{path}: no foci to write")
    if suffix == ".txt":
        text = write_sleuth(dataset)
    elif suffix == ".json":
        text = write_nimads(dataset)
    else:
        text = write_table(dataset, delimiter="\t" if suffix == ".tsv" else ",")
    replace_file(where, text.encode())


def write_table(dataset: xr.Dataset, *, delimiter: str = ",") -> str:
    """Return a foci Dataset as the text of a tidy table: a row per focus, and one per experiment without foci.

    Raises
    ------
    InputError
        for an experiment without a name or with the name of another, which a table would join, and for a column or a
        value that a table cannot hold.
    """
    rows = list(_rows(dataset))
    own, further = _table_columns(rows)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([*own, *further])
    written: set[tuple[str, str]] = set()
    previous: _Row | None = None
    for row in rows:
        if previous is not None and previous.contrast and not row.contrast and previous.study == row.study:
            # Below a contrast, a blank contrast means the same contrast, unless a blank row stands between.
            writer.writerow([""] * len([*own, *further]))
        previous = row
        _refuse_for_table(row, written)
        written.add((row.study, row.contrast))
        carried = row.tags | row.moderators
        values = {"study": row.study, "contrast": row.contrast, "n": row.n or "", "space": "MNI"}
        begin = [escaped_cell(_cell(values[c])) for c in own if c in values]
        end = [escaped_cell(_cell(carried[c])) for c in further]
        foci: list[Any] = row.xyz or [("", "", "")]
        for focus in foci:
            writer.writerow([*begin, *map(_cell, focus), *end])
    return text.getvalue()


def _table_columns(rows: list[_Row]) -> tuple[list[str], list[str]]:
    """Return the columns of a table of foci, and the further columns of tags and moderators."""
    columns = [*rows[0].tags, *rows[0].moderators] if rows else []
    further = [c for c in columns if c != "contrast"]
    # A further column "experiment" would be read as the contrast where there is no column contrast.
    contrasts = (
        "contrast" in columns
        or any(row.contrast for row in rows)
        or "contrast" in canonical(["study", *"xyz", *further])
    )
    for column in further:
        if not column or column.lower() in CANONICAL or _heading(column) != column or further.count(column) > 1:
            raise InputError(f"a table cannot have a column {shown(column)} beside its others; rename or drop it")
    return [c for c in CANONICAL if contrasts or c != "contrast"], further


def _refuse_for_table(row: _Row, written: set[tuple[str, str]]) -> None:
    carried = row.tags | row.moderators
    if not row.study:
        raise InputError(f"experiment {shown(row.id)} has no name, which a table needs; write .txt or .json")
    if (row.study, row.contrast) in written:
        raise InputError(f"a table joins {shown(row.id)} to another of its name; rename it, or write .txt or .json")
    if "contrast" in carried and not _agrees(carried["contrast"], row.contrast):
        raise InputError(f"the column contrast of {shown(row.id)} is not what its name says; rename or drop it")


def write_nimads(dataset: xr.Dataset) -> str:
    """Return a foci Dataset as a NIMADS study set in JSON, tags as an annotation and moderators as metadata.

    Studies are in the order of their first experiments.

    Raises
    ------
    InputError
        for a name that `read_foci` refuses, and a column that it would read as sample sizes.
    """
    studies: dict[str, dict[str, Any]] = {}
    notes = []
    for row in _rows(dataset):
        wrong = next((c for c in (*row.tags, *row.moderators) if is_sample_size(c)), None)
        if wrong is not None:
            raise InputError(f"the column {shown(wrong)} would be read as a sample size; rename or drop it")
        for title in (row.study, row.contrast, row.id):
            title_of(title, where=f"experiment {shown(row.id)}")
        study = studies.setdefault(
            row.study,
            {"id": row.study or "unnamed", "name": row.study, "authors": "", "publication": "", "metadata": {}},
        )
        analysis = {
            "id": row.id,
            "name": row.contrast,
            "conditions": [],
            "weights": [],
            "images": [],
            "points": [{"coordinates": focus, "space": "MNI", "kind": None, "values": []} for focus in row.xyz],
            "metadata": ({"sample_sizes": [row.n]} if row.n else {}) | row.moderators,
        }
        study.setdefault("analyses", []).append(analysis)
        notes.append({"study": study["id"], "analysis": row.id, "note": row.tags})
    annotations = []
    if notes and notes[0]["note"]:
        keys = dict.fromkeys(notes[0]["note"], "boolean")
        annotations = [{"id": "tags", "name": "tags", "note_keys": keys, "notes": notes}]
    # A line per study can be read and compared.
    lines = ",\n".join(json.dumps(study, ensure_ascii=False, allow_nan=False) for study in studies.values())
    annotation_lines = ",\n".join(json.dumps(annotation, ensure_ascii=False) for annotation in annotations)
    return f'{{"id": "ale-dask", "name": "", "studies": [\n{lines}\n], "annotations": [{annotation_lines}]}}\n'


def _rows(dataset: xr.Dataset) -> Iterator[_Row]:
    check(dataset, *FOCI)
    tags = [str(t) for t in dataset["tag"].values] if "experiment_tag" in dataset else []
    carried = dataset["experiment_tag"].values.tolist() if tags else [[]] * dataset.sizes["experiment"]
    moderators = {
        str(v).removeprefix("moderator_"): _plain(dataset[v].values)
        for v in dataset.data_vars
        if str(v).startswith("moderator_")
    }
    columns = zip(
        dataset["experiment_id"].values,
        dataset["experiment_name"].values,
        dataset["experiment_study"].values,
        dataset["experiment_n_subjects"].values.tolist(),
        foci_of(dataset),
        carried,
        strict=True,
    )
    for i, (id_, name, study, n, xyz, flags) in enumerate(columns):
        values = {m: v[i] for m, v in moderators.items()}
        yield _Row(
            str(id_), *_parts(str(name), str(study)), n, xyz.tolist(), dict(zip(tags, flags, strict=True)), values
        )


def _parts(name: str, study: str) -> tuple[str, str]:
    """Return the study and the contrast of a name "study; contrast", and other names as the study alone."""
    begin = f"{study}; "
    contrast = name[len(begin) :] if study and name.startswith(begin) else ""
    return (study, contrast) if contrast and clean(contrast) == contrast else (name, "")


def _plain(values: npt.NDArray[Any]) -> list[Any]:
    if values.dtype.kind != "f":
        return [str(v) for v in values]
    if np.isnan(values).all():
        # An empty column would be read as a tag that no experiment carries.
        return ["NA"] * len(values)
    return [None if np.isnan(v) else v if np.isfinite(v) else str(v) for v in values.tolist()]


def _agrees(value: Any, contrast: str) -> bool:
    """Return whether a tag or moderator "contrast" has the value as which the contrast in a name is read."""
    if isinstance(value, bool):
        return (contrast.lower() in ("true", "yes", "1", "x")) is value
    if isinstance(value, float):
        try:
            return float(contrast) == value
        except ValueError:
            return False
    return value == contrast or (value in (None, "NA") and contrast.lower() in ("", "na", "n/a", "nan", "none"))


def _heading(text: str) -> str:
    """Return a column's name as it is read from a table, "" where it has line breaks."""
    return "" if set(text) & set("\0\r\n") else clean(text).replace("/", "_")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    text = "NA" if value is None else str(value)
    if "\0" in text or len(text) > _MAX_CELL:
        raise InputError(f"a table cannot hold the value {shown(text)}; shorten or drop it")
    # \r and \r\n are read as \n.
    return text.replace("\r\n", "\n").replace("\r", "\n")
