"""Foci written to files that `read_foci` reads back, in MNI space and with coordinates to the last digit."""

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
from ale_dask.coordinates.readers.columns import canonical
from ale_dask.coordinates.readers.document import is_sample_size, title_of
from ale_dask.coordinates.readers.sleuth import write_sleuth
from ale_dask.coordinates.readers.text import clean, shown
from ale_dask.coordinates.spreadsheet_cells import escaped_cell
from ale_dask.errors import InputError
from ale_dask.schema import FOCI, check
from ale_dask.storage.location import place, replace_file

_OWN = ("study", "contrast", "n", "space", "x", "y", "z")
# csv refuses to read a longer cell.
_LONGEST_CELL = 131_072


@dataclass(frozen=True)
class _Row:
    """One experiment: its name as study and contrast, n 0 where it is not known, foci in mm MNI."""

    id: str
    study: str
    contrast: str
    n: int
    xyz: list[list[float]]
    tags: dict[str, bool]
    moderators: dict[str, Any]


def write_foci(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a foci Dataset to a file, whole or not at all: Sleuth text (.txt), a table (.csv, .tsv) or NIMADS (.json).

    Sleuth text keeps names, sample sizes and foci; the others the columns too, and the study of a name that
    begins with it and "; ".

    Raises
    ------
    InputError
        for another suffix, a Dataset without foci, and what the format cannot hold.
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
    """Return the foci Dataset as a tidy table: one row per focus, one without coordinates per experiment without foci.

    Raises
    ------
    InputError
        for an experiment without a name or with that of another, which a table would join, and for a column or a
        value that a table cannot hold.
    """
    rows = list(_rows(dataset))
    columns = [*rows[0].tags, *rows[0].moderators] if rows else []
    further = [c for c in columns if c != "contrast"]
    # A further column, "experiment", would be taken for the contrasts where there is no column of that name.
    contrasts = (
        "contrast" in columns
        or any(row.contrast for row in rows)
        or "contrast" in canonical(["study", *"xyz", *further])
    )
    own = [c for c in _OWN if contrasts or c != "contrast"]
    for column in further:
        if not column or column.lower() in _OWN or _heading(column) != column or further.count(column) > 1:
            raise InputError(f"a table cannot have a column {shown(column)} beside its others; rename or drop it")
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow([*own, *further])
    seen: set[tuple[str, str]] = set()
    before: _Row | None = None
    for row in rows:
        if before is not None and before.contrast and not row.contrast and before.study == row.study:
            # Below a contrast, a blank one means the same again; a blank row says that it does not.
            writer.writerow([""] * len([*own, *further]))
        before = row
        if not row.study:
            raise InputError(f"experiment {shown(row.id)} has no name, which a table needs; write .txt or .json")
        if (row.study, row.contrast) in seen:
            raise InputError(f"a table joins {shown(row.id)} to another of its name; rename it, or write .txt or .json")
        seen.add((row.study, row.contrast))
        said = row.tags | row.moderators
        if "contrast" in said and not _agrees(said["contrast"], row.contrast):
            raise InputError(f"the column contrast of {shown(row.id)} is not what its name says; rename or drop it")
        values = {"study": row.study, "contrast": row.contrast, "n": row.n or "", "space": "MNI"}
        begin = [escaped_cell(_cell(values[c])) for c in own if c in values]
        end = [escaped_cell(_cell(said[c])) for c in further]
        foci: list[Any] = row.xyz or [("", "", "")]
        for focus in foci:
            writer.writerow([*begin, *map(_cell, focus), *end])
    return text.getvalue()


def write_nimads(dataset: xr.Dataset) -> str:
    """Return the foci Dataset as a NIMADS study set in JSON, tags as an annotation and moderators as metadata.

    Experiments of one study stand together, in the order of their first.

    Raises
    ------
    InputError
        for a name that readers refuse, and a column that they would take for sample sizes.
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
    # A line per study: to be looked at and compared.
    lines = ",\n".join(json.dumps(study, ensure_ascii=False, allow_nan=False) for study in studies.values())
    noted = ",\n".join(json.dumps(annotation, ensure_ascii=False) for annotation in annotations)
    return f'{{"id": "ale-dask", "name": "", "studies": [\n{lines}\n], "annotations": [{noted}]}}\n'


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
    """Return a name as the study and contrast that readers join to it, the whole as the study where there are none."""
    begin = f"{study}; "
    contrast = name[len(begin) :] if study and name.startswith(begin) else ""
    return (study, contrast) if contrast and clean(contrast) == contrast else (name, "")


def _plain(values: npt.NDArray[Any]) -> list[Any]:
    if values.dtype.kind != "f":
        return [str(v) for v in values]
    if np.isnan(values).all():
        # All empty, they would be read as a tag that nobody carries.
        return ["NA"] * len(values)
    return [None if np.isnan(v) else v if np.isfinite(v) else str(v) for v in values.tolist()]


def _agrees(said: Any, contrast: str) -> bool:
    """Return whether a column contrast says of an experiment what readers make of the contrast in its name."""
    if isinstance(said, bool):
        return (contrast.lower() in ("true", "yes", "1", "x")) is said
    if isinstance(said, float):
        try:
            return float(contrast) == said
        except ValueError:
            return False
    return said == contrast or (said in (None, "NA") and contrast.lower() in ("", "na", "n/a", "nan", "none"))


def _heading(text: str) -> str:
    """Return a column's name as readers of tables take it, "" where it is in more than one line."""
    return "" if set(text) & set("\0\r\n") else clean(text).replace("/", "_")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    text = "NA" if value is None else str(value)
    if "\0" in text or len(text) > _LONGEST_CELL:
        raise InputError(f"a table cannot hold the value {shown(text)}; shorten or drop it")
    # Readers take each of \r and \r\n for the end of a line, which csv does not quote for all of them.
    return text.replace("\r\n", "\n").replace("\r", "\n")
