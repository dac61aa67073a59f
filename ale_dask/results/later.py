"""What was asked of a run after it ended, kept beside its results and shown on the page: leave-one-out, fail-safe N.

Each has NAME_WHAT.json with the digests of the nulls that it is of: `extend` makes others, and it is left out then.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.data.places import Place, files
from ale_dask.results.contributing import parts_of
from ale_dask.results.page_tables import cells, image_size

_FILES = re.compile(r"[^/]+/[^/]+_(fail-safe|leave-out-[^/]+)\.(json|tsv|svg)")


def digests_of(result: xr.Dataset, record: Mapping[str, Any]) -> list[str | None]:
    """Return the digests of the nulls that a result of a run comes from: its own and its main effects'."""
    names = dict.fromkeys([str(result.attrs["name"]), *parts_of(result)])
    return [record["analyses"].get(name, {}).get("digest") for name in names]


def fetch_later(out: Place, folder: Path) -> None:
    """Copy what was asked after the run from an object store into a folder, where the page is made."""
    if isinstance(out, Path):
        return
    for name in files(out):
        if _FILES.fullmatch(name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((out / name).read_bytes())


def later(result: xr.Dataset, folder: Path, record: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return what the page shows of an analysis's folder: title, words, table, and figure where there is one."""
    found = []
    for path in sorted(folder.glob("*.json")) if record is not None else []:
        if not _FILES.fullmatch(f"{folder.name}/{path.name}"):
            continue
        told = json.loads(path.read_text(encoding="utf-8"))
        table = path.with_suffix(".tsv")
        if told.get("digests") != digests_of(result, record or {}) or not table.is_file():
            continue
        figure = path.with_suffix(".svg")
        image = figure.read_bytes() if figure.is_file() else b""
        found.append(
            {
                "title": told["title"],
                "says": told["says"],
                "table": cells(pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False, na_values=[""])),
                "figure": base64.b64encode(image).decode(),
                "size": image_size(image) if image else (0, 0),
            }
        )
    return found
