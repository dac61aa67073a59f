"""Read the follow-up analyses of a finished run, such as leave-one-out and fail-safe N, for its page and methods text.

Each has a file NAME_WHAT.json that says which results it was computed from. After `extend` or with another setting
there may be other clusters; a follow-up of earlier results is then left out.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from ale_dask.analyses.findings.model import model_of
from ale_dask.config.inference import Inference
from ale_dask.config.run_record import FollowUpRecord, RunRecord
from ale_dask.errors import StoreError
from ale_dask.reporting.common.maps import stem
from ale_dask.reporting.common.phrases import inference_of_record
from ale_dask.reporting.common.written import check_written, rewrite_hint
from ale_dask.reporting.tables.page_tables import cells, image_size, links_to

_ENDS = ("fail-safe.", "fail-safe-base-rate.", "leave-out-", "power.")


def origin_of(result: xr.Dataset, record: RunRecord) -> list[Any]:
    """Return the digests of the nulls that a result of a run was computed from, and its settings."""
    return _origin([str(result.attrs["name"]), *model_of(result).parts], record, model_of(result).inference)


def _origin(names: Iterable[str], record: RunRecord, inference: Inference) -> list[Any]:
    entries = [record["analyses"].get(name, {}) for name in dict.fromkeys(names)]
    digests = [entry.get("digest") for entry in entries]
    digests += [entry["digest_base_rate"] for entry in entries if "digest_base_rate" in entry]
    # The paths of mask and region differ between machines; the null's digest depends on their content.
    return [*digests, inference.model_dump(mode="json", exclude={"mask", "search"})]


def with_follow_ups(record: RunRecord, out: Path) -> RunRecord:
    """Return the record of a run with its follow-up analyses that still hold, for its methods text.

    Raises
    ------
    StoreError
        when a file of a follow-up is not as it was written.
    """
    follow_ups: list[FollowUpRecord] = []
    for name, entry in record["analyses"].items():
        origin = _origin([name, *(entry.get("arms") or entry.get("of") or ())], record, inference_of_record(record))
        for prefix in follow_up_prefixes([name]):
            for path in sorted(out.glob(f"{prefix}*json")):
                about = _read_about(path, out)
                if about.get("of_results") == origin:
                    what = "leave-one-out" if "_leave-out-" in path.name else path.stem.rpartition("_")[2]
                    follow_ups.append({"analysis": name, "what": what, "title": str(about["title"])})
    return {**record, "follow_ups": follow_ups}


def follow_up_prefixes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the beginnings of the paths in OUT of the follow-ups of these analyses."""
    return tuple(f"{stem(name)}/{stem(name)}_{end}" for name in names for end in _ENDS)


def follow_ups_of(result: xr.Dataset, out: Path, record: RunRecord) -> list[dict[str, Any]]:
    """Return the follow-ups of a result for the page: title, words, table, and figure where there is one.

    Raises
    ------
    StoreError
        when a file of a follow-up is not as it was written.
    """
    follow_ups = []
    prefixes = follow_up_prefixes([result.attrs["name"]])
    for path in sorted(path for prefix in prefixes for path in out.glob(f"{prefix}*json")):
        about = _read_about(path, out)
        table, figure = path.with_suffix(".tsv"), path.with_suffix(".svg")
        if about.get("of_results") != origin_of(result, record) or not table.is_file():
            continue
        image = _read(figure, out) if figure.is_file() else b""
        text = io.BytesIO(_read(table, out))
        follow_ups.append(
            {
                "title": about["title"],
                "says": about["says"],
                "table": cells(
                    pd.read_csv(text, sep="\t", dtype=str, keep_default_na=False, na_values=[""]),
                    links=links_to(out, table, figure),
                ),
                "figure": base64.b64encode(image).decode(),
                "size": image_size(image) if image else (0, 0),
            }
        )
    return follow_ups


def _read(path: Path, out: Path) -> bytes:
    data = path.read_bytes()
    check_written(out, path.relative_to(out).as_posix(), data)
    return data


def _read_about(path: Path, out: Path) -> dict[str, Any]:
    try:
        about = json.loads(_read(path, out))
        if not isinstance(about, dict):
            raise ValueError("it is no table of names and values")
    except ValueError as error:
        raise StoreError(f"{path}: damaged ({error}); {rewrite_hint(out, path.name)}, or delete it") from error
    return about
