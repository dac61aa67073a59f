"""Write the follow-up analyses of a finished run, such as leave-one-out, and read them for its page and methods text.

Each has a file NAME_WHAT.json that says which results it was computed from. After `extend` or with another setting
there may be other clusters; a follow-up of earlier results is then left out.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Iterator, Mapping
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
from ale_dask.reporting.tables.text import tsv
from ale_dask.storage.location import replace_file

EVIDENCE = "evidence"
"""The end of the files of the cards of evidence, which are written again with every result."""
NULL_STATISTIC = "null-statistic"
"""The word of the test of a statistic on a null, of which an analysis may have several."""
_ENDS = (
    "decoding.",
    "decoding-correlation-",
    "experiment-clusters-",
    "fail-safe.",
    "fail-safe-base-rate.",
    "leave-out-",
    "null-",
    "power.",
    "profiles.",
)
_KINDS = {
    "leave-out-": "leave-one-out",
    "experiment-clusters-": "experiment-clusters",
    "null-": NULL_STATISTIC,
    "decoding-correlation-": "decoding-correlation",
}
"""The word for follow-ups whose files have several ends, by how these begin."""


def origin_of(result: xr.Dataset, record: RunRecord) -> list[Any]:
    """Return the digests of the nulls that a result of a run was computed from, and its settings."""
    return _origin([str(result.attrs["name"]), *model_of(result).parts], record, model_of(result).inference)


def _origin(names: Iterable[str], record: RunRecord, inference: Inference) -> list[Any]:
    entries = [record["analyses"].get(name, {}) for name in dict.fromkeys(names)]
    digests = [entry.get("digest") for entry in entries]
    digests += [entry["digest_base_rate"] for entry in entries if "digest_base_rate" in entry]
    # The paths of mask and region differ between machines; the null's digest depends on their content. The names of
    # networks change no result.
    return [*digests, inference.model_dump(mode="json", exclude={"mask", "search", "networks"})]


def write_follow_up(base: Path, table: pd.DataFrame, about: Mapping[str, Any], *, figure: str = "") -> list[Path]:
    """Write a table, what is said of it, and an SVG if there is one, to BASE.tsv, .json and .svg; return their paths.

    `about` has a title, and below "of_results" what `origin_of` returns of the result that the follow-up is of.

    Raises
    ------
    StoreError
        when a file cannot be written.
    """
    content = {"tsv": tsv(table), "json": f"{json.dumps(about, indent=1, ensure_ascii=False)}\n".encode()}
    if figure:
        content["svg"] = figure.encode()
    paths = [base.with_name(f"{base.name}.{ending}") for ending in content]
    for path, data in zip(paths, content.values(), strict=True):
        replace_file(path, data)
    return paths


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
        for path in _paths(name, out):
            about = _read_about(path, out)
            if about.get("of_results") == origin:
                entry_of: FollowUpRecord = {"analysis": name, "what": _kind_of(path), "title": str(about["title"])}
                follow_ups.append(entry_of | {"methods": str(about["methods"])} if "methods" in about else entry_of)
        if _evidence_path(name, out).is_file():
            follow_ups.append({"analysis": name, "what": EVIDENCE, "title": "Evidence on each cluster"})
    return {**record, "follow_ups": follow_ups}


def _kind_of(path: Path) -> str:
    """Return the word by which the methods text knows a follow-up."""
    end = path.stem.rpartition("_")[2]
    return next((word for begin, word in _KINDS.items() if end.startswith(begin)), end)


def follow_up_prefixes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the beginnings of the paths in OUT of the follow-ups of these analyses."""
    return tuple(f"{stem(name)}/{stem(name)}_{end}" for name in names for end in (*_ENDS, f"{EVIDENCE}."))


def _paths(name: str, out: Path) -> list[Path]:
    """Return the paths of the JSON files of the follow-ups of an analysis, without the cards of evidence."""
    return sorted(path for end in _ENDS for path in (out / stem(name)).glob(f"{stem(name)}_{end}*json"))


def _evidence_path(name: str, out: Path) -> Path:
    return out / stem(name) / f"{stem(name)}_{EVIDENCE}.json"


def follow_ups_of(result: xr.Dataset, out: Path, record: RunRecord) -> list[dict[str, Any]]:
    """Return the follow-ups of a result for the page: title, words, table, and figure where there is one.

    Raises
    ------
    StoreError
        when a file of a follow-up is not as it was written.
    """
    follow_ups = []
    for path, about, table in _holding(result, out, record):
        figure = path.with_suffix(".svg")
        image = _read(figure, out) if figure.is_file() else b""
        follow_ups.append(
            {
                "title": about["title"],
                "says": about["says"],
                "table": cells(table, links=links_to(out, path.with_suffix(".tsv"), figure)),
                "figure": base64.b64encode(image).decode(),
                "size": image_size(image) if image else (0, 0),
            }
        )
    return follow_ups


def follow_up_tables(result: xr.Dataset, out: Path, record: RunRecord) -> dict[str, pd.DataFrame]:
    """Return the tables of the follow-ups of a result, all cells as text, by name: "power", "leave-out-group" ….

    Raises
    ------
    StoreError
        when a file of a follow-up is not as it was written.
    """
    before = len(stem(str(result.attrs["name"]))) + 1
    return {path.stem[before:]: table for path, _, table in _holding(result, out, record)}


def _holding(result: xr.Dataset, out: Path, record: RunRecord) -> Iterator[tuple[Path, dict[str, Any], pd.DataFrame]]:
    """Yield the path, the content and the table of each follow-up that was computed from a result as it is now."""
    for path in _paths(str(result.attrs["name"]), out):
        about, table = _read_about(path, out), path.with_suffix(".tsv")
        if about.get("of_results") == origin_of(result, record) and table.is_file():
            text = io.BytesIO(_read(table, out))
            yield path, about, pd.read_csv(text, sep="\t", dtype=str, keep_default_na=False, na_values=[""])


def asked_columns(name: str, out: Path) -> list[str] | None:
    """Return the columns by which the cards of evidence of an analysis look at prevalence; None without cards.

    Raises
    ------
    StoreError
        when the file of the cards is not as it was written.
    """
    path = _evidence_path(name, out)
    return list(map(str, _read_about(path, out).get("by", ()))) if path.is_file() else None


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
