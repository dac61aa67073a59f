"""What was asked of a run after it ended, kept beside its results and shown on the page: leave-one-out, fail-safe N.

Each has NAME_WHAT.json with what it is of: `extend` or another setting makes other clusters, and it is left out then.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.main_effect import inference_of
from ale_dask.config.inference import Inference
from ale_dask.errors import StoreError
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.phrases import inference_of_record
from ale_dask.reporting.common.written import again, check_written
from ale_dask.reporting.tables.contributions import parts_of
from ale_dask.reporting.tables.page_tables import cells, image_size

_ENDS = ("fail-safe.", "fail-safe-base-rate.", "leave-out-", "power.")


def origin_of(result: xr.Dataset, record: Mapping[str, Any]) -> list[Any]:
    """Return what a result of a run comes from: the digests of its own null and its main effects', and the settings."""
    return _origin([str(result.attrs["name"]), *parts_of(result)], record, inference_of(result))


def _origin(names: Iterable[str], record: Mapping[str, Any], inference: Inference) -> list[Any]:
    analyses = [record["analyses"].get(name, {}) for name in dict.fromkeys(names)]
    digests = [one.get("digest") for one in analyses]
    digests += [one["digest_base_rate"] for one in analyses if "digest_base_rate" in one]
    # Where mask and region lie is another place on another machine; which one it is shows in the null.
    return [*digests, inference.model_dump(mode="json", exclude={"mask", "search"})]


def with_asked(record: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Return a record of a run with what was asked of it later and still holds, for its methods text.

    Raises
    ------
    StoreError
        when a file of it is not what was written.
    """
    asked = []
    for name, entry in record["analyses"].items():
        origin = _origin([name, *(entry.get("arms") or entry.get("of") or ())], record, inference_of_record(record))
        for begin in later_files([name]):
            for path in sorted(out.glob(f"{begin}*json")):
                told = _told(path, out)
                if told.get("of_results") == origin:
                    what = "leave-one-out" if "_leave-out-" in path.name else path.stem.rpartition("_")[2]
                    asked.append({"analysis": name, "what": what, "title": str(told["title"])})
    return {**record, "asked": asked}


def later_files(names: Iterable[str]) -> tuple[str, ...]:
    """Return how the paths in OUT begin of what was asked later of these analyses."""
    return tuple(f"{stem(name)}/{stem(name)}_{end}" for name in names for end in _ENDS)


def later(result: xr.Dataset, out: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the page shows of an analysis: title, words, table, and figure where there is one.

    Raises
    ------
    StoreError
        when a file of it is not what was written.
    """
    found = []
    for path in sorted(path for begin in later_files([result.attrs["name"]]) for path in out.glob(f"{begin}*json")):
        told = _told(path, out)
        table, figure = path.with_suffix(".tsv"), path.with_suffix(".svg")
        if told.get("of_results") != origin_of(result, record) or not table.is_file():
            continue
        image = _read(figure, out) if figure.is_file() else b""
        text = io.BytesIO(_read(table, out))
        found.append(
            {
                "title": told["title"],
                "says": told["says"],
                "table": cells(pd.read_csv(text, sep="\t", dtype=str, keep_default_na=False, na_values=[""])),
                "figure": base64.b64encode(image).decode(),
                "size": image_size(image) if image else (0, 0),
            }
        )
    return found


def _read(path: Path, out: Path) -> bytes:
    data = path.read_bytes()
    check_written(out, path.relative_to(out).as_posix(), data)
    return data


def _told(path: Path, out: Path) -> dict[str, Any]:
    try:
        told = json.loads(_read(path, out))
        if not isinstance(told, dict):
            raise ValueError("it is no table of names and values")
    except ValueError as error:
        raise StoreError(f"{path}: damaged ({error}); {again(out, path.name)}, or delete it") from error
    return told
