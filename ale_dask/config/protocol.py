"""Protocols: the plan of a study, written before its data are seen, and how a later run deviates from it.

A protocol is a Markdown text. It ends with a block of TOML that holds the plan, below the sha256 of this block.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from ale_dask.config.analysis import image_inside
from ale_dask.config.files import read_regular
from ale_dask.config.inference import EARLIER, IMAGES, is_image
from ale_dask.config.study import Study, inference_from
from ale_dask.errors import InputError

_BLOCK = re.compile(r"sha256 of the block: ([0-9a-f]{64})\s+```toml\n(.*?)```", re.DOTALL)
_OF_RECORDS = ("question", "registration", "databases", "query", "criteria", "coverage", "risk_of_bias")
"""The keys of [records] that are known before the literature is searched."""
_MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Deviation:
    """A value that differs between a protocol and a study: its key, and both values; "" where there is none."""

    key: str
    planned: str
    done: str

    def words(self) -> str:
        """Return the deviation as "key: planned, then done"."""
        if not self.planned:
            return f"{self.key} was not planned ({self.done})"
        return f"{self.key} was planned as {self.planned}, and {f'is {self.done}' if self.done else 'is left out'}"


@dataclass(frozen=True)
class Protocol:
    """A protocol that was read: the name of its file, the sha256 of its plan, and the plan."""

    file: str
    sha256: str
    plan: Mapping[str, Any]


def plan_of(study: Study) -> dict[str, Any]:
    """Return what a study plans: its question, samples and their rules, analyses and settings, but none of its data."""
    records = study.records.model_dump(include=set(_OF_RECORDS), exclude_defaults=True)
    foci = {
        name: source.model_dump(mode="json", exclude={"files"}, exclude_defaults=True)
        for name, source in study.foci.items()
    }
    for source in foci.values():
        for step in source.get("select", ()):
            if "inside" in step:
                step["inside"] = _content(step["inside"])
    analysis = {name: each.model_dump(mode="json", exclude_none=True) for name, each in study.analysis.items()}
    for name, each in study.analysis.items():
        if image := image_inside(each):
            analysis[name]["inside"] = _content(image)
    # What tables say of a cluster beside its test is not planned.
    inference = study.inference.model_dump(mode="json", exclude_none=True, exclude={"networks"})
    living = {} if study.living is None else {"living": study.living.model_dump(exclude={"looks"}, exclude_none=True)}
    return {
        "records": records,
        **living,
        "foci": foci,
        "analysis": analysis,
        **({"statistic": _statistics(study)} if study.statistic else {}),
        "inference": {**inference, **{key: _content(inference[key]) for key in IMAGES if key in inference}},
    }


def _statistics(study: Study) -> dict[str, Any]:
    """Return the statistics of whole maps by their numbers; images by name, whose copies in OUT lie elsewhere."""
    planned = {}
    for number, each in enumerate(study.statistic, 1):
        values = each.model_dump(mode="json", exclude_none=True)
        if each.image is not None:
            values["image"] = Path(each.image).name.removeprefix("image_").removesuffix(".gz").removesuffix(".nii")
        planned[str(number)] = values
    return planned


def _content(image: str) -> str:
    """Return the sha256 of a file, whose copy in OUT has another name; the name of a built-in image as it is."""
    return f"SHA-256 {hashlib.sha256(read_regular(Path(image))).hexdigest()}" if is_image(image) else image


def plan_block(plan: Mapping[str, Any]) -> str:
    """Return a plan as the lines that end a protocol: the sha256 of a block of TOML, and the block."""
    text = tomli_w.dumps(plan)
    return f"sha256 of the block: {_sha256(text)}\n\n```toml\n{text}```\n"


def read_protocol(file: str | Path) -> Protocol:
    """Return the protocol in a file that `plan_block` ends.

    Raises
    ------
    InputError
        for a file that cannot be read, holds no plan, or whose plan was changed after it had been written.
    """
    path = Path(file)
    text = read_regular(path, max_bytes=_MAX_BYTES).decode("utf-8", errors="replace").replace("\r\n", "\n")
    found = _BLOCK.search(text)
    if found is None:
        raise InputError(f"{path}: holds no plan of a study; `ale-dask protocol STUDY -o {path.name}` writes one")
    if _sha256(found[2]) != found[1]:
        raise InputError(
            f"{path}: its plan was changed after the protocol had been written: the sha256 of the block is "
            f"{_sha256(found[2])[:12]}…, not {found[1][:12]}…; use the protocol as it was written, and let the run "
            "report how it deviates"
        )
    try:
        return Protocol(path.name, found[1], tomllib.loads(found[2]))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: its plan is not valid TOML: {error}") from error


def protocol_of(study: Study) -> Protocol | None:
    """Return the protocol that [records] of a study names, or None.

    Raises
    ------
    InputError
        as `read_protocol`.
    """
    return read_protocol(study.records.protocol) if study.records.protocol else None


def deviations(study: Study, protocol: Protocol) -> list[Deviation]:
    """Return every value of a study that differs from its protocol, by key."""
    planned = {**protocol.plan, "inference": _all_settings(protocol.plan.get("inference", {}), protocol.file)}
    done = plan_of(study)
    done["inference"] = _all_settings(done["inference"], protocol.file)
    before, now = dict(_values(planned)), dict(_values(done))
    return [
        Deviation(key, before.get(key, ""), now.get(key, ""))
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]


def _all_settings(settings: Mapping[str, Any], file: str) -> dict[str, Any]:
    """Return settings with those that an earlier version did not know, at the values that it computed with."""
    return inference_from({**EARLIER, **settings}, source=file).model_dump(mode="json")


def _values(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and the value of each setting of a plan; a sample and an analysis are one value each."""
    for table, values in plan.items():
        for key, value in values.items():
            yield f"{table}.{key}", json.dumps(value, ensure_ascii=False, sort_keys=True)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
